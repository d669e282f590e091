"""Scores of depth and disparity against the published code written again in NumPy, and answers known by hand."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from tests.closeness import NUMBERS

from vidi.metrics.depth import (
    DEPTH_SCORES,
    DepthEvaluator,
    DisparityEvaluator,
    boundary_f1,
    boundary_recall,
)


def compute_errors(gt: np.ndarray, pred: np.ndarray) -> tuple[float, ...]:
    """Written after `compute_errors` of Monodepth's utils/evaluation_utils.py, which SfMLearner's code shares."""
    thresh = np.maximum(gt / pred, pred / gt)
    deltas = [float((thresh < 1.25**k).mean()) for k in (1, 2, 3)]
    rmse = float(np.sqrt(((gt - pred) ** 2).mean()))
    rmse_log = float(np.sqrt(((np.log(gt) - np.log(pred)) ** 2).mean()))
    return (float(np.mean(np.abs(gt - pred) / gt)), float(np.mean((gt - pred) ** 2 / gt)), rmse, rmse_log, *deltas)


def draw(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Predicted depth, the truth and where it is known, of pictures of several sizes."""
    generator = torch.Generator().manual_seed(0)
    maps = []
    for k in range(count):
        size = (9 + k, 14)
        truth = torch.exp(torch.rand(size, generator=generator, dtype=torch.float64) * 7 - 2)  # 0.14 to 148 m
        predicted = truth * torch.exp(0.5 * torch.randn(size, generator=generator, dtype=torch.float64)) / (k + 2)
        maps.append((predicted, truth, torch.rand(size, generator=generator) < 0.7))
    return maps


@pytest.mark.system("6.1-METRICS")
@pytest.mark.parametrize(("nearest", "farthest"), [(1e-3, 80.0), (0.5, 10.0)])
def test_depth_is_scored_as_monodepth_and_sfmlearner_do(nearest, farthest):
    evaluator = DepthEvaluator(nearest=nearest, farthest=farthest)
    rows: dict[str, list[tuple[float, ...]]] = {"metric": [], "median_scaled": []}
    for predicted, truth, valid in draw():
        evaluator.update(predicted, truth, valid)
        gt_depth, pred_depth = truth.numpy(), predicted.numpy()
        mask = np.logical_and(gt_depth > nearest, gt_depth < farthest) & valid.numpy()
        for protocol, found in rows.items():
            pred = pred_depth.copy()
            if protocol == "median_scaled":
                pred[mask] *= np.median(gt_depth[mask]) / np.median(pred[mask])
            pred[pred < nearest] = nearest
            pred[pred > farthest] = farthest
            found.append(compute_errors(gt_depth[mask], pred[mask]))
    scores = evaluator.compute()
    assert scores.pop("coverage") == 1
    assert len(scores) == 14
    for protocol, found in rows.items():
        for name, value in zip(DEPTH_SCORES, np.mean(found, 0), strict=True):
            assert scores[f"{name}_{protocol}"] == pytest.approx(value, rel=NUMBERS), (name, protocol)
    assert scores["abs_rel_metric"] > scores["abs_rel_median_scaled"]


@pytest.mark.system("6.1-METRICS")
def test_two_pixels_by_hand():
    evaluator = DepthEvaluator(protocols=("metric",))
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    evaluator.update(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 4.0]]), everywhere)
    expected = {"abs_rel": 0.25, "sq_rel": 0.25, "rmse": math.sqrt(0.5), "rmse_log": math.log(1.5) / math.sqrt(2)}
    expected |= {"delta1": 0.5, "delta2": 1, "delta3": 1}
    assert evaluator.compute() == pytest.approx({f"{k}_metric": v for k, v in expected.items()} | {"coverage": 1})
    evaluator.update(torch.tensor([[4.0, 4.0]]), torch.tensor([[4.0, 4.0]]), everywhere)  # the mean over the pictures
    assert evaluator.compute()["rmse_metric"] == pytest.approx(math.sqrt(0.5) / 2)
    evaluator = DepthEvaluator(protocols=("median_scaled",))
    evaluator.update(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]), everywhere)
    scores = evaluator.compute()
    assert (scores["abs_rel_median_scaled"], scores["delta1_median_scaled"]) == (0, 1)


def test_the_bounds_of_delta_and_of_the_caps_are_outside():
    evaluator = DepthEvaluator(nearest=1, farthest=10, protocols=("metric",))
    truth = torch.tensor([[4.0, 1.0, 10.0, 4.0]])
    evaluator.update(torch.tensor([[5.0, 9.0, 2.0, 4.0]]), truth, torch.ones(1, 4, dtype=torch.bool))
    scores = evaluator.compute()
    assert scores["delta1_metric"] == 0.5  # 5 / 4 is not below 1.25, and two pixels do not count
    assert scores["abs_rel_metric"] == pytest.approx(0.125)


