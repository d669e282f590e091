"""Whom a picture shows, by its nearest neighbours in a gallery; or nobody who is in it (notes 7.1.1 and 7.2).

    embeddings Q D, gallery N D, identities N -> nearest k -> vote -> verify the nearest -> identity or `STRANGER`

Recognition is built on verification: the nearest picture must be near enough to be of one identity with the query.
Nothing is trained: a gallery gains and loses identities at no cost.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.metrics.verification import verify
from vidi.ops.neighbours import Votes, nearest, vote

STRANGER = -1
"""No identity of the gallery."""


def recognise(
    queries: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "N D"],
    identities: Int64[Tensor, " N"],
    *,
    k: int = 1,
    metric: str = "euclidean",
    weights: str = "uniform",
    threshold: float | int | None = None,
) -> Votes:
    """Return whom each query shows, and the share of votes for it.

    Args:
        queries: embeddings.
        gallery: embeddings of known identities.
        identities: theirs, none negative.
        k: neighbours that vote.
        metric: of the distances, as for `vidi.ops.neighbours.distances`.
        weights: "uniform" or "distance", of the votes.
        threshold: the largest distance of two pictures of one identity, as `vidi.metrics.verification.fit_threshold`
            finds it; a query whose nearest picture is further is a `STRANGER`. None: everybody is known.

    Raises:
        ValueError: for an empty gallery, k below 1, unknown metric or weights, or an identity below 0.
    """
    if len(identities) and identities.min() < 0:
        raise ValueError(f"received the identity {int(identities.min())}, expected none below 0")
    near = nearest(queries, gallery, k, metric=metric)
    return identified(near.distances, identities[near.places], weights=weights, threshold=threshold)


def identified(
    distances: Float[Tensor, "Q k"],
    identities: Int64[Tensor, "Q k"],
    *,
    weights: str = "uniform",
    threshold: float | int | None = None,
) -> Votes:
    """Return whom neighbours, nearest first, say that each query shows; arguments and errors as for `recognise`."""
    votes = vote(distances, identities, weights=weights)
    if threshold is None:
        return votes
    known = verify(distances[:, 0], threshold)
    return Votes(torch.where(known, votes.identities, STRANGER), votes.shares)
