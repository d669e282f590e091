"""Mask2Former from files of transformers: `Mask2FormerForUniversalSegmentation`, all of them with Swin.

Such as facebook/mask2former-swin-tiny-coco-panoptic, and -small-, -base-, -large- in its place. No published file has
a digest in its name, so that none is in the table; one on this machine fits a builder with the file's categories.
"""

from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import under
from vidi.weights.tables.transformers_maskformer import BY_CATEGORY, MASK_EMBEDDING, RESNET
from vidi.weights.tables.transformers_swin import TRUNK

PIXEL_LAYER = {
    "self_attn.sampling_offsets.*": "attention.offsets.*",
    "self_attn.attention_weights.*": "attention.weights.*",
    "self_attn.value_proj.*": "attention.value.*",
    "self_attn.output_proj.*": "attention.output.*",
    "self_attn_layer_norm.*": "attention_residual.norm.*",
    "fc1.*": "feed_forward.widen.*",
    "fc2.*": "feed_forward.narrow.*",
    "final_layer_norm.*": "feed_forward_residual.norm.*",
}
PIXEL_DECODER = {
    "level_embed": "level_embedding",
    "input_projections.*.*.*": "projections.*.*.*",
    "adapter_1.*.*": "lateral.*.*",
    "layer_1.*.*": "smooth.*.*",
    "mask_projection.*": "embed.*",
} | under(PIXEL_LAYER, "encoder.layers.*.", "layers.*.")
LAYER = {
    "self_attn.q_proj.*": "self_attention.query.*",
    "self_attn.k_proj.*": "self_attention.key.*",
    "self_attn.v_proj.*": "self_attention.value.*",
    "self_attn.out_proj.*": "self_attention.output.*",
    "self_attn_layer_norm.*": "self_attention_residual.norm.*",
    "cross_attn.in_proj_*": "cross_attention.query_key_value.*",
    "cross_attn.out_proj.*": "cross_attention.output.*",
    "cross_attn_layer_norm.*": "cross_attention_residual.norm.*",
    "fc1.*": "feed_forward.widen.*",
    "fc2.*": "feed_forward.narrow.*",
    "final_layer_norm.*": "feed_forward_residual.norm.*",
}
MASK2FORMER = (
    under(RESNET | TRUNK, "model.pixel_level_module.encoder.", "backbone.")
    | under(PIXEL_DECODER, "model.pixel_level_module.decoder.", "pixel_decoder.")
    | under(LAYER, "model.transformer_module.decoder.layers.*.", "layers.*.")
    | under(MASK_EMBEDDING, "model.transformer_module.decoder.mask_predictor.mask_embedder.", "mask_embedding.")
    | {
        "model.transformer_module.queries_embedder.weight": "positions",
        "model.transformer_module.queries_features.weight": "content",
        "model.transformer_module.level_embed.weight": "level_embedding",
        "model.transformer_module.decoder.layernorm.*": "norm.*",
        "class_predictor.*": "class_head.*",
        "criterion.empty_weight": None,
    }
)
LAYOUT = Layout("transformers", MASK2FORMER, convert=unpacked, by_category=BY_CATEGORY)
