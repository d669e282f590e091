"""Samplers against diffusers, step by step and over whole lists of times, and against data of which all is known."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.stats import wasserstein_distance
from torch import Tensor

from tests.closeness import NUMBERS, assert_close
from tests.generative.diffusion.oracles import DDIMScheduler, DDPMScheduler
from vidi.generative.diffusion.samplers import (
    Denoiser,
    annealed_langevin,
    ddim,
    ddim_deviation,
    ddpm,
    heun,
    langevin,
    step_deviation,
)
from vidi.ops.diffusion import (
    Denoised,
    Schedule,
    denoised,
    noised,
    posterior_mean,
    posterior_variance,
    spaced_times,
    x0_from_noise,
)
from vidi.ops.mixtures import GaussianMixture
from vidi.ops.noise import seeded_normal

LINEAR = Schedule.named("linear")
TYPES = {"noise": "epsilon", "x0": "sample", "v": "v_prediction"}


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


MIXTURE = GaussianMixture(numbers(0.3, 0.7), numbers(-1.0, 0.8)[:, None], numbers(0.04, 0.01))


def output_of(x: Tensor, t: Tensor) -> Tensor:
    """Return what stands for a network: anything that depends on picture and time."""
    return torch.tanh(x.flip(-1) + t.view(-1, 1, 1, 1) / 500 - 0.7)


def network(kind: str, schedule: Schedule = LINEAR) -> Denoiser:
    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return denoised(output_of(x, t), x, schedule.levels(t, x), kind)  # type: ignore[arg-type]

    return denoise


def perfect(mixture: GaussianMixture, schedule: Schedule = LINEAR) -> Denoiser:
    """Return the denoiser that knows the data."""

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        alpha = schedule.level(int(t[0]))
        noise = mixture.noise(x, alpha)
        return Denoised(x0_from_noise(noise, x, alpha), noise)

    return denoise


def in_double(theirs: Any) -> None:
    theirs.betas, theirs.alphas, theirs.alphas_cumprod = LINEAR.betas, 1 - LINEAR.betas, LINEAR.alphas_cumprod
    theirs.one = theirs.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)


def silent(step: int) -> Tensor:
    raise AssertionError("a deterministic sampler draws nothing")


def drawn_by(seed: int, shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    """Return the noise that diffusers draws of a generator, step after step."""
    generator = torch.Generator().manual_seed(seed)
    return lambda step: torch.randn(shape, generator=generator, dtype=torch.float64)


# ----------------------------------------------------------------------------------------------------------------------
# Parity

SHAPE = (2, 3, 4, 4)


@pytest.mark.system("8.3.4-DDPM", "8.3.2-MEANNET")
@pytest.mark.parametrize("kind", ["noise", "x0", "v"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_ddpm_is_diffusers(kind: str, spacing: str, clip: float | None) -> None:
    """All but the last step draw; clipped as is diffusers' default, or not; 7 steps, which do not divide 1000."""
    theirs = DDPMScheduler(prediction_type=TYPES[kind], timestep_spacing=spacing, clip_sample=clip is not None)
    in_double(theirs)
    theirs.set_timesteps(7)
    start = torch.randn(SHAPE, dtype=torch.float64)
    x, generator = start, torch.Generator().manual_seed(4)
    for t in theirs.timesteps:
        x = theirs.step(output_of(x, t.expand(2)), t, x, generator=generator).prev_sample
    times = spaced_times(1000, 7, spacing)  # type: ignore[arg-type]
    noise = drawn_by(4, SHAPE)
    found = ddpm(network(kind), start, LINEAR, times, noise, clip=clip)
    if times[-1] > 0:
        found = found + 1e-10 * noise(6)  # theirs draws at the last step too, unless it is of time 0
    assert_close(found, x, NUMBERS)


