"""Weights of EfficientNet B0 to B7 that torchvision publishes.

Those of B0 to B4 were trained by R. Wightman, those of B5 to B7 converted from the authors' TensorFlow files by
L. Melas-Kyriazi.
"""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet

NAMES = {
    "features.0.0.weight": "backbone.stem.conv.weight",
    "features.0.1.*": "backbone.stem.norm.*",
    # the first stage has no expansion
    "features.1.*.block.0.0.weight": "backbone.stages.0.*.depthwise.conv.weight",
    "features.1.*.block.0.1.*": "backbone.stages.0.*.depthwise.norm.*",
    "features.1.*.block.1.fc*.*": "backbone.stages.0.*.se.fc*.*",
    "features.1.*.block.2.0.weight": "backbone.stages.0.*.project.conv.weight",
    "features.1.*.block.2.1.*": "backbone.stages.0.*.project.norm.*",
    "features.8.0.weight": "head.before.conv.weight",
    "features.8.1.*": "head.before.norm.*",
    "classifier.1.*": "head.linear.*",
}
LATER = {
    "0.0.weight": "expand.conv.weight",
    "0.1.*": "expand.norm.*",
    "1.0.weight": "depthwise.conv.weight",
    "1.1.*": "depthwise.norm.*",
    "2.fc*.*": "se.fc*.*",
    "3.0.weight": "project.conv.weight",
    "3.1.*": "project.norm.*",
}
NAMES |= {
    f"features.{stage + 1}.*.block.{old}": f"backbone.stages.{stage}.*.{new}"
    for stage in range(1, 7)
    for old, new in LATER.items()
}
LAYOUT = Layout("torchvision", NAMES)


def bicubic(shorter: int, crop: int) -> Preprocess:
    """Return the preprocessing of most of these weights."""
    return Preprocess(shorter=shorter, crop=(crop, crop), interpolation="bicubic")


# file, version, preprocessing, top-1, top-5
ROWS = (
    ("efficientnet_b0_rwightman-7f5810bc.pth", "imagenet1k_v1", bicubic(256, 224), 77.692, 93.532),
    ("efficientnet_b1_rwightman-bac287d4.pth", "imagenet1k_v1", bicubic(256, 240), 78.642, 94.186),
    ("efficientnet_b1-c27df63c.pth", "imagenet1k_v2", Preprocess(shorter=255, crop=(240, 240)), 79.838, 94.934),
    ("efficientnet_b2_rwightman-c35c1473.pth", "imagenet1k_v1", bicubic(288, 288), 80.608, 95.310),
    ("efficientnet_b3_rwightman-b3899882.pth", "imagenet1k_v1", bicubic(320, 300), 82.008, 96.054),
    ("efficientnet_b4_rwightman-23ab8bcd.pth", "imagenet1k_v1", bicubic(384, 380), 83.384, 96.594),
    ("efficientnet_b5_lukemelas-1a07897c.pth", "imagenet1k_v1", bicubic(456, 456), 83.444, 96.628),
    ("efficientnet_b6_lukemelas-24a108a5.pth", "imagenet1k_v1", bicubic(528, 528), 84.008, 96.916),
    ("efficientnet_b7_lukemelas-c5b4e57e.pth", "imagenet1k_v1", bicubic(600, 600), 84.122, 96.908),
)

PUBLISHED = by_name(*(torchvision_imagenet(*row, LAYOUT, model=row[0][: len("efficientnet_b0")]) for row in ROWS))
