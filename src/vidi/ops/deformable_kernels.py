"""Compiled loops of deformable attention: every value of a head is one contiguous row of d numbers.

Arrays: values B S h d, locations R h L P 2 (x, y; shares of a map's sides), weights R h L P, found and gradients R h d,
where R = B Q queries lie one after the other; sizes L 2 (H, W), starts L (the first value of a level).
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def gather(
    values: np.ndarray,
    sizes: np.ndarray,
    starts: np.ndarray,
    locations: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    found: np.ndarray,
) -> None:
    """Write what these queries find: the weighted sum of the interpolated values at their points."""
    queries = locations.shape[0] // values.shape[0]
    _, heads, levels, points = weights.shape
    d = values.shape[3]
    cells, shares = np.empty(4, np.int64), np.empty(4, values.dtype)
    for r in rows:
        image = values[r // queries]
        for h in range(heads):
            out = found[r, h]
            out[:] = 0
            for level in range(levels):
                for p in range(points):
                    place = locations[r, h, level, p]
                    if not _corners(place, sizes[level], starts[level], cells, shares):
                        continue
                    weight = weights[r, h, level, p]
                    a, b, c, e = weight * shares[0], weight * shares[1], weight * shares[2], weight * shares[3]
                    v0, v1, v2, v3 = image[cells[0], h], image[cells[1], h], image[cells[2], h], image[cells[3], h]
                    for k in range(d):
                        out[k] += a * v0[k] + b * v1[k] + c * v2[k] + e * v3[k]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scatter(
    values: np.ndarray,
    sizes: np.ndarray,
    starts: np.ndarray,
    locations: np.ndarray,
    weights: np.ndarray,
    gradients: np.ndarray,
    of_heads: np.ndarray,
    to_values: np.ndarray,
    to_locations: np.ndarray,
    to_weights: np.ndarray,
) -> None:
    """Write the gradients of these heads, numbered over the batch: b h, so that no two threads write to one number."""
    B, _, heads, d = values.shape
    queries = locations.shape[0] // B
    _, _, levels, points = weights.shape
    cells, shares = np.empty(4, np.int64), np.empty(4, values.dtype)
    for own in of_heads:
        b, h = own // heads, own % heads
        image, image_gradient = values[b], to_values[b]
        for r in range(b * queries, (b + 1) * queries):
            gradient = gradients[r, h]
            for level in range(levels):
                H, W = sizes[level]
                for p in range(points):
                    place = locations[r, h, level, p]
                    if not _corners(place, sizes[level], starts[level], cells, shares):
                        to_weights[r, h, level, p] = 0
                        to_locations[r, h, level, p, :] = 0
                        continue
                    weight = weights[r, h, level, p]
                    a, b_, c, e = weight * shares[0], weight * shares[1], weight * shares[2], weight * shares[3]
                    v0, v1, v2, v3 = image[cells[0], h], image[cells[1], h], image[cells[2], h], image[cells[3], h]
                    g0, g1 = image_gradient[cells[0], h], image_gradient[cells[1], h]
                    g2, g3 = image_gradient[cells[2], h], image_gradient[cells[3], h]
                    s0, s1, s2, s3 = _dots(gradient, v0, v1, v2, v3)
                    for k in range(d):
                        g0[k] += a * gradient[k]
                        g1[k] += b_ * gradient[k]
                        g2[k] += c * gradient[k]
                        g3[k] += e * gradient[k]
                    to_weights[r, h, level, p] = shares[0] * s0 + shares[1] * s1 + shares[2] * s2 + shares[3] * s3
                    x, y = place[0] * W - 0.5, place[1] * H - 0.5
                    right, down = x - math.floor(x), y - math.floor(y)
                    s0 = s0 if y >= 0 and x >= 0 else 0.0
                    s1 = s1 if y >= 0 and x < W - 1 else 0.0
                    s2 = s2 if y < H - 1 and x >= 0 else 0.0
                    s3 = s3 if y < H - 1 and x < W - 1 else 0.0
                    to_locations[r, h, level, p, 0] = weight * W * ((1 - down) * (s1 - s0) + down * (s3 - s2))
                    to_locations[r, h, level, p, 1] = weight * H * ((1 - right) * (s2 - s0) + right * (s3 - s1))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
@no_type_check
def _dots(g: np.ndarray, v0: np.ndarray, v1: np.ndarray, v2: np.ndarray, v3: np.ndarray) -> tuple:
    """Return the products of a row with four others; their sums may be taken in any order."""
    s0 = s1 = s2 = s3 = g.dtype.type(0)
    for k in range(g.size):
        s0 += g[k] * v0[k]
        s1 += g[k] * v1[k]
        s2 += g[k] * v2[k]
        s3 += g[k] * v3[k]
    return s0, s1, s2, s3


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
@no_type_check
def _corners(place: np.ndarray, size: np.ndarray, start: int, cells: np.ndarray, shares: np.ndarray) -> bool:
    """Find the four values around a point (top left, top right, bottom left, bottom right) and their shares of it.

    Values beyond the map are zero: they get no share, and the cell of one that is inside. False for a point that is
    a cell or more outside, and for one that is not a number.
    """
    H, W = size
    x, y = place[0] * W - 0.5, place[1] * H - 0.5
    if not (x > -1 and y > -1 and x < W and y < H):
        return False
    left, top = math.floor(x), math.floor(y)
    right, down = x - left, y - top
    x0, x1, y0, y1 = max(left, 0), min(left + 1, W - 1), max(top, 0), min(top + 1, H - 1)
    in_x0, in_x1, in_y0, in_y1 = left >= 0, left + 1 < W, top >= 0, top + 1 < H
    cells[0], cells[1] = start + y0 * W + x0, start + y0 * W + x1
    cells[2], cells[3] = start + y1 * W + x0, start + y1 * W + x1
    shares[0] = (1 - down) * (1 - right) if in_y0 and in_x0 else 0.0
    shares[1] = (1 - down) * right if in_y0 and in_x1 else 0.0
    shares[2] = down * (1 - right) if in_y1 and in_x0 else 0.0
    shares[3] = down * right if in_y1 and in_x1 else 0.0
    return True