@pytest.mark.system("8.3.4-DDPM", "8.3.2-MEANNET")
@pytest.mark.parametrize(("variance", "theirs_name"), [("posterior", "fixed_small"), ("beta", "fixed_large")])
def test_both_variances_of_ddpm_are_diffusers(variance: str, theirs_name: str) -> None:
    theirs = DDPMScheduler(variance_type=theirs_name, clip_sample=False)
    in_double(theirs)
    theirs.set_timesteps(5)
    start = torch.randn(SHAPE, dtype=torch.float64)
    x, generator = start, torch.Generator().manual_seed(4)
    for t in theirs.timesteps:
        x = theirs.step(output_of(x, t.expand(2)), t, x, generator=generator).prev_sample
    times = theirs.timesteps.tolist()
    found = ddpm(network("noise"), start, LINEAR, times, drawn_by(4, SHAPE), variance=variance)  # type: ignore[arg-type]
    assert_close(found, x, NUMBERS)


@pytest.mark.system("8.3.2-MEANNET")
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_a_network_of_means_has_the_steps_that_it_says(variance: str) -> None:
    """N(mu_t(x_t), sigma_t^2 I), whose variance is the posterior's or beta_t; the last step gives mu alone."""
    times, noise = [2, 1, 0], [torch.randn(SHAPE, dtype=torch.float64) for _ in range(2)]

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return denoised(output_of(x, t), x, LINEAR.levels(t, x), "mean", LINEAR.levels(t - 1, x))

    x = start = torch.randn(SHAPE, dtype=torch.float64)
    for k, t in enumerate(times):
        beta = LINEAR.betas[t].item()
        share = (1 - LINEAR.level(t - 1)) / (1 - LINEAR.level(t)) if variance == "posterior" else 1.0
        x = output_of(x, torch.tensor([t, t]))
        if t > 0:
            x = x + math.sqrt(share * beta) * noise[k]
    assert_close(ddpm(denoise, start, LINEAR, times, noise.__getitem__, variance=variance), x, 1e-8)  # type: ignore[arg-type]


def test_a_learnt_variance_is_diffusers() -> None:
    """A network that gives twice the channels: noise, and where between both variances to be."""
    theirs = DDPMScheduler(variance_type="learned_range", clip_sample=False)
    in_double(theirs)
    theirs.set_timesteps(6)
    start = torch.randn(SHAPE, dtype=torch.float64)
    x, generator = start, torch.Generator().manual_seed(4)
    for t in theirs.timesteps:
        output = torch.cat((output_of(x, t.expand(2)), torch.sin(3 * x)), 1)
        x = theirs.step(output, t, x, generator=generator).prev_sample

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return network("noise")(x, t)._replace(fraction=(torch.sin(3 * x) + 1) / 2)

    found = ddpm(denoise, start, LINEAR, theirs.timesteps.tolist(), drawn_by(4, SHAPE), variance="learned", clip=None)
    assert_close(found, x, NUMBERS)
    clipped = ddpm(denoise, start, LINEAR, theirs.timesteps.tolist(), drawn_by(4, SHAPE), variance="learned", clip=9e9)
    assert_close(clipped, x, NUMBERS)  # the fraction stays with what is clipped


