"""Weights of MobileNetV2 that torchvision publishes.

The publisher numbers the blocks through; the first of them has no expansion, so that its layers have other numbers.
"""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet

REPEATS = (1, 2, 3, 4, 3, 3, 1)  # n of each stage
BLOCKS = [(stage, block) for stage, repeats in enumerate(REPEATS) for block in range(repeats)]

FIRST = {
    "conv.0.0.weight": "depthwise.conv.weight",
    "conv.0.1.*": "depthwise.norm.*",
    "conv.1.weight": "project.conv.weight",
    "conv.2.*": "project.norm.*",
}
LATER = {
    "conv.0.0.weight": "expand.conv.weight",
    "conv.0.1.*": "expand.norm.*",
    "conv.1.0.weight": "depthwise.conv.weight",
    "conv.1.1.*": "depthwise.norm.*",
    "conv.2.weight": "project.conv.weight",
    "conv.3.*": "project.norm.*",
}
NAMES = {
    "features.0.0.weight": "backbone.stem.conv.weight",
    "features.0.1.*": "backbone.stem.norm.*",
    "features.18.0.weight": "head.before.conv.weight",
    "features.18.1.*": "head.before.norm.*",
    "classifier.1.*": "head.linear.*",
} | {
    f"features.{number}.{old}": f"backbone.stages.{stage}.{block}.{new}"
    for number, (stage, block) in enumerate(BLOCKS, 1)
    for old, new in (FIRST if number == 1 else LATER).items()
}
LAYOUT = Layout("torchvision", NAMES)

V1 = Preprocess(shorter=256, crop=(224, 224))
V2 = Preprocess(shorter=232, crop=(224, 224))

# file, version, preprocessing, top-1, top-5
ROWS = (
    ("mobilenet_v2-b0353104.pth", "imagenet1k_v1", V1, 71.878, 90.286),
    ("mobilenet_v2-7ebf99e0.pth", "imagenet1k_v2", V2, 72.154, 90.822),
)

PUBLISHED = by_name(*(torchvision_imagenet(*row, LAYOUT) for row in ROWS))
