"""Weights of VGG that torchvision publishes: ImageNet-1k.

Left out are `vgg16`'s IMAGENET1K_FEATURES: they are for other inputs and come without a head, so they make no
classifier.
"""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet
from vidi.weights.renaming import under

TRUNK = {"features.*.*": "layers.*.*"}
CLASSIFIER = under(TRUNK, "", "backbone.") | {
    "classifier.0.*": "head.hidden1.*",
    "classifier.3.*": "head.hidden2.*",
    "classifier.6.*": "head.linear.*",
}
LAYOUT = Layout("torchvision", CLASSIFIER)

# file, top-1, top-5
ROWS = (
    ("vgg11-8a719046.pth", 69.020, 88.628),
    ("vgg13-19584684.pth", 69.928, 89.246),
    ("vgg16-397923af.pth", 71.592, 90.382),
    ("vgg19-dcbb9e9d.pth", 72.376, 90.876),
    ("vgg11_bn-6002323d.pth", 70.370, 89.810),
    ("vgg13_bn-abd245e5.pth", 71.586, 90.374),
    ("vgg16_bn-6c64b313.pth", 73.360, 91.516),
    ("vgg19_bn-c79401a0.pth", 74.218, 91.842),
)

PUBLISHED = by_name(
    *(
        torchvision_imagenet(file, "imagenet1k_v1", Preprocess(shorter=256, crop=(224, 224)), top1, top5, LAYOUT)
        for file, top1, top5 in ROWS
    )
)
