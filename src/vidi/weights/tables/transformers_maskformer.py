"""MaskFormer from files of transformers: `MaskFormerForInstanceSegmentation`, with ResNet or Swin.

Such as facebook/maskformer-resnet50-coco-stuff, -resnet50-ade20k-full, -swin-tiny-coco or -swin-tiny-ade. No published
file carries a digest in its name, so that none is in the table; one on this machine fits a builder with the file's
categories, that with ResNet with `norm="frozen"`.
"""

from vidi.weights.layouts import Layout
from vidi.weights.renaming import under
from vidi.weights.tables.transformers_detr import DECODER_LAYER
from vidi.weights.tables.transformers_swin import INSIDE

RESIDUAL_BLOCK = {
    "shortcut.convolution.weight": "skip.conv.weight",
    "shortcut.normalization.*": "skip.norm.*",
    "layer.0.convolution.weight": "conv1.weight",
    "layer.0.normalization.*": "norm1.*",
    "layer.1.convolution.weight": "conv2.weight",
    "layer.1.normalization.*": "norm2.*",
    "layer.2.convolution.weight": "conv3.weight",
    "layer.2.normalization.*": "norm3.*",
}
RESNET = (
    {
        "embedder.embedder.convolution.weight": "stem.conv.weight",
        "embedder.embedder.normalization.*": "stem.norm.*",
    }
    | under(RESIDUAL_BLOCK, "encoder.stages.0.layers.*.", "stage1.*.")
    | under(RESIDUAL_BLOCK, "encoder.stages.1.layers.*.", "stage2.*.")
    | under(RESIDUAL_BLOCK, "encoder.stages.2.layers.*.", "stage3.*.")
    | under(RESIDUAL_BLOCK, "encoder.stages.3.layers.*.", "stage4.*.")
)
SWIN = under(INSIDE, "model.", "") | {
    "hidden_states_norms.0.*": "norms.stage1.*",
    "hidden_states_norms.1.*": "norms.stage2.*",
    "hidden_states_norms.2.*": "norms.stage3.*",
    "hidden_states_norms.3.*": "norms.stage4.*",
}
PIXEL_DECODER = {
    "fpn.stem.*.*": "stem.*.*",
    "fpn.layers.*.proj.*.*": "laterals.*.project.*.*",
    "fpn.layers.*.block.*.*": "laterals.*.smooth.*.*",
    "mask_projection.*": "embed.*",
}
MASK_EMBEDDING = {"0.0.*": "0.*", "1.0.*": "2.*", "2.0.*": "4.*"}
MASKFORMER = (
    under(RESNET | SWIN, "model.pixel_level_module.encoder.", "backbone.")
    | under(PIXEL_DECODER, "model.pixel_level_module.decoder.", "pixel_decoder.")
    | under(DECODER_LAYER, "model.transformer_module.decoder.layers.*.", "decoder.layers.*.")
    | under(MASK_EMBEDDING, "mask_embedder.", "mask_embedding.")
    | {
        "model.transformer_module.queries_embedder.weight": "queries",
        "model.transformer_module.input_projection.*": "projection.*",
        "model.transformer_module.decoder.layernorm.*": "decoder.norm.*",
        "class_predictor.*": "class_head.*",
        "criterion.empty_weight": None,
    }
)
BY_CATEGORY = ("class_head.weight", "class_head.bias")
LAYOUT = Layout("transformers", MASKFORMER, by_category=BY_CATEGORY)
