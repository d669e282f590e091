"""What a target tells a detector's criterion: objects and crowds; and which of a network's outputs have a category."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.ops.boxes import box_area
from vidi.results import Categories


class Objects(NamedTuple):
    """The ground truth of one image."""

    boxes: Float[Tensor, "M 4"]
    labels: Int64[Tensor, " M"]
    crowd: Float[Tensor, "N 4"]  # boxes that hide objects without number

    @classmethod
    def of(cls, target: Mapping[str, Tensor], *, like: Tensor) -> "Objects":
        """Split a target into objects and crowd boxes, in the precision of `like`."""
        if not {"boxes", "labels"} <= target.keys():
            raise ValueError(f"received a target with {sorted(target)}, expected at least boxes and labels")
        boxes, labels = target["boxes"].to(like.dtype), target["labels"]
        crowd = target["crowd"] if "crowd" in target else torch.zeros_like(labels, dtype=torch.bool)
        return cls(boxes[~crowd], labels[~crowd], boxes[crowd])


def check_objects(boxes: Float[Tensor, "M 4"], labels: Int64[Tensor, " M"], classes: int) -> None:
    """Refuse boxes without area and labels without category with a ValueError."""
    flat = boxes[~(boxes[:, 2:] > boxes[:, :2]).all(1)]
    if len(flat):
        raise ValueError(f"received the box {flat[0].tolist()}, expected x1 < x2 and y1 < y2")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"received the label {int(wrong[0])}, expected 0..{classes - 1}")


def mostly_inside(boxes: Float[Tensor, "A 4"], regions: Float[Tensor, "N 4"]) -> Bool[Tensor, " A"]:
    """Say of each box whether more than half its area lies in one of the regions."""
    corner1 = torch.maximum(boxes[:, None, :2], regions[:, :2])  # A N 2
    corner2 = torch.minimum(boxes[:, None, 2:], regions[:, 2:])
    overlap = (corner2 - corner1).clamp(min=0).prod(-1)  # A N
    return (overlap > 0.5 * box_area(boxes)[:, None]).any(1)


def named_outputs(categories: Categories) -> tuple[int, ...]:
    """Return the indices of the outputs that have a category; labels count these."""
    return tuple(index for index, name in enumerate(categories) if name is not None)


def with_category(logits: Float[Tensor, "..."], named: tuple[int, ...], *, dim: int = -1) -> Float[Tensor, "..."]:
    """Drop the outputs along `dim` that have no category: those of ids that a data set leaves out."""
    if len(named) == logits.shape[dim]:
        return logits
    return logits.index_select(dim, torch.tensor(named, device=logits.device))


def named_categories(categories: Categories) -> Categories:
    """Return the categories that have a name: what labels in `Detections` count."""
    return tuple(name for name in categories if name is not None)
