"""What all losses do before and after their formula: compute in full precision, reduce as the caller says."""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["none", "sum", "mean"]
"""Whether a loss gives all its elements, their sum (to be divided by a count of one's own), or their mean."""


def full_precision(values: Tensor) -> Tensor:
    """Return half-precision values (a network's outputs under autocast) as float32, others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def reduce_loss(losses: Tensor, reduction: Reduction) -> Tensor:
    """Return the losses, their sum or their mean; the mean of none is 0.

    Raises:
        ValueError: if `reduction` is none of the three.
    """
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.sum() / max(losses.numel(), 1)
    raise ValueError(f"received reduction={reduction!r}, expected 'none', 'sum' or 'mean'")
