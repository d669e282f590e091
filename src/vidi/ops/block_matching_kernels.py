"""Compiled loops of block matching: costs as running sums, the best disparity of each pixel of a row.

Arrays of one type of numbers, whole for pictures of bytes, so that sums are exact. Both pictures are padded with their
edge pixels: the left one by the reach r of the window on all sides, the right one by D - 1 more on its left, and the
right one lies mirrored, so that the pixels which disparities 0, 1, 2 ... name follow each other in memory:

    left    C H+2r N            N = W + 2 r
    right   C H+2r N+D-1        column N - 1 - X + d is the one that lies d left of column X of the left picture
    sums    N D                 of each column, down the rows of the window

A column's sums gain one row and lose one as the window moves down, a window's cost gains one column and loses one as it
moves to the right: the work does not depend on the window's size.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def match_rows(
    left: np.ndarray,
    right: np.ndarray,
    window: int,
    squared: bool,
    rows: np.ndarray,
    best: np.ndarray,
    offsets: np.ndarray,
    margins: np.ndarray,
    best_right: np.ndarray,
) -> None:
    """Write for these rows, which follow each other, what each pixel of both pictures is most alike to.

    Results, H W: `best` the disparity of least cost, the smallest of equal ones, and `offsets` what the vertex of the
    parabola through its cost and its neighbours' adds to it; `margins` how much more the cheapest disparity costs that
    is not beside it, as a share of the least cost; `best_right` the disparity of least cost of the right picture.
    """
    W = best.shape[1]
    N = left.shape[2]
    D = right.shape[2] - N + 1
    sums = np.zeros((N, D), left.dtype)
    costs = np.empty(D, left.dtype)
    # of the right picture, mirrored
    least_right, where_right = np.empty(W, left.dtype), np.empty(W, np.int32)
    first = rows[0]
    for row in range(first, first + window - 1):
        _add_row(left, right, row, squared, 1, sums)
    for y in rows:
        _add_row(left, right, y + window - 1, squared, 1, sums)
        costs[:] = 0
        for X in range(window - 1):
            _add(sums[X], costs)
        for x in range(W):
            _add(sums[x + window - 1], costs)
            K = min(D, x + 1)  # candidates in the picture
            candidates = costs[:K]
            k = _cheapest(candidates)
            best[y, x] = k
            offsets[y, x] = _vertex(candidates, k)
            if len(margins) > 0:
                margins[y, x] = _margin(candidates, k)
            if len(best_right) > 0:
                met = slice(W - 1 - x, W - 1 - x + K)  # pixels x, x - 1, x - 2 ...
                _keep_cheaper(candidates, least_right[met], where_right[met])
            _subtract(sums[x], costs)
        if len(best_right) > 0:
            best_right[y] = where_right[::-1]
        _add_row(left, right, y, squared, -1, sums)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _add_row(left: np.ndarray, right: np.ndarray, row: int, squared: bool, sign: int, sums: np.ndarray) -> None:
    """Add the costs of the pixels of one row to the sums of their columns, or take them away."""
    C, _, N = left.shape
    D = sums.shape[1]
    for c in range(C):
        owns, mirrored = left[c, row], right[c, row]
        for X in range(N):
            own, column = owns[X], sums[X]
            others = mirrored[N - 1 - X : N - 1 - X + D]
            if squared:
                for d in range(D):
                    column[d] += sign * ((own - others[d]) * (own - others[d]))
            else:
                for d in range(D):  # not abs(): it would widen whole numbers to 64 bits
                    column[d] += sign * (max(own, others[d]) - min(own, others[d]))


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _add(column: np.ndarray, costs: np.ndarray) -> None:
    for d in range(len(costs)):
        costs[d] += column[d]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _subtract(column: np.ndarray, costs: np.ndarray) -> None:
    for d in range(len(costs)):
        costs[d] -= column[d]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _least(costs: np.ndarray):
    least = costs[0]
    for d in range(len(costs)):
        least = min(least, costs[d])
    return least


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _cheapest(costs: np.ndarray) -> int:
    """Return the first of the least costs; finding the value first lets the processor compare many at once."""
    least = _least(costs)
    k = 0
    while costs[k] != least:
        k += 1
    return k


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _vertex(costs: np.ndarray, k: int) -> float:
    """Return how far from k the parabola through three costs is least, within half a pixel; 0 at the ends."""
    if k == 0 or k == len(costs) - 1:
        return 0.0
    before, after = costs[k - 1], costs[k + 1]
    return (before - after) / (2 * (before - 2 * costs[k] + after))  # before > costs[k], so it is not flat


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _margin(costs: np.ndarray, k: int) -> float:
    """Return what the cheapest cost beyond the neighbours of k has more than it, as a share of it; 0 of 0 is 0."""
    more = np.inf
    if k >= 2:
        more = _least(costs[: k - 1]) - costs[k]
    if k + 2 < len(costs):
        more = min(more, _least(costs[k + 2 :]) - costs[k])
    if more <= 0:
        return 0.0
    return more / costs[k] if costs[k] > 0 else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _keep_cheaper(costs: np.ndarray, least: np.ndarray, where: np.ndarray) -> None:
    """Note which disparities 0, 1, 2 ... are the cheapest so far for pixels of the right picture, one each."""
    least[0], where[0] = costs[0], 0  # the first is met for the first time
    for d in range(1, len(costs)):
        cheaper = costs[d] < least[d]
        least[d] = costs[d] if cheaper else least[d]
        where[d] = np.int32(d) if cheaper else where[d]
