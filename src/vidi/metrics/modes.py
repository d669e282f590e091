"""How many modes of a mixture a generator covers, and the two parts of what a GAN's discriminator sees (notes 8.2.1).

    points N D, centres M D     -> modes_covered     modes that a point within 3 deviations of the centre belongs to,
                                                     and the share of the points that belong to any
    masses p, q                 -> divergences       coverage KL(p || m) and quality KL(q || m), m = (p + q) / 2

Metz et al. 2017 (arXiv 1611.02163), the ring of Gaussians. The two divergences' mean is the Jensen-Shannon divergence;
the generator's density q is in both of them, by the mixture: the notes have it in the second one alone.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.metrics.information import kl_divergence


class Modes(NamedTuple):
    """What a generator makes of a mixture."""

    covered: int  # modes that at least one point belongs to
    quality: float  # share of the points that belong to a mode


class Divergences(NamedTuple):
    """The two parts of twice the Jensen-Shannon divergence, in nats, at most log 2 each."""

    coverage: Float[Tensor, "*B"]  # of the real masses: how badly the generated ones cover them
    quality: Float[Tensor, "*B"]  # of the generated masses: how far they are from real ones


def modes_covered(
    points: Float[Tensor, "N D"], centres: Float[Tensor, "M D"], deviation: float | int, *, within: float | int = 3
) -> Modes:
    """Return how many modes of a mixture of normal distributions points belong to.

    A point belongs to the mode whose centre is nearest, if it is within so many deviations of it.
    """
    distance, mode = torch.cdist(points, centres).min(1)
    near = distance <= within * deviation
    return Modes(len(mode[near].unique()), float(near.double().mean()))


def divergences(real: Float[Tensor, "*B K"], generated: Float[Tensor, "*B K"]) -> Divergences:
    """Return both divergences from the mixture of two discrete distributions.

    Raises:
        ValueError: if one is no distribution.
    """
    mixture = (real + generated) / 2
    return Divergences(kl_divergence(real, mixture), kl_divergence(generated, mixture))
