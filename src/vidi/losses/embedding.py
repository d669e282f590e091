"""Losses that put what is alike near each other: of pairs, of one positive among many negatives, of templates.

Contrastive loss (Hadsell, Chopra, LeCun 2006, equation 4; notes 7.2.1), for pairs at a distance d:

    d^2 if same, max(0, m - d)^2 if not

One positive among n negatives, compared by cosines (notes 7.2.4):

    tuple        max(0, max_i n_i - p)
    InfoNCE      ln(1 + sum_i exp((n_i - p) / tau))        van den Oord et al. 2018, arXiv 1807.03748; tau = 1
    NT-Xent      the same, in a batch, with tau = 0.1      Chen et al. 2020 (SimCLR), arXiv 2002.05709, equation 1
    N-pairs      the same, of products                     Sohn 2016 (N-pair-mc)

Templates (notes 7.2.3), one vector a class, cross-entropy of s cos(e, w_k):

    softmax               e w_k                            a linear layer: templates of whatever length
    normalised softmax    s cos theta_k                    Wang et al. 2017 (NormFace), arXiv 1704.06369
    ArcFace               s cos(theta_y + m) for the truth Deng et al. 2019, arXiv 1801.07698, equation 3

Losses of a batch compare its B vectors with each other, or with K templates; in blocks where that is much, with the
same gradients. Each is a mean, over pairs or vectors; 0 without any. A vector of length 0 has the cosine 0 with all.

Differs from the notes: the negative branch keeps its square (C7.1). An L2 penalty does not put weights on a sphere, it
bounds them softly; embeddings are bounded only where they are normalised (C7.3). A small tau sharpens the loss towards
the hardest negatives, a large one evens them out (C7.9). max <= logsumexp <= max + ln n (C7.11).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.losses.blocks import sum_over_rows
from vidi.losses.reduction import Reduction, full_precision, reduce_loss
from vidi.ops.similarity import normalized, root, squared_distances
from vidi.ops.triplets import count_positive_pairs, pair_masks

TEMPERATURE = 0.1
"""The best tau of SimCLR's table 5, on ImageNet; on CIFAR-10 the paper has 0.5."""

# ----------------------------------------------------------------------------------------------------------------------
# Pairs


