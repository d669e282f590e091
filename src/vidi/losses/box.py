"""Losses of boxes: of their coordinates (L1, Huber, smooth L1) and of their overlap (IoU, generalised IoU).

Losses of coordinates work element by element, in whatever units they get (mostly the corrections of
`vidi.ops.boxes.encode_boxes`); the sum over x, y, w and h that R-CNN minimises is `reduction="sum"`. Losses of overlap
give one number per pair of `xyxy` boxes. Half precision is computed in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.losses.reduction import Reduction, full_precision, reduce_loss
from vidi.ops.boxes import paired_box_iou, paired_generalized_box_iou


def l1_loss(
    predicted: Float[Tensor, "*N"], target: Float[Tensor, "*N"], *, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """Return the absolute residual |predicted - target|."""
    return reduce_loss((full_precision(predicted) - full_precision(target)).abs(), reduction)


def huber_loss(
    predicted: Float[Tensor, "*N"],
    target: Float[Tensor, "*N"],
    *,
    delta: float | int = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return r^2 / 2 for residuals up to `delta`, delta (|r| - delta / 2) beyond (Huber 1964).

    Beyond the knee the gradient has the constant magnitude `delta`: outliers pull no harder than that.

    Raises:
        ValueError: if `delta` is not positive.
    """
    if not delta > 0:
        raise ValueError(f"received delta={delta}, expected a positive number")
    residual = (full_precision(predicted) - full_precision(target)).abs()
    losses = torch.where(residual <= delta, 0.5 * residual**2, delta * (residual - 0.5 * delta))
    return reduce_loss(losses, reduction)


def smooth_l1_loss(
    predicted: Float[Tensor, "*N"],
    target: Float[Tensor, "*N"],
    *,
    beta: float | int = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return the Huber loss with its knee at `beta` divided by beta, so that the slope is 1 beyond (Girshick 2015).

    With beta = 1 it is the Huber loss, with beta = 0 the L1 loss; torchvision's Faster R-CNN has 1/9.

    Raises:
        ValueError: if `beta` is negative.
    """
    if beta == 0:
        return l1_loss(predicted, target, reduction=reduction)
    if not beta > 0:
        raise ValueError(f"received beta={beta}, expected 0 or a positive number")
    return reduce_loss(huber_loss(predicted, target, delta=beta, reduction="none") / beta, reduction)


def iou_loss(
    predicted: Float[Tensor, "*N 4"],
    target: Float[Tensor, "*N 4"],
    *,
    eps: float | int = 1e-7,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return 1 - IoU of each predicted box with its target; without overlap it is 1 and has no gradient."""
    return reduce_loss(1 - paired_box_iou(full_precision(predicted), full_precision(target), eps=eps), reduction)


def generalized_iou_loss(
    predicted: Float[Tensor, "*N 4"],
    target: Float[Tensor, "*N 4"],
    *,
    eps: float | int = 1e-7,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return 1 - generalised IoU, in [0, 2), of each predicted box with its target (Rezatofighi et al. 2019, alg. 2).

    `eps` in the denominators is torchvision's; DETR has 0.
    """
    overlap = paired_generalized_box_iou(full_precision(predicted), full_precision(target), eps=eps)
    return reduce_loss(1 - overlap, reduction)
