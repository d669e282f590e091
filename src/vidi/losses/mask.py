"""Losses of masks: of their overlap (dice), and of every mask with every other, for matching.

Logits and targets of N pixels, or of N sampled points, one mask a row; targets are 0 or 1, between them where a point
was interpolated. Half precision is computed in float32.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.losses.classification import focal_loss
from vidi.losses.reduction import Reduction, full_precision, reduce_loss


def dice_loss(
    logits: Float[Tensor, "*M N"],
    targets: Bool[Tensor, "*M N"] | Float[Tensor, "*M N"],
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return 1 - (2 sum p y + 1) / (sum p + sum y + 1) of each mask, p the sigmoid of the logit.

    Milletari et al. 2016, arXiv 1606.04797, without squares and with the 1 of DETR's code, which makes an empty mask
    that is found empty cost nothing.
    """
    p = full_precision(logits).sigmoid()
    y = targets.to(p.dtype)
    return reduce_loss(_dice(2 * (p * y).sum(-1), p.sum(-1) + y.sum(-1)), reduction)


def pairwise_dice_loss(
    logits: Float[Tensor, "B Q N"], targets: Bool[Tensor, "B M N"] | Float[Tensor, "B M N"]
) -> Float[Tensor, "B Q M"]:
    """Return `dice_loss` of each of Q masks with each of M."""
    p = full_precision(logits).sigmoid()
    y = targets.to(p.dtype)
    return _dice(2 * p @ y.transpose(1, 2), p.sum(-1)[:, :, None] + y.sum(-1)[:, None])


def _dice(twice_shared: Tensor, both: Tensor) -> Tensor:
    return 1 - (twice_shared + 1) / (both + 1)


def pairwise_binary_cross_entropy(
    logits: Float[Tensor, "B Q N"], targets: Bool[Tensor, "B M N"] | Float[Tensor, "B M N"]
) -> Float[Tensor, "B Q M"]:
    """Return the mean binary cross-entropy of each of Q masks with each of M.

    -y ln p - (1 - y) ln (1 - p) is -ln (1 - p) - y x for the logit x: one sum a row and one matrix product.
    """
    x = full_precision(logits)
    y = targets.to(x.dtype)
    return (F.softplus(x).sum(-1)[:, :, None] - x @ y.transpose(1, 2)) / x.shape[-1]


def pairwise_focal_loss(
    logits: Float[Tensor, "B Q N"],
    targets: Bool[Tensor, "B M N"],
    *,
    gamma: float | int = 2.0,
    alpha: float | int | None = 0.25,
) -> Float[Tensor, "B Q M"]:
    """Return the mean `focal_loss` of each of Q masks with each of M."""
    everywhere = torch.ones_like(logits, dtype=torch.bool)
    inside = focal_loss(logits, everywhere, gamma=gamma, alpha=alpha, reduction="none")
    outside = focal_loss(logits, ~everywhere, gamma=gamma, alpha=alpha, reduction="none")
    y = targets.to(inside.dtype).transpose(1, 2)
    return (outside.sum(-1)[:, :, None] + (inside - outside) @ y) / logits.shape[-1]
