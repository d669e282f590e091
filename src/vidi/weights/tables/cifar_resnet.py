"""Weights of the small ResNets trained on CIFAR-10 by Y. Idelbayev (github.com/akamaster/pytorch_resnet_cifar10)."""

from typing import Any

from vidi.preprocess import Preprocess
from vidi.results.categories import Categories
from vidi.weights.renaming import under
from vidi.weights.sources import Source, Tensors, by_name
from vidi.weights.tables.torchvision_resnet import TRUNK

REPOSITORY = "https://github.com/akamaster/pytorch_resnet_cifar10"
NAMES = under(TRUNK, "", "backbone.") | {"linear.*": "head.linear.*"}


def cifar10_categories() -> Categories:
    """Return the names of the ten classes, in the order of the data set."""
    return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def unpacked(checkpoint: Any) -> Tensors:
    """Take the network out of a training checkpoint that was saved while wrapped in DataParallel."""
    return {name.removeprefix("module."): tensor for name, tensor in checkpoint["state_dict"].items()}


SOURCES = by_name(
    Source(
        model="resnet20",
        version="akamaster/cifar10",
        url=f"{REPOSITORY}/raw/master/pretrained_models/resnet20-12fca82f.th",
        sha256="12fca82f",
        licence="BSD-2-Clause",
        preprocess=Preprocess(exact=(32, 32)),
        score={"top1": 91.73},
        names=NAMES,
        categories=cifar10_categories,
        unpack=unpacked,
    )
)
