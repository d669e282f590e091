"""What `predict()` gives: typed results on the CPU, in the pixels of the original image.

Each one draws itself on the image (small images are enlarged until text is legible), turns itself into plain values
for JSON, and is one line on a terminal.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import PIL.Image
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from vidi.ops.boxes_3d import box_3d_corners, lift_boxes, observation_angles, project_points
from vidi.ops.drawing import (
    NARROWEST,
    Area,
    Picture,
    as_picture,
    draw_bar,
    draw_box,
    draw_tag,
    font_of,
    legible,
    mask_picture,
    sheet_below,
    tint,
    tint_classes,
    with_legend,
)
from vidi.ops.masks import encode_masks
from vidi.ops.palette import PAPER, class_colour
from vidi.ops.skeletons import Skeleton
from vidi.ops.wireframes import draw_box_3d, draw_skeleton

Categories = tuple[str | None, ...]
"""Names by class index; None marks an output that was never trained."""

IGNORED = 255  # label of semantic pixels that count nowhere
LEGEND_ENTRIES = 12
NEAREST = 0.05  # metres before the camera from where on a box in space can be drawn


class Result(Protocol):
    """What is common to all results."""

    def draw(self, image: Picture) -> PIL.Image.Image: ...

    def to_dict(self) -> dict[str, Any]: ...

    def __str__(self) -> str: ...


def category_names(categories: int | Sequence[str | None]) -> Categories:
    """Return names by class index; a count K gives "class 0" .. "class K-1".

    Raises:
        TypeError: for a single string.
        ValueError: if there is no category, or none with a name.
    """
    if isinstance(categories, str):
        raise TypeError(f"received the string {categories!r}, expected a sequence of names or their count")
    names = tuple(f"class {k}" for k in range(categories)) if isinstance(categories, int) else tuple(categories)
    if all(name is None for name in names):
        raise ValueError(f"received {categories!r}, expected at least one named category")
    return names


@dataclass(frozen=True, eq=False)
class Classification:
    """The probabilities of one image's classes."""

    probabilities: Float[Tensor, " K"]  # in [0, 1]; those of unnamed categories are ignored
    categories: Categories

    def __post_init__(self) -> None:
        _set(self, probabilities=self.probabilities.detach().cpu())
        _check_finite(probabilities=self.probabilities)
        if len(self.probabilities) != len(self.categories):
            raise ValueError(f"{len(self.probabilities)} probabilities for {len(self.categories)} categories")
        category_names(self.categories)

    def ranking(self) -> list[int]:
        """Return the indices of the named classes, the most probable first; ties keep the order of the classes."""
        order = self.probabilities.argsort(descending=True, stable=True).tolist()
        return [k for k in order if self.categories[k] is not None]

    @property
    def label(self) -> int:
        """The index of the most probable class."""
        return self.ranking()[0]

    @property
    def name(self) -> str:
        """The name of the most probable class."""
        return str(self.categories[self.label])

    @property
    def score(self) -> float:
        """The probability of the most probable class."""
        return float(self.probabilities[self.label])

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the names and probabilities of the k most probable classes (fewer if there are fewer)."""
        return [(str(self.categories[i]), float(self.probabilities[i])) for i in self.ranking()[:k]]

    def draw(self, image: Picture) -> PIL.Image.Image:
        """Return the picture above a strip with the three most probable classes as bars."""
        picture = legible(as_picture(image))
        width = max(picture.width, NARROWEST)
        size = max(14, width // 28)
        row, gap = round(1.7 * size), round(0.4 * size)
        best = self.ranking()[:3]
        sheet = sheet_below(picture, width, len(best) * (row + gap) + gap)
        for place, (k, (name, score)) in enumerate(zip(best, self._worth_showing(), strict=False)):
            top = picture.height + gap + place * (row + gap)
            draw_bar(sheet, (gap, top, width - gap, top + row), k, name, score, font=font_of(size))
        return sheet

    def to_dict(self) -> dict[str, Any]:
        """Return the best class and the five most probable ones, as plain values."""
        top = [{"name": name, "score": score} for name, score in self.top(5)]
        return {"label": self.label, "name": self.name, "score": self.score, "top": top}

    def __str__(self) -> str:
        return ", ".join(f"{name} {score:.2f}" for name, score in self._worth_showing())

    def _worth_showing(self) -> list[tuple[str, float]]:
        """Return the best class, and the next two unless their probability rounds to 0.00."""
        best, *others = self.top(3)
        return [best, *(other for other in others if other[1] >= 0.005)]


class Detection(NamedTuple):
    """One object."""

    name: str
    label: int
    score: float
    box: tuple[float, float, float, float]  # xyxy, pixels
    mask: Bool[Tensor, "H W"] | None = None
    keypoints: Float[Tensor, "J 3"] | None = None  # x, y, score
    box_3d: Float[Tensor, " 7"] | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one image, the surest first; those of unnamed categories are dropped."""

    boxes: Float[Tensor, "N 4"]  # xyxy, pixels of the original image
    scores: Float[Tensor, " N"]
    labels: Int64[Tensor, " N"]
    categories: Categories
    masks: Bool[Tensor, "N H W"] | None = None
    keypoints: Float[Tensor, "N J 3"] | None = None  # x, y in pixels, and a score; 0: the thing has no such joint
    skeleton: Skeleton | None = None  # of the keypoints; without one they have numbers for names, and no bones
    boxes_3d: Float[Tensor, "N 7"] | None = None  # see `vidi.ops.boxes_3d`
    intrinsics: Float[Tensor, "3 3"] | None = None  # the camera of the 3-D boxes, pixels of the original image

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in _PER_OBJECT}
        rows = {name: value.detach().cpu() for name, value in columns.items() if value is not None}
        if len({len(value) for value in rows.values()}) > 1:
            raise ValueError("lengths differ: " + ", ".join(f"{len(v)} {name}" for name, v in rows.items()))
        _check_finite(**{name: value for name, value in rows.items() if value.is_floating_point()})
        _check_labels(rows["labels"], self.categories)
        _check_wiring(self)
        named = torch.tensor([name is not None for name in self.categories], dtype=torch.bool)
        order = rows["scores"].argsort(descending=True, stable=True)
        order = order[named[rows["labels"][order]]]
        _set(self, **{name: value[order] for name, value in rows.items()})
        if self.intrinsics is not None:
            _set(self, intrinsics=self.intrinsics.detach().cpu())

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        columns = zip(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        for row, (label, score, box) in enumerate(columns):
            more = (None if column is None else column[row] for column in (self.masks, self.keypoints, self.boxes_3d))
            yield Detection(str(self.categories[label]), label, score, tuple(box), *more)

    def above(self, threshold: float) -> "Detections":
        """Return the detections with a score of at least `threshold`."""
        columns = {name: getattr(self, name) for name in _PER_OBJECT}
        keep = self.scores >= threshold
        return replace(self, **{name: value[keep] for name, value in columns.items() if value is not None})

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
        return replace(self, boxes_3d=lifted, intrinsics=camera)

    def draw(self, image: Picture, *, threshold: float = 0.5) -> PIL.Image.Image:
        """Return the picture with the detections with a score of at least `threshold`, the surest on top.

        Masks are tinted; 3-D boxes, their fronts crossed out, take the place of boxes; joints have dots and bones.

        Raises:
            ValueError: if the masks are not as large as the image.
        """
        original = as_picture(image)
        picture = legible(original)
        scale = picture.width / original.width, picture.height / original.height
        shown = list(self.above(threshold))
        for found in reversed(shown):
            if found.mask is not None:
                _check_size("masks", found.mask, original)
                tint(picture, mask_picture(found.mask, picture.size), class_colour(found.label))
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
            for d in self
        ]
        return {"objects": [record | mask for record, mask in zip(records, self._coded("mask"), strict=True)]}

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
            for d in self
        ]
        return [record | mask for record, mask in zip(records, self._coded("segmentation"), strict=True)]

    def _coded(self, key: str) -> list[dict[str, Any]]:
        """Return, per object, its mask as JSON-able run lengths under `key`, or nothing."""
        if self.masks is None:
            return [{} for _ in self]
        coded = encode_masks(self.masks)
        return [{key: {"size": list(c["size"]), "counts": _text(c["counts"])}} for c in coded]

    def __str__(self) -> str:
        counts = Counter(found.name for found in self)
        return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "no objects"


