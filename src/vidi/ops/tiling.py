"""Large maps in tiles: windows with context about them, mirrored beyond the border.

Ronneberger et al. 2015, arXiv 1505.04597, figure 2; notes 5.1.4.

network     a window of `size` pixels and a margin about them  ->  the scores of the `size` pixels
tiles       every `size` pixels one; their windows overlap by the margins
together    the whole map: what the network would give of the mirrored whole, if its pools fall on the same pixels,
            which they do where `size` is a multiple of the network's stride

Networks that lose nothing see tiles that overlap instead, and what they say of a pixel is a mean of the tiles, which
counts less towards their borders.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Sides = tuple[int, int, int, int]


def mirrored(x: Float[Tensor, "B C H W"], sides: Sides) -> Float[Tensor, "B C h w"]:
    """Continue maps beyond their border as in a mirror on its outermost pixels, again and again where they are small.

    Args:
        x: maps.
        sides: pixels on the left, on the right, above and below.
    """
    left, right, above, below = sides
    rows, columns = _reflected(x.shape[2], above, below), _reflected(x.shape[3], left, right)
    return x[:, :, rows.to(x.device)][:, :, :, columns.to(x.device)]


def _reflected(length: int, before: int, after: int) -> Tensor:
    """Return which pixel of a side is seen at each place from `before` before it to `after` behind it."""
    if length == 1:
        return torch.zeros(before + 1 + after, dtype=torch.int64)
    period = 2 * (length - 1)
    places = torch.arange(-before, length + after) % period
    return places.minimum(period - places)


def in_tiles(
    network: Callable[[Float[Tensor, "B C _ _"]], Float[Tensor, "B K _ _"]],
    images: Float[Tensor, "B C H W"],
    *,
    size: tuple[int, int],
    margin: tuple[int, int],
) -> Float[Tensor, "B K H W"]:
    """Run a network that loses a margin on windows of images, and put what it says of their insides together.

    Args:
        network: from windows to at least the `size` pixels (h, w) that begin behind the first margin.
        images: of any size.
        size: (h, w) of a tile.
        margin: pixels before a tile and behind it, along both sides.

    Raises:
        ValueError: if the network gives fewer pixels.
    """
    (H, W), (h, w), (before, after) = images.shape[2:], size, margin
    down, across = -(-H // h), -(-W // w)
    whole = mirrored(images, (before, after + across * w - W, before, after + down * h - H))
    rows = []
    for top in range(0, down * h, h):
        row = []
        for left in range(0, across * w, w):
            found = network(whole[:, :, top : top + before + h + after, left : left + before + w + after])
            if found.shape[2] < h or found.shape[3] < w:
                raise ValueError(f"the network gave {tuple(found.shape[2:])} of a tile, expected ({h}, {w}) or more")
            row.append(found[:, :, :h, :w])
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)[:, :, :H, :W]


def overlapping(side: int, tile: int, overlap: float | int, *, phase: int = 1) -> list[tuple[int, int]]:
    """Return the first and the last + 1 pixel of each tile along a side; the last tile ends where the side does.

    Args:
        side: pixels.
        tile: pixels of a tile; a side of no more is one tile.
        overlap: the share of a tile that the next one shows again, or more of it.
        phase: tiles begin at multiples of it, so that pools fall on the same pixels as in the whole; the last tile is
            then less than a phase shorter. A `tile` that goes on by less than one phase ignores it.
    """
    if side <= tile:
        return [(0, side)]
    step = tile - int(overlap * tile)
    phase = phase if phase <= step else 1
    step, last = step // phase * phase, -(-(side - tile) // phase) * phase
    return [(first, min(first + tile, side)) for first in (*range(0, last, step), last)]


def blending_weights(tiles: Sequence[tuple[int, int]]) -> list[Float64[Tensor, " _"]]:
    """Return the share that each tile along a side has in its pixels; the shares of a pixel add up to 1.

    A Gaussian about the middle of a tile, whose standard deviation is an eighth of its length, as in nnU-Net (Isensee
    et al. 2021) and MONAI's `sliding_window_inference`: at its border a tile says next to nothing.
    """
    shares = []
    for first, last in tiles:
        length = last - first
        places = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
        shares.append(torch.exp(-0.5 * (places / (length / 8)) ** 2))
    total = torch.zeros(tiles[-1][1], dtype=torch.float64)
    for (first, last), share in zip(tiles, shares, strict=True):
        total[first:last] += share
    return [share / total[first:last] for (first, last), share in zip(tiles, shares, strict=True)]
