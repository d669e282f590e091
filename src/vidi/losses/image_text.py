"""The symmetric contrastive loss of two towers (CLIP: Radford et al. 2021, 2103.00020, figure 3; notes 7.3.1).

Row i of one matrix belongs to row i of the other, and to no other row. With unit vectors x_i and y_j, and a scale s,

    l_i = -ln exp(s x_i y_i) / sum_j exp(s x_i y_j)

is the cross entropy of finding the partner. The loss is the mean over rows, in both directions.

Differs from the notes, which take one direction "or vice versa" (C7.16): the mean of both, as published.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vidi.losses.reduction import full_precision

BLOCK = 4096
"""Rows of the matrix of logits that are held at once."""


def symmetric_contrastive(
    one: Float[Tensor, "N E"], other: Float[Tensor, "N E"], scale: Float[Tensor, ""], *, block: int = BLOCK
) -> Float[Tensor, ""]:
    """Return the mean of the cross entropies of finding row i of `other` for row i of `one`, and the other way round.

    Args:
        one, other: unit vectors of pairs.
        scale: s, the inverse of the temperature.
        block: rows of the N x N logits that are held at once; larger batches need twice the products, with equal
            gradients.

    Raises:
        ValueError: without a pair.
    """
    if len(one) == 0:
        raise ValueError("received no pair, expected at least one")
    one, other, scale = full_precision(one), full_precision(other), full_precision(scale)
    with torch.autocast(one.device.type, enabled=False):
        if len(one) <= block:
            logits = scale * one @ other.T  # N N
            own = logits.diagonal()
            return ((logits.logsumexp(1) - own).mean() + (logits.logsumexp(0) - own).mean()) / 2
        sums = [_in_blocks(one, other, scale, block), _in_blocks(other, one, scale, block)]
        return torch.stack(sums).sum() / (2 * len(one))


def _in_blocks(queries: Tensor, keys: Tensor, scale: Tensor, block: int) -> Tensor:
    """Return the sum of the cross entropies of one direction; logits are computed again for the gradient."""

    def of_rows(rows: Tensor, partners: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
        return ((scale * rows @ keys.T).logsumexp(1) - scale * (rows * partners).sum(1)).sum()

    parts = zip(queries.split(block), keys.split(block), strict=True)
    sums = [checkpoint(of_rows, rows, partners, keys, scale, use_reentrant=False) for rows, partners in parts]
    return torch.stack(sums).sum()
