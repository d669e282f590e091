"""Weights of AlexNet that torchvision publishes: ImageNet-1k."""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet
from vidi.weights.renaming import under

TRUNK = {
    "features.0.*": "conv1.*",
    "features.3.*": "conv2.*",
    "features.6.*": "conv3.*",
    "features.8.*": "conv4.*",
    "features.10.*": "conv5.*",
}
CLASSIFIER = under(TRUNK, "", "backbone.") | {
    "classifier.1.*": "head.hidden1.*",
    "classifier.4.*": "head.hidden2.*",
    "classifier.6.*": "head.linear.*",
}
LAYOUT = Layout("torchvision", CLASSIFIER)

PUBLISHED = by_name(
    torchvision_imagenet(
        "alexnet-owt-7be5be79.pth",
        "imagenet1k_v1",
        Preprocess(shorter=256, crop=(224, 224)),
        56.522,
        79.066,
        LAYOUT,
        model="alexnet",
    )
)
