"""Compiled loops of the graph-based segmentation: the edges of the pixel grid, and their cut by a forest of regions."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def connect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, of the image H W C, each edge's colour distance and its two pixels, numbered row by row.

    Edges go to the right, down, down right and up right, one direction after the other.
    """
    H, W, C = image.shape
    count = H * (W - 1) + (H - 1) * W + 2 * (H - 1) * (W - 1)
    costs = np.empty(count, np.float64)
    pixels, neighbours = np.empty(count, np.int32), np.empty(count, np.int32)
    edge = 0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for i in range(H - down):
            for j in range(max(0, -right), W - max(0, right)):
                total = 0.0
                for c in range(C):
                    difference = image[i, j, c] - image[i + down, j + right, c]
                    total += difference * difference
                costs[edge] = np.sqrt(total)
                pixels[edge] = i * W + j
                neighbours[edge] = (i + down) * W + j + right
                edge += 1
    return costs, pixels, neighbours


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def cut(
    costs: np.ndarray, pixels: np.ndarray, neighbours: np.ndarray, count: int, scale: float, min_size: int
) -> np.ndarray:
    """Return the label of each of `count` pixels, 0 to R-1 in the order in which regions are first met.

    The edges come by rising cost. Of a refused edge only the place is kept, for the regions that are too small.
    """
    parents = np.arange(count).astype(np.int32)
    sizes = np.ones(count, np.int32)
    bounds = np.full(count, scale, np.float32)  # inner + scale / size, in single precision as in scikit-image
    refused = np.empty(costs.size, np.int32)
    refusals = 0
    for edge in range(costs.size):
        root, other = _root(parents, pixels[edge]), _root(parents, neighbours[edge])
        if root == other:
            continue
        if costs[edge] < min(bounds[root], bounds[other]):
            root = _join(parents, sizes, root, other)
            bounds[root] = costs[edge] + scale / sizes[root]
        else:
            refused[refusals] = edge
            refusals += 1
    for k in range(refusals):
        root, other = _root(parents, pixels[refused[k]]), _root(parents, neighbours[refused[k]])
        if root != other and (sizes[root] < min_size or sizes[other] < min_size):
            _join(parents, sizes, root, other)
    numbers = np.full(count, -1, np.int64)
    labels = np.empty(count, np.int64)
    regions = 0
    for pixel in range(count):
        root = _root(parents, pixel)
        if numbers[root] < 0:
            numbers[root] = regions
            regions += 1
        labels[pixel] = numbers[root]
    return labels


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _root(parents: np.ndarray, pixel: int) -> int:
    """Return the pixel that stands for a region, and halve the way to it."""
    while parents[pixel] != pixel:
        parents[pixel] = parents[parents[pixel]]
        pixel = parents[pixel]
    return pixel


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _join(parents: np.ndarray, sizes: np.ndarray, root: int, other: int) -> int:
    """Hang the root of the smaller region below that of the larger and return the latter."""
    if sizes[root] < sizes[other]:
        root, other = other, root
    parents[other] = root
    sizes[root] += sizes[other]
    return root
