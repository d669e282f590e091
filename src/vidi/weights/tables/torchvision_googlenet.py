"""Weights of GoogLeNet that torchvision publishes: ImageNet-1k, ported from TensorFlow."""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet
from vidi.weights.renaming import under

# branches 1 to 4 of theirs are 0 to 3 of ours, the fourth begins with its pool
TRUNK = {
    "conv*.conv.weight": "stem.conv*.conv.weight",
    "conv*.bn.*": "stem.conv*.norm.*",
    "inception*.branch1.conv.weight": "inception*.0.conv.weight",
    "inception*.branch1.bn.*": "inception*.0.norm.*",
    "inception*.branch2.*.conv.weight": "inception*.1.*.conv.weight",
    "inception*.branch2.*.bn.*": "inception*.1.*.norm.*",
    "inception*.branch3.*.conv.weight": "inception*.2.*.conv.weight",
    "inception*.branch3.*.bn.*": "inception*.2.*.norm.*",
    "inception*.branch4.1.conv.weight": "inception*.3.1.conv.weight",
    "inception*.branch4.1.bn.*": "inception*.3.1.norm.*",
}
CLASSIFIER = under(TRUNK, "", "backbone.") | {"fc.*": "head.linear.*"}

# The file holds auxiliary heads that were never trained.
NO_AUXILIARY = {"aux*.conv.conv.weight": None, "aux*.conv.bn.*": None, "aux*.fc*.*": None}
LAYOUT = Layout("torchvision", CLASSIFIER | NO_AUXILIARY)

# torchvision normalises by ImageNet's mean and deviation, and then maps the result, inside its network, to what the
# original network wants: ((p - mean) / std) * std / 0.5 + (mean - 0.5) / 0.5 = (p - 0.5) / 0.5.
PREPROCESS = Preprocess(shorter=256, crop=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

PUBLISHED = by_name(
    torchvision_imagenet(
        "googlenet-1378be20.pth",
        "imagenet1k_v1",
        PREPROCESS,
        69.778,
        89.530,
        LAYOUT,
        arguments={"form": "torchvision", "auxiliary": False},
    )
)
