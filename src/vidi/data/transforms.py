"""Augmentations by name, put together from torchvision.transforms.v2; boxes, masks and points follow the pixels.

A pipeline takes and gives a sample (image, target). It draws from torch's global generator only, which the loader
seeds by (seed, epoch, index).

Joints move as boxes without sides do: torchvision's flips put points where pixels have whole numbers, half a pixel from
here on both sides. Three points that go with them tell how the picture was moved; the table of `vidi.keys` says what
follows for values that do not lie on the picture, such as disparities and the camera.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from vidi.keys import KEYS, change_values, on_picture, row_of, typed_as, with_moved_masks, without_lost_joints
from vidi.ops.masks import CodedMasks, has_pixels
from vidi.ops.segments import without_objects
from vidi.preprocess import Batch, Sample

PER_OBJECT = ("labels", "crowd", "areas", "masks", "keypoints", "visibility", "identity", "boxes_3d", "boxes")


def drop_lost_objects(sample: Sample, *, smallest: float = 1.0) -> Sample:
    """Clip boxes to the picture and drop the objects of which less than `smallest` pixels a side are left.

    Those whose mask has no pixel left go too.
    """
    image, target = sample
    if "boxes" not in target:
        return sample
    boxes = v2.functional.clamp_bounding_boxes(target["boxes"])
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= smallest).all(dim=1)
    if "masks" in target:
        kept &= has_pixels(target["masks"])
    rows = {"boxes": boxes} | {name: target[name] for name in PER_OBJECT if name in target and name != "boxes"}
    left = {name: typed_as(value, value[kept]) for name, value in rows.items()}
    if "panoptic" in target and not kept.all():  # whose ids are the objects' rows
        plain = without_objects(target["panoptic"].as_subclass(Tensor), kept.as_subclass(Tensor))
        left["panoptic"] = typed_as(target["panoptic"], plain)
    return image, {**target, **left}


class QuarterTurns(v2.Transform):
    """Turn the picture by 0, 90, 180 or 270 degrees: for subjects without an up, such as cells under a microscope."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"angle": 90 * int(torch.randint(4, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return v2.functional.rotate(inpt, params["angle"], expand=True) if params["angle"] else inpt