def test_pixels_without_a_prediction_count_in_coverage_only():
    evaluator = DepthEvaluator(protocols=("metric",))
    truth = torch.full((1, 5), 4.0)
    predicted = torch.tensor([[4.0, 0.0, math.inf, math.nan, 9.0]])
    valid = torch.tensor([[True, True, True, True, False]])
    evaluator.update(predicted, truth, torch.ones(1, 5, dtype=torch.bool), valid)
    scores = evaluator.compute()
    assert scores["coverage"] == pytest.approx(0.2)
    assert scores["abs_rel_metric"] == 0
    evaluator.update(torch.zeros(1, 5), truth, torch.ones(1, 5, dtype=torch.bool))  # a picture without any
    scores = evaluator.compute()
    assert scores["coverage"] == pytest.approx(0.1)
    assert scores["abs_rel_metric"] == 0
    alone = DepthEvaluator(boundaries=True)
    alone.update(torch.zeros(1, 5), truth, torch.ones(1, 5, dtype=torch.bool))
    assert math.isnan(alone.compute()["rmse_metric"])
    assert alone.compute()["boundary_f1"] == 0


def test_scores_do_not_hang_on_the_order_of_the_pictures():
    scores = []
    for maps in (draw(), draw()[::-1]):
        evaluator = DepthEvaluator()
        for predicted, truth, valid in maps:
            evaluator.update(predicted, truth, valid)
        scores.append(evaluator.compute())
    assert scores[0] == scores[1]


@pytest.mark.parametrize("evaluator", [DepthEvaluator(), DisparityEvaluator()])
def test_nothing_to_score_is_an_error(evaluator):
    maps = torch.ones(2, 3)
    evaluator.update(maps, maps, torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="no pixels to score"):
        evaluator.compute()
    with pytest.raises((ValueError, TypeCheckError), match=r"one size|parameter"):  # the tests' hook comes first
        evaluator.update(maps, torch.ones(2, 4), torch.ones(2, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    "options", [{"nearest": 0}, {"nearest": 5, "farthest": 5}, {"protocols": ()}, {"protocols": ("a",)}]
)
def test_a_protocol_that_is_none_is_refused(options):
    with pytest.raises((ValueError, TypeCheckError), match=r"expected|protocols"):
        DepthEvaluator(**options)


@pytest.mark.system("6.1-METRICS")
def test_disparities_are_scored_as_kitti_and_middlebury_do():
    evaluator = DisparityEvaluator()
    truth = torch.tensor([[10.0, 10, 10, 100, 100, 10, 10, 7]])
    predicted = torch.tensor([[10.0, 11, 12.5, 104, 106, 14, 0, 99]])
    known = torch.tensor([[True] * 7 + [False]])
    found = torch.tensor([[True] * 6 + [False] * 2])
    evaluator.update(predicted, truth, known, found)
    scores = evaluator.compute()
    # errors 0, 1, 2.5, 4 (4 %), 6 (6 %), 4 (40 %), and one that was not found
    expected = {"epe": 17.5 / 6, "bad1": 5 / 7, "bad2": 5 / 7, "bad3": 4 / 7, "d1_all": 3 / 7, "coverage": 6 / 7}
    assert scores == pytest.approx(expected)
    evaluator.update(truth, truth, known)
    assert evaluator.compute()["bad1"] == pytest.approx(5 / 14)
    assert evaluator.compute()["epe"] == pytest.approx(17.5 / 12)
    evaluator = DisparityEvaluator()
    evaluator.update(torch.tensor([[3.0, 25.0, math.nan]]), torch.tensor([[0.0, 20.0, 5.0]]), torch.ones(1, 3).bool())
    assert evaluator.compute()["bad3"] == pytest.approx(2 / 3)  # off by exactly 3 is not off by more
    assert evaluator.compute()["d1_all"] == pytest.approx(2 / 3)
    assert evaluator.compute()["epe"] == pytest.approx(4)


def published_f1(pr: np.ndarray, gt: np.ndarray) -> float:
    """Written after SI_boundary_F1 of ml-depth-pro's eval/boundary_metrics.py."""

    def relations(d: np.ndarray, t: float) -> list[np.ndarray]:
        right, left = d[:, 1:] / d[:, :-1] > t, d[:, :-1] / d[:, 1:] > t
        return [left, d[:-1] / d[1:] > t, right, d[1:] / d[:-1] > t]

    thresholds = np.linspace(1.05, 1.25, 10)
    total = 0.0
    for t in thresholds:
        p, g = (relations(1 / d.clip(min=1e-6), t) for d in (pr, gt))
        recall = 0.25 * sum(np.count_nonzero(a & b) / max(np.count_nonzero(b), 1) for a, b in zip(p, g, strict=True))
        precision = 0.25 * sum(np.count_nonzero(a & b) / max(np.count_nonzero(a), 1) for a, b in zip(p, g, strict=True))
        f1 = 0.0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)
        total += f1 * t / thresholds.sum()
    return float(total)


