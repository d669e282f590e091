"""The keys of a target: what each belongs to, and how it follows its picture when that is resized, cropped or mirrored.

A movement of a picture is a 3 x 3 matrix from its pixels (x, y, 1) to those of the moved one. torchvision moves what
lies on the picture (boxes, points, maps, other pictures), by the type that the table gives it; the values that change
with a movement are changed here:

    resize by (r_x, r_y), crop    disparity times r_x; intrinsics A K
    x mirrored                    left and right names change places, and so do the two pictures of a stereo pair;
                                  what the camera measures: x changes its sign
    y mirrored, quarter turn      what the camera measures is false
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision import tv_tensors

from vidi.ops.alignment import aligning, moved_points
from vidi.ops.boxes_3d import mirror_boxes_3d
from vidi.ops.label_maps import VOID
from vidi.ops.masks import CodedMasks
from vidi.ops.skeletons import Skeleton

Matrix = Float[Tensor, "3 3"]
Names = tuple[str, ...]
MIRROR_X = (-1.0, 1.0, 1.0)
PICTURE = ""
"""Stands for the picture that a target is of."""


def stays(value: Tensor, by: Any) -> Tensor:
    """Return a value that no movement changes."""
    return value


def scaled(value: Tensor, matrix: Matrix) -> Tensor:
    """Return disparities in pixels of the moved picture."""
    return value * value.new_tensor(abs(float(matrix[0, 0])))


def seen_through(camera: Float[Tensor, "3 3"], matrix: Matrix) -> Float[Tensor, "3 3"]:
    """Return the camera matrix of the moved picture; of a mirrored one with the frame whose x is mirrored."""
    signs = torch.diag(torch.sign(torch.stack((matrix[0, 0], matrix[1, 1], matrix[2, 2]))))
    return (matrix.double() @ camera.double() @ signs.double()).to(camera.dtype)


def exchanged_points(value: Tensor, names: Names) -> Tensor:
    """Return per-joint rows N J ... with left and right joints in each other's place."""
    return value[:, _partners(names, value.shape[1])]


def exchanged_joints(value: Float[Tensor, "N J 3"], names: Names) -> Float[Tensor, "N J 3"]:
    """Return joints in the camera's frame as a mirror shows them."""
    return exchanged_points(value, names) * value.new_tensor(MIRROR_X)


def exchanged_parts(value: Tensor, names: Names) -> Tensor:
    """Return a map of parts, left and right ones exchanged; labels beyond the names (background, void) stay."""
    if not names:
        raise ValueError("received parts without their names, which say what is left and right in a mirror")
    table = torch.arange(VOID + 1, dtype=value.dtype)
    table[: len(names)] = torch.tensor(_partners(names, len(names)), dtype=value.dtype)
    return table[value.long()]


def mirrored_boxes(value: Float[Tensor, "N 7"], names: Names) -> Float[Tensor, "N 7"]:
    """Return boxes in space as a mirror shows them."""
    return mirror_boxes_3d(value)


def mirrored_poses(value: Float[Tensor, "F 4 4"], names: Names) -> Float[Tensor, "F 4 4"]:
    """Return poses between frames whose x axes are mirrored."""
    signs = torch.diag(value.new_tensor((*MIRROR_X, 1.0)))
    return signs @ value @ signs


def _partners(names: Names, count: int) -> list[int]:
    if len(names) != count:
        given = f"the names of {len(names)} joints and {count} joints"
        raise ValueError(f"received {given}, which cannot be mirrored without theirs")
    return Skeleton(names).mirrored()


