"""Schedules, kernel, posterior and predictions against diffusers, slow loops, and the numbers of the notes."""

import math

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import betas_for_alpha_bar
from jaxtyping import TypeCheckError

from tests.closeness import EXACT, FLOAT32, NUMBERS, assert_close
from tests.generative.diffusion.oracles import DDIMScheduler, DDPMScheduler
from vidi.ops.diffusion import (
    Schedule,
    cosine_betas,
    denoised,
    forward_step,
    linear_betas,
    mean_from_noise,
    noise_from_mean,
    noise_from_score,
    noised,
    posterior_mean,
    posterior_variance,
    scaled_linear_betas,
    score_from_noise,
    spaced_times,
    target_of,
    velocity,
    x0_from_noise,
)

LINEAR = Schedule.named("linear")
KINDS = ("noise", "x0", "v", "mean", "score")


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# ----------------------------------------------------------------------------------------------------------------------
# Schedules


@pytest.mark.system("8.3.1-LINEAR")
def test_the_linear_schedule_is_that_of_the_paper() -> None:
    """1e-4 to 0.02 in 1000 steps unless said; hardly anything is left of the picture at the end."""
    betas = linear_betas()
    assert len(betas) == 1000
    assert betas[0].item() == 1e-4
    assert betas[-1].item() == pytest.approx(0.02, rel=EXACT)
    assert_close(betas.diff(), torch.full((999,), (0.02 - 1e-4) / 999, dtype=torch.float64), NUMBERS)
    theirs = DDPMScheduler(beta_schedule="linear")
    assert_close(betas.float(), theirs.betas, FLOAT32)
    assert_close(LINEAR.alphas_cumprod.float(), theirs.alphas_cumprod, FLOAT32)
    assert LINEAR.alphas_cumprod[-1].item() == pytest.approx(4.0358e-5, rel=1e-4)
    assert_close(linear_betas(3, 0.1, 0.5), torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64))


@pytest.mark.system("8.3.4-COSINE")
def test_the_cosine_schedule_is_that_of_improved_ddpm() -> None:
    """Against the formula in a loop of Python's numbers, and diffusers' squaredcos_cap_v2."""
    betas = cosine_betas()

    def f(t: int) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [min(1 - f(t) / f(t - 1), 0.999) for t in range(1, 1001)]
    assert_close(betas, torch.tensor(expected, dtype=torch.float64), NUMBERS)
    assert betas[-1].item() == 0.999
    products = Schedule(betas).alphas_cumprod
    assert_close(products[:999], torch.tensor([f(t) / f(0) for t in range(1, 1000)], dtype=torch.float64), NUMBERS)
    theirs = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    assert_close(betas.float(), theirs.betas, FLOAT32)
    assert_close(cosine_betas(20).float(), betas_for_alpha_bar(20), FLOAT32)
    assert cosine_betas(4, s=0.5, largest=0.4).max().item() == 0.4


def test_the_scaled_linear_schedule_is_diffusers() -> None:
    theirs = DDPMScheduler(beta_schedule="scaled_linear", beta_start=8.5e-4, beta_end=0.012)
    assert_close(scaled_linear_betas().float(), theirs.betas, FLOAT32)


def test_any_tensor_of_variances_is_a_schedule() -> None:
    betas = torch.tensor([0.1, 0.5, 0.2], dtype=torch.float64)
    schedule = Schedule(betas)
    assert schedule.steps == 3
    assert_close(schedule.alphas_cumprod, torch.tensor([0.9, 0.45, 0.36], dtype=torch.float64))
    assert [schedule.level(t) for t in (-1, 0, 2)] == pytest.approx([1, 0.9, 0.36], rel=EXACT)
    assert_close(Schedule.of_alphas(schedule.alphas_cumprod).betas, betas)
    levels = schedule.levels(torch.tensor([2, -1, 0]), drawn(3, 1, 2, 2))
    assert levels.shape == (3, 1, 1, 1)
    assert_close(levels.flatten(), torch.tensor([0.36, 1, 0.9], dtype=torch.float64))


