"""Compiled loops that paste small masks of probabilities into a picture, straight to run lengths.

A mask is padded by a ring of zeros and scaled bilinearly. Along a column of the picture the probability is linear
between two rows of the mask, so that a whole stretch lies on one side of the threshold if both its ends do.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from vidi.ops.mask_kernels import append


@njit(cache=True, error_model="numpy")
@no_type_check
def paste(masks, origins, scales, ranges, height, threshold, intervals, offsets):
    """Write the foreground intervals, `[start, end)` in column-major order, of N masks in a picture of `height` rows.

    Args:
        masks: N m n, without the ring.
        origins: N 2, x and y of the upper left corner of the padded mask, in pixels.
        scales: N 2, cells of the mask for a pixel along x and y.
        ranges: N 4, first and last + 1 column, first and last + 1 row that are looked at.
        height: rows of the picture.
        threshold: the least that is foreground.
        intervals: enough rows for all; filled.
        offsets: N+1, where the intervals of each mask begin; filled.
    """
    N, m, n = masks.shape
    profile = np.zeros(m + 2)
    firsts = np.empty(m + 3, np.int64)  # row of the picture from which on each pair of rows of the mask is between
    shares = np.empty(height)
    filled = 0
    for k in range(N):
        begin = filled
        first_row, last_row = ranges[k, 2], ranges[k, 3]
        pair = 0
        for y in range(first_row, last_row):
            place = max((y + 0.5 - origins[k, 1]) * scales[k, 1] - 0.5, 0.0)
            above = min(int(place), m + 1)
            shares[y] = place - above if above < m + 1 else 0.0
            while pair <= above:
                firsts[pair] = y
                pair += 1
        for rest in range(pair, m + 3):
            firsts[rest] = last_row
        firsts[0] = first_row
        for x in range(ranges[k, 0], ranges[k, 1]):
            place = max((x + 0.5 - origins[k, 0]) * scales[k, 0] - 0.5, 0.0)
            left = min(int(place), n + 1)
            share = place - left if left < n + 1 else 0.0
            highest = 0.0
            for row in range(m):  # the ring is 0
                one = masks[k, row, left - 1] if 1 <= left <= n else 0.0
                other = masks[k, row, left] if left < n else 0.0
                profile[row + 1] = (1 - share) * one + share * other
                highest = max(highest, profile[row + 1])
            if highest < threshold:
                continue
            filled = column(profile, firsts, shares, x * height, threshold, intervals, begin, filled)
        offsets[k + 1] = filled


@njit(cache=True, error_model="numpy")
@no_type_check
def column(profile, firsts, shares, top, threshold, intervals, begin, filled):
    """Append the intervals of one column, whose first pixel is `top`; give the number of those that are filled."""
    for row in range(len(profile)):
        first, last = firsts[row], firsts[row + 1]
        if first == last:
            continue
        upper = profile[row]
        lower = profile[row + 1] if row + 1 < len(profile) else 0.0
        if upper < threshold and lower < threshold:
            continue
        if upper >= threshold and lower >= threshold:
            filled = append(intervals, begin, filled, top + first, top + last)
            continue
        for y in range(first, last):
            if (1 - shares[y]) * upper + shares[y] * lower >= threshold:
                filled = append(intervals, begin, filled, top + y, top + y + 1)
    return filled