class Rescaled(v2.Transform):
    """Scale and shift the picture within its frame; what comes in from outside is grey, and 0 in maps."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        draws = torch.rand(3).tolist()
        H, W = v2.functional.get_size(next(v for v in flat_inputs if isinstance(v, tv_tensors.TVTensor)))
        shift = [round(0.1 * W * (2 * draws[0] - 1)), round(0.1 * H * (2 * draws[1] - 1))]
        return {"translate": shift, "scale": 0.75 * (1.33 / 0.75) ** draws[2]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        grey = 114 / 255 if inpt.is_floating_point() else 114.0
        fill = grey if isinstance(inpt, tv_tensors.Image) else 0.0
        return v2.functional.affine(inpt, angle=0, shear=[0, 0], fill=[fill], **params)


class FrugalColorJitter(v2.ColorJitter):
    """The same colours, pixel for pixel, with less memory: a strip of rows at a time where no other row matters.

    Hue alone takes ten times as much as the picture in float32.
    """

    rows = 256

    def _call_kernel(self, functional: Any, inpt: Any, *args: Any, **kwargs: Any) -> Any:
        if functional is v2.functional.adjust_contrast or not isinstance(inpt, tv_tensors.Image):
            return super()._call_kernel(functional, inpt, *args, **kwargs)  # by the mean of all pixels
        strips = [tv_tensors.Image(strip) for strip in inpt.split(self.rows, dim=-2)]
        changed = [super(FrugalColorJitter, self)._call_kernel(functional, strip, *args, **kwargs) for strip in strips]
        return tv_tensors.Image(torch.cat(changed, dim=-2))


def _shift(size: tuple[int, int]) -> v2.Transform:
    shifted = v2.RandomCrop(size, padding=max(1, size[0] // 8), padding_mode="reflect")
    return v2.Compose([v2.Resize(size, antialias=True), shifted])  # pictures may be smaller than the network's


def _crop(size: tuple[int, int]) -> v2.Transform:
    return v2.Compose([_shift(size), v2.RandomHorizontalFlip()])


def _resized_crop(size: tuple[int, int]) -> v2.Transform:
    return v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()])


def _scaled(size: tuple[int, int]) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomApply([Rescaled()], p=0.7),
            FrugalColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
        ]
    )


def _randaugment(crop: Callable[[tuple[int, int]], v2.Transform]) -> Callable[[tuple[int, int]], v2.Transform]:
    """Follow a crop by two random operations of middling strength (Cubuk et al. 2020, arXiv 1909.13719)."""
    return lambda size: v2.Compose([crop(size), v2.RandAugment(num_ops=2, magnitude=9)])


PIPELINES: dict[str, Callable[[tuple[int, int]], v2.Transform]] = {
    "flip": lambda size: v2.RandomHorizontalFlip(),
    "shift": _shift,  # for what is not its mirror image, such as digits
    "crop": _crop,
    "crop_randaugment": _randaugment(_crop),
    "resized_crop": _resized_crop,
    "resized_crop_randaugment": _randaugment(_resized_crop),
    "boxes": _scaled,
    "slight_crop": lambda size: v2.RandomResizedCrop(
        size, scale=(0.9, 1.0), antialias=True
    ),  # as CLIP: left stays left
    "dihedral_boxes": lambda size: v2.Compose([_scaled(size), v2.RandomVerticalFlip(), QuarterTurns()]),
}


class Augmentation:
    """A named pipeline as a picklable function of a sample.

    Args:
        name: one of `PIPELINES`.
        size: (H, W) that crops give.
        joints, parts: names of the joints and of the body parts that samples have.
    """

    def __init__(self, name: str, size: tuple[int, int], *, joints: tuple[str, ...] = (), parts: tuple[str, ...] = ()):
        if name not in PIPELINES:
            raise ValueError(f"received augment={name!r}, expected one of none, {', '.join(PIPELINES)}")
        self.name = name
        self.transform = PIPELINES[name](size)
        self.names = {**dict.fromkeys(("keypoints", "visibility", "joints"), joints), "parts": parts}

    def __call__(self, sample: Sample) -> Sample:
        """Return a sample that was moved as the draws say.

        Raises:
            ValueError: if the picture is mirrored and the names of its joints are not known, it is moved in another way
                and has boxes in space, or a key of the target has no row in `vidi.keys` or becomes false.
        """
        image, target = sample
        fixed = all(row_of(name).is_fixed and not KEYS[name].outside for name in target)
        if fixed and not isinstance(target.get("masks"), CodedMasks):
            # a list is a pytree that the transforms walk; strings and plain tensors pass through
            moved: tuple[Tensor, Mapping[str, Any]] = self.transform(image, dict(target))
            return drop_lost_objects(moved)
        return drop_lost_objects(self._moved_with_values(image, target))

    def _moved_with_values(self, image: Tensor, target: Mapping[str, Any]) -> Sample:
        """Move a sample, its joints as boxes, the points that tell how, and a map of what is inside the picture."""
        size, points = (image.shape[-2], image.shape[-1]), target.get("keypoints")
        going: dict[str, Any] = {"corner": _as_boxes(CORNER, size), "inside": tv_tensors.Mask(torch.ones(1, *size))}
        going |= {} if points is None else {"joints": _as_boxes(points, size)}
        others = {name: value for name, value in target.items() if name != "keypoints"}
        result: tuple[Tensor, dict[str, Any], dict[str, Any]] = self.transform(image, others, going)
        image, found, gone = result
        shown = (image.shape[-2], image.shape[-1])
        movement = _movement(gone["corner"][:, :2].as_subclass(Tensor))
        if points is not None:
            joints = gone["joints"][:, :2].as_subclass(Tensor).view(points.shape)
            found["keypoints"] = on_picture(joints, "points", shown)
        mirror = torch.tensor([[-1.0, 0, shown[1]], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
        if "boxes_3d" in found and not any(torch.equal(movement, kept) for kept in (torch.eye(3).double(), mirror)):
            raise ValueError(f"received augment={self.name!r} for boxes in space, expected one of none, flip")
        found = with_moved_masks(change_values(found, movement, self.names), movement, shown)
        for name, value in found.items():
            if KEYS[name].outside:
                found[name] = tv_tensors.Mask(value.masked_fill(gone["inside"][0] == 0, KEYS[name].outside))
        if "right" in found and movement[0, 0] < 0:
            image, found["right"] = found["right"], image
        return image, without_lost_joints(found, shown)


CORNER = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)  # the points that tell how a picture is moved


def _as_boxes(points: Tensor, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    """Return points as boxes without sides, which are neither clipped nor rounded when they are moved."""
    flat = points.as_subclass(Tensor).reshape(-1, 2).repeat(1, 2)
    return tv_tensors.BoundingBoxes(flat, format="XYXY", canvas_size=size, clamping_mode=None)  # type: ignore[call-overload]


def _movement(corner: Float[Tensor, "3 2"]) -> Float[Tensor, "3 3"]:
    """Return the matrix that moved the points of `CORNER` to where they are."""
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2] = torch.stack((corner[1] - corner[0], corner[2] - corner[0], corner[0]), 1)
    return matrix


def mixup(batch: Batch, generator: torch.Generator, *, classes: int, alpha: float = 0.2) -> Batch:
    """Blend each image and its label with another's (Zhang et al. 2018, arXiv 1710.09412), one weight a batch."""
    weight = float(_beta(alpha, generator))
    order = torch.randperm(len(batch.targets), generator=generator, device=generator.device)
    soft = _one_hot(batch, classes)
    images = batch.images.lerp(batch.images[order], 1 - weight)
    return _with_soft_labels(batch, images, soft.lerp(soft[order], 1 - weight))


