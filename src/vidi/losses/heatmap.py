"""The loss of heatmaps whose target is 1 at the objects and falls off around them (notes 4.3.5)."""

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.losses.classification import focal_loss
from vidi.losses.reduction import Reduction, full_precision, reduce_loss


def penalty_reduced_focal_loss(
    logits: Float[Tensor, "*N"],
    targets: Float[Tensor, "*N"],
    *,
    gamma: float | int = 2.0,
    beta: float | int = 4.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return the focal loss of each cell, times (1 - Y)^beta where the target Y is not 1 (Law & Deng 2018, eq. 1).

    Cells where Y is exactly 1 are the positives, all others are negatives, however near to 1; `beta` makes those
    beside an object cost less. CornerNet and CenterNet take the sum, divided by the number of objects.

    Raises:
        ValueError: if `gamma` or `beta` is negative.
    """
    if not beta >= 0:
        raise ValueError(f"received beta={beta}, expected a number that is not negative")
    targets = full_precision(targets)
    positive = targets == 1
    losses = focal_loss(logits, positive, gamma=gamma, alpha=None, reduction="none")
    return reduce_loss(losses * torch.where(positive, 1, (1 - targets) ** beta), reduction)
