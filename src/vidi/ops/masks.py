"""Masks as run lengths: coding, polygons, areas, boxes and intersection over union.

COCO's run-length encoding (Lin et al. 2014, MS COCO; the `mask` API of cocoapi) walks a mask column by column and
stores the lengths of alternating runs of background and foreground. pycocotools does the coding; overlaps run on the
decoded foreground intervals in kernels of our own, exact in integers and faster than its walk over all runs.

`CodedMasks` are the masks of the objects of one picture, which follow it through resizing, cropping and mirrors and
take no more memory than their borders, until their pixels are asked for.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int32, Int64
from pycocotools import mask
from torch import Tensor

coco_mask: Any = mask  # its type stubs know only some of the forms that it takes


class Rle(TypedDict):
    """One mask: `size` (H, W); `counts` is COCO's compressed string (str when read from JSON) or the run lengths."""

    size: Sequence[int]
    counts: bytes | str | Sequence[int]


class Runs(NamedTuple):
    """The foreground intervals of N masks, flat: mask n has the rows offsets[n]..offsets[n + 1] of `intervals`."""

    intervals: Int32[np.ndarray, "R 2"]  # [start, end) in column-major pixel order
    offsets: Int64[np.ndarray, " N+1"]
    areas: Int64[np.ndarray, " N"]  # pixels
    boxes: Int64[np.ndarray, "N 4"]  # x0 y0 x1 y1, exclusive ends; zeros for an empty mask
    sizes: Int64[np.ndarray, "N 2"]  # H W
    by_column: Bool[np.ndarray, " N"]  # whether a mask has exactly one interval in each column of its box


def encode_masks(masks: Bool[Tensor, "N H W"]) -> list[Rle]:
    """Encode N masks as compressed run lengths."""
    if len(masks) == 0:
        return []
    columns_first = np.asfortranarray(masks.detach().cpu().permute(1, 2, 0).numpy().astype(np.uint8))  # H W N
    return coco_mask.encode(columns_first)


def decode_masks(rles: Sequence[Rle], size: tuple[int, int]) -> Bool[Tensor, "N H W"]:
    """Decode run lengths to N masks of `size` (H, W); ValueError where a mask has another size."""
    for n, rle in enumerate(rles):
        if tuple(rle["size"]) != tuple(size):
            raise ValueError(f"mask {n} has size {tuple(rle['size'])}, expected (H, W) = {tuple(size)}")
    if not rles:
        return torch.zeros(0, *size, dtype=torch.bool)
    pixels = coco_mask.decode([_compressed(rle) for rle in rles])  # H W N
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).bool()


def polygons_to_rle(polygons: Sequence[Sequence[float | int]], size: tuple[int, int]) -> Rle:
    """Rasterise the union of polygons, each x0 y0 x1 y1 ... in pixels, as COCO does; ValueError below three corners."""
    for n, polygon in enumerate(polygons):
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"polygon {n} has {len(polygon)} coordinates, expected x y of at least three corners")
        if not np.isfinite(polygon).all():
            raise ValueError(f"polygon {n} has coordinates that are not finite")
    if not polygons:
        raise ValueError("expected at least one polygon, received none")
    height, width = size
    return coco_mask.merge(coco_mask.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width))


