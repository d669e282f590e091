"""Verification: against scikit-learn, slow loops, and the protocol of LFW on its own pictures."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.feature import hog
from sklearn.metrics import roc_auc_score, roc_curve
from tests.closeness import EXACT, assert_close

from vidi.metrics.verification import (
    area_under,
    equal_error_rate,
    fit_threshold,
    fold_accuracies,
    roc,
    tar_at_far,
    verification_accuracy,
    verify,
)
from vidi.ops.similarity import normalized


def pairs(count: int, *, ties: bool, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw distances, those of one identity smaller on the whole."""
    generator = torch.Generator().manual_seed(seed)
    same = torch.rand(count, generator=generator) < 0.4
    distances = torch.randn(count, generator=generator, dtype=torch.float64) + 3 - 1.2 * same
    return (distances.mul(4).round() if ties else distances), same


@pytest.mark.system("7.0-OBJECTIVE", "7.2-VERIFY")
@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_is_that_of_scikit_learn(ties: bool):
    distances, same = pairs(300, ties=ties)
    curve = roc(distances, same)
    false, true, thresholds = roc_curve(same.numpy(), -distances.numpy(), drop_intermediate=False)
    assert_close(curve.false_accepts, false, EXACT)
    assert_close(curve.true_accepts, true, EXACT)
    assert curve.thresholds.tolist() == (-thresholds).tolist()
    assert area_under(curve) == pytest.approx(roc_auc_score(same.numpy(), -distances.numpy()), rel=EXACT)


@pytest.mark.system("7.0-OBJECTIVE", "7.2-VERIFY")
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("far", [0, 1e-3, 1e-2, 0.1, 0.37, 1])
def test_the_true_accept_rate_is_the_best_that_the_false_accept_rate_allows(far: float, ties: bool):
    distances, same = pairs(300, ties=ties)
    rates = [
        (float((distances <= t)[~same].double().mean()), float((distances <= t)[same].double().mean()))
        for t in [-math.inf, *distances.tolist()]
    ]
    assert tar_at_far(roc(distances, same), far) == pytest.approx(max(tar for f, tar in rates if f <= far), rel=EXACT)


@pytest.mark.system("7.2-VERIFY")
def test_the_equal_error_rate_is_where_both_errors_are_equal():
    same = torch.tensor([True] * 4 + [False] * 4)
    apart = torch.tensor([1.0, 2, 3, 6, 4, 5, 7, 8])
    # at 4: 1 of 4 accepted falsely, 1 of 4 rejected falsely
    assert equal_error_rate(roc(apart, same)) == pytest.approx(0.25)
    assert equal_error_rate(roc(-apart, same)) == pytest.approx(0.75)
    assert equal_error_rate(roc(torch.ones(8), same)) == pytest.approx(0.5)
    assert equal_error_rate(roc(torch.arange(8.0), same)) == 0
    assert equal_error_rate(roc(-torch.arange(8.0), same)) == 1
    distances, same = pairs(4000, ties=False)
    curve = roc(distances, same)
    rate = equal_error_rate(curve)
    nearest = (curve.false_accepts + curve.true_accepts - 1).abs().argmin()
    assert float(curve.false_accepts[nearest]) == pytest.approx(rate, abs=1e-3)
    assert 0.25 < rate < 0.3  # two normal distributions 1.2 apart: 1 - Phi(0.6) = 0.274


@pytest.mark.system("7.2-VERIFY")
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_fitted_threshold_is_right_about_most_pairs(seed: int, ties: bool):
    distances, same = pairs(60, ties=ties, seed=seed)
    threshold = fit_threshold(distances, same)
    best = max(verification_accuracy(distances, same, t) for t in [-math.inf, *distances.tolist()])
    assert verification_accuracy(distances, same, threshold) == best
    below, above = distances[distances <= threshold].max(), distances[distances > threshold].min()
    assert threshold == pytest.approx(float(below + above) / 2)
    lower = [float(t) for t in distances if t < below]
    assert all(verification_accuracy(distances, same, t) < best for t in lower)


