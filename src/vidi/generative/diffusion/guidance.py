"""Guidance: wrappers of a denoiser that make its pictures fit a condition better (notes 8.3.6).

    classifier       e - w sqrt(1 - a_t) grad log p(c | x_t)     (Dhariwal & Nichol 2021, 2105.05233)
    classifier-free  e(null) + g (e(c) - e(null)), g = 1 + w     (Ho & Salimans 2022, 2207.12598)

The scale g is that of diffusers: 1 is no guidance, 0 no condition; the notes' w = g - 1. A negative prompt takes the
place of the null condition, at sampling only. Linear combinations of the noise are those of x_0 as well.

Differs from the notes: their sqrt(1 - a_t) has vanished in w, here it stands.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.generative.diffusion.samplers import Denoiser
from vidi.ops.diffusion import Denoised, Schedule, x0_from_noise

Conditional = Callable[[Float[Tensor, "B ..."], Int64[Tensor, " B"], Tensor], Denoised]
"""(x_t, t, condition B ...) -> what x_t shows."""

Classifier = Callable[[Float[Tensor, "B ..."], Int64[Tensor, " B"]], Float[Tensor, " B"]]
"""(x_t, t) -> log p(c | x_t) of the class asked for, by a network that knows noise."""


def guided_noise(
    conditional: Float[Tensor, "B ..."], unconditional: Float[Tensor, "B ..."], scale: float
) -> Float[Tensor, "B ..."]:
    """Return e(null) + g (e(c) - e(null)) = (1 + w) e(c) - w e(null)."""
    return unconditional + scale * (conditional - unconditional)


def classifier_free(
    denoise: Conditional, condition: Float[Tensor, "B ..."] | Int64[Tensor, "B ..."], null: Tensor, scale: float
) -> Denoiser:
    """Return a denoiser guided by the same network without the condition: one pass over a batch twice as large.

    Args:
        denoise: the network.
        condition: what is asked for, of each picture.
        null: what stands for no condition, or what is not wanted, of each picture.
        scale: g; at 1 and 0 a single branch decides, and the other is not computed.
    """
    if scale in (0, 1):
        alone = condition if scale == 1 else null
        return lambda x, t: denoise(x, t, alone)
    both = torch.cat((null, condition))

    def guided(x: Tensor, t: Tensor) -> Denoised:
        seen = denoise(torch.cat((x, x)), torch.cat((t, t)), both)
        (x0_null, x0), (noise_null, noise) = seen.x0.chunk(2), seen.noise.chunk(2)
        fraction = None if seen.fraction is None else seen.fraction.chunk(2)[1]
        return Denoised(guided_noise(x0, x0_null, scale), guided_noise(noise, noise_null, scale), fraction)

    return guided


def classifier_guided(denoise: Denoiser, classifier: Classifier, schedule: Schedule, weight: float) -> Denoiser:
    """Return a denoiser that leans towards what a classifier is sure of.

    Args:
        denoise: conditional or not.
        classifier: of the class asked for, aware of the noise at t.
        schedule: of the denoiser.
        weight: w; 1 is Bayes' rule for an unconditional denoiser.
    """

    def guided(x: Tensor, t: Tensor) -> Denoised:
        seen = denoise(x, t)
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(classifier(place, t).sum(), place)
        alpha = schedule.levels(t, x)
        noise = seen.noise - weight * (1 - alpha) ** 0.5 * gradient
        return Denoised(x0_from_noise(noise, x, alpha), noise, seen.fraction)

    return guided
