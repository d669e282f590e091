"""From noise to pictures: samplers as functions of a denoiser and an explicit list of times (notes 8.3.4, 8.3.5).

    denoise(x_t, t) -> what x_t shows: x_0 and the noise in it
    times              t_1 > t_2 > ... : any of 0 .. T - 1; "the time before" one is the next in the list, then -1
    noise(k)           standard normal noise of the k-th step, of which each picture has its own

    ddpm               q(x_s | x_t, x_0) with the predicted x_0; the last step gives its mean   (Ho et al. 2020)
    ddim               the same marginals by non-Markovian steps, eta = 0 deterministic          (Song et al. 2021)
    heun               the probability-flow ODE, of second order                                 (Karras et al. 2022)
    langevin           x + c s(x) + sqrt(2 c) e                                                  (Song & Ermon 2019)
    annealed_langevin  levels of noise from T - 1 down, each begins with the last sample of the one before

Differs from the notes, by their errata: the last step of DDPM is the mean at time 0; the direction of DDIM has
1 - a_s - sigma^2; the noise of Langevin stands outside the root; a level begins where the noisier one ended.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.ops.diffusion import (
    Denoised,
    Schedule,
    learned_variance,
    noise_from_x0,
    posterior_mean,
    posterior_variance,
)

Denoiser = Callable[[Float[Tensor, "B ..."], Int64[Tensor, " B"]], Denoised]
"""(x_t, t) -> what x_t shows."""

Noise = Callable[[int], Tensor]
"""The step of a sampler, from 0, -> standard normal noise of the pictures' shape."""

Variance = Literal["posterior", "beta", "learned"]
"""sigma^2 of a DDPM step: that of q(x_s | x_t, x_0), that of the forward step, or between them as the network says."""

Watch = Callable[[int, Tensor, Denoised], None]
"""Sees each step: its number, the pictures after it, and what the denoiser made of those before it."""


def unwatched(step: int, x: Tensor, seen: Denoised) -> None:
    """Look at nothing."""


def checked_times(times: Sequence[int], total: int) -> list[tuple[int, int]]:
    """Return the steps (t, time before t) of a list of times, the last to -1.

    Raises:
        ValueError: if there are none, they do not fall, or one is not from 0 to `total` - 1.
    """
    falls = all(t > s for t, s in pairwise(times))
    if not times or not falls or times[0] >= total or times[-1] < 0:
        raise ValueError(f"received times {list(times)}, expected falling ones from {total - 1} to 0")
    return list(pairwise([*times, -1]))


def at(time: int, x: Tensor) -> Int64[Tensor, " B"]:
    """Return one time for all pictures."""
    return torch.full((len(x),), time, dtype=torch.int64, device=x.device)


def looked_at(denoise: Denoiser, x: Tensor, time: int, schedule: Schedule, clip: float | None) -> Denoised:
    """Return what the denoiser sees; x_0 within [-clip, clip], and the noise that this leaves."""
    seen = denoise(x, at(time, x))
    if clip is None:
        return seen
    x0 = seen.x0.clamp(-clip, clip)
    return Denoised(x0, noise_from_x0(x0, x, schedule.level(time)), seen.fraction)


def step_deviation(
    variance: Variance, alpha: float, before: float, fraction: Tensor | None
) -> float | Float[Tensor, "B ..."]:
    """Return sigma of a DDPM step from level a_t to a_s.

    Raises:
        ValueError: for another name, and for a learnt variance of a network that gives none.
    """
    beta, least = 1 - alpha / before, max(float(posterior_variance(alpha, before)), 1e-20)
    if variance == "posterior":
        return least**0.5
    if variance == "beta":
        return beta**0.5
    if variance == "learned" and fraction is not None:
        return learned_variance(fraction, beta, least) ** 0.5
    raise ValueError(
        f"received variance {variance!r}, expected posterior, beta, or learned for a network that gives it"
    )


@torch.no_grad()
def ddpm(
    denoise: Denoiser,
    x: Float[Tensor, "B ..."],
    schedule: Schedule,
    times: Sequence[int],
    noise: Noise,
    *,
    variance: Variance = "posterior",
    clip: float | None = None,
    watch: Watch = unwatched,
) -> Float[Tensor, "B ..."]:
    """Return pictures by ancestral sampling: a draw of N(mean, sigma^2 I) at each step but the last, which is the mean.

    Args:
        denoise: sees what is in x_t.
        x: pictures at the first of the times, such as pure noise.
        schedule: by which the denoiser was trained.
        times: at which it is asked, falling.
        noise: of each step.
        variance: which sigma^2.
        clip: the largest absolute value of a picture; None: x_0 is left as predicted.
        watch: sees each step.

    Raises:
        ValueError: for times that do not fall, or leave the schedule.
    """
    for step, (t, s) in enumerate(checked_times(times, schedule.steps)):
        alpha, before = schedule.level(t), schedule.level(s)
        seen = looked_at(denoise, x, t, schedule, clip)
        x = posterior_mean(seen.x0, x, alpha, before)
        if s >= 0:
            x = x + step_deviation(variance, alpha, before, seen.fraction) * noise(step)
        watch(step, x, seen)
    return x


