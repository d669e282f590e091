"""Losses of triplets: an anchor shall be nearer to its positive than to its negative (notes 7.2.2 and 7.2.4).

Schroff, Kalenichenko, Philbin 2015 (FaceNet, arXiv 1503.03832, equation 3 and section 3.2):

    L = max(0, |a - p|^2 - |a - n|^2 + m)        m = 0.2

`triplet_loss` takes rows; the losses of a batch take every triplet of a kind that its B vectors form, at the price of
sorting: O(B^2 log B), see `vidi.ops.triplets`. Each gives the mean over those triplets, 0 without any.

Differs from the notes: a constraint is no loss (C7.5), so `triplet_constraint` is a function of its own. Constant
vectors violate its strict inequality, and cost exactly m: no minimum, but no gradient either (C7.4). The angular loss
is half of the triplet loss of normalised vectors without a margin, |a - p|^2 - |a - n|^2 = 2 (cos(a, n) - cos(a, p))
(C7.10). Differs from the paper: every semi-hard triplet of a batch counts; FaceNet draws one negative a pair
(`vidi.embedding.mining.drawn_triplets`).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.losses.blocks import sum_over_rows
from vidi.losses.reduction import Reduction, full_precision, reduce_loss
from vidi.ops.similarity import normalized, paired_squared_distances, squared_distances
from vidi.ops.triplets import Triplets, pair_masks, rank_triplets

MARGIN = 0.2
"""FaceNet's m, in squared distance; its embeddings have length 1."""


def triplet_constraint(
    anchors: Float[Tensor, "B D"], positives: Float[Tensor, "B D"], negatives: Float[Tensor, "B D"]
) -> Bool[Tensor, " B"]:
    """Say of each triplet whether the positive is nearer to the anchor than the negative, |p - a|^2 < |n - a|^2."""
    return paired_squared_distances(positives, anchors) < paired_squared_distances(negatives, anchors)


def triplet_loss(
    anchors: Float[Tensor, "B D"],
    positives: Float[Tensor, "B D"],
    negatives: Float[Tensor, "B D"],
    *,
    margin: float | int = MARGIN,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return max(0, |a - p|^2 - |a - n|^2 + m) of each triplet."""
    a, p, n = map(full_precision, (anchors, positives, negatives))
    return reduce_loss((paired_squared_distances(a, p) - paired_squared_distances(a, n) + margin).relu(), reduction)


def batch_triplet_loss(
    embeddings: Float[Tensor, "B D"],
    identities: Int64[Tensor, " B"],
    *,
    margin: float | int = MARGIN,
    kind: str = "semi_hard",
) -> Float[Tensor, ""]:
    """Return the mean of `triplet_loss` over all triplets of a kind that a batch forms.

    Args:
        embeddings: as they are compared; FaceNet's are normalised.
        identities: whom each shows.
        margin: in squared distance.
        kind: "semi_hard", where the negative is further than the positive, but by less than the margin; "hard", where
            it is no further; "violating", both; "all", with easy ones, which cost 0.

    Raises:
        ValueError: for a negative margin and for another kind.
    """
    return _mean_hinge(embeddings, identities, squared_distances, margin, kind)


def listed_triplet_loss(
    embeddings: Float[Tensor, "B D"], triplets: Triplets, *, margin: float | int = MARGIN
) -> Float[Tensor, ""]:
    """Return the mean of `triplet_loss` over listed triplets of a batch: what was mined, or drawn."""

    def rows_of(rows: slice, everything: Tensor) -> Tensor:
        return triplet_loss(*(everything[places[rows]] for places in triplets), margin=margin, reduction="sum")

    T = len(triplets.anchor)
    return sum_over_rows(rows_of, T, len(triplets) * embeddings.shape[1], embeddings) / max(T, 1)


def angular_triplet_loss(embeddings: Float[Tensor, "B D"], identities: Int64[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the mean of max(0, cos(a, n) - cos(a, p)) over all triplets of a batch."""

    def negated_cosines(first: Tensor, second: Tensor) -> Tensor:
        return -(first @ second.T)

    return _mean_hinge(normalized(full_precision(embeddings)), identities, negated_cosines, 0, "all")


def _mean_hinge(
    vectors: Tensor,
    identities: Tensor,
    compare: Callable[[Tensor, Tensor], Tensor],
    margin: float | int,
    kind: str,
) -> Tensor:
    """Return the mean of max(0, v_p - v_n + m) over the triplets of a kind, v what `compare` gives.

    A hinge that is open is linear: v_p counts once for each negative of the range, v_n once for each range it is in.
    """

    counts: list[Tensor] = []

    def hinges(rows: slice, everything: Tensor) -> Tensor:
        values = compare(everything[rows], everything)  # A B
        ranked = rank_triplets(values.detach(), *pair_masks(identities, rows), margin=margin)
        first, last = ranked.of(kind)
        opened = torch.minimum(last, ranked.violating)  # easy ones cost nothing
        weights = -ranked.times_a_negative(first, opened).to(values.dtype)
        weights[ranked.anchor, ranked.positive] = (opened - first).to(values.dtype)
        counts.append((last - first).sum())
        return (weights * values).sum() + margin * (opened - first).sum().to(values.dtype)

    total = sum_over_rows(hinges, len(vectors), len(vectors), vectors)
    return total / torch.stack(counts).sum().clamp(min=1)
