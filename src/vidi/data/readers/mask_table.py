"""Instance masks as they stand in COCO json, in flat arrays: polygons, run lengths in all forms, pictures of masks.

Polygons are kept as points and become run lengths when their image is asked for; a picture of masks, whose name stands
in place of them, becomes run lengths when the set is opened. Run lengths are kept in COCO's compressed form: column by
column, beginning with background; each count is written in base 32, 48 added to make it printable, bit 5 says that more
digits follow, and from the fourth on it is the difference to the count two before (cocoapi, maskApi.c, rleToString).
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pycocotools import mask as coco_mask

from vidi import files
from vidi.data.readers.flat import Ragged, offsets_of
from vidi.ops.masks import CodedMasks

Segmentation = list[np.ndarray] | bytes  # rings x1 y1 x2 y2 ..., or compressed run lengths


class MaskTable:
    """Segmentations of N things; they become masks on request."""

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

    def coded(self, rows: slice, size: tuple[int, int]) -> CodedMasks:
        """Return the masks of some rows in an image of `size` (H, W)."""
        return CodedMasks([self.encoded(row, size)["counts"] for row in range(rows.start, rows.stop)], size)


def parse_segmentation(value: Any, size: tuple[int, int], folders: Sequence[Path] = ()) -> Segmentation:
    """Check the `segmentation` of one COCO annotation in an image of `size` (H, W).

    A text, or an object with `file_name` and maybe `value`, names a picture in one of `folders`: its pixels of that
    value, or all that are not 0, are the mask.

    Raises ValueError for polygons with fewer than three points, numbers that are not finite, run lengths that are
    malformed, and run lengths and pictures of another size; FileNotFoundError where there is no such picture.
    """
    if isinstance(value, str):
        value = {"file_name": value}
    if isinstance(value, Mapping) and "file_name" in value:
        return _parse_picture(value, size, folders)
    if isinstance(value, Mapping):
        return _parse_runs(value, size)
    if not isinstance(value, list) or not value:
        raise ValueError(f"segmentation is {type(value).__name__}, expected polygons, run lengths or a picture's name")
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
    if isinstance(counts, str | bytes):
        run = counts if isinstance(counts, bytes) else counts.encode("ascii", "replace")
        lengths = run_lengths(run)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        lengths, run = np.array(counts, dtype=np.int64), b""
    else:
        raise ValueError("run lengths: `counts` is neither a string, nor bytes, nor a list of integers")
    if lengths.size and lengths.min() < 0:
        raise ValueError("run lengths: negative count")
    if lengths.sum() != height * width:
        raise ValueError(f"run lengths cover {lengths.sum()} of {height * width} pixels")
    return run or coco_mask.frPyObjects(cast(Any, dict(value)), height, width)["counts"]


def _parse_picture(value: Mapping[str, Any], size: tuple[int, int], folders: Sequence[Path]) -> bytes:
    name, wanted = value["file_name"], value.get("value")
    if not isinstance(name, str) or not name:
        raise ValueError(f"segmentation: file_name is {name!r}, expected the name of a picture of masks")
    if wanted is not None and (type(wanted) is not int or not 0 < wanted < 256):
        raise ValueError(f"segmentation: value is {wanted!r}, expected a whole number of 1..255")
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        places = ", ".join(map(str, folders)) or "no folder"
        raise FileNotFoundError(f"segmentation: there is no picture {name} in {places}")
    labels = _labels(path)
    if labels.shape != size:
        (height, width), (high, wide) = size, labels.shape
        raise ValueError(f"{path}: a mask of {wide} x {high} pixels in an image of {width} x {height}")
    mask = labels == wanted if wanted is not None else labels != 0
    return CodedMasks.of(torch.from_numpy(mask[None])).runs[0]


@functools.lru_cache(maxsize=4)  # the things of one image often share a picture
def _labels(path: Path) -> np.ndarray:
    return files.read_label_map(path).numpy()


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
