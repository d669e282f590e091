"""Boxes of all images in flat arrays, and the rules that a box has to meet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from vidi.data.readers.flat import offsets_of

OVERHANG = 1.0  # px by which a box may reach over the border without a remark: rounding of the annotators


class BoxRow(NamedTuple):
    """One annotated thing."""

    image: int  # index in the data set
    box: tuple[float, float, float, float]  # xyxy, pixels
    label: int
    crowd: bool  # crowd or difficult: no training target, ignored in scoring
    area: float  # pixels


@dataclass(frozen=True)
class BoxTable:
    """Boxes of B images; those of image i are rows `offsets[i]:offsets[i + 1]`."""

    offsets: np.ndarray  # B+1 int64
    boxes: np.ndarray  # N 4 float32 xyxy
    labels: np.ndarray  # N int64
    crowd: np.ndarray  # N bool
    areas: np.ndarray  # N float64
    order: np.ndarray  # N int64: which of the packed rows stands here

    @classmethod
    def pack(cls, rows: Sequence[BoxRow], member: np.ndarray) -> "BoxTable":
        """Sort rows by image, keeping their order within one; only images that `member` (bool) marks are kept."""
        image = np.array([row.image for row in rows], dtype=np.int64)
        kept = np.flatnonzero(member[image])
        order = kept[np.argsort(image[kept], kind="stable")]
        number = np.cumsum(member) - 1  # old index of an image -> new one
        return cls(
            offsets=offsets_of(np.bincount(number[image[order]], minlength=int(member.sum())).tolist()),
            boxes=np.array([row.box for row in rows], dtype=np.float32).reshape(-1, 4)[order],
            labels=np.array([row.label for row in rows], dtype=np.int64)[order],
            crowd=np.array([row.crowd for row in rows], dtype=bool)[order],
            areas=np.array([row.area for row in rows], dtype=np.float64)[order],
            order=order,
        )

    def rows(self, image: int) -> slice:
        """Return the rows of one image."""
        return slice(int(self.offsets[image]), int(self.offsets[image + 1]))

    def target(self, image: int, size: tuple[int, int], unit: tuple[int, int] = (1, 1)) -> dict[str, Any]:
        """Return `boxes`, `labels`, `crowd` and `areas` of one image of `size` (H, W), as copies.

        `unit` (H, W) is what one of the table's units measures in pixels.
        """
        rows = self.rows(image)
        boxes = torch.tensor(self.boxes[rows]) * torch.tensor([unit[1], unit[0], unit[1], unit[0]])
        return {
            "boxes": tv_tensors.BoundingBoxes(boxes, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size),  # type: ignore[call-arg]
            "labels": torch.tensor(self.labels[rows]),
            "crowd": torch.tensor(self.crowd[rows]),
            "areas": torch.tensor(self.areas[rows]) * (unit[0] * unit[1]),
        }


def clip_box(
    box: Sequence[float], size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], str]:  # the box, and a remark (empty: nothing to say)
    """Clip an xyxy box to an image of `size` (H, W).

    Raises ValueError for values that are not finite, a box of no size, and one outside the image.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    (height, width), shown = size, f"[{', '.join(f'{value:g}' for value in box)}]"
    if not all(math.isfinite(value) for value in box):
        raise ValueError(f"box {shown} (x1 y1 x2 y2) is not finite")
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box {shown} (x1 y1 x2 y2) has no size")
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise ValueError(f"box {shown} (x1 y1 x2 y2) lies outside the image of {width} x {height} pixels")
    overhang = max(abs(a - b) for a, b in zip(clipped, (x1, y1, x2, y2), strict=True))
    if overhang > OVERHANG:
        return clipped, f"box {shown} (x1 y1 x2 y2) reaches {overhang:g} px over the border and is clipped"
    return clipped, ""
