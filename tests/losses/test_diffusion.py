"""Losses of diffusion models against torch's distributions, the numbers of the notes, and a chain that is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Independent, Normal, kl_divergence

from tests.closeness import EXACT, NUMBERS, assert_close
from vidi.losses.diffusion import (
    bits_per_dimension,
    denoising_score_loss,
    elbo_weight,
    gaussian_kl,
    gaussian_nll,
    hybrid_loss,
    mean_error,
    pixel_nll,
    prior_term,
    simple_loss,
    step_term,
    weighted_loss,
)
from vidi.ops.diffusion import Schedule, mean_from_noise, noised, posterior_mean, posterior_variance
from vidi.ops.mixtures import GaussianMixture

LINEAR = Schedule.named("linear")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def normal(mean: torch.Tensor, variance: float | torch.Tensor) -> Independent:
    deviation = torch.as_tensor(variance, dtype=torch.float64).sqrt().expand_as(mean)
    return Independent(Normal(mean, deviation), mean.ndim - 1)


@pytest.mark.system("8.3.2-NOISELOSS")
def test_simple_and_weighted_losses_are_mean_squares() -> None:
    found, target = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4)
    assert_close(simple_loss(found, target), F.mse_loss(found, target))
    assert_close(weighted_loss(found, target, torch.ones(3).double()), F.mse_loss(found, target))
    weights = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)
    rows = torch.stack([F.mse_loss(a, b) for a, b in zip(found, target, strict=True)])
    assert_close(weighted_loss(found, target, weights), (weights * rows).sum() / 3)


@pytest.mark.system("8.3.2-NOISELOSS", "B8.24")
def test_the_weight_of_the_notes() -> None:
    """0.00550820 at their t = 500 and the posterior's variance (erratum C8.14: 2 sigma^2 is missing in print)."""
    alpha, before = LINEAR.level(499), LINEAR.level(498)
    variance = posterior_variance(alpha, before)
    weight = elbo_weight(alpha, before, variance)
    assert weight == pytest.approx(0.00550820, abs=5e-9)
    assert weight * 2 * variance == pytest.approx(1.10509e-4, abs=5e-10)
    beta = 1 - alpha / before
    assert beta**2 / (before * (1 - beta)) == pytest.approx(1.28268e-3, abs=5e-9)


@pytest.mark.system("8.3.2-NOISELOSS", "8.3.2-MEANLOSS")
@pytest.mark.parametrize("kind", ["posterior", "beta"])
def test_weighted_errors_of_the_noise_are_those_of_the_mean_and_the_divergence(kind: str) -> None:
    """Up to the difference of the variances, which no parameter reaches."""
    x0, noise, found = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4), drawn(3, 2, 4, 4)
    alpha, before = LINEAR.level(499), LINEAR.level(498)
    variance = posterior_variance(alpha, before) if kind == "posterior" else 1 - alpha / before
    x = noised(x0, noise, alpha)
    mean, target = mean_from_noise(found, x, alpha, before), posterior_mean(x0, x, alpha, before)
    errors = mean_error(mean, target, variance)
    weights = torch.full((3,), float(elbo_weight(alpha, before, variance)), dtype=torch.float64)
    assert_close(weighted_loss(found, noise, weights) * 2 * 4 * 4, errors.mean(), NUMBERS)
    expected = kl_divergence(normal(target, posterior_variance(alpha, before)), normal(mean, variance))
    assert_close(step_term(x0, x, mean, variance, alpha, before), expected, NUMBERS)
    same = kl_divergence(normal(target, posterior_variance(alpha, before)), normal(target, variance))
    assert_close(errors + same, expected, NUMBERS)


def test_divergences_and_likelihoods_are_those_of_torch() -> None:
    """With one variance for all, and with one for each number."""
    mean, other, x = drawn(4, 3, 2), drawn(4, 3, 2), drawn(4, 3, 2)
    for variance, second in ((0.3, 1.7), (drawn(4, 3, 2).exp(), drawn(4, 1, 1).exp())):
        one, two = (
            normal(mean, torch.as_tensor(variance, dtype=torch.float64)),
            normal(other, torch.as_tensor(second, dtype=torch.float64)),
        )
        assert_close(gaussian_kl(mean, variance, other, second), kl_divergence(one, two), NUMBERS)
        assert_close(gaussian_nll(x, mean, variance), -one.log_prob(x), NUMBERS)


@pytest.mark.system("8.3.2-MEANLOSS")
def test_the_last_term_is_the_likelihood_of_the_picture() -> None:
    """At the first time: a Gaussian of continuous data, whose squared error is that of the other terms."""
    x0, mean = drawn(2, 5), drawn(2, 5)
    expected = mean_error(mean, x0, 0.01) + 5 / 2 * math.log(2 * math.pi * 0.01)
    assert_close(gaussian_nll(x0, mean, 0.01), expected, NUMBERS)


