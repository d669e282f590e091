"""Whether an exported file has the results of the model that it was made of: compared on photos, at every export.

    photos      in two sizes, in batches of one and of three
    results     of both, one by one: what a user sees decides
    outputs     of both networks: they decide where nothing is found in any photo

Two kernels add up in another order, so that a number may differ in its last digits, and a box on the edge of a
threshold may come or go; a file that does more than that differs. Where only last digits differ, results are those of
the same decoder, whichever of two equal objects it takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from vidi.exported.graph import in_a_row
from vidi.keys import typed_as
from vidi.ops.boxes import box_iou
from vidi.preprocess import Sample
from vidi.results.detections import Detections

VERIFIED = "verified"

TOLERANCE, HALF_TOLERANCE = 1e-3, 1e-2
"""How far numbers may be apart, as a share of the largest one, and how many pixels or objects may be others; in half
precision, whose numbers have eleven bits, more."""

LAST_DIGITS = 1e-5
"""How far outputs may be apart that are the same but for the order of sums, as a share of the largest one."""

SAME_BOX, SAME_SCORE = 0.9, 0.02
"""Two objects of a class are one with this IoU or more, and scores no further apart than this."""

SAME_CORNERS = 0.1
"""Pixels that the corners of one box are apart at most, which may have no area, and so no IoU."""


@dataclass(frozen=True)
class Difference:
    """How far two models are apart on some photos.

    Attributes:
        outputs: largest difference of an output, as a share of its largest value.
        results: largest difference of a result: a share of objects, of pixels, or of the largest number.
        seen: whether the results hold anything to be compared.
    """

    outputs: float
    results: float
    seen: bool

    def verdict(self, tolerance: float = TOLERANCE) -> str:
        """Return `verified`, or by how much what differs."""
        decides, what = (self.results, "results") if self.seen else (self.outputs, "outputs")
        return VERIFIED if decides <= tolerance or self.outputs <= LAST_DIGITS else f"differs: {what} by {decides:.2g}"


def difference(model: Any, exported: Any, batches: Sequence[Sequence[Sample]]) -> Difference:
    """Compare a model in evaluation with what was exported of it, on batches of samples."""
    outputs, results, seen = 0.0, 0.0, False
    with torch.no_grad():
        for samples in batches:
            batch = batch_of(model, samples)
            ours, theirs = model(*batch.inputs), exported(*batch.inputs)
            outputs = max(outputs, apart(in_a_row(ours), in_a_row(theirs)))
            pairs = zip(model.results_of(ours, batch), exported.results_of(theirs, batch), strict=True)
            for one, other in pairs:
                results = max(results, results_apart(one, other))
                seen = seen or not isinstance(one, Detections) or len(one) > 0
    return Difference(outputs, results, seen)


def apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Return the largest difference of tensors, each as a share of its largest value; 1 for other shapes."""
    found = [0.0]
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape:
            return 1.0
        if not one.numel():
            continue
        if not one.is_floating_point():
            found.append(float((one != other).double().mean()))
            continue
        same = (one == other) | (one.isnan() & other.isnan())
        finite = one[one.isfinite()].abs()
        size = float(finite.max()) if finite.numel() else 0.0
        gap = torch.where(same, 0.0, (one - other).abs().double())
        found.append(float(gap.max()) / max(size, 1e-12) if gap.isfinite().all() else 1.0)
    return min(1.0, max(found))


def results_apart(one: Any, other: Any) -> float:
    """Return how far two results of one photo are apart, in [0, 1]."""
    if isinstance(one, Detections):
        return detections_apart(one, other)
    return max((_parts_apart(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)), default=0.0)


def _parts_apart(one: Any, other: Any) -> float:
    """Return how far two parts of results are apart: tensors, numbers, or whatever can be equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return apart([one], [other])
    if isinstance(one, float) and isinstance(other, float):
        return min(1.0, abs(one - other) / max(abs(one), 1e-12))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        return max((_parts_apart(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, Mapping) or isinstance(other, Mapping):  # counts of what fell: of no result
        return 0.0
    if is_dataclass(one) and type(one) is type(other):
        return results_apart(one, other)
    return float(one != other)


def detections_apart(one: Detections, other: Detections) -> float:
    """Return the share of the objects of either that the other does not have: class, box and score, mask and joints."""
    if not len(one) and not len(other):
        return 0.0
    same = one.labels[:, None] == other.labels
    same = same & ((one.scores[:, None] - other.scores).abs() <= SAME_SCORE)
    corners = (one.boxes[:, None] - other.boxes).abs().amax(-1)
    same = same & ((box_iou(one.boxes, other.boxes) >= SAME_BOX) | (corners <= SAME_CORNERS))
    for row, column in same.nonzero().tolist():
        same[row, column] = _alike(one, row, other, column)
    lost = int((~same.any(1)).sum()) + int((~same.any(0)).sum())
    return lost / (len(one) + len(other))


def _alike(one: Detections, row: int, other: Detections, column: int) -> bool:
    """Tell whether what two objects have besides their boxes is alike: masks, joints, boxes in space."""
    if one.coded_masks is not None and other.coded_masks is not None:
        mine, theirs = one.coded_masks[row], other.coded_masks[column]
        if int((mine & theirs).sum()) < SAME_BOX * int((mine | theirs).sum()):
            return False
    if one.keypoints is not None and other.keypoints is not None:
        sides = (one.boxes[row, 2:] - one.boxes[row, :2]).max().clamp(min=1)
        if float((one.keypoints[row] - other.keypoints[column])[:, :2].abs().max() / sides) > 1 - SAME_BOX:
            return False
    if one.boxes_3d is not None and other.boxes_3d is not None:
        return apart([one.boxes_3d[row]], [other.boxes_3d[column]]) <= 1 - SAME_BOX
    return True


def batch_of(model: Any, samples: Sequence[Sample]) -> Any:
    """Return samples as a model's batch."""
    return model.preprocess.collate([model.preprocess.place(*sample) for sample in samples])


def batches_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return batches of each sample: whole, and three of its lower right part, as it is, mirrored and turned."""
    batches = []
    for image, target in samples:
        H, W = image.shape[-2:]
        part = (..., slice(H // 4, H), slice(W // 8, W))
        flips: tuple[list[int], ...] = ([], [-1], [-2, -1])
        batches.append([(image, target)])
        batches.append(
            [(_seen(image, part, flip), {key: _seen(v, part, flip) for key, v in target.items()}) for flip in flips]
        )
    return batches


def _seen(picture: Any, part: Any, flip: list[int]) -> Any:
    """Return a part of a picture, flipped along some axes; what is no picture stays."""
    is_picture = isinstance(picture, Tensor) and picture.ndim == 3
    return typed_as(picture, picture[part].flip(flip)) if is_picture else picture
