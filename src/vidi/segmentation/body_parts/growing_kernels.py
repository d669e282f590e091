"""The compiled growing of one tree, on a table of features or on features of depth pixels that are computed on the fly.

Where `table` (N F) has no columns, feature f of sample n is the depth comparison of pixel n by the offsets f. Either
way the values of one feature at the samples of one node are all that is kept.
"""

from typing import Any, no_type_check

import numpy as np
from numba import njit

from vidi.segmentation.body_parts import background

BACKGROUND = np.float32(background.BACKGROUND)
GINI, ENTROPY = 0, 1
# Called by kernels alone: without the wrappers for Python they are compiled in half the time.
INNER: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_LEAST_GAP = np.float32(1e-7)  # between values of a feature that a threshold may separate, as in scikit-learn


@njit(cache=True, **INNER)
@no_type_check
def _draw(state, bound):
    """Draw a whole number below `bound` and move the state on (SplitMix64, Steele et al. 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.int64(z % np.uint64(bound))


@njit(cache=True, **INNER)
@no_type_check
def depth_at(cells, start, height, width, y, x):
    """Return the depth of the pixel that the point (y, x) lies in, in a picture H W that begins at `start`."""
    if y < 0 or x < 0:
        return BACKGROUND
    i, j = int(y), int(x)
    return cells[start + i * width + j] if i < height and j < width else BACKGROUND


@njit(cache=True, **INNER)
@no_type_check
def compare_depths(cells, frame, y, x, scale, theta):
    """Return D[x + u / D[x]] - D[x + v / D[x]] of the pixel whose centre is (y, x).

    cells: depths of all pictures, flat. frame: start, H, W of this one. scale: focal length / D[x]. theta: u, v as
    (x, y) in metres.
    """
    start, height, width = frame
    first = depth_at(cells, start, height, width, y + theta[0, 1] * scale, x + theta[0, 0] * scale)
    return first - depth_at(cells, start, height, width, y + theta[1, 1] * scale, x + theta[1, 0] * scale)


@njit(cache=True, **INNER)
@no_type_check
def _fill(values, rows, f, source):
    """Write feature f of some samples."""
    if source.table.shape[1] > 0:
        for k in range(len(rows)):
            values[k] = source.table[rows[k], f]
        return
    cells, frames, pixels, scales, theta = source.cells, source.frames, source.pixels, source.scales, source.thetas[f]
    for k in range(len(rows)):
        n = rows[k]
        p = pixels[n, 0]
        frame = (frames[p, 0], frames[p, 1], frames[p, 2])
        values[k] = compare_depths(cells, frame, pixels[n, 1] + 0.5, pixels[n, 2] + 0.5, scales[n], theta)


@njit(cache=True, **INNER)
@no_type_check
def impurity(counts, total, criterion):
    """Return the entropy in bits, or the Gini index, of class counts."""
    result = 0.0
    if criterion == ENTROPY:
        for k in range(len(counts)):
            if counts[k] > 0:
                share = counts[k] / total
                result -= share * np.log2(share)
        return result
    for k in range(len(counts)):
        share = counts[k] / total
        result += share * share
    return 1.0 - result


@njit(cache=True, **INNER)
@no_type_check
def _below(low, high):
    """Return the largest float32 that is not above the middle of two values: by it they are told apart as by that."""
    middle = 0.5 * np.float64(low) + 0.5 * np.float64(high)
    rounded = np.float32(middle)
    return np.nextafter(rounded, np.float32(-np.inf)) if np.float64(rounded) > middle else rounded


@njit(cache=True, **INNER)
@no_type_check
def _search_all(values, labels, counts, criterion, least):
    """Return the threshold of least impurity between two values of a feature, and that impurity times the samples."""
    order = np.argsort(values)
    n = len(values)
    left, right = np.zeros(len(counts)), counts.copy()
    best, threshold = np.inf, np.float32(0)
    for k in range(1, n):
        label = labels[order[k - 1]]
        left[label] += 1
        right[label] -= 1
        low, high = values[order[k - 1]], values[order[k]]
        if high <= low + _LEAST_GAP or k < least or n - k < least:
            continue
        cost = k * impurity(left, k, criterion) + (n - k) * impurity(right, n - k, criterion)
        if cost < best:
            best, threshold = cost, _below(low, high)
    return threshold, best


@njit(cache=True, **INNER)
@no_type_check
def _search_some(values, labels, counts, criterion, least, thresholds, state):
    """The same among thresholds that are the values of a few samples, drawn."""
    n, classes = len(values), len(counts)
    tried = np.empty(thresholds, np.float32)
    for t in range(thresholds):  # sorted as they are drawn
        value, place = values[_draw(state, n)], t
        while place > 0 and tried[place - 1] > value:
            tried[place] = tried[place - 1]
            place -= 1
        tried[place] = value
    bins = np.zeros((thresholds + 1, classes))
    for k in range(n):
        low, high = 0, thresholds
        while low < high:  # how many tried ones are below the value
            middle = (low + high) // 2
            if tried[middle] < values[k]:
                low = middle + 1
            else:
                high = middle
        bins[low, labels[k]] += 1
    left, right = np.zeros(classes), counts.copy()
    best, threshold, below = np.inf, np.float32(0), 0.0
    for t in range(thresholds):
        for c in range(classes):
            left[c] += bins[t, c]
            right[c] -= bins[t, c]
            below += bins[t, c]
        if below < max(least, 1) or n - below < max(least, 1):
            continue
        cost = below * impurity(left, below, criterion) + (n - below) * impurity(right, n - below, criterion)
        if cost < best:
            best, threshold = cost, tried[t]
    return threshold, best


@njit(cache=True, **INNER)
@no_type_check
def _best_split(rows, labels, counts, source, features, plan, state, values, order):
    """Return feature (-1: none), threshold and impurity times samples of the best split of a node.

    Features are drawn without repetition: `tried` of them, and more until one has two values.
    """
    criterion, _, least, tried, thresholds, _ = plan
    own = labels[rows]
    best, feature, threshold = np.inf, -1, np.float32(0)
    for drawn in range(features):
        if drawn >= tried and feature >= 0:
            break
        place = drawn + _draw(state, features - drawn)
        f = order[place]
        order[place], order[drawn] = order[drawn], f
        _fill(values, rows, f, source)
        if thresholds > 0:
            split, cost = _search_some(values[: len(rows)], own, counts, criterion, least, thresholds, state)
        else:
            split, cost = _search_all(values[: len(rows)], own, counts, criterion, least)
        if cost < best:
            best, feature, threshold = cost, f, split
    return feature, threshold, best


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def grow(rows, labels, classes, source, features, plan, seed):
    """Grow one tree depth first: feature (-1 in leaves), threshold, left, counts N K, and importances F.

    rows: samples, repeated ones count as often. labels: of all samples. source: see `growing.Source`. plan: criterion,
    deepest, least samples of a leaf, features tried, thresholds tried (0: all), and samples of a node that a split is
    sought on. The right child stands behind the left one; rows are reordered.
    """
    criterion, deepest, least, _, _, sought = plan
    most = 2 * len(rows) + 1
    feature, threshold = np.full(most, -1, np.int32), np.zeros(most, np.float32)
    left, counts = np.zeros(most, np.int32), np.zeros((1024, classes))
    bounds, depth = np.zeros((most, 2), np.int64), np.zeros(most, np.int32)
    importances, order = np.zeros(features), np.arange(features)
    values, buffer = np.empty(len(rows), np.float32), np.empty_like(rows)
    state = np.zeros(1, np.uint64)
    bounds[0, 1] = len(rows)
    stack, waiting, nodes = np.zeros(most, np.int64), 1, 1
    while waiting > 0:
        waiting -= 1
        node = stack[waiting]
        first, last = bounds[node]
        if node >= len(counts):
            counts = np.concatenate((counts, np.zeros_like(counts)))  # left children come next: one step beyond at most
        for k in range(first, last):
            counts[node, labels[rows[k]]] += 1
        n = last - first
        own = impurity(counts[node], n, criterion)
        if depth[node] >= deepest or n < 2 * least or n < 2 or counts[node].max() == n:
            continue
        state[0] = np.uint64(seed) ^ (np.uint64(node) << np.uint64(32))
        sample, chosen = rows[first:last], counts[node]
        if n > sought:
            sample, chosen = np.empty(sought, rows.dtype), np.zeros(classes)
            for k in range(sought):  # one of each stretch, in order: near samples stay near in memory
                sample[k] = rows[first + (k * n + _draw(state, n)) // sought]
                chosen[labels[sample[k]]] += 1
        f, t, cost = _best_split(sample, labels, chosen, source, features, plan, state, values, order)
        if f < 0:
            continue
        part = rows[first:last]
        _fill(values, part, f, source)
        low, high = 0, 0
        for k in range(n):  # stable
            if values[k] <= t:
                part[low] = part[k]
                low += 1
            else:
                buffer[high] = part[k]
                high += 1
        part[low:] = buffer[:high]
        if low < max(least, 1) or high < max(least, 1):  # the samples that the split was sought on misled
            continue
        feature[node], threshold[node], left[node] = f, t, nodes
        importances[f] += n * own - cost * n / len(sample)
        for child in range(2):
            bounds[nodes + child, 0] = first if child == 0 else first + low
            bounds[nodes + child, 1] = first + low if child == 0 else last
            depth[nodes + child] = depth[node] + 1
            stack[waiting + 1 - child] = nodes + child
        waiting += 2
        nodes += 2
    return feature[:nodes].copy(), threshold[:nodes].copy(), left[:nodes].copy(), counts[:nodes].copy(), importances
