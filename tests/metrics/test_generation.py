"""Scores of generated pictures: torchmetrics, naive loops, and sets whose scores are known."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from tests.closeness import EXACT, NUMBERS, assert_close
from torch import Tensor
from torchmetrics.image.inception import InceptionScore as TheirInceptionScore

from vidi.metrics.generation import distinct_neighbours, inception_score, precision_recall


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ----------------------------------------------------------------------------------------------------------------------
# Inception score


@pytest.mark.system("8.1.1-IS", "B8.6")
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (torch.eye(4), 4),
        (torch.full((4, 4), 0.25), 1),
        (torch.eye(4)[[2, 2, 2]], 1),
        (torch.tensor([[0.9, 0.1], [0.1, 0.9]]), 1.444935),
        (torch.ones(5, 1), 1),
    ],
    ids=["all classes", "unsure", "collapsed", "nearly sure", "one class"],
)
def test_worked_examples(rows: Tensor, expected: float):
    assert inception_score(rows, splits=1).mean == pytest.approx(expected, abs=6e-7)


class Given(torch.nn.Module):
    """A classifier for torchmetrics whose pictures are the scores."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)


@pytest.mark.system("8.1.1-IS")
@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all extracted features:UserWarning")
@pytest.mark.filterwarnings("ignore:std\\(\\). degrees of freedom is <= 0:UserWarning")  # theirs, of one part
@pytest.mark.parametrize("splits", [1, 4, 10])
def test_score_is_that_of_torchmetrics(splits: int, monkeypatch: pytest.MonkeyPatch):
    """Of pictures in the order given, which theirs shuffles; its variance is divided by one less than the paper's."""
    scores = 3 * drawn(200, 6)
    judge = TheirInceptionScore(feature=Given(), splits=splits)
    judge.set_dtype(torch.float64)
    judge.update(scores[:, :, None, None])
    monkeypatch.setattr(torch, "randperm", torch.arange)
    mean, deviation = judge.compute()
    found = inception_score(scores.softmax(1), splits=splits)
    assert found.mean == pytest.approx(float(mean), rel=NUMBERS)
    assert found.scores.shape == (splits,)
    if splits > 1:
        assert found.deviation == pytest.approx(float(deviation) * math.sqrt((splits - 1) / splits), rel=NUMBERS)
    else:
        assert found.deviation == 0


@pytest.mark.system("8.1.1-IS")
def test_score_is_the_mean_divergence_from_all_classes_split_by_split():
    """In parts that differ by a picture, with classes that are ruled out."""
    rows = torch.rand(23, 5, dtype=torch.float64) * (torch.rand(23, 5) < 0.7)
    rows[:, 0] += 0.1
    rows /= rows.sum(1, keepdim=True)
    assert (rows == 0).any()
    expected = []
    for part in (rows[0:5], rows[5:11], rows[11:17], rows[17:23]):  # floor of 23 i / 4
        everything = part.mean(0).numpy()
        expected.append(math.exp(np.mean([scipy.stats.entropy(row.numpy(), everything) for row in part])))
    found = inception_score(rows, splits=4)
    assert_close(found.scores, expected)
    assert (found.mean, found.deviation) == (
        pytest.approx(np.mean(expected), rel=EXACT),
        pytest.approx(np.std(expected), rel=NUMBERS),
    )
    assert inception_score(rows).scores.shape == (10,)  # what papers split by


@pytest.mark.parametrize("splits", [0, 5])
def test_splits_that_cannot_be_are_refused(splits: int):
    with pytest.raises(ValueError, match=f"received splits={splits} of 4 pictures, expected 1 to 4"):
        inception_score(torch.eye(4), splits=splits)


def test_rows_that_are_no_distributions_are_refused():
    for wrong in (torch.nan, 2.0):
        rows = torch.eye(4)
        rows[1, 1] = wrong
        with pytest.raises(ValueError, match="expected probabilities"):
            inception_score(rows, splits=1)


# ----------------------------------------------------------------------------------------------------------------------
# Precision and recall


def naive(real: Tensor, generated: Tensor, k: int, factor: float) -> tuple[float, float]:
    """Kynkaanniemi et al. 2019, equations 1 and 2, in words of one syllable."""

    def inside(points: Tensor, centres: Tensor) -> float:
        radii = []
        for i, centre in enumerate(centres):
            others = sorted(math.dist(centre.tolist(), other.tolist()) for j, other in enumerate(centres) if j != i)
            radii.append(factor * others[k - 1])
        hits = 0
        for point in points.tolist():
            hits += any(math.dist(point, c) <= r for c, r in zip(centres.tolist(), radii, strict=True))
        return hits / len(points)

    return inside(generated, real), inside(real, generated)


