"""The bound on the likelihood on a chain of Gaussians, where the exact likelihood is known."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from tests.closeness import NUMBERS, assert_close
from vidi.generative.diffusion.likelihood import likelihood_bound, reverse_of
from vidi.losses.diffusion import gaussian_nll, pixel_nll, prior_term
from vidi.ops.diffusion import (
    Denoised,
    Level,
    Schedule,
    denoised,
    forward_step,
    noised,
    posterior_mean,
    posterior_variance,
)

MEAN, VARIANCE = 0.4, 0.3
"""Of the data, one number each."""
BETAS = torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=torch.float64)
CHAIN = Schedule(BETAS)

_nodes, _weights = (
    torch.tensor([-math.sqrt(3), 0, math.sqrt(3)], dtype=torch.float64),
    torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64),
)
"""Of Gauss and Hermite: they integrate polynomials of degree 5 over a standard normal law exactly."""


def true_reverse(x: Tensor, t: int, *, shift: float = 0.0, factor: float = 1.0) -> tuple[Tensor, Level]:
    """Return mean and variance of q(x_{t-1} | x_t) for the Gaussian data, or something beside them."""
    before, beta = CHAIN.level(t - 1), BETAS[t].item()
    m, v = before**0.5 * MEAN, before * VARIANCE + 1 - before  # of x_{t-1}
    precision = 1 / v + (1 - beta) / beta
    return (m / v + (1 - beta) ** 0.5 * x / beta) / precision + shift, factor / precision


def bound_of(x0: float, **beside: float) -> float:
    """Return the bound in nats, expected over the draws of x_t; the law of the last x is the data's own."""
    pictures = torch.full((3, 1), x0, dtype=torch.float64)
    bound = likelihood_bound(
        pictures, CHAIN, lambda x, t: true_reverse(x, t, **beside), lambda t: _nodes[:, None], gaussian_nll
    )
    a = CHAIN.level(3)
    prior = torch.distributions.kl_divergence(
        Normal(a**0.5 * x0, (1 - a) ** 0.5), Normal(a**0.5 * MEAN, (a * VARIANCE + 1 - a) ** 0.5)
    )
    return (_weights @ (bound.total - bound.prior)).item() + prior.item()


def exact(x0: float) -> float:
    return Normal(MEAN, VARIANCE**0.5).log_prob(torch.tensor(x0, dtype=torch.float64)).item()


@pytest.mark.system("8.3.2-ELBO", "B8.33", "8.3.2-MEANLOSS")
@pytest.mark.parametrize("x0", [-1.0, 0.4, 2.0])
def test_the_bound_is_tight_for_the_true_reverse_process_alone(x0: float) -> None:
    """It is log p(x_0) there, at every x_0, and less beside it."""
    assert -bound_of(x0) == pytest.approx(exact(x0), rel=1e-6)
    for beside in ({"shift": 0.1}, {"shift": -0.2}, {"factor": 1.3}, {"factor": 0.8}):
        found = -bound_of(x0, **beside)
        # a bound on the likelihood of a model that is not the true one, whose law is Gaussian too
        assert found < model_log_likelihood(x0, **beside) + 1e-9


def model_log_likelihood(x0: float, **beside: float) -> float:
    """Return log p(x_0) of a reverse process of Gaussians: mean and variance step by step from the last law."""
    a = CHAIN.level(3)
    m, v = a**0.5 * MEAN, a * VARIANCE + 1 - a
    for t in (3, 2, 1, 0):
        (low, high), variance = true_reverse(torch.tensor([0.0, 1.0], dtype=torch.float64), t, **beside)
        slope = (high - low).item()
        m, v = low.item() + slope * m, slope**2 * v + float(variance)
    return Normal(m, v**0.5).log_prob(torch.tensor(x0, dtype=torch.float64)).item()