def cutmix(batch: Batch, generator: torch.Generator, *, classes: int, alpha: float = 1.0) -> Batch:
    """Paste a box of another image into each image (Yun et al. 2019, arXiv 1905.04899); labels mix by area."""
    H, W = batch.images.shape[-2:]
    side = (1 - float(_beta(alpha, generator))) ** 0.5
    y, x = (torch.rand(2, generator=generator, device=generator.device) * torch.tensor([H, W])).tolist()
    top, bottom = (int(min(max(y + sign * side * H / 2, 0), H)) for sign in (-1, 1))
    left, right = (int(min(max(x + sign * side * W / 2, 0), W)) for sign in (-1, 1))
    order = torch.randperm(len(batch.targets), generator=generator, device=generator.device)
    images = batch.images.clone()
    images[..., top:bottom, left:right] = batch.images[order][..., top:bottom, left:right]
    soft = _one_hot(batch, classes)
    return _with_soft_labels(batch, images, soft.lerp(soft[order], (bottom - top) * (right - left) / (H * W)))


def _beta(alpha: float, generator: torch.Generator) -> Tensor:
    # X / (X + Y) of two gamma variates is beta distributed; torch's public gamma sampler takes no generator
    gamma = torch._standard_gamma(torch.full((2,), alpha, device=generator.device), generator)  # type: ignore[attr-defined]
    return gamma[0] / gamma.sum()


def _one_hot(batch: Batch, classes: int) -> Tensor:
    labels = torch.stack([target["label"] for target in batch.targets])
    return torch.nn.functional.one_hot(labels, classes).float()


def _with_soft_labels(batch: Batch, images: Tensor, soft: Tensor) -> Batch:
    targets = [{**target, "label": row} for target, row in zip(batch.targets, soft, strict=True)]
    return replace(batch, images=images, targets=targets)
