"""Large maps in tiles: windows with context about them, mirrored beyond the border.

Ronneberger et al. 2015, arXiv 1505.04597, figure 2; notes 5.1.4.

network     a window of `size` pixels and a margin about them  ->  the scores of the `size` pixels
tiles       every `size` pixels one; their windows overlap by the margins
together    the whole map: what the network would give of the mirrored whole, if its pools fall on the same pixels,
            which they do where `size` is a multiple of the network's stride
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
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
