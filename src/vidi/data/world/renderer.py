"""Rendering a scene from a camera: colour, depth, instance and part in one pass."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int64, UInt8

from vidi.data.world.camera import view
from vidi.data.world.scene import Scene

SMALLEST, LARGEST = 32, 512  # pixels


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What one camera sees, taken at pixel centres."""

    depth: Float32[np.ndarray, "H W"]  # metres along the optical axis; infinite in the sky
    instance: Int16[np.ndarray, "H W"]  # index of the thing; -1 ground, -2 sky
    part: UInt8[np.ndarray, "H W"]  # body part (names.PARTS); NO_PART off the persons
    pixels: Int64[np.ndarray, " N"]  # visible pixels of each thing


@dataclass(frozen=True, eq=False)
class Render(Surfaces):
    """The same with its picture."""

    image: UInt8[np.ndarray, "3 H W"]  # RGB


def check_size(size: tuple[int, int]) -> None:
    """Raise a ValueError unless size is (H, W) with both sides from 32 to 512 pixels."""
    if len(size) != 2 or not all(SMALLEST <= side <= LARGEST for side in size):
        raise ValueError(f"size must be (H, W) with sides from {SMALLEST} to {LARGEST}, got {size}")


def render(
    scene: Scene,
    size: tuple[int, int],  # (H, W), 32 to 512 a side, else a ValueError
    pose: Float64[np.ndarray, "4 4"] | None = None,  # T_camera_target; None = the target camera itself
) -> Render:
    """Render a scene from its own camera, or from one that stands at `pose`."""
    from vidi.data.world.renderer_kernels import draw

    check_size(size)
    drawing = draw(scene.solids, scene.starts, scene.light, view(scene.camera, size, pose), True)
    image, depth, instance, part, pixels = drawing
    return Render(depth=depth, instance=instance, part=part, pixels=pixels, image=image)


def cast_surfaces(
    scene: Scene,
    size: tuple[int, int],  # as for render
    pose: Float64[np.ndarray, "4 4"] | None = None,
) -> Surfaces:
    """Give what `render` gives without the picture, in a tenth of the time."""
    from vidi.data.world.renderer_kernels import draw

    check_size(size)
    drawing = draw(scene.solids, scene.starts, scene.light, view(scene.camera, size, pose), False)
    _, depth, instance, part, pixels = drawing
    return Surfaces(depth=depth, instance=instance, part=part, pixels=pixels)
