"""From a picture to a batch, and back: sizes, padding, pixel statistics, and where each picture lies on the canvas.

picture  C H W      `Preprocess.place`    resize, crop; boxes, masks and points follow the pixels
placed   C h w      `Preprocess.collate`  normalise, pad to one canvas
Batch    B C H W    `Batch.inputs`        what goes into the network
outputs             `Placement`           from the canvas to the pixels of the original
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as geometry

from vidi import files
from vidi.formats import IMAGE_SUFFIXES, files_below
from vidi.keys import (
    KEYS,
    PICTURE,
    change_values,
    resizing,
    row_of,
    shifting,
    typed,
    upright,
    with_moved_masks,
    without_lost_joints,
)
from vidi.ops.alignment import warped
from vidi.ops.masks import CodedMasks
from vidi.ops.upsampling import bilinear_rows

Sample = tuple[Tensor, Mapping[str, Any]]
"""An image (C H W, uint8 or float in [0, 1]) and its target: what a data set gives."""

IMAGE_TYPES = (torch.uint8, torch.float32, torch.float16, torch.bfloat16)
ROUNDING = 2**-7
"""How far a float image may leave [0, 1], as resizing can leave it: the last bit of bfloat16 at 1."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that bring [0, 1] to [-1, 1]."""


class Prepares(Protocol):
    """Numbers that turn samples into a batch: `Preprocess` for images, another frozen dataclass for other inputs."""

    def place(self, image: Tensor, target: Mapping[str, Any], /) -> tuple[Tensor, Mapping[str, Tensor], Any]: ...

    def collate(self, placed: Any, /) -> Any: ...


