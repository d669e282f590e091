"""How well proposed boxes cover the objects: recall at an IoU by the first n boxes, and its averages.

Uijlings et al. 2013, Selective Search (IJCV 104): best overlaps; Hosang et al. 2016, What makes for effective detection
proposals? (arXiv 1502.05082): average recall. Section 4.3.2 of the notes.

    IoU N x M of an image, boxes best first -> best_overlaps          -> counts x M, one row for each number of boxes
    those of all images side by side        -> recall, average_recall -> counts
                             and labels     -> mean_average_best_overlap

Overlaps come from `vidi.ops.boxes.box_iou`. Differs from COCO's average recall: a box may cover several objects, as
nothing is decided yet about what it shows, and no number of boxes is left out of an image with few.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The thresholds of the average recall: 0.5, 0.55 ... 0.95."""


def best_overlaps(ious: Float[Tensor, "N M"], counts: Sequence[int]) -> Float[Tensor, "counts M"]:
    """Give, for each of `counts`, the IoU of every object with the best of the first n boxes; 0 for no box.

    An n above N counts all boxes. Put images side by side with torch.cat(..., dim=1) before taking recalls.

    Raises:
        ValueError: if a count is negative.
    """
    if any(count < 0 for count in counts):
        raise ValueError(f"received counts {list(counts)}, expected numbers of boxes from 0")
    N, M = ious.shape
    best = torch.cat([ious.new_zeros(1, M), ious]).cummax(0).values  # row n: of the first n
    return best[[min(count, N) for count in counts]]


def recall(overlaps: Float[Tensor, "*counts M"], threshold: float | int = 0.5) -> Float[Tensor, "*counts"]:
    """Give the share of M objects whose best overlap is at least the threshold (0..1); nan without objects."""
    return (overlaps >= threshold).double().mean(-1)


def average_recall(
    overlaps: Float[Tensor, "*counts M"], thresholds: Sequence[float] = IOUS
) -> Float[Tensor, "*counts"]:
    """Give the mean of `recall` over the thresholds (0..1); nan without objects."""
    return torch.stack([recall(overlaps, threshold) for threshold in thresholds]).mean(0)


def mean_average_best_overlap(
    overlaps: Float[Tensor, "*counts M"], labels: Int64[Tensor, " M"]
) -> Float[Tensor, "*counts"]:
    """Give the mean best overlap of the objects of each class, averaged over the classes that occur (0..1)."""
    classes = [overlaps[..., labels == label].double().mean(-1) for label in labels.unique().tolist()]
    if not classes:
        return torch.full(overlaps.shape[:-1], torch.nan, dtype=torch.float64, device=overlaps.device)
    return torch.stack(classes).mean(0)
