"""Positions of tokens: attention alone cannot tell them apart (notes 3.1.5).

    sinusoids    T -> T D              fixed: pairs sin, cos of frequencies 10000^(-2i/D), i = 0 .. D/2 - 1
    sinusoids_2d B H W -> B H W D      fixed: half of the channels for the row, half for the column (DETR)
    learned      1 T D                 a parameter, added; another number of positions needs `resized_positions`

Vaswani et al. 2017, 1706.03762, section 3.5; Gehring et al. 2017, 1705.03122; Carion et al. 2020, 2005.12872.
The index i of the notes counts pairs of dimensions, not dimensions.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

PERIOD = 10_000.0  # the longest wave is 2 pi times as long


def wave_frequencies(width: int, *, period: float = PERIOD) -> Float[Tensor, " D_2"]:
    """Return the frequencies of the pairs: period^(-2i/width), in float64.

    Raises:
        ValueError: if the width is odd.
    """
    if width % 2:
        raise ValueError(f"received width={width}, expected an even number: positions are pairs of sine and cosine")
    return period ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def sinusoids(positions: Float[Tensor, "*T"], width: int, *, period: float = PERIOD) -> Float[Tensor, "*T D"]:
    """Return sin and cos of a position by turns: a rotation takes each pair to that of any later position.

    Inner products depend on the distance of two positions alone.
    """
    angles = positions[..., None] * wave_frequencies(width, period=period).to(positions)  # *T D/2
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)  # *T D/2 2 -> *T D


class SinusoidalPositions(nn.Module):
    """Add the waves of positions `start`, `start` + 1, ... to tokens; nothing is learnt, no length is too long."""

    def __init__(self, width: int, *, period: float = PERIOD):
        super().__init__()
        self.width, self.period = width, period
        wave_frequencies(width)  # a wrong width is told now

    def forward(self, tokens: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        positions = torch.arange(start, start + tokens.shape[1], dtype=tokens.dtype, device=tokens.device)
        return tokens + sinusoids(positions, self.width, period=self.period)


class LearnedPositions(nn.Module):
    """Add a learnt vector to the token at each position."""

    def __init__(self, count: int, width: int, *, std: float = 0.02):
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, count, width))
        nn.init.trunc_normal_(self.table, std=std)

    def forward(self, tokens: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        """Add the positions from `start` on.

        Raises:
            ValueError: if there are more tokens than positions.
        """
        count = self.table.shape[1]
        if start + tokens.shape[1] > count:
            raise ValueError(
                f"received {start + tokens.shape[1]} tokens, expected at most {count}: positions are learnt"
            )
        return tokens + self.table[:, start : start + tokens.shape[1]]


def sinusoids_2d(
    mask: Bool[Tensor, "B H W"], width: int, *, period: float = PERIOD, normalize: bool = True
) -> Float[Tensor, "B H W D"]:
    """Return the positions of a map's cells: the first half of the channels for y, the second for x.

    Args:
        mask: True on the cells of an image, False on those that only pad it.
        width: D, a multiple of 4.
        period: as `sinusoids`.
        normalize: whether the cells of an image share 0 to 2 pi, whatever their number (Carion et al. 2020).
    """
    angles = []
    for axis in (1, 2):  # y, x
        position = mask.cumsum(axis, dtype=torch.float32)  # B H W, the first is 1
        if normalize:
            last = position.narrow(axis, -1, 1)
            position = position / (last + 1e-6) * (2 * math.pi)
        angles.append(sinusoids(position, width // 2, period=period))  # B H W D/2
    return torch.cat(angles, dim=-1)


def resized_positions(
    table: Float[Tensor, "1 T D"],
    size: tuple[int, int],
    *,
    old_size: tuple[int, int] | None = None,
    prefix: int = 1,
    antialias: bool = False,
    align_corners: bool = False,
) -> Float[Tensor, "1 t D"]:
    """Return learnt positions of a grid for a grid of another size, by bicubic interpolation.

    Args:
        table: the positions, row by row after `prefix` tokens that have no place, such as [CLS].
        size: (rows, columns) wanted.
        old_size: (rows, columns) of the table; None: it is square.
        prefix: tokens before the grid; their positions stay.
        antialias, align_corners: as `torch.nn.functional.interpolate` has them: torchvision aligns corners, timm
            smooths before it shrinks, transformers does neither.

    Raises:
        ValueError: if the table is not square, and `old_size` is not given or does not fit.
    """
    count = table.shape[1] - prefix
    rows, columns = old_size or (math.isqrt(count), math.isqrt(count))
    if rows * columns != count:
        raise ValueError(f"received {count} positions after {prefix}, expected {rows} x {columns}; say old_size")
    if (rows, columns) == size:
        return table
    grid = table[:, prefix:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)  # 1 D rows columns
    grid = F.interpolate(grid, size, mode="bicubic", antialias=antialias, align_corners=align_corners)
    return torch.cat((table[:, :prefix], grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


PositionKind = Literal["sinusoidal", "learned"]


def positions_layer(kind: PositionKind, width: int, count: int) -> nn.Module:
    """Return what adds positions to tokens, at most `count` of them where they are learnt."""
    return SinusoidalPositions(width) if kind == "sinusoidal" else LearnedPositions(count, width)
