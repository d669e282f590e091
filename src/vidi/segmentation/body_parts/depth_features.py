"""Depth comparison features (Shotton et al. 2011, section 3.2, equation 1; notes 5.1.1).

    f(x; D, (u, v)) = D[x + u / D[x]] - D[x + v / D[x]]

x is a pixel, D its depth image, u and v are offsets. The division makes the feature invariant to depth: a point at
o_w metres beside another one, both d metres away, is o_w F / d pixels beside it in the picture, F the focal length. So
u = o_w F, in pixels times metres, finds the same point of a body at any depth. Offsets may also be given in metres,
with the focal length: those of a picture of another resolution are then the same numbers.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor


def depth_features(
    depth: Float[Tensor, "H W"],
    pixels: Int[Tensor, "P 2"],
    offsets: Float[Tensor, "F 2 2"],
    *,
    focal: float = 1.0,
) -> Float32[Tensor, "P F"]:
    """Compute all features of some pixels, in float32.

    Args:
        depth: metres; `BACKGROUND` off the body, as everything outside of the picture is.
        pixels: row, column of each.
        offsets: u and v of each feature as (x, y): in pixels times metres, or in metres if there is a focal length.
        focal: length in pixels.

    Raises:
        ValueError: if a pixel is outside of the picture, or has no positive depth.
    """
    from vidi.segmentation.body_parts import pixel_kernels

    picture = np.ascontiguousarray(depth.detach().cpu().numpy(), dtype=np.float32)
    rows = np.ascontiguousarray(pixels.cpu().numpy(), dtype=np.int32)
    thetas = np.ascontiguousarray(offsets.detach().cpu().numpy(), dtype=np.float32)
    inside = (rows >= 0) & (rows < picture.shape)
    if not inside.all():
        wrong = rows[~inside.all(1)][0].tolist()
        raise ValueError(f"received the pixel {wrong}, expected row and column inside of {picture.shape}")
    features = np.empty((len(rows), len(thetas)), np.float32)
    pixel_kernels.tabulate(picture, rows, scales_of(picture, rows, focal), thetas, features)
    return torch.from_numpy(features)


def scales_of(depth: np.ndarray, pixels: np.ndarray, focal: float) -> np.ndarray:
    """Return focal / D[x] of pixels (row, column) in float32: what an offset is multiplied by.

    Raises:
        ValueError: if a pixel has no positive depth.
    """
    own = depth[pixels[:, 0], pixels[:, 1]]
    if not (own > 0).all():
        raise ValueError(f"received a pixel with depth {own[~(own > 0)][0]}, expected more than 0 metres")
    return (np.float32(focal) / own).astype(np.float32)


def image_offset(offset: float, focal: float, depth: float) -> float:
    """Return how many pixels an offset of some metres is at a depth: o_w F / d."""
    return offset * focal / depth


def draw_offsets(count: int, reach: float, generator: torch.Generator) -> Float32[Tensor, "F 2 2"]:
    """Draw u and v of candidate features in metres: directions evenly, lengths evenly in their logarithm.

    Every second feature compares with the pixel itself (v = 0).

    Args:
        count: F.
        reach: the longest offset, metres.
        generator: of the draws.
    """
    nearest = 0.02 * reach
    length, angle = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
    length = nearest * (reach / nearest) ** length
    angle = 2 * math.pi * angle
    offsets = torch.stack((length * angle.cos(), length * angle.sin()), 2)  # F 2 2
    offsets[::2, 1] = 0
    return offsets.float()
