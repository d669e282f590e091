"""Weights of the small ResNets trained on CIFAR-10 by Y. Idelbayev (github.com/akamaster/pytorch_resnet_cifar10)."""

from typing import Any

from vidi.model import Preprocess
from vidi.results import Categories
from vidi.weights.renaming import under
from vidi.weights.sources import Source, Tensors
from vidi.weights.torchvision_resnet import TRUNK

NAMES = under(TRUNK, "", "backbone.") | {"linear.*": "head.linear.*"}


def cifar10_categories() -> Categories:
    """Return the names of the ten classes, in the order of the data set."""
    return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def unpacked(checkpoint: Any) -> Tensors:
    """Take the network out of a training checkpoint that was saved while wrapped in DataParallel."""
    return {name.removeprefix("module."): tensor for name, tensor in checkpoint["state_dict"].items()}


def _source(model: str, file: str, top1: float) -> Source:
    return Source(
        model=model,
        url=f"https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/master/pretrained_models/{file}",
        sha256=file.removesuffix(".th").rsplit("-", 1)[1],
        licence="BSD-2-Clause",
        preprocess=Preprocess(exact=(32, 32)),
        score={"top1": top1},
        names=NAMES,
        categories=cifar10_categories,
        unpack=unpacked,
    )


SOURCES: dict[str, Source] = {
    "resnet20.cifar10": _source("resnet20", "resnet20-12fca82f.th", 91.73),
}