@dataclass(frozen=True, eq=False)
class SemanticMap:
    """The class of every pixel of one image."""

    classes: UInt8[Tensor, "H W"]  # 255 = ignored
    categories: Categories

    def __post_init__(self) -> None:
        _set(self, classes=self.classes.detach().cpu())
        present = self.classes.unique()
        _check_labels(present[present != IGNORED].long(), self.categories)

    def shares(self) -> list[tuple[int, float]]:
        """Return the classes that occur and their share of the pixels that are not ignored, the largest first."""
        counts = torch.bincount(self.classes.flatten().long(), minlength=IGNORED + 1)[:IGNORED]
        order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
        return [(k, int(counts[k]) / int(counts.sum())) for k in order.tolist()]

    def draw(self, image: Picture) -> PIL.Image.Image:
        """Return the picture tinted by class ("background" and ignored pixels stay as they are) above a legend.

        Raises:
            ValueError: if the map is not as large as the image.
        """
        original = as_picture(image)
        _check_size("classes", self.classes, original)
        picture = legible(original)
        shares = self.shares()
        tint_classes(picture, self.classes, {k: class_colour(k) for k, _ in shares if self._name(k) != "background"})
        entries = [(class_colour(k), f"{self._name(k)} {_percent(share)}") for k, share in shares[:LEGEND_ENTRIES]]
        if len(shares) > LEGEND_ENTRIES:
            entries.append((PAPER, f"and {len(shares) - LEGEND_ENTRIES} more"))
        return with_legend(picture, entries)

    def to_dict(self) -> dict[str, Any]:
        """Return the size of the map and the classes that occur with their share of the pixels, as plain values."""
        shares = [{"label": k, "name": self._name(k), "share": share} for k, share in self.shares()]
        return {"size": list(self.classes.shape), "classes": shares}

    def _name(self, k: int) -> str:
        return self.categories[k] or f"unnamed {k}"

    def __str__(self) -> str:
        best = [f"{self._name(k)} {_percent(share)}" for k, share in self.shares()[:3]]
        more = len(self.shares()) - 3
        return ", ".join(best + [f"{more} more"] * (more > 0)) or "all ignored"


