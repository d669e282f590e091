"""What a detector gives: boxes, with masks, joints and boxes in space where it finds them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import PIL.Image
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.ops.boxes_3d import box_3d_corners, lift_boxes, observation_angles, project_points
from vidi.ops.drawing import Area, Picture, as_picture, draw_box, draw_tag, legible, mask_picture, tint
from vidi.ops.masks import CodedMasks
from vidi.ops.palette import class_colour
from vidi.ops.skeletons import Skeleton
from vidi.ops.wireframes import draw_box_3d, draw_skeleton
from vidi.results.categories import Categories
from vidi.results.result import (
    BELOW,
    SHOWN_FROM,
    Result,
    check_finite,
    check_labels,
    check_size,
    nothing_above,
    nothing_found,
    settle,
)

NEAREST = 0.05  # metres before the camera from where on a box in space can be drawn
_PER_OBJECT = ("boxes", "scores", "labels", "masks", "keypoints", "boxes_3d")


class Detection(NamedTuple):
    """One object."""

    name: str
    label: int
    score: float
    box: tuple[float, float, float, float]  # xyxy, pixels
    mask: Bool[Tensor, "H W"] | None = None
    keypoints: Float[Tensor, "J 3"] | None = None  # x, y, score
    box_3d: Float[Tensor, " 7"] | None = None


class _OnRequest:
    """The field of a result's masks: it takes pixels or run lengths, keeps run lengths, and gives pixels."""

    def __get__(self, found: Any, owner: Any = None) -> Bool[Tensor, "N H W"] | None:
        return None if found is None or found.coded_masks is None else found.coded_masks.dense()

    def __set__(self, found: Any, masks: Bool[Tensor, "N H W"] | CodedMasks | None) -> None:
        found.__dict__["_coded_masks"] = CodedMasks.of(masks.detach().cpu()) if isinstance(masks, Tensor) else masks


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Result):
    """The objects found in one image, the surest first; those of unnamed categories are dropped.

    All that the decoder lets through is kept; a picture, a line of text and `above` show what scores at least
    `threshold`. Masks are kept as run lengths, `coded_masks`; each look at `masks` makes their pixels anew.
    """

    boxes: Float[Tensor, "N 4"]  # xyxy, pixels of the original image
    scores: Float[Tensor, " N"]
    labels: Int64[Tensor, " N"]
    categories: Categories
    masks: Bool[Tensor, "N H W"] | CodedMasks | None = _OnRequest()  # type: ignore[assignment]
    keypoints: Float[Tensor, "N J 3"] | None = None  # x, y in pixels, and a score; 0: the thing has no such joint
    skeleton: Skeleton | None = None  # of the keypoints; without one they have numbers for names, and no bones
    boxes_3d: Float[Tensor, "N 7"] | None = None  # see `vidi.ops.boxes_3d`
    intrinsics: Float[Tensor, "3 3"] | None = None  # the camera of the 3-D boxes, pixels of the original image
    fallen: Mapping[str, int] = field(default_factory=dict)  # why -> candidates that became no object, if counted
    threshold: float = SHOWN_FROM

    def __post_init__(self) -> None:
        columns = self._columns()
        rows = {name: value.detach().cpu() for name, value in columns.items() if isinstance(value, Tensor)}
        if len({len(value) for value in columns.values()}) > 1:
            raise ValueError("lengths differ: " + ", ".join(f"{len(v)} {name}" for name, v in columns.items()))
        check_finite(**{name: value for name, value in rows.items() if value.is_floating_point()})
        check_labels(rows["labels"], self.categories)
        _check_wiring(self)
        named = torch.tensor([name is not None for name in self.categories], dtype=torch.bool)
        order = rows["scores"].argsort(descending=True, stable=True)
        order = order[named[rows["labels"][order]]]
        settle(self, **{name: value[order] for name, value in (columns | rows).items()})
        if self.intrinsics is not None:
            settle(self, intrinsics=self.intrinsics.detach().cpu())

    @property
    def coded_masks(self) -> CodedMasks | None:
        """The masks as run lengths."""
        return self.__dict__["_coded_masks"]

    def _columns(self) -> dict[str, Any]:
        """Return what there is of each object, masks as run lengths."""
        columns = {name: getattr(self, "coded_masks" if name == "masks" else name) for name in _PER_OBJECT}
        return {name: value for name, value in columns.items() if value is not None}

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        columns = zip(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        for row, (label, score, box) in enumerate(columns):
            others = self.coded_masks, self.keypoints, self.boxes_3d
            more = (None if column is None else column[row] for column in others)
            yield Detection(str(self.categories[label]), label, score, tuple(box), *more)

    def __getitem__(self, rows: int | slice) -> Any:
        """Return one object as a `Detection`, or the `Detections` of a slice."""
        if isinstance(rows, slice):
            return self.chosen(torch.arange(len(self))[rows])
        row = range(len(self))[rows]
        return next(iter(self.chosen(torch.tensor([row]))))

    def above(self, threshold: float | None = None) -> "Detections":
        """Return the detections with a score of at least `threshold`; where fallen ones are counted, so are these."""
        above = self.chosen(self.scores >= (self.threshold if threshold is None else threshold))
        if not self.fallen:
            return above
        return above._with(fallen={**self.fallen, BELOW: self.fallen.get(BELOW, 0) + len(self) - len(above)})

    def chosen(self, rows: Bool[Tensor, " N"] | Int64[Tensor, " M"]) -> "Detections":
        """Return some of the detections, by a mask or by their rows."""
        return self._with(**{name: value[rows] for name, value in self._columns().items()})

    def moved(self, movement: Float[Tensor, "3 3"], size: tuple[int, int]) -> "Detections":
        """Return the detections in a picture of `size` (H, W), to which this one was moved along the axes.

        Raises:
            ValueError: if there are 3-D boxes, which are where their camera says.
        """
        if self.boxes_3d is not None:
            raise ValueError("these detections have 3-D boxes, which do not follow the pixels")
        scale, shift = movement.diagonal()[:2].to(self.boxes), movement[:2, 2].to(self.boxes)
        moved: dict[str, Any] = {"boxes": (self.boxes.unflatten(1, (2, 2)) * scale + shift).flatten(1)}
        if self.coded_masks is not None:
            moved["masks"] = self.coded_masks.moved(movement, size).settled()
        if self.keypoints is not None:
            moved["keypoints"] = torch.cat((self.keypoints[..., :2] * scale + shift, self.keypoints[..., 2:]), 2)
        return self._with(**moved)

    def _with(self, **columns: Any) -> "Detections":
        """Return the detections with other columns; masks stay as they are without being painted."""
        other = replace(self, **{"masks": self.coded_masks, **columns})
        settle(other, picture=self.picture)
        return other

    def with_camera(self, intrinsics: Float[Tensor, "3 3"]) -> "Detections":
        """Return the detections with the 3-D boxes that another camera would have seen in this image.

        What the image itself shows stays: where the centre is seen, its depth, the size and the observation angle.

        Raises:
            ValueError: if there are no 3-D boxes.
        """
        if self.boxes_3d is None or self.intrinsics is None:
            raise ValueError("these detections have no 3-D boxes")
        boxes, camera = self.boxes_3d, intrinsics.detach().cpu()
        pixels = project_points(boxes[:, :3], self.intrinsics)
        lifted = lift_boxes(pixels, boxes[:, 2], boxes[:, 3:6], observation_angles(boxes), camera)
        return self._with(boxes_3d=lifted, intrinsics=camera)

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture with the detections `above` a threshold, the surest on top.

        Masks are tinted; 3-D boxes, their fronts crossed out, take the place of boxes; joints have dots and bones.

        Raises:
            ValueError: if the masks are not as large as the image.
        """
        original = as_picture(image)
        picture = legible(original)
        scale = picture.width / original.width, picture.height / original.height
        above = self.above(threshold)
        shown = list(above._with(masks=None))
        masks = CodedMasks((), (0, 0)) if above.coded_masks is None else above.coded_masks
        for row in reversed(range(len(masks))):
            mask = masks[row]
            check_size("masks", mask, original)
            tint(picture, mask_picture(mask, picture.size), class_colour(shown[row].label))
        boxes = [tuple(side * scale[axis % 2] for axis, side in enumerate(found.box)) for found in shown]
        for found, box in reversed(list(zip(shown, boxes, strict=True))):
            corners = self._corners(found, scale)
            if corners is None:
                draw_box(picture, box, class_colour(found.label))
            else:
                draw_box_3d(picture, corners, class_colour(found.label))
        for found in reversed(shown):
            if found.keypoints is not None:
                joints = [(x * scale[0], y * scale[1]) if s > 0 else None for x, y, s in found.keypoints.tolist()]
                bones = self.skeleton.bones if self.skeleton is not None else ()
                draw_skeleton(picture, joints, bones, class_colour(found.label))
        tags: list[Area | None] = []
        for row, (found, box) in enumerate(zip(shown, boxes, strict=True)):
            text = found.name if found.score == 1 else f"{found.name} {found.score:.2f}"  # only a truth is certain
            told = any(other.label == found.label for other in shown[:row])
            taken = [tag for tag in tags if tag is not None]
            tags.append(draw_tag(picture, box, text, class_colour(found.label), taken, optional=told))
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return one record per object, as plain values; masks as COCO run lengths."""
        records = [
            {"name": d.name, "label": d.label, "score": d.score, "box": list(d.box)} | self._joints(d) | _in_space(d)
            for d in self._with(masks=None)
        ]
        objects = [record | mask for record, mask in zip(records, self._coded("mask"), strict=True)]
        return {"objects": objects, **({"fallen": dict(self.fallen)} if self.fallen else {})}

    def _joints(self, found: Detection) -> dict[str, Any]:
        """Return the joints that an object has, by name."""
        if found.keypoints is None:
            return {}
        names = self.skeleton.joints if self.skeleton is not None else map(str, range(len(found.keypoints)))
        rows = zip(names, found.keypoints.tolist(), strict=True)
        return {"keypoints": {name: {"x": x, "y": y, "score": score} for name, (x, y, score) in rows if score > 0}}

    def _corners(self, found: Detection, scale: tuple[float, float]) -> list[tuple[float, float]] | None:
        """Return the corners of an object's 3-D box on a picture; None if it has none, or reaches behind the camera."""
        if found.box_3d is None or self.intrinsics is None:
            return None
        corners = box_3d_corners(found.box_3d[None])[0]  # 8 3
        if not (corners[:, 2] > NEAREST).all():
            return None
        return [(x * scale[0], y * scale[1]) for x, y in project_points(corners, self.intrinsics).tolist()]

    def to_coco(self, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return records of COCO's result format: boxes as x, y, width, height; masks as run lengths.

        Keypoints are x, y, score, one after the other; COCO's whole numbers are pixels, whose centres are +0.5 here.

        Args:
            image_id: the image's id in the data set.
            category_ids: the data set's category id of each class index.
        """
        if len(category_ids) != len(self.categories):
            raise ValueError(f"{len(category_ids)} category ids for {len(self.categories)} categories")
        records = [
            {
                "image_id": image_id,
                "category_id": category_ids[d.label],
                "bbox": [d.box[0], d.box[1], d.box[2] - d.box[0], d.box[3] - d.box[1]],
                "score": d.score,
            }
            | ({} if d.keypoints is None else {"keypoints": _coco_keypoints(d.keypoints)})
            for d in self._with(masks=None)
        ]
        return [record | mask for record, mask in zip(records, self._coded("segmentation"), strict=True)]

    def _coded(self, key: str) -> list[dict[str, Any]]:
        """Return, per object, its mask as JSON-able run lengths under `key`, or nothing."""
        if self.coded_masks is None:
            return [{} for _ in self.scores]
        return [{key: {"size": list(c["size"]), "counts": _text(c["counts"])}} for c in self.coded_masks.rles()]

    def __str__(self) -> str:
        above = self.above()
        if len(self) and not len(above):
            return nothing_above(self.threshold, float(self.scores[0]))
        counts = Counter(str(self.categories[label]) for label in above.labels.tolist())
        found = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        return found or nothing_found("objects", self.fallen)


def joined(parts: Sequence[Detections]) -> Detections:
    """Return what several looks at one image found as one result; of equal scores those of earlier looks come first.

    Raises:
        ValueError: if one has something of its objects, such as masks, that another one lacks.
    """
    columns = [part._columns() for part in parts]
    kinds = sorted({", ".join(own) for own in columns})
    if len(kinds) > 1:
        raise ValueError(f"received detections that have {' and some that have '.join(kinds)}")
    masks = {"masks": CodedMasks.joined([own.pop("masks") for own in columns])} if "masks" in columns[0] else {}
    return parts[0]._with(**masks, **{name: torch.cat([own[name] for own in columns]) for name in columns[0]})


def _check_wiring(found: Detections) -> None:
    """Refuse a skeleton of other joints than the keypoints, and 3-D boxes without a camera."""
    if found.skeleton is not None and found.keypoints is not None:
        names, joints = len(found.skeleton.joints), found.keypoints.shape[1]
        if names != joints:
            raise ValueError(f"received {joints} keypoints per object, expected the {names} of the skeleton")
    if found.boxes_3d is not None and found.intrinsics is None:
        raise ValueError("received boxes_3d without intrinsics, expected the camera that sees them")


def _in_space(found: Detection) -> dict[str, Any]:
    if found.box_3d is None:
        return {}
    numbers = found.box_3d.tolist()
    return {"box_3d": {"centre": numbers[:3], "size": numbers[3:6], "yaw": numbers[6]}}


def _coco_keypoints(keypoints: Float[Tensor, "J 3"]) -> list[float]:
    return (keypoints - keypoints.new_tensor([0.5, 0.5, 0])).flatten().tolist()


def _text(counts: Any) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
