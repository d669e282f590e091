"""Boxes that no one can mean: fractions of the picture where pixels are expected, slivers, and each box twice.

They are counted over a whole data set, of any format, because one such box alone may be what it says.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from vidi.data.faults import Fault

SLIVER = 1.0  # px; augmentations drop objects of which less is left


@dataclass(frozen=True)
class BoxCounts:
    """How many boxes some images have, and how many of them look wrong."""

    boxes: int = 0
    objects: int = 0  # boxes that are training targets: not crowd
    fractions: int = 0  # boxes inside the first pixel of a larger image
    slivers: int = 0  # boxes less than a pixel wide or high
    repeated: int = 0  # boxes of the class and corners of an earlier one of the image

    @classmethod
    def of(cls, target: Mapping[str, Any]) -> "BoxCounts":
        """Count the boxes of one image; none where its target has none."""
        if "boxes" not in target:
            return cls()
        height, width = target["boxes"].canvas_size
        boxes = np.asarray(target["boxes"], dtype=np.float64)
        labels = np.asarray(target["labels"]) if "labels" in target else np.zeros(len(boxes))
        crowd = np.asarray(target["crowd"]) if "crowd" in target else np.zeros(len(boxes), dtype=bool)
        sides = boxes[:, 2:] - boxes[:, :2]
        return cls(
            boxes=len(boxes),
            objects=int((~crowd).sum()),
            fractions=int((boxes <= 1).all(axis=1).sum()) if min(height, width) > 1 else 0,
            slivers=int((sides < SLIVER).any(axis=1).sum()),
            repeated=len(boxes) - len(np.unique(np.column_stack([boxes, labels]), axis=0)),
        )

    def __add__(self, other: "BoxCounts") -> "BoxCounts":
        return BoxCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def are_fractions(self) -> bool:
        """Whether all boxes lie inside the first pixel of their image: they are written as fractions of it."""
        return 0 < self.boxes == self.fractions

    def faults(self, place: str) -> tuple[Fault, ...]:
        """Return what makes the boxes of the data set at `place` useless."""
        if not self.are_fractions:
            return ()
        message = f"all {self.boxes} boxes lie inside the first pixel of their picture, as fractions of it would"
        return (Fault(place, "", f"{message}; expected pixels"),)

    def remarks(self, place: str) -> tuple[Fault, ...]:
        """Return what is odd about the boxes of the data set at `place`."""
        told = {
            "boxes less than a pixel wide or high, which augmentations drop": self.slivers,
            "boxes that stand there before, with the same class and corners": self.repeated,
        }
        return tuple(Fault(place, "", f"{what}: {n} of {self.boxes}") for what, n in told.items() if n)
