"""The geometry of a rectified stereo pair: disparity and depth, and pixels moved from one picture to the other.

Notes 6.0 and 6.1.1, with the sign of the disparity fixed once (d = u_left - u_right, so what the left picture shows at
column x the right one shows at x - d):

    d = u_left - u_right,    z = b f / d,    d = b f / z

Forward mapping moves every pixel to the column that its own disparity says. Some columns get nothing (holes: what the
other view sees and this one does not), some get several (collisions: what this view sees and the other does not). Its
opposite, sampling, is in `vidi.ops.warp`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Triangulated(NamedTuple):
    """Depths or disparities, 0 where they are not valid."""

    values: Float[Tensor, "B 1 H W"]
    valid: Bool[Tensor, "B 1 H W"]


class Splatted(NamedTuple):
    """A picture whose pixels were moved to the other view of the pair."""

    image: Float[Tensor, "B C H W"]  # 0 in the holes
    holes: Bool[Tensor, "B 1 H W"]  # no pixel came here
    collisions: Bool[Tensor, "B 1 H W"]  # more than one did


def disparity_to_depth(
    disparity: Float[Tensor, "B 1 H W"], *, focal: Float[Tensor, " B"] | float | int, baseline: float | int
) -> Triangulated:
    """Return the depth of each pixel, z = b f / d, in the unit of the baseline (metres).

    Valid are the disparities that are finite and positive: a point at infinity has none.

    Args:
        disparity: in pixels.
        focal: of the camera, in pixels of the same picture; one for all, or one for each.
        baseline: between the two cameras.

    Raises:
        ValueError: if the focal length or the baseline is not positive and finite.
    """
    return _triangulate(disparity, focal, baseline)


def depth_to_disparity(
    depth: Float[Tensor, "B 1 H W"], *, focal: Float[Tensor, " B"] | float | int, baseline: float | int
) -> Triangulated:
    """Return the disparity of each pixel in pixels, d = b f / z: the inverse of `disparity_to_depth`, and like it."""
    return _triangulate(depth, focal, baseline)


def _triangulate(values: Tensor, focal: Tensor | float | int, baseline: float | int) -> Triangulated:
    focals = torch.as_tensor(focal, dtype=values.dtype, device=values.device)
    product = focals.reshape(-1, 1, 1, 1) * baseline
    if not bool((product.isfinite() & (focals.reshape(-1, 1, 1, 1) > 0) & (product > 0)).all()):
        given = f"focal={focals.tolist()} and baseline={baseline}"
        raise ValueError(f"received {given}, expected positive finite numbers")
    valid = values.isfinite() & (values > 0)
    return Triangulated((product / values.where(valid, 1)).where(valid, 0), valid)


def splat_right(
    left: Float[Tensor, "B C H W"], disparity: Float[Tensor, "B 1 H W"], valid: Bool[Tensor, "B 1 H W"] | None = None
) -> Splatted:
    """Move the pixels of the left picture to where the right one shows them: the column nearest to x - d.

    Where several pixels come together the nearest surface wins, that of the largest disparity, and of equal ones the
    leftmost. The image has a gradient, the disparity has none: it decides only where to.

    Args:
        left: the picture, or any other map of it.
        disparity: of the left picture, in pixels.
        valid: where it is known; the other pixels are not moved. None: everywhere.
    """
    return _splat(left, disparity, valid, -1)


def splat_left(
    right: Float[Tensor, "B C H W"], disparity: Float[Tensor, "B 1 H W"], valid: Bool[Tensor, "B 1 H W"] | None = None
) -> Splatted:
    """Move the pixels of the right picture, by its own disparity, to where the left one shows them: to x + d.

    Otherwise as `splat_right`.
    """
    return _splat(right, disparity, valid, 1)


def _splat(image: Tensor, disparity: Tensor, valid: Tensor | None, sign: int) -> Splatted:
    B, C, H, W = image.shape
    columns = torch.arange(W, device=image.device)
    # the pixel that has x + 0.5 -+ d inside
    goals = (columns + 0.5 + sign * disparity.detach()).floor()[:, 0]  # B H W
    moved = goals.isfinite() & (goals >= 0) & (goals < W)
    if valid is not None:
        moved = moved & valid[:, 0]
    goals = goals.where(moved, W).long()  # one more column for those that leave the picture
    nearness = disparity.detach()[:, 0].where(moved, 0)
    nearest = nearness.new_full((B, H, W + 1), -torch.inf).scatter_reduce(2, goals, nearness, "amax")
    wins = moved & (nearness == nearest.gather(2, goals))
    sources = columns.expand(B, H, W).where(wins, W)
    chosen = sources.new_full((B, H, W + 1), W).scatter_reduce(2, goals, sources, "amin")[..., :W]  # B H W
    arrived = goals.new_zeros(B, H, W + 1).scatter_add(2, goals, torch.ones_like(goals))[..., :W]
    holes = arrived == 0
    taken = image.gather(3, chosen.where(~holes, 0)[:, None].expand(-1, C, -1, -1))
    return Splatted(taken.where(~holes[:, None], 0), holes[:, None], (arrived > 1)[:, None])
