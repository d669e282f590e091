"""Minimal assignment: worked example, SciPy, brute force, and what holds for every cost matrix."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from vidi.ops.assignment import assign, minimal_assignment

EXAMPLE = np.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
SHAPES = st.tuples(st.integers(0, 7), st.integers(0, 7))


def drawn(shape: tuple[int, int], seed: int, kind: str) -> np.ndarray:
    """Costs of every sign; whole numbers have many ties."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=shape) if kind == "real" else generator.integers(-3, 4, shape).astype(float)


def brute_force(costs: np.ndarray) -> float:
    """The least total of all one-to-one pairings."""
    costs = costs if costs.shape[0] <= costs.shape[1] else costs.T
    rows = range(len(costs))
    return min(
        sum(costs[r, c] for r, c in zip(rows, p, strict=True))
        for p in itertools.permutations(range(costs.shape[1]), len(costs))
    )


def greedy(costs: np.ndarray) -> float:
    """The total of taking the cheapest pair that is left, again and again."""
    left, total = costs.copy(), 0.0
    for _ in range(min(costs.shape)):
        row, column = np.unravel_index(left.argmin(), left.shape)
        total += float(costs[row, column])
        left[row], left[:, column] = np.inf, np.inf
    return total


@pytest.mark.system("4.3.6-HUNGARIAN", "B4.25")
def test_the_worked_example():
    """B4.25."""
    rows, columns = minimal_assignment(EXAMPLE)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 2], [1, 0, 2])
    assert EXAMPLE[rows, columns].sum() == 5
    assert greedy(EXAMPLE) == 6
    assert brute_force(EXAMPLE) == 5


@pytest.mark.system("4.3.6-HUNGARIAN")
@settings(max_examples=60)
@given(SHAPES, st.integers(0, 10**6))
def test_pairs_are_scipys(shape, seed):
    costs = drawn(shape, seed, "real")
    for received, expected in zip(minimal_assignment(costs), linear_sum_assignment(costs), strict=True):
        assert received.tolist() == expected.tolist()


@pytest.mark.system("4.3.6-HUNGARIAN")
@settings(max_examples=60)
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(0, 10**6))
def test_no_pairing_is_cheaper_even_among_ties(shape, seed):
    costs = drawn(shape, seed, "whole")
    rows, columns = minimal_assignment(costs)
    assert len(set(rows)) == len(set(columns)) == len(rows) == min(shape)
    assert costs[rows, columns].sum() == brute_force(costs)


@pytest.mark.parametrize("shape", [(100, 28), (12, 90)])
def test_larger_problems(shape):
    costs = drawn(shape, 1, "real")
    for received, expected in zip(minimal_assignment(costs), linear_sum_assignment(costs), strict=True):
        assert received.tolist() == expected.tolist()


@settings(max_examples=30)
@given(st.integers(0, 4), st.integers(0, 5), st.integers(0, 6), st.integers(0, 10**6), st.booleans())
def test_a_batch_is_its_problems_one_by_one(problems, rows, columns, seed, own):
    generator = np.random.default_rng(seed)
    costs = torch.from_numpy(generator.normal(size=(problems, rows, columns)))
    counts = generator.integers(0, columns + 1, problems).tolist()
    for problem, count in enumerate(counts):
        costs[problem, :, count:] = -100  # padding is no bargain
    received = assign(costs, counts, solve=minimal_assignment) if own else assign(costs, counts)
    expected = [
        (problem, row, column)
        for problem, count in enumerate(counts)
        for row, column in zip(*linear_sum_assignment(costs[problem, :, :count]), strict=True)
    ]
    assert list(zip(*(part.tolist() for part in received), strict=True)) == expected
    assert all(part.dtype == torch.int64 for part in received)


@pytest.mark.parametrize("solve", [minimal_assignment, linear_sum_assignment])
def test_costs_that_are_not_finite_are_refused(solve):
    with pytest.raises(ValueError, match=r"finite|numeric"):
        assign(torch.tensor([[[1.0, torch.nan]]]), [2], solve=solve)


@pytest.mark.parametrize("counts", [[1], [1, 4], [-1, 2]])
def test_wrong_counts_are_refused(counts):
    with pytest.raises(ValueError, match="expected 2 numbers from 0 to 3"):
        assign(torch.zeros(2, 2, 3), counts)
