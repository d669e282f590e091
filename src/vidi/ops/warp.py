"""Backward mapping: a view rebuilt by sampling another one, where depth or disparity say that it shows the same point.

Jaderberg et al. 2015 (arXiv 1506.02025: bilinear sampling), Godard et al. 2017 (Monodepth, arXiv 1609.03677), Zhou et
al. 2017 (SfMLearner, arXiv 1704.07813, equation 2); notes 6.1.1 and 6.1.2. Every pixel gets a value, so there are no
holes, and the value has a gradient with respect to the source and to where it was sampled.

    stereo   left(x, y) = right(x - d_left, y)          right(x, y) = left(x + d_right, y)
    frames   p_source ~ K_source T_source_target z K^-1 p_target

The centre of pixel (i, j) is (j + 0.5, i + 0.5), which intrinsics count by as well. Differs from the notes: the sign of
the disparity is that of d = u_left - u_right everywhere (their left picture is sampled at u + d).
"""

from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.ops.threads import share

Beyond = Literal["edge", "zero"]
"""What a sample beyond the outermost pixel centres is: the value at the edge, or one that falls to zero in a pixel."""

NEAREST = 1e-6  # a point must be in front of a camera by this part of the unit of depth, to be seen
PARALLEL_FROM = 100_000  # sampled pixels above which the threads that torch has share the work


class Warped(NamedTuple):
    """A view that was rebuilt from another one."""

    image: Float[Tensor, "B C H W"]
    inside: Bool[Tensor, "B 1 H W"]  # the sample lies in the other picture, and in front of its camera


class Projected(NamedTuple):
    """Points on the picture of a camera."""

    points: Float[Tensor, "B H W 2"]  # x, y in pixels; where not in front, a place outside of any picture
    in_front: Bool[Tensor, "B H W"]


def sample_pixels(
    maps: Float[Tensor, "B C H W"], points: Float[Tensor, "B h w 2"], *, beyond: Beyond = "edge"
) -> Warped:
    """Return the values of maps at points (x, y) in pixels, interpolated bilinearly, and which points lie in the map.

    Raises:
        ValueError: if `beyond` is neither "edge" nor "zero".
    """
    H, W = maps.shape[2:]
    size = points.new_tensor((W, H))
    padding = _padding(beyond)
    values = F.grid_sample(maps, 2 * points / size - 1, padding_mode=padding, align_corners=False)
    return Warped(values, ((points >= 0) & (points < size)).all(-1)[:, None])


def left_from_right(
    right: Float[Tensor, "B C H W"], disparity: Float[Tensor, "B 1 H W"], *, beyond: Beyond = "edge"
) -> Warped:
    """Rebuild the left picture: sample the right one at x - d, d the disparity of the left one in pixels.

    Any map of the right view can be sampled so, its disparity for one. Half precision is computed in float32.

    Raises:
        ValueError: if `beyond` is neither "edge" nor "zero".
    """
    return _warp_row(right, -disparity, beyond)


def right_from_left(
    left: Float[Tensor, "B C H W"], disparity: Float[Tensor, "B 1 H W"], *, beyond: Beyond = "edge"
) -> Warped:
    """Rebuild the right picture: sample the left one at x + d, d the disparity of the right one in pixels.

    Otherwise as `left_from_right`.
    """
    return _warp_row(left, disparity, beyond)


