"""Cameras and their poses as files of data sets tell them.

    calib.json           fx, fy, cx, cy, where known width and height of the pictures, and baseline in metres
    intrinsics.txt       the 3 x 3 matrix, or the four numbers fx fy cx cy
    poses.txt            a line a frame: the 3 x 4 (or 4 x 4) matrix from the camera to the world, row by row, metres
    calib.txt            KITTI odometry: P0 .. P3, 3 x 4 matrices from the first camera's frame to pixels
    calib_cam_to_cam.txt KITTI raw: P_rect_00 .. P_rect_03, the same

In all of them the middle of the first pixel is (0, 0), as in OpenCV; here it is (0.5, 0.5), so that half a pixel is
added to cx and cy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from vidi import files

MIDDLE = 0.5  # of the first pixel here, less there
RIGID = 1e-3  # how far a rotation may be from one, as it is written with few digits


@dataclass(frozen=True, eq=False)
class Calibration:
    """The camera of some pictures."""

    path: Path  # that told it
    matrix: Float64[np.ndarray, "3 3"]  # pixels, their centres at + 0.5
    size: tuple[int, int] | None = None  # H, W of the pictures that it is for
    baseline: float | None = None  # metres to the right camera

    def __post_init__(self) -> None:
        focals = self.matrix[[0, 1], [0, 1]]
        if not np.isfinite(self.matrix).all() or not (focals > 0).all():
            told = f"fx = {self.matrix[0, 0]:g}, fy = {self.matrix[1, 1]:g}"
            raise ValueError(f"{self.path}: a camera matrix that cannot be inverted ({told}), expected positive ones")
        if self.baseline is not None and not 0 < self.baseline < math.inf:
            raise ValueError(f"{self.path}: the baseline is {self.baseline}, expected a positive number of metres")

    def check_size(self, size: tuple[int, int], picture: Path) -> None:
        """Raise a ValueError if it is for pictures of another size (H, W) than a picture's."""
        if self.size is not None and self.size != size:
            (height, width), (high, wide) = size, self.size
            told = f"{self.path} is for {wide} x {high}"
            raise ValueError(f"{picture}: the picture has {width} x {height} pixels, {told}")


def find_calibration(*folders: Path) -> Calibration | None:
    """Read the first calib.json or intrinsics.txt in some folders; None where there is none.

    Raises ValueError for a file that tells no camera.
    """
    for folder in folders:
        if (folder / "calib.json").is_file():
            return _calib_json(folder / "calib.json")
        if (folder / "intrinsics.txt").is_file():
            return _intrinsics_txt(folder / "intrinsics.txt")
    return None


def _calib_json(path: Path) -> Calibration:
    told = files.read_json(path)
    names = ("fx", "fy", "cx", "cy")
    if not isinstance(told, Mapping) or not all(isinstance(told.get(name), int | float) for name in names):
        raise ValueError(f"{path}: expected an object with the numbers {', '.join(names)}")
    size = (int(told["height"]), int(told["width"])) if {"height", "width"} <= set(told) else None
    baseline = float(told["baseline"]) if "baseline" in told else None
    return Calibration(path, camera_matrix(*(float(told[name]) for name in names)), size, baseline)


def _intrinsics_txt(path: Path) -> Calibration:
    numbers = [number for line in number_lines(path) for number in line]
    if len(numbers) == 4:
        return Calibration(path, camera_matrix(*numbers))
    if len(numbers) != 9:
        raise ValueError(f"{path}: {len(numbers)} numbers, expected a 3 x 3 matrix or fx fy cx cy")
    rows = np.array(numbers).reshape(3, 3)
    return Calibration(path, camera_matrix(rows[0, 0], rows[1, 1], rows[0, 2], rows[1, 2]))


def camera_matrix(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """Return the camera matrix of the house from numbers by which the middle of the first pixel is (0, 0)."""
    return np.array([[fx, 0, cx + MIDDLE], [0, fy, cy + MIDDLE], [0, 0, 1]], dtype=np.float64)


def number_lines(path: Path) -> list[list[float]]:
    """Read the numbers of each line that is not empty, separated by blanks or commas.

    Raises ValueError with the line for anything else.
    """
    rows = []
    for line, text in enumerate(files.read_text(path).splitlines(), start=1):
        try:
            rows.append([float(word) for word in text.replace(",", " ").split()])
        except ValueError:
            raise ValueError(f"{path}, line {line}: expected numbers, got {text[:60]!r}") from None
    return [row for row in rows if row]


def read_poses(path: Path) -> Float64[np.ndarray, "N 4 4"]:
    """Read one pose a line, T_world_camera.

    Raises ValueError with the line for what is no rigid motion.
    """
    rows = number_lines(path)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    for row, numbers in enumerate(rows):
        if len(numbers) not in (12, 16):
            raise ValueError(f"{path}, pose {row + 1}: {len(numbers)} numbers, expected 12 of a 3 x 4 matrix")
        poses[row, :3] = np.array(numbers[:12]).reshape(3, 4)
        rotation = poses[row, :3, :3]
        if not np.isfinite(poses[row]).all() or np.abs(rotation @ rotation.T - np.eye(3)).max() > RIGID:
            raise ValueError(f"{path}, pose {row + 1}: its 3 x 3 part is no rotation")
    return poses


def read_projections(path: Path, prefix: str) -> dict[int, Float64[np.ndarray, "3 4"]]:
    """Read KITTI's projection matrices by the number of their camera; `prefix` is `P` or `P_rect_`.

    Raises ValueError for a file that has none.
    """
    found = {}
    for text in files.read_text(path).splitlines():
        name, _, numbers = text.partition(":")
        number = name.strip().removeprefix(prefix)
        if name.strip().startswith(prefix) and number.isdigit():
            values = np.array(numbers.split(), dtype=np.float64)
            if values.size != 12:
                raise ValueError(f"{path}: {name} has {values.size} numbers, expected 12")
            found[int(number)] = values.reshape(3, 4)
    if not found:
        raise ValueError(f"{path}: no line {prefix}0 or {prefix}00 ..., expected KITTI's projection matrices")
    return found


def kitti_calibration(path: Path, projections: Mapping[int, Float64[np.ndarray, "3 4"]], left: int) -> Calibration:
    """Return the camera number `left` of KITTI, 0 (grey) or 2 (colours), and how far the one to its right is."""
    if left not in projections:
        raise ValueError(f"{path}: no projection matrix of camera {left}, it has {sorted(projections)}")
    own, right = projections[left], projections.get(left + 1)
    matrix = camera_matrix(own[0, 0], own[1, 1], own[0, 2], own[1, 2])
    baseline = None if right is None else float((own[0, 3] - right[0, 3]) / own[0, 0])
    return Calibration(path, matrix, baseline=baseline)


def kitti_camera_pose(projection: Float64[np.ndarray, "3 4"]) -> Float64[np.ndarray, "4 4"]:
    """Return T_camera_first: what takes points of KITTI's first camera, of whose path the poses are, to another one."""
    pose = np.eye(4)
    pose[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    return pose
