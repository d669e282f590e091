"""Object keypoint similarity, and COCO's ten numbers for keypoints.

Lin et al. 2014 (arXiv 1405.0312), in the semantics of its evaluation code (`pycocotools.cocoeval`, iouType
"keypoints"), whose numbers these equal to 1e-12; notes 5.2.1:

    truths N J, predictions P J    joints of objects, flat rows: image, class; area, crowd; score
    -> OKS                         of each prediction with the truths of its image and class
    -> match, precision, recall    as for boxes, OKS in place of the overlap; the best 20 per class and image
    -> ten means                   over classes, thresholds and recalls that are not -1

A truth without a labelled joint is ignored, and so are crowds: what they match counts neither as true nor as false.
Joints match a truth without joints where they lie in its box, made three times as wide and high.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from torch import Tensor

from vidi.metrics.coco import AREA_RANGES, IOU_THRESHOLDS, RECALL_LEVELS
from vidi.results.detections import Detections

if TYPE_CHECKING:
    from vidi.metrics.coco_kernels import Candidates

OKS_THRESHOLDS = IOU_THRESHOLDS
MOST = 20  # predictions per class and image that count
EPSILON = np.spacing(1.0)

# Deviations of human annotators per square root of the object's area, of both sides of a body. Head and neck are those
# of CrowdPose (Li et al. 2019, arXiv 1812.00324), all others COCO's.
SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "head": 0.079,
    "neck": 0.079,
}
OTHER_SIGMA = 0.07  # of joints without a name in the table: about the mean of COCO's seventeen


def joint_sigmas(names: Sequence[str]) -> Float64[np.ndarray, " J"]:
    """Return the deviations of joints by name, of both sides alike; `OTHER_SIGMA` where COCO has no such joint."""
    plain = (name.removeprefix("left_").removeprefix("right_") for name in names)
    return np.array([SIGMAS.get(name, OTHER_SIGMA) for name in plain])


class KeypointTruths(NamedTuple):
    """Annotated objects of a data set, one row each, in any order."""

    image: Int64[np.ndarray, " N"]
    category: Int64[np.ndarray, " N"]
    points: Float64[np.ndarray, "N J 2"]
    visibility: UInt8[np.ndarray, "N J"]  # 0: not labelled
    boxes: Float64[np.ndarray, "N 4"]  # xyxy
    areas: Float64[np.ndarray, " N"]
    crowd: Bool[np.ndarray, " N"]


class KeypointPredictions(NamedTuple):
    """Detected objects, one row each, in any order; of equal scores the earlier row goes first within an image."""

    image: Int64[np.ndarray, " P"]
    category: Int64[np.ndarray, " P"]
    points: Float64[np.ndarray, "P J 2"]
    scores: Float64[np.ndarray, " P"]


class KeypointScores(NamedTuple):
    """COCO's ten numbers, each in 0..1 or -1 where nothing defines it, and the curves that they are means of."""

    ap: float  # mean over OKS 0.50:0.05:0.95
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float
    precision: Float64[np.ndarray, "T R K A"]
    recall: Float64[np.ndarray, "T K A"]

    def numbers(self) -> dict[str, float]:
        """Give the ten numbers by name, in COCO's order."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def ap_per_class(self, threshold: int | None = None) -> Float64[np.ndarray, " K"]:
        """Give the AP of each class, -1 without truths: at one of the ten similarities, or the mean over all."""
        curves = self.precision[slice(None) if threshold is None else [threshold], ..., 0]
        return np.where(curves[0, 0] > -1, curves.mean((0, 1)), -1.0)


_AREAS = list(AREA_RANGES)
_NUMBERS: dict[str, tuple[int | None, str]] = {  # name -> (number of a threshold or None for all, area range)
    f"{kind}{suffix}": chosen
    for kind in ("ap", "ar")
    for suffix, chosen in {
        "": (None, "all"),
        "50": (0, "all"),
        "75": (5, "all"),
        "_medium": (None, "medium"),
        "_large": (None, "large"),
    }.items()
}


def keypoint_similarities(
    points: Float64[np.ndarray, "P J 2"],
    truths: Float64[np.ndarray, "N J 2"],
    visibility: UInt8[np.ndarray, "N J"],
    boxes: Float64[np.ndarray, "N 4"],
    areas: Float64[np.ndarray, " N"],
    sigmas: Float64[np.ndarray, " J"],
) -> Float64[np.ndarray, "P N"]:
    """Return the similarities of predicted joints with true ones, in [0, 1]: the mean of exp(-d^2 / 2 s^2 k^2).

    d is the distance, s^2 the area of the object, k twice the deviation of the joint; the mean is over the labelled
    joints. Where none is labelled, d is the distance to the box made three times as wide and high, for all joints.
    """
    away = points[:, None] - truths[None]  # P N J 2
    corner1, corner2 = boxes[:, None, :2], boxes[:, None, 2:]  # N 1 2
    sides = corner2 - corner1
    beyond = np.maximum(corner1 - sides - points[:, None], 0) + np.maximum(points[:, None] - corner2 - sides, 0)
    labelled = visibility > 0  # N J
    bare = np.logical_not(np.any(labelled, axis=1))  # N
    distance = np.where(bare[:, None, None], beyond, away)
    error = (distance**2).sum(-1) / (2 * sigmas) ** 2 / (areas[:, None] + EPSILON) / 2  # P N J
    counted = labelled | bare[:, None]
    return (np.exp(-error) * counted).sum(-1) / np.maximum(counted.sum(-1), 1)


def keypoint_scores(
    truths: KeypointTruths,
    predictions: KeypointPredictions,
    *,
    images: int,
    categories: int,
    sigmas: Float64[np.ndarray, " J"],
) -> KeypointScores:
    """Score predicted joints against true ones as COCOeval does.

    The area range of a prediction is that of the box around its joints.
    """
    from vidi.metrics.coco_kernels import (
        Outcome,
        accumulate,
        count_positives,
        match,
        order_by_class_and_image,
        order_by_class_and_score,
        outside,
        rank_and_range,
    )

    ranges = np.array(list(AREA_RANGES.values()))
    truth_order, truth_starts = order_by_class_and_image(truths.category, truths.image, categories, images)
    truths = KeypointTruths(*(column[truth_order] for column in truths))
    uncounted = truths.crowd | ~(truths.visibility > 0).any(1)
    ignored = np.where(uncounted, 2 ** len(ranges) - 1, outside(truths.areas, ranges))
    scores = predictions.scores + 0.0  # no -0.0: it ties with 0.0
    order, starts = order_by_class_and_score(predictions.category, predictions.image, scores, categories, images)
    rank, near = rank_and_range(order, starts, predictions.image, truth_starts, truths.image, images, MOST)

    listed = _candidates(truths, predictions, order, near, sigmas)
    matched, to_ignored = match(listed, OKS_THRESHOLDS, len(ranges), ignored, truths.crowd)
    extents = np.ptp(predictions.points, axis=1).prod(1)[order]
    outcome = Outcome(rank, outside(extents, ranges), matched, to_ignored)

    limits = np.array([MOST])
    shape = (categories, len(ranges), 1, len(OKS_THRESHOLDS))  # K A M T
    precision, score_at = np.full((2, *shape, len(RECALL_LEVELS)), -1.0)
    recall = np.full(shape, -1.0)
    positives = count_positives(truth_starts, ignored, len(ranges))
    accumulate(
        starts, scores[order], outcome, positives, limits, OKS_THRESHOLDS, RECALL_LEVELS, precision, recall, score_at
    )
    return _ten_numbers(precision[:, :, 0].transpose(2, 3, 0, 1), recall[:, :, 0].transpose(2, 0, 1))


def _candidates(
    truths: KeypointTruths, predictions: KeypointPredictions, order: np.ndarray, near: np.ndarray, sigmas: np.ndarray
) -> "Candidates":
    """List the truths that each prediction of the walk may match, among those `near` it."""
    from vidi.metrics.coco_kernels import Candidates

    counts, rows, overlaps = [0], [np.empty(0, np.int64)], [np.empty(0)]
    for prediction, (first, last) in zip(order, near, strict=True):
        reached = np.empty(0, np.int64)
        if first < last:
            similar = keypoint_similarities(
                predictions.points[prediction][None],
                truths.points[first:last],
                truths.visibility[first:last],
                truths.boxes[first:last],
                truths.areas[first:last],
                sigmas,
            )[0]
            reached = np.flatnonzero(similar >= OKS_THRESHOLDS[0])
            rows.append(first + reached)
            overlaps.append(similar[reached])
        counts.append(len(reached))
    return Candidates(np.cumsum(counts), np.concatenate(rows).astype(np.int32), np.concatenate(overlaps))


def _ten_numbers(precision: np.ndarray, recall: np.ndarray) -> KeypointScores:
    numbers = {}
    for name, (threshold, area) in _NUMBERS.items():
        curves = precision if name.startswith("ap") else recall
        values = curves[slice(None) if threshold is None else threshold][..., _AREAS.index(area)]
        defined = values[values > -1]
        numbers[name] = float(defined.mean()) if len(defined) else -1.0
    return KeypointScores(**numbers, precision=precision, recall=recall)


class KeypointEvaluator:
    """Gather the joints found in a data set image by image, and score them at the end."""

    def __init__(self, categories: int, sigmas: Sequence[float]):
        self.categories = categories
        self.sigmas = np.array(sigmas, np.float64)
        self._images: dict[int, tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]] = {}

    def update(self, predictions: Sequence[Detections], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Take the detections of some images with their keypoints, and their targets, in pixels of the originals.

        A target has `image_id`, `boxes`, `labels`, `keypoints` (N J 2) and `visibility` (N J); `crowd` defaults to
        none, `areas` to those of the boxes.

        Raises:
            ValueError: if keypoints are missing or of another number, or an image comes twice.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            image = int(target["image_id"])
            if image in self._images:
                raise ValueError(f"image {image} was given before")
            if prediction.keypoints is None or not {"keypoints", "visibility"} <= target.keys():
                raise ValueError(f"the prediction or the target of image {image} has no keypoints")
            joints = {len(self.sigmas), prediction.keypoints.shape[1], target["keypoints"].shape[1]}
            if len(joints) > 1:
                raise ValueError(f"image {image} has {sorted(joints)} joints, expected {len(self.sigmas)}")
            points = prediction.keypoints[..., :2]
            found = prediction.labels.numpy().copy(), _float64(points), _float64(prediction.scores)
            self._images[image] = _truths_of(target), found

    def compute(self) -> KeypointScores:
        """Score all images seen; ValueError where there are none."""
        if not self._images:
            raise ValueError("no images to score: update() was never called")
        seen = [self._images[image] for image in sorted(self._images)]
        truths, predictions = ([rows[side] for rows in seen] for side in (0, 1))
        return keypoint_scores(
            KeypointTruths(_image_numbers(truths), *map(np.concatenate, zip(*truths, strict=True))),
            KeypointPredictions(_image_numbers(predictions), *map(np.concatenate, zip(*predictions, strict=True))),
            images=len(seen),
            categories=self.categories,
            sigmas=self.sigmas,
        )


def _image_numbers(images: Sequence[tuple[np.ndarray, ...]]) -> Int64[np.ndarray, " N"]:
    return np.repeat(np.arange(len(images)), [len(columns[0]) for columns in images])


def _truths_of(target: Mapping[str, Tensor]) -> tuple[np.ndarray, ...]:
    """Return the columns of `KeypointTruths` but the image."""
    boxes = _float64(target["boxes"])
    sides = boxes[:, 2:] - boxes[:, :2]
    crowd = target["crowd"].cpu().numpy().astype(bool) if "crowd" in target else np.zeros(len(boxes), bool)
    return (
        target["labels"].cpu().numpy().astype(np.int64),
        _float64(target["keypoints"]),
        target["visibility"].cpu().numpy().astype(np.uint8),
        boxes,
        _float64(target["areas"]) if "areas" in target else sides.prod(1),
        crowd,
    )


def _float64(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)