def back_project(depth: Float[Tensor, "B 1 H W"], intrinsics: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 H W"]:
    """Return the point that each pixel shows in the camera's frame: z K^-1 (x, y, 1).

    Raises:
        ValueError: if a camera matrix has no inverse, or numbers that are not finite.
    """
    H, W = depth.shape[2:]
    y, x = torch.meshgrid(_centres(H, depth), _centres(W, depth), indexing="ij")
    pixels = torch.stack((x, y, torch.ones_like(x))).flatten(1)  # 3 HW
    return (_inverse(intrinsics).to(depth.dtype) @ pixels).unflatten(-1, (H, W)) * depth


def move_points(points: Float[Tensor, "B 3 H W"], poses: Float[Tensor, "B 4 4"]) -> Float[Tensor, "B 3 H W"]:
    """Return points of the frame a in the frame b, given T_b_a."""
    poses = poses.to(points.dtype)
    moved = poses[:, :3, :3] @ points.flatten(2) + poses[:, :3, 3:]  # B 3 HW
    return moved.unflatten(-1, points.shape[2:])


def project(points: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 3 3"]) -> Projected:
    """Return where a camera shows points of its frame; those that are not in front of it are shown nowhere."""
    x, y, z = (intrinsics.to(points.dtype) @ points.flatten(2)).unflatten(-1, points.shape[2:]).unbind(1)
    in_front = z > NEAREST
    seen = torch.stack((x, y), -1) / z.where(in_front, 1)[..., None]
    return Projected(seen.where(in_front[..., None], -1), in_front)


def inverse_warp(
    source: Float[Tensor, "B C H W"],
    depth: Float[Tensor, "B 1 H W"],
    poses: Float[Tensor, "B 4 4"],
    intrinsics: Float[Tensor, "B 3 3"],
    *,
    source_intrinsics: Float[Tensor, "B 3 3"] | None = None,
    beyond: Beyond = "edge",
) -> Warped:
    """Rebuild the target view from a source view: p_source ~ K_source T_source_target z K^-1 p_target.

    Args:
        source: the picture, or any map, of the source view.
        depth: of the target view.
        poses: T_source_target, in the unit of the depth.
        intrinsics: of the target's camera, and of the source's if it has none of its own.
        source_intrinsics: of the source's camera.
        beyond: what a sample is that lies outside the source.

    Raises:
        ValueError: if the camera matrix of the target has no inverse, or numbers that are not finite.
    """
    camera = intrinsics if source_intrinsics is None else source_intrinsics
    points, in_front = project(move_points(back_project(depth, intrinsics), poses), camera)
    image, inside = sample_pixels(source, points, beyond=beyond)
    return Warped(image, inside & in_front[:, None])


def _centres(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=like.dtype, device=like.device) + 0.5


def _inverse(intrinsics: Tensor) -> Tensor:
    inverse, fault = torch.linalg.inv_ex(intrinsics.to(torch.promote_types(intrinsics.dtype, torch.float32)))
    if bool(fault.any()) or not bool((inverse.isfinite() & intrinsics.isfinite()).all()):
        raise ValueError(f"received camera matrices {intrinsics.tolist()}, expected finite ones that have an inverse")
    return inverse


def _padding(beyond: Beyond) -> str:
    modes = {"edge": "border", "zero": "zeros"}
    if beyond not in modes:
        raise ValueError(f"received beyond={beyond!r}, expected 'edge' or 'zero'")
    return modes[beyond]


def _warp_row(source: Tensor, offsets: Tensor, beyond: Beyond) -> Warped:
    """Sample every row at its pixel centres plus offsets, B 1 H W."""
    _padding(beyond)
    dtype = torch.promote_types(source.dtype, torch.float32)
    source, offsets = source.to(dtype), offsets.to(dtype)
    columns = _centres(source.shape[3], offsets) + offsets  # B 1 H W
    inside = (columns >= 0) & (columns < source.shape[3])
    if source.device.type != "cpu" or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return Warped(row_by_grid_sample(source, columns, beyond=beyond), inside)
    return Warped(cast(Tensor, _Rows.apply(source, columns, beyond == "edge")), inside)


def row_by_grid_sample(
    maps: Float[Tensor, "B C H W"], columns: Float[Tensor, "B 1 H W"], *, beyond: Beyond
) -> Float[Tensor, "B C H W"]:
    """Return the values of each row of maps at columns in pixels, by torch's operators."""
    rows = _centres(maps.shape[2], columns)[:, None].expand_as(columns[:, 0])
    return sample_pixels(maps, torch.stack((columns[:, 0], rows), -1), beyond=beyond).image


class _Rows(torch.autograd.Function):
    """The compiled loops: two values a sample and none of the neighbouring rows."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, columns: Tensor, edge: bool) -> Tensor:
        from vidi.ops import warp_kernels

        tensors = [tensor.detach().contiguous() for tensor in (maps, columns)]
        ctx.save_for_backward(*tensors)
        ctx.edge = edge
        values, places = (tensor.numpy() for tensor in tensors)
        sampled = np.empty_like(values)
        share(lambda rows: warp_kernels.sample(values, places[:, 0], edge, rows, sampled), _shares(places))
        return torch.from_numpy(sampled)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from vidi.ops import warp_kernels

        values, places = (tensor.numpy() for tensor in ctx.saved_tensors)
        incoming = gradient.contiguous().numpy()
        to_maps, to_columns = np.zeros_like(values), np.zeros_like(places)
        share(
            lambda rows: warp_kernels.scatter(
                values, places[:, 0], ctx.edge, rows, incoming, to_maps, to_columns[:, 0]
            ),
            _shares(places),
        )
        return torch.from_numpy(to_maps), torch.from_numpy(to_columns), None


def _shares(places: np.ndarray) -> list[np.ndarray]:
    """Split the rows of all pictures, B H, among the threads."""
    workers = torch.get_num_threads() if places.size >= PARALLEL_FROM else 1
    return np.array_split(np.arange(places.shape[0] * places.shape[2]), workers)
