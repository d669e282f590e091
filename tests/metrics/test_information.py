"""Information: the coins of the notes, scipy, torch.distributions, and slow loops."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial.distance
import scipy.stats
import torch
from tests.closeness import EXACT, NUMBERS, assert_close
from torch import Tensor
from torch.distributions import MultivariateNormal

from vidi.metrics.information import (
    earth_movers_distance,
    earth_movers_distance_1d,
    entropy,
    expectation,
    js_distance,
    js_divergence,
    kl_divergence,
    kl_monte_carlo,
    kl_normal,
    monte_carlo,
    quadrature,
    self_information,
)

FAIR, LOADED, CONSTANT = (torch.tensor(coin, dtype=torch.float64) for coin in ([0.5, 0.5], [0.05, 0.95], [0.0, 1.0]))
PRINTED = 6e-7  # the inventory prints six digits after the point


def distributions(*shape: int, zeros: bool = False, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    masses = torch.rand(*shape, generator=generator, dtype=torch.float64)
    if zeros:
        masses = masses * (torch.rand(*shape, generator=generator) < 0.6)
        masses[..., 0] += 0.1
    return masses / masses.sum(-1, keepdim=True)


def covariance(D: int, seed: int) -> Tensor:
    factor = torch.randn(D, 2 * D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.T / D


# ----------------------------------------------------------------------------------------------------------------------
# Expectations


@pytest.mark.system("8.1-EXPECT")
def test_an_expectation_is_the_weighted_sum():
    p, values = distributions(7), torch.linspace(-2, 3, 7, dtype=torch.float64) ** 3
    weighted = [float(p[i]) * float(values[i]) for i in range(7)]
    assert float(expectation(p, values)) == pytest.approx(sum(weighted), rel=EXACT)
    dice = torch.full((6,), 1 / 6, dtype=torch.float64)
    assert float(expectation(dice, torch.arange(1, 7, dtype=torch.float64))) == pytest.approx(3.5, rel=EXACT)
    # what cannot happen counts nothing, whatever its value
    assert float(expectation(CONSTANT, torch.tensor([math.inf, 3.0], dtype=torch.float64))) == 3


@pytest.mark.system("8.1-EXPECT")
@pytest.mark.parametrize(
    ("distribution", "ends"),
    [
        (scipy.stats.norm(0.5, 2), ()),
        (scipy.stats.gamma(2.5), (0,)),
        (scipy.stats.uniform(-1, 3), (-1, 2)),
        (scipy.stats.norm(1000, 0.01), (999, 1001)),
    ],
    ids=["normal", "gamma", "uniform", "narrow"],
)
def test_quadrature_integrates_a_function_over_a_density(distribution, ends: tuple[int, ...]):
    assert quadrature(distribution.pdf, lambda x: x, *ends) == pytest.approx(distribution.mean(), rel=1e-7)
    second = quadrature(distribution.pdf, lambda x: (x - distribution.mean()) ** 2, *ends)
    assert second == pytest.approx(distribution.var(), rel=1e-7)
    entropy_in_nats = quadrature(distribution.pdf, lambda x: -distribution.logpdf(x), *ends)
    assert entropy_in_nats == pytest.approx(float(distribution.entropy()), rel=1e-6)


@pytest.mark.system("8.1-EXPECT")
def test_a_density_that_is_missed_or_none_is_refused():
    with pytest.raises(ValueError, match=r"from 0 to inf is 0\.5, expected 1"):
        quadrature(lambda x: float(scipy.stats.norm.pdf(x)), abs, 0)
    with pytest.raises(ValueError, match="expected 1"):
        quadrature(lambda x: float(scipy.stats.norm.pdf(x, 1000, 0.01)), abs)  # its peak is never met


@pytest.mark.system("8.1-MC")
def test_a_monte_carlo_estimate_is_mean_and_standard_error():
    values = torch.randn(50, dtype=torch.float64)
    found = monte_carlo(values.float())
    numbers = values.float().double().numpy()
    assert found.mean == pytest.approx(numbers.mean())
    assert found.standard_error == pytest.approx(scipy.stats.sem(numbers))
    with pytest.raises(ValueError, match="received 1 samples, expected at least 2"):
        monte_carlo(values[:1])


@pytest.mark.system("8.1-MC")
def test_the_standard_error_falls_with_the_root_of_the_samples_and_says_how_far_the_mean_is_off():
    generator = torch.Generator().manual_seed(3)

    def estimates(count: int) -> tuple[float, float]:
        """Over 400 estimates of E x^2 = 1: the root mean square of the miss, and the mean standard error."""
        draws = torch.randn(400, count, generator=generator, dtype=torch.float64).square()
        each = [monte_carlo(row) for row in draws]
        misses = [(one.mean - 1) ** 2 for one in each]
        return math.sqrt(sum(misses) / 400), sum(one.standard_error for one in each) / 400

    (miss, error), (miss_of_16, error_of_16) = estimates(100), estimates(1600)
    assert error == pytest.approx(math.sqrt(2 / 100), rel=0.05)  # var x^2 = 2
    assert error_of_16 == pytest.approx(error / 4, rel=0.05)
    assert miss == pytest.approx(error, rel=0.15)
    assert miss_of_16 == pytest.approx(error_of_16, rel=0.15)


# ----------------------------------------------------------------------------------------------------------------------
# Information


@pytest.mark.system("8.1-SELFINFO", "B8.1")
def test_coins_surprise_as_in_the_notes():
    events = torch.tensor([0.5, 0.05, 0.95], dtype=torch.float64)
    bits = self_information(events, base=2)
    assert bits.tolist() == pytest.approx([1, 4.321928, 0.0740006], abs=PRINTED)  # the notes round 4.32 to 4.31
    assert_close(self_information(events), bits * math.log(2))
    assert_close(self_information(events, base=10), [-math.log10(p) for p in events.tolist()])
    assert self_information(torch.tensor([0.0, 1.0])).tolist() == [math.inf, 0]
    with pytest.raises(ValueError, match="expected probabilities"):
        self_information(torch.tensor([1.5]))
    with pytest.raises(ValueError, match="expected probabilities"):
        self_information(torch.tensor([-0.1]))


@pytest.mark.system("8.1-ENTROPY", "B8.2")
def test_coins_have_the_entropies_of_the_notes():
    coins = torch.stack([FAIR, LOADED, CONSTANT])
    assert entropy(coins, base=2).tolist() == pytest.approx([1, 0.286397, 0], abs=PRINTED)
    assert entropy(coins).tolist() == pytest.approx([0.693147, 0.198515, 0], abs=PRINTED)


@pytest.mark.system("8.1-ENTROPY")
@pytest.mark.parametrize("base", [2, math.e, 10, 1.5])
def test_entropy_is_that_of_scipy_and_the_mean_self_information(base: float):
    p = distributions(4, 5, 9, zeros=True)
    assert (p == 0).any()
    assert_close(entropy(p, base=base), scipy.stats.entropy(p.numpy(), base=base, axis=-1))
    mean = expectation(p[1, 2], self_information(p[1, 2], base=base))
    assert_close(entropy(p[1, 2], base=base), mean)
    uniform = torch.full((9,), 1 / 9, dtype=torch.float64)
    assert float(entropy(uniform, base=base)) == pytest.approx(math.log(9, base))  # the most there is


@pytest.mark.system("8.1-KL", "B8.3")
def test_coins_diverge_as_in_the_notes():
    p, q = torch.stack([FAIR, LOADED, FAIR, CONSTANT]), torch.stack([LOADED, FAIR, CONSTANT, FAIR])
    assert kl_divergence(p, q).tolist() == pytest.approx([0.830366, 0.494632, math.inf, 0.693147], abs=PRINTED)
    assert kl_divergence(p, q, base=2).tolist() == pytest.approx([1.197964, 0.713603, math.inf, 1], abs=PRINTED)


@pytest.mark.system("8.1-KL")
@pytest.mark.parametrize("base", [2, math.e, 10])
@pytest.mark.parametrize("zeros", [False, True])
def test_kl_is_that_of_scipy_and_not_symmetric(zeros: bool, base: float):
    p, q = distributions(30, 6, zeros=zeros), distributions(30, 6, zeros=zeros, seed=1)
    expected = scipy.stats.entropy(p.numpy(), q.numpy(), base=base, axis=-1)
    assert np.isinf(expected).any() == zeros
    assert_close(kl_divergence(p, q, base=base), expected)
    assert (kl_divergence(p, q) != kl_divergence(q, p)).any()
    assert_close(kl_divergence(p, p), torch.zeros(30).double(), size=1)


@pytest.mark.system("8.1-KL")
def test_kl_of_normal_distributions_is_that_of_torch_and_of_samples():
    (m, S), (n, T) = ((torch.randn(4, dtype=torch.float64), covariance(4, seed)) for seed in (0, 1))
    p, q = MultivariateNormal(m, S), MultivariateNormal(n, T)
    exact = kl_normal(m, S, n, T)
    assert_close(exact, torch.distributions.kl_divergence(p, q), NUMBERS)
    assert float(exact) != pytest.approx(float(kl_normal(n, T, m, S)), rel=1e-3)
    samples = p.sample(torch.Size([20_000]))
    found = kl_monte_carlo(p.log_prob(samples), q.log_prob(samples))
    assert abs(found.mean - float(exact)) < 4 * found.standard_error
    assert found.standard_error < 0.05 * float(exact)
    # on a line: log s_q / s_p + (s_p^2 + (m_p - m_q)^2) / 2 s_q^2 - 1 / 2
    mean, unit = torch.zeros(1).double(), torch.eye(1).double()
    assert float(kl_normal(mean, unit, mean + 1, 4 * unit)) == pytest.approx(math.log(2) + 2 / 8 - 0.5, rel=EXACT)
    with pytest.raises(ValueError, match="not positive definite"):
        kl_normal(m, S, n, torch.zeros(4, 4).double())
    with pytest.raises(ValueError, match="not positive definite"):
        kl_normal(m, -S, n, T)


@pytest.mark.system("8.1-JS", "B8.4")
def test_coins_are_apart_as_in_the_inventory():
    p, q = torch.stack([FAIR, FAIR, LOADED]), torch.stack([LOADED, CONSTANT, CONSTANT])
    assert js_divergence(p, q).tolist() == pytest.approx([0.142338, 0.215762, 0.0176492], abs=PRINTED)


@pytest.mark.system("8.1-JS")
@pytest.mark.parametrize("base", [2, math.e])
def test_the_root_of_js_is_that_of_scipy(base: float):
    p, q = distributions(30, 6, zeros=True), distributions(30, 6, zeros=True, seed=1)
    root: Any = scipy.spatial.distance.jensenshannon  # whose types do not know its axis
    expected = root(p.numpy(), q.numpy(), base=base, axis=-1)
    assert_close(js_distance(p, q, base=base), expected, NUMBERS)
    assert_close(js_divergence(p, q, base=base), expected**2, NUMBERS)
    assert_close(js_divergence(p, q), js_divergence(q, p))
    assert (js_divergence(p, p) == 0).all()


@pytest.mark.system("8.1-JS", "B8.5")
def test_js_is_at_most_log_2_and_only_its_root_keeps_to_the_triangle():
    apart = (torch.tensor([0.3, 0.7, 0, 0]), torch.tensor([0, 0, 0.9, 0.1]))
    assert float(js_divergence(*apart)) == pytest.approx(math.log(2), rel=1e-6)
    assert float(js_divergence(*apart, base=2)) == pytest.approx(1, rel=1e-6)
    straight, first, second = (
        float(js_divergence(*pair)) for pair in ((FAIR, CONSTANT), (FAIR, LOADED), (LOADED, CONSTANT))
    )
    assert (straight, first + second) == (pytest.approx(0.215762, abs=PRINTED), pytest.approx(0.159987, abs=PRINTED))
    assert math.sqrt(straight) == pytest.approx(0.464501, abs=PRINTED)
    assert math.sqrt(first) + math.sqrt(second) == pytest.approx(0.510127, abs=PRINTED)
    p, q, r = (distributions(500, 3, zeros=True, seed=seed) for seed in range(3))
    assert (js_distance(p, r) <= js_distance(p, q) + js_distance(q, r) + 1e-12).all()


@pytest.mark.parametrize("measure", [entropy, self_information])
@pytest.mark.parametrize("base", [1, 0.5, 0, math.nan])
def test_a_base_that_measures_nothing_is_refused(measure: Callable, base: float):
    with pytest.raises(ValueError, match="expected more than 1"):
        measure(FAIR, base=base)


@pytest.mark.parametrize("wrong", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1.0], [0.6, 0.6]])
def test_what_is_no_distribution_is_refused(wrong: list[float]):
    masses, cost = torch.tensor(wrong, dtype=torch.float64), torch.zeros(2, 2)
    attempts: list[Callable[[], object]] = [
        lambda: entropy(masses),
        lambda: expectation(masses, FAIR),
        lambda: kl_divergence(masses, FAIR),
        lambda: kl_divergence(FAIR, masses),
        lambda: js_divergence(masses, FAIR),
        lambda: js_divergence(FAIR, masses),
        lambda: earth_movers_distance(masses, FAIR, cost),
        lambda: earth_movers_distance(FAIR, masses, cost),
        lambda: earth_movers_distance_1d(masses, FAIR, FAIR),
        lambda: earth_movers_distance_1d(FAIR, masses, FAIR),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="expected probabilities that sum to 1"):
            attempt()


# ----------------------------------------------------------------------------------------------------------------------
# Earth mover's distance


def on_a_line(positions: Tensor) -> Tensor:
    return (positions[:, None] - positions).abs()


@pytest.mark.system("8.1.2-EMD", "B8.8")
def test_masses_move_three_bins():
    p, q = torch.tensor([0.5, 0.5, 0, 0, 0]), torch.tensor([0, 0, 0, 0.5, 0.5])
    bins = torch.arange(5.0)
    found = earth_movers_distance(p, q, on_a_line(bins))
    assert found.distance == pytest.approx(3)
    assert_close(found.plan.sum(1), p.double())
    assert_close(found.plan.sum(0), q.double())
    assert earth_movers_distance_1d(p, q, bins) == pytest.approx(3)


@pytest.mark.system("8.1.2-EMD")
@pytest.mark.parametrize("seed", range(3))
def test_on_a_line_the_program_the_closed_form_and_scipy_agree(seed: int):
    p, q = distributions(9, zeros=True, seed=seed), distributions(9, zeros=True, seed=seed + 10)
    places = torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = scipy.stats.wasserstein_distance(places.numpy(), places.numpy(), p.numpy(), q.numpy())
    assert earth_movers_distance_1d(p, q, places) == pytest.approx(expected, rel=NUMBERS)
    assert earth_movers_distance(p, q, on_a_line(places)).distance == pytest.approx(expected, rel=NUMBERS)
    assert earth_movers_distance_1d(p, p, places) == 0


@pytest.mark.system("8.1.2-EMD")
@pytest.mark.parametrize(("N", "M"), [(4, 4), (3, 6), (1, 5)])
def test_any_cost_gives_the_plan_of_a_dense_linear_program(N: int, M: int):
    """No distance, and not square: as the equations of the notes say it, one by one."""
    p, q = distributions(N), distributions(M, seed=1)
    cost = torch.rand(N, M, dtype=torch.float64)
    equations, masses = [], []
    for i in range(N):
        equations.append([float(row == i) for row in range(N) for _ in range(M)])
        masses.append(float(p[i]))
    for j in range(M):
        equations.append([float(column == j) for _ in range(N) for column in range(M)])
        masses.append(float(q[j]))
    expected = scipy.optimize.linprog(cost.flatten().numpy(), A_eq=equations, b_eq=masses)
    found = earth_movers_distance(p, q, cost)
    assert found.distance == pytest.approx(expected.fun, rel=NUMBERS)
    assert found.plan.shape == (N, M)
    assert (found.plan >= 0).all()
    assert_close(found.plan.sum(1), p, NUMBERS)
    assert_close(found.plan.sum(0), q, NUMBERS)
    assert float((found.plan * cost).sum()) == pytest.approx(found.distance)
    with pytest.raises(ValueError, match="not finite"):
        earth_movers_distance(p, q, cost / 0)


@pytest.mark.system("8.1-KL", "8.1-JS", "8.1.2-EMD", "B8.7")
@pytest.mark.parametrize("shift", [0.503, 0.704, 0.05])
def test_bumps_that_are_pushed_apart_have_the_distances_of_figure_8_1(shift: float):
    """Uniform, 0.5 wide, in bins of 0.001: a construction of the inventory that gives what the figure prints."""
    bins = torch.arange(2000, dtype=torch.float64) / 1000
    start = round(shift * 1000)
    p, q = torch.zeros(2000).double(), torch.zeros(2000).double()
    p[:500], q[start : start + 500] = 1 / 500, 1 / 500
    assert float(kl_divergence(p, q)) == math.inf
    expected = math.log(2) if shift > 0.5 else 0.0693147
    assert float(js_divergence(p, q)) == pytest.approx(expected, abs=PRINTED)
    assert earth_movers_distance_1d(p, q, bins) == pytest.approx(shift, rel=NUMBERS)


@pytest.mark.system("8.1-KL", "8.1-JS", "8.1.2-EMD", "B8.13")
@pytest.mark.parametrize("theta", [-3.0, -0.01, 0.01, 2.0])
def test_of_two_points_only_the_earth_movers_distance_says_how_far(theta: float):
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    places = torch.tensor([0.0, theta])
    assert float(kl_divergence(p, q)) == math.inf
    assert float(js_divergence(p, q)) == pytest.approx(math.log(2), rel=1e-6)
    assert earth_movers_distance_1d(p, q, places) == pytest.approx(abs(theta), rel=1e-6)
    assert earth_movers_distance(p, q, on_a_line(places)).distance == pytest.approx(abs(theta), rel=1e-6)
