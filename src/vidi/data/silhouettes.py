"""Flat figures on a pixel grid, as signed distances: negative inside, 0 on the outline; x points right and y down.

A distance is in the units of the coordinates. Half a pixel of it on each side of the outline makes a soft edge.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

Grid = Float64[np.ndarray, "H W"]


def pixel_centres(size: tuple[int, int]) -> tuple[Grid, Grid]:
    """Return x and y of the centre of each pixel of an image of `size` (H, W): column + 0.5 and row + 0.5."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return columns + 0.5, rows + 0.5


def turned(x: Grid, y: Grid, angle: float) -> tuple[Grid, Grid]:
    """Return the coordinates in a frame turned by `angle` (radians, from x towards y)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * x + sine * y, cosine * y - sine * x


def coverage(distance: Grid, pixels_per_unit: float = 1.0) -> Grid:
    """Return how much of each pixel a figure covers, 0 to 1, as if its outline were straight there."""
    return np.clip(0.5 - distance * pixels_per_unit, 0.0, 1.0)


def as_image(pixels: Float64[np.ndarray, "H W 3"]) -> UInt8[Tensor, "3 H W"]:
    """Clip intensities to [0, 1] and round them to an image tensor."""
    return torch.from_numpy(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)).permute(2, 0, 1).contiguous()


def disc(x: Grid, y: Grid, radius: float) -> Grid:
    """Measure the distance to a disc about the origin."""
    return np.hypot(x, y) - radius


def ellipse(x: Grid, y: Grid, half_width: float, half_height: float) -> Grid:
    """Measure the distance to an ellipse about the origin, to first order (exact on the outline)."""
    u, v = x / half_width, y / half_height
    value = u * u + v * v - 1.0
    slope = 2.0 * np.hypot(u / half_width, v / half_height)
    # At the centre the slope is 0 while the value is -1; the shorter half axis bounds the distance there.
    return np.maximum(value / np.maximum(slope, 1e-9), -min(half_width, half_height))


def segment(x: Grid, y: Grid, start: tuple[float, float], end: tuple[float, float]) -> Grid:
    """Measure the (unsigned) distance to a line segment."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    from_x, from_y = x - start[0], y - start[1]
    part = np.clip((from_x * along_x + from_y * along_y) / (along_x**2 + along_y**2), 0.0, 1.0)
    return np.hypot(from_x - part * along_x, from_y - part * along_y)


def rectangle(x: Grid, y: Grid, half_width: float, half_height: float) -> Grid:
    """Measure the distance to an upright rectangle about the origin."""
    out_x, out_y = np.abs(x) - half_width, np.abs(y) - half_height
    return np.hypot(np.maximum(out_x, 0.0), np.maximum(out_y, 0.0)) + np.minimum(np.maximum(out_x, out_y), 0.0)


def polygon(x: Grid, y: Grid, corners: Sequence[tuple[float, float]]) -> Grid:
    """Measure the distance to a polygon; inside is where a ray crosses the outline an odd number of times."""
    distance = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        distance = np.minimum(distance, segment(x, y, (x0, y0), (x1, y1)))
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return np.where(inside, -distance, distance)


def regular_corners(count: int, radius: float, inner_radius: float | None = None) -> list[tuple[float, float]]:
    """Return the corners of a regular polygon with one at the top, or of a star of `count` points."""
    radii = [radius] if inner_radius is None else [radius, inner_radius]
    steps = count * len(radii)
    angles = np.arange(steps) * 2.0 * np.pi / steps - np.pi / 2.0
    return [
        (float(radii[i % len(radii)] * np.cos(a)), float(radii[i % len(radii)] * np.sin(a)))
        for i, a in enumerate(angles)
    ]
