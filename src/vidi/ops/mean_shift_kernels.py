"""The compiled climb of mean shift: every start to where it comes to rest."""

import math
from typing import no_type_check

import numpy as np
from numba import njit

_FAR = 36.0  # squared bandwidths from which on a Gaussian counts for nothing: exp(-36) is 2e-16


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def climb(
    points: np.ndarray,
    weights: np.ndarray,
    starts: np.ndarray,
    bandwidth: float,
    gaussian: bool,
    tolerance: float,
    rounds: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each start (S D) ends, climbing the density of points (N D), and the density there (S)."""
    S, D = starts.shape
    ended, density = starts.copy(), np.zeros(S)
    mean = np.empty(D)
    for n in range(S):
        here = ended[n]
        for _ in range(rounds):
            _weighted_mean(points, weights, here, bandwidth, gaussian, mean)
            moved = 0.0
            for d in range(D):
                moved += (mean[d] - here[d]) ** 2
                here[d] = mean[d]
            if math.sqrt(moved) <= tolerance * bandwidth:
                break
        density[n] = _weighted_mean(points, weights, here, bandwidth, gaussian, mean)
    return ended, density


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _weighted_mean(points, weights, here, bandwidth, gaussian, mean):
    """Write the mean of the points around a place, and return the sum of their weights; without any, stay."""
    total = 0.0
    mean[:] = 0
    for k in range(len(points)):
        square = 0.0
        for d in range(len(here)):
            square += (points[k, d] - here[d]) ** 2
        square /= bandwidth * bandwidth
        if square > (_FAR if gaussian else 1.0):
            continue
        weight = weights[k] * (math.exp(-square) if gaussian else 1.0)
        total += weight
        for d in range(len(here)):
            mean[d] += weight * points[k, d]
    for d in range(len(here)):
        mean[d] = mean[d] / total if total > 0 else here[d]
    return total
