"""Expectations, and how far a distribution is from another (notes 8.1, 8.1.2).

Shannon 1948; Kullback & Leibler 1951; Lin 1991; Endres & Schindelin 2003; Rubner et al. 2000:

    probabilities N, values N    -> expectation             exact; of a density: `quadrature`; of samples: `monte_carlo`
    probabilities *B K           -> entropy *B              mean of the self-information; 0 log 0 = 0
    p, q *B K                    -> kl_divergence *B        infinite where q rules out what p has
                                 -> js_divergence *B        both from their mixture, at most log 2
    p N, q M, cost N M           -> earth_movers_distance   the cheapest transport plan N M

Logarithms are natural (nats) unless a base is given: 2 for bits.

Differs from the notes: the sums over a discrete distribution are exact, not approximate; KL is a divergence, no
distance; JS itself violates the triangle inequality, its root `js_distance` is the metric. The plan's rows sum to p and
its columns to q (the notes swap the indices). Earth mover's distance is the 1-Wasserstein distance, also between
continuous distributions; what the notes call so there, `frechet.frechet_distance`, is the 2-Wasserstein distance
between normal ones.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.optimize
import scipy.sparse
import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 1e-5
"""By which the sum of probabilities may miss 1: float32 sums of thousands do."""


class Estimate(NamedTuple):
    """A mean over samples."""

    mean: float
    standard_error: float  # the samples' standard deviation / sqrt(N)


class Transport(NamedTuple):
    """The cheapest way of making one distribution of another."""

    distance: float  # mass times cost, summed
    plan: Float[Tensor, "N M"]  # mass that goes from i to j; rows sum to p, columns to q


# ----------------------------------------------------------------------------------------------------------------------
# Expectations


def expectation(probabilities: Float[Tensor, " N"], values: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return the mean of a function's values over a discrete distribution; what cannot happen counts nothing.

    Raises:
        ValueError: if the probabilities are negative or do not sum to 1.
    """
    _check(probabilities)
    return (probabilities * values.where(probabilities > 0, 0)).sum()


def quadrature(
    density: Callable[[float], float],
    function: Callable[[float], float],
    low: float | int = -math.inf,
    high: float | int = math.inf,
) -> float:
    """Return the mean of a function over a continuous distribution on the line, by adaptive quadrature.

    Args:
        density: of the distribution.
        function: whose mean is wanted.
        low: where the density begins; narrow ones far from 0 are only found between finite ends.
        high: where it ends.

    Raises:
        ValueError: if the density does not integrate to 1 from `low` to `high`.
    """
    mass, _ = scipy.integrate.quad(density, low, high)
    if not abs(mass - 1) <= TOLERANCE:
        raise ValueError(f"received a density whose integral from {low} to {high} is {mass:.6g}, expected 1")
    return float(scipy.integrate.quad(lambda x: density(x) * function(x), low, high)[0])


def monte_carlo(values: Float[Tensor, " N"]) -> Estimate:
    """Return the mean of a function's values at independent samples, and how far it is likely to be off.

    Raises:
        ValueError: for fewer than two samples.
    """
    if len(values) < 2:
        raise ValueError(f"received {len(values)} samples, expected at least 2")
    numbers = values.double()
    return Estimate(float(numbers.mean()), float(numbers.std()) / math.sqrt(len(numbers)))


# ----------------------------------------------------------------------------------------------------------------------
# Information


def self_information(probabilities: Float[Tensor, "*N"], *, base: float | int = math.e) -> Float[Tensor, "*N"]:
    """Return how surprising events are: -log p, infinite for what cannot happen.

    Raises:
        ValueError: if a probability is not in [0, 1], or the base is not above 1.
    """
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("received numbers beyond 0 to 1, expected probabilities")
    return -probabilities.log() / _unit(base)


def entropy(probabilities: Float[Tensor, "*B K"], *, base: float | int = math.e) -> Float[Tensor, "*B"]:
    """Return the mean self-information of distributions over K classes, from 0 to log K.

    Raises:
        ValueError: if probabilities are negative or do not sum to 1, or the base is not above 1.
    """
    _check(probabilities)
    return torch.special.entr(probabilities).sum(-1) / _unit(base)


def kl_divergence(
    p: Float[Tensor, "*B K"], q: Float[Tensor, "*B K"], *, base: float | int = math.e
) -> Float[Tensor, "*B"]:
    """Return the Kullback-Leibler divergence of p from q, the mean of log p - log q over p: not symmetric.

    It is infinite where p has a class that q rules out; a class that p rules out counts nothing.

    Raises:
        ValueError: if probabilities are negative or do not sum to 1, or the base is not above 1.
    """
    _check(p)
    _check(q)
    return _relative(p, q).sum(-1) / _unit(base)


def kl_monte_carlo(log_p: Float[Tensor, " N"], log_q: Float[Tensor, " N"]) -> Estimate:
    """Estimate the Kullback-Leibler divergence of p from q in nats, from both log-densities at samples of p.

    Raises:
        ValueError: for fewer than two samples.
    """
    return monte_carlo(log_p.double() - log_q.double())