@pytest.mark.parametrize("variance", [1e-4, 0.02, 3.0])
def test_pixels_have_the_probability_of_their_bin(variance: float) -> None:
    """By a loop over pixels with Python's error function; the outer bins reach to infinity."""
    values = torch.tensor([0, 1, 100, 254, 255], dtype=torch.float64) * 2 / 255 - 1
    mean = values + torch.tensor([0.004, -0.003, 0.0, 0.02, -0.001], dtype=torch.float64)

    def below(place: float, m: float) -> float:
        return 0.5 * math.erfc(-(place - m) / math.sqrt(2 * variance))

    total = 0.0
    for value, m in zip(values.tolist(), mean.tolist(), strict=True):
        high = 1.0 if value > 0.999 else below(value + 1 / 255, m)
        low = 0.0 if value < -0.999 else below(value - 1 / 255, m)
        total -= math.log(high - low)
    assert pixel_nll(values[None], mean[None], variance).item() == pytest.approx(total, rel=1e-8)


def test_all_bins_together_have_probability_one() -> None:
    """And far from the mean, on either side, a bin has a small finite one, not none."""
    values = (torch.arange(256).double() * 2 / 255 - 1)[:, None]
    nats = pixel_nll(values, torch.full_like(values, 0.3), 0.01)
    assert (-nats).exp().sum().item() == pytest.approx(1, rel=NUMBERS)
    for place, mean in ((100, 0.3), (150, -0.4)):
        m = torch.full((1, 1), mean, dtype=torch.float64)
        value = values[place : place + 1]
        z = (abs(value.item() - mean) - 1 / 255) / 0.05
        tail = 0.5 * (math.erfc(z / math.sqrt(2)) - math.erfc((z + 2 / 255 / 0.05) / math.sqrt(2)))
        assert pixel_nll(value, m, 0.05**2).item() == pytest.approx(-math.log(tail), rel=1e-6)


def test_the_prior_is_compared_with_a_standard_normal() -> None:
    x0 = drawn(3, 4)
    expected = kl_divergence(
        normal(0.2**0.5 * x0, torch.tensor(0.8, dtype=torch.float64)),
        normal(torch.zeros_like(x0), torch.tensor(1.0, dtype=torch.float64)),
    )
    assert_close(prior_term(x0, 0.2), expected, NUMBERS)


def test_bits_are_nats_over_the_numbers_of_a_picture() -> None:
    assert_close(
        bits_per_dimension(torch.tensor([12 * math.log(2)], dtype=torch.float64), 4),
        torch.tensor([3.0], dtype=torch.float64),
    )


def test_the_hybrid_loss_has_a_thousandth_of_the_bound() -> None:
    found = hybrid_loss(torch.tensor(2.0, dtype=torch.float64), torch.tensor(30.0, dtype=torch.float64))
    assert found.item() == pytest.approx(2.03, rel=EXACT)
    assert hybrid_loss(torch.tensor(2.0), torch.tensor(30.0), 0.5).item() == 17


@pytest.mark.system("B8.32")
def test_the_logarithm_of_a_mean_is_the_mean_of_the_logarithms_at_least() -> None:
    """Jensen: ln 2.5 = 0.916291 of {1, 4}, whose logarithms have the mean 0.693147."""
    values = np.array([1.0, 4.0])
    assert math.log(values.mean()) == pytest.approx(0.916291, abs=5e-7)
    assert np.log(values).mean() == pytest.approx(0.693147, abs=5e-7)


@pytest.mark.system("8.3.5-SCORE")
def test_denoising_score_matching_finds_the_score_of_the_noised_data() -> None:
    """A score network of one layer over fixed bumps, nothing of it a normalised density, fitted by its exact minimum.

    Where the data are dense, it is the analytic score of the mixture; the loss there is the least of all tried.
    """
    numbers: Any = {"dtype": torch.float64}
    mixture = GaussianMixture(
        torch.tensor([0.4, 0.6], **numbers),
        torch.tensor([[-1.0], [1.0]], **numbers),
        torch.tensor([0.1, 0.2], **numbers),
    )
    alpha, generator = 0.7, torch.Generator().manual_seed(1)
    noise = torch.randn(40_000, 1, generator=generator, **numbers)
    x = noised(mixture.sample(40_000, generator), noise, alpha)
    centres = torch.linspace(-4, 4, 25, **numbers)

    def layer(points: torch.Tensor) -> torch.Tensor:
        return torch.cat(((-((points - centres) ** 2) / 0.3).exp(), points), 1)

    weights = torch.linalg.lstsq(layer(x), -noise / (1 - alpha) ** 0.5).solution
    places = torch.linspace(-1.5, 1.5, 61, **numbers)[:, None]
    score = mixture.noised(alpha).score(places)
    assert (layer(places) @ weights - score).abs().mean() < 0.1 * score.abs().mean()
    least = denoising_score_loss(layer(x) @ weights, noise, alpha)
    assert least < denoising_score_loss(0.9 * layer(x) @ weights, noise, alpha)
    assert abs(least - denoising_score_loss(mixture.noised(alpha).score(x), noise, alpha)) < 0.01 * least


@pytest.mark.system("8.3.5-SCORE")
def test_denoising_score_matching_is_its_formula_and_the_simple_loss() -> None:
    score, noise = drawn(3, 4), drawn(3, 4)
    expected = (0.7 * (score + noise / math.sqrt(0.7)) ** 2).mean()
    assert_close(denoising_score_loss(score, noise, 0.3), expected, NUMBERS)
    assert_close(denoising_score_loss(score, noise, 0.3), simple_loss(-math.sqrt(0.7) * score, noise), NUMBERS)
