"""Compiled loops over run-length masks.

A mask is the list of its foreground intervals `[start, end)` in column-major pixel order (top to bottom, then left to
right): areas are sums of lengths, an intersection is one walk along two sorted lists, all exact integers.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
@no_type_check
def unpack(text, starts, sizes, intervals, offsets, areas, boxes, by_column):
    """Decode compressed strings `text[starts[n]:starts[n + 1]]` of masks of `sizes` H W; give the first bad one or -1.

    Fills `intervals` (a row for two characters), `offsets` N+1, `areas` N, pixel `boxes` N 4 (exclusive ends) and
    `by_column` N, whether each column of the box has exactly one interval, and no interval leaves its column.
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
        by_column[n] = has_one_a_column(intervals, offsets[n], filled, sizes[n, 0])
    return -1


@njit(cache=True)
@no_type_check
def unpack_one(text, position, end, pixels, intervals, filled):
    """Append the foreground intervals of one string to the `filled` rows; the new count, -1 where it is malformed.

    A character holds 5 bits of a signed number, lowest first, and a sixth that says whether more follow; of most
    numbers there is one.
    """
    first = filled
    pixel = last_run = earlier_run = index = 0
    while position < end:
        character = np.int64(text[position]) - 48
        position += 1
        if character & ~63:
            return -1
        value = character & 31
        shift = 5
        while character & 32:
            if position == end or shift > 35:
                return -1
            character = np.int64(text[position]) - 48
            position += 1
            if character & ~63:
                return -1
            value |= (character & 31) << shift
            shift += 5
        if character & 16:
            value -= 1 << shift
        # from the fourth on: difference to the last run of its colour
        run = value + earlier_run if index > 2 else value
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
    return filled


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
def has_one_a_column(intervals, first, last, height):
    """Tell whether intervals first..last-1 lie one in each of as many neighbouring columns of `height` pixels."""
    if first == last:
        return True
    column = intervals[first, 0] // height * height  # first pixel of the column at hand
    for i in range(first, last):
        if intervals[i, 0] < column or intervals[i, 1] > column + height:
            return False
        column += height
    return True


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
    """Count the pixels that two interval lists (rows a..end_a-1 and b..end_b-1) share, neither of which is empty."""
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
def shared_by_column(intervals_a, a, intervals_b, b, columns):
    """Count the pixels that rows a.. and b.. of two lists of intervals share, which lie in equal columns, one in each.

    No branches and no row numbers but the loop's own, so that the compiler does several columns at once.
    """
    from_a, from_b = intervals_a[a:], intervals_b[b:]
    shared = np.int32(0)
    for k in range(columns):
        stop = min(from_a[k, 1], from_b[k, 1])
        shared += max(np.int32(stop - max(from_a[k, 0], from_b[k, 0])), np.int32(0))
    return np.int64(shared)


@njit(cache=True)
@no_type_check
def shared_pixels(runs_a, n, runs_b, m):
    """Count the pixels that mask n of one `vidi.ops.masks.Runs` and mask m of another share; their boxes overlap."""
    intervals_a, offsets_a, _, boxes_a, _, by_column_a = runs_a
    intervals_b, offsets_b, _, boxes_b, _, by_column_b = runs_b
    a, b = offsets_a[n], offsets_b[m]
    if by_column_a[n] and by_column_b[m]:
        left = max(boxes_a[n, 0], boxes_b[m, 0])
        columns = min(boxes_a[n, 2], boxes_b[m, 2]) - left
        row_a, row_b = a + left - boxes_a[n, 0], b + left - boxes_b[m, 0]
        return shared_by_column(intervals_a, row_a, intervals_b, row_b, columns)
    return shared_area(intervals_a, a, offsets_a[n + 1], intervals_b, b, offsets_b[m + 1])


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
    _, _, areas_a, boxes_a, _, _ = runs_a
    _, _, areas_b, boxes_b, _, _ = runs_b
    out = np.zeros((len(areas_a), len(areas_b)))
    for n in range(out.shape[0]):
        for m in range(out.shape[1]):
            if box_area_shared(boxes_a[n], boxes_b[m]) == 0:
                continue
            shared = shared_pixels(runs_a, n, runs_b, m)
            if shared > 0:
                union = areas_a[n] if crowd[m] else areas_a[n] + areas_b[m] - shared
                out[n, m] = shared / union
    return out


