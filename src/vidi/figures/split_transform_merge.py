"""Split, transform, merge: one frame for Inception, Inception-ResNet and ResNeXt, and the two forms of a ResNeXt block.

Xie et al. 2017 (arXiv 1611.05431), section 3; notes 2.3.

    split      x  B C H W  to each of G transforms: all of it, or a chunk of C/G channels
    transform  T_1(x), ..., T_G(x)                       a few convolutions each
    merge      their sum, or their channels side by side
               Inception: concat      Inception-ResNet: x + 1x1(concat)      ResNeXt: x + sum, or, equally (figure 3):

    branches   x  B 4C H W  ->  G times [1x1 -> d, 3x3 -> d, 1x1 -> 4C]  ->  sum          `ResNeXtBlock`, figure 3a
    grouped    x  B 4C H W  ->  1x1 -> Gd  ->  3x3 in G groups  ->  1x1 -> 4C             `Bottleneck`, figure 3c

The state of one form becomes that of the other by stacking or cutting weights: the first 1x1 and the 3x3 by their
outputs, the last 1x1 by its inputs.

Differs from the notes: the block is called ResNeXt; its branches are not *confused* with groups, as the notes warn,
they are proved to be the same network. The equation for d has the shape G (9 d^2 + 8 C d) = cost of the bottleneck.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.normalization import NormLayer

Split = Literal["all", "chunks"]
Merge = Literal["sum", "concat"]

EXPANSION = 4  # channels of a block's input and output per C, as in a bottleneck


class SplitTransformMerge(nn.Module):
    """merge(T_1(x), ..., T_G(x)), each transform seeing all of x or its own chunk of channels.

    Raises:
        ValueError: without any transform, for another split or merge, or for channels that cannot be cut equally.
    """

    def __init__(self, transforms: Iterable[nn.Module], *, split: Split = "all", merge: Merge):
        super().__init__()
        self.transforms = nn.ModuleList(transforms)
        if not self.transforms:
            raise ValueError("received no transforms, expected at least one")
        if split not in ("all", "chunks"):
            raise ValueError(f"received split={split!r}, expected 'all' or 'chunks'")
        if merge not in ("sum", "concat"):
            raise ValueError(f"received merge={merge!r}, expected 'sum' or 'concat'")
        self.split, self.merge = split, merge

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        count = len(self.transforms)
        if self.split == "chunks" and x.shape[1] % count:
            raise ValueError(f"received {x.shape[1]} channels, expected a multiple of {count}, one chunk per transform")
        parts = x.chunk(count, 1) if self.split == "chunks" else [x] * count
        results = [transform(part) for transform, part in zip(self.transforms, parts, strict=True)]
        return reduce(torch.add, results) if self.merge == "sum" else torch.cat(results, 1)


class Residual(nn.Module):
    """skip(x) + scale * branch(x): what Inception-ResNet (scales of 0.1 to 0.3) and ResNeXt put around the merge."""

    def __init__(self, branch: nn.Module, *, skip: nn.Module | None = None, scale: float = 1.0):
        super().__init__()
        self.branch = branch
        self.skip = nn.Identity() if skip is None else skip
        self.scale = scale

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.skip(x) + self.scale * self.branch(x)


# ----------------------------------------------------------------------------------------------------------------------
# ResNeXt by branches


class ResNeXtBranch(nn.Module):
    """One of G transforms: 1x1 to d channels, 3x3, 1x1 to the channels of the block."""

    def __init__(self, in_channels: int, branch_width: int, out_channels: int, *, stride: int, norm: NormLayer):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, branch_width, 1, bias=False)
        self.norm1 = norm(branch_width)
        self.conv2 = nn.Conv2d(branch_width, branch_width, 3, stride, padding=1, bias=False)
        self.norm2 = norm(branch_width)
        self.conv3 = nn.Conv2d(branch_width, out_channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        return self.conv3(x)


class ResNeXtBlock(nn.Module):
    """relu(norm(T_1(x) + ... + T_G(x)) + skip(x)) (Xie et al. 2017, equation 3; norms as in section 4).

    Equal to `vidi.backbones.resnet.Bottleneck` with groups=G and as many channels; see `branches_to_grouped`.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,  # C; the block gives 4 C channels
        *,
        branches: int,  # G, the cardinality
        branch_width: int,  # d
        skip: nn.Module,  # brings x to the shape of the sum
        norm: NormLayer,
        stride: int = 1,
    ):
        super().__init__()
        out_channels = EXPANSION * width
        transforms = (
            ResNeXtBranch(in_channels, branch_width, out_channels, stride=stride, norm=norm) for _ in range(branches)
        )
        self.branches = SplitTransformMerge(transforms, merge="sum")
        self.norm3 = norm(out_channels)
        self.skip = skip

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return F.relu(self.norm3(self.branches(x)) + self.skip(x), inplace=True)


