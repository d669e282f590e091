"""What a row of convolutions sees and costs: receptive fields, multiply-adds, factorised kernels.

Szegedy et al. 2016 (arXiv 1512.00567), section 3; notes 2.2.2. A convolution of k x k can be replaced by several of
fewer pixels that see as much: two of 3x3 for one of 5x5, one of 1x7 and one of 7x1 for one of 7x7.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple


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
