"""Which ground truth an anchor or a proposal stands for (Ren et al. 2015, section 3.1.2)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BACKGROUND = -1
"""No ground truth: a negative."""

IGNORED = -2
"""Neither positive nor negative: takes no part in the loss."""


def match_anchors(
    iou: Float[Tensor, "*B M A"],
    *,
    low: float | int,
    high: float | int,
    allow_low_quality: bool,
) -> Int64[Tensor, "*B A"]:
    """Return for each anchor the index of its ground truth, BACKGROUND or IGNORED.

    An anchor takes the ground truth that it overlaps most if that IoU is at least `high`, is background if it is below
    `low` with every ground truth, and is ignored in between. With `allow_low_quality`, the best anchors of each ground
    truth (ties included) are positive whatever their IoU; they too take the ground truth that they overlap most.
    RetinaNet uses 0.4 and 0.5, the region proposal network 0.3 and 0.7.

    Equal to torchvision's Matcher, with two differences: M = 0 makes everything background, and a ground truth that no
    anchor touches claims none (torchvision: all anchors of IoU 0). So rows of zeros pad images of a batch to one M.

    Raises:
        ValueError: if `low` exceeds `high`.
    """
    if not low <= high:
        raise ValueError(f"received low={low} and high={high}, expected low <= high")
    if 0 in iou.shape[-2:]:
        return iou.new_full((*iou.shape[:-2], iou.shape[-1]), BACKGROUND, dtype=torch.int64)
    overlap, truth = iou.max(-2)  # *B A
    matches = truth.masked_fill(overlap < high, IGNORED).masked_fill(overlap < low, BACKGROUND)
    if allow_low_quality:
        best = iou.amax(-1, keepdim=True)  # *B M 1
        claimed = ((iou == best) & (best > 0)).any(-2)  # *B A
        matches = torch.where(claimed, truth, matches)
    return matches
