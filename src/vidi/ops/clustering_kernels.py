"""The compiled pass of k-means over box sizes: one reading of the boxes, no N x k matrix."""

from typing import no_type_check

import numpy as np
from numba import njit

_BLOCK = 512  # boxes that stay in the nearest cache while they are compared with one centroid after the other


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def assign(sizes: np.ndarray, centroids: np.ndarray, nearest: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Write each size's centroid of highest IoU (the first of equals) and that IoU; return the clusters' sums.

    sizes 2 N (widths, heights), centroids k 2, nearest N (int32) and iou N are overwritten; the result is k 3: sum of
    widths, sum of heights, count. Boxes share their centre, so the intersection is min(w, w') * min(h, h').
    """
    sums = np.zeros((len(centroids), 3))
    for start in range(0, sizes.shape[1], _BLOCK):
        widths, heights = sizes[0, start : start + _BLOCK], sizes[1, start : start + _BLOCK]
        labels, best = nearest[start : start + _BLOCK], iou[start : start + _BLOCK]
        labels[:] = 0
        best[:] = -1
        for j in range(len(centroids)):
            w, h = centroids[j]
            for i in range(len(widths)):
                overlap = min(widths[i], w) * min(heights[i], h)
                ratio = overlap / (widths[i] * heights[i] + w * h - overlap)
                closer = ratio > best[i]
                labels[i] = j if closer else labels[i]
                best[i] = ratio if closer else best[i]
        for i in range(len(widths)):
            sums[labels[i], 0] += widths[i]
            sums[labels[i], 1] += heights[i]
            sums[labels[i], 2] += 1
    return sums
