"""Losses of class scores: softmax cross-entropy, sigmoid cross-entropy, and focal loss with its class weights.

All take logits, stay finite for any finite logit, and compute half precision in float32. The sigmoid losses are
element by element: K sigmoids per box, of which a background box has none to fire, so that its targets are all zero.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from vidi.losses.reduction import Reduction, full_precision, reduce_loss
from vidi.ops.label_maps import VOID

# ----------------------------------------------------------------------------------------------------------------------
# One class of many: softmax


def cross_entropy(
    logits: Float[Tensor, "B K"],
    targets: Int64[Tensor, " B"] | Float[Tensor, "B K"],
    *,
    smoothing: float | int = 0.0,
    class_weights: Float[Tensor, " K"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return -sum_k q_k ln p_k per sample, p the softmax of the logits, q the targets.

    Targets are labels 0..K-1 or probabilities (mixup, distillation). `smoothing` mixes the uniform distribution into
    them: (1 - s) q + s / K (Szegedy et al. 2016). With `class_weights` w each term has the factor w_k, and the mean is
    divided by the weights of the targets, sum w_k q_k, rather than by their number.

    Raises:
        ValueError: if a label is not in 0..K-1, or `smoothing` not in [0, 1].
    """
    if not 0 <= smoothing <= 1:
        raise ValueError(f"received smoothing={smoothing}, expected a number in [0, 1]")
    K = logits.shape[1]
    shares = full_precision(targets if targets.is_floating_point() else _one_hot(targets, K).to(logits.dtype))
    shares = (1 - smoothing) * shares + smoothing / K  # B K
    if class_weights is not None:
        shares = shares * class_weights
    losses = -(shares * F.log_softmax(full_precision(logits), 1)).sum(1)  # B
    if class_weights is not None and reduction == "mean":
        return losses.sum() / shares.sum()
    return reduce_loss(losses, reduction)


