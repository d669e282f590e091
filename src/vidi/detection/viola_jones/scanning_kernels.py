"""The compiled loops of scanning: features of windows, a cascade over an image, resizing as OpenCV does it.

A feature is twelve look-ups in a flat integral image, relative to the window's corner, and three weights; a rectangle
of weight 0 is not looked up. Arithmetic is OpenCV's, operation by operation: sums of pixels are whole numbers, a value
is float32, the votes of a stage are added in float64.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def window_values(
    sums: np.ndarray, scale: np.ndarray, offsets: np.ndarray, weights: np.ndarray, values: np.ndarray
) -> None:
    """Write the value of every feature on every window.

    sums P*N (integral images of N windows, entry by entry), scale N, offsets F*12 and weights F*3 (flat), values F N.
    """
    N = len(scale)
    for f in range(len(values)):
        _evaluate(sums, 0, N, offsets[12 * f : 12 * f + 12], weights[3 * f : 3 * f + 3], values[f])
        values[f] *= scale


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _evaluate(
    sums: np.ndarray, line: int, pitch: int, offsets: np.ndarray, weights: np.ndarray, values: np.ndarray
) -> None:
    """Write one feature of neighbouring windows, not normalised; the first one's look-ups are line + pitch * offset.

    Neighbours read neighbouring numbers, which the compiler turns into vector instructions. Indices are unsigned, so
    that numba looks for no negative ones. The sum over a rectangle fits into 32 bits, which differences may leave.
    """
    values[:] = 0
    for k in range(3):
        weight = weights[k]
        if weight == 0:
            continue
        a, b = np.uintp(line + pitch * offsets[4 * k]), np.uintp(line + pitch * offsets[4 * k + 1])
        c, d = np.uintp(line + pitch * offsets[4 * k + 2]), np.uintp(line + pitch * offsets[4 * k + 3])
        for i in range(len(values)):
            n = np.uintp(i)
            values[n] += weight * np.float32(np.int32(sums[a + n] - sums[b + n] - sums[c + n] + sums[d + n]))


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scan(
    sums: np.ndarray,
    squares: np.ndarray,
    lines: np.ndarray,
    count: int,
    inset: np.ndarray,
    area: int,
    least_deviation: float,
    skips: bool,
    stage_trees: np.ndarray,
    stage_limits: np.ndarray,
    tree_nodes: np.ndarray,
    offsets: np.ndarray,
    weights: np.ndarray,
    thresholds: np.ndarray,
    children: np.ndarray,
    leaves: np.ndarray,
    found: np.ndarray,
    margins: np.ndarray,
) -> tuple[int, int]:
    """Run a cascade on rows of `count` windows; return how many passed and how many were looked at.

    sums and squares (flat integral images, the tilted one behind `sums`) are dealt out so that the corners of the
    windows of a row lie side by side from each of `lines` on. inset 4 and area (of the window without its border),
    skips (whether a window that fails at the first stage takes its right neighbour with it), then the cascade:
    stage_trees S, stage_limits S, tree_nodes T, and for each of M nodes 12 offsets, 3 weights, a threshold and 2
    children (all flat; a child is a node of the tree if positive, else the negative place of a leaf), leaves L. Passing
    windows are written to found K 2 (column, row) and margins K (votes of the last stage above its limit).

    A first stage of stumps takes most of the time. It runs on all windows of a row at once, stump by stump: neighbours
    read neighbouring numbers, which the compiler turns into vector instructions.
    """
    stages = len(stage_trees)
    plain = stages > 0 and len(tree_nodes) == len(thresholds)  # every tree is a stump
    scale, values, votes = np.empty(count, np.float32), np.empty(count, np.float32), np.zeros(count)
    passed, looked_at = 0, 0
    for i in range(len(lines)):
        _normalise(sums, squares, lines[i], inset, area, least_deviation, scale)
        if plain:
            votes[:] = 0
            for node in range(stage_trees[0]):
                of = weights[3 * node : 3 * node + 3]
                _evaluate(sums, lines[i], 1, offsets[12 * node : 12 * node + 12], of, values)
                _vote(values, scale, thresholds[node], leaves[2 * node], leaves[2 * node + 1], votes)
        j = -1
        while j < count - 1:
            j += 1
            if scale[j] == 0:
                continue
            looked_at += 1
            stage, margin = 0, votes[j] - stage_limits[0] if plain else 0.0
            if margin >= 0:
                stage, margin = _pass(
                    sums, lines[i] + j, scale[j], plain, margin, stage_trees, stage_limits, tree_nodes, offsets,
                    weights, thresholds, children, leaves,
                )  # fmt: skip
            if stage == stages:
                found[passed, 0], found[passed, 1] = j, i
                margins[passed] = margin
                passed += 1
            elif stage == 0 and skips:
                j += 1
    return passed, looked_at


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _normalise(
    sums: np.ndarray,
    squares: np.ndarray,
    line: int,
    inset: np.ndarray,
    area: int,
    least_deviation: float,
    scale: np.ndarray,
) -> None:
    """Write 1 / (area x standard deviation) of a row of windows, 0 for those that show nothing."""
    a, b = np.uintp(line + inset[0]), np.uintp(line + inset[1])
    c, d = np.uintp(line + inset[2]), np.uintp(line + inset[3])
    for k in range(len(scale)):
        j = np.uintp(k)
        total = np.float64(np.int32(sums[a + j] - sums[b + j] - sums[c + j] + sums[d + j]))
        spread = area * np.float64(squares[a + j] - squares[b + j] - squares[c + j] + squares[d + j]) - total * total
        factor = np.float32(1 / np.sqrt(spread)) if spread > 0 else np.float32(0)
        scale[j] = factor if area * np.float64(factor) * least_deviation < 1 else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _vote(
    values: np.ndarray, scale: np.ndarray, threshold: float, below: float, above: float, votes: np.ndarray
) -> None:
    """Add the votes of one stump on a row of windows."""
    for j in range(len(votes)):
        votes[j] += below if values[j] * scale[j] < threshold else above


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _pass(
    sums: np.ndarray,
    corner: int,
    scale: np.float32,
    past_first: bool,
    margin: float,
    stage_trees: np.ndarray,
    stage_limits: np.ndarray,
    tree_nodes: np.ndarray,
    offsets: np.ndarray,
    weights: np.ndarray,
    thresholds: np.ndarray,
    children: np.ndarray,
    leaves: np.ndarray,
) -> tuple[int, float]:
    """Return the stage at which a window fails (their number if at none), and the last votes above their limit.

    With `past_first` the first stage, of stumps, was passed by `margin`. The value of a feature is written out here:
    in a function of its own numba counts references to the arrays, which takes longer than the look-ups.
    """
    base = np.uintp(corner)
    stages, stage = np.uintp(len(stage_trees)), np.uintp(past_first)
    tree = np.uintp(stage_trees[0]) if past_first else np.uintp(0)
    root, first_leaf = tree, np.uintp(2) * tree
    while stage < stages:
        votes = 0.0
        end = tree + np.uintp(stage_trees[stage])
        while tree < end:
            child = np.int64(0)
            while True:
                node = root + np.uintp(child)
                value = np.float32(0)
                for k in range(3):
                    weight = weights[np.uintp(3) * node + np.uintp(k)]
                    if weight != 0:
                        o = np.uintp(12) * node + np.uintp(4 * k)
                        value += weight * np.float32(
                            np.int32(
                                sums[base + np.uintp(offsets[o])]
                                - sums[base + np.uintp(offsets[o + np.uintp(1)])]
                                - sums[base + np.uintp(offsets[o + np.uintp(2)])]
                                + sums[base + np.uintp(offsets[o + np.uintp(3)])]
                            )
                        )
                child = np.int64(children[np.uintp(2) * node + np.uintp(value * scale >= thresholds[node])])
                if child <= 0:
                    break
            votes += leaves[first_leaf + np.uintp(-child)]
            root += np.uintp(tree_nodes[tree])
            first_leaf += np.uintp(tree_nodes[tree] + 1)
            tree += np.uintp(1)
        margin = votes - stage_limits[stage]
        if margin < 0:
            break
        stage += np.uintp(1)
    return np.int64(stage), margin


@njit(cache=True, nogil=True)
@no_type_check
def resize_exact(
    image: np.ndarray,
    columns: np.ndarray,
    column_parts: np.ndarray,
    rows: np.ndarray,
    row_parts: np.ndarray,
    resized: np.ndarray,
) -> None:
    """Interpolate linearly in whole numbers; parts are 256ths of the neighbour to the right or below.

    image H W (uint8), columns w and rows h (the left or upper pixel of each target pixel), resized h w (uint8).
    """
    W = image.shape[1]
    upper, lower = np.empty(len(columns), np.uint32), np.empty(len(columns), np.uint32)
    upper_row, lower_row = -1, -1
    for i in range(len(rows)):
        row, below = rows[i], min(rows[i] + 1, len(image) - 1)
        if row == lower_row:
            upper, lower = lower, upper
            upper_row, lower_row = lower_row, upper_row
        if row != upper_row:
            for j in range(len(columns)):
                x, part = columns[j], column_parts[j]
                upper[j] = image[row, x] * (256 - part) + image[row, min(x + 1, W - 1)] * part
            upper_row = row
        if below != lower_row:
            for j in range(len(columns)):
                x, part = columns[j], column_parts[j]
                lower[j] = image[below, x] * (256 - part) + image[below, min(x + 1, W - 1)] * part
            lower_row = below
        part = row_parts[i]
        for j in range(len(columns)):
            resized[i, j] = (upper[j] * (256 - part) + lower[j] * part + 32768) >> 16


@njit(cache=True, nogil=True)
@no_type_check
def partition(boxes: np.ndarray, tolerance: float) -> np.ndarray:
    """Label boxes N 4 (x, y, width, height; integers) by group: 0, 1, ... in the order of the groups' first boxes.

    Two boxes are similar if all four sides differ by at most tolerance times half the sum of the lesser width and the
    lesser height; a group is what similarity connects. Walked from top to bottom, as far as a box can reach: a weak
    cascade hits hundreds of thousands of windows.
    """
    N = len(boxes)
    parents = np.arange(N)
    order = np.argsort(boxes[:, 1])
    for place in range(N):
        i = order[place]
        x, y, w, h = boxes[i]
        furthest = tolerance * (w + h) * 0.5
        for j in order[place + 1 :]:
            if boxes[j, 1] - y > furthest:
                break
            reach = tolerance * (min(w, boxes[j, 2]) + min(h, boxes[j, 3])) * 0.5
            if (
                abs(x - boxes[j, 0]) <= reach
                and abs(y - boxes[j, 1]) <= reach
                and abs(x + w - boxes[j, 0] - boxes[j, 2]) <= reach
                and abs(y + h - boxes[j, 1] - boxes[j, 3]) <= reach
            ):
                a, b = _root(parents, i), _root(parents, j)
                parents[max(a, b)] = min(a, b)
    labels = np.empty(N, np.int64)
    groups = 0
    for i in range(N):
        root = _root(parents, i)
        if root == i:
            labels[i] = groups
            groups += 1
        else:
            labels[i] = labels[root]  # the first box of a group is its root
    return labels


@njit(cache=True, nogil=True)
@no_type_check
def _root(parents: np.ndarray, i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i
