"""The compiled walk of a table's samples through trees."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def descend(
    table: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    roots: np.ndarray,
    leaves: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add to `total` (N K) the distributions of the leaves that samples fall into, tree by tree."""
    for root in roots:
        for n in range(len(table)):
            node = root
            while feature[node] >= 0:
                node = left[node] + (1 if table[n, feature[node]] > threshold[node] else 0)
            for k in range(total.shape[1]):
                total[n, k] += leaves[left[node], k]
