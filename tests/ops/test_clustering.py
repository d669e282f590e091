"""k-means on box sizes against slow loops and the worked example."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.closeness import EXACT, assert_close
from tests.references import size_clusters as slow
from vidi.ops import clustering
from vidi.ops.boxes import box_iou
from vidi.ops.clustering import assign_sizes, cluster_sizes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sizes_of_a_dataset(count: int = 2000, seed: int = 0) -> torch.Tensor:
    return torch.exp(torch.randn(count, 2, generator=generator(seed), dtype=torch.float64) * 0.8 + 4)


@pytest.mark.system("B4.27", "4.3.4-KMEANS")
def test_two_groups_are_recovered_exactly():
    sizes = torch.tensor([[10.0, 10.0]] * 5 + [[100.0, 50.0]] * 5)
    for seed in range(5):
        found = cluster_sizes(sizes, 2, generator=generator(seed))
        assert found.centroids.tolist() == [[10, 10], [100, 50]]
        assert found.assignment.tolist() == [0] * 5 + [1] * 5
        assert found.mean_iou == 1


@pytest.mark.system("4.3.4-KMEANS")
def test_sizes_join_the_centroid_of_highest_iou():
    sizes, centroids = sizes_of_a_dataset(), sizes_of_a_dataset(9, seed=1)
    nearest, iou = assign_sizes(sizes, centroids)
    labels, _, mean = slow.lloyd(sizes.tolist(), centroids.tolist())
    assert nearest.tolist() == labels
    assert iou.mean().item() == pytest.approx(mean, rel=EXACT)
    boxes, anchors = (torch.cat([torch.zeros_like(s), s], 1) for s in (sizes, centroids))
    best, index = box_iou(boxes, anchors).max(1)
    assert_close(iou, best)
    assert torch.equal(nearest, index)


@pytest.mark.system("4.3.4-KMEANS")
@pytest.mark.parametrize("count", [5, 9])
def test_the_result_is_the_best_round_of_the_loops(count):
    sizes = sizes_of_a_dataset(300)
    centroids = clustering._spread_out(sizes.numpy().T.copy(), count, generator(3)).tolist()
    rounds = []
    for _ in range(101):
        labels, means, mean_iou = slow.lloyd(sizes.tolist(), centroids)
        rounds.append((mean_iou, centroids, labels))
        if np.allclose(means, centroids, rtol=1e-12):
            break
        centroids = means
    best = max(mean_iou for mean_iou, _, _ in rounds)
    found = cluster_sizes(sizes, count, generator=generator(3))
    assert found.mean_iou == pytest.approx(best, rel=EXACT)
    chosen = sorted(next(c for mean_iou, c, _ in rounds if mean_iou == best), key=lambda c: c[0] * c[1])
    np.testing.assert_allclose(found.centroids.numpy(), chosen, rtol=1e-12)


@pytest.mark.system("4.3.4-KMEANS")
def test_more_clusters_fit_better_and_areas_rise():
    sizes = sizes_of_a_dataset()
    scores = []
    for count in (1, 3, 5, 9):
        found = cluster_sizes(sizes, count, generator=generator())
        areas = found.centroids.prod(1)
        assert torch.equal(areas, areas.sort().values)
        nearest, iou = assign_sizes(sizes, found.centroids)
        assert torch.equal(found.assignment, nearest)
        assert found.mean_iou == pytest.approx(iou.mean().item(), rel=EXACT)
        scores.append(found.mean_iou)
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.2


def test_it_beats_its_start_and_hand_picked_shapes():
    sizes = sizes_of_a_dataset()
    found = cluster_sizes(sizes, 9, generator=generator())
    start = clustering._spread_out(sizes.numpy().T.copy(), 9, generator())
    assert found.mean_iou > assign_sizes(sizes, torch.from_numpy(start))[1].mean().item()
    picked = torch.tensor([(s / r, s * r) for s in (32.0, 64.0, 128.0) for r in (0.7, 1.0, 1.4)], dtype=torch.float64)
    assert found.mean_iou > assign_sizes(sizes, picked)[1].mean().item()


def test_one_seed_one_result_and_inputs_stay():
    sizes = sizes_of_a_dataset(500).float()
    before = sizes.clone()
    one, two = (cluster_sizes(sizes, 5, generator=generator(7)) for _ in range(2))
    assert torch.equal(one.centroids, two.centroids)
    assert one.centroids.dtype == torch.float32
    assert torch.equal(sizes, before)


def test_an_empty_cluster_moves_to_the_worst_fitted_box():
    sizes = np.array([[10.0, 11.0, 12.0, 90.0], [10.0, 11.0, 12.0, 5.0]])
    state = clustering._assign(sizes, np.array([[11.0, 11.0], [1000.0, 1000.0]]))
    assert state.sums[:, 2].tolist() == [4, 0]
    assert clustering._moved_centroids(sizes, state).tolist() == [[123 / 4, 38 / 4], [90, 5]]


def test_as_many_clusters_as_sizes():
    sizes = torch.tensor([[30.0, 10.0], [5.0, 5.0], [10.0, 30.5]])
    found = cluster_sizes(sizes, 3, generator=generator())
    assert found.centroids.tolist() == [[5, 5], [30, 10], [10, 30.5]]
    assert found.assignment.tolist() == [1, 0, 2]


def test_impossible_requests_are_refused():
    sizes = torch.tensor([[10.0, 10.0], [10.0, 10.0], [20.0, 20.0]])
    with pytest.raises(ValueError, match="received 2 distinct sizes, expected at least count=3"):
        cluster_sizes(sizes, 3, generator=generator())
    with pytest.raises(ValueError, match="received 0 distinct sizes"):
        cluster_sizes(sizes[:0], 1, generator=generator())
    with pytest.raises(ValueError, match=r"1 of 3 sizes like \[0.0, 4.0\] \(row 1\)"):
        cluster_sizes(torch.tensor([[1.0, 1.0], [0.0, 4.0], [2.0, 2.0]]), 1, generator=generator())
    with pytest.raises(ValueError, match="count=0"):
        cluster_sizes(sizes, 0, generator=generator())
    with pytest.raises(ValueError, match="no centroids"):
        assign_sizes(sizes, sizes[:0])


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=40), st.integers(1, 6))
def test_any_sizes_give_full_clusters_or_a_clear_error(found, count):
    sizes = torch.tensor(found, dtype=torch.float64)
    if len(set(found)) < count:
        with pytest.raises(ValueError, match="distinct sizes"):
            cluster_sizes(sizes, count, generator=generator())
        return
    result = cluster_sizes(sizes, count, generator=generator())
    assert result.centroids.isfinite().all()
    assert 0 < result.mean_iou <= 1
    assert torch.equal(result.assignment, assign_sizes(sizes, result.centroids)[0])
