"""Depth images as pictures: what goes in, and the batch that a model gets.

path (16 bit grey, millimetres) | array H W (uint16 millimetres, float metres) | tensor 1 H W float metres
  -> 1 H W float32, metres, 0 where nothing is measured -> DepthBatch, pictures as they are
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from vidi import files
from vidi.data.world.bodies import KINECT
from vidi.keys import row_of
from vidi.ops.camera import straight_camera
from vidi.preprocess import AnyBatch, Placement

MILLIMETRES = 1000.0
EXPECTED = "a path of a 16 bit picture in millimetres, an array H W (uint16 millimetres or float metres) or a tensor "
EXPECTED += "1 H W of float metres"


@dataclass(frozen=True)
class DepthBatch(AnyBatch):
    """Depth images of one size."""

    depth: Float32[Tensor, "B 1 H W"]  # metres; 0 where nothing is measured
    cameras: Float32[Tensor, "B 3 3"]  # intrinsics, pixels
    placements: Sequence[Placement]  # B
    targets: Sequence[Mapping[str, Tensor]]  # B; empty mappings at prediction

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.depth, self.cameras)

    def to(self, device: torch.device, *, channels_last: bool = False) -> "DepthBatch":
        targets = [{name: value.to(device) for name, value in target.items()} for target in self.targets]
        return replace(self, depth=self.depth.to(device), cameras=self.cameras.to(device), targets=targets)


@dataclass(frozen=True)
class DepthPreprocess:
    """How depth images are taken; saved with the weights. A picture keeps its size."""

    focal: float = KINECT.focal  # short sides of the picture: of cameras that no `intrinsics` describe

    def __post_init__(self) -> None:
        if self.focal <= 0:
            raise ValueError(f"received focal={self.focal}, expected more than 0 short sides of the picture")

    def place(self, image: Tensor, target: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor], Placement]:
        """Return the depth image of a sample: the picture itself, or the `depth` of the target of one in colours.

        Raises:
            ValueError: if the picture is no depth image and the target has no depth, or a depth is negative.
        """
        tensors = {k: v.as_subclass(Tensor) for k, v in target.items() if row_of(k) and isinstance(v, Tensor)}
        depth = self._depth(image, tensors)
        size = (depth.shape[1], depth.shape[2])
        tensors.setdefault("intrinsics", self.camera(size))
        return depth, tensors, Placement(size, size)

    def _depth(self, image: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        if image.ndim == 3 and image.shape[0] == 1 and image.is_floating_point():
            return checked_depth(image.as_subclass(Tensor))
        if "depth" not in target:
            raise ValueError(f"received a picture of {image.dtype} {tuple(image.shape)}, expected {EXPECTED}")
        depth = target["depth"][None]
        return checked_depth(depth.where(target["depth_valid"][None] > 0, 0) if "depth_valid" in target else depth)

    def camera(self, size: tuple[int, int]) -> Float32[Tensor, "3 3"]:
        """Return the intrinsics of a picture of size (H, W) that looks straight ahead."""
        return straight_camera(self.focal * min(size), size)

    def collate(self, placed: Sequence[tuple[Tensor, Mapping[str, Tensor], Placement]]) -> DepthBatch:
        """Put depth images of one size together.

        Raises:
            ValueError: if they are of several sizes.
        """
        if len({image.shape for image, _, _ in placed}) != 1:
            sizes = sorted({tuple(image.shape[1:]) for image, _, _ in placed})
            raise ValueError(f"received depth images of the sizes {sizes}, expected one size in a batch")
        cameras = torch.stack([target["intrinsics"].float() for _, target, _ in placed])
        depth = torch.stack([image for image, _, _ in placed])
        return DepthBatch(depth, cameras, [p for _, _, p in placed], [target for _, target, _ in placed])


def checked_depth(depth: Tensor) -> Float32[Tensor, "1 H W"]:
    """Return depth as float32; a ValueError where it is negative or not finite."""
    if not (depth.isfinite() & (depth >= 0)).all():
        raise ValueError("received depth that is negative or not finite, expected metres, 0 where nothing is measured")
    return depth.float()


def as_depth_images(inputs: Any) -> Iterator[Float32[Tensor, "1 H W"]]:
    """Yield depth images in metres from paths, arrays and tensors.

    Raises:
        TypeError: for anything else.
        ValueError: for files that are no 16 bit pictures, and for other shapes and types.
    """
    if isinstance(inputs, str | Path) or getattr(inputs, "ndim", 4) in (2, 3):
        inputs = [inputs]
    for image in inputs:
        if isinstance(image, str | Path):
            yield read_depth_image(image)
        elif isinstance(image, np.ndarray | Tensor):
            yield _depth_of(image)
        else:
            raise TypeError(f"received a {type(image).__name__}, expected {EXPECTED}")


def read_depth_image(path: str | Path) -> Float32[Tensor, "1 H W"]:
    """Read a depth image from a file of 16 bit grey, in millimetres as the Kinect writes them; 0: not measured."""
    return (files.read_grey16(path).double() / MILLIMETRES).float()[None]


def _depth_of(image: np.ndarray | Tensor) -> Tensor:
    array = image if isinstance(image, np.ndarray) else image.detach().cpu().numpy()
    array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if array.ndim != 2 or array.dtype.name not in ("uint16", "float16", "float32", "float64"):
        raise ValueError(f"received depth of {array.dtype} {array.shape}, expected {EXPECTED}")
    metres = array / MILLIMETRES if array.dtype == np.uint16 else array
    return checked_depth(torch.from_numpy(np.ascontiguousarray(metres, dtype=np.float32))[None])
