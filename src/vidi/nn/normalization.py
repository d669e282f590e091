"""Normalisation: the layers that networks choose from by name, and the one routine that all of them are.

    batch     statistics over B, H, W     one mean and variance for each channel
    layer     over C, H, W; over D of a token in a transformer, where no two tokens share them
    instance  over H, W
    group     over H, W and the channels of a group: one group is layer, as many as channels is instance

Notes 3.1.3; Ioffe & Szegedy 2015, Ba et al. 2016, Ulyanov et al. 2016, Wu & He 2018. What does not reduce over B does
not change when padding or other images join the batch, and is the same in training and in evaluation.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Norm = Literal["batch", "frozen", "group"]

NormLayer = Callable[[int], nn.Module]
"""Makes the layer for a number of channels."""

GROUPS = 32  # Wu & He 2018, Table 3


def standardized(x: Float[Tensor, "*N"], axes: tuple[int, ...], *, eps: float = 1e-5) -> Float[Tensor, "*N"]:
    """Return x - mean over sqrt(variance + eps), both over `axes`; the variance is the biased one."""
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def normalized_map(
    x: Float[Tensor, "B C H W"], kind: str, *, groups: int = GROUPS, eps: float = 1e-5
) -> Float[Tensor, "B C H W"]:
    """Return a map normalised over the axes that `kind` names: "batch", "layer", "instance" or "group".

    Raises:
        ValueError: for another kind.
    """
    if kind == "group":
        return standardized(x.unflatten(1, (groups, -1)), (2, 3, 4), eps=eps).flatten(1, 2)
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}
    if kind not in axes:
        raise ValueError(f"received kind={kind!r}, expected one of {', '.join(map(repr, axes))}, 'group'")
    return standardized(x, axes[kind], eps=eps)


class FrozenBatchNorm2d(nn.Module):
    """Apply batch normalisation with fixed statistics and a fixed affine map; nothing here is trained or updated.

    What detectors use whose batches are too small for statistics. As it holds the same four vectors as
    `nn.BatchNorm2d`, weights of such a layer load strictly; their batch counter means nothing here and is dropped.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: object) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


def norm_layer(norm: Norm, *, eps: float = 1e-5, momentum: float = 0.1) -> NormLayer:
    """Return what makes the named layer for a number of channels.

    Args:
        norm: "batch" (statistics of the batch; Ioffe & Szegedy 2015), "frozen" (fixed statistics), or "group"
            (statistics of 32 groups of channels of each image; Wu & He 2018).
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics of "batch".

    Raises:
        ValueError: for another name.
    """
    if norm == "batch":
        return partial(nn.BatchNorm2d, eps=eps, momentum=momentum)
    if norm == "frozen":
        return partial(FrozenBatchNorm2d, eps=eps)
    if norm == "group":
        return partial(nn.GroupNorm, GROUPS, eps=eps)
    raise ValueError(f"received norm={norm!r}, expected one of 'batch', 'frozen', 'group'")