def pixel_cross_entropy(logits: Float[Tensor, "B K H W"], labels: UInt8[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Return the sum over pixels of -ln p_y, p the softmax over the classes, y the label; pixels of `VOID` cost 0.

    Raises:
        ValueError: if a label is neither in 0..K-1 nor `VOID`.
    """
    K, real = logits.shape[1], labels[labels != VOID]
    if real.numel() and real.max() >= K:
        raise ValueError(f"received a pixel with the label {real.max()}, expected 0 to {K - 1}, or {VOID} for void")
    return F.cross_entropy(full_precision(logits), labels.long(), ignore_index=VOID, reduction="sum")


def _one_hot(labels: Tensor, K: int) -> Tensor:
    if labels.numel() and not 0 <= labels.min() <= labels.max() < K:
        raise ValueError(f"received labels from {labels.min()} to {labels.max()}, expected 0 to {K - 1}")
    return labels[..., None] == torch.arange(K, device=labels.device)  # a byte each; F.one_hot takes eight


# ----------------------------------------------------------------------------------------------------------------------
# Any number of classes: sigmoids


def foreground_targets(labels: Int64[Tensor, "*N"], classes: int) -> Bool[Tensor, "*N {classes}"]:
    """Return the targets of K = `classes` sigmoids: True at the label; all False for background, the label K.

    Raises:
        ValueError: if a label is not in 0..K.
    """
    return _one_hot(labels, classes + 1)[..., :classes]


def binary_cross_entropy(
    logits: Float[Tensor, "*N"],
    targets: Bool[Tensor, "*N"] | Float[Tensor, "*N"],
    *,
    alpha: float | int | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return -y ln p - (1 - y) ln (1 - p) per element, p the sigmoid of the logit, y in [0, 1].

    With `alpha`, positives have the weight alpha and negatives 1 - alpha.
    """
    logits, y = full_precision(logits), targets.to(torch.promote_types(logits.dtype, torch.float32))
    positive, negative = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    losses = -positive * y * F.logsigmoid(logits) - negative * (1 - y) * F.logsigmoid(-logits)
    return reduce_loss(losses, reduction)


def multi_label_cross_entropy(
    logits: Float[Tensor, "*N K"],
    targets: Bool[Tensor, "*N K"] | Float[Tensor, "*N K"],
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return the binary cross-entropy summed over the K classes of each sample (Redmon & Farhadi 2018)."""
    return reduce_loss(binary_cross_entropy(logits, targets, reduction="none").sum(-1), reduction)


def focal_loss(
    logits: Float[Tensor, "*N"],
    targets: Bool[Tensor, "*N"],
    *,
    gamma: float | int = 2.0,
    alpha: float | int | None = 0.25,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return -alpha_t (1 - p_t)^gamma ln p_t per element (Lin et al. 2017b, eq. 5).

    p_t is the probability given to the truth: p for positives, 1 - p for negatives; alpha_t is alpha and 1 - alpha.
    `gamma` plays easy examples down (0: none). The paper's best alpha, 0.25, makes *positives* count less, because
    gamma has already quietened the many negatives; None gives both the weight 1. RetinaNet takes the sum over all
    anchors and classes, divided by the number of positive anchors.

    Raises:
        ValueError: if `gamma` is negative.
    """
    if not gamma >= 0:
        raise ValueError(f"received gamma={gamma}, expected a number that is not negative")
    logits = full_precision(logits)
    towards_truth = torch.where(targets, logits, -logits)
    entropy = -F.logsigmoid(towards_truth)  # -ln p_t
    losses = entropy
    if gamma > 0:
        # ln (1 - p_t) = ln p_t - towards_truth: no power of a rounded difference, no infinite slope at p_t = 1
        losses = losses * torch.exp(-gamma * (entropy + towards_truth))
    if alpha is not None:
        losses = torch.where(targets, alpha * losses, (1 - alpha) * losses)
    return reduce_loss(losses, reduction)


# ----------------------------------------------------------------------------------------------------------------------
# Rare classes


def class_balanced_weights(counts: Int64[Tensor, " K"], *, beta: float | int = 0.999) -> Float[Tensor, " K"]:
    """Return weights inverse to the effective number of samples of each class (Cui et al. 2019, eq. 2).

    The effective number (1 - beta^n) / (1 - beta) runs from 1 (beta = 0: no balancing) to n (beta -> 1: inverse
    frequency). Weights sum to the number of classes that have samples; a class without any has the weight 0.

    Raises:
        ValueError: if a count is negative, all are 0, or `beta` is not in [0, 1).
    """
    if not 0 <= beta < 1:
        raise ValueError(f"received beta={beta}, expected a number in [0, 1)")
    if counts.numel() == 0 or counts.min() < 0 or counts.max() == 0:
        raise ValueError(f"received the counts {counts.tolist()}, expected none negative and at least one positive")
    present = counts > 0
    effective = 1 - beta ** counts.double()  # up to the factor 1 - beta, which the normalisation cancels
    weights = torch.where(present, 1 / effective.where(present, 1), 0)
    return (weights * present.sum() / weights.sum()).float()


def prior_bias(probability: float | int) -> float:
    """Return the bias -ln((1 - psi) / psi) with which a sigmoid starts at the probability psi of a positive.

    At first a head sees almost negatives only; with a bias of 0 their loss would drown all else (Lin et al. 2017b,
    section 4.1: psi = 0.01). Exact for a weighted sum of 0: with small weights (sigma = 0.01) nearly so.

    Raises:
        ValueError: if the probability is not strictly between 0 and 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"received the probability {probability}, expected a number strictly between 0 and 1")
    return -math.log((1 - probability) / probability)


def prior_bias_from_counts(positives: int, negatives: int) -> float:
    """Return the prior bias for psi = positives / (positives + negatives): a ratio of 1 : 100 is psi = 1 / 101.

    Raises:
        ValueError: if a count is not positive.
    """
    if positives <= 0 or negatives <= 0:
        raise ValueError(f"received {positives} positives and {negatives} negatives, expected both to be positive")
    return prior_bias(positives / (positives + negatives))
