"""Nearest neighbours by exact search, and what they vote for (Cover & Hart 1967; notes 7.1.1).

queries Q D, gallery N D -> distances Q k, places Q k     in blocks: Q x N numbers are never there as a whole
identities of those Q k  -> vote                          each neighbour counts alike, or by 1 / distance
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.ops.blocks import row_blocks
from vidi.ops.similarity import (
    cosine_similarities,
    paired_chi_square,
    paired_manhattan,
    root,
    squared_distances,
)

METRICS = ("euclidean", "cosine", "manhattan", "chi_square")
WEIGHTS = ("uniform", "distance")
QUERIES = 256  # that are searched for at once


class Neighbours(NamedTuple):
    """The k nearest of a gallery to each query, nearest first."""

    distances: Float[Tensor, "Q k"]  # by the metric
    places: Int64[Tensor, "Q k"]  # rows of the gallery


class Votes(NamedTuple):
    """What neighbours say of each query."""

    identities: Int64[Tensor, " Q"]  # with the most votes; of equals the lowest
    shares: Float[Tensor, " Q"]  # of all votes, 0..1


def distances(
    first: Float[Tensor, "N D"], second: Float[Tensor, "M D"], *, metric: str = "euclidean"
) -> Float[Tensor, "N M"]:
    """Return the distance of each of N vectors from each of M.

    Args:
        first, second: vectors.
        metric: "euclidean"; "cosine" (1 - cos, in [0, 2]); "manhattan" (the sum of |a - b|); or "chi_square" (the sum
            of (a - b)^2 / (a + b), of vectors that are not negative). Weights of the last two go into the vectors.

    Raises:
        ValueError: if the metric is unknown.
    """
    check_metric(metric)
    if metric == "cosine":
        return 1 - cosine_similarities(first, second)
    if metric == "euclidean":
        return root(squared_distances(first, second))
    compare = paired_manhattan if metric == "manhattan" else paired_chi_square
    rows = row_blocks(len(first), first.shape[1] * len(second))
    return torch.cat([compare(first[part, None], second) for part in rows] or [first.new_zeros(0, len(second))])


def check_metric(metric: str) -> None:
    """Refuse a name that is not in `METRICS` by a ValueError."""
    if metric not in METRICS:
        raise ValueError(f"received metric={metric!r}, expected one of {', '.join(METRICS)}")


@torch.no_grad()
def nearest(
    queries: Float[Tensor, "Q D"], gallery: Float[Tensor, "N D"], k: int, *, metric: str = "euclidean"
) -> Neighbours:
    """Find the k nearest vectors of a gallery; all of them where it holds fewer.

    Raises:
        ValueError: if k is below 1, the gallery is empty, or the metric is unknown.
    """
    if k < 1 or len(gallery) == 0:
        raise ValueError(f"received k={k} and a gallery of {len(gallery)}, expected at least 1 of each")
    found = [_nearest(part, gallery, k, metric) for part in queries.split(QUERIES)]
    return Neighbours(*(torch.cat(columns) for columns in zip(*found, strict=True)))


def _nearest(queries: Tensor, gallery: Tensor, k: int, metric: str) -> Neighbours:
    found = []
    for rows in row_blocks(len(gallery), len(queries)):
        apart = distances(queries, gallery[rows], metric=metric)  # Q n
        near = apart.topk(min(k, apart.shape[1]), largest=False)
        found.append((near.values, near.indices + rows.start))
    apart, places = (torch.cat(columns, 1) for columns in zip(*found, strict=True))  # Q, k of each block
    order = apart.argsort(dim=1, stable=True)[:, :k]
    return Neighbours(apart.gather(1, order), places.gather(1, order))


def vote(distances: Float[Tensor, "Q k"], identities: Int64[Tensor, "Q k"], *, weights: str = "uniform") -> Votes:
    """Return the identity that most neighbours of each query have.

    Args:
        distances: of the neighbours.
        identities: of the neighbours.
        weights: "uniform", or "distance": a neighbour counts 1 / distance, and one at no distance outvotes all others.

    Raises:
        ValueError: if the weights are neither, or there are no neighbours.
    """
    if weights not in WEIGHTS or not identities.shape[1]:
        given = f"weights={weights!r} and {identities.shape[1]} neighbours"
        raise ValueError(f"received {given}, expected at least one neighbour, and one of {', '.join(WEIGHTS)}")
    counted = torch.ones_like(distances)
    if weights == "distance":
        at_hand = distances == 0
        counted = torch.where(at_hand.any(1, keepdim=True), at_hand.to(distances.dtype), 1 / distances)
    same = identities[:, :, None] == identities[:, None]  # Q k k
    votes = (same * counted[:, None]).sum(2)  # Q k, for each neighbour's identity
    most = votes.amax(1, keepdim=True)
    highest = torch.iinfo(identities.dtype).max
    winners = identities.masked_fill(votes < most, highest).amin(1)
    return Votes(winners, most[:, 0] / counted.sum(1))
