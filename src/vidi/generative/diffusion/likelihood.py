"""How likely a diffusion model finds a picture: the bound on -log p(x_0), term by term (notes 8.3.2).

    log p(x_0) = log E_q [p(x_0 .. x_T) / q(x_1 .. x_T | x_0)] >= E_q [log of the same]         Jensen
    p(x_0 .. x_T) = p(x_T) prod p(x_{t-1} | x_t),  q(x_1 .. x_T | x_0) = prod q(x_t | x_{t-1})

The expected logarithm falls apart into the terms of `Bound`, each of which takes one x_t drawn by the kernel. It is
equal to log p(x_0) where the reverse process is the true one.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.generative.diffusion.samplers import Denoiser, Noise, Variance, looked_at, step_deviation
from vidi.losses.diffusion import pixel_nll, prior_term, step_term
from vidi.ops.diffusion import Level, Schedule, learned_variance, noised, posterior_mean, posterior_variance

Reverse = Callable[[Tensor, int], tuple[Tensor, Level]]
"""(x_t, t) -> mean and variance of p(x_{t-1} | x_t)."""

Reconstruction = Callable[[Tensor, Tensor, Level], Tensor]
"""(x_0, mean, variance) -> -log p(x_0 | x_1) of each picture."""


class Bound(NamedTuple):
    """An upper bound on -log p(x_0) of each picture, in nats."""

    prior: Float[Tensor, " B"]
    steps: Float[Tensor, "B T-1"]  # of t = 1 .. T - 1
    reconstruction: Float[Tensor, " B"]

    @property
    def total(self) -> Float[Tensor, " B"]:
        """The sum of the terms."""
        return self.prior + self.steps.sum(1) + self.reconstruction


def reverse_of(
    denoise: Denoiser, schedule: Schedule, variance: Variance = "posterior", clip: float | None = None
) -> Reverse:
    """Return the reverse process of a denoiser; arguments as of `samplers.ddpm`.

    The step to the picture has no posterior variance: there it is beta; what is learnt has that of the step before.
    """
    first = posterior_variance(schedule.level(1), schedule.level(0)) if schedule.steps > 1 else schedule.betas[0].item()

    def reverse(x: Tensor, time: int) -> tuple[Tensor, Level]:
        alpha, before = schedule.level(time), schedule.level(time - 1)
        seen = looked_at(denoise, x, time, schedule, clip)
        mean = posterior_mean(seen.x0, x, alpha, before)
        if time == 0 and variance == "learned" and seen.fraction is not None:
            return mean, learned_variance(seen.fraction, 1 - alpha, first)
        return mean, step_deviation("beta" if time == 0 else variance, alpha, before, seen.fraction) ** 2

    return reverse


@torch.no_grad()
def likelihood_bound(
    x0: Float[Tensor, "B ..."],
    schedule: Schedule,
    reverse: Reverse,
    noise: Noise,
    reconstruction: Reconstruction = pixel_nll,
) -> Bound:
    """Return the bound on -log p(x_0), with one draw of each x_t.

    Args:
        x0: the pictures, in [-1, 1] for the usual `reconstruction`.
        schedule: of the model.
        reverse: the model.
        noise: by which x_t is drawn, by time.
        reconstruction: -log p(x_0 | x_1): of the 256 values of a pixel, or of continuous data.
    """
    terms = []
    for time in range(1, schedule.steps):
        alpha, before = schedule.level(time), schedule.level(time - 1)
        x = noised(x0, noise(time), alpha)
        terms.append(step_term(x0, x, *reverse(x, time), alpha, before))
    last = reverse(noised(x0, noise(0), schedule.level(0)), 0)
    steps = torch.stack(terms, 1) if terms else x0.new_zeros(len(x0), 0)  # B T-1
    return Bound(prior_term(x0, schedule.level(schedule.steps - 1)), steps, reconstruction(x0, *last))