@dataclass(frozen=True, eq=False)
class AnchorSizes:
    """Typical box sizes of a data set, the smallest first."""

    sizes: Float[Tensor, "K 2"]  # width, height in pixels
    mean_iou: float  # of the boxes with their nearest size, in [0, 1]

    def __post_init__(self) -> None:
        sizes = self.sizes.detach().cpu()
        _check_finite(sizes=sizes)
        if not (sizes > 0).all():
            raise ValueError(f"received sizes {sizes.tolist()}, expected positive widths and heights")
        _set(self, sizes=sizes[sizes.prod(dim=1).argsort(stable=True)])

    def draw(self, image: Picture) -> PIL.Image.Image:
        """Return the picture with one box of each size about its centre."""
        original = as_picture(image)
        picture = legible(original)
        scale = picture.width / original.width
        x, y = picture.width / 2, picture.height / 2
        for k, (width, height) in reversed(list(enumerate((self.sizes * scale / 2).tolist()))):
            draw_box(picture, (x - width, y - height, x + width, y + height), class_colour(k))
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes and their fit as plain values."""
        sizes = [{"width": width, "height": height} for width, height in self.sizes.tolist()]
        return {"sizes": sizes, "mean_iou": self.mean_iou}

    def __str__(self) -> str:
        sizes = ", ".join(f"{width:.0f}x{height:.0f}" for width, height in self.sizes.tolist())
        return f"{sizes} (mean IoU {self.mean_iou:.3f})"


# ----------------------------------------------------------------------------------------------------------------------
# Consistency and wording


def _set(result: Any, **fields: Any) -> None:
    """Give fields of a frozen dataclass their final value during its construction."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)


def _check_finite(**tensors: Tensor) -> None:
    for name, values in tensors.items():
        if not values.isfinite().all():
            raise ValueError(f"received {name} that are not finite")


def _check_labels(labels: Tensor, categories: Categories) -> None:
    wrong = labels[(labels < 0) | (labels >= len(categories))]
    if len(wrong):
        raise ValueError(f"received label {int(wrong[0])}, expected 0..{len(categories) - 1}")


def _check_size(what: str, pixels: Tensor, image: PIL.Image.Image) -> None:
    if tuple(pixels.shape) != (image.height, image.width):
        raise ValueError(f"received {what} of size {tuple(pixels.shape)}, expected {(image.height, image.width)}")


_PER_OBJECT = ("boxes", "scores", "labels", "masks", "keypoints", "boxes_3d")


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


def _percent(share: float) -> str:
    return "<1%" if share < 0.005 else f"{share:.0%}"


def _text(counts: Any) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


@dataclass(frozen=True)
class Translation:
    """A sentence made from another one; it has no picture to be drawn on."""

    words: tuple[str, ...]
    score: float  # the probability of the sentence, given the source

    def to_dict(self) -> dict[str, Any]:
        """Return the sentence and its probability as plain values."""
        return {"sentence": " ".join(self.words), "score": self.score}

    def __str__(self) -> str:
        return f"{' '.join(self.words)} ({self.score:.2f})"
