"""Compiled loops of non-maximum suppression: a scan for few boxes, a hash grid for many.

Both visit boxes by descending score and keep a box unless a kept box of its group overlaps it by more than the
threshold. Their arithmetic is torchvision's, operation by operation in the precision of the boxes, so the decisions
are the same to the last bit. A box without a positive, finite area overlaps nothing: it is kept and suppresses none.

Arrays: boxes N 4 (xyxy), order (indices into boxes by descending score, maybe not all), groups N (int64).
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

# Odd multipliers that spread the parts of a key over 64 bits (integers wrap).
_MIX_GROUP, _MIX_WIDTH, _MIX_HEIGHT = 0x2545F4914F6CDD1D, 0x1B03738712FAD5C9, 0x3C79AC492BA7B653
_MIX_X, _MIX_Y, _MIX_ALL = 0x5851F42D4C957F2D, 0x14057B7EF767814F, 0x1D8E4E27C47D124F

_CELLS_PER_REACH = 2.0  # side of a cell over the typical reach of a box: few cells to visit against few boxes in each


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scan(boxes: np.ndarray, order: np.ndarray, groups: np.ndarray, threshold: float) -> np.ndarray:
    """Return the kept part of `order`, comparing each box with all kept ones: O(N kept)."""
    keep = np.empty(order.size, np.int64)
    rivals = np.empty((order.size, 5), boxes.dtype)  # corners and area of the kept boxes that have one
    rival_groups = np.empty(order.size, np.int64)
    kept, count = 0, 0
    for index in order:
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1) * (y2 - y1)
        if x2 > x1 and y2 > y1 and 0 < area < np.inf:
            group = groups[index]
            suppressed = False
            for k in range(count):
                if rival_groups[k] == group and _overlaps(rivals, k, x1, y1, x2, y2, area, threshold):
                    suppressed = True
                    break
            if suppressed:
                continue
            rivals[count, 0], rivals[count, 1], rivals[count, 2], rivals[count, 3] = x1, y1, x2, y2
            rivals[count, 4], rival_groups[count] = area, group
            count += 1
        keep[kept] = index
        kept += 1
    return keep[:kept]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scan_grid(boxes: np.ndarray, order: np.ndarray, groups: np.ndarray, threshold: float) -> np.ndarray:
    """Return what `scan` returns in O(N); the threshold must be positive.

    Two boxes can have an IoU above t only if their widths (and their heights) are within a factor t and their centres
    nearer than (w1 + w2) (1 - t) / (2 (1 + t)). So kept boxes lie in a hash of (group, width, height, position):
    sides fall into levels of ratio 1 / t^2, of which a box must look into two an axis, and the cells of a level are
    about as large as the reach of its boxes, of which it must look into one to three an axis.
    """
    # A bound a little below the threshold covers the rounding of the IoU; above 0.95 the levels would be too thin.
    t = min(threshold * (1 - 1e-5), 0.95)
    bits = max(4, math.ceil(math.log2(2 * order.size + 1)))
    heads = np.full(1 << bits, -1, np.int32)  # slot -> its latest rival
    following = np.empty(order.size, np.int32)  # rival -> the rival before it in its slot
    keep = np.empty(order.size, np.int64)
    rivals = np.empty((order.size, 5), boxes.dtype)
    rival_groups = np.empty(order.size, np.int64)
    levels = np.empty((2, 2), np.int64)  # axis, nearest or second level
    cells = np.empty((2, 2, 3), np.int64)  # axis, level, first, last and own cell
    kept, count = 0, 0
    for index in order:
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1) * (y2 - y1)
        if x2 > x1 and y2 > y1 and 0 < area < np.inf:
            group = groups[index]
            _locate(x1, x2, t, levels[0], cells[0])
            _locate(y1, y2, t, levels[1], cells[1])
            suppressed = False
            for pair in range(4):
                i, j = pair & 1, pair >> 1
                key = group * _MIX_GROUP + levels[0, i] * _MIX_WIDTH + levels[1, j] * _MIX_HEIGHT
                for y in range(cells[1, j, 0], cells[1, j, 1] + 1):
                    for x in range(cells[0, i, 0], cells[0, i, 1] + 1):
                        k = heads[_slot(key, x, y, bits)]
                        while k >= 0 and not suppressed:
                            if _overlaps(rivals, k, x1, y1, x2, y2, area, threshold) and rival_groups[k] == group:
                                suppressed = True
                            k = following[k]
                    if suppressed:
                        break
                if suppressed:
                    break
            if suppressed:
                continue
            key = group * _MIX_GROUP + levels[0, 0] * _MIX_WIDTH + levels[1, 0] * _MIX_HEIGHT
            slot = _slot(key, cells[0, 0, 2], cells[1, 0, 2], bits)
            following[count], heads[slot] = heads[slot], count
            rivals[count, 0], rivals[count, 1], rivals[count, 2], rivals[count, 3] = x1, y1, x2, y2
            rivals[count, 4], rival_groups[count] = area, group
            count += 1
        keep[kept] = index
        kept += 1
    return keep[:kept]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _overlaps(
    rivals: np.ndarray, k: int, x1: float, y1: float, x2: float, y2: float, area: float, threshold: float
) -> bool:
    """Say whether the IoU with rival k is above the threshold; the order of operations is torchvision's."""
    width = min(x2, rivals[k, 2]) - max(x1, rivals[k, 0])
    height = min(y2, rivals[k, 3]) - max(y1, rivals[k, 1])
    if width <= 0 or height <= 0:
        return False
    overlap = width * height
    return overlap / (rivals[k, 4] + area - overlap) > threshold


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _locate(low: float, high: float, t: float, levels: np.ndarray, cells: np.ndarray) -> None:
    """Find, along one axis, the two levels that may hold a rival of the box [low, high] and the cells within them."""
    side, centre = np.float64(high) - np.float64(low), 0.5 * np.float64(low) + 0.5 * np.float64(high)
    spread = (1 - t) / (2 * (1 + t))
    step = -2 * math.log(t)  # logarithm of the ratio of two levels
    position = math.log(side) / step
    levels[0] = math.floor(position)
    levels[1] = levels[0] + (1 if position - levels[0] >= 0.5 else -1)
    for i in range(2):
        smallest = math.exp(levels[i] * step)  # the least side of the level
        cell = _CELLS_PER_REACH * 2 * smallest / t * spread
        largest = min(smallest / (t * t), side / t)
        reach = (side + largest) * spread * (1 + 1e-9) + abs(centre) * 1e-15
        cells[i, 0] = math.floor((centre - reach) / cell)
        cells[i, 1] = math.floor((centre + reach) / cell)
        cells[i, 2] = math.floor(centre / cell)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _slot(key: int, x: int, y: int, bits: int) -> int:
    return (((key + x * _MIX_X + y * _MIX_Y) * _MIX_ALL) >> (60 - bits)) & ((1 << bits) - 1)
