"""All triplets (anchor, positive, negative) of a batch at once, without a list of them.

The negatives of an anchor are sorted once, by a value that grows with the distance. Those that are hard, semi-hard or
easy for one of its positives are then neighbours: a range of the sorted ones (Schroff et al. 2015, section 3.2).

    values A n, identities n -> sort    A n log n
    hard       v_n <= v_p               from 0 to `hard`
    semi-hard  v_p < v_n < v_p + m      from `hard` to `violating`
    easy       v_p + m <= v_n           from `violating` to `negatives`

There are n^3 triplets, but n^2 sorted values. Sums over triplets need no more than how many ranges a negative is in.
"""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

TripletKind = Literal["all", "easy", "semi_hard", "hard", "violating"]
"""Which triplets: "violating" ones, nearer than the margin allows, are the semi-hard and the hard."""


class Triplets(NamedTuple):
    """Places in a batch."""

    anchor: Int64[Tensor, " T"]
    positive: Int64[Tensor, " T"]  # of the anchor's identity
    negative: Int64[Tensor, " T"]  # of another


class RankedTriplets(NamedTuple):
    """The triplets of A anchors among n vectors, as M pairs (anchor, positive) and ranges of sorted negatives."""

    order: Int64[Tensor, "A n"]  # columns: negatives by rising value, what is none behind them
    anchor: Int64[Tensor, " M"]  # row of the pair's anchor; they rise
    positive: Int64[Tensor, " M"]  # column of its positive
    hard: Int64[Tensor, " M"]  # negatives that are no further than the positive
    violating: Int64[Tensor, " M"]  # negatives that are nearer than the positive's value plus the margin
    negatives: Int64[Tensor, " M"]  # all of the anchor

    def of(self, kind: str) -> tuple[Int64[Tensor, " M"], Int64[Tensor, " M"]]:
        """Return where a kind of triplets begins and ends among the sorted negatives of each pair.

        Raises:
            ValueError: if there is no such kind.
        """
        none = torch.zeros_like(self.hard)
        ranges = {
            "all": (none, self.negatives),
            "easy": (self.violating, self.negatives),
            "semi_hard": (self.hard, self.violating),
            "hard": (none, self.hard),
            "violating": (none, self.violating),
        }
        if kind not in ranges:
            raise ValueError(f"received triplets {kind!r}, expected one of {', '.join(get_args(TripletKind))}")
        return ranges[kind]

    def times_a_negative(self, first: Int64[Tensor, " M"], last: Int64[Tensor, " M"]) -> Int64[Tensor, "A n"]:
        """Return in how many of the ranges each column is."""
        A, n = self.order.shape
        steps = self.order.new_zeros(A, n + 1)  # +1 where a range begins, -1 behind its end
        steps.index_put_((self.anchor, first), torch.ones_like(first), accumulate=True)
        steps.index_put_((self.anchor, last), -torch.ones_like(last), accumulate=True)
        return torch.zeros_like(self.order).scatter_(1, self.order, steps.cumsum(1)[:, :-1])


def count_positive_pairs(identities: Int64[Tensor, " n"]) -> int:
    """Return the number of pairs (anchor, positive): of two places that show one identity, both ways."""
    counts = identities.unique(return_counts=True)[1]
    return int((counts * (counts - 1)).sum())


def pair_masks(identities: Int64[Tensor, " n"], rows: slice) -> tuple[Bool[Tensor, "A n"], Bool[Tensor, "A n"]]:
    """Return which places are positives and which are negatives of the anchors in some rows of a batch.

    An anchor itself is neither.
    """
    same = identities[rows, None] == identities
    negative = ~same
    same.diagonal(rows.start).zero_()
    return same, negative


@torch.no_grad()
def rank_triplets(
    values: Float[Tensor, "A n"], positive: Bool[Tensor, "A n"], negative: Bool[Tensor, "A n"], *, margin: float | int
) -> RankedTriplets:
    """Sort the negatives of each anchor, and find where each of its positives stands among them.

    Args:
        values: how far each vector is from each anchor: a squared distance, a cosine with its sign turned.
        positive: which are of the anchor's identity.
        negative: which are of others.
        margin: m, none negative.

    Raises:
        ValueError: if the margin is negative.
    """
    if not margin >= 0:
        raise ValueError(f"received margin={margin}, expected a number that is not negative")
    ranked, order = values.masked_fill(~negative, torch.inf).sort(dim=1)
    row, column = positive.nonzero(as_tuple=True)  # M
    counts = positive.sum(1)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]  # among the positives
    padded = values.new_full((len(values), int(counts.max()) if len(counts) else 0), torch.inf)
    padded[row, place] = values[row, column]
    hard = torch.searchsorted(ranked, padded, right=True)[row, place]
    within = torch.searchsorted(ranked, padded + margin)[row, place]
    # a negative at the positive's very value is hard, also where the margin is 0
    return RankedTriplets(order, row, column, hard, torch.maximum(hard, within), negative.sum(1)[row])
