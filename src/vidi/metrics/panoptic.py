"""Panoptic quality: how well segments are found, and how well those that are found cover theirs.

Kirillov, He, Girshick, Rother, Dollar 2019, "Panoptic Segmentation", arXiv 1801.00868, section 4 (the notes name no
measure for the task). For each class, with the matches of segments of an IoU above 1/2:

    SQ = sum of the matches' IoU / TP        RQ = TP / (TP + FP/2 + FN/2)        PQ = SQ x RQ

and the means over the classes that occur, in the truth or among the predictions. Void and crowds as COCO's panopticapi
has them: pixels without truth count for no prediction, crowds are neither matched nor missed, and excuse predictions.

    maps  ids H W of the truth and of the prediction, and the label of each id
    state counts K 5, exact whole numbers whatever the order of the images

An IoU above 1/2 is a whole number of 2^-53 in float64, so that sums of them are kept as whole numbers, in two limbs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from vidi.ops.segments import LARGEST, segments_of
from vidi.results.panoptic_map import PanopticMap

UNIT, LIMB = 2**53, 2**26


class LabelledMap(NamedTuple):
    """A map of segment ids, and what the segments are; pixels of other ids are void."""

    map: Int[np.ndarray, "H W"]
    ids: Int64[np.ndarray, " S"]
    labels: Int64[np.ndarray, " S"]
    crowd: Bool[np.ndarray, " S"] | None = None  # None: no segment is one


@dataclass(frozen=True)
class PanopticScores:
    """The qualities of each class, 0 for those that do not occur."""

    pq: Float64[np.ndarray, " K"]
    sq: Float64[np.ndarray, " K"]
    rq: Float64[np.ndarray, " K"]
    occurs: Bool[np.ndarray, " K"]
    things: Bool[np.ndarray, " K"]
    segments: Int64[np.ndarray, " K"]  # true ones, without crowds

    def numbers(self) -> dict[str, float]:
        """Return the means over the classes that occur: all, things, stuff; -1 where none does."""
        groups = {"": self.occurs, "_things": self.occurs & self.things, "_stuff": self.occurs & ~self.things}
        return {
            f"{name}{suffix}": float(values[group].mean()) if group.any() else -1.0
            for suffix, group in groups.items()
            for name, values in (("pq", self.pq), ("sq", self.sq), ("rq", self.rq))
        }


class PanopticEvaluator:
    """Collects matches of segments image by image; memory does not grow with their number."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = np.zeros((classes, 5), np.int64)  # TP, FP, FN, IoU in units of 2^-53: high and low limb
        self.things = np.zeros(classes, bool)

    def add(self, found: LabelledMap, truth: LabelledMap) -> None:
        """Add one image.

        Raises:
            ValueError: if the maps are not of one size, an id is not positive or comes twice, or a label is not 0..K-1.
        """
        from vidi.metrics.panoptic_kernels import count_overlaps, judge

        if found.map.shape != truth.map.shape:
            raise ValueError(f"received maps of {found.map.shape} and {truth.map.shape}, expected one size")
        (found_map, found_rows), (truth_map, truth_rows) = self._rows(found, "found"), self._rows(truth, "true")
        overlaps = np.zeros((len(truth.ids) + 1, len(found.ids) + 1), np.int64)
        if found_map.size:
            count_overlaps(truth_map, truth_rows, found_map, found_rows, overlaps)
        crowd = np.zeros(len(truth.ids) + 1, bool)
        if truth.crowd is not None:
            crowd[1:] = truth.crowd
        judge(overlaps, _after_void(truth.labels), crowd, _after_void(found.labels), float(UNIT), self.counts)

    def _rows(self, side: LabelledMap, which: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a flat map of small ids, and the row of each id; 0 for those that no segment has."""
        ids, labels = side.ids, side.labels
        if len(ids) != len(labels) or len(np.unique(ids)) < len(ids) or (ids < 1).any():
            given = f"{which} segments with the ids {ids.tolist()} and {len(labels)} labels"
            raise ValueError(f"received {given}, expected a label for each of different ids from 1")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.classes:
            raise ValueError(f"received labels from {labels.min()} to {labels.max()}, expected 0..{self.classes - 1}")
        flat = np.ascontiguousarray(side.map).reshape(-1)
        low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
        if low < 0:
            raise ValueError(f"received a map with the id {low}, expected 0 or more")
        if high > LARGEST:
            known, flat = np.unique(flat, return_inverse=True)
            row_of = {int(number): row for row, number in enumerate(ids, 1)}
            rows = np.array([row_of.get(int(number), 0) for number in known])
        else:
            rows = np.zeros(high + 1, np.int64)
            shown = ids <= high
            rows[ids[shown]] = np.flatnonzero(shown) + 1
        return flat.astype(np.int32, copy=False), rows

    def update(self, results: Sequence[PanopticMap], targets: Sequence[Mapping[str, Any]]) -> None:
        """Add images: their results, and targets with `panoptic`, `semantic` and maybe `crowd`."""
        for result, target in zip(results, targets, strict=True):
            truth = segments_of(target)
            ids, labels = (np.array([getattr(s, key) for s in result], np.int64) for key in ("id", "label"))
            self.things[truth.labels[truth.is_object].numpy()] = True
            self.things[[segment.label for segment in result if segment.is_thing]] = True
            true_map = LabelledMap(
                np.asarray(target["panoptic"]), truth.ids.numpy(), truth.labels.numpy(), truth.crowd.numpy()
            )
            self.add(LabelledMap(result.ids.numpy(), ids, labels), true_map)

    def compute(self) -> PanopticScores:
        """Return the scores of all images so far."""
        tp, fp, fn = (self.counts[:, column].astype(float) for column in range(3))
        iou = np.array([(int(high) * LIMB + int(low)) / UNIT for high, low in self.counts[:, 3:]])
        occurs = tp + fp + fn > 0
        sq = iou / np.where(tp > 0, tp, 1)
        rq = tp / np.where(occurs, tp + fp / 2 + fn / 2, 1)
        pq = iou / np.where(occurs, tp + fp / 2 + fn / 2, 1)
        return PanopticScores(pq, sq, rq, occurs, self.things.copy(), self.counts[:, 0] + self.counts[:, 2])


def _after_void(labels: Int64[np.ndarray, " S"]) -> Int64[np.ndarray, " R"]:
    return np.concatenate((np.zeros(1, np.int64), labels))
