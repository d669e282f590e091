"""Rotation matrices about the axes of a frame with x right, y down, z forward (right-handed; angles in radians)."""

import numpy as np
from jaxtyping import Float64


def about_x(angle: Float64[np.ndarray, "..."] | float) -> Float64[np.ndarray, "... 3 3"]:
    """Turn down (y) towards forward (z): pitch upwards."""
    return _turn(angle, 1, 2)


def about_y(angle: Float64[np.ndarray, "..."] | float) -> Float64[np.ndarray, "... 3 3"]:
    """Turn forward (z) towards right (x): yaw."""
    return _turn(angle, 2, 0)


def about_z(angle: Float64[np.ndarray, "..."] | float) -> Float64[np.ndarray, "... 3 3"]:
    """Turn right (x) towards down (y): roll."""
    return _turn(angle, 0, 1)


def _turn(angle: np.ndarray | float, start: int, end: int) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., 3 - start - end, 3 - start - end] = 1.0
    matrix[..., start, start] = cosine
    matrix[..., end, end] = cosine
    matrix[..., end, start] = sine
    matrix[..., start, end] = -sine
    return matrix
