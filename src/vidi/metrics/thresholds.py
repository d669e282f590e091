"""From which score on to believe a detector: F1, precision and recall over the threshold, and what is confused there.

Predictions are matched with truths at one overlap, greedily by falling score as in COCO, so that what a prediction
found does not depend on the threshold (those below it come later). Then for each threshold t

    precision = TP / (TP + FP)     recall = TP / (TP + FN)     F1 = 2 TP / (2 TP + FP + FN)     (van Rijsbergen 1979)

with TP the right ones among the predictions with a score of at least t, FP the others of them, FN the truths that are
not found; counts are of all classes and images together. Crowds are neither found nor missed, and excuse predictions.

    scores P, right P, truths  -> f1_curve           -> thresholds T, precision T, recall T, F1 T
                               -> best_threshold     -> of 0.00, 0.01 .. 1.00
    objects of one image       -> confused_objects   -> counts K+1 K+1 of true and predicted classes; the last: none
    counts of one or many      -> f1_of              -> F1

What is no pair of one class may be one of two: a prediction that found nothing, on a truth that was not found, is a
confusion of their classes. So the diagonal has the right ones of the curve at the threshold.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from vidi.metrics.detection import match_detections
from vidi.ops.boxes import box_iou, paired_box_share

MIN_IOU = 0.5
LEVELS = np.arange(101) / 100
"""The thresholds that are looked at: 0.00, 0.01 .. 1.00."""


class F1Curve(NamedTuple):
    """Shares in 0..1 at rising thresholds; NaN where they are of nothing."""

    thresholds: Float64[np.ndarray, " T"]
    precision: Float64[np.ndarray, " T"]  # NaN where no prediction is left
    recall: Float64[np.ndarray, " T"]  # NaN without truths
    f1: Float64[np.ndarray, " T"]  # NaN with neither


def f1_curve(
    scores: Float64[np.ndarray, " P"],
    right: Bool[np.ndarray, " P"],
    truths: int,
    thresholds: Float64[np.ndarray, " T"] = LEVELS,
) -> F1Curve:
    """Return F1, precision and recall of the predictions with a score of at least each threshold.

    `right` are those that found one of the `truths`, each of which is found once at most.
    """
    order = np.argsort(scores, kind="stable")
    below = np.searchsorted(scores[order], thresholds, side="left")
    found = right.sum() - np.concatenate([[0], np.cumsum(right[order])])[below]
    left = len(scores) - below
    return F1Curve(
        thresholds,
        _share(found, left),
        _share(found, np.full_like(found, truths)),
        _share(2 * found, left + truths),
    )


def _share(part: Int64[np.ndarray, " T"], whole: Int64[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def best_threshold(scores: Float64[np.ndarray, " P"], right: Bool[np.ndarray, " P"], truths: int) -> float | None:
    """Return the threshold of two digits with the best F1; of several in a row, the middle; None if nothing is right.

    What lies in the middle of a gap between the scores of right and wrong predictions suits other pictures best.
    """
    if not right.any():
        return None
    f1 = f1_curve(scores, right, truths).f1
    first = int(np.nanargmax(f1))
    last = first
    while last + 1 < len(f1) and f1[last + 1] == f1[first]:
        last += 1
    return float(LEVELS[(first + last) // 2])


class Objects(NamedTuple):
    """What is on one picture, predicted or true."""

    boxes: Float[Tensor, "N 4"]  # xyxy
    labels: Int64[Tensor, " N"]  # 0..K-1


def confused_objects(
    found: Objects,
    scores: Float[Tensor, " P"],
    truths: Objects,
    crowd: Bool[Tensor, " N"],
    *,
    classes: int,
    threshold: float | int,
) -> Int64[Tensor, "S S"]:
    """Count the objects of one image by true (rows) and predicted class; S = K + 1, the last are those of no class.

    Row k, column k are found; row k, column K missed; row K, column k false alarms. Predictions with a score below
    `threshold` are left out, and those on a crowd of their class (by half of their area) that found nothing.
    """
    above = scores >= threshold
    boxes, labels, scores = found.boxes[above].double(), found.labels[above], scores[above].double()
    real = Objects(truths.boxes[~crowd].double(), truths.labels[~crowd])
    overlaps = box_iou(boxes, real.boxes)  # P N
    is_like = labels[:, None] == real.labels
    own = match_detections(scores, torch.where(is_like, overlaps, 0), threshold=MIN_IOU)
    taken = torch.zeros(len(real.labels), dtype=torch.bool)
    taken[own.truths[own.correct]] = True
    free = ~own.correct & ~_on_crowd(boxes, labels, Objects(truths.boxes[crowd].double(), truths.labels[crowd]))
    rest = match_detections(scores[free], overlaps[free][:, ~taken], threshold=MIN_IOU)

    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    left = real.labels[~taken]
    missed = torch.ones(len(left), dtype=torch.bool)
    missed[rest.truths[rest.correct]] = False
    pairs = (
        (labels[own.correct], labels[own.correct]),
        (left[rest.truths[rest.correct]], labels[free][rest.correct]),
        (left[missed], torch.full_like(left[missed], classes)),
        (torch.full_like(labels[free][~rest.correct], classes), labels[free][~rest.correct]),
    )
    for true, predicted in pairs:
        counts.index_put_((true, predicted), torch.ones_like(true), accumulate=True)
    return counts


def _on_crowd(boxes: Tensor, labels: Tensor, crowds: Objects) -> Bool[Tensor, " P"]:
    """Tell which boxes lie by half of their area or more in a crowd of their class."""
    sides = (len(boxes), len(crowds.boxes), 4)
    shares = paired_box_share(boxes[:, None].expand(sides), crowds.boxes[None].expand(sides))
    return ((shares >= MIN_IOU) & (labels[:, None] == crowds.labels)).any(1)


def f1_of(counts: Int64[Tensor, "S S"]) -> float | None:
    """Return the F1 of counts by `confused_objects`; None where nothing was to be found and nothing was found."""
    right = int(counts.diagonal()[:-1].sum())
    objects = int(counts[:-1].sum() + counts[:, :-1].sum())
    return 2 * right / objects if objects else None
