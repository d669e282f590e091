"""What a row of convolutions sees and costs: receptive fields, multiply-adds, factorised kernels.

Szegedy et al. 2016 (arXiv 1512.00567), section 3; notes 2.2.2. A convolution of k x k can be replaced by several of
fewer pixels that see as much: two of 3x3 for one of 5x5, one of 1x7 and one of 7x1 for one of 7x7.

Yu & Koltun 2016 (arXiv 1511.07122); notes 5.1.5, 5.A.1. Dilated by 1, 2, 4, ..., n convolutions of 3x3 see 2^(n+1) - 1
pixels a side with n times the weights of one, at full resolution. Differs from the notes: layer l, counted from 0, with
dilation 2^l sees 2^(l+2) - 1. Where the dilation nears the size of the map, most weights fall on padding.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Window(NamedTuple):
    """The kernel of a convolution or pool: rows, columns, and how it moves over the map."""

    rows: int
    columns: int
    stride: int = 1
    dilation: int = 1


def receptive_field(windows: Sequence[Window]) -> tuple[int, int]:
    """Return the rows and columns of the input that one position behind all windows depends on.

    Each window adds (k - 1) d positions of its input, which are as many input pixels apart as the strides before it
    multiply to.

    Raises:
        ValueError: if there is no window, or one has a length below 1.
    """
    _check(windows)
    rows = columns = spacing = 1
    for window in windows:
        rows += (window.rows - 1) * window.dilation * spacing
        columns += (window.columns - 1) * window.dilation * spacing
        spacing *= window.stride
    return rows, columns


def seen_by_gradient(network: nn.Module, image: Float[Tensor, "1 C H W"]) -> tuple[int, int]:
    """Return the rows and columns of an image that the central position of a network's output depends on.

    They are those that its gradient reaches: of this image, whatever the layers are.

    Args:
        network: from an image to a map.
        image: larger than what is to be found.
    """
    image = image.detach().requires_grad_()
    output = network(image)
    middle = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, image)
    reached = gradient[0].abs().sum(0).nonzero()
    rows, columns = (reached.amax(0) - reached.amin(0) + 1).tolist() if len(reached) else (0, 0)
    return rows, columns


def valid_taps(size: int, dilation: int) -> dict[int, float]:
    """Return the share of the positions of a square map at which so many of a 3x3 kernel's taps fall on the map.

    Chen et al. 2017 (arXiv 1706.05587), figure 4; notes 5.A.1.

    Args:
        size: pixels a side of the map, which is padded by the dilation.
        dilation: pixels between taps.

    Raises:
        ValueError: if one of them is below 1.
    """
    if size < 1 or dilation < 1:
        raise ValueError(f"received size={size} and dilation={dilation}, expected at least 1")
    inside = [sum(0 <= place + step < size for step in (-dilation, 0, dilation)) for place in range(size)]
    alone = {taps: inside.count(taps) / size for taps in set(inside)}
    shares: dict[int, float] = {}
    for rows, of_rows in alone.items():
        for columns, of_columns in alone.items():
            shares[rows * columns] = shares.get(rows * columns, 0.0) + of_rows * of_columns
    return shares


def multiply_adds(windows: Sequence[Window], channels: Sequence[int], size: tuple[int, int]) -> int:
    """Return the multiply-adds of convolutions in a row, each padded so that only its stride makes the map smaller.

    Args:
        windows: of the convolutions.
        channels: of the input, then of each convolution's output.
        size: (H, W) of the input.

    Raises:
        ValueError: if the channels are not one more than the windows, or a length is below 1.
    """
    _check(windows)
    if len(channels) != len(windows) + 1:
        raise ValueError(
            f"received {len(channels)} numbers of channels for {len(windows)} convolutions, expected one more"
        )
    if min(*channels, *size) < 1:
        raise ValueError(f"received channels {tuple(channels)} and size {size}, expected at least 1")
    total, (H, W) = 0, size
    for window, (before, after) in zip(windows, pairwise(channels), strict=True):
        H, W = -(-H // window.stride), -(-W // window.stride)
        total += H * W * window.rows * window.columns * before * after
    return total


def factorisation_cost(whole: Window, parts: Sequence[Window]) -> Fraction:
    """Return what convolutions in a row cost relative to the one they replace, all with equal channels: 18/25 for 5x5.

    Raises:
        ValueError: if the parts do not see what the whole sees, or do not stride as it does.
    """
    seen, wanted = receptive_field(parts), receptive_field([whole])
    if seen != wanted:
        raise ValueError(f"the parts see {seen[0]} x {seen[1]} pixels, expected {wanted[0]} x {wanted[1]} as the whole")
    if any(window.stride != 1 for window in (whole, *parts)):
        raise ValueError(
            f"received strides {[w.stride for w in (whole, *parts)]}, expected 1: the parts' order would count"
        )
    return Fraction(sum(w.rows * w.columns for w in parts), whole.rows * whole.columns)


def _check(windows: Sequence[Window]) -> None:
    if not windows or any(min(window) < 1 for window in windows):
        raise ValueError(f"received {list(windows)}, expected windows with lengths of at least 1")
