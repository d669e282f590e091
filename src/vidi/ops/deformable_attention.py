"""Deformable attention: each query takes a few points of several maps, wherever it wants, and their weighted sum.

Zhu, Su, Lu, Li, Wang, Dai 2021, "Deformable DETR", arXiv 2010.04159, equation 3; in the pixel decoder of Mask2Former
(notes 5.3.3).

    values     B S h d         S = the cells of L maps, one map after the other, row by row; h heads of d numbers
    locations  B Q h L P 2     P points in every map: x, y as shares of its sides
    weights    B Q h L P       sum to 1 over the points of all maps
    found      B Q h d         sum over maps and points of weight x value, interpolated bilinearly; zero outside a map

On a CPU the loops are compiled (numba): a point reads four rows of d contiguous numbers. On other devices, and while a
network is compiled or exported, `torch.nn.functional.grid_sample` runs, map by map.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidi.ops.threads import share

PARALLEL_FROM = 100_000
"""Interpolated rows above which the threads that torch has share the work."""


def deformable_attention(
    values: Float[Tensor, "B S h d"],
    sizes: Sequence[tuple[int, int]],
    locations: Float[Tensor, "B Q h L P 2"],
    weights: Float[Tensor, "B Q h L P"],
) -> Float[Tensor, "B Q h d"]:
    """Return what the queries find at their points.

    Half precision is computed in float32.

    Args:
        values: of the cells of all maps.
        sizes: (H, W) of each map.
        locations: of the points; (0, 0) is the top left corner of the first cell, (1, 1) the bottom right of the last.
        weights: of the points.

    Raises:
        ValueError: if the maps do not have as many cells as there are values, or are not as many as the levels.
    """
    cells = [H * W for H, W in sizes]
    if sum(cells) != values.shape[1] or len(sizes) != locations.shape[3]:
        given = f"{values.shape[1]} values and points in {locations.shape[3]} maps"
        raise ValueError(f"received {given}, expected {sum(cells)} and {len(sizes)} for maps of {list(sizes)}")
    dtype = torch.promote_types(values.dtype, torch.float32)
    values, locations, weights = values.to(dtype), locations.to(dtype), weights.to(dtype)
    if values.device.type != "cpu" or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return by_grid_sample(values, sizes, locations, weights)
    found = _Deformable.apply(values, tuple(sizes), locations.flatten(0, 1), weights.flatten(0, 1))
    return cast(Tensor, found).unflatten(0, locations.shape[:2])  # BQ h d -> B Q h d


def by_grid_sample(
    values: Float[Tensor, "B S h d"],
    sizes: Sequence[tuple[int, int]],
    locations: Float[Tensor, "B Q h L P 2"],
    weights: Float[Tensor, "B Q h L P"],
) -> Float[Tensor, "B Q h d"]:
    """Return what `deformable_attention` does, by torch's operators."""
    B, h = locations.shape[0], locations.shape[2]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # Bh Q L P 2
    sampled = []
    for level, (part, (H, W)) in enumerate(zip(values.split([H * W for H, W in sizes], 1), sizes, strict=True)):
        maps = part.permute(0, 2, 3, 1).reshape(B * h, -1, H, W)  # Bh d H W
        sampled.append(F.grid_sample(maps, grids[:, :, level], align_corners=False))  # Bh d Q P
    shares = weights.transpose(1, 2).flatten(0, 1).flatten(2)[:, None]  # Bh 1 Q LP
    found = (torch.cat(sampled, -1) * shares).sum(-1)  # Bh d Q
    return found.unflatten(0, (B, h)).permute(0, 3, 1, 2)  # B Q h d


class _Deformable(torch.autograd.Function):
    """The compiled loops."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, sizes: tuple[tuple[int, int], ...], locations: Tensor, weights: Tensor
    ) -> Tensor:
        from vidi.ops import deformable_kernels

        shapes = np.array(sizes, np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), shapes.prod(1).cumsum()[:-1]))
        tensors = [tensor.detach().contiguous() for tensor in (values, locations, weights)]
        ctx.save_for_backward(*tensors)
        ctx.maps = shapes, starts
        cells, places, shares = (tensor.numpy() for tensor in tensors)
        found = np.empty((len(places), *cells.shape[2:]), cells.dtype)

        def work(rows: np.ndarray) -> None:
            deformable_kernels.gather(cells, shapes, starts, places, shares, rows, found)

        share(work, np.array_split(np.arange(len(places)), _workers(shares)))
        return torch.from_numpy(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from vidi.ops import deformable_kernels

        cells, places, shares = (tensor.numpy() for tensor in ctx.saved_tensors)
        incoming = gradient.contiguous().numpy()
        shapes, starts = ctx.maps
        results = np.zeros_like(cells), np.empty_like(places), np.empty_like(shares)

        def work(heads: np.ndarray) -> None:
            deformable_kernels.scatter(cells, shapes, starts, places, shares, incoming, heads, *results)

        share(work, np.array_split(np.arange(cells.shape[0] * cells.shape[2]), _workers(shares)))
        to_values, to_locations, to_weights = (torch.from_numpy(result) for result in results)
        return to_values, None, to_locations, to_weights


def _workers(weights: np.ndarray) -> int:
    return torch.get_num_threads() if weights.size >= PARALLEL_FROM else 1
