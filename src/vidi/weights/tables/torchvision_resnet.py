"""Weights of the ResNet family that torchvision publishes: ImageNet-1k, its first (V1) and its longer (V2) training."""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet
from vidi.weights.renaming import under

TRUNK = {
    "conv1.weight": "stem.conv.weight",
    "bn1.*": "stem.norm.*",
    "layer*.*.conv*.weight": "stage*.*.conv*.weight",
    "layer*.*.bn*.*": "stage*.*.norm*.*",
    "layer*.*.downsample.0.weight": "stage*.*.skip.conv.weight",
    "layer*.*.downsample.1.*": "stage*.*.skip.norm.*",
}
CLASSIFIER = under(TRUNK, "", "backbone.") | {"fc.*": "head.linear.*"}
LAYOUT = Layout("torchvision", CLASSIFIER)

V1 = Preprocess(shorter=256, crop=(224, 224))
V2 = Preprocess(shorter=232, crop=(224, 224))


# file, version, preprocessing, top-1, top-5
ROWS = (
    ("resnet18-f37072fd.pth", "imagenet1k_v1", V1, 69.758, 89.078),
    ("resnet34-b627a593.pth", "imagenet1k_v1", V1, 73.314, 91.420),
    ("resnet50-0676ba61.pth", "imagenet1k_v1", V1, 76.130, 92.862),
    ("resnet50-11ad3fa6.pth", "imagenet1k_v2", V2, 80.858, 95.434),
    ("resnet101-63fe2227.pth", "imagenet1k_v1", V1, 77.374, 93.546),
    ("resnet101-cd907fc2.pth", "imagenet1k_v2", V2, 81.886, 95.780),
    ("resnet152-394f9c45.pth", "imagenet1k_v1", V1, 78.312, 94.046),
    ("resnet152-f82ba261.pth", "imagenet1k_v2", V2, 82.284, 96.002),
    ("resnext50_32x4d-7cdf4587.pth", "imagenet1k_v1", V1, 77.618, 93.698),
    ("resnext50_32x4d-1a0047aa.pth", "imagenet1k_v2", V2, 81.198, 95.340),
    ("resnext101_32x8d-8ba56ff5.pth", "imagenet1k_v1", V1, 79.312, 94.526),
    ("resnext101_32x8d-110c445d.pth", "imagenet1k_v2", V2, 82.834, 96.228),
    ("resnext101_64x4d-173b62eb.pth", "imagenet1k_v1", V2, 83.246, 96.454),
    ("wide_resnet50_2-95faca4d.pth", "imagenet1k_v1", V1, 78.468, 94.086),
    ("wide_resnet50_2-9ba9bcbe.pth", "imagenet1k_v2", V2, 81.602, 95.758),
    ("wide_resnet101_2-32ee1156.pth", "imagenet1k_v1", V1, 78.848, 94.284),
    ("wide_resnet101_2-d733dc28.pth", "imagenet1k_v2", V2, 82.510, 96.020),
)

PUBLISHED = by_name(*(torchvision_imagenet(*row, LAYOUT) for row in ROWS))
