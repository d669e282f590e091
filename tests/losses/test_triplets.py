"""Losses of triplets: against pytorch-metric-learning, torch, slow loops and the notes' numbers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchEasyHardMiner, TripletMarginMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from tests.closeness import NUMBERS
from tests.embedding.losses import assert_equal_with_gradients, batch_of, drawn, number
from tests.references import metric_learning as slow
from vidi.losses.embedding import batch_tuple_loss
from vidi.losses.triplets import (
    angular_triplet_loss,
    batch_triplet_loss,
    listed_triplet_loss,
    triplet_constraint,
    triplet_loss,
)
from vidi.ops.triplets import Triplets

THEIR_KINDS = {"semi_hard": "semihard", "hard": "hard", "violating": "all"}


def squares() -> LpDistance:
    return LpDistance(power=2, normalize_embeddings=False)


@pytest.mark.system("7.2.2-TRIPLET")
@pytest.mark.parametrize("margin", [0.2, 1.5])
def test_rows_are_those_of_torch(margin: float):
    anchors, positives, negatives = (drawn(20, 6, seed=seed).requires_grad_() for seed in range(3))
    theirs = F.triplet_margin_with_distance_loss(
        anchors,
        positives,
        negatives,
        distance_function=lambda a, b: F.pairwise_distance(a, b, eps=0) ** 2,
        margin=margin,
    )
    assert_equal_with_gradients(
        triplet_loss(anchors, positives, negatives, margin=margin), theirs, anchors, positives, negatives
    )
    assert triplet_loss(anchors, positives, negatives) == triplet_loss(anchors, positives, negatives, margin=0.2)


@pytest.mark.system("7.2.2-TRIPLET")
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_the_mean_over_all_triplets_is_that_of_pytorch_metric_learning(margin: float):
    embeddings, identities = batch_of(5, 4)
    theirs = TripletMarginLoss(margin=margin, distance=squares(), reducer=MeanReducer())
    ours = batch_triplet_loss(embeddings, identities, margin=margin, kind="all")
    assert_equal_with_gradients(ours, theirs(embeddings, identities), embeddings)


@pytest.mark.system("7.2.2-TRIPLET", "7.2.2-SEMIHARD")
@pytest.mark.parametrize("kind", THEIR_KINDS)
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_the_mean_over_mined_triplets_is_that_of_pytorch_metric_learning(margin: float, kind: str):
    embeddings, identities = batch_of(5, 4)
    miner = TripletMarginMiner(margin=margin, type_of_triplets=THEIR_KINDS[kind], distance=squares())
    mined = miner(embeddings.detach(), identities)
    theirs = TripletMarginLoss(margin=margin, distance=squares(), reducer=MeanReducer())(embeddings, identities, mined)
    ours = batch_triplet_loss(embeddings, identities, margin=margin, kind=kind)
    assert_equal_with_gradients(ours, theirs, embeddings)
    listed = listed_triplet_loss(embeddings, Triplets(*mined), margin=margin)
    assert_equal_with_gradients(
        listed, batch_triplet_loss(embeddings, identities, margin=margin, kind=kind), embeddings
    )


@pytest.mark.parametrize("kind", ["all", "easy", "semi_hard", "hard", "violating"])
def test_the_mean_over_each_kind_is_that_of_slow_loops(kind: str):
    embeddings, identities = batch_of(4, 3, seed=5)
    listed = slow.kinds(embeddings.tolist(), identities.tolist(), 0.7)[kind]
    assert listed
    expected = slow.mean_hinge(embeddings.tolist(), listed, 0.7, slow.squared)
    assert number(batch_triplet_loss(embeddings, identities, margin=0.7, kind=kind)) == pytest.approx(
        expected, rel=NUMBERS
    )


@pytest.mark.system("7.2.2-TRIPLET", "B7.2")
def test_a_semi_hard_negative_costs_what_it_is_too_near():
    """B7.2: 0.3 to the positive, 0.4 to the negative, margin 0.2 -> 0.1; semi-hard from 0.3 to 0.5."""

    def cost(negative: float, kind: str) -> float:
        vectors = torch.tensor([[0.0], [0.3**0.5], [-(negative**0.5)]], dtype=torch.float64)
        # the positive as an anchor is 0.3 from its own and far from the negative
        return number(batch_triplet_loss(vectors, torch.tensor([0, 0, 1]), kind=kind))

    zero, p, n = (torch.tensor([[x]], dtype=torch.float64) for x in (0.0, 0.3**0.5, 0.4**0.5))
    assert number(triplet_loss(zero, p, n)) == pytest.approx(0.1)
    assert cost(0.4, "semi_hard") == pytest.approx(0.1)
    assert cost(0.29, "semi_hard") == cost(0.51, "semi_hard") == 0
    assert cost(0.31, "semi_hard") == pytest.approx(0.19)
    assert cost(0.49, "semi_hard") == pytest.approx(0.01)
    assert cost(0.29, "hard") == pytest.approx(0.21)
    assert cost(0.31, "hard") == 0


@pytest.mark.system("7.2.2-TRIPLET", "B7.3")
@pytest.mark.parametrize("kind", ["all", "hard", "violating"])
def test_constant_embeddings_cost_exactly_the_margin(kind: str):
    """B7.3, C7.4: a loss of m, not 0; and no gradient that would lead away."""
    vectors = drawn(1, 6).expand(6, 6).clone().requires_grad_()
    identities = torch.arange(6) % 3
    loss = batch_triplet_loss(vectors, identities, margin=0.3, kind=kind)
    assert number(loss) == pytest.approx(0.3, rel=1e-15)
    assert number(triplet_loss(vectors, vectors, vectors)) == pytest.approx(0.2, rel=1e-15)
    assert torch.autograd.grad(loss, vectors)[0].abs().max() < 1e-15
    assert batch_triplet_loss(vectors, identities, kind="semi_hard") == 0


def test_the_naive_constraint_is_strict_and_no_loss():
    """C7.4, C7.5: constant vectors do not satisfy it."""
    anchors = torch.zeros(4, 1)
    positives, negatives = torch.tensor([[1.0], [2.0], [1.0], [0.0]]), torch.tensor([[-2.0], [-1.0], [-1.0], [0.0]])
    assert triplet_constraint(anchors, positives, negatives).tolist() == [True, False, False, False]


@pytest.mark.system("7.2.4-ANGTRIP")
def test_the_angular_loss_is_that_of_pytorch_metric_learning_without_a_margin():
    embeddings, identities = batch_of(5, 4)
    theirs = TripletMarginLoss(margin=0, distance=CosineSimilarity(), reducer=MeanReducer())
    assert_equal_with_gradients(
        angular_triplet_loss(embeddings, identities), theirs(embeddings, identities), embeddings
    )


@pytest.mark.system("7.2.4-ANGTRIP", "B7.4")
def test_the_angular_loss_is_half_of_the_triplet_loss_of_normalised_vectors():
    """B7.4, C7.10: |a - b|^2 = 2 - 2 cos."""
    embeddings, identities = batch_of(4, 3)
    unit = F.normalize(embeddings)
    half = batch_triplet_loss(unit, identities, margin=0, kind="all") / 2
    assert_equal_with_gradients(angular_triplet_loss(embeddings, identities), half, embeddings)
    listed = slow.kinds(embeddings.tolist(), identities.tolist(), 0)["all"]
    expected = slow.mean_hinge(embeddings.tolist(), listed, 0, lambda a, b: -slow.cosine(a, b))
    assert number(angular_triplet_loss(embeddings, identities)) == pytest.approx(expected, rel=NUMBERS)


@pytest.mark.system("7.2.4-TUPLE")
def test_the_tuple_loss_is_that_of_all_pairs_with_their_hardest_negative():
    embeddings, identities = batch_of(5, 4)
    miner = BatchEasyHardMiner(pos_strategy="all", neg_strategy="hard", distance=CosineSimilarity())
    theirs = TripletMarginLoss(margin=0, distance=CosineSimilarity(), reducer=MeanReducer())
    other = theirs(embeddings, identities, miner(embeddings.detach(), identities))
    assert_equal_with_gradients(batch_tuple_loss(embeddings, identities), other, embeddings)


def test_no_triplet_costs_nothing():
    vectors = drawn(4, 6).requires_grad_()
    none = torch.zeros(0, dtype=torch.int64)
    loss = listed_triplet_loss(vectors, Triplets(none, none, none))
    assert loss == 0
    assert not torch.autograd.grad(loss, vectors)[0].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin=-0.1"),
        ({"margin": math.nan}, "margin=nan"),
        ({"kind": "soft"}, "all, easy, semi_hard"),
    ],
)
def test_what_no_triplet_is_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        batch_triplet_loss(drawn(4, 6), torch.arange(4) % 2, **options)


def test_listed_triplets_go_by_in_blocks(monkeypatch: pytest.MonkeyPatch):
    embeddings, identities = batch_of(4, 3)
    listed = torch.tensor(sorted(slow.kinds(embeddings.tolist(), identities.tolist(), 0.2)["all"]))
    triplets = Triplets(*listed.T)
    whole: Callable[[], Tensor] = lambda: listed_triplet_loss(embeddings, triplets)  # noqa: E731
    expected = whole()
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", 100)
    assert_equal_with_gradients(whole(), expected, embeddings)
