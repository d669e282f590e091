"""Compiled loops over run-length masks.

A mask is the list of its foreground intervals `[start, end)` in column-major pixel order (top to bottom, then left to
right): areas are sums of lengths, an intersection is one walk along two sorted lists, all exact integers.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True)
@no_type_check
def unpack(text, starts, sizes, intervals, offsets, areas, boxes):
    """Decode compressed strings `text[starts[n]:starts[n + 1]]` of masks of `sizes` H W; give the first bad one or -1.

    Fills `intervals` (at least len(text) rows), `offsets` N+1, `areas` N, pixel `boxes` N 4 (exclusive ends).
    """
    filled = 0
    for n in range(len(sizes)):
        filled = unpack_one(text, starts[n], starts[n + 1], sizes[n, 0] * sizes[n, 1], intervals, filled)
        if filled < 0:
            return n
        offsets[n + 1] = filled
        areas[n] = 0
        for i in range(offsets[n], filled):
            areas[n] += intervals[i, 1] - intervals[i, 0]
        bound(intervals, offsets[n], filled, sizes[n, 0], boxes[n])
    return -1


@njit(cache=True)
@no_type_check
def unpack_one(text, position, end, pixels, intervals, filled):
    """Append the foreground intervals of one string to the `filled` rows; the new count, -1 where it is malformed.

    A character holds 5 bits of a signed number, lowest first, and a sixth that says whether more follow.
    """
    first = filled
    value = shift = pixel = last_run = earlier_run = index = 0
    for p in range(position, end):
        character = np.int64(text[p]) - 48
        value |= (character & 31) << shift
        shift += 5
        if character & ~63 or shift > 40:
            return -1
        if character & 32:
            continue
        if character & 16:
            value -= 1 << shift
        run = (
            value + earlier_run if index > 2 else value
        )  # from the fourth on: difference to the last run of its colour
        if run < 0 or pixel + run > pixels:
            return -1
        if index & 1 and run > 0:
            if filled > first and intervals[filled - 1, 1] == pixel:
                filled -= 1  # a background run of no length joins its neighbours
            else:
                intervals[filled, 0] = pixel
            intervals[filled, 1] = pixel + run
            filled += 1
        pixel += run
        earlier_run, last_run = last_run, run
        index += 1
        value = shift = 0
    return filled if shift == 0 else -1


@njit(cache=True)
@no_type_check
def bound(intervals, first, last, height, box):
    """Write the tight pixel box of the intervals into `box`, zeros where there are none."""
    box[:] = 0
    if first == last:
        return
    top = height
    bottom = 0
    column = intervals[first, 0] // height * height  # first pixel of the column at hand
    box[0] = column // height
    for i in range(first, last):
        start = intervals[i, 0]
        end = intervals[i, 1]
        while start >= column + height:
            column += height
        if end > column + height:  # runs into the next column: touches the lower and the upper border
            top = 0
            bottom = height
            break
        top = min(top, start - column)
        bottom = max(bottom, end - column)
    box[1] = top
    box[2] = (intervals[last - 1, 1] - 1) // height + 1
    box[3] = bottom


@njit(cache=True)
@no_type_check
def first_ending_after(intervals, low, high, pixel):
    """Give the first of the intervals low..high-1 that ends after `pixel`, by bisection."""
    while low < high:
        middle = (low + high) // 2
        if intervals[middle, 1] > pixel:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True)
@no_type_check
def shared_area(intervals_a, a, end_a, intervals_b, b, end_b):
    """Count the pixels that two interval lists (rows a..end_a-1 and b..end_b-1) share."""
    if a == end_a or b == end_b:
        return 0
    a = first_ending_after(intervals_a, a, end_a, intervals_b[b, 0])
    if a == end_a:
        return 0
    b = first_ending_after(intervals_b, b, end_b, intervals_a[a, 0])
    if b == end_b:
        return 0
    start_a, stop_a = intervals_a[a, 0], intervals_a[a, 1]
    start_b, stop_b = intervals_b[b, 0], intervals_b[b, 1]
    shared = 0
    while True:
        shared += max(min(stop_a, stop_b) - max(start_a, start_b), 0)
        if (
            stop_a <= stop_b
        ):  # a branch, not a sum of booleans: neighbouring columns look alike, so it is predicted well
            a += 1
            if a == end_a:
                break
            start_a, stop_a = intervals_a[a, 0], intervals_a[a, 1]
        else:
            b += 1
            if b == end_b:
                break
            start_b, stop_b = intervals_b[b, 0], intervals_b[b, 1]
    return shared


@njit(cache=True)
@no_type_check
def box_area_shared(a, b):
    """Count the pixels that two pixel boxes share: no mask inside them can share more."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


@njit(cache=True)
@no_type_check
def pairwise_iou(runs_a, runs_b, crowd):
    """Give the N x M intersections over union; over the area of `a` alone where the column of `b` is a crowd."""
    out = np.zeros((len(runs_a.areas), len(runs_b.areas)))
    for n in range(out.shape[0]):
        for m in range(out.shape[1]):
            if box_area_shared(runs_a.boxes[n], runs_b.boxes[m]) == 0:
                continue
            shared = shared_area(
                runs_a.intervals,
                runs_a.offsets[n],
                runs_a.offsets[n + 1],
                runs_b.intervals,
                runs_b.offsets[m],
                runs_b.offsets[m + 1],
            )
            if shared > 0:
                union = runs_a.areas[n] if crowd[m] else runs_a.areas[n] + runs_b.areas[m] - shared
                out[n, m] = shared / union
    return out
