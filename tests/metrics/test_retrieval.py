"""Retrieval: against pytorch-metric-learning, torchmetrics and slow loops."""

import math

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from tests.closeness import EXACT
from torchmetrics.retrieval import RetrievalHitRate

from vidi.metrics.retrieval import cluster_distances, retrieval_scores


def batch(identities: int, pictures: int, *, seed: int = 0, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(pictures)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = torch.randn(identities, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    noise = torch.randn(len(labels), 6, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * noise, labels


BLOCKS = pytest.mark.parametrize("largest", [2**22, 100, 1])


@BLOCKS
@pytest.mark.system("7.0-OBJECTIVE")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("apart", [False, True])
def test_scores_are_those_of_pytorch_metric_learning(
    apart: bool, metric: str, largest: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", largest)
    embeddings, labels = batch(6, 5)
    labels[labels == 5] = torch.arange(5, 10)  # one picture each: nobody to find
    gallery = batch(7, 3, seed=1) if apart else None
    distance = CosineSimilarity() if metric == "cosine" else LpDistance(normalize_embeddings=False)
    judge = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        knn_func=CustomKNN(distance),
        device=torch.device("cpu"),
    )
    references = dict(zip(("reference", "reference_labels"), gallery or (), strict=False))
    theirs = judge.get_accuracy(embeddings, labels, **references)
    ours = retrieval_scores(embeddings, labels, gallery=gallery, metric=metric)
    assert ours.recall[1] == pytest.approx(theirs["precision_at_1"], rel=EXACT)
    assert ours.r_precision == pytest.approx(theirs["r_precision"], rel=EXACT)
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"], rel=EXACT)
    assert 0.1 < ours.map_at_r < ours.recall[1] < 1
    assert ours.queries == (27 if apart else 25)  # 5 and 6 are in the gallery too


@pytest.mark.system("7.0-OBJECTIVE")
@pytest.mark.parametrize("k", [1, 2, 4, 20])
def test_recall_is_the_hit_rate_of_torchmetrics(k: int):
    embeddings, labels = batch(6, 5, spread=2)
    query, other = (~torch.eye(30, dtype=torch.bool)).nonzero(as_tuple=True)
    apart = (embeddings[query] - embeddings[other]).norm(dim=1)
    theirs = RetrievalHitRate(top_k=k)(-apart, labels[query] == labels[other], indexes=query)
    assert retrieval_scores(embeddings, labels, ks=(k,)).recall == {k: pytest.approx(float(theirs), rel=1e-6)}


@pytest.mark.system("7.0-OBJECTIVE")
def test_ranks_of_a_row_of_points():
    """Queries at 0 find identity 0 at ranks 1, 3 and 4: recall@1, precision 2/3, MAP@R (1/1 + 2/3) / 3."""
    query, whose = torch.zeros(1, 1), torch.tensor([0])
    gallery = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]), torch.tensor([0, 1, 0, 0, 1])
    found = retrieval_scores(query, whose, gallery=gallery, ks=(1, 2))
    assert found == ({1: 1, 2: 1}, pytest.approx(2 / 3), pytest.approx((1 + 2 / 3) / 3), 1)
    late = retrieval_scores(query, torch.tensor([1]), gallery=gallery, ks=(1, 2, 5))
    assert late == ({1: 0, 2: 1, 5: 1}, pytest.approx(1 / 2), pytest.approx(1 / 2 / 2), 1)


@pytest.mark.system("7.0-OBJECTIVE")
def test_embeddings_that_have_collapsed_find_nothing():
    """Among equally far pictures those of others go first, however the data set is sorted."""
    found = retrieval_scores(torch.ones(12, 4), torch.arange(12) // 4, ks=(1, 8, 9))
    assert found == ({1: 0, 8: 0, 9: 1}, 0, 0, 12)


def test_who_cannot_be_answered_is_left_out():
    nobody = retrieval_scores(torch.eye(3), torch.arange(3))
    assert nobody.queries == 0
    assert all(map(math.isnan, (*nobody.recall.values(), nobody.r_precision, nobody.map_at_r)))
    assert retrieval_scores(torch.eye(4)[:0], torch.arange(0)).queries == 0
    with pytest.raises(ValueError, match="received k of 1, 0"):
        retrieval_scores(torch.eye(3), torch.arange(3), ks=(1, 0))
    with pytest.raises(ValueError, match="euclidean, cosine"):
        retrieval_scores(torch.eye(3), torch.arange(3), metric="hamming")


@BLOCKS
@pytest.mark.system("7.0-OBJECTIVE")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_within_and_between_identities_are_means_over_pairs(
    metric: str, largest: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", largest)
    embeddings, labels = batch(4, 5)
    within, between = [], []
    for i in range(20):
        for j in range(i):
            one, other = embeddings[i], embeddings[j]
            d = float((one - other).norm() if metric == "euclidean" else 1 - one @ other / one.norm() / other.norm())
            (within if labels[i] == labels[j] else between).append(d)
    intra, inter = sum(within) / len(within), sum(between) / len(between)
    assert len(within) == 40
    assert cluster_distances(embeddings, labels, metric=metric) == pytest.approx((intra, inter, intra / inter))
    tight = cluster_distances(*batch(4, 5, spread=0.1), metric=metric)
    assert tight.ratio < 0.2 < cluster_distances(embeddings, labels, metric=metric).ratio


def test_means_over_no_pairs_are_no_numbers():
    one = cluster_distances(torch.eye(3), torch.zeros(3, dtype=torch.int64))
    assert one.intra == pytest.approx(2**0.5)
    assert all(map(math.isnan, (one.inter, one.ratio)))
    each = cluster_distances(torch.eye(3), torch.arange(3))
    assert all(map(math.isnan, (each.intra, each.ratio)))
    assert each.inter == pytest.approx(2**0.5)
    assert math.isnan(cluster_distances(torch.ones(4, 2), torch.arange(4) % 2).ratio)