@pytest.mark.system("8.3.2-ELBO")
def test_the_terms_are_the_expected_logarithm_of_the_factorised_joints() -> None:
    """E_q log [p(x_T) prod p(x_{t-1} | x_t) / prod q(x_t | x_{t-1})] over all chains of three nodes a step; Jensen.

    The chains are those of the forward steps, not of the kernel.
    """
    x0, beside = 1.1, {"shift": 0.1, "factor": 1.2}
    chains = torch.cartesian_prod(*[torch.arange(3)] * 4)  # 81 4
    weight = _weights[chains].prod(1)
    x, logs = torch.full((81, 1), x0, dtype=torch.float64), torch.zeros(81).double()
    for t in range(4):
        after = forward_step(x, BETAS[t].item(), _nodes[chains[:, t], None])
        mean, variance = true_reverse(after, t, **beside)
        logs += Normal(mean, float(variance) ** 0.5).log_prob(x)[:, 0]
        logs -= Normal((1 - BETAS[t]) ** 0.5 * x, BETAS[t] ** 0.5).log_prob(after)[:, 0]
        x = after
    a = CHAIN.level(3)
    logs += Normal(a**0.5 * MEAN, (a * VARIANCE + 1 - a) ** 0.5).log_prob(x)[:, 0]
    expected = (weight @ logs).item()
    assert -bound_of(x0, **beside) == pytest.approx(expected, rel=1e-6)
    assert expected <= model_log_likelihood(x0, **beside)


def test_the_reverse_process_of_a_denoiser() -> None:
    """The posterior with the predicted picture; its variance at the last step is beta, or learnt as that before it."""

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return denoised(0.5 * x, x, CHAIN.levels(t, x), "x0")._replace(fraction=torch.full_like(x, 0.25))

    x = torch.tensor([[0.4], [-3.0]], dtype=torch.float64)
    for kind, clip in (("posterior", None), ("beta", 1.0), ("learned", None)):
        reverse = reverse_of(denoise, CHAIN, kind, clip)  # type: ignore[arg-type]
        for t in range(4):
            a, b = CHAIN.level(t), CHAIN.level(t - 1)
            mean, variance = reverse(x, t)
            seen = 0.5 * x if clip is None else (0.5 * x).clamp(-1, 1)
            assert_close(mean, posterior_mean(seen, x, a, b), NUMBERS)
            beta = 1 - a / b
            least = posterior_variance(a, b) if t else posterior_variance(CHAIN.level(1), CHAIN.level(0))
            if kind == "learned":
                expected = beta**0.25 * least**0.75
            else:
                expected = beta if t == 0 or kind == "beta" else least
            assert_close(
                torch.as_tensor(variance, dtype=torch.float64).flatten()[0],
                torch.tensor(expected, dtype=torch.float64),
                NUMBERS,
            )


@pytest.mark.parametrize("steps", [1, 2])
def test_the_last_variance_of_a_short_schedule_is_learnt_too(steps: int) -> None:
    """Of one step there is beta alone; of two, the posterior's variance of the second stands below."""
    schedule = Schedule(BETAS[:steps])

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return denoised(0.5 * x, x, schedule.levels(t, x), "x0")._replace(fraction=torch.full_like(x, 0.25))

    _, variance = reverse_of(denoise, schedule, "learned")(torch.ones(1, 1).double(), 0)
    least = 0.1 if steps == 1 else 0.1 / (1 - 0.9 * 0.7) * 0.3  # (1 - a_0) / (1 - a_1) beta_1
    assert float(variance) == pytest.approx(0.1**0.25 * least**0.75, rel=NUMBERS)


def test_the_bound_has_a_term_of_each_time() -> None:
    """Of pictures of pixels, each with noise of its own time."""
    x0 = torch.tensor([[-1.0, 1.0], [1 / 255, 0.2]], dtype=torch.float64)
    asked = []

    def noise(t: int) -> Tensor:
        asked.append(t)
        return torch.full_like(x0, 0.1 * t)

    def reverse(x: Tensor, t: int) -> tuple[Tensor, Level]:
        return 0.9 * x, 0.2

    bound = likelihood_bound(x0, CHAIN, reverse, noise)
    assert sorted(asked) == [0, 1, 2, 3]
    assert bound.steps.shape == (2, 3)
    assert_close(bound.prior, prior_term(x0, 0.9 * 0.7 * 0.5 * 0.1))
    assert_close(bound.total, bound.prior + bound.steps.sum(1) + bound.reconstruction)
    x = noised(x0, noise(0), CHAIN.level(0))
    assert_close(bound.reconstruction, pixel_nll(x0, 0.9 * x, 0.2))
    assert likelihood_bound(x0, Schedule(BETAS[:1]), reverse, noise).steps.shape == (2, 0)
