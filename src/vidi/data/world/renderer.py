"""Rendering a scene from a camera: colour, depth, instance and part in one pass."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8

from vidi.data.world.camera import view
from vidi.data.world.scene import Scene

SMALLEST, LARGEST = 32, 512  # pixels


@dataclass(frozen=True, eq=False)
class Render:
    """What one camera sees, taken at pixel centres."""

    image: UInt8[np.ndarray, "3 H W"] | None  # RGB; None if no colour was asked for
    depth: Float32[np.ndarray, "H W"]  # metres along the optical axis; infinite in the sky
    instance: Int16[np.ndarray, "H W"]  # index of the thing; -1 ground, -2 sky
    part: UInt8[np.ndarray, "H W"]  # body part (names.PARTS); NO_PART off the persons


def check_size(size: tuple[int, int]) -> None:
    """Raise a ValueError unless size is (H, W) with both sides from 32 to 512 pixels."""
    if len(size) != 2 or not all(SMALLEST <= side <= LARGEST for side in size):
        raise ValueError(f"size must be (H, W) with sides from {SMALLEST} to {LARGEST}, got {size}")


def render(
    scene: Scene,
    size: tuple[int, int],
    pose: Float64[np.ndarray, "4 4"] | None = None,  # T_camera_target; None = the target camera itself
    *,
    with_colour: bool = True,
) -> Render:
    """Render a scene at size (H, W), 32 to 512 pixels a side (else a ValueError), from its own camera or from one that stands at `pose`."""
    from vidi.data.world.renderer_kernels import draw

    check_size(size)
    image, depth, instance, part = draw(scene.solids, scene.starts, scene.light, view(scene.camera, size, pose), with_colour)
    return Render(image if with_colour else None, depth, instance, part)