@pytest.mark.system("7.2-VERIFY")
def test_a_pair_is_accepted_at_the_threshold_itself():
    apart, same = torch.tensor([0.5, 0.7, 0.2]), torch.tensor([True, True, False])
    assert verify(apart, 0.5).tolist() == [True, False, True]
    assert verification_accuracy(apart, same, 0.5) == pytest.approx(1 / 3)
    assert fit_threshold(torch.tensor([1.0, 2.0]), torch.tensor([True, False])) == 1.5
    assert fit_threshold(torch.tensor([1.0, 2, 3, 4]), torch.tensor([False, False, False, True])) == -math.inf
    assert fit_threshold(torch.tensor([1.0, 2, 3, 4]), torch.tensor([False, True, True, True])) == 4


@pytest.mark.system("7.2-VERIFY")
def test_each_fold_is_judged_by_the_threshold_of_the_others():
    distances, same = pairs(200, ties=False)
    folds = torch.arange(200) % 10 + 5
    found = fold_accuracies(distances, same, folds)
    for fold in range(10):
        own = folds == fold + 5
        threshold = fit_threshold(distances[~own], same[~own])
        assert float(found.thresholds[fold]) == threshold
        assert float(found.accuracies[fold]) == verification_accuracy(distances[own], same[own], threshold)
    numbers = found.accuracies.numpy()
    assert found.mean == pytest.approx(numbers.mean())
    assert found.standard_error == pytest.approx(numbers.std(ddof=1) / math.sqrt(10))  # Huang et al.


@pytest.mark.system("7.2-VERIFY")
def test_gradients_of_pixels_verify_people_of_lfw_better_than_chance(shared_data: Path):
    """Ten folds of 30 pairs of one person and 30 of two, by histograms of oriented gradients: nothing is learnt."""
    folder = shared_data / "lfw_mini"
    header, *rows = (folder / "pairs.txt").read_text().splitlines()
    folds, each = map(int, header.split())

    @functools.cache
    def features(name: str, number: str) -> torch.Tensor:
        image = Image.open(folder / name / f"{name}_{int(number):04d}.jpg").convert("L")
        face = np.asarray(image.crop((83, 92, 166, 175)).resize((64, 64)), np.float32)
        return normalized(torch.from_numpy(hog(face, orientations=8, cells_per_block=(2, 2))))

    apart, same = [], []
    for words in (row.split("\t") for row in rows):
        same.append(len(words) == 3)
        other = (words[0], words[2]) if same[-1] else (words[2], words[3])
        apart.append(float((features(words[0], words[1]) - features(*other)).norm()))
    assert len(same) == 2 * folds * each == 600
    distances, is_same = torch.tensor(apart), torch.tensor(same)
    found = fold_accuracies(distances, is_same, torch.arange(600) // (2 * each))
    assert len(found.accuracies) == 10
    assert found.mean - found.standard_error > 0.54  # 0.59 +- 0.03
    assert found.mean < 0.7  # these are no embeddings of faces
    curve = roc(distances, is_same)
    assert 0.6 < area_under(curve) < 0.7
    assert 0.35 < equal_error_rate(curve) < 0.45


@pytest.mark.parametrize(
    ("distances", "same"),
    [([1.0, 2.0], [True, True]), ([1.0, 2.0], [False, False]), ([], []), ([1, math.nan], [True, False])],
)
def test_pairs_of_one_kind_and_distances_that_are_no_numbers_are_refused(distances, same):
    for judge in (roc, fit_threshold):
        with pytest.raises(ValueError, match="expected pairs of both kinds, and numbers"):
            judge(torch.tensor(distances), torch.tensor(same, dtype=torch.bool))


def test_rates_and_folds_that_cannot_be_are_refused():
    distances, same = pairs(20, ties=False)
    with pytest.raises(ValueError, match=r"received far=1\.5, expected a share"):
        tar_at_far(roc(distances, same), 1.5)
    with pytest.raises(ValueError, match="received 1 folds"):
        fold_accuracies(distances, same, torch.zeros(20, dtype=torch.int64))
    assert math.isnan(verification_accuracy(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 1))
