"""CLIP from files of transformers: `CLIPModel`, such as `model.safetensors` of openai/clip-vit-base-patch32.

No published file carries a digest in its name, so that none is in the table. `TEXT_LAYOUT` is for the text tower alone,
`CLIPTextModelWithProjection`, whose names have "text_model." in front in files and, since version 5, not in modules.
"""

from vidi.backbones.vit import fitted_positions
from vidi.weights.layouts import Layout
from vidi.weights.renaming import under
from vidi.weights.tables.openai_clip import with_axes

LAYER = {
    "layer_norm1.*": "attention_residual.norm.*",
    "self_attn.q_proj.*": "attention.query.*",
    "self_attn.k_proj.*": "attention.key.*",
    "self_attn.v_proj.*": "attention.value.*",
    "self_attn.out_proj.*": "attention.output.*",
    "layer_norm2.*": "feed_forward_residual.norm.*",
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
}
TEXT = {
    "embeddings.token_embedding.weight": "words.weight",
    "embeddings.position_embedding.weight": "positions.table",
    "embeddings.position_ids": None,  # 0, 1, 2 ... in files of before 4.31
    "final_layer_norm.*": "norm.*",
} | under(LAYER, "encoder.layers.*.", "encoder.layers.*.")
IMAGE = {
    "embeddings.class_embedding": "backbone.class_token",
    "embeddings.patch_embedding.weight": "backbone.embedding.projection.weight",
    "embeddings.position_embedding.weight": "backbone.positions.table",
    "embeddings.position_ids": None,
    "pre_layrnorm.*": "backbone.norm_before.*",
    "post_layernorm.*": "backbone.encoder.norm.*",
} | under(LAYER, "encoder.layers.*.", "backbone.encoder.layers.*.")
PROJECTION = {"text_projection.weight": "projection.weight"}
BOTH = {
    **under(TEXT, "text_model.", "text."),
    **under(PROJECTION, "", "text."),
    **under(IMAGE, "vision_model.", "image."),
    "visual_projection.weight": "image.projection.weight",
    "logit_scale": "log_scale",
}
LAYOUT = Layout("transformers", BOTH, convert=with_axes, fit=fitted_positions)
TEXT_LAYOUT = Layout(
    "transformers", under(TEXT, "text_model.", "") | TEXT | PROJECTION, convert=with_axes, into="network.text"
)
