"""The k nearest of many vectors, exactly: candidates by matrix products, ranked again by distances that do not round.

    queries Q D, vectors N D -> candidates Q c    nearest by |q|^2 - 2 q v + |v|^2 in float32: a flat index
                             -> squared distances of these by differences in float64
                             -> the first k by (distance, row)

What rounding may have kept out of the candidates is known by a bound on it: a query whose candidates end within that
bound asks for four times as many. So the answer does not depend on who finds the candidates, faiss (Johnson et al.
2017, 1702.08734; the extra `scale`) or blocks of torch's matrix product, and of equally near vectors the first is
first.
"""

import importlib.util
from collections.abc import Callable

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from vidi.ops.blocks import LARGEST, row_blocks
from vidi.ops.neighbours import QUERIES, Neighbours

SEARCHES = ("auto", "torch", "faiss")
Candidates = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""From queries, vectors, their squares and c to the rounded squared distances, rising, and the rows of c candidates."""

SPARE = 16
"""Candidates beyond the k nearest: enough unless many vectors are equally far."""


def has_faiss() -> bool:
    """Say whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


@torch.no_grad()
def nearest_exactly(
    queries: Float32[Tensor, "Q D"],
    vectors: Float32[Tensor, "N D"],
    k: int,
    *,
    squares: Float32[Tensor, " N"] | None = None,
    search: str = "auto",
) -> Neighbours:
    """Find the k vectors of least Euclidean distance, nearest first, of equals the first; all where there are fewer.

    Args:
        queries: what is searched for.
        vectors: among which.
        k: how many.
        squares: `squared_lengths` of the vectors, where they are known.
        search: who finds the candidates; auto: faiss where it is installed. The answer is the same.

    Returns:
        Distances in float64, and rows.

    Raises:
        ValueError: if k is below 1, there are no vectors, faiss is asked for and not installed, or a number is not
            finite.
    """
    if k < 1 or len(vectors) == 0:
        raise ValueError(f"received k={k} and {len(vectors)} vectors, expected at least 1 of each")
    if not queries.isfinite().all():
        raise ValueError("received a query that is not finite")
    find = _candidates_of(search)
    k = min(k, len(vectors))
    squares = squared_lengths(vectors) if squares is None else squares
    if not squares.max().isfinite():
        raise ValueError("received vectors that are not finite")
    found = [_nearest(part, vectors, squares, k, find) for part in queries.split(QUERIES)]
    return Neighbours(*(torch.cat(columns) for columns in zip(*found, strict=True)))


def squared_lengths(vectors: Float32[Tensor, "N D"]) -> Float32[Tensor, " N"]:
    """Return the sum of squares of each vector."""
    return torch.linalg.vector_norm(vectors, dim=1).square()


def _candidates_of(search: str) -> Candidates:
    if search not in SEARCHES:
        raise ValueError(f"received search={search!r}, expected one of {', '.join(SEARCHES)}")
    if search == "faiss" and not has_faiss():
        raise ValueError("faiss is not installed: `pip install vidi[scale]`; search by torch gives the same")
    return _by_torch if search == "torch" or not has_faiss() else _by_faiss


def _nearest(queries: Tensor, vectors: Tensor, squares: Tensor, k: int, find: Candidates) -> Neighbours:
    apart = queries.new_empty(len(queries), k, dtype=torch.float64)
    places = torch.empty(len(queries), k, dtype=torch.int64)
    slack = rounding_bound(queries, squares.max().sqrt())  # Q
    pending, count = torch.arange(len(queries)), k + SPARE
    while len(pending):
        count = min(count, len(vectors))
        asked = queries[pending]
        rounded, rows = find(asked, vectors, squares, count)
        rows = rows.sort(1).values  # so that of equal distances the first row is first
        exact, order = exact_squared_distances(asked, vectors, rows).sort(dim=1, stable=True)
        apart[pending], places[pending] = exact[:, :k].sqrt(), rows.gather(1, order)[:, :k]
        sure = rounded[:, -1].double() - slack[pending] > exact[:, k - 1]
        pending = pending[~sure] if count < len(vectors) else pending[:0]
        count *= 4
    return Neighbours(apart, places)


def rounding_bound(queries: Float32[Tensor, "Q D"], longest: Float[Tensor, ""]) -> Float64[Tensor, " Q"]:
    """Return how far a squared distance by products in float32 may be off: (D + 8) u (|q| + |v|)^2.

    Sums of D products err by D u of the sum of their magnitudes at most (Higham 2002, section 3.1), whatever the order;
    adding three of them up, and a square of a root, by a few u.
    """
    unit = torch.finfo(torch.float32).eps / 2
    longer = queries.double().square().sum(1).sqrt() + longest.double()
    return (queries.shape[1] + 8) * unit * longer.square()


def exact_squared_distances(
    queries: Float32[Tensor, "Q D"], vectors: Float32[Tensor, "N D"], rows: Int64[Tensor, "Q c"]
) -> Float64[Tensor, "Q c"]:
    """Return the squared distance of each query from some vectors, by differences in float64."""
    width, c = max(queries.shape[1], 1), rows.shape[1]
    flat = rows.flatten()
    query = torch.arange(len(queries)).repeat_interleave(c)
    found = [
        (queries[query[part]].double() - vectors[flat[part]].double()).square().sum(1)
        for part in row_blocks(len(flat), width)
    ]
    return torch.cat(found).unflatten(0, (len(queries), c))


def _by_torch(queries: Tensor, vectors: Tensor, squares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find candidates in blocks of the matrix of all distances."""
    block = max(LARGEST // max(len(queries), 1), 1)
    best, rows = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(vectors), block):
        part = vectors[start : start + block]
        partial = torch.addmm(squares[None, start : start + block], queries, part.T, alpha=-2)  # Q n, less |q|^2
        near = partial.topk(min(count, len(part)), largest=False)
        best, rows = torch.cat([best, near.values], 1), torch.cat([rows, near.indices + start], 1)
        best, order = best.topk(min(count, best.shape[1]), largest=False)
        rows = rows.gather(1, order)
    return best + queries.square().sum(1, keepdim=True), rows


def _by_faiss(queries: Tensor, vectors: Tensor, squares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find candidates by faiss's flat search, which needs no index of its own."""
    import faiss

    rounded, rows = faiss.knn(queries.contiguous().numpy(), vectors.contiguous().numpy(), count)
    return torch.from_numpy(rounded), torch.from_numpy(rows)