def polygons_to_mask(polygons: Sequence[Sequence[float | int]], size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Rasterise the union of polygons, each x0 y0 x1 y1 ... in pixels, to a mask of `size` (H, W)."""
    return decode_masks([polygons_to_rle(polygons, size)], size)[0]


def segmentation_to_rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    """Compress any form of COCO's `segmentation`: polygons, run lengths, or run lengths compressed before.

    ValueError where run lengths are of another image size (H, W) than `size`; TypeError for another kind of object.
    """
    if isinstance(segmentation, list | tuple):
        return polygons_to_rle(segmentation, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise TypeError(
            f"expected polygons or a dictionary with `size` and `counts`, received {type(segmentation).__name__}"
        )
    if tuple(segmentation["size"]) != tuple(size):
        raise ValueError(f"run lengths have size {tuple(segmentation['size'])}, expected (H, W) = {tuple(size)}")
    return _compressed(Rle(size=segmentation["size"], counts=segmentation["counts"]))


def _compressed(rle: Rle) -> Rle:
    if isinstance(rle["counts"], str | bytes):
        return rle
    height, width = rle["size"]
    return coco_mask.frPyObjects({"size": [height, width], "counts": list(rle["counts"])}, height, width)


def boxes_of_masks(masks: Bool[Tensor, "N H W"]) -> Float[Tensor, "N 4"]:
    """Give the tight boxes (xyxy, outer pixel edges, float32) of N masks, zeros for an empty one.

    Unlike torchvision's `masks_to_boxes`, whose far edge is the index of the last pixel, widths count pixels.
    """
    rows, columns = masks.any(2), masks.any(1)  # N H, N W
    edges = torch.stack([_first(columns), _first(rows), _last(columns), _last(rows)], 1)  # N 4
    return torch.where(rows.any(1)[:, None], edges, 0).float()


def _first(present: Tensor) -> Tensor:
    return present.int().argmax(1)


def _last(present: Tensor) -> Tensor:
    return present.shape[1] - present.flip(1).int().argmax(1)


def pack_runs(rles: Sequence[Rle]) -> Runs:
    """Decode run-length masks into flat foreground intervals; ValueError names the first malformed mask."""
    from vidi.ops.mask_kernels import unpack

    counts: list[Any] = [rle["counts"] for rle in rles]
    if any(kind is not bytes for kind in set(map(type, counts))):
        counts = [_text(rle) for rle in rles]
    text = np.frombuffer(b"".join(counts), np.uint8)
    starts = np.zeros(len(rles) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, counts), np.int64, len(rles)), out=starts[1:])
    sizes = sizes_of_rles(rles)
    if (sizes.prod(1) >= 2**31).any():
        raise ValueError(f"masks of 2^31 pixels and more cannot be packed, largest received: {sizes.prod(1).max()}")
    intervals = np.empty(((len(text) + len(rles)) // 2, 2), np.int32)  # of two counts, of one character at least
    offsets, areas = np.zeros(len(rles) + 1, np.int64), np.empty(len(rles), np.int64)
    boxes, by_column = np.empty((len(rles), 4), np.int64), np.empty(len(rles), bool)
    malformed = unpack(text, starts, sizes, intervals, offsets, areas, boxes, by_column)
    if malformed >= 0:
        raise ValueError(f"mask {malformed}: run lengths are malformed or exceed its size {tuple(sizes[malformed])}")
    return Runs(intervals[: offsets[-1]], offsets, areas, boxes, sizes, by_column)


def sizes_of_rles(rles: Sequence[Rle]) -> Int64[np.ndarray, "N 2"]:
    """Give H and W of N masks."""
    sides = chain.from_iterable(rle["size"] for rle in rles)
    return np.fromiter(sides, np.int64, 2 * len(rles)).reshape(-1, 2)


def _text(rle: Rle) -> bytes:
    counts = _compressed(rle)["counts"]
    return counts.encode("ascii") if isinstance(counts, str) else bytes(counts)


def as_strings(
    intervals: Int32[np.ndarray, "R 2"], offsets: Int64[np.ndarray, " _"], size: tuple[int, int]
) -> list[bytes]:
    """Return N masks of `size` (H, W), given as intervals and N+1 offsets as in `Runs`, as compressed run lengths."""
    from vidi.ops.mask_kernels import pack

    text = np.empty(14 * (len(intervals) + len(offsets)), np.uint8)
    starts = np.zeros(len(offsets), np.int64)
    pack(intervals, offsets, size[0] * size[1], text, starts)
    return [text[first:last].tobytes() for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]


def rle_areas(rles: Sequence[Rle]) -> Int64[np.ndarray, " N"]:
    """Count the pixels of N masks."""
    return pack_runs(rles).areas


def rle_boxes(rles: Sequence[Rle]) -> Float64[np.ndarray, "N 4"]:
    """Give the tight boxes (xyxy, outer pixel edges) of N masks, zeros for an empty one."""
    return pack_runs(rles).boxes.astype(np.float64)


def rle_iou(
    rles_a: Sequence[Rle] | Runs,
    rles_b: Sequence[Rle] | Runs,
    crowd: Bool[np.ndarray, " M"] | None = None,
) -> Float64[np.ndarray, "N M"]:
    """Give the intersection over union of each of N masks with each of M, 0 where both are empty.

    Where `crowd` is True the intersection is divided by the area of the first mask alone (COCO's rule for crowds).
    ValueError where the masks are not all of one size.
    """
    from vidi.ops.mask_kernels import pairwise_iou

    runs_a = rles_a if isinstance(rles_a, Runs) else pack_runs(rles_a)
    runs_b = rles_b if isinstance(rles_b, Runs) else pack_runs(rles_b)
    sizes = {tuple(size) for size in np.concatenate([runs_a.sizes, runs_b.sizes]).tolist()}
    if len(sizes) > 1:
        raise ValueError(f"masks have different sizes (H, W): {sorted(sizes)}")
    return pairwise_iou(runs_a, runs_b, np.zeros(len(runs_b.areas), bool) if crowd is None else crowd)


# ----------------------------------------------------------------------------------------------------------------------
# Masks of the objects of one picture


class CodedMasks:
    """N masks of one picture as run lengths: small, and painted on request where the picture has been moved to.

    Rows are chosen as in a tensor: a number gives the pixels of one mask, anything else other `CodedMasks`.

    Args:
        runs: COCO's compressed strings.
        size: (H, W) of the masks that they code.
    """

    def __init__(self, runs: Sequence[bytes], size: tuple[int, int]):
        self.runs = tuple(runs)
        self.coded_size = (int(size[0]), int(size[1]))
        self.size = self.coded_size  # (h, w) of the moved picture
        self.movement = np.eye(3)  # from the pixels (x, y, 1) of the original
        self.shown = np.array([[0.0, 0], self.coded_size[::-1]])  # of the original, first and last x, y

    @classmethod
    def of(cls, masks: Bool[Tensor, "N H W"]) -> "CodedMasks":
        """Encode masks."""
        runs = [encode_masks(mask[None])[0]["counts"] for mask in masks]
        return cls([run for run in runs if isinstance(run, bytes)], (masks.shape[1], masks.shape[2]))

    @classmethod
    def of_rles(cls, rles: Sequence[Rle], size: tuple[int, int]) -> "CodedMasks":
        """Take run lengths of any form; ValueError where one is of another size (H, W)."""
        return cls([_text(segmentation_to_rle(rle, size)) for rle in rles], size)  # type: ignore[arg-type]

    @classmethod
    def joined(cls, parts: "Sequence[CodedMasks]") -> "CodedMasks":
        """Return the masks of several, at least one; ValueError where they are not all of one size."""
        sizes = sorted({part.size for part in parts})
        if len(sizes) > 1:
            raise ValueError(f"received masks of the sizes (H, W) {', '.join(map(str, sizes))}, expected one")
        return cls([run for part in parts for run in part.settled().runs], sizes[0])

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, H, W of the masks that `dense` gives."""
        return len(self), *self.size

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer) or (
            isinstance(rows, Tensor) and rows.ndim == 0 and rows.dtype != torch.bool
        ):
            return self._with([self.runs[int(rows)]]).dense()[0]
        return self._with([self.runs[row] for row in torch.arange(len(self))[rows].tolist()])

    def __iter__(self) -> Iterator[Bool[Tensor, "H W"]]:
        return (self[row] for row in range(len(self)))

    def moved(self, movement: Float[Tensor, "3 3"], size: tuple[int, int]) -> "CodedMasks":
        """Return the masks of the picture after a movement, cut to `size` (H, W); nothing is painted yet.

        Each pixel shows the one of the original in which its centre lies; what was cut off does not come back.

        Raises:
            ValueError: for movements that turn by other angles than quarters of a circle, or shear.
        """
        other = self._with(self.runs)
        other.movement = movement.double().numpy() @ self.movement
        other.size = (int(size[0]), int(size[1]))
        diagonal, across = other.movement[[0, 1], [0, 1]], other.movement[[0, 1], [1, 0]]
        if diagonal.any() and across.any():
            raise ValueError("received a movement of masks that turns or shears them, expected one along the axes")
        corners = np.linalg.inv(other.movement) @ [[0, size[1]], [0, size[0]], [1, 1]]
        low, high = corners[:2].min(1), corners[:2].max(1)
        other.shown = np.stack([np.maximum(self.shown[0], low), np.minimum(self.shown[1], high)])
        return other

    def dense(self) -> Bool[Tensor, "N h w"]:
        """Return the pixels."""
        out = np.zeros(self.shape, np.uint8)
        self._paint(out)
        return torch.from_numpy(out.view(bool))

    def areas(self) -> Int64[np.ndarray, " N"]:
        """Count the pixels of each mask, without painting them."""
        return self._paint(np.zeros(0, np.uint8))

    def rles(self) -> list[Rle]:
        """Return the masks as run lengths of the moved picture."""
        return [Rle(size=list(self.size), counts=run) for run in self.settled().runs]

    def settled(self) -> "CodedMasks":
        """Return the masks of the moved picture as run lengths of their own.

        Nothing is painted unless the picture was turned or stands upside down.
        """
        from vidi.ops.mask_kernels import trace

        if self._is_still:
            return self
        if self.movement[1, 1] <= 0:
            return CodedMasks.of(self.dense())
        columns, rows = self._shown_pixels()
        runs, offsets = self._unpacked(), np.zeros(len(self) + 1, np.int64)
        places = runs.intervals, runs.offsets, self.coded_size[0], columns, self._first_rows(rows), self.size[0]
        count = trace(*places, np.empty((0, 2), np.int32), offsets)
        intervals = np.empty((count, 2), np.int32)
        trace(*places, intervals, offsets)
        return CodedMasks(as_strings(intervals[: offsets[-1]], offsets, self.size), self.size)

    def united(self) -> "CodedMasks":
        """Return one mask with the pixels of all, of which there is at least one."""
        return CodedMasks([_text(coco_mask.merge(self.rles()))], self.size)

    @property
    def _is_still(self) -> bool:
        return self.size == self.coded_size and bool((self.movement == np.eye(3)).all())

    def _with(self, runs: Sequence[bytes]) -> "CodedMasks":
        other = CodedMasks(runs, self.coded_size)
        other.size, other.movement, other.shown = self.size, self.movement, self.shown
        return other

    def _paint(self, out: np.ndarray) -> np.ndarray:
        from vidi.ops.mask_kernels import paint

        h, w = self.size
        columns, rows = self._shown_pixels()
        x_step, y_step = (w, 1) if self._is_turned else (1, w)
        start = 0
        if len(rows) and rows[0] > rows[-1]:  # rows have to rise
            rows, start, y_step = rows[::-1], (len(rows) - 1) * y_step, -y_step
        runs, areas = self._unpacked(), np.zeros(len(self), np.int64)
        places = columns, self._first_rows(rows), start, y_step, x_step, h * w
        paint(runs.intervals, runs.offsets, self.coded_size[0], *places, areas, out.reshape(-1))
        return areas

    @property
    def _is_turned(self) -> bool:
        """Whether the columns of the original have become rows."""
        return bool(self.movement[0, 0] == 0)

    def _unpacked(self) -> Runs:
        return pack_runs([Rle(size=self.coded_size, counts=run) for run in self.runs])

    def _first_rows(self, rows: Int64[np.ndarray, " h"]) -> Int64[np.ndarray, " _"]:
        """Return the first of the pixels that show row y of the original or a lower one."""
        return np.searchsorted(rows, np.arange(self.coded_size[0] + 1))

    def _shown_pixels(self) -> tuple[Int64[np.ndarray, " w"], Int64[np.ndarray, " h"]]:
        """Return which column of the original, -1 for none, and which row is shown across and down it."""
        back, turned = np.linalg.inv(self.movement), int(self._is_turned)
        across, down = self.size[1 - turned], self.size[turned]
        columns = _sources(back[0, turned], back[0, 2], across, self.shown[:, 0], self.coded_size[1])
        rows = _sources(back[1, 1 - turned], back[1, 2], down, self.shown[:, 1], self.coded_size[0])
        return np.where(columns < self.coded_size[1], columns, -1), rows


def has_pixels(masks: Bool[Tensor, "N H W"] | CodedMasks) -> Bool[Tensor, " N"]:
    """Say of each mask whether it has a pixel."""
    return torch.from_numpy(masks.areas() > 0) if isinstance(masks, CodedMasks) else masks.flatten(1).any(1)


ON_THE_EDGE = 1e-4  # pixels: a centre that rounding put so near below the edge of a pixel lies in that pixel


def _sources(
    scale: float, shift: float, count: int, shown: Float64[np.ndarray, " 2"], side: int
) -> Int64[np.ndarray, " _"]:
    """Return the row or column of the original that each of `count` pixels shows; -1 and `side` are beyond it."""
    places = scale * (np.arange(count) + 0.5) + shift + ON_THE_EDGE
    sources = np.floor(places).clip(0, max(side - 1, 0)).astype(np.int64)
    sources[places < shown[0]] = -1
    sources[places >= shown[1] + ON_THE_EDGE] = side
    return sources
