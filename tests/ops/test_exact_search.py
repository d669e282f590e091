"""Exact neighbours: those of brute force in float64, whoever finds the candidates."""

import builtins
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.closeness import NUMBERS, assert_close
from tests.embedding.losses import drawn
from vidi.ops import exact_search
from vidi.ops.exact_search import exact_squared_distances, has_faiss, nearest_exactly, rounding_bound, squared_lengths
from vidi.ops.neighbours import nearest

SEARCHES = [
    "torch",
    pytest.param("faiss", marks=pytest.mark.skipif(not has_faiss(), reason="faiss is not installed")),
]


def brute_force(queries: Tensor, vectors: Tensor, k: int) -> tuple[list[list[int]], Tensor]:
    """Return rows by (distance, row), and the distances, by differences in float64."""
    apart = (queries.double()[:, None] - vectors.double()).square().sum(2)
    order = apart.argsort(dim=1, stable=True)[:, :k]
    return order.tolist(), apart.gather(1, order).sqrt()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("queries", [1, 40, 300])
def test_neighbours_are_those_of_brute_force(search: str, queries: int) -> None:
    vectors, asked = drawn(3000, 12).float(), drawn(queries, 12, seed=1).float()
    rows, apart = brute_force(asked, vectors, 7)
    found = nearest_exactly(asked, vectors, 7, search=search)
    assert found.places.tolist() == rows
    torch.testing.assert_close(found.distances, apart, rtol=0, atol=0)
    assert_close(found.distances, nearest(asked.double(), vectors.double(), 7).distances, NUMBERS)


@pytest.mark.parametrize("search", SEARCHES)
def test_of_equally_near_vectors_the_first_are_found(search: str) -> None:
    vectors = drawn(5, 8).float()[torch.arange(4000) % 5]  # 800 times each
    found = nearest_exactly(vectors[[3, 1]], vectors, 4, search=search)
    assert found.places.tolist() == [[3, 8, 13, 18], [1, 6, 11, 16]]
    assert found.distances.tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("search", SEARCHES)
def test_what_float32_cannot_tell_apart_is_ranked_by_float64(search: str) -> None:
    far = torch.full((200, 4), 1000.0)
    far[:, 0] += torch.arange(200).flip(0) * 2**-10  # squares of 4e6 hide squares of 1e-6
    found = nearest_exactly(torch.full((1, 4), 1000.0), far, 3, search=search)
    assert found.places.tolist() == [[199, 198, 197]]
    assert found.distances.tolist() == [[0.0, 2**-10, 2**-9]]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 6), st.integers(1, 45), st.integers(0, 2**31))
def test_small_whole_numbers_are_searched_exactly(n: int, q: int, d: int, k: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-2, 3, (n, d), generator=random).float()
    queries = torch.randint(-2, 3, (q, d), generator=random).float()
    rows, _ = brute_force(queries, vectors, min(k, n))
    for search in ("torch", "faiss") if has_faiss() else ("torch",):
        assert nearest_exactly(queries, vectors, k, search=search).places.tolist() == rows


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rounded_distances_are_within_the_bound(scale: float) -> None:
    vectors, queries = scale * drawn(500, 64).float(), scale * drawn(30, 64, seed=1).float()
    squares = squared_lengths(vectors)
    rounded, rows = exact_search._by_torch(queries, vectors, squares, 500)
    off = (rounded.double() - exact_squared_distances(queries, vectors, rows)).abs().amax(1)
    bound = rounding_bound(queries, squares.max().sqrt())
    assert (off <= bound).all()
    assert (off > 0).any()
    unit, longest = 2.0**-24, vectors.double().norm(dim=1).max()
    torch.testing.assert_close(bound, 72 * unit * (queries.double().norm(dim=1) + longest).square(), rtol=1e-6, atol=0)


def test_candidates_that_are_off_by_the_bound_cost_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second neighbour is nearer than 98 others by less than the bound, and all roundings are against it."""
    vectors = torch.stack([torch.ones(100), torch.arange(100.0) * 2**-17], 1)
    vectors[0], vectors[98] = torch.tensor([[2**-10, 0.0], [1 - 2**-22, 0.0]])

    def worst(queries: Tensor, vectors: Tensor, squares: Tensor, count: int) -> tuple[Tensor, Tensor]:
        exact = exact_squared_distances(queries, vectors, torch.arange(100).expand(len(queries), -1))
        against = torch.where(torch.arange(100) == 98, 0.99, -0.99)
        found = (exact + against * rounding_bound(queries, squares.max().sqrt())[:, None]).topk(count, largest=False)
        assert 98 not in found.indices or count == 100
        return found.values, found.indices

    monkeypatch.setattr(exact_search, "_by_torch", worst)
    assert nearest_exactly(torch.zeros(1, 2), vectors, 2, search="torch").places.tolist() == [[0, 98]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = drawn(1000, 6).float(), drawn(20, 6, seed=1).float()
    whole = nearest_exactly(queries, vectors, 9, search="torch")
    monkeypatch.setattr(exact_search, "LARGEST", 60)  # three vectors at once
    parts = nearest_exactly(queries, vectors, 9, search="torch")
    assert torch.equal(whole.places, parts.places)
    assert torch.equal(whole.distances, parts.distances)


def test_known_squares_change_nothing() -> None:
    vectors, queries = drawn(100, 6).float(), drawn(4, 6, seed=1).float()
    known = nearest_exactly(queries, vectors, 3, squares=squared_lengths(vectors))
    assert torch.equal(known.places, nearest_exactly(queries, vectors, 3).places)


def test_without_faiss_torch_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        assert name != "faiss"
        return imported(name, *rest)

    monkeypatch.setattr(exact_search, "has_faiss", lambda: False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert nearest_exactly(torch.zeros(1, 2), torch.zeros(3, 2), 5).places.tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match="faiss is not installed"):
        nearest_exactly(torch.zeros(1, 2), torch.zeros(3, 2), 1, search="faiss")


def test_no_queries_have_no_neighbours() -> None:
    found = nearest_exactly(torch.zeros(0, 2), torch.zeros(3, 2), 2)
    assert found.places.shape == (0, 2)


@pytest.mark.parametrize(
    ("queries", "vectors", "k", "message"),
    [
        (torch.zeros(1, 2), torch.zeros(3, 2), 0, "received k=0 and 3 vectors"),
        (torch.zeros(1, 2), torch.zeros(0, 2), 1, "received k=1 and 0 vectors"),
        (torch.full((1, 2), torch.nan), torch.zeros(3, 2), 1, "a query that is not finite"),
        (torch.zeros(1, 2), torch.full((3, 2), torch.inf), 1, "vectors that are not finite"),
    ],
)
def test_what_cannot_be_searched_is_refused(queries: Tensor, vectors: Tensor, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_exactly(queries, vectors, k)


def test_an_unknown_search_is_refused() -> None:
    with pytest.raises(ValueError, match="received search='annoy', expected one of auto, torch, faiss"):
        nearest_exactly(torch.zeros(1, 2), torch.zeros(3, 2), 1, search="annoy")
