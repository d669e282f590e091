"""The symmetric contrastive loss of two towers (CLIP: Radford et al. 2021, 2103.00020, figure 3; notes 7.3.1).

Row i of one matrix belongs to row i of the other, and to no other row. With unit vectors x_i and y_j, and a scale s,

    l_i = -ln exp(s x_i y_i) / sum_j exp(s x_i y_j)

is the cross entropy of finding the partner. The loss is the mean over rows, in both directions.

Differs from the notes, which take one direction "or vice versa" (C7.16): the mean of both, as published.
"""

from jaxtyping import Float
from torch import Tensor

from vidi.losses.blocks import sum_over_rows


def symmetric_contrastive(
    one: Float[Tensor, "N E"], other: Float[Tensor, "N E"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the mean of the cross entropies of finding row i of `other` for row i of `one`, and the other way round.

    Args:
        one, other: unit vectors of pairs.
        scale: s, the inverse of the temperature.

    Raises:
        ValueError: without a pair.
    """
    N = len(one)
    if N == 0:
        raise ValueError("received no pair, expected at least one")
    to_other = sum_over_rows(_of_rows, N, N, one, other, scale)
    return (to_other + sum_over_rows(_of_rows, N, N, other, one, scale)) / (2 * N)


def _of_rows(rows: slice, queries: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
    """Return the sum of the cross entropies of some queries, whose partners are the keys of the same rows."""
    own = (queries[rows] * keys[rows]).sum(1)
    return ((scale * queries[rows] @ keys.T).logsumexp(1) - scale * own).sum()
