"""COCO's twelve numbers for boxes and masks, from flat arrays.

Lin et al. 2014, Microsoft COCO (arXiv 1405.0312), in the semantics of its evaluation code (`pycocotools.cocoeval`),
whose numbers these equal to 1e-12:

    truths N, predictions P   flat rows: image, class, box, area; crowd or score; masks
    -> match                  per image and class, greedily in falling score, at 10 overlaps and 4 area ranges
    -> precision T R K A M    envelope at 101 recalls; recall T K A M; -1 where a class has no truth
    -> twelve means           over classes, overlaps and recalls that are not -1

Crowds and truths outside the area range are ignored: what matches them counts neither as true nor as false, as do
unmatched predictions outside the range. A crowd may be matched often, by the share of the prediction that it covers.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from vidi.metrics.coco_rows import Kind, Predictions, Truths, check_mask_sizes, checked, reordered, sizes_of
from vidi.ops.masks import CodedMasks, pack_runs
from vidi.results.detections import Detections

if TYPE_CHECKING:
    from vidi.metrics.coco_kernels import Candidates, Outcome

PARALLEL_FROM = 10_000  # masks above which two threads decode them
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {  # square pixels, both limits inside
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}


@dataclass(frozen=True)
class CocoScores:
    """COCO's twelve numbers, each in 0..1 or -1 where nothing defines it, and the curves that they are means of."""

    ap: float  # mean over IoU 0.50:0.05:0.95
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float  # recall with one prediction per class and image (the first of max_detections), mean over IoU
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    precision: Float64[np.ndarray, "T R K A M"]
    recall: Float64[np.ndarray, "T K A M"]
    scores: Float64[np.ndarray, "T R K A M"]  # of the prediction at which the recall is reached
    kind: Kind
    max_detections: tuple[int, int, int]
    found: "Found"

    def numbers(self) -> dict[str, float]:
        """Give the twelve numbers by name, in COCO's order."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def ap_per_class(self, threshold: float | None = None, area: str = "all") -> Float64[np.ndarray, " K"]:
        """Give the AP of each class, -1 without truths: at one IoU threshold, or the mean over all ten (default)."""
        chosen = slice(None) if threshold is None else _threshold_index(threshold)
        curves = self.precision[chosen, :, :, _area_index(area), -1].reshape(
            -1, len(RECALL_LEVELS), self.recall.shape[1]
        )
        return np.where(curves[0, 0] > -1, curves.mean((0, 1)), -1.0)

    def curve(self, category: int, threshold: float = 0.5, area: str = "all") -> Float64[np.ndarray, " R"]:
        """Give the precision envelope of one class at the 101 `RECALL_LEVELS`, -1 without truths."""
        return self.precision[_threshold_index(threshold), :, category, _area_index(area), -1]

    def summary(self) -> str:
        """Give the twelve lines of COCOeval's print-out."""
        few, some, many = self.max_detections
        return "\n".join(
            " {:<18} {} @[ IoU={:<9} | area={:>6s} | maxDets={:>3d} ] = {:0.3f}".format(
                "Average Precision" if name.startswith("ap") else "Average Recall",
                "(AP)" if name.startswith("ap") else "(AR)",
                "0.50:0.95" if threshold is None else f"{threshold:0.2f}",
                area,
                (few, some, many)[limit],
                value,
            )
            for (name, (threshold, area, limit)), value in zip(_NUMBERS.items(), self.numbers().values(), strict=True)
        )


class Found(NamedTuple):
    """What became of the predictions that count at an IoU of 0.50, by class and falling score; and truths by class."""

    labels: Int64[np.ndarray, " P"]
    scores: Float64[np.ndarray, " P"]
    right: Bool[np.ndarray, " P"]  # it found a truth
    truths: Int64[np.ndarray, " K"]  # that count


