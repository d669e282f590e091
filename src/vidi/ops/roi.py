"""Pooling of regions: the part of a feature map that a box covers, brought to one size for every box.

RoIPool takes the largest value of each bin, after rounding the box to whole cells (Girshick 2015, arXiv 1504.08083,
section 2.1; notes 4.3.2). RoIAlign rounds nothing: it averages bilinear samples (He et al. 2017, arXiv 1703.06870,
section 3). With a feature pyramid every box is pooled from the level that suits its size (Lin et al. 2017, arXiv
1612.03144, equation 1; notes 4.3.3).

    features B C H W, boxes R 4 (xyxy, pixels), images R (which of the batch a box lies in) -> R C h w

On a CPU the loops are compiled (numba) for maps in `torch.channels_last` layout, and give their results in that layout;
other layouts are converted. On other devices, and while a network is compiled or exported, torchvision's operators run.
Half precision is computed in float32. Gradients reach the features, not the boxes.

Differs from the notes: RoIPool's bin i of H over h cells covers floor(i h/H) to ceil((i+1) h/H), so that bins may
overlap, instead of one kernel and stride; the level of a box is rounded down, not up.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.ops
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.ops.boxes import box_area
from vidi.ops.threads import share

PARALLEL_FROM = 1_000_000
"""Pooled numbers above which the threads that torch has share the work."""

ROUNDING = 1e-6
"""Added to a level before it is rounded down, so that 224 pixels reach level 4 in float32 (torchvision)."""

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # Lin et al. 2017: a box of 224 x 224 pixels is pooled from P4


# ----------------------------------------------------------------------------------------------------------------------
# RoIAlign


def roi_align(
    features: Float[Tensor, "B C H W"],
    boxes: Float[Tensor, "R 4"],
    images: Int64[Tensor, " R"],
    size: tuple[int, int],
    *,
    stride: float | int = 1,
    sampling_ratio: int = 2,
    aligned: bool = True,
    pool: Literal["average", "max"] = "average",
) -> Float[Tensor, "R C h w"]:
    """Return the mean of bilinear samples in each of h x w bins of each box (torchvision.ops.roi_align).

    Args:
        features: of the batch.
        boxes: xyxy, in pixels of the images.
        images: the row of `features` that each box lies in.
        size: (h, w) of the result.
        stride: pixels per cell.
        sampling_ratio: points a bin has along each axis; 0 for as many as it has cells, rounded up.
        aligned: whether the centre of cell (0, 0) is at (0.5, 0.5) cells, as everywhere in this package; False puts it
            at the origin, and makes boxes at least one cell wide and high (torchvision's default).
        pool: "average", or "max" for the largest sample of a bin, which torchvision does not have.

    Raises:
        ValueError: for impossible sizes, images that are not in the batch, another `pool`, and a largest sample where
            the number of samples is not given.
    """
    if pool not in ("average", "max") or (pool == "max" and sampling_ratio < 1):
        raise ValueError(
            f"received pool={pool!r} with sampling_ratio={sampling_ratio}, expected 'average', or 'max' with 1 or more"
        )
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    if pool == "max":  # every sample is a bin of its own
        fine = (size[0] * sampling_ratio, size[1] * sampling_ratio)
        samples = roi_align(features, boxes, images, fine, stride=stride, sampling_ratio=1, aligned=aligned)
        return F.max_pool2d(samples, sampling_ratio)
    return _aligned([features], boxes, images, torch.zeros_like(images), size, (stride,), **options)


def roi_align_levels(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "R 4"],
    images: Int64[Tensor, " R"],
    levels: Int64[Tensor, " R"],
    size: tuple[int, int],
    *,
    strides: Sequence[float | int],
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Float[Tensor, "R C h w"]:
    """Return `roi_align` of each box from its own level of a pyramid; `levels` counts the maps from 0.

    Raises:
        ValueError: for impossible sizes, images that are not in the batch, and levels that are not in the pyramid.
    """
    if len(pyramid) != len(strides):
        raise ValueError(f"received {len(pyramid)} maps and {len(strides)} strides, expected one of each per level")
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    return _aligned(pyramid, boxes, images, levels, size, strides, **options)


def box_levels(
    boxes: Float[Tensor, "*N 4"],
    *,
    first: int,
    last: int,
    canonical_size: float | int = CANONICAL_SIZE,
    canonical_level: int = CANONICAL_LEVEL,
) -> Int64[Tensor, "*N"]:
    """Return the level floor(k0 + log2(sqrt(w h) / 224)) that each box is pooled from, within first..last.

    `canonical_size` is the side of a square box that is pooled from `canonical_level`, k0. Lin et al. 2017, equation 1.
    """
    level = canonical_level + torch.log2(box_area(boxes).sqrt() / canonical_size)
    return torch.floor(level + ROUNDING).clamp(first, last).to(torch.int64)


def _aligned(
    pyramid: Sequence[Tensor],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    size: tuple[int, int],
    strides: Sequence[float | int],
    *,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _check_size(size)
    dtype = torch.promote_types(pyramid[0].dtype, torch.float32)
    pyramid, boxes = [features.to(dtype) for features in pyramid], boxes.detach().to(dtype)
    if _operator_runs(pyramid[0]):
        return _align_by_operator(pyramid, boxes, images, levels, size, strides, sampling_ratio, aligned)
    _check_rows(images, len(pyramid[0]), "image")
    _check_rows(levels, len(pyramid), "level")
    regions = _regions(boxes, images, levels, size, boxes.new_tensor(strides), sampling_ratio, aligned)
    return cast(Tensor, _Align.apply(regions, size, *pyramid))


def _align_by_operator(
    pyramid: Sequence[Tensor],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    size: tuple[int, int],
    strides: Sequence[float | int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    rows = torch.cat((images[:, None].to(boxes.dtype), boxes), 1)  # R 5
    if len(pyramid) == 1 or boxes.is_meta:  # where there are no numbers, every level gives the same shape
        return torchvision.ops.roi_align(pyramid[0], rows, size, 1 / strides[0], sampling_ratio, aligned)
    pooled = pyramid[0].new_zeros(boxes.shape[0], pyramid[0].shape[1], *size)
    for level, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
        own = (levels == level).nonzero()[:, 0]
        part = torchvision.ops.roi_align(features, rows[own], size, 1 / stride, sampling_ratio, aligned)
        pooled = pooled.index_copy(0, own, part)
    return pooled


class _Regions(NamedTuple):
    """Where the sampling points of each box lie: what the kernels read."""

    rows: list[np.ndarray]  # of each level
    images: np.ndarray  # R
    starts: np.ndarray  # R 2: y and x of the first bin, in cells
    steps: np.ndarray  # R 2: height and width of a bin
    points: np.ndarray  # R 2: of a bin, along y and x


def _regions(
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    size: tuple[int, int],
    strides: Tensor,
    sampling_ratio: int,
    aligned: bool,
) -> _Regions:
    corners = boxes.unflatten(1, (2, 2)).flip(2) * (1 / strides)[levels][:, None, None]  # R 2 2: y, x
    corners = corners - 0.5 if aligned else corners
    sides = corners[:, 1] - corners[:, 0]  # R 2
    steps = (sides if aligned else sides.clamp(min=1)) / sides.new_tensor(size)
    adaptive = steps.nan_to_num(0, 0, 0).ceil().clamp(min=0).to(torch.int64)
    points = adaptive if sampling_ratio <= 0 else torch.full_like(adaptive, sampling_ratio)
    rows = [(levels == level).nonzero()[:, 0].numpy() for level in range(len(strides))]
    starts = corners[:, 0].double().contiguous().numpy()
    return _Regions(rows, images.contiguous().numpy(), starts, steps.double().numpy(), points.numpy())


class _Align(torch.autograd.Function):
    """The compiled RoIAlign over the levels of a pyramid."""

    @staticmethod
    def forward(ctx: Any, regions: _Regions, size: tuple[int, int], *pyramid: Tensor) -> Tensor:
        from vidi.ops import roi_kernels

        ctx.regions, ctx.shapes = regions, [features.shape for features in pyramid]
        C = pyramid[0].shape[1]
        pooled = np.empty((len(regions.images), *size, C), _channels_last(pyramid[0][:0]).dtype)
        for features, rows in zip(pyramid, regions.rows, strict=True):
            cells = _channels_last(features)
            _, H, W, _ = cells.shape
            flat = cells.reshape(-1)

            def work(part: np.ndarray, flat: np.ndarray = flat, shape: tuple[int, int, int] = (H, W, C)) -> None:
                where = regions.images, regions.starts, regions.steps, regions.points
                roi_kernels.align(flat, shape, part, *where, pooled)

            share(work, np.array_split(rows, _workers(pooled)))
        return torch.from_numpy(pooled).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from vidi.ops import roi_kernels

        pooled = _channels_last(gradient)
        results: list[Tensor | None] = []
        for needed, shape, rows in zip(ctx.needs_input_grad[2:], ctx.shapes, ctx.regions.rows, strict=True):
            if not needed:
                results.append(None)
                continue
            B, C, H, W = shape
            cells = np.zeros((B, H, W, C), pooled.dtype)
            flat = cells.reshape(-1)

            def work(
                channels: np.ndarray,
                rows: np.ndarray = rows,
                flat: np.ndarray = flat,
                shape: tuple[int, int, int] = (H, W, C),
            ) -> None:
                ends = int(channels[0]), int(channels[-1]) + 1
                regions = ctx.regions
                where = regions.images, regions.starts, regions.steps, regions.points
                roi_kernels.align_backward(pooled, shape, rows, *where, ends, flat)

            if len(rows):
                share(work, np.array_split(np.arange(C), _workers(pooled)))  # no two threads write to one number
            results.append(torch.from_numpy(cells).permute(0, 3, 1, 2))
        return None, None, *results


def roi_align_masks(
    masks: Bool[Tensor, "M H W"],
    boxes: Float[Tensor, "R 4"],
    rows: Int64[Tensor, " R"],
    size: tuple[int, int],
    *,
    aligned: bool = True,
) -> Float[Tensor, "R h w"]:
    """Return the share of each of h x w bins of each box that its mask, row `rows` of them, covers.

    That is `roi_align` of masks as maps of one channel, with a sampling point for each pixel of a bin, rounded up; on
    a CPU the masks stay bytes.

    Raises:
        ValueError: for impossible sizes, and rows that there are not.
    """
    _check_size(size)
    if _operator_runs(masks):
        return roi_align(masks[:, None].to(boxes.dtype), boxes, rows, size, sampling_ratio=0, aligned=aligned)[:, 0]
    from vidi.ops import roi_kernels

    _check_rows(rows, len(masks), "mask")
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32))
    regions = _regions(boxes, rows, torch.zeros_like(rows), size, boxes.new_ones(1), 0, aligned)
    shares = torch.zeros(len(boxes), *size, 1, dtype=boxes.dtype)
    where = regions.images, regions.starts, regions.steps, regions.points
    if len(boxes):
        cells = masks.contiguous().numpy().view(np.uint8).reshape(-1)
        roi_kernels.align(cells, (masks.shape[1], masks.shape[2], 1), regions.rows[0], *where, shares.numpy())
    return shares[..., 0]


# ----------------------------------------------------------------------------------------------------------------------
# RoIPool


def roi_pool(
    features: Float[Tensor, "B C H W"],
    boxes: Float[Tensor, "R 4"],
    images: Int64[Tensor, " R"],
    size: tuple[int, int],
    *,
    stride: float | int = 1,
) -> Float[Tensor, "R C h w"]:
    """Return the largest value in each of h x w bins of each box, rounded to cells (torchvision.ops.roi_pool).

    A box in cells is rounded corner by corner and includes the cells of both, so that it is at least 1 x 1; a bin
    outside the map is 0. Arguments as of `roi_align`; rounding twice, of the box and of the bins, is what RoIAlign
    does away with.

    Raises:
        ValueError: for impossible sizes, and images that are not in the batch.
    """
    _check_size(size)
    dtype = torch.promote_types(features.dtype, torch.float32)
    features, boxes = features.to(dtype), boxes.detach().to(dtype)
    if _operator_runs(features):
        rows = torch.cat((images[:, None].to(dtype), boxes), 1)
        return torchvision.ops.roi_pool(features, rows, size, 1 / stride)
    _check_rows(images, len(features), "image")
    scaled = boxes * (1 / stride)
    corners = (torch.floor(scaled.abs() + 0.5) * scaled.sign()).nan_to_num(0).clamp(-1e9, 1e9)  # halves away from 0
    x1, y1, x2, y2 = corners.unbind(1)
    bins = (*_bins(y1, y2, size[0], features.shape[2]), *_bins(x1, x2, size[1], features.shape[3]))
    return cast(Tensor, _Pool.apply(features, images.contiguous(), size, *bins))


def _bins(first: Tensor, last: Tensor, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Return begin and end of each bin along one axis, R count each, rounded in the boxes' precision as torchvision."""
    width = (last - first + 1).clamp(min=1) / count  # R
    edges = torch.arange(count + 1, dtype=width.dtype) * width[:, None]  # R count+1
    begins, ends = edges[:, :-1].floor() + first[:, None], edges[:, 1:].ceil() + first[:, None]
    return begins.clamp(0, side).to(torch.int64), ends.clamp(0, side).to(torch.int64)


class _Pool(torch.autograd.Function):
    """The compiled RoIPool."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, images: Tensor, size: tuple[int, int], *bins: Tensor) -> Tensor:
        from vidi.ops import roi_kernels

        cells = _channels_last(features)
        pooled = np.empty((len(images), *size, cells.shape[3]), cells.dtype)
        best = np.empty(pooled.shape, np.int32)
        tops, bottoms, lefts, rights = (edge.contiguous().numpy() for edge in bins)
        ctx.shape, ctx.images, ctx.best = features.shape, images.numpy(), best

        def work(rows: np.ndarray) -> None:
            roi_kernels.pool(cells, rows, ctx.images, tops, bottoms, lefts, rights, pooled, best)

        share(work, np.array_split(np.arange(len(images)), _workers(pooled)))
        return torch.from_numpy(pooled).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from vidi.ops import roi_kernels

        pooled = _channels_last(gradient)
        B, C, H, W = ctx.shape
        cells = np.zeros((B, H * W, C), pooled.dtype)

        def work(channels: np.ndarray) -> None:
            ends = int(channels[0]), int(channels[-1]) + 1
            roi_kernels.pool_backward(pooled, ctx.images, ctx.best, ends, cells)

        share(work, np.array_split(np.arange(C), _workers(pooled)))
        return torch.from_numpy(cells.reshape(B, H, W, C)).permute(0, 3, 1, 2), *(None,) * 6


# ----------------------------------------------------------------------------------------------------------------------
# Crops of images


def crop_and_warp(
    images: Float[Tensor, "B C H W"],
    boxes: Float[Tensor, "R 4"],
    rows: Int64[Tensor, " R"],
    size: tuple[int, int],
    *,
    context: int = 0,
) -> Float[Tensor, "R C h w"]:
    """Return the part of its image that each box covers, warped to one size whatever the box's shape.

    Args:
        images: normalised, so that 0, what lies outside them becomes, is the mean colour.
        boxes: xyxy, pixels.
        rows: the image of each box.
        size: (h, w) of the crops.
        context: pixels of the crop on each side that show what surrounds the box; 16 in R-CNN (Girshick et al. 2014,
            arXiv 1311.2524, appendix A).

    Raises:
        ValueError: if the context leaves nothing of the crop.
    """
    if not 0 <= 2 * context < min(size):
        raise ValueError(f"received context={context} for crops of {size}, expected less than half of them")
    sides = boxes[:, 2:] - boxes[:, :2]  # R 2: w, h
    margin = sides * context / (sides.new_tensor(size).flip(0) - 2 * context)
    return roi_align(images, torch.cat((boxes[:, :2] - margin, boxes[:, 2:] + margin), 1), rows, size, sampling_ratio=0)


# ----------------------------------------------------------------------------------------------------------------------
# Small things the pools share


def _operator_runs(features: Tensor) -> bool:
    return features.device.type != "cpu" or torch.compiler.is_compiling() or torch.compiler.is_exporting()


def _channels_last(features: Tensor) -> np.ndarray:
    return features.detach().permute(0, 2, 3, 1).contiguous().numpy()


def _workers(pooled: np.ndarray) -> int:
    return torch.get_num_threads() if pooled.size >= PARALLEL_FROM else 1


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise ValueError(f"received size={size}, expected at least 1 x 1")


def _check_rows(rows: Tensor, count: int, what: str) -> None:
    wrong = rows[(rows < 0) | (rows >= count)]
    if len(wrong):
        raise ValueError(f"received the {what} {int(wrong[0])} of a box, expected 0..{count - 1}")
