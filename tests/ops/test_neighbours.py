"""Exact search and the votes of neighbours, against scikit-learn."""

import pytest
import torch
from sklearn.metrics import pairwise
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from tests.closeness import EXACT, assert_close
from vidi.ops.neighbours import distances, nearest, vote


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


QUERIES, GALLERY = drawn(23, 5), drawn(60, 5, seed=1)
IDENTITIES = torch.arange(60) % 7 * 3


@pytest.mark.system("7.1.1-KNN")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 4, 60])
def test_the_nearest_are_those_of_scikit_learn(k: int, metric: str):
    apart, places = NearestNeighbors(n_neighbors=k, metric=metric).fit(GALLERY.numpy()).kneighbors(QUERIES.numpy())
    found = nearest(QUERIES, GALLERY, k, metric=metric)
    assert_close(found.distances, apart, EXACT)
    assert found.places.tolist() == places.tolist()
    assert_close(distances(QUERIES, GALLERY, metric=metric).gather(1, found.places), found.distances, EXACT)


@pytest.mark.parametrize("metric", ["manhattan", "chi_square"])
def test_learnt_distances_are_those_of_weighted_vectors(metric: str, monkeypatch: pytest.MonkeyPatch):
    """Whole and in blocks; scikit-learn's additive chi-square is the negative sum of the same terms."""
    weights = drawn(5, seed=3).abs()
    queries, gallery = QUERIES.abs(), GALLERY.abs()
    queries[0], gallery[0] = 0.0, 0.0
    found = distances(weights * queries, weights * gallery, metric=metric)
    if metric == "manhattan":
        expected = torch.from_numpy(pairwise.manhattan_distances(weights * queries, weights * gallery))
    else:
        expected = torch.from_numpy(-pairwise.additive_chi2_kernel(weights * queries, weights * gallery))
    assert_close(found, expected, EXACT)
    a, b = queries[1], gallery[2]
    by_hand = weights * ((a - b).abs() if metric == "manhattan" else (a - b).square() / (a + b))
    assert_close(found[1, 2], by_hand.sum(), EXACT)
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", 700)
    assert torch.equal(distances(weights * queries, weights * gallery, metric=metric), found)
    assert distances(queries[:0], gallery, metric=metric).shape == (0, 60)


@pytest.mark.system("7.1.1-KNN")
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_votes_are_those_of_scikit_learn(k: int, metric: str, weights: str):
    queries = torch.cat([QUERIES, GALLERY[:4]])  # those are in the gallery: at no distance
    theirs = KNeighborsClassifier(k, metric=metric, weights=weights).fit(GALLERY.numpy(), IDENTITIES.numpy())  # type: ignore[arg-type]
    near = nearest(queries, GALLERY, k, metric=metric)
    apart = near.distances.where(near.distances > 1e-6, 0)  # of what is itself, exactly
    votes = vote(apart, IDENTITIES[near.places], weights=weights)
    sure = torch.from_numpy(theirs.predict_proba(queries.numpy())).amax(1)
    assert votes.identities.tolist() == theirs.predict(queries.numpy()).tolist()
    assert_close(votes.shares, sure, 1e-9 if weights == "uniform" else 1e-6)


@pytest.mark.system("7.1.1-KNN")
def test_the_most_votes_win_the_lowest_identity_of_equals_and_who_is_at_hand():
    apart = torch.tensor([[1.0, 1.0, 4.0, 4.0, 5.0], [1.0, 1.5, 4.0, 4.0, 9.0], [0.0, 0.1, 0.1, 0.1, 0.1]])
    whose = torch.tensor([[8, 5, 5, 8, 2], [8, 5, 5, 5, 2], [9, 3, 3, 3, 3]])
    uniform, weighted = vote(apart, whose), vote(apart, whose, weights="distance")
    assert uniform.identities.tolist() == [5, 5, 3]
    assert uniform.shares.tolist() == pytest.approx([0.4, 0.6, 0.8])
    assert weighted.identities.tolist() == [5, 5, 9]
    assert weighted.shares.tolist() == pytest.approx([1.25 / 2.7, (2 / 3 + 0.5) / (1 + 2 / 3 + 0.5 + 1 / 9), 1])


@pytest.mark.system("7.1.1-KNN")
def test_blocks_find_what_the_whole_does(monkeypatch: pytest.MonkeyPatch):
    whole = nearest(QUERIES, GALLERY, 7)
    monkeypatch.setattr("vidi.ops.neighbours.QUERIES", 5)
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", 5 * 9)
    parts = nearest(QUERIES, GALLERY, 7)
    assert parts.places.tolist() == whole.places.tolist()
    assert_close(parts.distances, whole.distances, EXACT)
    assert nearest(QUERIES, GALLERY, 99).places.shape == (23, 60)


def test_what_cannot_be_searched_is_refused():
    for wrong in (lambda: nearest(QUERIES, GALLERY, 0), lambda: nearest(QUERIES, GALLERY[:0], 1)):
        with pytest.raises(ValueError, match="expected at least 1 of each"):
            wrong()
    with pytest.raises(ValueError, match="metric='minkowski', expected one of euclidean, cosine"):
        nearest(QUERIES, GALLERY, 1, metric="minkowski")
    with pytest.raises(ValueError, match="uniform, distance"):
        vote(QUERIES[:, :2], IDENTITIES[:46].view(23, 2), weights="linear")
    with pytest.raises(ValueError, match="0 neighbours"):
        vote(QUERIES[:, :0], torch.zeros(23, 0, dtype=torch.int64))
