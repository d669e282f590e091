"""Compiled loops of the warp along rows: maps B C H W, columns B H W (x in pixels, the first centre is 0.5).

A sample mixes the pixels left and right of it: a = floor(x - 0.5) and a + 1. Beyond the outermost centres it is held at
them ("edge"; no gradient with respect to x there), or pixels outside count as zero.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _place(x: float, W: int, edge: bool) -> tuple[int, float]:
    """Return the left pixel of a sample and the share of the right one; -2 for one that touches no pixel."""
    position = x - 0.5
    if edge:
        position = min(max(position, 0.0), W - 1.0)
    if not -1.0 < position < W:
        return -2, 0.0
    left = math.floor(position)
    return left, position - left


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def sample(maps: np.ndarray, columns: np.ndarray, edge: bool, rows: np.ndarray, sampled: np.ndarray) -> None:
    """Write the samples of these rows of B H."""
    C, H, W = maps.shape[1:]
    lefts, rights, shares = np.empty(W, np.int64), np.empty(W, np.int64), np.empty((2, W), maps.dtype)
    for r in rows:
        b, y = r // H, r % H
        _prepare(columns[b, y], edge, lefts, rights, shares)
        for c in range(C):
            row, out = maps[b, c, y], sampled[b, c, y]
            for x in range(W):
                out[x] = shares[0, x] * row[lefts[x]] + shares[1, x] * row[rights[x]]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _prepare(columns: np.ndarray, edge: bool, lefts: np.ndarray, rights: np.ndarray, shares: np.ndarray) -> None:
    """Find the two pixels of each sample and their shares, zero for one that is not there."""
    W = len(columns)
    for x in range(W):
        left, share = _place(columns[x], W, edge)
        lefts[x], rights[x] = max(left, 0), min(left + 1, W - 1)
        shares[0, x] = 1 - share if left >= 0 else 0
        shares[1, x] = share if -1 <= left < W - 1 else 0


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scatter(
    maps: np.ndarray,
    columns: np.ndarray,
    edge: bool,
    rows: np.ndarray,
    gradients: np.ndarray,
    to_maps: np.ndarray,
    to_columns: np.ndarray,
) -> None:
    """Add the gradients of the samples of these rows to those of the maps and of the columns."""
    C, H, W = maps.shape[1:]
    lefts, rights, shares = np.empty(W, np.int64), np.empty(W, np.int64), np.empty((2, W), maps.dtype)
    slopes = np.empty((2, W), maps.dtype)  # of the two shares, as the column rises
    for r in rows:
        b, y = r // H, r % H
        _prepare(columns[b, y], edge, lefts, rights, shares)
        for x in range(W):
            left, _ = _place(columns[b, y, x], W, edge)
            held = edge and not 0.5 < columns[b, y, x] < W - 0.5
            slopes[0, x] = -1 if left >= 0 and not held else 0
            slopes[1, x] = 1 if -1 <= left < W - 1 and not held else 0
        for c in range(C):
            row, incoming, out = maps[b, c, y], gradients[b, c, y], to_maps[b, c, y]
            for x in range(W):
                out[lefts[x]] += shares[0, x] * incoming[x]
                out[rights[x]] += shares[1, x] * incoming[x]
                to_columns[b, y, x] += incoming[x] * (slopes[0, x] * row[lefts[x]] + slopes[1, x] * row[rights[x]])
