"""Search across two kinds of things, such as images and texts: at which rank the partner of a query is found."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BLOCK = 1024
"""Queries that are compared at once."""


@torch.no_grad()
def partner_ranks(
    queries: Float[Tensor, "N D"], others: Float[Tensor, "N D"], owners: Int64[Tensor, " N"], *, block: int = BLOCK
) -> Int64[Tensor, " N"]:
    """Return the rank of the nearest partner of each query, from 1.

    Of equally near things those of others go first: vectors that have collapsed to a point find nothing. Recall@k is
    the share of ranks up to k.

    Args:
        queries, others: unit vectors.
        owners: whose they are; row i of both is of one owner, and other rows of that owner are partners too.
        block: queries that are compared at once.
    """
    ranks = []
    for rows, own in zip(queries.split(block), owners.split(block), strict=True):
        near = rows @ others.T  # b N
        is_own = own[:, None] == owners
        best = near.masked_fill(~is_own, -torch.inf).amax(1, keepdim=True)
        ranks.append(1 + ((near >= best) & ~is_own).sum(1))
    return torch.cat(ranks)
