"""What is known about a file of published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor

from vidi.model import Preprocess
from vidi.results import Categories
from vidi.weights.renaming import Names

Tensors = dict[str, Tensor]


def unchanged(value: Any) -> Any:
    """Return what was given: for files that hold nothing but the named tensors, as the network wants them."""
    return value


@dataclass(frozen=True)
class Source:
    """Where published weights are, how they become ours, and what they achieve."""

    model: str  # name of the builder
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
    into: str = "network"  # the sub-module of the model that the weights are for

    @property
    def filename(self) -> str:
        """The name of the file, as its publisher gave it."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]


def imagenet_categories() -> Categories:
    """Return the names of the 1,000 classes of ImageNet-1k, in the usual order."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