@pytest.mark.system("8.3.4-DDIM", "8.3.4-SKIP")
@pytest.mark.parametrize("kind", ["noise", "x0", "v"])
@pytest.mark.parametrize(("spacing", "steps"), [("leading", 8), ("leading", 3), ("trailing", 8)])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_ddim_is_diffusers(kind: str, spacing: str, steps: int, eta: float, clip: float | None) -> None:
    """Where x_0 is clipped, the noise follows: `use_clipped_model_output`. Theirs needs steps that divide T."""
    theirs = DDIMScheduler(prediction_type=TYPES[kind], timestep_spacing=spacing, clip_sample=clip is not None)
    in_double(theirs)
    theirs.set_timesteps(steps)
    start = torch.randn(SHAPE, dtype=torch.float64)
    x, generator = start, torch.Generator().manual_seed(4)
    for t in theirs.timesteps:
        output = output_of(x, t.expand(2))
        x = theirs.step(
            output, int(t), x, eta=eta, use_clipped_model_output=clip is not None, generator=generator
        ).prev_sample
    times = spaced_times(1000, steps, spacing)  # type: ignore[arg-type]
    if spacing == "leading" and 1000 % steps:
        assert [t - 1000 // steps for t in times[:-1]] == times[1:]
    found = ddim(network(kind), start, LINEAR, times, drawn_by(4, SHAPE), eta=eta, clip=clip)
    assert_close(found, x, NUMBERS)


@pytest.mark.system("8.3.4-DDIM", "8.3.4-SKIP")
def test_ddim_of_any_list_of_times_is_the_closed_form() -> None:
    """Every step by the equation, also of "linspace", where diffusers does not go to the next entry."""
    start, times, eta = torch.randn(SHAPE, dtype=torch.float64), [999, 640, 333, 1], 0.7
    noise = [torch.randn(SHAPE, dtype=torch.float64) for _ in times]
    x = start
    a = LINEAR.alphas_cumprod.tolist()
    for k, (t, s) in enumerate(zip(times, [*times[1:], None], strict=True)):
        before = 1.0 if s is None else a[s]
        e = output_of(x, torch.tensor([t, t]))
        x0 = (x - math.sqrt(1 - a[t]) * e) / math.sqrt(a[t])
        sigma = eta * math.sqrt((1 - before) / (1 - a[t])) * math.sqrt(1 - a[t] / before)
        x = math.sqrt(before) * x0 + math.sqrt(1 - before - sigma**2) * e + sigma * noise[k]
    assert_close(ddim(network("noise"), start, LINEAR, times, noise.__getitem__, eta=eta), x, NUMBERS)


# ----------------------------------------------------------------------------------------------------------------------
# What the equations promise


@pytest.mark.system("8.3.4-DDIM", "B8.22")
def test_full_stochasticity_is_the_variance_of_ddpm() -> None:
    """At all t, within some roundings; and eta = 1 makes the draws of DDPM, over any list of times."""
    pairs = [(LINEAR.level(t), LINEAR.level(t - 1)) for t in range(1000)]
    differences = [abs(ddim_deviation(a, b, 1.0) ** 2 - posterior_variance(a, b)) for a, b in pairs]
    assert max(differences) < 5e-16
    start, times = torch.randn(SHAPE, dtype=torch.float64), spaced_times(1000, 9)
    one = ddim(network("noise"), start, LINEAR, times, drawn_by(2, SHAPE), eta=1.0)
    other = ddpm(network("noise"), start, LINEAR, times, drawn_by(2, SHAPE))
    assert_close(one, other, NUMBERS)


@pytest.mark.system("8.3.4-DDIM", "B8.27")
def test_no_stochasticity_is_deterministic_and_a_perfect_denoiser_needs_one_step() -> None:
    x0, noise = torch.randn(SHAPE, dtype=torch.float64), torch.randn(SHAPE, dtype=torch.float64)
    one, two = (ddim(network("noise"), noise, LINEAR, [900, 400, 10], silent) for _ in range(2))
    assert torch.equal(one, two)

    def knows(x: Tensor, t: Tensor) -> Denoised:
        return denoised(noise, x, LINEAR.levels(t, x), "noise")

    for t in (0, 300, 999):
        assert_close(ddim(knows, noised(x0, noise, LINEAR.level(t)), LINEAR, [t], silent), x0, NUMBERS)


@pytest.mark.system("8.3.4-DDIMFWD")
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_forward_family_has_the_marginals_of_the_kernel(eta: float) -> None:
    """q(x_s | x_t, x_0) takes N(sqrt(a_t) x_0, 1 - a_t) to N(sqrt(a_s) x_0, 1 - a_s), whatever sigma.

    The variance in closed form, and both moments of what the sampler's step makes.
    """
    for t, s in ((999, 998), (999, 500), (400, 3), (1, 0)):
        a, b = LINEAR.level(t), LINEAR.level(s)
        sigma = ddim_deviation(a, b, eta)
        slope = math.sqrt((1 - b - sigma**2) / (1 - a))  # of x_t in the mean of x_s
        assert slope**2 * (1 - a) + sigma**2 == pytest.approx(1 - b, rel=NUMBERS)
        assert_step_has_the_moments_of_the_kernel(t, s, eta)


def assert_step_has_the_moments_of_the_kernel(t: int, s: int, eta: float) -> None:
    """Ask the sampler, with the x_0 known, from four draws of x_t and of the noise that have just their moments."""
    a, b, x0 = LINEAR.level(t), LINEAR.level(s), 0.7
    x = noised(numbers(x0, x0, x0, x0), numbers(1, -1, 1, -1), a)

    def knows(x: Tensor, times: Tensor) -> Denoised:
        return denoised(numbers(x0, x0, x0, x0), x, LINEAR.levels(times, x), "x0")

    seen: list[Tensor] = []
    ddim(knows, x, LINEAR, [t, s], lambda k: numbers(1, 1, -1, -1), eta=eta, watch=lambda k, x, d: seen.append(x))
    assert seen[0].mean().item() == pytest.approx(math.sqrt(b) * x0, rel=NUMBERS)
    assert seen[0].var(correction=0).item() == pytest.approx(1 - b, rel=NUMBERS)


@pytest.mark.system("8.3.4-DDIM")
def test_stochasticity_out_of_range_is_refused() -> None:
    """sigma may be 0, and sigma^2 at most 1 - a_s (erratum C8.38)."""
    for eta in (-0.1, 40.0):
        with pytest.raises(ValueError, match=f"received eta={eta}"):
            ddim(network("noise"), torch.randn(SHAPE).double(), LINEAR, [500, 499], drawn_by(0, SHAPE), eta=eta)
    alpha, before = LINEAR.level(500), LINEAR.level(499)
    largest = float((1 - before) / posterior_variance(alpha, before)) ** 0.5
    assert ddim_deviation(alpha, before, 0.999 * largest) ** 2 == pytest.approx(0.998001 * (1 - before), rel=NUMBERS)
    with pytest.raises(ValueError, match="a variance of at most"):
        ddim_deviation(alpha, before, 1.001 * largest)


@pytest.mark.system("8.3.4-DDPM")
def test_ddpm_draws_at_all_steps_but_the_last() -> None:
    """Which gives the mean at the first time, by that time's own numbers (erratum C8.13)."""
    asked, seen = [], []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return torch.ones(SHAPE, dtype=torch.float64)

    start = torch.randn(SHAPE, dtype=torch.float64)
    found = ddpm(network("noise"), start, LINEAR, [2, 1, 0], noise, watch=lambda *step: seen.append(step))
    assert asked == [0, 1]
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert_close(found, seen[2][2].x0)  # the mean of q(x_{-1} | x_0) is the picture
    mean = posterior_mean(seen[0][2].x0, start, LINEAR.level(2), LINEAR.level(1))
    assert_close(seen[0][1], mean + posterior_variance(LINEAR.level(2), LINEAR.level(1)) ** 0.5, NUMBERS)


@pytest.mark.parametrize("times", [[], [3, 3], [1, 2], [1000], [5, -1]])
def test_times_that_do_not_fall_are_refused(times: list[int]) -> None:
    for sampler in (ddpm, ddim):
        with pytest.raises(ValueError, match="expected falling ones from 999 to 0"):
            sampler(network("noise"), torch.randn(SHAPE).double(), LINEAR, times, silent)
    with pytest.raises(ValueError, match="expected falling ones"):
        heun(network("noise"), torch.randn(SHAPE).double(), LINEAR, times)


def test_a_variance_that_the_network_does_not_give_is_refused() -> None:
    with pytest.raises(ValueError, match="received variance 'learned'"):
        step_deviation("learned", 0.5, 0.6, None)
    with pytest.raises((ValueError, TypeCheckError), match="gamma"):
        step_deviation("gamma", 0.5, 0.6, None)  # type: ignore[arg-type]


def test_a_learnt_variance_lies_between_both_on_the_scale_of_logarithms() -> None:
    low, high = (step_deviation(kind, 0.5, 0.6, None) for kind in ("posterior", "beta"))
    ends = step_deviation("learned", 0.5, 0.6, numbers(0, 1, 0.5))
    assert_close(ends, numbers(low, high, math.sqrt(low * high)), NUMBERS)  # type: ignore[arg-type]


def test_noise_by_seed_makes_a_batch_equal_its_singles() -> None:
    seeds, times = [5, 6, 7, 8], spaced_times(1000, 6)

    def sampled(seeds: list[int]) -> Tensor:
        start = seeded_normal((3, 4, 4), seeds, dtype=torch.float64)
        noise = lambda k: seeded_normal((3, 4, 4), seeds, k + 1, dtype=torch.float64)  # noqa: E731
        return ddpm(network("noise"), start, LINEAR, times, noise)

    assert_close(sampled(seeds), torch.cat([sampled([seed]) for seed in seeds]))


# ----------------------------------------------------------------------------------------------------------------------
# Data of which all is known


def check_draws(x: Tensor, target: GaussianMixture, *, distance: float) -> None:
    """Ask for mean and variance within four standard errors and `distance`, and for the earth mover's distance."""
    real = target.sample(len(x), torch.Generator().manual_seed(99))
    found = wasserstein_distance(x.flatten().numpy(), real.flatten().numpy())
    assert found < distance, found
    error = 4 * real.std().item() / math.sqrt(len(x))
    assert abs(x.mean().item() - (target.weights @ target.means).item()) < error + distance
    second = (target.weights @ (target.variances + target.means[:, 0] ** 2)).item()
    assert abs(x.square().mean().item() - second) < 2 * error + distance


STEPS = {"ddpm": 250, "ddpm_beta": 250, "ddim": 100, "eta": 250, "heun": 50}


@pytest.mark.system("8.3.4-DDPM", "8.3.4-DDIM")
@pytest.mark.parametrize("name", list(STEPS))
def test_samplers_draw_from_a_mixture_that_the_denoiser_knows(name: str) -> None:
    """Moments and earth mover's distance of 4000 draws: those of the mixture, for eta = 1 as for DDPM."""
    count = 4000
    noise = drawn_by(3, (count, 1))
    start, times, denoise = noise(-1), spaced_times(1000, STEPS[name]), perfect(MIXTURE)
    if name == "heun":
        x = heun(denoise, start, LINEAR, times)
    elif name.startswith("ddpm"):
        x = ddpm(denoise, start, LINEAR, times, noise, variance="beta" if "beta" in name else "posterior")
    else:
        x = ddim(denoise, start, LINEAR, times, noise, eta=1.0 if name == "eta" else 0.0)
    check_draws(x, MIXTURE, distance=0.05)


def test_heun_is_of_second_order_and_ddim_of_first() -> None:
    """Errors of a schedule whose noise levels are even, for steps that halve: their logarithms fall by 2, and by 1."""
    fine = 1024
    sigmas = torch.linspace(0.05, 4.0, fine + 1, dtype=torch.float64)
    schedule = Schedule.of_alphas(1 / (1 + sigmas**2))
    denoise, start = perfect(MIXTURE, schedule), torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    ends: dict[str, list[Tensor]] = {"ddim": [], "heun": []}
    strides = (fine // 512, fine // 32, fine // 64)
    for stride in strides:
        times = list(range(fine, -1, -stride))
        ends["heun"].append(heun(denoise, start, schedule, times))
        ends["ddim"].append(ddim(denoise, start, schedule, times, silent))
    truth = ends["heun"][0]
    orders = {}
    for name, (_, coarse, finer) in ends.items():
        orders[name] = math.log2(((coarse - truth).abs().max() / (finer - truth).abs().max()).item())
    assert orders["heun"] == pytest.approx(2, abs=0.4), orders
    assert orders["ddim"] == pytest.approx(1, abs=0.3), orders


def test_one_step_of_heun_is_that_of_ddim() -> None:
    """The last step asks once: there is no time before the first."""
    start = torch.randn(SHAPE, dtype=torch.float64)
    for clip in (None, 0.5):
        one = heun(network("noise"), start, LINEAR, [700], clip=clip)
        assert_close(one, ddim(network("noise"), start, LINEAR, [700], silent, clip=clip), NUMBERS)


# ----------------------------------------------------------------------------------------------------------------------
# Langevin


@pytest.mark.system("8.3.5-LANGEVIN", "B8.29")
def test_langevin_on_a_normal_law_has_the_variance_of_its_step_size() -> None:
    """1 / (1 - c / 2) = 1.052632 at c = 0.1, whose chain is x (1 - c) + sqrt(2 c) e: iterated, and by Monte Carlo."""
    c, variance = 0.1, 0.0
    for _ in range(400):
        variance = (1 - c) ** 2 * variance + 2 * c
    assert variance == pytest.approx(1.052632, abs=5e-7)
    count = 20_000
    x = langevin(lambda x: -x, torch.zeros(count, 1).double(), c, 120, drawn_by(1, (count, 1)))
    assert abs(x.var().item() - variance) < 4 * variance * math.sqrt(2 / count)
    unit = torch.ones(3, 1).double()  # sqrt(2 c e) would not be defined for negative noise
    assert_close(langevin(lambda x: -x, 2 * unit, c, 1, lambda k: -unit), (2 - 0.2 - math.sqrt(0.2)) * unit)


@pytest.mark.system("8.3.5-LANGEVIN")
def test_langevin_draws_from_a_mixture_by_its_score() -> None:
    wide = GaussianMixture(numbers(0.4, 0.6), numbers(-1.0, 1.0)[:, None], numbers(0.3, 0.2))
    noise = drawn_by(8, (4000, 1))
    check_draws(langevin(wide.score, 2 * noise(-1), 0.01, 1000, noise), wide, distance=0.06)


@pytest.mark.system("8.3.5-ANNEALED")
def test_annealed_langevin_finds_the_weights_that_langevin_does_not() -> None:
    """Modes far apart: from one start, plain chains stay in the nearest, those from the noisiest level find both."""
    far = GaussianMixture(numbers(0.25, 0.75), numbers(-4.0, 4.0)[:, None], numbers(0.05, 0.05))
    sigmas = [10.0 * 0.6**k for k in range(12)]
    noise, start = drawn_by(5, (3000, 1)), torch.full((3000, 1), -4.0, dtype=torch.float64)

    def score_at(x: Tensor, level: int) -> Tensor:
        return GaussianMixture(far.weights, far.means, far.variances + sigmas[level] ** 2).score(x)

    found = annealed_langevin(score_at, start, sigmas, 60, noise, rate=0.1)
    assert (found > 0).double().mean().item() == pytest.approx(0.75, abs=0.05)
    stuck = langevin(far.score, start, 0.001, 700, noise)
    assert (stuck > 0).double().mean().item() < 0.01


@pytest.mark.system("8.3.5-ANNEALED")
def test_each_level_begins_with_the_last_sample_of_the_noisier_one() -> None:
    """By a loop; the step size is the rate times the level's variance, and no noise is used twice."""
    sigmas, rate, rows = [3.0, 1.0, 0.5], 0.2, [torch.randn(2, 1).double() for _ in range(6)]
    expected = start = torch.randn(2, 1).double()
    for k, (sigma, _) in enumerate(itertools.product(sigmas, range(2))):
        c = rate * sigma**2
        expected = expected + c * (-expected / sigma) + math.sqrt(2 * c) * rows[k]
    found = annealed_langevin(lambda x, i: -x / sigmas[i], start, sigmas, 2, rows.__getitem__, rate=rate)
    assert_close(found, expected, NUMBERS)


def test_levels_that_do_not_fall_and_steps_that_lead_nowhere_are_refused() -> None:
    x = torch.zeros(1, 1).double()
    for sigmas in ([], [1.0, 1.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="expected falling ones above 0"):
            annealed_langevin(lambda x, i: x, x, sigmas, 1, lambda k: x, rate=0.1)
    with pytest.raises(ValueError, match="received step_size=0"):
        langevin(lambda x: x, x, 0.0, 1, lambda k: x)
