"""The compiled search of boosting: all thresholds of all features in one pass over the sorted samples."""

from typing import no_type_check

import numpy as np
from numba import njit

_EQUAL = 1e-12  # errors that differ by less are one error, whatever the rounding of their sums

_LANES = 4  # features that are walked side by side: an addition waits for the one before it, but not for other rows'


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def best_split(
    values: np.ndarray, order: np.ndarray, signed: np.ndarray, negative: float, both: bool
) -> tuple[int, int, bool, float]:
    """Return feature, place of the first sample above the threshold, whether +1 lies above, and the weighted error.

    values F N (sorted within each row), order F N (the samples in that order), signed N (label times weight),
    negative (the weight of label -1); `both` admits -1 above. The feature is -1 if no row has two values.

    "+1 above" is wrong about the negatives above and the positives below: negative + sum of signed below. The error of
    "-1 above" is 1 minus that. So the lowest and the highest prefix sum of a row decide. They are taken over all
    prefixes first, without a branch and without a look at the values; only a row that could win is walked again.
    """
    F = len(order)
    best_feature, best_place, best_rising, best_error = -1, 0, True, np.inf
    lows, highs = np.empty(_LANES), np.empty(_LANES)
    for first in range(0, F, _LANES):
        rows = min(_LANES, F - first)
        if rows == _LANES:
            _bounds(order[first : first + _LANES], signed, lows, highs)
        else:
            lows[:], highs[:] = -np.inf, np.inf
        for lane in range(rows):
            bound = negative + lows[lane]
            if both:
                bound = min(bound, 1 - negative - highs[lane])
            if bound >= best_error - _EQUAL:
                continue
            row = first + lane
            low, low_at, high, high_at = _walk(values[row], order[row], signed)
            if negative + low < best_error - _EQUAL:
                best_feature, best_place, best_rising, best_error = row, low_at, True, negative + low
            if both and 1 - negative - high < best_error - _EQUAL:
                best_feature, best_place, best_rising, best_error = row, high_at, False, 1 - negative - high
    return best_feature, best_place, best_rising, best_error


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _bounds(order: np.ndarray, signed: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> None:
    """Write the lowest and the highest prefix sum of four rows."""
    a, b, c, d = order[0], order[1], order[2], order[3]
    sum_a, sum_b, sum_c, sum_d = 0.0, 0.0, 0.0, 0.0
    low_a, low_b, low_c, low_d = np.inf, np.inf, np.inf, np.inf
    high_a, high_b, high_c, high_d = -np.inf, -np.inf, -np.inf, -np.inf
    for k in range(order.shape[1] - 1):
        sum_a += signed[a[k]]
        sum_b += signed[b[k]]
        sum_c += signed[c[k]]
        sum_d += signed[d[k]]
        low_a, high_a = min(low_a, sum_a), max(high_a, sum_a)
        low_b, high_b = min(low_b, sum_b), max(high_b, sum_b)
        low_c, high_c = min(low_c, sum_c), max(high_c, sum_c)
        low_d, high_d = min(low_d, sum_d), max(high_d, sum_d)
    lows[0], lows[1], lows[2], lows[3] = low_a, low_b, low_c, low_d
    highs[0], highs[1], highs[2], highs[3] = high_a, high_b, high_c, high_d


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _walk(values: np.ndarray, order: np.ndarray, signed: np.ndarray) -> tuple[float, int, float, int]:
    """Return the lowest and the highest sum of `signed` below a threshold of one row, each with its place."""
    total, low, high = 0.0, np.inf, -np.inf
    low_at, high_at = 0, 0
    for k in range(1, len(order)):
        total += signed[order[k - 1]]
        if values[k] != values[k - 1]:  # a threshold fits between
            if total < low - _EQUAL:
                low, low_at = total, k
            if total > high + _EQUAL:
                high, high_at = total, k
    return low, low_at, high, high_at