# ----------------------------------------------------------------------------------------------------------------------
# From one form to the other


def stack_outputs(weights: Sequence[Float[Tensor, "d ..."]]) -> Float[Tensor, "Gd ..."]:
    """Join G layers that give d channels each to one that gives G d.

    The weights of G convolutions of one input make one convolution of it, whose result is split afterwards (notes 2.3,
    first 1x1); those of G convolutions of a chunk each make a grouped convolution (3x3); so do norms' vectors.
    """
    return torch.cat(list(weights))


def stack_inputs(weights: Sequence[Float[Tensor, "D d ky kx"]]) -> Float[Tensor, "D Gd ky kx"]:
    """Join G convolutions whose results are summed to one of their concatenated inputs (notes 2.3, last 1x1)."""
    return torch.cat(list(weights), 1)


PREFIX = "branches.transforms."
BY_OUTPUTS = ("conv1", "norm1", "conv2", "norm2")  # layers of a branch that are stacked by their outputs
BY_INPUTS = ("conv3",)


def branches_to_grouped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state of a `ResNeXtBlock`, or gradients under its names, into that of a `Bottleneck` with groups."""
    groups = len({name.split(".")[2] for name in tensors if name.startswith(PREFIX)})
    result = {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}
    for name, value in tensors.items():
        if name.startswith(f"{PREFIX}0."):
            own = name.removeprefix(f"{PREFIX}0.")
            parts = [tensors[f"{PREFIX}{group}.{own}"] for group in range(groups)]
            if value.ndim == 0:  # the batch counter of a norm: equal in all branches
                result[own] = value
            else:
                result[own] = stack_inputs(parts) if own.split(".")[0] in BY_INPUTS else stack_outputs(parts)
    return result


def grouped_to_branches(tensors: Mapping[str, Tensor], groups: int) -> dict[str, Tensor]:
    """Turn the state of a `Bottleneck` with groups, or gradients under its names, into that of a `ResNeXtBlock`.

    Raises:
        ValueError: if the channels between the 1x1 convolutions are not a multiple of `groups`.
    """
    result: dict[str, Tensor] = {}
    for name, value in tensors.items():
        layer = name.split(".")[0]
        if layer not in (*BY_OUTPUTS, *BY_INPUTS):
            result[name] = value
            continue
        axis = 1 if layer in BY_INPUTS else 0
        if value.ndim and value.shape[axis] % groups:
            raise ValueError(f"received {groups} groups, but {name} has {value.shape[axis]} channels")
        parts = value.chunk(groups, axis) if value.ndim else [value] * groups
        result |= {f"{PREFIX}{group}.{name}": part for group, part in enumerate(parts)}
    return result


# ----------------------------------------------------------------------------------------------------------------------
# How wide branches are


def block_weights(groups: int, branch_width: float | int, width: int = 64) -> float | int:
    """Count the weights of the convolutions of a block of 4 C channels: G (4 C d + 9 d^2 + 4 C d) (notes 2.3)."""
    return groups * (9 * branch_width**2 + 2 * EXPANSION * width * branch_width)


def equal_cost_width(groups: int, width: int = 64, cost: float | int | None = None) -> float:
    """Solve for the branch width d at which a block of `groups` branches has a given number of weights.

    Args:
        groups: G, the number of branches.
        width: C; the block has 4 C channels.
        cost: weights to be reached; None: those of the ResNet bottleneck, 17 C^2.

    Returns:
        the positive root of G (9 d^2 + 8 C d) = cost, to be rounded.
    """
    target = block_weights(1, width, width) if cost is None else cost
    half = EXPANSION * width  # 9 d^2 + 2 half d - target / G = 0
    return (math.sqrt(half**2 + 9 * target / groups) - half) / 9
