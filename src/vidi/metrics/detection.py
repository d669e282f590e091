"""One class of detections, read slowly: who is right, precision and recall, their curve, and the area below it.

Everingham et al. 2010, The PASCAL Visual Object Classes Challenge; Lin et al. 2014, Microsoft COCO (arXiv 1405.0312).
Section 4.1 of the notes.

    scores N, IoU N x M  -> match_detections        -> true or false, each truth used once
    flags, scores        -> precision_recall_curve  -> one point per prediction, raw and envelope
    curve                -> average_precision       -> area in one of five readings
    classes              -> mean_average_precision

Differs from the notes: an object is found once and further hits on it are false; the overlap may equal the threshold
(`inclusive`), as in COCO; recall never rises with the score floor, precision may go either way; the area is taken
below the raw curve or, as VOC and COCO do, below its envelope. Overlaps come from `vidi.ops.boxes.box_iou` or
`vidi.ops.masks.rle_iou`. For whole data sets with crowds and object sizes see `vidi.metrics.coco`.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Mode = Literal["step", "trapezoid", "envelope", "eleven_points", "hundred_one_points"]


class Matches(NamedTuple):
    """What became of N predictions, in their own order."""

    correct: Bool[Tensor, " N"]  # true positive
    counted: Bool[Tensor, " N"]  # not below the score floor; counted but not correct is a false positive
    truths: Int64[Tensor, " N"]  # the truth that each found, -1 for none


def match_detections(
    scores: Float[Tensor, " N"],
    ious: Float[Tensor, "N M"],
    *,
    threshold: float,
    inclusive: bool = True,
    score_floor: float = -math.inf,
    takes_next_best: bool = True,
) -> Matches:
    """Match the predictions of one class in one image to its M truths, greedily by falling score (ties in order).

    A prediction takes the truth that it overlaps most, of equals the last, if their IoU is at least `threshold`
    (`inclusive`, COCO) or above it. Each truth is used once: a prediction whose best one is taken goes for the next
    best (`takes_next_best`, COCO), or is false (VOC). Predictions with scores below `score_floor` are left out.
    """
    counted = scores >= score_floor
    correct = torch.zeros_like(counted)
    truths = torch.full_like(counted, -1, dtype=torch.int64)
    free = torch.ones(ious.shape[1], dtype=torch.bool, device=ious.device)
    reaching = ious >= threshold if inclusive else ious > threshold  # N M
    for n in scores.argsort(descending=True, stable=True).tolist():
        eligible = reaching[n] & free if takes_next_best else reaching[n]
        if not counted[n] or not eligible.any():
            continue
        overlaps = torch.where(eligible, ious[n], -1)
        best = int(torch.nonzero(overlaps == overlaps.max())[-1])
        if free[best]:
            correct[n], truths[n], free[best] = True, best, False
    return Matches(correct, counted, truths)


class PrecisionRecall(NamedTuple):
    """Precision and recall in 0..1; nan where nothing was predicted, or where there is nothing to find."""

    precision: float
    recall: float


def precision_recall(matches: Matches, truths: int) -> PrecisionRecall:
    """Give the share of counted predictions that are correct, and the share of `truths` objects that were found."""
    correct, counted = int(matches.correct.sum()), int(matches.counted.sum())
    return PrecisionRecall(
        correct / counted if counted else math.nan,
        correct / truths if truths else math.nan,
    )


class PrecisionRecallCurve(NamedTuple):
    """The curve that a falling score floor draws, one point per prediction."""

    recall: Float[Tensor, " N"]  # rises; nan without truths
    precision: Float[Tensor, " N"]  # the raw zig-zag: up at each correct prediction, down at each false one
    envelope: Float[Tensor, " N"]  # the best precision at this or any greater recall
    scores: Float[Tensor, " N"]  # the floors, falling


def precision_recall_curve(
    scores: Float[Tensor, " N"], correct: Bool[Tensor, " N"], truths: int
) -> PrecisionRecallCurve:
    """Sweep the score floor down through the predictions of one class, gathered from all images.

    Equal scores make points of their own, in the order given, as in VOC and COCO. The curve is float64.
    """
    order = scores.argsort(descending=True, stable=True)
    hits = correct[order].double().cumsum(0)
    precision = hits / torch.arange(1, len(order) + 1, dtype=torch.float64, device=hits.device)
    return PrecisionRecallCurve(hits / truths, precision, precision_envelope(precision), scores[order])


def precision_envelope(precision: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Give the running maximum from the right."""
    return precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision


def average_precision(
    recall: Float[Tensor, " N"],
    precision: Float[Tensor, " N"],
    *,
    mode: Mode = "hundred_one_points",
) -> float:
    """Give the area below a precision-recall curve (raw precision at rising recall), in 0..1.

    - step: precision at each point times the recall gained there (scikit-learn's average precision)
    - trapezoid: the plain area under straight lines between the points, beginning at recall 0 and precision 1
    - envelope: the steps below the envelope (VOC from 2010)
    - eleven_points: the mean envelope at recalls 0, 0.1 .. 1 (VOC to 2009)
    - hundred_one_points: the mean envelope at recalls 0, 0.01 .. 1 (COCO)

    0 where nothing was predicted, nan without truths.
    """
    if len(recall) == 0:
        return 0.0
    if recall.isnan().any():
        return math.nan
    gained = torch.diff(recall, prepend=recall.new_zeros(1))
    if mode == "step":
        return float((gained * precision).sum())
    if mode == "trapezoid":
        before = torch.cat([precision.new_ones(1), precision[:-1]])
        return float((gained * (before + precision) / 2).sum())
    envelope = precision_envelope(precision)
    if mode == "envelope":
        return float((gained * envelope).sum())
    if mode == "eleven_points":
        return _mean_at(torch.arange(11, dtype=torch.float64) / 10, recall, envelope)
    if mode == "hundred_one_points":  # NumPy's linspace, as COCOeval has: 0.57 is not the 57th of them to the last bit
        return _mean_at(torch.from_numpy(np.linspace(0.0, 1.0, 101)), recall, envelope)
    raise ValueError(f"mode {mode!r} is none of step, trapezoid, envelope, eleven_points, hundred_one_points")


def _mean_at(levels: Tensor, recall: Tensor, envelope: Tensor) -> float:
    first = torch.searchsorted(recall.double(), levels.to(recall.device))
    padded = torch.cat([envelope, envelope.new_zeros(1)])  # nothing reaches the recalls beyond the last
    return float(padded[first].mean())


def mean_average_precision(average_precisions: Float[Tensor, " K"]) -> float:
    """Give the mean over classes, leaving out those without truths (nan); nan where there is none."""
    return float(average_precisions.nanmean())
