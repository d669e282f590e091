"""Latent vectors: drawn, walked between, added and subtracted (notes 8.2, 8.2.1).

White 2016 (arXiv 1609.04468), spherical interpolation; Radford et al. 2016 (arXiv 1511.06434), arithmetic; Brock et al.
2019 (arXiv 1809.11096), the truncation trick:

    seeds N         -> normal_latents       N D, row i a function of seed i alone
    a D, b D, t     -> lerp, slerp          the straight line, and the arc on which a normal vector keeps its length
    with, without   -> direction            what an attribute adds: the difference of two means

High-dimensional normal vectors lie near a sphere; the middle of a straight line between two is nearer to the origin
than what a generator has seen, by a factor of sqrt(2).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.ops.noise import seeded_normal
from vidi.ops.similarity import normalized

ROUNDS = 10_000
"""Of drawing again what lies beyond a threshold; one of 0.01 needs about 3,000 for the last of a million numbers."""


def normal_latents(
    length: int, seeds: Sequence[int], *, truncation: float | int | None = None, device: torch.device | None = None
) -> Float[Tensor, "N {length}"]:
    """Return standard normal vectors, of which numbers beyond +-truncation are drawn again until they are not.

    Raises:
        ValueError: if the truncation is not above 0.
    """
    if truncation is not None and not truncation > 0:
        raise ValueError(f"received truncation={truncation}, expected more than 0, or none")
    drawn = seeded_normal((length,), seeds)
    if truncation is not None:
        for step in range(1, ROUNDS):
            beyond = drawn.abs() > truncation
            if not beyond.any():
                break
            rows = beyond.any(1).nonzero().flatten().tolist()
            again = seeded_normal((length,), [seeds[row] for row in rows], step)
            drawn[rows] = torch.where(beyond[rows], again, drawn[rows])
    return drawn.to(device)


def lerp(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], t: Float[Tensor, " S"]) -> Float[Tensor, "S N D"]:
    """Return the points a + t (b - a) of the straight line from a (t = 0) to b (t = 1)."""
    t = t[:, None, None]
    return (1 - t) * a + t * b


def slerp(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], t: Float[Tensor, " S"]) -> Float[Tensor, "S N D"]:
    """Return points of the arc from a (t = 0) to b (t = 1): the angle grows evenly, the length from |a| to |b|.

    Vectors of one direction are joined by a straight line; for opposite ones every arc is as good, and a line is drawn.
    """
    cosine = (normalized(a) * normalized(b)).sum(-1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    along = t[:, None, None]
    arc = (torch.sin((1 - along) * angle) * a + torch.sin(along * angle) * b) / sine
    return torch.where(sine < 1e-6, lerp(a, b, t), arc)


def direction(having: Float[Tensor, "N D"], lacking: Float[Tensor, "M D"]) -> Float[Tensor, " D"]:
    """Return what an attribute adds to a latent vector: the mean of those that have it, less that of those without.

    Smiling woman - neutral woman + neutral man is `man + direction(smiling, neutral)`; Radford et al. average three of
    each, since single vectors are unstable.
    """
    return having.mean(0) - lacking.mean(0)


def strips(
    a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], steps: int, *, spherical: bool = True
) -> Float[Tensor, "N S D"]:
    """Return for each pair `steps` points from a to b, both among them.

    Raises:
        ValueError: for fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"received {steps} steps from one vector to another, expected at least 2")
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
    return (slerp if spherical else lerp)(a, b, t).transpose(0, 1)  # N S D