@pytest.mark.system("8.1.3-MPR")
@pytest.mark.parametrize("largest", [2**22, 200])
@pytest.mark.parametrize(("k", "factor"), [(1, 1), (3, 1), (3, 1.2), (5, 0.8)])
def test_shares_are_those_of_naive_loops(k: int, factor: float, largest: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", largest)
    real, generated = drawn(60, 4) + 3, drawn(45, 4, seed=1) + 3.8
    found = precision_recall(real, generated, k=k, factor=factor)
    assert found == naive(real, generated, k, factor)
    assert 0 < min(found) <= max(found) < 1
    assert precision_recall(generated, real, k=k, factor=factor) == found[::-1]
    assert_close(precision_recall(real.float(), generated.float(), k=k, factor=factor), found)


@pytest.mark.system("8.1.3-MPR")
def test_the_third_neighbour_and_its_distance_are_the_default():
    real, generated = drawn(60, 4), drawn(45, 4, seed=1)
    assert precision_recall(real, generated) == naive(real, generated, 3, 1)


@pytest.mark.system("8.1.3-MPR")
def test_a_sphere_reaches_to_its_neighbour_and_no_further():
    real = torch.tensor([[0.0], [2], [10]])
    assert precision_recall(real, torch.tensor([[-2.0], [18], [-2.01], [18.01]]), k=1).precision == 0.5
    assert precision_recall(real, torch.tensor([[-10.0], [20], [-10.01], [20.01]]), k=2).precision == 0.5


@pytest.mark.system("8.1.3-MPR")
def test_realism_and_coverage_are_told_apart():
    real = torch.cat([drawn(100, 3) + 20 * corner for corner in torch.eye(3, dtype=torch.float64)])
    assert precision_recall(real, real) == (1, 1)
    one_mode = precision_recall(real, drawn(300, 3, seed=1) + 20 * torch.eye(3).double()[0])
    assert one_mode.precision > 0.9
    assert 0.2 < one_mode.recall < 1 / 3 + 0.01
    noisy = precision_recall(real, real + 3 * drawn(300, 3, seed=1))
    assert noisy.recall > 0.9
    assert noisy.precision < 0.6
    assert precision_recall(real, real - 100) == (0, 0)
    collapsed = precision_recall(real, real[:1].expand(300, -1))
    assert collapsed.precision == 1
    assert collapsed.recall == 1 / 300


@pytest.mark.parametrize(("k", "factor"), [(0, 1), (4, 1), (3, 0), (3, -1), (3, math.nan)])
def test_neighbours_and_factors_that_cannot_be_are_refused(k: int, factor: float):
    with pytest.raises(ValueError, match=r"with 9 real and 4 generated pictures, expected k from 1 to 3"):
        precision_recall(drawn(9, 2), drawn(4, 2), k=k, factor=factor)


def test_features_that_are_no_numbers_are_refused():
    rows, broken = drawn(9, 2), drawn(9, 2)
    broken[3, 0], broken[3, 1], broken[5, 1] = math.nan, math.nan, math.inf
    for judge in (precision_recall, distinct_neighbours):
        with pytest.raises(ValueError, match="received 2 real pictures with features that are NaN or infinite"):
            judge(broken, rows)
        with pytest.raises(ValueError, match="received 2 generated pictures with features that are NaN or infinite"):
            judge(rows, broken)


# ----------------------------------------------------------------------------------------------------------------------
# Distinct neighbours


def test_distinct_neighbours_are_counted():
    real, generated = drawn(40, 3), drawn(25, 3, seed=1)
    nearest = {min(range(40), key=lambda i: math.dist(real[i].tolist(), row.tolist())) for row in generated}
    assert distinct_neighbours(real, generated) == len(nearest) / 25
    assert distinct_neighbours(generated, real) <= 1
    assert distinct_neighbours(real, real) == 1
    assert distinct_neighbours(real, real[:1].expand(80, -1)) == 1 / 40
    assert distinct_neighbours(real, real.repeat(3, 1)) == 1
    with pytest.raises(ValueError, match="received no generated pictures"):
        distinct_neighbours(real, generated[:0])
    with pytest.raises(ValueError, match="gallery of 0"):
        distinct_neighbours(real[:0], generated)
