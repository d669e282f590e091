"""What a target tells a detector's criterion: objects, crowds, joints; which of a network's outputs have a category."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.ops.boxes import box_area
from vidi.results.categories import Categories

DELTA_WEIGHTS = (10, 10, 5, 5)  # that encoded deltas are multiplied by: one over the deviations 0.1, 0.1, 0.2, 0.2


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


class Positives(NamedTuple):
    """The anchors of a batch that stand for an object, row by row."""

    images: Int64[Tensor, " P"]
    anchors: Int64[Tensor, " P"]
    boxes: Float[Tensor, "P 4"]  # of the objects
    labels: Int64[Tensor, " P"]

    @classmethod
    def of(cls, matches: Int64[Tensor, "B A"], objects: Sequence[Objects]) -> "Positives":
        """Collect them, given for each anchor the row of its image's object, or a negative number."""
        images, anchors = (matches >= 0).nonzero(as_tuple=True)
        first = torch.tensor([0, *(len(own.boxes) for own in objects[:-1])], device=matches.device).cumsum(0)  # B
        truths = first[images] + matches[images, anchors]  # index within the batch
        boxes, labels = torch.cat([own.boxes for own in objects]), torch.cat([own.labels for own in objects])
        return cls(images, anchors, boxes[truths], labels[truths])


def checked_objects(targets: Sequence[Mapping[str, Tensor]], classes: int, *, like: Tensor) -> list[Objects]:
    """Return the ground truth of each image, in the precision of `like`.

    Raises:
        ValueError: if boxes or labels are missing, a box has no area, or a label no category.
    """
    objects = [Objects.of(target, like=like) for target in targets]
    for own in objects:
        check_objects(own.boxes, own.labels, classes)
    return objects


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


# ----------------------------------------------------------------------------------------------------------------------
# Joints


class Joints(NamedTuple):
    """The joints of the objects of one image that are no crowds."""

    points: Float[Tensor, "M J 2"]
    labelled: Bool[Tensor, "M J"]


def joints_of(target: Mapping[str, Tensor], *, like: Tensor, joints: int) -> Joints:
    """Return the joints of a target's objects in the precision of `like`; those of crowds are left out.

    Raises:
        ValueError: if the target has none, or another number of them.
    """
    if not {"keypoints", "visibility"} <= target.keys():
        raise ValueError(f"received a target with {sorted(target)}, expected keypoints and visibility too")
    points, visibility = target["keypoints"].to(like.dtype), target["visibility"]
    if points.shape[1:] != (joints, 2) or visibility.shape != points.shape[:2]:
        shapes = f"{tuple(points.shape)} and {tuple(visibility.shape)}"
        raise ValueError(
            f"received keypoints and visibility of shapes {shapes}, expected (M, {joints}, 2), (M, {joints})"
        )
    kept = ~target["crowd"] if "crowd" in target else slice(None)
    return Joints(points[kept], visibility[kept] > 0)


def labels_with_joints(categories: Categories, jointed: tuple[str, ...]) -> tuple[int, ...]:
    """Return the labels of the categories that have joints; all of them where none is named.

    Raises:
        ValueError: for a name that is not among the categories.
    """
    unknown = [name for name in jointed if name not in categories]
    if unknown:
        raise ValueError(
            f"received jointed={jointed!r}, expected names among the categories {', '.join(map(str, categories))}"
        )
    return tuple(label for label, name in enumerate(categories) if name in (jointed or categories))
