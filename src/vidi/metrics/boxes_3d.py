"""Errors of boxes in space: depth, size and orientation of detections that were matched by their boxes in the picture.

Zhou et al. 2019 (CenterNet, arXiv 1904.07850, section 5.2) and Geiger et al. 2012 (KITTI) for the average orientation
similarity; Caesar et al. 2020 (nuScenes, arXiv 1903.11027) for the size error and the one number of all; notes 4.3.5.

    match        per image and class, greedily in falling score, each truth once, from an IoU of 0.5 in the picture on
    errors       means over the matched pairs of all classes
    AOS          the precision-recall curve with (1 + cos) / 2 of the yaw's error in place of each true positive
    score        half the mean average precision, half what is left of three errors that are cut off at 1

Precision is averaged over 11 recalls. Crowds are no truth, and an unmatched detection on one counts neither as true nor
as false.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.metrics.detection import average_precision, match_detections, precision_recall_curve
from vidi.ops.boxes import box_iou
from vidi.ops.boxes_3d import wrap_angles
from vidi.results.detections import Detections

MIN_IOU = 0.5
UNDEFINED = -1.0  # error of no pair


@dataclass(frozen=True)
class Box3dScores:
    """Errors of the matched pairs (-1 where there is none), and scores in 0..1 of all detections, -1 without truths."""

    score: float  # (ap + mean of 1 - min(error, 1) of depth, size and orientation) / 2
    ap: float  # mean over classes of the precision at 11 recalls
    aos: float  # the same with the similarity of orientations
    matched: float  # share of the truths that a detection was matched with
    depth_error: float  # metres
    relative_depth_error: float  # of the true depth
    size_error: float  # 1 - IoU of the boxes, put on top of each other and turned alike
    side_error: float  # metres, mean of the three sides
    orientation_error: float  # radians, at most pi

    def numbers(self) -> dict[str, float]:
        """Return all numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class PairErrors:
    """What is wrong with each detection of a matched pair."""

    depth: Float[Tensor, " N"]  # metres
    relative_depth: Float[Tensor, " N"]
    size: Float[Tensor, " N"]
    side: Float[Tensor, " N"]  # metres
    orientation: Float[Tensor, " N"]  # radians, in [0, pi]


def pair_errors(found: Float[Tensor, "N 7"], truth: Float[Tensor, "N 7"]) -> PairErrors:
    """Return the errors of 3-D boxes against those that they were matched with, see `vidi.ops.boxes_3d`."""
    depth = (found[:, 2] - truth[:, 2]).abs()
    sides, true_sides = found[:, 3:6].clamp(min=0), truth[:, 3:6]
    shared = torch.minimum(sides, true_sides).prod(1)
    whole = sides.prod(1) + true_sides.prod(1) - shared
    turned = wrap_angles(found[:, 6] - truth[:, 6]).abs()
    return PairErrors(
        depth, depth / truth[:, 2], 1 - shared / whole, (found[:, 3:6] - true_sides).abs().mean(1), turned
    )


class Box3dEvaluator:
    """Gather the 3-D boxes of a data set image by image, and score them at the end."""

    def __init__(self, categories: int):
        self.categories = categories
        # per class and image: scores P, 3-D boxes P 7, those of the truths that they were matched with P 7 (or NaN)
        self._rows: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in range(categories)]
        self._positives = [0] * categories

    def update(self, predictions: Sequence[Detections], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Take the detections of some images with their 3-D boxes, and their targets, in pixels of the originals.

        A target has `boxes`, `labels` and `boxes_3d`, maybe `crowd`. Where it has `intrinsics`, the detections are
        seen by this camera: a picture alone does not tell its own.

        Raises:
            ValueError: if 3-D boxes are missing.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            _boxes_of(prediction)
            if "boxes_3d" not in target:
                raise ValueError(f"received a target with {sorted(target)}, expected boxes_3d")
            if "intrinsics" in target:
                prediction = prediction.with_camera(target["intrinsics"])
            crowd = target["crowd"].bool() if "crowd" in target else torch.zeros(len(target["labels"])) > 0
            for k in range(self.categories):
                self._add(k, prediction, {name: target[name] for name in ("boxes", "labels", "boxes_3d")}, crowd)

    def _add(self, k: int, prediction: Detections, target: Mapping[str, Tensor], crowd: Bool[Tensor, " M"]) -> None:
        """Match the objects of one class in one image."""
        own, known = prediction.labels == k, (target["labels"] == k) & ~crowd
        scores, boxes = prediction.scores[own].double(), prediction.boxes[own].double()
        truth_boxes = target["boxes"].as_subclass(Tensor).double()
        matches = match_detections(scores, box_iou(boxes, truth_boxes[known]), threshold=MIN_IOU)
        in_crowd = box_iou(boxes, truth_boxes[crowd & (target["labels"] == k)]) >= MIN_IOU
        counted = matches.correct | ~in_crowd.any(1)
        truths = torch.full((len(boxes), 7), torch.nan, dtype=torch.float64)
        truths[matches.correct] = target["boxes_3d"][known].double()[matches.truths[matches.correct]]
        rows = (scores, _boxes_of(prediction)[own].double(), truths)
        self._rows[k].append((rows[0][counted], rows[1][counted], rows[2][counted]))
        self._positives[k] += int(known.sum())

    def compute(self) -> Box3dScores:
        """Score all images seen; everything is -1 where they hold no object."""
        if not any(self._positives):
            return Box3dScores(**{field.name: UNDEFINED for field in fields(Box3dScores)})
        precisions, similarities, pairs = [], [], []
        for rows, positives in zip(self._rows, self._positives, strict=True):
            if not positives:
                continue
            scores, found, truths = (torch.cat(column) for column in zip(*rows, strict=True))
            hits = ~truths[:, 0].isnan()
            curve = precision_recall_curve(scores, hits, positives)
            order = scores.argsort(descending=True, stable=True)
            similar = torch.where(hits, (1 + (found[:, 6] - truths[:, 6]).cos()) / 2, 0)[order]
            rate = similar.cumsum(0) / torch.arange(1, len(order) + 1)
            precisions.append(average_precision(curve.recall, curve.precision, mode="eleven_points"))
            similarities.append(average_precision(curve.recall, rate, mode="eleven_points"))
            pairs.append(torch.stack((found[hits], truths[hits])))
        errors = pair_errors(*torch.cat(pairs, 1))
        ap = float(torch.tensor(precisions).mean())
        parts = [_mean(error) for error in (errors.relative_depth, errors.size, errors.orientation)]
        left = [1 - min(error, 1.0) if error != UNDEFINED else 0.0 for error in parts]
        return Box3dScores(
            score=(ap + sum(left) / len(left)) / 2,
            ap=ap,
            aos=float(torch.tensor(similarities).mean()),
            matched=len(errors.depth) / sum(self._positives),
            depth_error=_mean(errors.depth),
            relative_depth_error=parts[0],
            size_error=parts[1],
            side_error=_mean(errors.side),
            orientation_error=parts[2],
        )


def _boxes_of(prediction: Detections) -> Tensor:
    if prediction.boxes_3d is None:
        raise ValueError("received a prediction without boxes_3d")
    return prediction.boxes_3d


def _mean(errors: Float[Tensor, " N"]) -> float:
    return float(errors.mean()) if len(errors) else UNDEFINED
