"""Which ground truth an anchor or a proposal stands for, and which of them train (Ren et al. 2015, section 3.1.2)."""

import math

import torch
from jaxtyping import Bool, Float, Int64
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


def sample_balanced(
    positive: Bool[Tensor, " A"],
    negative: Bool[Tensor, " A"],
    *,
    count: int,
    positive_share: float | int,
    generator: torch.Generator | None = None,
) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " N"]]:
    """Draw at most `count` rows of one image without replacement; return the positive and the negative ones, ascending.

    At most `positive_share` of `count` are positive; what positives leave is filled up with negatives. Ren et al. 2015
    take a half of 256 anchors, Girshick 2015 a quarter of 64 proposals; a share of `math.inf` keeps all positives, as
    the notes do. The draw is from `generator`, on the masks' device, or from torch's global one.

    Raises:
        ValueError: if the count or the share is negative.
    """
    if count < 0 or not positive_share >= 0:
        raise ValueError(f"received count={count} and positive_share={positive_share}, expected no negative number")
    rows = [mask.nonzero()[:, 0] for mask in (positive, negative)]
    shuffled = [own[torch.randperm(len(own), generator=generator, device=own.device)] for own in rows]
    most = len(rows[0]) if math.isinf(positive_share) else int(count * positive_share)
    chosen = shuffled[0][:most]
    return chosen.sort().values, shuffled[1][: max(count - len(chosen), 0)].sort().values
