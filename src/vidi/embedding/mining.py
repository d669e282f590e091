"""Which triplets of a batch to train on: all, the semi-hard, the hard, the hardest, or some that are drawn.

Schroff, Kalenichenko, Philbin 2015 (FaceNet, arXiv 1503.03832, section 3.2; notes 7.2.2), by squared distances d:

    hard       d(a, n) <= d(a, p)                     pulls the network into collapse where there is nothing else
    semi-hard  d(a, p) < d(a, n) < d(a, p) + m        what FaceNet trains on
    easy       d(a, p) + m <= d(a, n)                 costs nothing

FaceNet's batch is P identities with K pictures each (`vidi.data.loading.Balance`), all pairs of one identity, and for
each of them one semi-hard negative that is drawn: `drawn_triplets`. A list of all triplets of a kind is as long as they
are many; a loss over all of them needs none (`vidi.losses.triplets.batch_triplet_loss`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.losses.reduction import full_precision
from vidi.losses.triplets import MARGIN
from vidi.ops.blocks import row_blocks
from vidi.ops.similarity import squared_distances
from vidi.ops.triplets import RankedTriplets, Triplets, count_positive_pairs, pair_masks, rank_triplets


class TripletCounts(NamedTuple):
    """How many triplets of a batch are of each kind."""

    easy: int
    semi_hard: int
    hard: int


def mined_triplets(
    embeddings: Float[Tensor, "B D"], identities: Int64[Tensor, " B"], *, margin: float | int = MARGIN, kind: str
) -> Triplets:
    """List all triplets of a kind.

    Args:
        embeddings: as they are compared.
        identities: whom each shows.
        margin: m, in squared distance.
        kind: "all", "easy", "semi_hard", "hard", or "violating" for the last two.

    Raises:
        ValueError: for a negative margin and for another kind.
    """
    parts = []
    for anchors, ranked in _ranked(embeddings, identities, margin):
        first, last = ranked.of(kind)
        counts = last - first
        pair = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        place = torch.arange(len(pair), device=pair.device) - (counts.cumsum(0) - counts - first)[pair]
        parts.append(_listed(anchors, ranked, pair, place))
    return _joined(parts)


def drawn_triplets(
    embeddings: Float[Tensor, "B D"],
    identities: Int64[Tensor, " B"],
    *,
    margin: float | int = MARGIN,
    kind: str = "semi_hard",
    generator: torch.Generator | None = None,
) -> Triplets:
    """List one triplet of a kind for each pair (anchor, positive) that has any: its negative is drawn among them.

    Arguments and errors as of `mined_triplets`; "all" draws any negative. Equal generators draw equally.
    """
    pairs = count_positive_pairs(identities)
    draws = torch.rand(pairs, generator=generator, dtype=torch.float64, device=embeddings.device)
    parts, done = [], 0
    for anchors, ranked in _ranked(embeddings, identities, margin):
        first, last = ranked.of(kind)
        own = draws[done : done + len(first)]
        done += len(first)
        pair = (last > first).nonzero()[:, 0]
        place = first[pair] + (own * (last - first))[pair].long()
        parts.append(_listed(anchors, ranked, pair, place))
    return _joined(parts)


@torch.no_grad()
def hardest_triplets(embeddings: Float[Tensor, "B D"], identities: Int64[Tensor, " B"]) -> Triplets:
    """List for each anchor its furthest positive and its nearest negative (Hermans et al. 2017, arXiv 1703.07737).

    An anchor that lacks either has none; of equally far ones the first in the batch is taken.
    """
    B, parts = len(identities), []
    if B == 0:
        return Triplets(identities, identities, identities)
    for rows in row_blocks(B, B):
        anchors = torch.arange(B, device=identities.device)[rows]
        squared = squared_distances(full_precision(embeddings[rows]), full_precision(embeddings))
        positive, negative = pair_masks(identities, rows)
        kept = positive.any(1) & negative.any(1)
        furthest = squared.masked_fill(~positive, -torch.inf).max(1).indices
        nearest = squared.masked_fill(~negative, torch.inf).min(1).indices
        parts.append(Triplets(anchors[kept], furthest[kept], nearest[kept]))
    return _joined(parts)


def count_triplets(
    embeddings: Float[Tensor, "B D"], identities: Int64[Tensor, " B"], *, margin: float | int = MARGIN
) -> TripletCounts:
    """Count the triplets of a batch by kind: how much there is left to learn, without a list."""
    counts = torch.zeros(len(TripletCounts._fields), dtype=torch.int64, device=embeddings.device)
    for _, ranked in _ranked(embeddings, identities, margin):
        ranges = [ranked.of(kind) for kind in TripletCounts._fields]
        counts += torch.stack([(last - first).sum() for first, last in ranges])
    return TripletCounts(*counts.tolist())


@torch.no_grad()
def _ranked(embeddings: Tensor, identities: Tensor, margin: float | int) -> Iterator[tuple[Tensor, RankedTriplets]]:
    """Yield places of anchors and their triplets, block by block."""
    everything, B = full_precision(embeddings), len(identities)
    places = torch.arange(B, device=identities.device)
    for rows in row_blocks(B, B):
        squared = squared_distances(everything[rows], everything)
        yield places[rows], rank_triplets(squared, *pair_masks(identities, rows), margin=margin)


def _listed(anchors: Tensor, ranked: RankedTriplets, pair: Tensor, place: Tensor) -> Triplets:
    """Return the triplets of some pairs with the negatives at some places of the ranking."""
    row = ranked.anchor[pair]
    return Triplets(anchors[row], ranked.positive[pair], ranked.order[row, place])


def _joined(parts: list[Triplets]) -> Triplets:
    return Triplets(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