@dataclass(frozen=True)
class Key:
    """How one key of a target follows its picture.

    Attributes:
        of: what it belongs to: the image, an object (a row for each), a pixel, or the camera.
        on: how it lies on the picture, for torchvision to move it; None: it does not.
        outside: what a map holds where nothing of the picture is.
        moved: its values after a movement along the axes.
        mirrored: its values after a mirror, given the names of its joints or parts; None: one of x makes it false.
        other: the key that takes its place when a mirror exchanges the pictures of a stereo pair, or `PICTURE`.
        match: the disparity, and its sign, by which a pixel is found in the other picture: one that leaves that picture
            is valid no more.
    """

    of: Literal["image", "object", "pixel", "camera"]
    on: Literal["boxes", "points", "map", "picture"] | None = None
    outside: int = 0
    moved: Callable[[Tensor, Matrix], Tensor] = stays
    mirrored: Callable[[Tensor, Names], Tensor] | None = stays
    other: str | None = None
    match: tuple[str, int] | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether its values are the same whatever happens to the picture."""
        return self.moved is stays and self.mirrored is stays and self.other is None


KEYS: dict[str, Key] = {
    # of the image
    "image_id": Key("image"),
    "label": Key("image"),
    "caption": Key("image", mirrored=None),  # it says what is left and right
    "tokens": Key("image"),
    "sentence": Key("image"),
    # of an object
    "boxes": Key("object", "boxes"),
    "proposals": Key("object", "boxes"),
    "labels": Key("object"),
    "crowd": Key("object"),
    "areas": Key("object"),  # in the pixels of the original: by them COCO tells small objects from large ones
    "identity": Key("object"),
    "masks": Key("object", "map"),
    "keypoints": Key("object", "points", mirrored=exchanged_points),
    "visibility": Key("object", mirrored=exchanged_points),
    "boxes_3d": Key("object", mirrored=mirrored_boxes),
    "joints": Key("object", mirrored=exchanged_joints),
    # of a pixel
    "semantic": Key("pixel", "map", VOID),
    "panoptic": Key("pixel", "map"),
    "parts": Key("pixel", "map", VOID, mirrored=exchanged_parts),
    "depth": Key("pixel", "map"),
    "depth_valid": Key("pixel", "map"),
    "occluded": Key("pixel", "map", outside=1),
    "neighbours": Key("pixel", "picture"),
    "right": Key("pixel", "picture", other=PICTURE),
    "disparity": Key("pixel", "map", moved=scaled, other="disparity_right"),
    "disparity_valid": Key("pixel", "map", other="disparity_right_valid", match=("disparity", -1)),
    "disparity_right": Key("pixel", "map", moved=scaled, other="disparity"),
    "disparity_right_valid": Key("pixel", "map", other="disparity_valid", match=("disparity_right", 1)),
    # of the camera
    "intrinsics": Key("camera", moved=seen_through),
    "baseline": Key("camera"),  # metres between the cameras of a stereo pair
    "focal_source": Key("camera"),  # where the intrinsics come from, see vidi.depth.estimator
    "poses": Key("camera", mirrored=mirrored_poses),
}
MEASURED = frozenset({"boxes_3d", "joints", "intrinsics", "poses"})
"""What is in the camera's frame: movements that are not along the axes, and mirrors of y, make it false."""


def row_of(name: str) -> Key:
    """Return the row of a key.

    Raises:
        ValueError: for a key that the table does not know, with those it does.
    """
    if name not in KEYS:
        raise ValueError(f"received a target with {name!r}, expected keys among {', '.join(sorted(KEYS))}")
    return KEYS[name]


def typed(target: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """Give the plain tensors of a target the types by which they follow the pixels of an image of `size` (H, W).

    Raises:
        ValueError: for a key without a row.
    """
    typed_target = dict(target)
    for name, value in target.items():
        on = row_of(name).on
        if isinstance(value, Tensor) and not isinstance(value, tv_tensors.TVTensor) and on is not None:
            typed_target[name] = on_picture(value, on, size)
    return typed_target


def on_picture(value: Tensor, on: str, size: Sequence[int]) -> Tensor:
    """Wrap a plain tensor so that torchvision moves it with the picture of `size` (H, W)."""
    if on == "boxes":
        return tv_tensors.BoundingBoxes(value, format="XYXY", canvas_size=tuple(size))  # type: ignore[call-overload]
    if on == "points":
        return tv_tensors.KeyPoints(value, canvas_size=tuple(size))  # type: ignore[call-arg]
    return tv_tensors.Image(value) if on == "picture" else tv_tensors.Mask(value)


def typed_as(value: Any, plain: Any) -> Any:
    """Give `plain`, made of a value, the value's type."""
    return tv_tensors.wrap(plain, like=value) if isinstance(value, tv_tensors.TVTensor) else plain  # type: ignore[call-arg]


def resizing(before: Sequence[int], after: Sequence[int]) -> Matrix:
    """Return the movement of a picture that is resized; sizes are (H, W)."""
    return torch.diag(torch.tensor([after[1] / before[1], after[0] / before[0], 1.0], dtype=torch.float64))


def shifting(top: int, left: int) -> Matrix:
    """Return the movement of a picture of which the part from (left, top) on is kept."""
    return torch.tensor([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]], dtype=torch.float64)


