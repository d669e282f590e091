"""The compiled pass that integrates an image of bytes: the recursive form, row by row."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
@no_type_check
def integrate(image: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> None:
    """Fill the integral images of the pixels and of their squares.

    image H W (uint8); sums and squares H+1 W+1 (int32, which may wrap around; int64), whose first row and column are
    zero. The sum along the row so far stands for II(i, j-1) - II(i-1, j-1) of the recursion.
    """
    H, W = image.shape
    for i in range(H):
        row, row_of_squares = np.int64(0), np.int64(0)
        for j in range(W):
            value = np.int64(image[i, j])
            row += value
            row_of_squares += value * value
            sums[i + 1, j + 1] = sums[i, j + 1] + row
            squares[i + 1, j + 1] = squares[i, j + 1] + row_of_squares
