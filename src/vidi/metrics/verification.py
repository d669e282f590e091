"""Whether two pictures show one identity, by a threshold on their distance: how often that is right (notes 7.2).

Huang et al. 2007, Labeled Faces in the Wild (restricted protocol); ISO/IEC 19795 for the rates:

    distances N, same N -> roc          share of pairs of two identities that are accepted (FAR), of one (TAR)
    roc                 -> tar_at_far, equal_error_rate, area_under
    distances, same     -> fit_threshold on pairs to develop with -> verify others
    and folds N         -> fold_accuracies: each fold by the threshold of the others

A pair is accepted where its distance is at most the threshold.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Roc(NamedTuple):
    """The rates at every threshold that makes a difference, from one that accepts nothing."""

    thresholds: Float[Tensor, " T"]  # distances, rising; the first is -inf
    false_accepts: Float[Tensor, " T"]  # FAR
    true_accepts: Float[Tensor, " T"]  # TAR, 1 - false rejects


class FoldAccuracies(NamedTuple):
    """The accuracy of each fold at the threshold of all others, and what LFW reports of them."""

    mean: float
    standard_error: float  # of the mean: the folds' standard deviation / sqrt(F)
    accuracies: Float[Tensor, " F"]
    thresholds: Float[Tensor, " F"]


def verify(distances: Float[Tensor, "*N"], threshold: float | int) -> Bool[Tensor, "*N"]:
    """Say of each pair whether it shows one identity: its distance is at most the threshold."""
    return distances <= threshold


def verification_accuracy(distances: Float[Tensor, " N"], same: Bool[Tensor, " N"], threshold: float | int) -> float:
    """Return the share of pairs about which `verify` is right; NaN without pairs."""
    return float((verify(distances, threshold) == same).double().mean())


def roc(distances: Float[Tensor, " N"], same: Bool[Tensor, " N"]) -> Roc:
    """Return the rates at which pairs are accepted, at every threshold.

    Args:
        distances: of the pairs.
        same: whether each shows one identity.

    Raises:
        ValueError: if there is no pair of one identity or none of two, or a distance is not a number.
    """
    _check(distances, same)
    wrong = int((~same).sum())
    thresholds, accepted, right = _accepted(distances, same)
    return Roc(thresholds, (accepted - right) / wrong, right / (len(same) - wrong))


def _check(distances: Tensor, same: Tensor) -> None:
    ones = int(same.sum())
    if ones in (0, len(same)) or distances.isnan().any():
        given = (
            f"{ones} pairs of one identity and {len(same) - ones} of two, {int(distances.isnan().sum())} distances NaN"
        )
        raise ValueError(f"received {given}, expected pairs of both kinds, and numbers")


def _accepted(distances: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the thresholds, and how many pairs each accepts: of all, and of one identity."""
    ranked, order = distances.double().sort()
    is_last = torch.cat([ranked[1:] != ranked[:-1], same.new_ones(1)])  # of equal distances
    accepted = torch.arange(1, len(order) + 1, dtype=torch.float64, device=order.device)[is_last]
    right = same[order].double().cumsum(0)[is_last]
    none = accepted.new_zeros(1)
    return (
        torch.cat([none - torch.inf, ranked[is_last]]),
        torch.cat([none, accepted]),
        torch.cat([none, right]),
    )


def tar_at_far(curve: Roc, far: float | int) -> float:
    """Return the largest share of accepted pairs of one identity where at most the share `far` of others is accepted.

    Raises:
        ValueError: if the share is not in [0, 1].
    """
    if not 0 <= far <= 1:
        raise ValueError(f"received far={far}, expected a share from 0 to 1")
    return float(curve.true_accepts[curve.false_accepts <= far].max())


def equal_error_rate(curve: Roc) -> float:
    """Return the rate at which as many pairs are falsely accepted as falsely rejected, between thresholds linearly."""
    gap = curve.false_accepts - (1 - curve.true_accepts)  # rises from -1 to 1
    after = int((gap >= 0).nonzero()[0])
    low, high = gap[after - 1], gap[after]
    share = -low / (high - low)
    return float(torch.lerp(curve.false_accepts[after - 1], curve.false_accepts[after], share))


def equal_error_threshold(curve: Roc) -> float:
    """Return the least threshold at which as many pairs of two identities are accepted as of one are rejected, or more.

    It does not depend on how many pairs there are of either kind.
    """
    return float(curve.thresholds[curve.false_accepts + curve.true_accepts >= 1][0])


def area_under(curve: Roc) -> float:
    """Return the area under the TAR over the FAR: how often a pair of one identity is nearer than one of two."""
    return float(torch.trapezoid(curve.true_accepts, curve.false_accepts))


def fit_threshold(distances: Float[Tensor, " N"], same: Bool[Tensor, " N"]) -> float:
    """Return the threshold that is right about most pairs: half-way between the distances that it parts.

    Of equally good ones the lowest; -inf where it is best to accept nothing.

    Raises:
        ValueError: as `roc`.
    """
    _check(distances, same)
    thresholds, accepted, right = _accepted(distances, same)
    best = int((2 * right - accepted).argmax())  # right ones accepted less wrong ones
    if best in (0, len(thresholds) - 1):
        return float(thresholds[best])
    return float((thresholds[best] + thresholds[best + 1]) / 2)


def fold_accuracies(
    distances: Float[Tensor, " N"], same: Bool[Tensor, " N"], folds: Int64[Tensor, " N"]
) -> FoldAccuracies:
    """Return the accuracy of each fold of pairs, by the threshold that fits the pairs of all others best.

    LFW has ten folds of 300 pairs of one identity and 300 of two.

    Raises:
        ValueError: if there are fewer than two folds, or all but one lack a kind of pairs.
    """
    numbers = folds.unique()
    if len(numbers) < 2:
        raise ValueError(f"received {len(numbers)} folds of pairs, expected at least two")
    thresholds, accuracies = [], []
    for number in numbers:
        own = folds == number
        thresholds.append(fit_threshold(distances[~own], same[~own]))
        accuracies.append(verification_accuracy(distances[own], same[own], thresholds[-1]))
    each = torch.tensor(accuracies, dtype=torch.float64)
    error = float(each.std()) / math.sqrt(len(each))
    return FoldAccuracies(float(each.mean()), error, each, torch.tensor(thresholds, dtype=torch.float64))