def ddim_deviation(alpha: float, before: float, eta: float) -> float:
    """Return sigma of a DDIM step: eta times the root of the posterior's variance (Song et al. 2021, equation 16).

    Raises:
        ValueError: if eta is not from 0 to 1, or so large that sigma^2 exceeds 1 - a_s.
    """
    sigma = eta * float(posterior_variance(alpha, before)) ** 0.5
    if eta < 0 or sigma**2 > 1 - before:
        raise ValueError(f"received eta={eta}, expected at least 0 and a variance of at most {1 - before:.4g}")
    return sigma


@torch.no_grad()
def ddim(
    denoise: Denoiser,
    x: Float[Tensor, "B ..."],
    schedule: Schedule,
    times: Sequence[int],
    noise: Noise,
    *,
    eta: float = 0.0,
    clip: float | None = None,
    watch: Watch = unwatched,
) -> Float[Tensor, "B ..."]:
    """Return pictures by steps to sqrt(a_s) x_0 + sqrt(1 - a_s - sigma^2) e + sigma e' (Song et al. 2021, equation 12).

    Args:
        denoise, x, schedule, times, noise, clip, watch: as `ddpm`.
        eta: 0 is deterministic, 1 is DDPM.

    Raises:
        ValueError: as `ddpm`, and for an eta out of range.
    """
    for step, (t, s) in enumerate(checked_times(times, schedule.steps)):
        alpha, before = schedule.level(t), schedule.level(s)
        sigma = ddim_deviation(alpha, before, eta)
        seen = looked_at(denoise, x, t, schedule, clip)
        x = before**0.5 * seen.x0 + max(1 - before - sigma**2, 0.0) ** 0.5 * seen.noise
        if sigma > 0:
            x = x + sigma * noise(step)
        watch(step, x, seen)
    return x


@torch.no_grad()
def heun(
    denoise: Denoiser,
    x: Float[Tensor, "B ..."],
    schedule: Schedule,
    times: Sequence[int],
    *,
    clip: float | None = None,
    watch: Watch = unwatched,
) -> Float[Tensor, "B ..."]:
    """Return pictures by the probability-flow ODE d(x / sqrt(a)) / d(sigma) = e, sigma^2 = (1 - a) / a, of order two.

    Each step asks twice, where it starts and where Euler's step (that of DDIM) leads, and takes the mean of the noise;
    the last step, to the picture, asks once (Karras et al. 2022, 2206.00364, algorithm 1).

    Args:
        denoise, x, schedule, times, clip, watch: as `ddpm`.
    """
    for step, (t, s) in enumerate(checked_times(times, schedule.steps)):
        alpha, before = schedule.level(t), schedule.level(s)
        length = ((1 - before) / before) ** 0.5 - ((1 - alpha) / alpha) ** 0.5
        seen = looked_at(denoise, x, t, schedule, clip)
        slope = seen.noise
        if s >= 0:
            euler = before**0.5 * (x / alpha**0.5 + length * slope)
            slope = (slope + looked_at(denoise, euler, s, schedule, clip).noise) / 2
        x = before**0.5 * (x / alpha**0.5 + length * slope)
        watch(step, x, seen)
    return x


# ----------------------------------------------------------------------------------------------------------------------
# By the score


Score = Callable[[Float[Tensor, "B ..."]], Float[Tensor, "B ..."]]
"""x -> the gradient of log p at x."""


@torch.no_grad()
def langevin(
    score: Score, x: Float[Tensor, "B ..."], step_size: float, steps: int, noise: Noise, *, first: int = 0
) -> Float[Tensor, "B ..."]:
    """Return x after `steps` steps of Langevin dynamics, x + c s(x) + sqrt(2 c) e.

    The stationary law is p for small c only: of N(0, 1) it has the variance 1 / (1 - c / 2).

    Args:
        score: of p.
        x: where the chains are.
        step_size: c.
        steps: how many.
        noise: of each step.
        first: the number of the first step.

    Raises:
        ValueError: for a step size that is not positive.
    """
    if step_size <= 0:
        raise ValueError(f"received step_size={step_size}, expected a positive one")
    for step in range(first, first + steps):
        x = x + step_size * score(x) + (2 * step_size) ** 0.5 * noise(step)
    return x


def annealed_langevin(
    score_at: Callable[[Float[Tensor, "B ..."], int], Float[Tensor, "B ..."]],
    x: Float[Tensor, "B ..."],
    deviations: Iterable[float],
    steps: int,
    noise: Noise,
    *,
    rate: float,
) -> Float[Tensor, "B ..."]:
    """Return x after Langevin dynamics at each level of noise, the noisiest first (Song & Ermon 2019, algorithm 1).

    A level begins with the last sample of the level before it; its step size is `rate` times its variance.

    Args:
        score_at: (x, number of the level) -> the score of the data with that noise.
        x: where the chains are.
        deviations: sigma of the levels, falling.
        steps: at each level.
        noise: of each step, counted through.
        rate: of the step size: c = rate sigma^2.

    Raises:
        ValueError: if the levels do not fall.
    """
    levels = list(deviations)
    if not levels or any(small >= large for large, small in pairwise(levels)) or levels[-1] <= 0:
        raise ValueError(f"received deviations {levels}, expected falling ones above 0")
    for level, sigma in enumerate(levels):

        def score(points: Tensor, level: int = level) -> Tensor:
            return score_at(points, level)

        x = langevin(score, x, rate * sigma**2, steps, noise, first=level * steps)
    return x
