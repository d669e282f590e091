"""Mixtures of Gaussians against torch's distributions, autograd and numerical integration."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from tests.closeness import NUMBERS, assert_close
from vidi.ops.diffusion import noised
from vidi.ops.mixtures import GaussianMixture, gaussian_sample, reverse_density


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


MIXTURE = GaussianMixture(
    numbers(0.2, 0.5, 0.3),
    torch.tensor([[-2.0, 0.0], [1.0, 1.0], [3.0, -1.0]], dtype=torch.float64),
    numbers(0.25, 1.0, 0.04),
)


def of_torch(mixture: GaussianMixture) -> MixtureSameFamily:
    deviations = mixture.variances.sqrt()[:, None].expand_as(mixture.means)
    return MixtureSameFamily(Categorical(mixture.weights), Independent(Normal(mixture.means, deviations), 1))


@pytest.mark.system("8.3.1-GAUSSAMPLE")
def test_draws_of_a_full_covariance() -> None:
    """The root squares to Sigma; the density of a draw is that of y over the root's determinant."""
    mean, root = numbers(1, -2, 0.5), torch.randn(3, 3).double()
    covariance = root @ root.mT
    shifts = gaussian_sample(mean, covariance, torch.eye(3).double()) - mean
    assert_close(shifts.mT @ shifts, covariance, NUMBERS)
    y = torch.randn(5, 3).double()
    law, standard = (
        MultivariateNormal(mean, covariance),
        MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()),
    )
    expected = standard.log_prob(y) - 0.5 * covariance.logdet()
    assert_close(law.log_prob(gaussian_sample(mean, covariance, y)), expected, NUMBERS)


@pytest.mark.system("8.3.1-GAUSSAMPLE")
def test_draws_of_an_isotropic_covariance_are_those_of_the_full_one() -> None:
    mean, y = numbers(1, -2), torch.randn(4, 2).double()
    assert_close(gaussian_sample(mean, 2.25, y), mean + 1.5 * y)
    assert_close(gaussian_sample(mean, 2.25 * torch.eye(2).double(), y), mean + 1.5 * y, NUMBERS)
    flat = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)  # of rank one
    on_the_diagonal = gaussian_sample(numbers(0, 0), flat, y)
    assert_close(on_the_diagonal[:, 0], on_the_diagonal[:, 1], NUMBERS)


def test_what_is_no_covariance_is_refused() -> None:
    y = torch.zeros(1, 2).double()
    with pytest.raises(ValueError, match=r"variance of -1"):
        gaussian_sample(numbers(0, 0), -1.0, y)
    for rows in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]]):
        with pytest.raises(ValueError, match="no covariance"):
            gaussian_sample(numbers(0, 0), torch.tensor(rows, dtype=torch.float64), y)


def test_density_and_classifier_are_those_of_torch() -> None:
    x = 3 * torch.randn(20, 2).double()
    assert_close(MIXTURE.log_prob(x), of_torch(MIXTURE).log_prob(x), NUMBERS)
    parts = [of_torch(MIXTURE.component(k)).log_prob(x) + MIXTURE.weights[k].log() for k in range(3)]
    joint = torch.stack(parts, 1)
    assert_close(MIXTURE.log_component(x), joint - joint.logsumexp(1, keepdim=True), NUMBERS)


@pytest.mark.system("8.3.5-SCORE")
def test_the_score_is_the_gradient_of_the_log_density() -> None:
    """Analytic for a mixture and for one Gaussian, against autograd; a factor of the density does not matter."""
    for mixture in (MIXTURE, MIXTURE.component(1)):
        x = (2 * torch.randn(20, 2).double()).requires_grad_()
        log_density = of_torch(mixture).log_prob(x) + 7.0  # not normalised
        (gradient,) = torch.autograd.grad(log_density.sum(), x)
        assert_close(mixture.score(x.detach()), gradient, NUMBERS)


def test_noised_data_are_a_mixture_again() -> None:
    """Its draws by the kernel have the moments of `noised`, within four standard errors."""
    generator, count, alpha = torch.Generator().manual_seed(1), 100_000, 0.4
    x0 = MIXTURE.sample(count, generator)
    x = noised(x0, torch.randn(count, 2, generator=generator, dtype=torch.float64), alpha)
    law = MIXTURE.noised(alpha)
    for points, mixture in ((x0, MIXTURE), (x, law)):
        expected = of_torch(mixture)
        assert ((points.mean(0) - expected.mean).abs() < 4 * (expected.variance / count).sqrt()).all()
        assert ((points.var(0) - expected.variance).abs() < 4 * expected.variance * math.sqrt(2 / count)).all()
    assert_close(MIXTURE.noise(x[:9], alpha), -(0.6**0.5) * law.score(x[:9]))


def test_a_tilted_mixture_has_other_weights() -> None:
    tilted = MIXTURE.tilted(numbers(0, 1, 0))
    weights = MIXTURE.weights * numbers(1, math.e, 1)
    assert_close(tilted.weights, weights / weights.sum())
    assert tilted.means is MIXTURE.means


def normal(grid: torch.Tensor, mean: float, variance: float) -> torch.Tensor:
    return (-((grid - mean) ** 2) / (2 * variance)).exp() / math.sqrt(2 * math.pi * variance)


@pytest.mark.system("8.3.2-BAYES")
def test_the_reverse_of_known_densities_by_bayes_rule() -> None:
    """Of a 1-D mixture on a grid, against its closed form: a mixture whose parts are conditioned one by one."""
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    step, x, beta = (grid[1] - grid[0]).item(), 0.4, 0.3
    parts = [(0.3, -1.5, 0.2), (0.7, 1.0, 0.5)]
    density = sum((w * normal(grid, m, v) for w, m, v in parts), torch.zeros_like(grid))
    found = reverse_density(density, grid, x, beta)
    assert found.sum().item() * step == pytest.approx(1, rel=NUMBERS)
    expected = torch.zeros_like(grid)
    for w, m, v in parts:
        evidence = w * normal(numbers(x), (1 - beta) ** 0.5 * m, (1 - beta) * v + beta).item()
        precision = 1 / v + (1 - beta) / beta
        mean = (m / v + (1 - beta) ** 0.5 * x / beta) / precision
        expected += evidence * normal(grid, mean, 1 / precision)
    assert_close(found, expected / (expected.sum() * step), NUMBERS)
    assert_close(reverse_density(5 * density, grid, x, beta), found)  # of which only the shape matters


@pytest.mark.system("8.3.2-BAYES")
def test_the_reverse_is_gaussian_only_as_beta_vanishes() -> None:
    """The divergence from the Gaussian of equal moments, for falling beta; none for Gaussian data at any beta."""
    grid = torch.linspace(-6, 6, 60_001, dtype=torch.float64)
    step = (grid[1] - grid[0]).item()

    def divergence(density: torch.Tensor, beta: float) -> float:
        found = reverse_density(density, grid, 0.0, beta)
        mean = (found * grid).sum().item() * step
        variance = (found * (grid - mean) ** 2).sum().item() * step
        terms = found * (found.clamp(min=1e-300) / normal(grid, mean, variance).clamp(min=1e-300)).log()
        return terms.sum().item() * step

    mixture = 0.4 * normal(grid, -1, 0.1) + 0.6 * normal(grid, 1, 0.1)
    found = [divergence(mixture, beta) for beta in (0.5, 0.1, 0.02, 0.004)]
    assert found[0] > 0.05, found
    assert all(small < large / 2 for large, small in pairwise(found[1:])), found
    assert all(abs(divergence(normal(grid, 0.3, 0.8), beta)) < 1e-8 for beta in (0.5, 0.02))
