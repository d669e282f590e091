"""From many overlapping hits to one box an object: OpenCV's grouping, or non-maximum suppression (section 4.2.4).

    hits N -> groups of similar boxes -> those with more than `minimum` neighbours -> mean box, score

A lone hit is most often a false alarm, while an object is hit many times at neighbouring places and scales. Non-maximum
suppression, which the notes describe, keeps the best of overlapping boxes however few they are, and takes objects that
overlap more than its threshold for one.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from vidi.detection.viola_jones.scanning import Hits
from vidi.ops.suppression import non_maximum_suppression

TOLERANCE = 0.2
"""How far the sides of similar boxes may be apart, as a share of the boxes' mean side."""


class Groups(NamedTuple):
    """Merged boxes."""

    boxes: Int64[np.ndarray, "G 4"]  # x, y, width, height
    neighbours: Int64[np.ndarray, " G"]  # how many boxes were merged
    members: Int64[np.ndarray, " N"]  # the group of every input box, -1 for none


def group_rectangles(boxes: Int64[np.ndarray, "N 4"], minimum: int = 3, tolerance: float = TOLERANCE) -> Groups:
    """Merge similar boxes as OpenCV's `groupRectangles`: means of groups of more than `minimum` boxes.

    A group within a larger one of more members is left out. With `minimum` 0 the boxes stay as they are.

    Raises:
        ValueError: for a negative minimum or tolerance.
    """
    from vidi.detection.viola_jones import scanning_kernels

    if minimum < 0 or tolerance < 0:
        raise ValueError(f"received minimum={minimum} and tolerance={tolerance}, expected 0 or more")
    if minimum == 0 or len(boxes) == 0:
        alone = np.arange(len(boxes))
        return Groups(boxes.copy(), np.ones(len(boxes), np.int64), alone)
    labels = scanning_kernels.partition(np.ascontiguousarray(boxes), float(tolerance))
    counts = np.bincount(labels)
    sums = np.stack([np.bincount(labels, boxes[:, side]) for side in range(4)], 1)  # whole numbers, exact
    means = np.rint(sums.astype(np.float32) * (np.float32(1) / counts.astype(np.float32))[:, None]).astype(np.int64)
    kept = [
        g for g in np.flatnonzero(counts > minimum).tolist() if not _swallowed(g, means, counts, minimum, tolerance)
    ]
    places = np.full(len(counts), -1)
    places[kept] = np.arange(len(kept))
    return Groups(means[kept], counts[kept], places[labels])


def _swallowed(g: int, boxes: np.ndarray, counts: np.ndarray, minimum: int, tolerance: float) -> bool:
    """Tell whether a group lies within another that counts more."""
    x, y, width, height = boxes[g]
    dx, dy = (np.rint(boxes[:, side] * tolerance) for side in (2, 3))
    within = (x >= boxes[:, 0] - dx) & (y >= boxes[:, 1] - dy)
    within &= x + width <= boxes[:, 0] + boxes[:, 2] + dx
    within &= y + height <= boxes[:, 1] + boxes[:, 3] + dy
    heavier = (counts > max(3, counts[g])) if counts[g] >= 3 else np.ones(len(counts), bool)
    others = (np.arange(len(counts)) != g) & (counts > minimum)
    return bool((within & heavier & others).any())


class Merged(NamedTuple):
    """One box for each object."""

    boxes: Float64[np.ndarray, "G 4"]  # xyxy
    scores: Float64[np.ndarray, " G"]  # in [0, 1]


def confidence(margins: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Turn votes above the limit of the last stage into a probability in [0.5, 1].

    The votes of AdaBoost approach the log odds of the two classes (Friedman et al. 2000), those of a stage are taken
    against its limit.
    """
    return 1 / (1 + np.exp(-np.maximum(margins, 0)))


def merge_by_groups(hits: Hits, minimum: int = 3, tolerance: float = TOLERANCE) -> Merged:
    """Group hits; the score s / (s + minimum) of a group grows with its members' confidences, s is twice their sum.

    Groups that pass have scores above 0.5.
    """
    groups = group_rectangles(hits.boxes, minimum, tolerance)
    inside = groups.members >= 0
    strength = 2 * np.bincount(groups.members[inside], confidence(hits.margins[inside]), len(groups.boxes))
    return Merged(_corners(groups.boxes), strength / (strength + max(1, minimum)))


def merge_by_suppression(hits: Hits, threshold: float = 0.5) -> Merged:
    """Keep the surest of hits that overlap by an IoU above the threshold; scores are their confidences."""
    boxes, scores = _corners(hits.boxes), confidence(hits.margins)
    # by margins: far above the limit confidences round to 1
    kept = non_maximum_suppression(torch.from_numpy(boxes), torch.from_numpy(hits.margins), threshold).numpy()
    return Merged(boxes[kept], scores[kept])


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Turn x, y, width, height into xyxy."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1).astype(np.float64)
