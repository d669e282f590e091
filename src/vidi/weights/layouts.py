"""How publishers name the tensors of a kind of network, and how those become ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vidi.weights.renaming import Names, renamed

Tensors = dict[str, Tensor]


def unchanged(tensors: Tensors) -> Tensors:
    """Return the tensors: for files whose tensors differ from ours by their names only."""
    return tensors


def as_they_are(network: nn.Module, tensors: Tensors) -> Tensors:
    """Return the tensors: for networks whose parameters do not depend on the size of images."""
    return tensors


@dataclass(frozen=True, eq=False)  # compared as objects, so that models list each once
class Layout:
    """The names of a publisher for the tensors of a network, one a publisher and network; its files are told by them.

    file -> named tensors -> `names` -> `convert` -> `fit` -> strict load
    """

    publisher: str
    names: Names  # the file's names -> names in the network
    convert: Callable[[Tensors], Tensors] = unchanged  # after they are renamed: permute rows, split matrices
    fit: Callable[[nn.Module, Tensors], Tensors] = as_they_are  # last: to the size that the network is for
    into: str = "network"  # the sub-module of the model that the weights are for
    by_category: tuple[str, ...] = ("head.linear.weight", "head.linear.bias")  # ours; other categories need new ones
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the builder, that its files need and do not show

    def recognises(self, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether every tensor has a name of this layout."""
        try:
            renamed(tensors, self.names)
        except ValueError:
            return False
        return True

    def ours(self, network: nn.Module, tensors: Mapping[str, Tensor]) -> Tensors:
        """Return tensors that carry the publisher's names as `network` wants them; ValueError for other names."""
        return self.fit(network, self.convert(renamed(tensors, self.names)))
