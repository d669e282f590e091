"""Hard negatives: of very many background boxes, train on those that the network finds hardest.

Sung & Poggio 1998; Shrivastava, Gupta, Girshick 2016, "Training Region-based Object Detectors with Online Hard Example
Mining", arXiv 1604.03540; Liu et al. 2016 (SSD), arXiv 1512.02325, section 2.2; notes 4.3.4.

    losses B A, boxes, positive B A, negative B A -> which negatives take part in the loss, B A

Differs from the notes: as many are taken of each image as a ratio to its positives allows, 3 : 1 in SSD. Without such a
cap, the mini-batch would be as unbalanced as before.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.ops.suppression import suppress


def hard_negatives(
    losses: Float[Tensor, "B A"],
    boxes: Float[Tensor, "B A 4"],
    positive: Bool[Tensor, "B A"],
    negative: Bool[Tensor, "B A"],
    *,
    ratio: float | int = 3,
    nms_threshold: float | int | None = 0.7,
    least: int = 0,
) -> Bool[Tensor, "B A"]:
    """Say of each box whether it is one of its image's hardest negatives.

    Negatives are visited by falling loss (ties in their order of entry), as suppression does with scores: one that
    overlaps a harder one would count the same loss twice. The hardest that are left are taken.

    Args:
        losses: of classification, of each box; no gradient flows through the choice.
        boxes: xyxy; only needed for suppression.
        positive: boxes that stand for an object.
        negative: boxes that stand for background; ignored ones are neither.
        ratio: negatives per positive of the same image, rounded down; 3 in SSD.
        nms_threshold: IoU above which the easier of two negatives is dropped: 0.7 in OHEM; None for no suppression, as
            in SSD.
        least: negatives of an image that has fewer positives than give as many.

    Raises:
        ValueError: if `ratio` or `least` is negative, a box is both positive and negative, or the threshold is not in
            [0, 1].
    """
    if not ratio >= 0 or least < 0:
        raise ValueError(f"received ratio={ratio} and least={least}, expected numbers that are not negative")
    if (positive & negative).any():
        raise ValueError("received boxes that are both positive and negative, expected at most one of the two")
    losses = losses.detach()
    if nms_threshold is not None:
        one_label = torch.zeros_like(negative, dtype=torch.int64)
        negative = suppress(boxes.detach(), losses, one_label, negative, threshold=nms_threshold)
    wanted = (positive.sum(1) * ratio).floor().clamp(min=least)  # B
    order = losses.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)  # B A, 0 the hardest
    return negative & (rank < wanted[:, None])
