"""What a data set gives a cascade to learn from: windows of objects, and pictures without them.

Two kinds of samples are understood, also mixed:

- with `boxes` and `labels` (detection): objects are cut from the boxes, other windows from the rest of the picture;
- with `label` (class folders): pictures of the classes named as in `BACKGROUNDS` are backgrounds, whole pictures of
  any size, and those of all other classes show one object each, of which `area` tells where it is.

    picture 3 H W, box -> copies, each shifted, scaled, turned and mirrored a little -> windows h w of grey values
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as geometry

from vidi.data.loading import size_of
from vidi.detection.viola_jones.scanning import grey
from vidi.detection.viola_jones.training import Picture

BACKGROUNDS = ("background", "backgrounds", "negative", "negatives", "none", "nothing", "other", "others")
"""Names of classes that show no object; so do names that begin with `no`, `non` or `not` and a space, `-` or `_`."""


@dataclass(frozen=True)
class Jitter:
    """How the copies of one object differ; lengths are shares of its box's sides.

    A detector meets its objects a little beside and a little larger or smaller than their boxes, as it looks at every
    second pixel and scales 10 % apart.
    """

    copies: int = 4
    shift: float = 0.04
    scale: float = 0.08
    angle: float = 6.0  # degrees

    def __post_init__(self) -> None:
        if self.copies < 1 or min(self.shift, self.scale, self.angle) < 0 or self.scale >= 1:
            raise ValueError(f"received {self}, expected one copy or more and variations of 0 or more")


class Material(NamedTuple):
    """What a cascade is trained with."""

    objects: UInt8[np.ndarray, "N h w"]  # the copies of one object after the other
    pictures: list[Picture]


def is_background(name: str | None) -> bool:
    """Tell by its name whether a class shows no object."""
    plain = (name or "").strip().lower().replace("-", " ").replace("_", " ")
    return plain in BACKGROUNDS or plain.split(" ")[0] in ("no", "non", "not") or plain in ("nonface", "nonfaces")


def object_classes(categories: Sequence[str | None]) -> list[int]:
    """Return the classes that show an object.

    Raises:
        ValueError: if all of them are backgrounds.
    """
    found = [k for k, name in enumerate(categories) if name is not None and not is_background(name)]
    if not found:
        raise ValueError(f"received the categories {', '.join(map(str, categories))}, all of which are backgrounds")
    return found


def gather(
    dataset: Any,
    objects: Sequence[int],
    window: tuple[int, int],
    area: tuple[float, float, float, float],
    jitter: Jitter,
    random: np.random.Generator,
) -> Material:
    """Cut windows of (H, W) from the objects of a data set, and keep the pictures that other windows come from.

    Args:
        dataset: of samples (image, target).
        objects: the classes to learn; every other class is background.
        window: size of the windows.
        area: top, left, bottom, right of the object in pictures of one object, as shares of their sides.
        jitter: of the copies.
        random: of its draws.

    Raises:
        ValueError: for a sample without boxes and label, or a data set without objects or without backgrounds.
    """
    windows: list[np.ndarray] = []
    pictures: list[Picture] = []
    for index in range(size_of(dataset)):
        image, target = dataset[index]
        image = _bytes(image)
        boxes, rest = _sorted_out(index, (image.shape[1], image.shape[2]), target, objects, area)
        windows += [cut for box in boxes for cut in _copies(image, box, window, jitter, random)]
        if rest is not None:
            pictures.append(Picture(grey(image.numpy()), rest))
    if not windows or not pictures:
        found = f"{len(windows) // jitter.copies} objects and {len(pictures)} pictures with room for other windows"
        raise ValueError(
            f"received a data set with {found}, expected some of both: boxes in photos, or a folder of objects and one "
            f"of backgrounds (called {BACKGROUNDS[0]}, say)"
        )
    return Material(np.stack(windows), pictures)


def _sorted_out(
    index: int,
    size: tuple[int, int],
    target: Any,
    objects: Sequence[int],
    area: tuple[float, float, float, float],
) -> tuple[np.ndarray, Float64[np.ndarray, "M 4"] | None]:
    """Return the boxes of a sample's objects, and the boxes that other windows must not meet (None: there are none)."""
    H, W = size
    if "boxes" in target:
        boxes = torch.as_tensor(target["boxes"]).as_subclass(Tensor).double().numpy().reshape(-1, 4)
        wanted = np.isin(np.asarray(target["labels"]), objects)
        crowd = np.asarray(target["crowd"]) if "crowd" in target else np.zeros(len(boxes), bool)
        large = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        return boxes[wanted & ~crowd & large], boxes[wanted]
    if "label" not in target:
        raise ValueError(f"sample {index} has {', '.join(target) or 'nothing'}, expected boxes and labels, or a label")
    if int(target["label"]) not in objects:
        return np.zeros((0, 4)), np.zeros((0, 4))
    top, left, bottom, right = area
    return np.array([[left * W, top * H, right * W, bottom * H]]), None


def _bytes(image: Tensor) -> Tensor:
    """Return a picture as uint8 3 H W."""
    plain = image.as_subclass(Tensor)
    plain = plain if plain.dtype == torch.uint8 else plain.mul(255).round().clamp(0, 255).to(torch.uint8)
    return plain.expand(3, -1, -1) if len(plain) == 1 else plain


def _copies(
    image: Tensor, box: np.ndarray, window: tuple[int, int], jitter: Jitter, random: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield windows of one object: the first as it is, the others varied; every second one is mirrored."""
    plane = torch.from_numpy(grey(image.numpy()))[None]  # 1 H W
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    # the box takes the shape of the window: about its centre, with its area
    ratio = window[1] / window[0]
    height = np.sqrt((box[2] - box[0]) * (box[3] - box[1]) / ratio)
    width = height * ratio
    for number in range(jitter.copies):
        moved = random.uniform(-1, 1, 4) if number else np.zeros(4)
        factor = (1 + jitter.scale) ** moved[2]
        turned = plane
        if number and jitter.angle:
            turned = geometry.rotate(plane, moved[3] * jitter.angle, InterpolationMode.BILINEAR, center=[x, y])
        w, h = width * factor, height * factor
        left, top = x + moved[0] * jitter.shift * width - w / 2, y + moved[1] * jitter.shift * height - h / 2
        cut = _cut(turned, (left, top, left + w, top + h), window)
        yield cut[:, ::-1].copy() if number % 2 else cut


def _cut(plane: Tensor, box: tuple[float, float, float, float], window: tuple[int, int]) -> np.ndarray:
    """Resize a box of a plane 1 H W to the window, with antialiasing; what lies outside repeats the border."""
    left, top = round(box[0]), round(box[1])
    right, bottom = max(left + 1, round(box[2])), max(top + 1, round(box[3]))
    H, W = plane.shape[1:]
    rows, columns = torch.arange(top, bottom).clamp(0, H - 1), torch.arange(left, right).clamp(0, W - 1)
    return geometry.resize(plane[:, rows][:, :, columns], list(window), antialias=True)[0].numpy()
