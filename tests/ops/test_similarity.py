"""Cosines and distances: against torch, and where vectors are equal, zero or far from the origin."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.closeness import EXACT, assert_close
from vidi.ops.similarity import cosine_similarities, normalized, paired_squared_distances, root, squared_distances


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.system("7.2.3-COSINE")
def test_cosines_are_torchs():
    first, second = drawn(7, 5).requires_grad_(), drawn(4, 5, seed=1)
    ours, theirs = cosine_similarities(first, second), F.cosine_similarity(first[:, None], second, dim=2)
    assert_close(ours, theirs, EXACT)
    mine, other = (torch.autograd.grad(c.square().sum(), first)[0] for c in (ours, theirs))
    assert_close(mine, other, EXACT)
    assert_close(normalized(first).norm(dim=1), torch.ones(7, dtype=torch.float64))
    scaled = second * torch.tensor([[2.0], [1e-9], [1e9], [3]], dtype=torch.float64)
    assert_close(cosine_similarities(first, scaled), ours, EXACT)


@pytest.mark.system("7.2.3-COSINE", "B7.4")
def test_unit_vectors_are_at_a_squared_distance_of_two_less_two_cosines():
    """B7.4."""
    first, second = normalized(drawn(7, 5)), normalized(drawn(4, 5, seed=1))
    assert_close(squared_distances(first, second), 2 - 2 * cosine_similarities(first, second), EXACT)
    assert_close(squared_distances(first, first).diagonal(), torch.zeros(7, dtype=torch.float64), size=1)


def test_distances_are_torchs_with_their_gradients():
    first, second = drawn(7, 5).requires_grad_(), drawn(4, 5, seed=1).requires_grad_()
    ours, theirs = squared_distances(first, second), torch.cdist(first, second) ** 2
    assert_close(ours, theirs, EXACT)
    weights = drawn(7, 4, seed=2)
    for mine, other in zip(
        *(torch.autograd.grad((weights * d).sum(), (first, second)) for d in (ours, theirs)), strict=True
    ):
        assert_close(mine, other, EXACT)
    assert_close(paired_squared_distances(first[:4], second), ours.diagonal(), EXACT)
    assert squared_distances(first, second[:0]).shape == (7, 0)


def test_distances_far_from_the_origin_are_not_rounded_away():
    vectors = drawn(8, 5).float()
    found = squared_distances(vectors + 1000, vectors + 1000)
    assert_close(found, squared_distances(vectors, vectors), 1e-3)
    assert (found >= 0).all()


@pytest.mark.system("7.2.3-COSINE")
def test_a_vector_without_a_direction_has_the_cosine_0_and_a_finite_gradient():
    vectors = torch.tensor([[0.0, 0, 0], [1e-20, 0, 0], [1e-30, 0, 0], [3, 4, 0]], requires_grad=True)
    cosines = cosine_similarities(vectors, torch.ones(1, 3))
    assert cosines[:3].abs().max() < 1e-12
    assert cosines[3].item() == pytest.approx(7 / 5 / math.sqrt(3))
    (gradient,) = torch.autograd.grad(cosines.sum(), vectors)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1


def test_equal_vectors_push_each_other_nowhere():
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    assert root(x).tolist() == [0, 2]
    assert torch.autograd.grad(root(x).sum(), x)[0].tolist() == [0, 0.25]