@pytest.mark.parametrize("betas", [[], [0.1, 1.0], [0.0, 0.5], [[0.1]], [math.nan]])
def test_what_is_no_schedule_is_refused(betas: list[float]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Schedule(torch.tensor(betas, dtype=torch.float64))


def test_times_beyond_a_schedule_and_unknown_names_are_refused() -> None:
    for time in (-2, 1000):
        with pytest.raises(ValueError, match=f"received time {time}"):
            LINEAR.level(time)
    with pytest.raises((ValueError, TypeCheckError), match="quadratic"):  # the tests' hook comes first
        Schedule.named("quadratic")  # type: ignore[arg-type]


@pytest.mark.system("8.3.4-SKIP")
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 999, 1000])
def test_spaced_times_are_those_of_diffusers(steps: int) -> None:
    """Any number of steps, also one that does not divide T."""
    for spacing in ("leading", "trailing", "linspace"):
        theirs = DDIMScheduler(timestep_spacing=spacing)
        theirs.set_timesteps(steps)
        ours = spaced_times(1000, steps, spacing)
        expected = [999] if (spacing, steps) == ("linspace", 1) else theirs.timesteps.tolist()
        if (spacing, steps) == ("linspace", 1):
            expected = [0]
        assert ours == expected
        assert len(ours) == len(set(ours)) == steps
    shifted = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    if steps < 999:
        shifted.set_timesteps(steps)
        assert spaced_times(1000, steps, "leading", offset=1) == shifted.timesteps.tolist()
    assert spaced_times(1000, steps) == spaced_times(1000, steps, "trailing")
    assert spaced_times(1000, steps)[0] == 999


def test_numbers_of_steps_that_there_are_not_are_refused() -> None:
    for steps in (0, -1, 11):
        with pytest.raises(ValueError, match=f"received steps={steps}, expected from 1 to 10"):
            spaced_times(10, steps)
    with pytest.raises(ValueError, match="received offset=1"):
        spaced_times(10, 10, "leading", offset=1)
    with pytest.raises(ValueError, match="received offset=-1"):
        spaced_times(10, 10, "leading", offset=-1)
    with pytest.raises((ValueError, TypeCheckError), match="even"):  # the tests' hook comes first
        spaced_times(10, 2, "even")  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------------------
# The forward process and its posterior


@pytest.mark.system("8.3.1-FORWARD", "8.3.1-KERNEL")
@pytest.mark.system("B8.20")
def test_many_forward_steps_have_the_law_of_the_kernel() -> None:
    """By Monte Carlo within three standard errors, and exactly: the mean and the variance of a step are linear."""
    betas = torch.tensor([0.02, 0.1, 0.3, 0.05], dtype=torch.float64)
    schedule, x0, count = Schedule(betas), 0.8, 200_000
    x = torch.full((count,), x0, dtype=torch.float64)
    mean, variance = x0, 0.0
    for t, beta in enumerate(betas.tolist()):
        x = forward_step(x, beta, drawn(count))
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        alpha = schedule.level(t)
        assert noised(one(x0), one(0), alpha).item() == pytest.approx(mean, rel=EXACT)
        assert (noised(one(0), one(1), alpha).item()) ** 2 == pytest.approx(variance, rel=EXACT)
        assert abs(x.mean().item() - mean) < 3 * math.sqrt(variance / count)
        assert abs(x.var().item() - variance) < 3 * variance * math.sqrt(2 / count)


@pytest.mark.system("8.3.1-FORWARD", "8.3.1-KERNEL")
def test_a_forward_step_is_the_kernel_of_one_step_and_add_noise_of_diffusers() -> None:
    x, noise = drawn(2, 3, 4, 4), drawn(2, 3, 4, 4)
    assert_close(forward_step(x, 0.3, noise), 0.7**0.5 * x + 0.3**0.5 * noise)
    theirs = DDPMScheduler()
    theirs.alphas_cumprod = LINEAR.alphas_cumprod
    times = torch.tensor([0, 700])
    assert_close(noised(x, noise, LINEAR.levels(times, x)), theirs.add_noise(x, noise, times), NUMBERS)
    assert_close(noised(x, noise, 1.0), x)


