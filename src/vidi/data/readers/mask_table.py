"""Instance masks as they stand in COCO json, in flat arrays: polygons, and run lengths in both forms.

Polygons are kept as points and become pixels when their image is asked for. Run lengths are kept in COCO's compressed
form: column by column, beginning with background; each count is written in base 32, 48 added to make it printable,
bit 5 says that more digits follow, and from the fourth on it is the difference to the count two before
(cocoapi, maskApi.c, rleToString).
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from pycocotools import mask as coco_mask

from vidi.data.readers.flat import Ragged, offsets_of

Segmentation = list[np.ndarray] | bytes  # rings x1 y1 x2 y2 ..., or compressed run lengths


class MaskTable:
    """Segmentations of N things; they become bool masks on request."""

    def __init__(self, segmentations: Sequence[Segmentation]) -> None:
        runs = [segmentation if isinstance(segmentation, bytes) else b"" for segmentation in segmentations]
        polygons = [[] if isinstance(segmentation, bytes) else segmentation for segmentation in segmentations]
        self.runs = Ragged.pack([np.frombuffer(run, dtype=np.uint8) for run in runs], np.uint8)
        self.rings = Ragged.pack([ring for rings in polygons for ring in rings], np.float64)
        self.ring_offsets = offsets_of([len(rings) for rings in polygons])

    def __len__(self) -> int:
        return len(self.runs)

    def encoded(self, row: int, size: tuple[int, int]) -> Any:
        """Return pycocotools' compressed form of one mask in an image of `size` (H, W)."""
        run = self.runs[row]
        if len(run):
            return {"size": list(size), "counts": run.tobytes()}
        rings = [self.rings[ring].tolist() for ring in range(self.ring_offsets[row], self.ring_offsets[row + 1])]
        return coco_mask.merge(coco_mask.frPyObjects(rings, *size))

    def decode(self, rows: slice, size: tuple[int, int]) -> np.ndarray:
        """Return masks as bool N H W."""
        encoded = [self.encoded(row, size) for row in range(rows.start, rows.stop)]
        if not encoded:
            return np.zeros((0, *size), dtype=bool)
        masks = np.asarray(coco_mask.decode(cast(Any, encoded)))  # H W N
        return np.ascontiguousarray(masks.transpose(2, 0, 1)).view(bool)


def parse_segmentation(value: Any, size: tuple[int, int]) -> Segmentation:
    """Check the `segmentation` of one COCO annotation in an image of `size` (H, W).

    Raises ValueError for polygons with fewer than three points, numbers that are not finite, and run lengths that are
    malformed or of another size.
    """
    if isinstance(value, Mapping):
        return _parse_runs(value, size)
    if not isinstance(value, list) or not value:
        raise ValueError(f"segmentation is {type(value).__name__}, expected polygons or run lengths")
    return [_parse_ring(ring) for ring in value]


def envelope(segmentation: Segmentation, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the smallest xyxy box around a segmentation in an image of `size` (H, W); no size around nothing."""
    if isinstance(segmentation, bytes):
        x, y, width, height = coco_mask.toBbox(cast(Any, {"size": list(size), "counts": segmentation})).tolist()
        return x, y, x + width, y + height
    points = np.concatenate(segmentation).reshape(-1, 2)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def _parse_ring(ring: Any) -> np.ndarray:
    try:
        points = np.array(ring, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("polygon: expected a list of numbers x1 y1 x2 y2 ...") from None
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ValueError(f"polygon of {points.size} numbers, expected at least three points x y")
    if not np.isfinite(points).all():
        raise ValueError("polygon with numbers that are not finite")
    return points


def _parse_runs(value: Mapping[str, Any], size: tuple[int, int]) -> bytes:
    height, width = size
    if value.get("size") != [height, width]:
        raise ValueError(f"mask of size {value.get('size')} in an image of H W {[height, width]}")
    counts = value.get("counts")
    if isinstance(counts, str):
        run = counts.encode("ascii", "replace")
        lengths = run_lengths(run)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        lengths, run = np.array(counts, dtype=np.int64), b""
    else:
        raise ValueError("run lengths: `counts` is neither a string nor a list of integers")
    if lengths.size and lengths.min() < 0:
        raise ValueError("run lengths: negative count")
    if lengths.sum() != height * width:
        raise ValueError(f"run lengths cover {lengths.sum()} of {height * width} pixels")
    return run or coco_mask.frPyObjects(cast(Any, dict(value)), height, width)["counts"]


def run_lengths(run: bytes) -> np.ndarray:
    """Decode COCO's compressed run lengths to counts, int64; ValueError where the string is malformed."""
    digits = np.frombuffer(run, dtype=np.uint8).astype(np.int64) - 48
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("run lengths: malformed string")
    last = np.flatnonzero((digits & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:  # 35 bits are more than any image has pixels
        raise ValueError("run lengths: malformed string")
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= np.where(digits[last] & 16, 1 << (5 * (last - first + 1)), 0)  # sign of the highest digit
    for parity in (1, 2):  # differences to the count two before
        values[parity::2] = np.cumsum(values[parity::2])
    return values