@njit(cache=True)
@no_type_check
def pack(intervals, offsets, pixels, text, starts):
    """Write masks of so many `pixels` as compressed strings, the inverse of `unpack`; fills `starts` N+1.

    Intervals rise, and none begins where the one before ends; `text` has 7 bytes for each of the two counts of an
    interval and for two more of each mask.
    """
    written = 0
    for n in range(len(offsets) - 1):
        earlier = last = pixel = index = 0
        for i in range(offsets[n], offsets[n + 1]):
            for edge in range(2):
                run = intervals[i, edge] - pixel
                pixel = intervals[i, edge]
                written = write_count(run - earlier if index > 2 else run, text, written)
                earlier, last = last, run
                index += 1
        if pixel < pixels or index == 0:
            run = pixels - pixel
            written = write_count(run - earlier if index > 2 else run, text, written)
        starts[n + 1] = written


@njit(cache=True)
@no_type_check
def write_count(value, text, written):
    """Append one signed number in characters of 5 bits, the lowest first, to the `written` ones; give their number."""
    while True:
        bits = value & 31
        value >>= 5
        more = value != (-1 if bits & 16 else 0)
        text[written] = (bits | 32 if more else bits) + 48
        written += 1
        if not more:
            return written


@njit(cache=True)
@no_type_check
def paint(intervals, offsets, height, columns, first_rows, start, row_step, column_step, plane, areas, out):
    """Paint masks whose pictures of `height` rows were moved, and count the pixels of each.

    `columns` has the column of the original that each column of the moved picture shows, -1 for none; `first_rows` the
    first row of the moved picture that shows row y of the original or a lower one. Moved row i and column j are the
    byte start + i * row_step + j * column_step of a plane of `out`; where that is empty, pixels are only counted.
    """
    for n in range(len(areas)):
        areas[n] = 0
        if offsets[n] == offsets[n + 1]:
            continue
        for j in range(len(columns)):
            if columns[j] < 0:
                continue
            top = columns[j] * height
            i = first_ending_after(intervals, offsets[n], offsets[n + 1], top)
            while i < offsets[n + 1] and intervals[i, 0] < top + height:
                first = first_rows[max(intervals[i, 0] - top, 0)]
                last = first_rows[min(intervals[i, 1] - top, height)]
                areas[n] += last - first
                if len(out) > 0:
                    place = n * plane + start + j * column_step
                    for row in range(first, last):
                        out[place + row * row_step] = 1
                i += 1


@njit(cache=True)
@no_type_check
def append(intervals, begin, filled, start, end):
    """Append an interval to those from `begin` on, joined to the last one where that ends at its start."""
    if filled > begin and intervals[filled - 1, 1] == start:
        intervals[filled - 1, 1] = end
        return filled
    intervals[filled, 0] = start
    intervals[filled, 1] = end
    return filled + 1


@njit(cache=True)
@no_type_check
def trace(intervals, offsets, height, columns, first_rows, moved_height, out, out_offsets):
    """Write the intervals of masks whose pictures of `height` rows were moved, rows still downwards; fills N+1 offsets.

    `columns` and `first_rows` are as for `paint`. Where `out` is empty, intervals are only counted, unjoined.

    Returns:
        The number of intervals.
    """
    filled = 0
    for n in range(len(offsets) - 1):
        begin = filled
        for j in range(len(columns)):
            if columns[j] < 0:
                continue
            top = columns[j] * height
            i = first_ending_after(intervals, offsets[n], offsets[n + 1], top)
            while i < offsets[n + 1] and intervals[i, 0] < top + height:
                first = first_rows[max(intervals[i, 0] - top, 0)]
                last = first_rows[min(intervals[i, 1] - top, height)]
                if first < last and len(out) > 0:
                    filled = append(out, begin, filled, j * moved_height + first, j * moved_height + last)
                elif first < last:
                    filled += 1
                i += 1
        out_offsets[n + 1] = filled
    return filled
