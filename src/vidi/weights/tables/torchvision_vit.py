"""Weights of the vision transformers that torchvision publishes: ImageNet-1k from scratch (V1), and SWAG.

SWAG (Singh et al. 2022, arXiv 2201.08371) was trained on hashtags of images of Instagram; then all of it was tuned for
ImageNet-1k (`e2e`, at 384, 512 or 518 pixels), or a linear layer on top of it only. Its licence forbids commercial use.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from vidi.backbones.vit import fitted_positions
from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.published import Published, by_name, torchvision_imagenet
from vidi.weights.renaming import under

LAYER = {
    "ln_1.*": "attention_residual.norm.*",
    "self_attention.in_proj_*": "attention.query_key_value.*",
    "self_attention.out_proj.*": "attention.output.*",
    "ln_2.*": "feed_forward_residual.norm.*",
    "mlp.0.*": "feed_forward.widen.*",
    "mlp.3.*": "feed_forward.narrow.*",
    # in files of torchvision before 0.13
    "mlp.linear_1.*": "feed_forward.widen.*",
    "mlp.linear_2.*": "feed_forward.narrow.*",
}
TRUNK = {
    "class_token": "class_token",
    "conv_proj.*": "embedding.projection.*",
    "encoder.pos_embedding": "positions.table",
    "encoder.ln.*": "encoder.norm.*",
} | {f"encoder.layers.encoder_layer_*.{old}": f"encoder.layers.*.{new}" for old, new in LAYER.items()}
CLASSIFIER = under(TRUNK, "", "backbone.") | {"heads.head.*": "head.linear.*"}
LAYOUT = Layout("torchvision", CLASSIFIER, convert=unpacked, fit=partial(fitted_positions, align_corners=True))


def preprocess(shorter: int, crop: int, interpolation: Any = "bicubic") -> Preprocess:
    """Return the preprocessing of the published evaluations: a square out of the centre."""
    return Preprocess(shorter=shorter, crop=(crop, crop), interpolation=interpolation)


V1 = preprocess(256, 224, "bilinear")
V1_LARGE = preprocess(242, 224, "bilinear")
SWAG = "imagenet1k_swag_e2e_v1"
SWAG_LINEAR = "imagenet1k_swag_linear_v1"

# file, version, preprocessing, top-1, top-5
ROWS = (
    ("vit_b_16-c867db91.pth", "imagenet1k_v1", V1, 81.072, 95.318),
    ("vit_b_16_swag-9ac1b537.pth", SWAG, preprocess(384, 384), 85.304, 97.650),
    ("vit_b_16_lc_swag-4e70ced5.pth", SWAG_LINEAR, preprocess(224, 224), 81.886, 96.180),
    ("vit_b_32-d86f8d99.pth", "imagenet1k_v1", V1, 75.912, 92.466),
    ("vit_l_16-852ce7e3.pth", "imagenet1k_v1", V1_LARGE, 79.662, 94.638),
    ("vit_l_16_swag-4f3808c9.pth", SWAG, preprocess(512, 512), 88.064, 98.512),
    ("vit_l_16_lc_swag-4d563306.pth", SWAG_LINEAR, preprocess(224, 224), 85.146, 97.422),
    ("vit_l_32-c7638314.pth", "imagenet1k_v1", V1, 76.972, 93.070),
    ("vit_h_14_swag-80465313.pth", SWAG, preprocess(518, 518), 88.552, 98.694),
    ("vit_h_14_lc_swag-c1eb923e.pth", SWAG_LINEAR, preprocess(224, 224), 85.708, 97.730),
)


def _row(file: str, version: str, pixels: Preprocess, top1: float, top5: float) -> Published:
    # the positions are those of the published size
    arguments: Mapping[str, Any] = {} if pixels.crop == (224, 224) else {"size": pixels.crop}
    model = file.removesuffix(".pth").rsplit("-", 1)[0].removesuffix("_swag").removesuffix("_lc")
    licence = "CC-BY-NC-4.0" if "swag" in version else "BSD-3-Clause"
    return torchvision_imagenet(
        file, version, pixels, top1, top5, LAYOUT, model=model, arguments=arguments, licence=licence
    )


PUBLISHED = by_name(*(_row(*row) for row in ROWS))
