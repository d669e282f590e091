"""Compiled loops of the pooling of regions, on maps whose channels lie last: every cell is one contiguous row.

A region's bins and sampling points form a grid, so that the weights of a bin are the product of weights along y and
along x. Along each axis the two taps of every sampling point are merged where they fall on one cell: with two points
an axis a bin reads at most 9 to 12 cells of the 16 that four separate interpolations would.

Arrays: cells B*H*W*C (flat), images R, starts and steps R 2 (y, x; of the first bin and from bin to bin, in cells),
points R 2 (sampling points of a bin along y and x), pooled and gradients R h w C.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def align(
    cells: np.ndarray,
    shape: tuple[int, int, int],
    rows: np.ndarray,
    images: np.ndarray,
    starts: np.ndarray,
    steps: np.ndarray,
    points: np.ndarray,
    pooled: np.ndarray,
) -> None:
    """Write the mean over each bin's sampling points of these rows; `shape` is H, W, C of the map."""
    H, W, C = shape
    h, w = pooled.shape[1], pooled.shape[2]
    most = 2 * max(points[rows, 0].max(), points[rows, 1].max())
    index_y, weight_y, count_y = np.empty((h, most), np.int64), np.empty((h, most)), np.empty(h, np.int64)
    index_x, weight_x, count_x = np.empty((w, most), np.int64), np.empty((w, most)), np.empty(w, np.int64)
    offsets, weights = np.empty(most * most + 3, np.int64), np.empty(most * most + 3, pooled.dtype)
    for r in rows:
        _taps(starts[r, 0], steps[r, 0], points[r, 0], H, index_y, weight_y, count_y)
        _taps(starts[r, 1], steps[r, 1], points[r, 1], W, index_x, weight_x, count_x)
        first = images[r] * H * W
        for i in range(h):
            for j in range(w):
                count = 0
                for y in range(count_y[i]):
                    for x in range(count_x[j]):
                        offsets[count] = (first + index_y[i, y] * W + index_x[j, x]) * C
                        weights[count] = weight_y[i, y] * weight_x[j, x]
                        count += 1
                for t in range(count, count + 3):  # up to a multiple of 4
                    offsets[t], weights[t] = first * C, 0
                out = pooled[r, i, j]
                out[:] = 0
                for t in range(0, count, 4):
                    o0, o1, o2, o3 = offsets[t], offsets[t + 1], offsets[t + 2], offsets[t + 3]
                    w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
                    for c in range(C):
                        out[c] += w0 * cells[o0 + c] + w1 * cells[o1 + c] + w2 * cells[o2 + c] + w3 * cells[o3 + c]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def align_backward(
    gradients: np.ndarray,
    shape: tuple[int, int, int],
    rows: np.ndarray,
    images: np.ndarray,
    starts: np.ndarray,
    steps: np.ndarray,
    points: np.ndarray,
    channels: tuple[int, int],
    cells: np.ndarray,
) -> None:
    """Add to the gradient of the map what these rows of the pooled gradient mean for channels first..last-1."""
    H, W, C = shape
    h, w = gradients.shape[1], gradients.shape[2]
    low, high = channels
    most = 2 * max(points[rows, 0].max(), points[rows, 1].max())
    index_y, weight_y, count_y = np.empty((h, most), np.int64), np.empty((h, most)), np.empty(h, np.int64)
    index_x, weight_x, count_x = np.empty((w, most), np.int64), np.empty((w, most)), np.empty(w, np.int64)
    line = np.zeros((W, high - low), cells.dtype)  # what one row of bins gives to each column of the map
    touched, seen = np.empty(W, np.int64), np.zeros(W, np.bool_)
    for r in rows:
        _taps(starts[r, 0], steps[r, 0], points[r, 0], H, index_y, weight_y, count_y)
        _taps(starts[r, 1], steps[r, 1], points[r, 1], W, index_x, weight_x, count_x)
        columns = 0
        for j in range(w):
            for x in range(count_x[j]):
                if not seen[index_x[j, x]]:
                    seen[index_x[j, x]] = True
                    touched[columns] = index_x[j, x]
                    columns += 1
        for i in range(h):
            for j in range(w):
                gradient = gradients[r, i, j, low:high]
                for x in range(count_x[j]):
                    _add(line[index_x[j, x]], weight_x[j, x], gradient)
            for y in range(count_y[i]):
                for k in range(columns):
                    offset = ((images[r] * H + index_y[i, y]) * W + touched[k]) * C
                    _add(cells[offset + low : offset + high], weight_y[i, y], line[touched[k]])
            for k in range(columns):
                line[touched[k]] = 0
        for k in range(columns):
            seen[touched[k]] = False


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _add(target: np.ndarray, weight: float, row: np.ndarray) -> None:
    factor = row.dtype.type(weight)
    for c in range(target.size):
        target[c] += factor * row[c]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _taps(
    start: float, step: float, points: int, side: int, index: np.ndarray, weight: np.ndarray, count: np.ndarray
) -> None:
    """Find, for each bin along one axis, the cells that its sampling points interpolate, and their weights.

    Points more than one cell outside the map weigh nothing, nearer ones take its border (torchvision's rule); so does
    a position that is not a number.
    """
    for i in range(count.size):
        n = 0
        for p in range(points):
            position = start + i * step + (p + 0.5) * step / points
            if not (position >= -1.0 and position <= side):
                continue
            position = max(position, 0.0)
            low = min(math.floor(position), side - 1)
            share = position - low if low < side - 1 else 0.0
            n = _merge(index[i], weight[i], n, low, (1 - share) / points)
            if share > 0:
                n = _merge(index[i], weight[i], n, low + 1, share / points)
        count[i] = n


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _merge(index: np.ndarray, weight: np.ndarray, count: int, cell: int, share: float) -> int:
    """Give a cell its share; positions rise, so that it is one of the last two cells or a new one."""
    for k in range(max(count - 2, 0), count):
        if index[k] == cell:
            weight[k] += share
            return count
    index[count], weight[count] = cell, share
    return count + 1


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def pool(
    cells: np.ndarray,
    rows: np.ndarray,
    images: np.ndarray,
    tops: np.ndarray,
    bottoms: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    pooled: np.ndarray,
    best: np.ndarray,
) -> None:
    """Write the largest value of each bin of these rows, and its cell; bins without cells are 0, their cell -1.

    Cells are B H W C; bin (i, j) covers rows tops[r, i] to bottoms[r, i] - 1, columns lefts[r, j] to rights[r, j] - 1.
    """
    W, C = cells.shape[2], cells.shape[3]
    h, w = pooled.shape[1], pooled.shape[2]
    for r in rows:
        for i in range(h):
            for j in range(w):
                out, where = pooled[r, i, j], best[r, i, j]
                empty = tops[r, i] >= bottoms[r, i] or lefts[r, j] >= rights[r, j]
                out[:] = 0 if empty else -np.inf
                where[:] = -1
                for y in range(tops[r, i], bottoms[r, i]):
                    for x in range(lefts[r, j], rights[r, j]):
                        cell = cells[images[r], y, x]
                        for c in range(C):
                            larger = cell[c] > out[c]
                            out[c] = cell[c] if larger else out[c]
                            where[c] = y * W + x if larger else where[c]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def pool_backward(
    gradients: np.ndarray, images: np.ndarray, best: np.ndarray, channels: tuple[int, int], cells: np.ndarray
) -> None:
    """Add each bin's gradient to the cell that it took, for channels first..last-1; cells are B H*W C."""
    R, h, w, _ = gradients.shape
    for r in range(R):
        for i in range(h):
            for j in range(w):
                for c in range(channels[0], channels[1]):
                    if best[r, i, j, c] >= 0:
                        cells[images[r], best[r, i, j, c], c] += gradients[r, i, j, c]