def published_recall(pr: np.ndarray, inside: np.ndarray) -> float:
    """Written after SI_boundary_Recall of the same file, one row after the other."""

    def thinned(ratio: np.ndarray, t: float) -> np.ndarray:
        mask = np.zeros(ratio.shape, bool)
        for y, row in enumerate(ratio):
            x = 0
            while x < len(row):
                end = x
                while end < len(row) and row[end] > t:
                    end += 1
                if end > x:
                    mask[y, x + int(np.argmax(row[x:end]))] = True
                x = max(end, x + 1)
        return mask

    d = 1 / pr.clip(min=1e-6)
    thresholds = np.linspace(1.05, 1.25, 10)
    total = 0.0
    for t in thresholds:
        found = [thinned(d[:, :-1] / d[:, 1:], t), thinned((d[:-1] / d[1:]).T, t).T]
        found += [thinned(d[:, 1:] / d[:, :-1], t), thinned((d[1:] / d[:-1]).T, t).T]
        true = [inside[:, :-1] & ~inside[:, 1:], inside[:-1] & ~inside[1:]]
        true += [inside[:, 1:] & ~inside[:, :-1], inside[1:] & ~inside[:-1]]
        recalls = [np.count_nonzero(a & b) / max(np.count_nonzero(b), 1) for a, b in zip(found, true, strict=True)]
        total += float(np.mean(recalls)) * t / thresholds.sum()
    return total


@pytest.mark.system("6.1-METRICS")
def test_boundaries_are_scored_as_depth_pro_does():
    generator = torch.Generator().manual_seed(0)
    truth = 2 + 2 * (torch.rand(12, 15, generator=generator) < 0.3).double()
    for noise in (0.02, 0.2):
        predicted = 3 * truth * torch.exp(noise * torch.randn(truth.shape, generator=generator, dtype=torch.float64))
        received = boundary_f1(predicted, truth)
        assert received == pytest.approx(published_f1(predicted.numpy(), truth.numpy()), rel=NUMBERS)
        assert 0.1 < received < 1
        inside = truth == 2
        recalled = boundary_recall(predicted, inside)
        assert recalled == pytest.approx(published_recall(predicted.numpy(), inside.numpy()), rel=NUMBERS)
        assert 0.1 < recalled <= 1
    assert boundary_f1(5 * truth, truth) == pytest.approx(1)
    assert boundary_f1(torch.ones_like(truth), truth) == 0
    evaluator = DepthEvaluator(boundaries=True)
    evaluator.update(predicted, truth, torch.ones(12, 15, dtype=torch.bool))
    assert evaluator.compute()["boundary_f1"] == received


def test_boundaries_of_scattered_points_are_not_scored():
    """Nine known pixels of ten need a known one to their right."""
    truth, known = torch.ones(1, 22), torch.ones(1, 22, dtype=torch.bool)
    truth[0, :3] = 2.0
    for unknown, scored in (([5, 21], True), ([5, 9], False), (list(range(0, 22, 2)), False)):
        evaluator, valid = DepthEvaluator(boundaries=True), known.clone()
        valid[0, unknown] = False
        evaluator.update(truth, truth, valid)
        scores = evaluator.compute()
        assert math.isnan(scores["boundary_f1"]) is not scored
        assert scores["delta1_metric"] == 1
    evaluator = DepthEvaluator(boundaries=True)
    evaluator.update(truth, truth, known)
    evaluator.update(9 - truth, truth, valid)
    assert evaluator.compute()["boundary_f1"] == boundary_f1(truth, truth)  # of the one that is


def test_boundaries_beside_unknown_pixels_count_for_nothing():
    truth = torch.tensor([[1.0, 2.0, 1.0, 1.0, 2.0]])
    known = torch.tensor([[True, False, True, True, True]])
    predicted = torch.tensor([[1.0, 9.0, 1.0, 1.0, 2.0]])
    assert boundary_f1(predicted, truth, known) == pytest.approx(0.25)  # one direction of four, of a single row
    assert boundary_f1(torch.tensor([[1.0, 2.0, 1.0, 1.0, 1.0]]), truth, known) == 0


def test_a_ramp_has_one_boundary_where_it_is_steepest():
    mask = torch.tensor([[True, True, False, False, False]])
    ramp = torch.tensor([[1.0, 1.3, 2.6, 3.4, 3.4]])
    assert boundary_recall(ramp, mask) == pytest.approx(0.25)
    assert boundary_recall(torch.tensor([[1.0, 2.6, 3.4, 3.4, 3.4]]), mask) == 0
