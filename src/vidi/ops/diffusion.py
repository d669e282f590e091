"""The mathematics of diffusion: schedules, the kernel, the posterior, and what a network may predict (notes 8.3).

    x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) e      one step of the forward process
    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e                all steps at once; a_t = prod_{s <= t} (1 - beta_s)
    q(x_{t-1} | x_t, x_0) = N(posterior mean, variance)  what the reverse process imitates

Sohl-Dickstein et al. 2015, 1503.03585; Ho et al. 2020, 2006.11239; Song et al. 2021, 2010.02502 and 2011.13456;
Nichol & Dhariwal 2021, 2102.09672; Salimans & Ho 2022, 2202.00512.

A time t is an integer from 0 to T - 1, the notes' t minus 1; -1 is the picture itself, where a = 1. "The time before" t
is whatever entry follows in a sampler's list of times, so that one step of any formula here may skip many.
`alphas_cumprod` holds the cumulative products, which the notes call alpha and other texts alpha-bar. The law of the
last x_t is N(sqrt(a) x_0, (1 - a) I), nearly N(0, I): a is 4e-5 at the end of the linear schedule.

Differs from the notes, by their errata: the mean from the noise has sqrt(1 - a_t), not sqrt(1 - a_{t-1}); x_0 from the
noise subtracts it; variances are sigma^2; a skip takes the a of the time that it leads to.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Level = Float[Tensor, "..."] | float
"""A cumulative product a: one number, or a tensor that broadcasts against the pictures."""

Prediction = Literal["noise", "x0", "v", "mean", "score"]
"""What a network gives: the noise e, the picture x_0, the velocity, the mean of the reverse step, or the score."""

Spacing = Literal["leading", "trailing", "linspace"]


# ----------------------------------------------------------------------------------------------------------------------
# Schedules


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Float[Tensor, " T"]:
    """Return variances that grow linearly (Ho et al. 2020, section 4), in float64."""
    return torch.linspace(first, last, steps, dtype=torch.float64, device="cpu")


def scaled_linear_betas(steps: int = 1000, first: float = 8.5e-4, last: float = 0.012) -> Float[Tensor, " T"]:
    """Return variances whose roots grow linearly (latent diffusion, Rombach et al. 2022), in float64."""
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64, device="cpu").square()


def cosine_betas(steps: int = 1000, s: float = 0.008, largest: float = 0.999) -> Float[Tensor, " T"]:
    """Return variances by which a_t is f(t) / f(0), f(t) = cos^2(((t / T + s) / (1 + s)) pi / 2), in float64.

    Nichol & Dhariwal 2021, equation 17; no variance is larger than `largest`.
    """
    places = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    f = (((places + s) / (1 + s)) * math.pi / 2).cos().square()
    return (1 - f[1:] / f[:-1]).clamp(max=largest)


ScheduleName = Literal["linear", "scaled_linear", "cosine"]
BETAS = {"linear": linear_betas, "scaled_linear": scaled_linear_betas, "cosine": cosine_betas}


@dataclass(frozen=True, eq=False)
class Schedule:
    """How fast pictures drown in noise.

    Attributes:
        betas: the variances of the forward steps, each within (0, 1).
        final: a at time -1, where sampling ends: 1, the picture; files of Stable Diffusion say a at time 0.
    """

    betas: Float[Tensor, " T"]
    final: float = 1.0

    def __post_init__(self) -> None:
        if self.betas.ndim != 1 or not len(self.betas) or not bool(((self.betas > 0) & (self.betas < 1)).all()):
            raise ValueError(f"received betas {self.betas}, expected a list of variances within (0, 1)")

    @classmethod
    def named(cls, name: ScheduleName, steps: int = 1000) -> "Schedule":
        """Return a schedule of so many steps, with its published numbers."""
        if name not in BETAS:
            raise ValueError(f"received schedule {name!r}, expected one of {', '.join(BETAS)}")
        return cls(BETAS[name](steps))

    @classmethod
    def of_alphas(cls, alphas_cumprod: Float[Tensor, " T"]) -> "Schedule":
        """Return the schedule that has these cumulative products."""
        before = torch.cat((torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]))
        return cls(1 - alphas_cumprod / before)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        """The cumulative products of 1 - beta."""
        return (1 - self.betas).cumprod(0)

    @cached_property
    def _levels(self) -> list[float]:
        return [*self.alphas_cumprod.tolist(), self.final]  # that of time -1 is the last

    def level(self, time: int) -> float:
        """Return a at one time; `final` at -1."""
        if not -1 <= time < self.steps:
            raise ValueError(f"received time {time}, expected one from -1 to {self.steps - 1}")
        return self._levels[time]

    def levels(self, times: Int64[Tensor, " B"], like: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Return a at the time of each picture, of the pictures' type and with as many axes."""
        table = self.alphas_cumprod.to(times.device)
        found = torch.where(times < 0, self.final, table[times.clamp(min=0)])
        return found.to(like).view(-1, *[1] * (like.ndim - 1))