def change_values(
    target: Mapping[str, Any], matrix: Matrix, names: Mapping[str, Names] | None = None
) -> dict[str, Any]:
    """Return a target whose boxes, points and maps were moved, with all its values as they are in the moved picture.

    A mirror of a stereo pair leaves the exchange of "right" and the picture itself to the caller.

    Args:
        target: tensors by key.
        matrix: the movement.
        names: of what is counted in "keypoints", "visibility", "joints" and "parts".

    Raises:
        ValueError: for a key without a row, and for one that the movement makes false.
    """
    rows = {name: row_of(name) for name in target}
    if all(row.is_fixed for row in rows.values()):
        return dict(target)
    along = bool(matrix[0, 1] == 0 and matrix[1, 0] == 0)
    false = [name for name in target if name in MEASURED and not (along and matrix[1, 1] > 0)]
    false += [name for name, row in rows.items() if row.other is not None and not along]
    turned = bool(matrix[0, 0] <= 0)  # what was left is not
    if turned:
        false += [name for name, row in rows.items() if row.mirrored is None]
    exchanged = turned and any(row.other is not None for row in rows.values())
    if exchanged:
        false += [name for name, row in rows.items() if row.other is None and row.of in ("object", "pixel")]
        false += [name for name, row in rows.items() if row.other and row.other not in target]
    if false:
        raise ValueError(f"received a movement of the picture that makes {', '.join(dict.fromkeys(false))} false")
    changed = {name: _changed(name, value, matrix, names or {}) for name, value in target.items()}
    if exchanged:
        changed |= {name: changed[row.other] for name, row in rows.items() if row.other}
    return changed | {
        name: _with_match(changed[name], changed[row.match[0]], row.match[1])
        for name, row in rows.items()
        if row.match is not None and row.match[0] in changed
    }


def _with_match(valid: Tensor, disparity: Tensor, sign: int) -> Tensor:
    """Return which pixels are valid, and have their match inside the other picture."""
    columns = torch.arange(valid.shape[-1]) + 0.5 + sign * disparity.as_subclass(Tensor)
    return typed_as(valid, valid.as_subclass(Tensor) & (columns >= 0) & (columns < valid.shape[-1]))


def _changed(name: str, value: Any, matrix: Matrix, names: Mapping[str, Names]) -> Any:
    row = KEYS[name]
    if row.is_fixed or not isinstance(value, Tensor):
        return value
    plain = row.moved(value.as_subclass(Tensor), matrix)
    if matrix.det() < 0 and row.mirrored is not None:
        plain = row.mirrored(plain, names.get(name, ()))
    return typed_as(value, plain)


def with_moved_masks(target: Mapping[str, Any], matrix: Matrix, size: Sequence[int]) -> dict[str, Any]:
    """Move masks that are run lengths with their picture, which has the `size` (H, W) then."""
    masks = target.get("masks")
    if not isinstance(masks, CodedMasks):
        return dict(target)
    return {**target, "masks": masks.moved(matrix, (size[0], size[1]))}


def without_lost_joints(target: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """Make joints that left the picture of `size` (H, W) absent, as in a data set: at (0, 0), not visible."""
    if "keypoints" not in target:
        return dict(target)
    points = target["keypoints"].as_subclass(Tensor)
    inside = ((points >= 0) & (points < points.new_tensor([size[1], size[0]]))).all(2)
    seen = {"visibility": target["visibility"] * inside} if "visibility" in target else {}
    return {**target, "keypoints": on_picture(points.where(inside[..., None], 0), "points", size), **seen}


def upright(target: Mapping[str, Any], size: tuple[int, int]) -> tuple[Float[Tensor, "2 3"], dict[str, Tensor]]:
    """Return the matrix that turns a face upright, to the template for a size (h, w), and the target after that.

    Only its points move; what else lies on the picture is left out.

    Raises:
        ValueError: if there are no five keypoints of one face, they say no rotation, or a key has no row.
    """
    points = target.get("keypoints")
    if points is None or tuple(points.shape) != (1, 5, 2):
        found = "no keypoints" if points is None else f"keypoints {tuple(points.shape)}"
        raise ValueError(
            f"received {found}, expected the five of a face (1, 5, 2), to turn it upright by; "
            "`vidi data upright` makes upright copies of pictures that have none"
        )
    plain = points.as_subclass(Tensor).float()
    matrix = aligning(plain[0], size)
    kept = {name: value for name, value in target.items() if row_of(name).on is None and isinstance(value, Tensor)}
    return matrix, {**kept, "keypoints": moved_points(plain, matrix[None])}
