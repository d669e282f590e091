"""Loops over the pixels of label maps, uint8 H W; 255 is void (`vidi.ops.label_maps`)."""

from typing import no_type_check

import numpy as np
from numba import njit

from vidi.ops.label_maps import VOID


@njit(cache=True, nogil=True)
@no_type_check
def count_pairs(truth: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> int:
    """Add the pixels of flat maps to `counts` K K+1 by (true, predicted class); those of void truth are left out.

    A pixel that is void in the prediction alone is counted in the last column. Returns the first label that is no
    class, or -1.
    """
    K = counts.shape[0]
    for pixel in range(truth.size):
        t, p = truth[pixel], predicted[pixel]
        if t == VOID:
            continue
        if t >= K or (p >= K and p != VOID):
            return t if t >= K else p
        counts[t, K if p == VOID else p] += 1
    return -1


@njit(cache=True, nogil=True)
@no_type_check
def count_near_boundaries(
    labels: np.ndarray, others: np.ndarray, truth: np.ndarray, radius: float, counts: np.ndarray
) -> None:
    """Add to `counts` K 2, by class, the boundary pixels of `labels`, and those with one of `others` within the radius.

    Pixels whose truth is void are left out.
    """
    H, W = labels.shape
    marks = np.full((H, W), VOID, np.uint8)  # the class of boundary pixels of the other map
    for y in range(H):
        for x in range(W):
            if truth[y, x] != VOID and _is_boundary(others, y, x):
                marks[y, x] = others[y, x]
    for y in range(H):
        for x in range(W):
            if truth[y, x] != VOID and _is_boundary(labels, y, x):
                own = labels[y, x]
                counts[own, 0] += 1
                counts[own, 1] += _is_near(marks, y, x, own, radius)


@njit(cache=True, nogil=True)
@no_type_check
def _is_boundary(labels: np.ndarray, y: int, x: int) -> bool:
    """Whether a pixel has a neighbour, of four, of another class; void is none."""
    H, W = labels.shape
    own = labels[y, x]
    if own == VOID:
        return False
    for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        if 0 <= v < H and 0 <= u < W and labels[v, u] != own and labels[v, u] != VOID:
            return True
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _is_near(marks: np.ndarray, y: int, x: int, own: int, radius: float) -> bool:
    """Whether a class has a mark whose centre is within the radius of a pixel's."""
    H, W = marks.shape
    reach = int(radius)
    for v in range(max(0, y - reach), min(H, y + reach + 1)):
        for u in range(max(0, x - reach), min(W, x + reach + 1)):
            if marks[v, u] == own and (v - y) ** 2 + (u - x) ** 2 <= radius**2:
                return True
    return False