def kl_normal(
    mean_p: Float[Tensor, " D"],
    covariance_p: Float[Tensor, "D D"],
    mean_q: Float[Tensor, " D"],
    covariance_q: Float[Tensor, "D D"],
) -> Float[Tensor, ""]:
    """Return the Kullback-Leibler divergence of one normal distribution from another, in nats, in closed form.

    (tr(Sq^-1 Sp) + (mq - mp)' Sq^-1 (mq - mp) - D + ln det Sq - ln det Sp) / 2

    Raises:
        ValueError: if a covariance is not positive definite.
    """
    (root_p, wrong_p), (root_q, wrong_q) = (torch.linalg.cholesky_ex(each) for each in (covariance_p, covariance_q))
    if wrong_p or wrong_q:
        raise ValueError("received a covariance that is not positive definite, expected two that are")
    spread = torch.linalg.solve_triangular(root_q, root_p, upper=False)  # D D
    apart = torch.linalg.solve_triangular(root_q, (mean_q - mean_p)[:, None], upper=False)  # D 1
    volumes = root_q.diagonal().log().sum() - root_p.diagonal().log().sum()
    return (spread.square().sum() + apart.square().sum() - len(mean_p)) / 2 + volumes


def js_divergence(
    p: Float[Tensor, "*B K"], q: Float[Tensor, "*B K"], *, base: float | int = math.e
) -> Float[Tensor, "*B"]:
    """Return the Jensen-Shannon divergence: the mean divergence of p and of q from their mixture.

    Symmetric, from 0 for equal distributions to log 2 for those that have no class in common.

    Raises:
        ValueError: if probabilities are negative or do not sum to 1, or the base is not above 1.
    """
    _check(p)
    _check(q)
    mixture = (p + q) / 2
    apart = (_relative(p, mixture).sum(-1) + _relative(q, mixture).sum(-1)) / 2
    return apart.clamp(min=0) / _unit(base)  # rounding may leave less than 0, which has no root


def js_distance(
    p: Float[Tensor, "*B K"], q: Float[Tensor, "*B K"], *, base: float | int = math.e
) -> Float[Tensor, "*B"]:
    """Return the root of the Jensen-Shannon divergence, which is a metric (Endres & Schindelin 2003).

    Raises:
        ValueError: as `js_divergence`.
    """
    return js_divergence(p, q, base=base).sqrt()


def _relative(p: Tensor, q: Tensor) -> Tensor:
    """Return p log(p / q), 0 where p is 0."""
    return torch.xlogy(p, p) - torch.xlogy(p, q)


def _unit(base: float | int) -> float:
    if not base > 1:
        raise ValueError(f"received base={base}, expected more than 1")
    return math.log(base)


def _check(probabilities: Tensor) -> None:
    sums = probabilities.sum(-1)
    if not ((probabilities >= 0).all() and ((sums - 1).abs() <= TOLERANCE).all()):
        raise ValueError(
            f"received numbers from {float(probabilities.min()):.4g} that sum to {float(sums.min()):.6g} to "
            f"{float(sums.max()):.6g}, expected probabilities that sum to 1"
        )


# ----------------------------------------------------------------------------------------------------------------------
# Earth mover's distance


def earth_movers_distance(p: Float[Tensor, " N"], q: Float[Tensor, " M"], cost: Float[Tensor, "N M"]) -> Transport:
    """Return the least cost of moving the mass of p to where q has it, and a plan that does it (float64).

    A linear program with N M variables, of which an optimal solution uses at most N + M - 1.

    Args:
        p: masses, that sum to 1.
        q: masses, that sum to 1.
        cost: of moving a unit from i to j, such as their distance.

    Raises:
        ValueError: if masses are negative or do not sum to 1, or a cost is not finite.
    """
    _check(p)
    _check(q)
    if not cost.isfinite().all():
        raise ValueError("received a cost that is not finite, expected numbers")
    N, M = cost.shape
    leaving = scipy.sparse.kron(scipy.sparse.eye_array(N), np.ones((1, M)))  # N NM, sums of the plan's rows
    arriving = scipy.sparse.kron(np.ones((1, N)), scipy.sparse.eye_array(M))  # M NM, of its columns
    masses = np.concatenate([_normalised(p), _normalised(q)])
    found = scipy.optimize.linprog(
        cost.double().flatten().cpu().numpy(), A_eq=scipy.sparse.vstack([leaving, arriving]).tocsr(), b_eq=masses
    )  # variables are at least 0 by default
    if found.x is None:
        raise ValueError(f"no transport plan was found: {found.message}")
    return Transport(float(found.fun), torch.from_numpy(found.x).view(N, M))


def earth_movers_distance_1d(p: Float[Tensor, " N"], q: Float[Tensor, " N"], positions: Float[Tensor, " N"]) -> float:
    """Return the earth mover's distance of masses on a line, with |i - j| as cost: the area between their CDFs.

    Args:
        p: masses at the positions, that sum to 1.
        q: masses at the same positions, that sum to 1.
        positions: in any order.

    Raises:
        ValueError: if masses are negative or do not sum to 1.
    """
    _check(p)
    _check(q)
    places, order = positions.double().cpu().sort()
    gap = torch.from_numpy(_normalised(p) - _normalised(q))[order].cumsum(0)  # between the CDFs
    return float((gap[:-1].abs() * places.diff()).sum())


def _normalised(masses: Tensor) -> np.ndarray:
    """Return masses whose sums are equal, as equations that have a solution need them."""
    exact = masses.double().cpu().numpy()
    return exact / exact.sum()
