"""Weights of Swin transformers that torchvision publishes: ImageNet-1k from scratch."""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.published import by_name, torchvision_imagenet
from vidi.weights.renaming import under

BLOCK = {
    "norm1.*": "attention_residual.norm.*",
    "attn.qkv.*": "attention.query_key_value.*",
    "attn.proj.*": "attention.output.*",
    "attn.relative_position_bias_table": "attention.offset_bias",
    "attn.relative_position_index": None,
    "norm2.*": "feed_forward_residual.norm.*",
    "mlp.0.*": "feed_forward.widen.*",
    "mlp.3.*": "feed_forward.narrow.*",
}
MERGING = {"norm.*": "merging.norm.*", "reduction.weight": "merging.reduction.weight"}
CLASSIFIER = (
    {"features.0.0.*": "backbone.projection.*", "features.0.2.*": "backbone.norm.*"}
    | under(BLOCK, "features.1.*.", "backbone.stages.0.blocks.*.")
    | under(MERGING, "features.2.", "backbone.stages.1.")
    | under(BLOCK, "features.3.*.", "backbone.stages.1.blocks.*.")
    | under(MERGING, "features.4.", "backbone.stages.2.")
    | under(BLOCK, "features.5.*.", "backbone.stages.2.blocks.*.")
    | under(MERGING, "features.6.", "backbone.stages.3.")
    | under(BLOCK, "features.7.*.", "backbone.stages.3.blocks.*.")
    | {"norm.*": "backbone.norms.stage4.*", "head.*": "head.linear.*"}
)
LAYOUT = Layout("torchvision", CLASSIFIER, convert=unpacked)


# file, pixels of the shorter side, top-1, top-5
ROWS = (
    ("swin_t-704ceda3.pth", 232, 81.474, 95.776),
    ("swin_s-5e29d889.pth", 246, 83.196, 96.360),
    ("swin_b-68c6b09e.pth", 238, 83.582, 96.640),
)

PUBLISHED = by_name(
    *(
        torchvision_imagenet(
            file,
            "imagenet1k_v1",
            Preprocess(shorter=shorter, crop=(224, 224), interpolation="bicubic"),
            top1,
            top5,
            LAYOUT,
        )
        for file, shorter, top1, top5 in ROWS
    )
)
