"""Compiled loops of panoptic quality: how many pixels each pair of segments shares, and which pairs are matches.

Rows stand for segments, row 0 of both sides for pixels of none.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
@no_type_check
def count_overlaps(
    truth: np.ndarray, truth_rows: np.ndarray, found: np.ndarray, found_rows: np.ndarray, overlaps: np.ndarray
) -> None:
    """Count the pixels of every pair of rows; maps hold ids, for which the tables give the rows.

    Neighbours mostly are of one pair, so that runs are counted first.
    """
    last_truth, last_found, run = truth[0], found[0], 0
    for pixel in range(truth.size):
        if truth[pixel] == last_truth and found[pixel] == last_found:
            run += 1
            continue
        overlaps[truth_rows[last_truth], found_rows[last_found]] += run
        last_truth, last_found, run = truth[pixel], found[pixel], 1
    overlaps[truth_rows[last_truth], found_rows[last_found]] += run


@njit(cache=True, nogil=True)
@no_type_check
def judge(
    overlaps: np.ndarray,
    truth_labels: np.ndarray,
    crowd: np.ndarray,
    found_labels: np.ndarray,
    unit: float,
    counts: np.ndarray,
) -> None:
    """Add one image's matches to counts K 5: true and false positives, false negatives, IoU in units (two limbs).

    A match has one label and an IoU above 1/2, counted without the pixels of the prediction that are void; so at most
    one segment matches another. Crowds are neither matched nor missed. A prediction without a match does not count if
    more than half of it lies in void and in the last crowd of its label.
    """
    T, F = overlaps.shape
    limb = 2.0**26
    matched_truth, matched = np.zeros(T, np.bool_), np.zeros(F, np.bool_)
    truth_areas, found_areas = np.zeros(T, np.int64), np.zeros(F, np.int64)
    for t in range(T):
        for f in range(F):
            truth_areas[t] += overlaps[t, f]
            found_areas[f] += overlaps[t, f]
    for t in range(1, T):
        if crowd[t]:
            continue
        for f in range(1, F):
            shared = overlaps[t, f]
            if shared == 0 or truth_labels[t] != found_labels[f]:
                continue
            union = truth_areas[t] + found_areas[f] - shared - overlaps[0, f]
            if 2 * shared > union:
                matched_truth[t] = matched[f] = True
                iou = shared / union * unit  # whole
                high = np.floor(iou / limb)
                row = counts[truth_labels[t]]
                row[0] += 1
                row[3] += np.int64(high)
                row[4] += np.int64(iou - high * limb)
    for t in range(1, T):
        if truth_areas[t] and not matched_truth[t] and not crowd[t]:
            counts[truth_labels[t], 2] += 1
    for f in range(1, F):
        if not found_areas[f] or matched[f]:
            continue
        excused = overlaps[0, f]
        for t in range(T - 1, 0, -1):
            if crowd[t] and truth_areas[t] and truth_labels[t] == found_labels[f]:
                excused += overlaps[t, f]
                break
        if 2 * excused <= found_areas[f]:
            counts[found_labels[f], 1] += 1