def contrastive_loss(
    squared_distances: Float[Tensor, "*N"],
    same: Bool[Tensor, "*N"],
    *,
    margin: float | int | None = 1.0,
    positive_margin: float | int = 0.0,
    squared_hinge: bool = True,
    factor: float | int = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return d^2 for each pair of one identity, max(0, m - d)^2 for each of two.

    Args:
        squared_distances: d^2 of the embeddings of each pair.
        same: whether they are of one identity; in Hadsell et al. the label Y is 0 for those.
        margin: m, the distance at which two identities leave each other alone; None for -d^2, which has no bound.
        positive_margin: m+, at which one identity is near enough: max(0, d - m+)^2.
        squared_hinge: False for max(0, m - d), as the notes' last line has it.
        factor: of both branches; 1/2 in Hadsell et al.
        reduction: of the pairs.

    Raises:
        ValueError: for a margin below 0.
    """
    if (margin is not None and not margin >= 0) or not positive_margin >= 0:
        given = f"margin={margin} and positive_margin={positive_margin}"
        raise ValueError(f"received {given}, expected numbers that are not negative, or margin=None")
    squared = full_precision(squared_distances)
    distance = root(squared)
    attraction = (distance - positive_margin).relu().square() if positive_margin else squared
    if margin is None:
        repulsion = -squared
    else:
        hinge = (margin - distance).relu()
        repulsion = hinge.square() if squared_hinge else hinge
    return reduce_loss(factor * torch.where(same, attraction, repulsion), reduction)


def batch_contrastive_loss(
    embeddings: Float[Tensor, "B D"],
    identities: Int64[Tensor, " B"],
    pair_loss: Callable[..., Tensor] = contrastive_loss,
) -> Float[Tensor, ""]:
    """Return the mean of `contrastive_loss` over the pairs of one identity, plus that over the pairs of two.

    Taken together, the few pairs of one identity would drown: 4 pictures each of 32 people form 40 times as many pairs
    of two.

    Args:
        embeddings: as they are compared.
        identities: whom each shows.
        pair_loss: `contrastive_loss`, or a partial of it with other options.
    """
    B, alike = len(identities), count_positive_pairs(identities)
    unlike = B * (B - 1) - alike

    def pairs(rows: slice, everything: Tensor) -> Tensor:
        positive, negative = pair_masks(identities, rows)  # A B
        losses = pair_loss(squared_distances(everything[rows], everything), ~negative, reduction="none")
        return (losses * positive).sum() / max(alike, 1) + (losses * negative).sum() / max(unlike, 1)

    return sum_over_rows(pairs, B, B, embeddings)


# ----------------------------------------------------------------------------------------------------------------------
# One positive among negatives


def log_sum_exp(values: Float[Tensor, "*N n"], where: Bool[Tensor, "*N n"] | None = None) -> Float[Tensor, "*N"]:
    """Return ln sum exp of the last axis, which softens its largest value: max <= it <= max + ln n.

    The largest value is taken out first, so that nothing overflows. Cross-entropy is it, less the true class's logit.

    Args:
        values: finite ones.
        where: which values count. Where none does, the result is -inf, and its gradient 0.
    """
    values = full_precision(values)
    if values.shape[-1] == 0:
        return values.new_full(values.shape[:-1], -torch.inf)
    counted = values if where is None else values.masked_fill(~where, -torch.inf)
    largest = counted.detach().amax(-1, keepdim=True)
    largest = largest.where(largest.isfinite(), 0)
    sums = (counted - largest).exp().sum(-1)
    is_empty = sums == 0
    return (sums.where(~is_empty, 1).log() + largest[..., 0]).where(~is_empty, -torch.inf)


def tuple_loss(
    positive: Float[Tensor, "*N"], negatives: Float[Tensor, "*N n"], *, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """Return max(0, n_1 - p, ... n_n - p) of cosines with an anchor; its gradient is that of the worst negative."""
    nearer = full_precision(negatives) - full_precision(positive)[..., None]
    return reduce_loss(F.pad(nearer, (1, 0)).max(-1).values, reduction)


def info_nce_loss(
    positive: Float[Tensor, "*N"],
    negatives: Float[Tensor, "*N n"],
    *,
    temperature: float | int = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return ln(1 + sum_i exp((n_i - p) / tau)) of cosines with an anchor.

    That is the cross-entropy of the positive among all of them; NT-Xent where tau is not 1.

    Raises:
        ValueError: if the temperature is not positive.
    """
    _check_temperature(temperature)
    every = log_sum_exp(full_precision(negatives) / temperature)
    return reduce_loss(_softened(full_precision(positive) / temperature, every), reduction)


def _softened(positive: Tensor, every: Tensor) -> Tensor:
    """Return ln(1 + exp(logsumexp of the negatives - positive))."""
    return -F.logsigmoid(positive - every)


def _check_temperature(temperature: float | int) -> None:
    if not temperature > 0:
        raise ValueError(f"received temperature={temperature}, expected a positive number")


def batch_tuple_loss(embeddings: Float[Tensor, "B D"], identities: Int64[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the mean of `tuple_loss` over all pairs of one identity, with all others in the batch as negatives."""

    def worst(cosines: Tensor, negative: Tensor) -> Tensor:
        if not len(cosines):
            return cosines.new_zeros(0)
        return cosines.masked_fill(~negative, -torch.inf).max(1).values

    return _mean_over_positives(embeddings, identities, worst, lambda positive, worst: (worst - positive).relu())


def nt_xent_loss(
    embeddings: Float[Tensor, "B D"], identities: Int64[Tensor, " B"], *, temperature: float | int = TEMPERATURE
) -> Float[Tensor, ""]:
    """Return the mean of `info_nce_loss` over all pairs of one identity, with all others in the batch as negatives.

    In SimCLR an identity is one picture in two views: 2 (N - 1) negatives for each of 2 N pairs. With more pictures of
    an identity, its other ones are neither positive nor negative for a pair.

    Raises:
        ValueError: if the temperature is not positive.
    """
    _check_temperature(temperature)

    def every(cosines: Tensor, negative: Tensor) -> Tensor:
        return log_sum_exp(cosines / temperature, negative)

    return _mean_over_positives(
        embeddings, identities, every, lambda positive, every: _softened(positive / temperature, every)
    )


def _mean_over_positives(
    embeddings: Tensor,
    identities: Tensor,
    summarise: Callable[[Tensor, Tensor], Tensor],
    compare: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return the mean over all pairs of `compare(cosine, what `summarise` makes of the anchor's negatives)`."""

    def pairs(rows: slice, everything: Tensor) -> Tensor:
        cosines = everything[rows] @ everything.T  # A B
        positive, negative = pair_masks(identities, rows)
        negatives = summarise(cosines, negative)  # A
        anchor, place = positive.nonzero(as_tuple=True)
        return compare(cosines[anchor, place], negatives[anchor]).sum()

    B = len(identities)
    total = sum_over_rows(pairs, B, B, normalized(full_precision(embeddings)))
    return total / max(count_positive_pairs(identities), 1)


def n_pairs_loss(
    anchors: Float[Tensor, "N D"],
    positives: Float[Tensor, "N D"],
    *,
    normalize: bool = False,
    penalty: float | int = 0.0,
) -> Float[Tensor, ""]:
    """Return the mean over N identities of ln(1 + sum_(j != i) exp(a_i p_j - a_i p_i)) (Sohn 2016, N-pair-mc).

    Args:
        anchors: one vector of each identity.
        positives: another of each, in the same order: those of the others are an anchor's negatives.
        normalize: compare by cosines, as the notes do; Sohn takes products, and penalises the lengths instead.
        penalty: times the mean squared length of all 2 N vectors.
    """
    if normalize:
        anchors, positives = normalized(full_precision(anchors)), normalized(full_precision(positives))

    def rows_of(rows: slice, a: Tensor, p: Tensor) -> Tensor:
        logits = a[rows] @ p.T  # A N
        own = torch.arange(len(p), device=p.device)[rows]
        lengths = (a[rows].square().sum() + p[rows].square().sum()) / 2
        return F.cross_entropy(logits, own, reduction="sum") + penalty * lengths

    N = len(anchors)
    return sum_over_rows(rows_of, N, N, anchors, positives) / max(N, 1)


def first_pairs(identities: Int64[Tensor, " B"]) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Return the places of the first and the second vector of each identity that has two, by rising identity."""
    order = identities.argsort(stable=True)
    ranked = identities[order]
    begins = torch.cat([ranked.new_ones(1, dtype=torch.bool), ranked[1:] != ranked[:-1]])[: len(ranked)]
    first = (begins[:-1] & ~begins[1:]).nonzero()[:, 0]  # another of the same follows
    return order[first], order[first + 1]


def batch_n_pairs_loss(
    embeddings: Float[Tensor, "B D"],
    identities: Int64[Tensor, " B"],
    *,
    normalize: bool = False,
    penalty: float | int = 0.0,
) -> Float[Tensor, ""]:
    """Return `n_pairs_loss` of the first two vectors of each identity that has two."""
    anchors, positives = first_pairs(identities)
    return n_pairs_loss(embeddings[anchors], embeddings[positives], normalize=normalize, penalty=penalty)


# ----------------------------------------------------------------------------------------------------------------------
# Templates


def softmax_loss(
    embeddings: Float[Tensor, "B D"], templates: Float[Tensor, "K D"], labels: Int64[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the products e w_k: those of a linear layer without a bias.

    Raises:
        ValueError: if a label is not in 0..K-1.
    """
    _check_labels(labels, len(templates))

    def rows_of(rows: slice, e: Tensor, w: Tensor) -> Tensor:
        return F.cross_entropy(e[rows] @ w.T, labels[rows], reduction="sum")

    return sum_over_rows(rows_of, len(labels), len(templates), embeddings, templates) / max(len(labels), 1)


def normalized_softmax_loss(
    embeddings: Float[Tensor, "B D"],
    templates: Float[Tensor, "K D"],
    labels: Int64[Tensor, " B"],
    *,
    scale: float | int | Float[Tensor, ""] = 20.0,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the logits s cos(e, w_k).

    Cosines alone are too near each other for a softmax: with K classes the truth gets e / (e + (K - 1) / e) at most.

    Args:
        embeddings: of whatever length.
        templates: a vector for each class, the columns of a linear layer's W (the rows of torch's), of whatever length.
        labels: 0..K-1.
        scale: s; a tensor may be learned.

    Raises:
        ValueError: if a label is not in 0..K-1.
    """
    return _mean_cross_entropy(embeddings, templates, labels, lambda e, w, _: scale * (e @ w.T))


def arcface_loss(
    embeddings: Float[Tensor, "B D"],
    templates: Float[Tensor, "K D"],
    labels: Int64[Tensor, " B"],
    *,
    margin: float | int = 0.5,
    scale: float | int = 64.0,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of s cos(theta_y + m) for the true class y and s cos(theta_k) for the others.

    Args:
        embeddings: of whatever length.
        templates: a vector for each class, of whatever length.
        labels: 0..K-1.
        margin: m, radians.
        scale: s.

    Raises:
        ValueError: if a label is not in 0..K-1, or the margin not in [0, pi].
    """
    if not 0 <= margin <= math.pi:
        raise ValueError(f"received margin={margin}, expected radians from 0 to pi")

    def logits(e: Tensor, w: Tensor, own: Tensor) -> Tensor:
        widened = with_angular_margin(e, w[own], margin)
        return scale * (e @ w.T).scatter(1, own[:, None], widened[:, None])

    return _mean_cross_entropy(embeddings, templates, labels, logits)


def with_angular_margin(
    normalized_embeddings: Float[Tensor, "B D"], normalized_templates: Float[Tensor, "B D"], margin: float | int
) -> Float[Tensor, " B"]:
    """Return cos(theta + m) for the angle theta between each embedding and its template.

    Beyond theta + m = pi it would rise again; there it is cos(theta) - m sin(m), which goes on falling (the authors'
    code). The sine is the length of what the embedding has beside its template: exact for small angles, and with a
    finite gradient at 0 and pi, where that of arccos is infinite.
    """
    cosine = (normalized_embeddings * normalized_templates).sum(1)
    sine = torch.linalg.vector_norm(normalized_embeddings - cosine[:, None] * normalized_templates, dim=1)
    widened = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine >= -math.cos(margin), widened, cosine - margin * math.sin(margin))


def _mean_cross_entropy(
    embeddings: Tensor,
    templates: Tensor,
    labels: Tensor,
    logits: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    B, K = len(labels), len(templates)
    _check_labels(labels, K)

    def rows_of(rows: slice, e: Tensor, w: Tensor) -> Tensor:
        own = labels[rows]
        return F.cross_entropy(logits(normalized(e[rows]), normalized(w), own), own, reduction="sum")

    return sum_over_rows(rows_of, B, K, embeddings, templates) / max(B, 1)


def _check_labels(labels: Tensor, classes: int) -> None:
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"received labels from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
