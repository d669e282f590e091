"""How alike vectors are: normalised vectors, cosines, squared distances (notes 7.2.3).

For normalised vectors the two say the same: |a - b|^2 = 2 - 2 cos(a, b). All gradients are finite: a zero vector has no
direction, and stays zero; two equal vectors are at a distance whose gradient is 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-12
"""A vector that is no longer than this has no direction."""


def normalized(vectors: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    """Return vectors divided by their length; one that has no direction stays as it is: its cosines are 0."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.where(length > TINY, 1)


def cosine_similarities(first: Float[Tensor, "N D"], second: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """Return the cosine of the angle between each of N vectors and each of M, of whatever lengths."""
    return normalized(first) @ normalized(second).T


def squared_distances(first: Float[Tensor, "N D"], second: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """Return the squared Euclidean distance of each of N vectors from each of M, by one matrix product."""
    # products of vectors far from the origin round away their differences
    centre = second.detach().mean(0) if len(second) else 0
    x, y = first - centre, second - centre
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)


def paired_squared_distances(first: Float[Tensor, "*N D"], second: Float[Tensor, "*N D"]) -> Float[Tensor, "*N"]:
    """Return the squared Euclidean distance of each vector from its partner."""
    return (first - second).square().sum(-1)


def paired_manhattan(first: Float[Tensor, "*N D"], second: Float[Tensor, "*M D"]) -> Float[Tensor, "*K"]:
    """Return the sum of |a - b| of each vector and its partner; one may stand for several."""
    return (first - second).abs().sum(-1)


def paired_chi_square(first: Float[Tensor, "*N D"], second: Float[Tensor, "*M D"]) -> Float[Tensor, "*K"]:
    """Return the sum of (a - b)^2 / (a + b) of each vector and its partner, none of them negative.

    Where both numbers are 0 they add nothing. What multiplies a number of both vectors multiplies its term.
    """
    sums = first + second
    return ((first - second).square() / sums.where(sums > 0, 1)).sum(-1)


def root(squared: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return square roots, with a gradient of 0 at 0: equal vectors push each other nowhere."""
    apart = squared > 0
    return squared.where(apart, 1).sqrt().where(apart, 0)
