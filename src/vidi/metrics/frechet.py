"""How far the features of generated pictures are from those of real ones: FID (notes 8.1.2).

Dowson & Landau 1982; Heusel et al. 2017 (arXiv 1706.08500):

    features N D, in any number of parts    -> FeatureStatistics    count, mean D, scatter D D; parts merge exactly
    statistics, moments or features         -> Normal               mean D and a factor F of the covariance, D R
    two of those                            -> frechet_distance     |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))

The root of a product is not needed for its trace: with S = F F' that is the sum of the singular values of F1' F2, which
exist for any covariance, also a singular one, and are the roots of the eigenvalues of a symmetric matrix whose side is
the smaller R. R is at most D, and for features of N < D pictures N - 1.

All in float64. The score of few pictures is too high, and the more so the fewer they are: compare equal counts only.

Differs from the notes: what they call the earth mover's distance of continuous distributions is the 2-Wasserstein
distance of two normal ones, squared; earth mover's distance is the 1-Wasserstein distance (`information`).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

ENOUGH = 10_000
"""Pictures from which on a score is given without an error (Heusel et al. 2017 ask for at least so many)."""

DOUBTFUL = 1e-12
"""Share of the largest eigenvalue below which the root of another one is the root of rounding."""


class Normal(NamedTuple):
    """A normal distribution whose covariance, factor times its transpose, may be singular."""

    mean: Float64[Tensor, " D"]
    factor: Float64[Tensor, "D R"]


class Fid(NamedTuple):
    """A distance, and how far chance moves it."""

    value: float
    error: float | None  # standard error, from two halves of the pictures; None from `ENOUGH` on


class FeatureStatistics:
    """Count, mean and scatter of features that come in parts, in float64; D^2 numbers, however many features.

    Several processes each collect their own, and one merges them: the result depends on no order but for rounding.

    Args:
        features: the first part.

    Raises:
        ValueError: if a feature is NaN or infinite.
    """

    def __init__(self, features: Float[Tensor, "N D"]):
        D = features.shape[1]
        self.count = 0
        self.mean: Float64[Tensor, " D"] = features.new_zeros(D, dtype=torch.float64)
        self.scatter: Float64[Tensor, "D D"] = features.new_zeros(D, D, dtype=torch.float64)
        self.update(features)

    def update(self, features: Float[Tensor, "N D"]) -> None:
        """Add a part, which may be empty; ValueError if a feature is NaN or infinite."""
        numbers = _checked(features)
        if len(numbers):
            mean = numbers.mean(0)
            around = numbers - mean
            self._add(len(numbers), mean, around.T @ around)

    def merge(self, others: Iterable["FeatureStatistics"]) -> None:
        """Add what others have collected."""
        for other in others:
            if other.count:
                self._add(other.count, other.mean.to(self.mean.device), other.scatter.to(self.mean.device))

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        """Chan et al. 1983: what parts scatter around their own means, and these around the common one."""
        total, apart = self.count + count, mean - self.mean
        self.scatter += scatter + torch.outer(apart, apart) * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count = total

    @property
    def covariance(self) -> Float64[Tensor, "D D"]:
        """The unbiased covariance; ValueError for fewer than two features."""
        _check_count(self.count, 2)
        return self.scatter / (self.count - 1)

    def normal(self) -> Normal:
        """Return the normal distribution that fits; ValueError for fewer than two features."""
        return normal_of_moments(self.mean, self.covariance)


def normal_of_moments(mean: Float[Tensor, " D"], covariance: Float[Tensor, "D D"]) -> Normal:
    """Return the normal distribution of a mean and a symmetric covariance, which may be singular.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    factor, failed = torch.linalg.cholesky_ex(_checked(covariance))
    if failed:
        values, vectors = torch.linalg.eigh(covariance.double())
        rounding = torch.finfo(torch.float64).eps * len(values) * values.abs().amax()
        kept = values > rounding
        factor = vectors[:, kept] * values[kept].sqrt()  # D R
    return Normal(_checked(mean), factor)


def normal_of_features(features: Float[Tensor, "N D"]) -> Normal:
    """Return the normal distribution that fits features, by as few columns as they need.

    Raises:
        ValueError: for fewer than two features, or if one is NaN or infinite.
    """
    N, D = features.shape
    _check_count(N, 2)
    if N > D:
        return FeatureStatistics(features).normal()
    numbers = _checked(features)
    mean = numbers.mean(0)
    around = numbers - mean  # N D, of rank N - 1
    # a reflection takes the first row, which the others make up for, to 0 and leaves the scatter as it is
    rows = around[1:] + around[0] / (math.sqrt(N) - 1)  # N-1 D
    return Normal(mean, rows.T / math.sqrt(N - 1))


def frechet_distance(first: Normal, second: Normal) -> float:
    """Return the squared Frechet (2-Wasserstein) distance of two normal distributions.

    Raises:
        ValueError: if they do not have the same number of dimensions.
    """
    if len(first.mean) != len(second.mean):
        raise ValueError(f"received {len(first.mean)} and {len(second.mean)} dimensions, expected equal numbers")
    means = (first.mean - second.mean).square().sum()
    spreads = first.factor.square().sum() + second.factor.square().sum()  # the traces of the covariances
    return max(float(means + spreads - 2 * _sum_of_singular_values(first.factor.T @ second.factor)), 0.0)


def _sum_of_singular_values(product: Float64[Tensor, "R S"]) -> Tensor:
    square = product @ product.T if product.shape[0] <= product.shape[1] else product.T @ product
    if not square.numel():  # a point has no spread
        return product.sum()
    values = torch.linalg.eigvalsh(square)  # rising
    if values[0] > DOUBTFUL * values[-1]:
        return values.sqrt().sum()
    return torch.linalg.svdvals(product).sum()  # slower, and exact to the rounding of the largest


def fid(real: Normal, generated: Float[Tensor, "N D"]) -> Fid:
    """Return the Frechet distance of generated pictures' features from those of real ones.

    Below `ENOUGH` pictures the error says how far two halves of them, every other one, disagree: half the difference of
    their distances estimates the standard error of the distance of all. By how much few pictures raise it, no error
    says. Fewer pictures than dimensions have a distance too.

    Args:
        real: that fits the features of real pictures.
        generated: features.

    Raises:
        ValueError: for fewer than four features, or other dimensions than those of the real ones, or if a feature is
            NaN or infinite.
    """
    _check_count(len(generated), 4)
    value = frechet_distance(real, normal_of_features(generated))
    if len(generated) >= ENOUGH:
        return Fid(value, None)
    one, other = (frechet_distance(real, normal_of_features(generated[start::2])) for start in (0, 1))
    return Fid(value, abs(one - other) / 2)


def _checked(numbers: Tensor) -> Float64[Tensor, "*N"]:
    wrong = int((~numbers.isfinite()).sum())
    if wrong:
        raise ValueError(f"received {wrong} numbers of {numbers.numel()} that are NaN or infinite, expected none")
    return numbers.double()


def _check_count(count: int, least: int) -> None:
    if count < least:
        raise ValueError(f"received the features of {count} pictures, expected at least {least}")
