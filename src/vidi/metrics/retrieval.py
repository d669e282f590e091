"""How well embeddings cluster: whether the nearest are of the same identity, and how far the identities are apart.

Recall@k (Jegou et al. 2011), R-precision and MAP@R (Musgrave et al. 2020, arXiv 2003.08505); notes 7.0:

    rank of the i-th nearest of a query's R own pictures    i + the pictures of others that are no further
    recall@k      share of queries whose first rank is at most k
    R-precision   share of the R ranks that are at most R
    MAP@R         1 / R times the sum of i / rank over the ranks that are at most R

Of equally far pictures those of others go first: embeddings that have collapsed to a point find nothing. A query
without another picture of its identity cannot be answered, and is left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.ops.blocks import row_blocks
from vidi.ops.neighbours import distances
from vidi.ops.triplets import count_positive_pairs, pair_masks, rank_triplets


class RetrievalScores(NamedTuple):
    """Means over the queries that can be answered, each in [0, 1]; NaN without any."""

    recall: dict[int, float]  # by k
    r_precision: float
    map_at_r: float
    queries: int  # that were counted


class ClusterDistances(NamedTuple):
    """Mean distances of pairs; NaN where there is no pair of a kind."""

    intra: float  # of one identity
    inter: float  # of two
    ratio: float  # intra / inter, the smaller the better


@torch.no_grad()
def retrieval_scores(
    embeddings: Float[Tensor, "N D"],
    identities: Int64[Tensor, " N"],
    *,
    gallery: tuple[Float[Tensor, "G D"], Int64[Tensor, " G"]] | None = None,
    ks: Sequence[int] = (1, 5),
    metric: str = "euclidean",
) -> RetrievalScores:
    """Score the search for each embedding among others.

    Args:
        embeddings: of the queries.
        identities: of the queries.
        gallery: what is searched, embeddings and identities; None: all queries but the one that asks.
        ks: of the recalls.
        metric: as for `vidi.ops.neighbours.distances`.

    Raises:
        ValueError: if a k is below 1, or the metric is unknown.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"received k of {', '.join(map(str, ks))}, expected each to be at least 1")
    others, owners = gallery or (embeddings, identities)
    found, precision, average = dict.fromkeys(ks, 0), 0.0, 0.0
    counted = 0
    for rows in row_blocks(len(identities), len(owners)):
        if gallery is None:
            positive, negative = pair_masks(identities, rows)
        else:
            positive = identities[rows, None] == owners
            negative = ~positive
        apart = distances(embeddings[rows], others, metric=metric)
        rank, number, own = _ranks(apart, positive, negative)
        within = (rank <= own).double()
        precision += float((within / own).sum())
        average += float((within * number / rank / own).sum())
        for k in found:
            found[k] += int(((number == 1) & (rank <= k)).sum())
        counted += int(positive.any(1).sum())
    total = counted or torch.nan
    return RetrievalScores({k: v / total for k, v in found.items()}, precision / total, average / total, counted)


def _ranks(apart: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each pair of a query and a picture of its identity: its rank, its number i, and R of the query."""
    ranked = rank_triplets(apart, positive, negative, margin=0)
    # by query, then by distance: the i-th of a query's own
    order = apart[ranked.anchor, ranked.positive].argsort(stable=True)
    order = order[ranked.anchor[order].argsort(stable=True)]
    counts = positive.sum(1)
    number = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[ranked.anchor] + 1
    return number + ranked.hard[order], number, counts[ranked.anchor]


@torch.no_grad()
def cluster_distances(
    embeddings: Float[Tensor, "N D"], identities: Int64[Tensor, " N"], *, metric: str = "euclidean"
) -> ClusterDistances:
    """Return how far pictures of one identity and of two are apart on average.

    Raises:
        ValueError: if the metric is unknown.
    """
    N, alike = len(identities), count_positive_pairs(identities)
    intra = inter = 0.0
    for rows in row_blocks(N, N):
        apart = distances(embeddings[rows], embeddings, metric=metric).double()
        positive, negative = pair_masks(identities, rows)
        intra, inter = intra + float((apart * positive).sum()), inter + float((apart * negative).sum())
    intra = intra / (alike or torch.nan)
    inter = inter / (N * (N - 1) - alike or torch.nan)
    return ClusterDistances(intra, inter, intra / inter if inter else torch.nan)
