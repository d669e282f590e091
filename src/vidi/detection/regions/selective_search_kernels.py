"""Compiled loops of selective search: bins of gradients, histograms of regions, and their merging."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def bin_gradients(
    across: np.ndarray, down: np.ndarray, cosines: np.ndarray, sines: np.ndarray, bins: int
) -> np.ndarray:
    """Return the bins H W C*A of the gradients H W C along A directions, those of a channel side by side.

    The bins of a channel and direction share the range from 0 to the greatest value.
    """
    H, W, C = across.shape
    A = cosines.size
    greatest = np.zeros((C, A))
    for i in range(H):
        for j in range(W):
            for c in range(C):
                for a in range(A):
                    value = cosines[a] * across[i, j, c] + sines[a] * down[i, j, c]
                    greatest[c, a] = max(greatest[c, a], value)
    factors = np.zeros((C, A))
    for c in range(C):
        for a in range(A):
            if greatest[c, a] > 0:
                factors[c, a] = bins / greatest[c, a]
    found = np.empty((H, W, C * A), np.uint8)
    for i in range(H):
        for j in range(W):
            for c in range(C):
                for a in range(A):
                    value = cosines[a] * across[i, j, c] + sines[a] * down[i, j, c]
                    found[i, j, c * A + a] = min(max(value, 0.0) * factors[c, a], bins - 1.0)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def describe(
    labels: np.ndarray, bins: np.ndarray, count: int, starts: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (xyxy), sizes and histograms R D (counts) of the regions of labels H W.

    bins H W F; the bins of feature f begin at `starts[f]` of the histogram's `length`.
    """
    H, W, F = bins.shape
    boxes = np.empty((count, 4), np.int64)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = W, H, 0, 0
    sizes = np.zeros(count, np.int64)
    histograms = np.zeros((count, length), np.int64)
    for i in range(H):
        for j in range(W):
            region = labels[i, j]
            sizes[region] += 1
            boxes[region, 0] = min(boxes[region, 0], j)
            boxes[region, 1] = min(boxes[region, 1], i)
            boxes[region, 2] = max(boxes[region, 2], j + 1)
            boxes[region, 3] = max(boxes[region, 3], i + 1)
            for f in range(F):
                histograms[region, starts[f] + bins[i, j, f]] += 1
    return boxes, sizes, histograms


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def touching(labels: np.ndarray, count: int) -> np.ndarray:
    """Return first * count + second for each two pixels of different regions with a common side or corner."""
    H, W = labels.shape
    codes = np.empty(4 * H * W, np.int64)
    found = 0
    for i in range(H):
        for j in range(W):
            for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
                y, x = i + down, j + right
                if y < H and 0 <= x < W and labels[y, x] != labels[i, j]:
                    first, second = min(labels[i, j], labels[y, x]), max(labels[i, j], labels[y, x])
                    codes[found] = first * count + second
                    found += 1
    return codes[:found]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def group(
    boxes: np.ndarray,
    sizes: np.ndarray,
    colours: np.ndarray,
    textures: np.ndarray,
    firsts: np.ndarray,
    seconds: np.ndarray,
    weights: np.ndarray,
    children: np.ndarray,
    similarities: np.ndarray,
) -> int:
    """Merge R regions; fill in boxes and sizes of the R - 1 new ones, and children and similarities of the merges.

    Returns the number of merges: R - 1 unless no pair is left before.

    boxes 2R-1 4 and sizes 2R-1, whose first R rows are given; children R-1 2, similarities R-1 4. Pairs (firsts,
    seconds) and histograms are overwritten: a new region takes the row of its first child. A merge turns the pairs of
    two regions into those of one, so the list of pairs only shrinks; looking through all of it costs less than a queue.
    """
    R, left = len(colours), firsts.size
    area = sizes[:R].sum()
    rows = np.arange(2 * R - 1)
    met = np.zeros(2 * R - 1, np.int64)  # the latest merged region that has a region among its neighbours
    sums, terms = np.empty(left, np.float64), np.empty(4, np.float64)
    for k in range(left):
        _compare(boxes, sizes, colours, textures, rows, firsts[k], seconds[k], area, terms)
        sums[k] = _weigh(weights, terms)
    for merge in range(R - 1):
        if left == 0:
            return merge
        best = _best(sums, firsts, seconds, left)
        a, b, new = firsts[best], seconds[best], R + merge
        children[merge, 0], children[merge, 1] = a, b
        _compare(boxes, sizes, colours, textures, rows, a, b, area, similarities[merge])
        _merge(boxes, sizes, colours, textures, rows, a, b, new)
        kept = 0
        for k in range(left):
            first, second, total = firsts[k], seconds[k], sums[k]
            if first in (a, b) or second in (a, b):
                neighbour = second if first in (a, b) else first
                if neighbour == b or met[neighbour] == new:  # the pair itself, or a neighbour of both
                    continue
                met[neighbour] = new
                first, second = neighbour, new
                _compare(boxes, sizes, colours, textures, rows, first, second, area, terms)
                total = _weigh(weights, terms)
            firsts[kept], seconds[kept], sums[kept] = first, second, total
            kept += 1
        left = kept
    return R - 1


@njit(cache=True, nogil=True)
@no_type_check
def _best(sums: np.ndarray, firsts: np.ndarray, seconds: np.ndarray, count: int) -> int:
    """Return the place of the greatest of the first `count` sums; of equals that of the lowest regions."""
    best = 0
    for k in range(1, count):
        if sums[k] < sums[best]:
            continue
        if sums[k] > sums[best] or (firsts[k], seconds[k]) < (firsts[best], seconds[best]):
            best = k
    return best


@njit(cache=True, nogil=True)
@no_type_check
def _weigh(weights: np.ndarray, terms: np.ndarray) -> float:
    total = 0.0
    for term in range(terms.size):
        total += weights[term] * terms[term]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _compare(
    boxes: np.ndarray,
    sizes: np.ndarray,
    colours: np.ndarray,
    textures: np.ndarray,
    rows: np.ndarray,
    a: int,
    b: int,
    area: int,
    terms: np.ndarray,
) -> None:
    """Write the similarities of two regions by colour, texture, size and fill."""
    p, q = rows[a], rows[b]
    colour, texture = 0.0, 0.0
    for d in range(colours.shape[1]):
        colour += min(colours[p, d], colours[q, d])
    for d in range(textures.shape[1]):
        texture += min(textures[p, d], textures[q, d])
    width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
    height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
    both = sizes[a] + sizes[b]
    terms[0], terms[1] = colour, texture
    terms[2], terms[3] = 1.0 - both / area, 1.0 - (width * height - both) / area


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _merge(
    boxes: np.ndarray,
    sizes: np.ndarray,
    colours: np.ndarray,
    textures: np.ndarray,
    rows: np.ndarray,
    a: int,
    b: int,
    new: int,
) -> None:
    """Fill in the region that two regions become; its histograms are the means of theirs, weighted by size."""
    p, q = rows[a], rows[b]
    both = sizes[a] + sizes[b]
    for histograms in (colours, textures):
        for d in range(histograms.shape[1]):
            histograms[p, d] = (sizes[a] * histograms[p, d] + sizes[b] * histograms[q, d]) / both
    rows[new], sizes[new] = p, both
    boxes[new, 0], boxes[new, 1] = min(boxes[a, 0], boxes[b, 0]), min(boxes[a, 1], boxes[b, 1])
    boxes[new, 2], boxes[new, 3] = max(boxes[a, 2], boxes[b, 2]), max(boxes[a, 3], boxes[b, 3])
