"""Losses of diffusion models: the bound on the likelihood, its terms, and what is trained in its place (notes 8.3.2).

    -log p(x_0) <= KL(q(x_T | x_0), p(x_T)) + sum_t KL(q(x_{t-1} | x_t, x_0), p(x_{t-1} | x_t)) - log p(x_0 | x_1)

Each KL of the sum is a squared error of means over 2 sigma^2, or of the noise by `elbo_weight`; setting the weight to 1
is the simple loss. Ho et al. 2020, 2006.11239, equations 5, 8, 12, 14; Nichol & Dhariwal 2021, 2102.09672.

Terms are sums over a picture's numbers, in nats; `bits_per_dimension` divides.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidi.ops.diffusion import Level, noise_from_score, posterior_mean, posterior_variance

LEVELS = 256
"""Values of a pixel: pictures in [-1, 1] lie 2 / 255 apart."""


def simple_loss(found: Float[Tensor, "B ..."], target: Float[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """Return the mean squared error: the unweighted loss (Ho et al. 2020, equation 14)."""
    return F.mse_loss(found, target)


def weighted_loss(
    found: Float[Tensor, "B ..."], target: Float[Tensor, "B ..."], weights: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Return the mean squared error in which each picture has its weight."""
    return (weights * (found - target).square().flatten(1).mean(1)).mean()


def denoising_score_loss(
    score: Float[Tensor, "B ..."], noise: Float[Tensor, "B ..."], alpha: Level
) -> Float[Tensor, ""]:
    """Return the mean of (1 - a) |s(x_t) + e / sqrt(1 - a)|^2: denoising score matching (Vincent 2011).

    Its minimum is the score of the noised data, of which no normalisation is needed; the weight is that of Song & Ermon
    2019, 1907.05600, section 4.2, by which it is the simple loss of the noise -sqrt(1 - a) s.
    """
    return simple_loss(noise_from_score(score, alpha), noise)


def mean_error(mean: Float[Tensor, "B ..."], target: Float[Tensor, "B ..."], variance: Level) -> Float[Tensor, " B"]:
    """Return |mean - target|^2 / (2 sigma^2): what a network that predicts means answers for (equation 8)."""
    return ((mean - target).square() / (2 * variance)).flatten(1).sum(1)


def elbo_weight(alpha: Level, before: Level, variance: Level) -> Level:
    """Return beta^2 / (2 sigma^2 (1 - beta) (1 - a_t)): the weight of a squared error of the noise (equation 12)."""
    kept = alpha / before
    return (1 - kept) ** 2 / (2 * variance * kept * (1 - alpha))


def gaussian_kl(
    mean: Float[Tensor, "B ..."], variance: Level, other_mean: Float[Tensor, "B ..."], other_variance: Level
) -> Float[Tensor, " B"]:
    """Return KL(N(mean, variance), N(other_mean, other_variance)) of independent numbers, in nats."""
    ratio = torch.as_tensor(variance / other_variance, dtype=mean.dtype, device=mean.device)
    each = 0.5 * (ratio - 1 - ratio.log() + (mean - other_mean).square() / other_variance)
    return each.flatten(1).sum(1)


def gaussian_nll(x: Float[Tensor, "B ..."], mean: Float[Tensor, "B ..."], variance: Level) -> Float[Tensor, " B"]:
    """Return -log N(x; mean, variance), in nats: the reconstruction of continuous data."""
    spread = torch.as_tensor(2 * math.pi * variance, dtype=x.dtype, device=x.device)
    return (0.5 * ((x - mean).square() / variance + spread.log())).flatten(1).sum(1)


def share_below(z: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the standard normal distribution function, exact in its lower tail (torch's `ndtr` is not)."""
    return 0.5 * torch.special.erfc(-z / math.sqrt(2))


def pixel_nll(x: Float[Tensor, "B ..."], mean: Float[Tensor, "B ..."], variance: Level) -> Float[Tensor, " B"]:
    """Return the negative logarithm of what N(mean, variance) gives to each pixel's bin, in nats (equation 13).

    Pixels are in [-1, 1], 256 values; the bins of the darkest and the brightest reach to infinity.
    """
    deviation = torch.as_tensor(variance, dtype=x.dtype, device=x.device) ** 0.5
    half = 1 / (LEVELS - 1)
    above, below = (x + half - mean) / deviation, (x - half - mean) / deviation
    darkest, brightest = x < -1 + half, x > 1 - half
    # a difference of tails, on the side where they are small
    inner = torch.where(below > 0, share_below(-below) - share_below(-above), share_below(above) - share_below(below))
    log = inner.clamp(min=torch.finfo(x.dtype).tiny).log()
    log = torch.where(darkest, torch.special.log_ndtr(above), log)
    log = torch.where(brightest, torch.special.log_ndtr(-below), log)
    return -log.flatten(1).sum(1)


def prior_term(x0: Float[Tensor, "B ..."], alpha: float) -> Float[Tensor, " B"]:
    """Return KL(q(x_T | x_0), N(0, I)): what the last noise still says of the picture, in nats."""
    zero = torch.zeros_like(x0)
    return gaussian_kl(alpha**0.5 * x0, 1 - alpha, zero, 1.0)


def step_term(
    x0: Float[Tensor, "B ..."],
    x: Float[Tensor, "B ..."],
    mean: Float[Tensor, "B ..."],
    variance: Level,
    alpha: Level,
    before: Level,
) -> Float[Tensor, " B"]:
    """Return KL(q(x_s | x_t, x_0), N(mean, variance)) for s before t, s not the picture, in nats.

    Args:
        x0: the picture.
        x: x_t.
        mean, variance: of the reverse step.
        alpha, before: a_t and a_s.
    """
    return gaussian_kl(posterior_mean(x0, x, alpha, before), posterior_variance(alpha, before), mean, variance)


def bits_per_dimension(nats: Float[Tensor, " B"], dimensions: int) -> Float[Tensor, " B"]:
    """Return a bound in nats as bits for each number of a picture."""
    return nats / (dimensions * math.log(2))


def hybrid_loss(simple: Float[Tensor, ""], bound: Float[Tensor, ""], weight: float = 0.001) -> Float[Tensor, ""]:
    """Return the simple loss and a little of the bound, which teaches the variances (Nichol & Dhariwal 2021, eq. 16).

    The bound is of means without gradient, so that the simple loss alone teaches them.
    """
    return simple + weight * bound