@dataclass(frozen=True)
class Placement:
    """Where one original image lies on the canvas of a batch, in pixels."""

    original: tuple[int, int]  # H, W of the file
    resized: tuple[int, int]  # h, w on the canvas
    offset: tuple[int, int] = (0, 0)  # top, left of the resized image on the canvas; negative after a centre crop

    def _scale(self, like: Tensor) -> Tensor:
        (H, W), (h, w) = self.original, self.resized
        return like.new_tensor([W / w, H / h])

    def points_to_original(self, points: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2"]:
        """Map points (x, y) from the canvas to the original image."""
        return (points - points.new_tensor([self.offset[1], self.offset[0]])) * self._scale(points)

    def boxes_to_original(self, boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
        """Map boxes xyxy from the canvas to the original image, and clip them to it."""
        H, W = self.original
        corners = self.points_to_original(boxes.unflatten(-1, (2, 2)))  # N 2 2
        return corners.minimum(corners.new_tensor([W, H])).clamp(min=0).flatten(-2)

    def map_to_original(self, maps: Float[Tensor, "C h w"], *, nearest: bool = False) -> Float[Tensor, "C H W"]:
        """Cut the image's part out of maps on the canvas and resize it to the original image.

        Raises:
            ValueError: if the image was cropped, so that the maps do not cover it.
        """
        (top, left), (h, w) = self._covered()
        part = maps[:, top : top + h, left : left + w]
        if nearest:
            return F.interpolate(part[None], self.original, mode="nearest-exact")[0]
        return F.interpolate(part[None], self.original, mode="bilinear", align_corners=False)[0]

    def rows_to_original(self, maps: Callable[[slice], Float[Tensor, "C n w"]], rows: slice) -> Float[Tensor, "C m W"]:
        """Return some rows of what `map_to_original` makes of maps, for originals that are too large to be held.

        Args:
            maps: gives the rows on the canvas that it is asked for, in all columns; they are those that are needed.
            rows: of the original, from 0 to H.

        Raises:
            ValueError: if the image was cropped, so that the maps do not cover it.
        """
        (top, left), (h, w) = self._covered()

        def inside(own: slice) -> Tensor:
            return maps(slice(top + own.start, top + own.stop))[..., left : left + w]

        return bilinear_rows(inside, h, self.original, rows)

    def _covered(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return where on the canvas all of the image lies: top, left and height, width."""
        if min(self.offset) < 0:
            raise ValueError("the image was cropped to the canvas, so that no map covers all of it")
        return self.offset, self.resized


class AnyBatch(ABC):
    """What a network and a criterion get; images in nearly every system."""

    placements: Sequence[Any]  # B, for `decode`
    targets: Sequence[Mapping[str, Tensor]]  # B; empty mappings at prediction

    @property
    @abstractmethod
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes into the network, as `network(*inputs)`."""

    @abstractmethod
    def to(self, device: torch.device, *, channels_last: bool = False) -> "AnyBatch":
        """Copy the tensors to a device; images optionally in the layout that convolutions like best."""

    def require(self, *keys: str) -> None:
        """Refuse targets that lack one of these keys, with a ValueError that names their images."""
        missing = [row for row, target in enumerate(self.targets) if not set(keys) <= set(target)]
        if missing:
            raise ValueError(f"the targets of images {missing} have no {' or no '.join(map(repr, keys))}")

    def only(self, row: int) -> "AnyBatch":
        """Return a batch of one: all that the fields, which have a row for each image, hold of it."""
        batch = cast(Any, self)
        return replace(batch, **{field.name: getattr(batch, field.name)[row : row + 1] for field in fields(batch)})


@dataclass(frozen=True)
class Batch(AnyBatch):
    """Images."""

    images: Float[Tensor, "B C H W"]  # resized, normalised, padded with 0 at the bottom and the right
    mask: Bool[Tensor, "B H W"]  # True on real pixels
    placements: Sequence[Placement]  # B
    targets: Sequence[Mapping[str, Tensor]]  # B, on the canvas; empty mappings at prediction

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.images,)

    def maps(self, key: str) -> Tensor:
        """Return the maps of a key on the canvas, B ... H W; beyond an image they are as `vidi.keys` says."""
        H, W = self.images.shape[2:]
        rows = [target[key].as_subclass(Tensor) for target in self.targets]
        outside = KEYS[key].outside
        return torch.stack([F.pad(row, (0, W - row.shape[-1], 0, H - row.shape[-2]), value=outside) for row in rows])

    def to(self, device: torch.device, *, channels_last: bool = False) -> "Batch":
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return replace(
            self,
            images=self.images.to(device, non_blocking=True, memory_format=layout),
            mask=self.mask.to(device, non_blocking=True),
            targets=[{name: value.to(device, non_blocking=True) for name, value in t.items()} for t in self.targets],
        )


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """Images for a network that is told what is image and what padding."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.images, self.mask)


@dataclass(frozen=True)
class PairBatch(Batch):
    """Rectified stereo pairs; `images` are the left pictures."""

    right: Float[Tensor, "B C H W"]  # normalised and padded as the left ones

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.images, self.right)

    def to(self, device: torch.device, *, channels_last: bool = False) -> "PairBatch":
        moved = cast(PairBatch, super().to(device, channels_last=channels_last))
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return replace(moved, right=self.right.to(device, non_blocking=True, memory_format=layout))


@dataclass(frozen=True)
class Preprocess:
    """The numbers that turn an image into network input; saved with the weights.

    Sizes: `exact` (H, W) wins; else `shorter` is the length the shorter side gets, unless the longer one would exceed
    `longest`; `longest` alone bounds the longer side; none of them keeps the image as it is. `crop` (H, W) then cuts
    the centre (image classifiers only). The canvas of a batch has sides that are multiples of `stride`.
    """

    shorter: int | None = None
    longest: int | None = None
    exact: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    stride: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    antialias: bool = True
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    masked: bool = False  # whether the network is told what is padding
    paired: bool = False  # whether the network sees the right picture of a stereo pair too
    aligned: bool = False  # whether faces are turned upright by their five keypoints, to `exact`

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("shorter", "longest", "exact", "crop", "stride")}
        for name, value in sizes.items():
            sides = value if isinstance(value, tuple) else () if value is None else (value,)
            if any(side < 1 for side in sides):
                raise ValueError(f"received {name}={value}, expected at least 1 pixel")
        if self.aligned and self.exact is None:
            raise ValueError("received aligned=True without exact, expected the (H, W) of upright faces")

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size (h, w) that an image of `size` (H, W) is resized to."""
        if self.exact is not None:
            return self.exact
        scale = self.shorter / min(size) if self.shorter is not None else 1.0
        if self.longest is not None:
            limit = self.longest / max(size)
            scale = min(scale, limit) if self.shorter is not None else limit
        # rounded down as in torchvision, but 97 * (800 / 97) is 800 here, where a last bit makes it 799 there
        return max(1, int(size[0] * scale + 1e-6)), max(1, int(size[1] * scale + 1e-6))

    def place(self, image: Tensor, target: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor], Placement]:
        """Resize and crop one sample; boxes, masks and points follow the pixels. Runs in the loader's workers.

        Raises:
            ValueError: if the image is not C H W with as many channels as `mean`, uint8 or float in [0, 1], a key of
                the target has no row in `vidi.keys`, or a face to be aligned has no five keypoints.
        """
        _check_image(image, channels=len(self.mean))
        original = (image.shape[1], image.shape[2])
        if self.aligned and self.exact is not None:
            matrix, moved = upright(target, self.exact)
            return warped(unit_range(image), matrix, self.exact), moved, Placement(original, self.exact)
        resized = self.resized(original)
        kept = {name: v for name, v in target.items() if row_of(name) and isinstance(v, Tensor | CodedMasks)}
        sample = {PICTURE: tv_tensors.Image(image)} | kept
        if resized != original:
            mode = InterpolationMode(self.interpolation)
            sample = {k: _resized(v, resized, mode, self.antialias) for k, v in sample.items()}
            sample = _with_values(sample, resizing(original, resized), resized)
        offset = (0, 0)
        if self.crop is not None:
            offset = (_crop_offset(self.crop[0], resized[0]), _crop_offset(self.crop[1], resized[1]))
            sample = {k: _cropped(k, v, offset, self.crop) for k, v in sample.items()}
            sample = _with_values(sample, shifting(-offset[0], -offset[1]), self.crop)
            sample = without_lost_joints(sample, self.crop)
        plain = {k: v.dense() if isinstance(v, CodedMasks) else v.as_subclass(Tensor) for k, v in sample.items()}
        return plain.pop(PICTURE), plain, Placement(original, resized, offset)

    def collate(self, placed: Sequence[tuple[Tensor, Mapping[str, Tensor], Placement]]) -> Batch:
        """Normalise placed images and pad them to one canvas.

        Raises:
            ValueError: if the network sees pairs, and an image has no `right` in its target, or one of another shape.
        """
        images, targets = [image for image, _, _ in placed], [target for _, target, _ in placed]
        H, W = (max(image.shape[axis] for image in images) for axis in (1, 2))
        H, W = (-(-side // self.stride) * self.stride for side in (H, W))
        mask = torch.zeros(len(images), H, W, dtype=torch.bool)
        for row, image in enumerate(images):
            mask[row, : image.shape[1], : image.shape[2]] = True
        parts = (self._canvas(images, (H, W)), mask, [placement for _, _, placement in placed], targets)
        if not self.paired:
            return (MaskedBatch if self.masked else Batch)(*parts)
        missing = [row for row, target in enumerate(targets) if "right" not in target]
        if missing:
            raise ValueError(f"the images {missing} have no 'right', expected the right picture of each pair")
        rights = [target["right"] for target in targets]
        others = [row for row, (one, other) in enumerate(zip(images, rights, strict=True)) if one.shape != other.shape]
        if others:
            raise ValueError(f"the images {others} have a 'right' of another shape, expected an Image, placed alike")
        return PairBatch(*parts, self._canvas(rights, (H, W)))

    def _canvas(self, images: Sequence[Tensor], size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Return placed images normalised, 0 where they are padded to one size."""
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        canvas = torch.zeros(len(images), images[0].shape[0], *size)
        for row, image in enumerate(images):
            h, w = image.shape[1:]
            torch.div(unit_range(image) - mean, std, out=canvas[row, :, :h, :w])
        return canvas


def signed(size: tuple[int, int]) -> Preprocess:
    """Return the preprocessing of pictures in [-1, 1], where generators end, at a size (H, W)."""
    return Preprocess(exact=size, mean=HALF, std=HALF)


def from_signed(pictures: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C H W"]:
    """Return pictures in [-1, 1] as images in [0, 1]; what lies beyond is cut."""
    return ((pictures + 1) / 2).clamp(0, 1)


def unit_range(pictures: Tensor) -> Tensor:
    """Return pictures, uint8 or floats in [0, 1], as floats of full precision in [0, 1]."""
    if pictures.dtype == torch.uint8:
        return pictures.float().div_(255)
    return pictures.to(torch.promote_types(pictures.dtype, torch.float32))


def _check_image(image: Tensor, *, channels: int) -> None:
    """Refuse what is no image of so many channels, uint8 or float in [0, 1], with a ValueError."""
    expected = f"an image of shape ({channels}, H, W), uint8 or float32 (float16, bfloat16) in [0, 1]"
    if image.ndim != 3 or image.shape[0] != channels or image.dtype not in IMAGE_TYPES:
        raise ValueError(f"received a tensor of {image.dtype} {tuple(image.shape)}, expected {expected}")
    if image.dtype != torch.uint8 and image.numel():
        low, high = (bound.item() for bound in image.aminmax())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN is not either
            raise ValueError(f"received a tensor with values from {low:.4g} to {high:.4g}, expected {expected}")


def _resized(value: Any, size: tuple[int, int], mode: InterpolationMode, antialias: bool) -> Any:
    """Resize a picture, and maps, boxes and points with it; what does not lie on it passes through.

    Maps take the pixel whose centre is nearest.
    """
    if not isinstance(value, tv_tensors.TVTensor):
        return value
    if isinstance(value, tv_tensors.Mask) and value.numel() == 0:  # torchvision resizes no empty stack of masks
        return tv_tensors.Mask(value.new_zeros(*value.shape[:-2], *size))
    mode = mode if isinstance(value, tv_tensors.Image) else InterpolationMode.NEAREST_EXACT
    return geometry.resize(value, list(size), interpolation=mode, antialias=antialias)


def _with_values(sample: Mapping[str, Any], movement: Tensor, size: tuple[int, int]) -> dict[str, Any]:
    """Change what a movement of the picture, to `size` (H, W), changes besides what torchvision moves."""
    changed = change_values({k: v for k, v in sample.items() if k != PICTURE}, movement)
    return with_moved_masks(changed, movement, size) | {PICTURE: sample[PICTURE]}


def _crop_offset(crop: int, side: int) -> int:
    """Return where torchvision's centre crop puts a side: it rounds what it cuts off, and floors what it pads."""
    return (crop - side) // 2 if crop > side else -round((side - crop) / 2)


def _cropped(name: str, value: Any, offset: tuple[int, int], size: tuple[int, int]) -> Any:
    """Cut a part out of a picture, and of its maps, boxes and points; what is beyond it is as the table says.

    By torchvision's `center_crop` boxes and points would lie a pixel beside the picture where that is padded unevenly.
    """
    if not isinstance(value, tv_tensors.TVTensor):
        return value
    part = (-offset[0], -offset[1], *size)
    cut = geometry.crop(value, *part)
    if not isinstance(value, tv_tensors.Mask) or KEYS[name].outside == 0:
        return cut
    inside = geometry.crop(tv_tensors.Mask(torch.ones(value.shape[-2:], dtype=torch.bool)), *part)
    return tv_tensors.Mask(cut.masked_fill(~inside, KEYS[name].outside))


def as_images(images: Any) -> Iterator[Tensor]:
    """Yield image tensors C H W (uint8, or float in [0, 1]) from paths, bytes of files, PIL images, arrays and tensors.

    A file gives the same pixels by its path, as PIL image and, but for its EXIF orientation, as array of that.

    Raises:
        TypeError: for anything else.
        ValueError: for files that cannot be decoded, and arrays and tensors of another shape or type.
    """
    for image in several(images):
        if isinstance(image, str | Path):
            yield files.read_image(image)
        elif isinstance(image, files.ImageBytes):
            yield files.decode_image(image.name, image.data, max_pixels=image.max_pixels)
        elif isinstance(image, PIL.Image.Image):
            yield files.image_pixels(image)
        elif isinstance(image, np.ndarray):
            yield _array_pixels(image)
        elif isinstance(image, Tensor):
            if image.ndim != 3:
                raise ValueError(f"received a tensor of shape {tuple(image.shape)}, expected (C, H, W)")
            yield image
        else:
            expected = "a path, PIL image, array H W 3 or tensor C H W"
            raise TypeError(f"received a {type(image).__name__}, expected {expected}")


def several(images: Any) -> Any:
    """Return what `as_images` takes as something to go through.

    A sequence as it is, a single image as one of one, a folder as the paths of all pictures below it.

    Raises:
        ValueError: for a folder without pictures.
    """
    if isinstance(images, str | Path) and Path(images).is_dir():
        paths = [Path(images) / name for name in files_below(Path(images))]
        if not paths:
            raise ValueError(f"{images} holds no images ({', '.join(IMAGE_SUFFIXES)})")
        return paths
    single = isinstance(images, str | Path | files.ImageBytes | PIL.Image.Image) or getattr(images, "ndim", 4) in (2, 3)
    return [images] if single else images


def first_image(images: Any) -> Tensor:
    """Return the first of what `as_images` takes; of a pair, the left one."""
    return next(as_images(images[0] if isinstance(images, tuple | list) else images))


def _array_pixels(array: np.ndarray) -> Tensor:
    """Return an array as the PIL image that it comes from: grey is repeated, transparency laid over white.

    Whole numbers from 0 to 255 of any type, and floats from 0 to 1, are taken as bytes.
    """
    array = _as_bytes(array)
    form = (array.dtype.name, *array.shape[2:]) if array.ndim in (2, 3) else ()
    if form == ("uint8", 3):
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
    if form not in (("uint8",), ("uint8", 4), ("uint16",)) or not array.size:
        expected = (
            "shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of whole numbers from 0 to 255 or floats from 0 to 1, "
            "or uint16 of shape (H, W)"
        )
        raise ValueError(f"received an array of {array.dtype} {array.shape}, expected {expected}")
    return files.image_pixels(PIL.Image.fromarray(array))


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Return an array of numbers that can be bytes as uint8, without a last axis of length 1; others as they are."""
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if not array.size or array.dtype in (np.uint8, np.uint16):
        return array
    is_float = np.issubdtype(array.dtype, np.floating)
    if not (is_float or np.issubdtype(array.dtype, np.integer)):
        return array
    top = 1 if is_float else 255
    if not (array.min() >= 0 and array.max() <= top):  # also where a number is none
        raise ValueError(
            f"received an array of {array.dtype} from {array.min():g} to {array.max():g}, expected 0 to {top}"
        )
    return (array * 255).round().astype(np.uint8) if is_float else array.astype(np.uint8)


def equal_canvases(placed: Sequence[tuple[Tensor, Mapping[str, Any], Any]], batch_size: int) -> Iterator[list[int]]:
    """Group rows of resized images of one size, or sentences of one length; at most `batch_size` in a group."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, (image, _, _) in enumerate(placed):
        groups.setdefault(tuple(image.shape), []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def in_batches(
    preprocess: Any, samples: Iterable[Sample], batch_size: int, run: Callable[[Any], Iterable[Any]]
) -> Iterator[tuple[int, Any]]:
    """Yield (row, result) of every sample, those of equal canvas one after the other.

    Args:
        preprocess: a `Prepares`.
        samples: that it can place.
        batch_size: the most samples in a batch.
        run: from a batch to one result for each of its samples.
    """
    placed = [preprocess.place(image, typed(known, image.shape[-2:])) for image, known in samples]
    for rows in equal_canvases(placed, batch_size):
        yield from zip(rows, run(preprocess.collate([placed[row] for row in rows])), strict=True)
