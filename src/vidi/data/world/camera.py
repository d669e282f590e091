"""The camera: intrinsics that scale with the picture, poses, and the rays that the renderer casts.

The target camera of a scene is level (its y axis points straight down), so the boxes of things have one angle, the
yaw. The ground is brought into view by a vertical shift of the lens, not by tilting. Lengths of the image plane are
given in short sides of the picture: the central square shows the same at every resolution and aspect ratio.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

# Distance between the two cameras of the stereo pair, metres.
BASELINE = 0.25


@dataclass(frozen=True)
class Camera:
    """A level camera above the ground at the origin of the world, looking along z."""

    focal: float  # in short sides of the picture
    shift: float  # height of the horizon above the middle of the picture, in short sides
    height: float  # metres above the ground


class View(NamedTuple):
    """One picture to cast.

    Pixel (i, j) looks from `position` along rotation @ ((j + 0.5 - cx) / focal, (i + 0.5 - cy) / focal, 1).
    """

    rotation: Float64[np.ndarray, "3 3"]  # camera to world
    position: Float64[np.ndarray, " 3"]  # world, metres
    focal: float  # pixels
    cx: float  # pixels
    cy: float
    height: int
    width: int


def intrinsics(camera: Camera, size: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
    """Give the camera matrix in pixels for a picture of size (H, W); pixel centres lie at + 0.5."""
    height, width = size
    side = min(size)
    return np.array(
        (
            (camera.focal * side, 0.0, 0.5 * width),
            (0.0, camera.focal * side, 0.5 * height - camera.shift * side),
            (0.0, 0.0, 1.0),
        )
    )


def view(camera: Camera, size: tuple[int, int], pose: Float64[np.ndarray, "4 4"] | None = None) -> View:
    """Give the view of a camera that stands at `pose` (T_camera_target, metres); the target camera itself if None."""
    matrix = intrinsics(camera, size)
    pose = np.eye(4) if pose is None else pose
    rotation = np.ascontiguousarray(pose[:3, :3].T)
    position = -rotation @ pose[:3, 3]
    position[1] -= camera.height
    return View(rotation, position, matrix[0, 0], matrix[0, 2], matrix[1, 2], *size)


def right_pose() -> Float64[np.ndarray, "4 4"]:
    """Give T_right_target of the rectified stereo pair."""
    pose = np.eye(4)
    pose[0, 3] = -BASELINE
    return pose
