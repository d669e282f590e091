"""Assignment: pair rows with columns, each used once, so that the sum of their costs is least (notes 4.3.6).

    costs            N M, any real numbers
    minimal_costs    one row after the other gets a column: the shortest path from the row to a free column, on which
                     rows that had columns already take others (Kuhn 1955; Jonker & Volgenant 1987)
    pairs            min(N, M) of them, by row

`assign` solves a batch of padded problems. It leaves the search to SciPy, whose compiled loops run the same algorithm
some thousand times as fast. Taking the cheapest pair that is left, again and again, is no solution: of
[[4, 1, 3], [2, 0, 5], [3, 2, 2]] it takes 0 first and ends at 6, where 5 is possible.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Pairs = tuple[np.ndarray, np.ndarray]
"""Rows, in rising order, and the column of each."""


class Assignment(NamedTuple):
    """The pairs of a batch of problems, by problem, then by row."""

    problem: Int64[Tensor, " P"]
    row: Int64[Tensor, " P"]
    column: Int64[Tensor, " P"]


def assign(
    costs: Float[Tensor, "B N M"],
    counts: Sequence[int],
    *,
    solve: Callable[[np.ndarray], Pairs] = linear_sum_assignment,
) -> Assignment:
    """Pair rows with columns in every problem of a batch, at the least total cost of each.

    Args:
        costs: of every pair; numbers, not NaN, in the columns that count.
        counts: how many columns of each problem count; those behind them only pad it.
        solve: from a matrix of costs to pairs: SciPy's solver, or `minimal_assignment`.

    Returns:
        min(N, count) pairs of each problem, on the device of the costs.

    Raises:
        ValueError: if there are not as many counts as problems, one is not in 0..M, or a cost is NaN.
    """
    B, _, M = costs.shape
    if len(counts) != B or any(not 0 <= count <= M for count in counts):
        raise ValueError(f"received the counts {list(counts)}, expected {B} numbers from 0 to {M}")
    matrices = costs.detach().cpu().numpy()
    pairs = [solve(matrix[:, :count]) for matrix, count in zip(matrices, counts, strict=True)]
    none = np.zeros(0, dtype=int)  # of a batch without problems
    parts = (
        np.repeat(np.arange(B), [len(rows) for rows, _ in pairs]),
        np.concatenate([none, *(rows for rows, _ in pairs)]),
        np.concatenate([none, *(columns for _, columns in pairs)]),
    )
    return Assignment(*(torch.as_tensor(part, dtype=torch.int64, device=costs.device) for part in parts))


def minimal_assignment(costs: np.ndarray) -> Pairs:
    """Pair the rows and columns of one matrix at the least total cost, by shortest augmenting paths.

    O(min(N, M)^2 max(N, M)); made to be read. With more rows than columns some rows stay alone.

    Raises:
        ValueError: if the costs are no finite matrix.
    """
    costs = np.asarray(costs, dtype=float)
    if costs.ndim != 2 or not np.isfinite(costs).all():
        raise ValueError(f"received costs of shape {costs.shape}, expected a matrix of finite numbers")
    if costs.shape[0] > costs.shape[1]:
        columns, rows = minimal_assignment(costs.T)
        order = rows.argsort()
        return rows[order], columns[order]
    search = _Search(costs)
    for row in range(len(costs)):
        search.add(row)
    return np.arange(len(costs)), search.column_of


class _Search:
    """A pairing that grows by one row at a time, and prices that prove it the cheapest for the rows so far.

    The reduced cost of a pair, cost - price of its row - price of its column, is never negative, and is 0 for every
    pair that is taken.
    """

    def __init__(self, costs: np.ndarray):
        N, M = costs.shape
        self.costs = costs
        self.row_prices, self.column_prices = np.zeros(N), np.zeros(M)
        self.column_of, self.row_of = np.full(N, -1), np.full(M, -1)  # -1: alone

    def add(self, start: int) -> None:
        """Give one more row a column, as others move on: Dijkstra's shortest path over reduced costs."""
        M = len(self.row_of)
        distance = np.full(M, np.inf)  # of each column from the start, over the best path so far
        before = np.full(M, -1)  # the row from which that path comes
        reached = np.zeros(M, dtype=bool)  # columns whose distance is final
        row, length = start, 0.0
        while True:
            through = length + self.costs[row] - self.row_prices[row] - self.column_prices
            shorter = ~reached & (through < distance)
            distance[shorter], before[shorter] = through[shorter], row
            column = int(np.where(reached, np.inf, distance).argmin())
            length = distance[column]
            if self.row_of[column] < 0:
                break
            reached[column] = True
            row = self.row_of[column]

        gained = length - distance[reached]
        self.row_prices[start] += length
        self.row_prices[self.row_of[reached]] += gained
        self.column_prices[reached] -= gained
        while column >= 0:  # back along the path, every row takes the column it led to
            row = before[column]
            self.row_of[column] = row
            self.column_of[row], column = column, self.column_of[row]