class Overlaps(NamedTuple):
    """The truths that predictions overlap by at least the lowest threshold; prediction p has rows starts[p]...."""

    areas: Float64[np.ndarray, " P"]  # of the predictions' masks
    starts: Int64[np.ndarray, " _"]  # P+1
    truths: Int64[np.ndarray, " C"]  # rows of the truths
    overlaps: Float64[np.ndarray, " C"]

    @classmethod
    def joined(cls, images: Sequence["Overlaps"], counts: Sequence[int]) -> "Overlaps":
        """Join those of images that have so many truths each."""
        firsts = np.concatenate([[0], np.cumsum(counts)])
        sizes = np.concatenate([np.zeros(1, np.int64), *(np.diff(one.starts) for one in images)])
        return cls(
            np.concatenate([np.empty(0), *(one.areas for one in images)]),
            np.cumsum(sizes),
            np.concatenate(
                [np.empty(0, np.int64), *(one.truths + first for one, first in zip(images, firsts, strict=False))]
            ),
            np.concatenate([np.empty(0), *(one.overlaps for one in images)]),
        )

    def rows(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts of predictions in another order, and which of the C rows come one after the other."""
        sizes = np.diff(self.starts)[order]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return starts, np.repeat(self.starts[:-1][order] - starts[:-1], sizes) + np.arange(starts[-1])

    def in_order(self, order: np.ndarray, truth_order: np.ndarray) -> "Candidates":
        """Return them as a walk in these orders of predictions and truths takes them."""
        from vidi.metrics.coco_kernels import Candidates

        place = np.empty(len(truth_order), np.int32)
        place[truth_order] = np.arange(len(truth_order), dtype=np.int32)
        starts, rows = self.rows(order)
        return Candidates(starts, place[self.truths[rows]], self.overlaps[rows])


# name -> (IoU threshold or None for the mean over all, area range, which of max_detections)
_NUMBERS: dict[str, tuple[float | None, str, int]] = {
    "ap": (None, "all", 2),
    "ap50": (0.5, "all", 2),
    "ap75": (0.75, "all", 2),
    "ap_small": (None, "small", 2),
    "ap_medium": (None, "medium", 2),
    "ap_large": (None, "large", 2),
    "ar1": (None, "all", 0),
    "ar10": (None, "all", 1),
    "ar100": (None, "all", 2),
    "ar_small": (None, "small", 2),
    "ar_medium": (None, "medium", 2),
    "ar_large": (None, "large", 2),
}


def _threshold_index(threshold: float) -> int:
    index = int(np.abs(IOU_THRESHOLDS - threshold).argmin())
    if abs(IOU_THRESHOLDS[index] - threshold) > 1e-9:
        raise ValueError(f"IoU threshold {threshold} is none of {[round(float(t), 2) for t in IOU_THRESHOLDS]}")
    return index


def _area_index(area: str) -> int:
    if area not in AREA_RANGES:
        raise ValueError(f"area range {area!r} is none of {list(AREA_RANGES)}")
    return list(AREA_RANGES).index(area)


def coco_scores(
    truths: Truths,
    predictions: Predictions,
    *,
    images: int,
    categories: int,
    kind: Kind = "boxes",
    max_detections: tuple[int, int, int] = (1, 10, 100),
    overlaps: Overlaps | None = None,
) -> CocoScores:
    """Score predictions against truths as COCOeval does.

    `max_detections` are the best per class and image that count: for ar1, for ar10, and for everything else. `overlaps`
    of masks, found before, take the place of the masks. ValueError where rows differ in count, image or category
    numbers are out of range, values not finite, or masks missing.
    """
    if kind not in ("boxes", "masks"):
        raise ValueError(f"kind {kind!r} is none of 'boxes', 'masks'")
    if len(max_detections) != 3 or sorted(set(max_detections)) != list(max_detections) or max_detections[0] < 1:
        raise ValueError(f"expected three rising positive limits as max_detections, received {max_detections}")
    looked_at: Kind = kind if overlaps is None else "boxes"
    truths = checked("truths", truths, images, categories, looked_at)
    predictions = checked("predictions", predictions, images, categories, looked_at)
    if looked_at == "masks":
        check_mask_sizes(truths, predictions, images)
    walk = _matched(truths, predictions, images, categories, kind, max_detections[-1], overlaps)
    precision, recall, scores = _accumulated(walk, max_detections)
    return CocoScores(
        **_twelve_numbers(precision, recall),
        precision=precision,
        recall=recall,
        scores=scores,
        kind=kind,
        max_detections=max_detections,
        found=_found(walk, max_detections[-1]),
    )


class _Walk(NamedTuple):
    """All predictions by class and falling score, and what became of them."""

    starts: np.ndarray  # K+1, where each class starts
    scores: np.ndarray  # P
    outcome: "Outcome"
    positives: np.ndarray  # K A, truths that count


class _Order(NamedTuple):
    """In which order a walk looks at predictions, and where the truths of the class and image of each are."""

    truth_order: np.ndarray  # N, by class and image
    truth_starts: np.ndarray  # K+1
    order: np.ndarray  # P, by class and falling score
    starts: np.ndarray  # K+1
    rank: np.ndarray  # P, among those of its class and image
    near: np.ndarray  # P 2, first and last + 1 of the ordered truths; empty from rank `limit` on


def _ordered(truths: Truths, predictions: Predictions, images: int, categories: int, limit: int) -> _Order:
    from vidi.metrics.coco_kernels import order_by_class_and_image, order_by_class_and_score, rank_and_range

    truth_order, truth_starts = order_by_class_and_image(truths.category, truths.image, categories, images)
    scores = predictions.scores + 0.0  # no -0.0: it ties with 0.0
    order, starts = order_by_class_and_score(predictions.category, predictions.image, scores, categories, images)
    rank, near = rank_and_range(
        order, starts, predictions.image, truth_starts, truths.image[truth_order], images, limit
    )
    return _Order(truth_order, truth_starts, order, starts, rank, near)


def _matched(
    truths: Truths,
    predictions: Predictions,
    images: int,
    categories: int,
    kind: Kind,
    limit: int,
    overlaps: Overlaps | None,
) -> _Walk:
    from vidi.metrics.coco_kernels import Outcome, count_positives, match, outside

    ranges = np.array(list(AREA_RANGES.values()))
    walk = _ordered(truths, predictions, images, categories, limit)
    truths = reordered(truths, walk.truth_order)
    ignored = np.where(truths.crowd, 2 ** len(ranges) - 1, outside(truths.areas, ranges))
    if overlaps is None:
        candidates, areas = _overlaps(truths, predictions, walk.order, walk.near, kind)
    else:
        candidates, areas = overlaps.in_order(walk.order, walk.truth_order), overlaps.areas
    matched, to_ignored = match(candidates, IOU_THRESHOLDS, len(ranges), ignored, truths.crowd)
    outcome = Outcome(walk.rank, outside(areas, ranges)[walk.order], matched, to_ignored)
    positives = count_positives(walk.truth_starts, ignored, len(ranges))
    return _Walk(walk.starts, (predictions.scores + 0.0)[walk.order], outcome, positives)


def _overlaps(
    truths: Truths, predictions: Predictions, order: np.ndarray, near: np.ndarray, kind: Kind
) -> tuple["Candidates", np.ndarray]:
    """Give what each prediction of the walk may match among the truths `near` it, and the areas of predictions."""
    from vidi.metrics.coco_kernels import box_candidates, mask_candidates

    if kind == "masks":
        both = predictions.masks or (), truths.masks or ()
        if torch.get_num_threads() > 1 and sum(map(len, both)) >= PARALLEL_FROM:
            with ThreadPoolExecutor(2) as pool:
                masks, truth_masks = pool.map(pack_runs, both)
        else:
            masks, truth_masks = map(pack_runs, both)
        candidates = mask_candidates(order, near, masks, truth_masks, truths.crowd, IOU_THRESHOLDS[0])
        areas = masks.areas.astype(np.float64)
    else:
        sizes, truth_sizes = sizes_of(predictions), sizes_of(truths)
        candidates = box_candidates(
            order, near, predictions.boxes, sizes, truths.boxes, truth_sizes, truths.crowd, IOU_THRESHOLDS[0]
        )
        areas = sizes[:, 0] * sizes[:, 1]
    return candidates, areas if predictions.areas is None else predictions.areas


def _accumulated(walk: _Walk, max_detections: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give precision T R K A M, recall T K A M and the scores T R K A M at which recalls are reached."""
    from vidi.metrics.coco_kernels import accumulate

    limits = np.array(max_detections, np.int64)
    shape = (*walk.positives.shape, len(limits), len(IOU_THRESHOLDS))  # K A M T
    precision, scores = np.full((2, *shape, len(RECALL_LEVELS)), -1.0)
    recall = np.full(shape, -1.0)
    accumulate(*walk, limits, IOU_THRESHOLDS, RECALL_LEVELS, precision, recall, scores)
    return precision.transpose(3, 4, 0, 1, 2), recall.transpose(3, 0, 1, 2), scores.transpose(3, 4, 0, 1, 2)


def _found(walk: _Walk, limit: int) -> Found:
    """Read the lowest overlap and the range of all areas, bit 0, off what became of the predictions."""
    matched, to_ignored = ((bits & 1).astype(bool) for bits in (walk.outcome.matched, walk.outcome.to_ignored))
    counted = (walk.outcome.rank < limit) & ~to_ignored
    labels = np.repeat(np.arange(len(walk.positives)), np.diff(walk.starts))
    return Found(labels[counted], walk.scores[counted], matched[counted], walk.positives[:, 0].copy())


def _twelve_numbers(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    numbers = {}
    for name, (threshold, area, limit) in _NUMBERS.items():
        values = precision if name.startswith("ap") else recall
        chosen = slice(None) if threshold is None else _threshold_index(threshold)
        values = values[chosen][..., _area_index(area), limit]
        defined = values[values > -1]
        numbers[name] = float(defined.mean()) if len(defined) else -1.0
    return numbers


class _Scored(NamedTuple):
    """What is kept of one image: its rows of `Truths` and of `Predictions`, without the image number and the masks."""

    truths: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # category, boxes, areas, crowd
    predictions: tuple[np.ndarray, np.ndarray, np.ndarray]  # category, boxes, scores
    overlaps: Overlaps | None  # of masks


class CocoEvaluator:
    """Gather the detections of a data set image by image and score them at the end.

    Images are told apart and ordered by their id, so that any order of updates and any split over processes gives the
    same numbers. Of masks only their areas and overlaps are kept.
    """

    def __init__(
        self,
        categories: int,  # K; labels are 0..K-1
        *,
        kind: Kind = "boxes",
        max_detections: tuple[int, int, int] = (1, 10, 100),
    ) -> None:
        self.categories = categories
        self.kind: Kind = kind
        self.max_detections = max_detections
        self._images: dict[int, _Scored] = {}

    def __len__(self) -> int:
        """Count the images seen."""
        return len(self._images)

    def update(self, predictions: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        """Take the detections of some images and their targets, both in pixels of the original image.

        A target has `image_id`, `boxes` (xyxy), `labels`, and `masks` where masks are scored; `crowd` defaults to none,
        `areas` to those of the masks, else of the boxes. ValueError where a key is missing or an image comes twice.
        """
        if len(predictions) != len(targets):
            raise ValueError(f"received predictions of {len(predictions)} images and targets of {len(targets)}")
        needed = {"image_id", "boxes", "labels"} | ({"masks"} if self.kind == "masks" else set())
        for prediction, target in zip(predictions, targets, strict=True):
            if not needed <= target.keys():
                raise ValueError(f"a target lacks {sorted(needed - target.keys())}, it has {sorted(target.keys())}")
            image = int(target["image_id"])
            if image in self._images:
                raise ValueError(f"image {image} was given before")
            self._images[image] = self._scored(prediction, target)

    def merge(self, other: "CocoEvaluator") -> None:
        """Take in what another process gathered; an image that both have counts once (samplers repeat some to pad)."""
        if (self.categories, self.kind) != (other.categories, other.kind):
            raise ValueError(
                f"cannot merge {other.kind} of {other.categories} classes into {self.kind} of {self.categories}"
            )
        self._images = {**other._images, **self._images}

    def compute(self) -> CocoScores:
        """Score all images seen; ValueError where there are none."""
        if not self._images:
            raise ValueError("no images to score: update() was never called")
        seen = [self._images[image] for image in sorted(self._images)]
        truth_image = np.repeat(np.arange(len(seen)), [len(image.truths[0]) for image in seen])
        image = np.repeat(np.arange(len(seen)), [len(image.predictions[0]) for image in seen])
        truths = (np.concatenate(column) for column in zip(*(image.truths for image in seen), strict=True))
        predictions = (np.concatenate(column) for column in zip(*(image.predictions for image in seen), strict=True))
        counts = [len(one.truths[0]) for one in seen]
        return coco_scores(
            Truths(truth_image, *truths, masks=None),
            Predictions(image, *predictions, masks=None),
            images=len(seen),
            categories=self.categories,
            kind=self.kind,
            max_detections=self.max_detections,
            overlaps=Overlaps.joined([one.overlaps for one in seen if one.overlaps is not None], counts)
            if self.kind == "masks"
            else None,
        )

    def objects(self) -> Iterator[tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]]:
        """Yield, image by image, truths (category, boxes, areas, crowd) and predictions (category, boxes, scores)."""
        yield from ((self._images[image].truths, self._images[image].predictions) for image in sorted(self._images))

    def _scored(self, prediction: Detections, target: Mapping[str, Any]) -> _Scored:
        wanted = self.kind == "masks" or ("masks" in target and "areas" not in target)
        masks = _coded(target["masks"]) if wanted else None
        labels, boxes = target["labels"].cpu().numpy().astype(np.int64), _float64(target["boxes"])
        if "areas" in target:
            areas = _float64(target["areas"])
        elif masks is not None:
            areas = masks.areas().astype(np.float64)
        else:
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        crowd = target["crowd"].cpu().numpy().astype(bool) if "crowd" in target else np.zeros(len(boxes), bool)
        found = prediction.labels.numpy().copy(), _float64(prediction.boxes), _float64(prediction.scores)
        overlaps = None
        if self.kind == "masks" and masks is not None:
            if prediction.coded_masks is None:
                image = int(target["image_id"])
                raise ValueError(f"the prediction of image {image} has no masks, needed for kind 'masks'")
            own = Truths(np.zeros_like(labels), labels, boxes, areas, crowd, masks.rles())
            others = Predictions(np.zeros_like(found[0]), *found, prediction.coded_masks.rles())
            overlaps = mask_overlaps(own, others, self.categories, self.max_detections[-1])
        return _Scored((labels, boxes, areas, crowd), found, overlaps)


def mask_overlaps(truths: Truths, predictions: Predictions, categories: int, limit: int) -> Overlaps:
    """Return what the masks of one image's predictions share with those of its truths, for `coco_scores`.

    Only the best `limit` of a class are looked at. ValueError where rows are wrong, or masks of different sizes.
    """
    truths = checked("truths", truths, 1, categories, "masks")
    predictions = checked("predictions", predictions, 1, categories, "masks")
    check_mask_sizes(truths, predictions, 1)
    walk = _ordered(truths, predictions, 1, categories, limit)
    candidates, areas = _overlaps(reordered(truths, walk.truth_order), predictions, walk.order, walk.near, "masks")
    count = candidates.starts[-1]  # what lies beyond was only room
    rows = walk.truth_order[candidates.truths[:count]].astype(np.int64)
    found = Overlaps(areas, candidates.starts, rows, candidates.overlaps[:count])
    starts, pairs = found.rows(np.argsort(walk.order, kind="stable"))
    return Overlaps(areas, starts, rows[pairs], found.overlaps[pairs])


def _coded(masks: Tensor | CodedMasks) -> CodedMasks:
    return masks if isinstance(masks, CodedMasks) else CodedMasks.of(masks)


def _float64(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)