def spaced_times(total: int, steps: int, spacing: Spacing = "trailing", *, offset: int = 0) -> list[int]:
    """Return `steps` of the times 0 .. total - 1 for a sampler, the noisiest first (Lin et al. 2023, Table 2).

    Args:
        total: T of the training.
        steps: how many, from 1 to T; need not divide T.
        spacing: "trailing" begins with the last time, where there is nothing but noise; "leading" ends at time 0 and
            may begin long before T - 1; "linspace" has both ends.
        offset: added to the times of "leading": 1 in Stable Diffusion.

    Raises:
        ValueError: for a number of steps that T does not have, and an offset that leaves it.
    """
    if not 1 <= steps <= total:
        raise ValueError(f"received steps={steps}, expected from 1 to {total}, the steps of the training")
    if spacing == "leading":
        times = [k * (total // steps) + offset for k in range(steps)]
    elif spacing == "trailing":
        times = [round(total * k / steps) - 1 for k in range(1, steps + 1)]
    elif spacing == "linspace":
        times = [round((total - 1) * k / max(steps - 1, 1)) for k in range(steps)]
    else:
        raise ValueError(f"received spacing {spacing!r}, expected 'leading', 'trailing' or 'linspace'")
    if times[-1] >= total or times[0] < 0:
        raise ValueError(f"received offset={offset} for {steps} of {total} times, expected all of them below {total}")
    return times[::-1]


# ----------------------------------------------------------------------------------------------------------------------
# The forward process and its posterior


def forward_step(
    x: Float[Tensor, "B ..."], beta: float | Tensor, noise: Float[Tensor, "B ..."]
) -> Float[Tensor, "B ..."]:
    """Return x one step further into the noise: sqrt(1 - beta) x + sqrt(beta) noise."""
    return (1 - beta) ** 0.5 * x + beta**0.5 * noise


def noised(x0: Float[Tensor, "B ..."], noise: Float[Tensor, "B ..."], alpha: Level) -> Float[Tensor, "B ..."]:
    """Return sqrt(a) x_0 + sqrt(1 - a) noise: all steps of the forward process at once, the diffusion kernel."""
    return alpha**0.5 * x0 + (1 - alpha) ** 0.5 * noise


def posterior_variance(alpha: Level, before: Level) -> Level:
    """Return the variance of q(x_s | x_t, x_0) for s before t: (1 - a_s) / (1 - a_t) (1 - a_t / a_s)."""
    return (1 - before) / (1 - alpha) * (1 - alpha / before)


def learned_variance(fraction: Tensor, beta: Level, least: Level) -> Tensor:
    """Return exp(v log beta + (1 - v) log least) for a network's v (Nichol & Dhariwal 2021, equation 15).

    Args:
        fraction: v, usually from 0 to 1.
        beta: the variance of the forward step.
        least: that of the posterior.
    """
    return beta**fraction * least ** (1 - fraction)


def posterior_mean(
    x0: Float[Tensor, "B ..."], x: Float[Tensor, "B ..."], alpha: Level, before: Level
) -> Float[Tensor, "B ..."]:
    """Return the mean of q(x_s | x_t, x_0) for s before t (Ho et al. 2020, equation 7).

    Args:
        x0: the picture.
        x: x_t.
        alpha: a_t.
        before: a_s; 1 where s is the picture, which is the mean then.
    """
    kept = alpha / before  # 1 - beta of the step
    return before**0.5 * (1 - kept) / (1 - alpha) * x0 + kept**0.5 * (1 - before) / (1 - alpha) * x


# ----------------------------------------------------------------------------------------------------------------------
# What a network predicts, and what follows from it


class Denoised(NamedTuple):
    """What a prediction says: x_0 and the noise with x_t = sqrt(a) x_0 + sqrt(1 - a) noise."""

    x0: Float[Tensor, "B ..."]
    noise: Float[Tensor, "B ..."]
    fraction: Float[Tensor, "B ..."] | None = None
    """Of learnt variances: 1 is beta_t, 0 the posterior's, in between on the scale of logarithms."""


def x0_from_noise(noise: Tensor, x: Tensor, alpha: Level) -> Tensor:
    """Return (x_t - sqrt(1 - a) e) / sqrt(a)."""
    return (x - (1 - alpha) ** 0.5 * noise) / alpha**0.5


def noise_from_x0(x0: Tensor, x: Tensor, alpha: Level) -> Tensor:
    """Return (x_t - sqrt(a) x_0) / sqrt(1 - a)."""
    return (x - alpha**0.5 * x0) / (1 - alpha) ** 0.5


def velocity(x0: Tensor, noise: Tensor, alpha: Level) -> Tensor:
    """Return v = sqrt(a) e - sqrt(1 - a) x_0 (Salimans & Ho 2022, appendix D)."""
    return alpha**0.5 * noise - (1 - alpha) ** 0.5 * x0


def mean_from_noise(noise: Tensor, x: Tensor, alpha: Level, before: Level) -> Tensor:
    """Return the mean of the reverse step: x_t / sqrt(1 - beta) - beta / (sqrt(1 - a_t) sqrt(1 - beta)) e."""
    kept = alpha / before
    return (x - (1 - kept) / (1 - alpha) ** 0.5 * noise) / kept**0.5


def noise_from_mean(mean: Tensor, x: Tensor, alpha: Level, before: Level) -> Tensor:
    """Return the noise by which a reverse step has this mean; the inverse of `mean_from_noise`."""
    kept = alpha / before
    return (x - kept**0.5 * mean) * (1 - alpha) ** 0.5 / (1 - kept)


def score_from_noise(noise: Tensor, alpha: Level) -> Tensor:
    """Return the gradient of log q(x_t): -e / sqrt(1 - a) (Song et al. 2021, 2011.13456)."""
    return -noise / (1 - alpha) ** 0.5


def noise_from_score(score: Tensor, alpha: Level) -> Tensor:
    """Return -sqrt(1 - a) s."""
    return -((1 - alpha) ** 0.5) * score


def denoised(
    output: Float[Tensor, "B ..."],
    x: Float[Tensor, "B ..."],
    alpha: Level,
    kind: Prediction,
    before: Level | None = None,
) -> Denoised:
    """Return what a network's output says.

    Args:
        output: of the network.
        x: x_t, what it saw.
        alpha: a_t.
        kind: what the output is.
        before: a of the time before t, which a "mean" is of.

    Raises:
        ValueError: for another kind, and for a "mean" of which the time is unknown.
    """
    if kind == "x0":
        return Denoised(output, noise_from_x0(output, x, alpha))
    if kind == "v":
        return Denoised(alpha**0.5 * x - (1 - alpha) ** 0.5 * output, alpha**0.5 * output + (1 - alpha) ** 0.5 * x)
    if kind == "mean" and before is not None:
        noise = noise_from_mean(output, x, alpha, before)
    elif kind == "score":
        noise = noise_from_score(output, alpha)
    elif kind == "noise":
        noise = output
    else:
        raise ValueError(f"received kind {kind!r}, expected noise, x0, v, score, or mean with the a of the time before")
    return Denoised(x0_from_noise(noise, x, alpha), noise)


def target_of(
    kind: Prediction, x0: Float[Tensor, "B ..."], noise: Float[Tensor, "B ..."], alpha: Level, before: Level
) -> Float[Tensor, "B ..."]:
    """Return what a network of a kind should give for a picture and the noise in it; the inverse of `denoised`."""
    if kind == "noise":
        return noise
    if kind == "x0":
        return x0
    if kind == "v":
        return velocity(x0, noise, alpha)
    if kind == "mean":
        return posterior_mean(x0, noised(x0, noise, alpha), alpha, before)
    if kind == "score":
        return score_from_noise(noise, alpha)
    raise ValueError(f"received kind {kind!r}, expected noise, x0, v, mean or score")