@pytest.mark.system("8.3.2-POST")
@pytest.mark.system("B8.21")
def test_the_posterior_mean_of_the_notes() -> None:
    """1.690902360692 at their t = 500 from x_0, from the noise, and from DDIM's formula with eta = 1.

    What they print, with sqrt(1 - a_{t-1}), gives 1.690894702 (erratum C8.12).
    """
    alpha, before, x0, x = LINEAR.level(499), LINEAR.level(498), one(0.3), one(1.7)
    noise = denoised(x0, x, alpha, "x0").noise
    sigma2 = posterior_variance(alpha, before)
    of_ddim = before**0.5 * x0 + (1 - before - sigma2) ** 0.5 * noise
    for mean in (posterior_mean(x0, x, alpha, before), mean_from_noise(noise, x, alpha, before), of_ddim):
        assert mean.item() == pytest.approx(1.690902360692, abs=5e-13)
    beta = 1 - alpha / before
    printed = x / (1 - beta) ** 0.5 - beta / ((1 - before) ** 0.5 * (1 - beta) ** 0.5) * noise
    assert printed.item() == pytest.approx(1.690894702, abs=5e-10)


@pytest.mark.system("8.3.2-POST")
@pytest.mark.parametrize(("t", "s"), [(1, 0), (500, 499), (999, 700)])
def test_the_posterior_is_bayes_rule(t: int, s: int) -> None:
    """Product of N(x_s; sqrt(a_s) x_0, 1 - a_s) and N(x_t; sqrt(k) x_s, 1 - k), completed to a square; any skip."""
    alpha, before, x0, x = LINEAR.level(t), LINEAR.level(s), 0.4, -1.1
    kept = alpha / before
    precision = 1 / (1 - before) + kept / (1 - kept)
    mean = (before**0.5 * x0 / (1 - before) + kept**0.5 * x / (1 - kept)) / precision
    assert posterior_variance(alpha, before) == pytest.approx(1 / precision, rel=NUMBERS)
    assert posterior_mean(one(x0), one(x), alpha, before).item() == pytest.approx(mean, rel=NUMBERS)


@pytest.mark.system("8.3.2-POST")
def test_the_posterior_variance_is_diffusers() -> None:
    theirs = DDPMScheduler(variance_type="fixed_small")
    theirs.alphas_cumprod, theirs.one = LINEAR.alphas_cumprod, one(1)
    large = DDPMScheduler(variance_type="fixed_large")
    large.alphas_cumprod, large.one = LINEAR.alphas_cumprod, one(1)
    for t in (1, 17, 999):
        alpha, before = LINEAR.level(t), LINEAR.level(t - 1)
        assert posterior_variance(alpha, before) == pytest.approx(theirs._get_variance(t).item(), rel=NUMBERS)
        assert 1 - alpha / before == pytest.approx(large._get_variance(t).item(), rel=NUMBERS)


@pytest.mark.system("B8.23")
def test_the_last_step_divides_by_the_first_level() -> None:
    """beta_1 / sqrt(1 - a_1) = sqrt(beta_1) = 0.01; the notes' sqrt(1 - a_0) is 0 (erratum C8.13)."""
    alpha, x = LINEAR.level(0), one(0.5)
    beta = 1 - alpha
    assert beta / (1 - alpha) ** 0.5 == pytest.approx(0.01, rel=NUMBERS)
    mean = mean_from_noise(one(1), x, alpha, 1.0)
    assert_close(mean, (x - 0.01) / (1 - 1e-4) ** 0.5)
    assert_close(mean, x0_from_noise(one(1), x, alpha))


@pytest.mark.system("B8.25")
def test_the_picture_from_the_noise_of_the_notes() -> None:
    """1 with sqrt(1 - a_t), 0.668895 with the sqrt(a_{t-1}) that is printed (erratum C8.16)."""
    alpha, before = LINEAR.level(99), LINEAR.level(98)
    x = noised(one(1), one(0.5), alpha)
    assert x0_from_noise(one(0.5), x, alpha).item() == pytest.approx(1, rel=EXACT)
    assert ((x - before**0.5 * 0.5) / alpha**0.5).item() == pytest.approx(0.668895, abs=5e-7)


@pytest.mark.system("B8.26")
def test_the_radicand_that_the_notes_print_is_negative() -> None:
    """1 - a_{t-1} - a_t^2 is -0.7035; sigma_t^2 must stand there (erratum C8.15)."""
    alpha, before = LINEAR.level(99), LINEAR.level(98)
    assert 1 - before - alpha**2 == pytest.approx(-0.7035, abs=5e-5)
    assert 1 - before - posterior_variance(alpha, before) > 0


# ----------------------------------------------------------------------------------------------------------------------
# Predictions


@pytest.mark.system("8.3.2-NOISENET")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_prediction_says_the_same(kind: str) -> None:
    """From a kind's target back to picture and noise, at levels of each picture."""
    x0, noise = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4)
    times = torch.tensor([1, 400, 999])
    alpha, before = LINEAR.levels(times, x0), LINEAR.levels(times - 1, x0)
    x = noised(x0, noise, alpha)
    target = target_of(kind, x0, noise, alpha, before)  # type: ignore[arg-type]
    seen = denoised(target, x, alpha, kind, before)  # type: ignore[arg-type]
    assert_close(seen.noise, noise, NUMBERS)
    assert_close(seen.x0, x0, NUMBERS)
    assert seen.fraction is None


@pytest.mark.system("8.3.2-NOISENET")
def test_conversions_are_their_formulas() -> None:
    x0, noise, alpha, before = drawn(5), drawn(5), 0.3, 0.4
    x = alpha**0.5 * x0 + (1 - alpha) ** 0.5 * noise
    theirs = DDPMScheduler()
    theirs.alphas_cumprod = one(alpha)
    assert_close(
        velocity(x0, noise, alpha),
        theirs.get_velocity(x0[:, None], noise[:, None], torch.zeros(5, dtype=torch.long))[:, 0],
    )
    assert_close(mean_from_noise(noise, x, alpha, before), posterior_mean(x0, x, alpha, before))
    assert_close(noise_from_mean(mean_from_noise(noise, x, alpha, before), x, alpha, before), noise, NUMBERS)
    assert_close(noise_from_score(score_from_noise(noise, alpha), alpha), noise)
    assert_close(score_from_noise(noise, alpha), -noise / math.sqrt(0.7))


@pytest.mark.system("8.3.5-DIFFSCORE")
def test_the_score_of_the_kernel_is_the_noise_over_its_deviation() -> None:
    """Both ways, against autograd of log N(x_t; sqrt(a) x_0, (1 - a) I)."""
    x0, noise, alpha = drawn(6), drawn(6), LINEAR.level(300)
    x = noised(x0, noise, alpha).requires_grad_()
    law = torch.distributions.Normal(alpha**0.5 * x0, (1 - alpha) ** 0.5)
    (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    assert_close(score_from_noise(noise, alpha), score, NUMBERS)
    assert_close(noise_from_score(score, alpha), noise, NUMBERS)
    assert_close(denoised(score, x.detach(), alpha, "score").x0, x0, NUMBERS)


@pytest.mark.system("B8.28")
def test_the_score_of_a_normal_law() -> None:
    """-0.5 of N(1, 4) at 3: -e / sigma with e = 1; a law of variance 1 - a after a shift by the mean."""
    law = torch.distributions.Normal(one(1), one(2))
    x = one(3).requires_grad_()
    (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    assert score.item() == -0.5
    assert score_from_noise(one(1), 1 - 4.0).item() == -0.5


def test_kinds_that_there_are_not_are_refused() -> None:
    x = drawn(2)
    for kind in ("energy", "mean"):  # the mean of an unknown step
        with pytest.raises((ValueError, TypeCheckError), match=f"kind.*'{kind}'|{kind}"):
            denoised(x, x, 0.5, kind)  # type: ignore[arg-type]
    with pytest.raises((ValueError, TypeCheckError), match="energy"):
        target_of("energy", x, x, 0.5, 0.6)  # type: ignore[arg-type]


def test_levels_in_half_of_the_precision_are_of_the_pictures_type() -> None:
    assert LINEAR.levels(torch.tensor([5]), torch.zeros(1, 2)).dtype == torch.float32
    assert np.isclose(LINEAR.levels(torch.tensor([5]), torch.zeros(1, 2)).item(), LINEAR.level(5), rtol=1e-7)
