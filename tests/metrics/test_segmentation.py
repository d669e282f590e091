"""Scores of label maps against torchmetrics, slow loops and the example of the notes."""

import math

import numpy as np
import pytest
import torch
from tests.closeness import EXACT, assert_close
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from vidi.metrics.segmentation import SegmentationEvaluator, image_miou
from vidi.ops.label_maps import VOID

K = 5


def maps(count: int, *, void: bool = True) -> list[tuple[Tensor, Tensor]]:
    """Predictions and truths of several sizes; blobs, so that boundaries are met sometimes; class 4 never occurs."""
    generator = torch.Generator().manual_seed(2)
    pairs = []
    for number in range(count):
        size = (23 + 4 * number, 31 - 3 * number)
        coarse = torch.randint(0, K - 1, (2, 1, 5, 6), generator=generator).float()
        predicted, truth = torch.nn.functional.interpolate(coarse, size)[:, 0].to(torch.uint8)
        mixed = torch.nn.functional.interpolate(torch.rand(1, 1, 4, 3, generator=generator), size)[0, 0] < 0.7
        truth = torch.where(mixed, predicted.roll(1, 0), truth)
        if void:
            truth[torch.rand(size, generator=generator) < 0.1] = VOID
        pairs.append((predicted, truth))
    return pairs


def evaluated(pairs: list[tuple[Tensor, Tensor]], classes: int = K, **options: float) -> SegmentationEvaluator:
    evaluator = SegmentationEvaluator(classes, **options)
    for predicted, truth in pairs:
        evaluator.update(predicted, truth)
    return evaluator


@pytest.mark.system("5.1-IOU", "5.1-MIOU")
def test_iou_is_torchmetrics_and_absent_classes_are_left_out() -> None:
    pairs = maps(4)
    scores = evaluated(pairs).compute()
    reference = MulticlassJaccardIndex(K, average=None, ignore_index=VOID)
    for predicted, truth in pairs:
        reference.update(predicted.long()[None], truth.long()[None])
    assert_close(scores.iou[:-1], reference.compute()[:-1].double(), 1e-6)  # torchmetrics divides in float32
    assert scores.iou[-1].isnan()
    assert scores.numbers()["miou_present"] == pytest.approx(float(scores.iou[:-1].mean()), rel=EXACT)


@pytest.mark.system("5.1-IOU", "5.1-MIOU")
def test_counts_by_slow_loops() -> None:
    pairs = maps(3)
    counts = [[0] * K for _ in range(K)]
    for predicted, truth in pairs:
        for p, t in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if t != VOID:
                counts[t][p] += 1
    scores = evaluated(pairs).compute()
    assert scores.counts[:, :-1].tolist() == counts
    assert not scores.counts[:, -1].any()
    ious, recalls = [], []
    for c in range(K - 1):
        true, found = sum(counts[c]), sum(row[c] for row in counts)
        ious.append(counts[c][c] / (true + found - counts[c][c]))
        recalls.append(counts[c][c] / true)
    numbers = scores.numbers()
    assert numbers["miou_present"] == pytest.approx(sum(ious) / len(ious), rel=EXACT)
    assert numbers["class_accuracy"] == pytest.approx(sum(recalls) / len(recalls), rel=EXACT)
    total = sum(map(sum, counts))
    assert numbers["pixel_accuracy"] == pytest.approx(sum(counts[c][c] for c in range(K)) / total, rel=EXACT)


@pytest.mark.system("5.1-IOU", "5.1-MIOU", "B5.1")
def test_the_example_of_the_notes() -> None:
    truth = torch.tensor([[0, 0, 1], [1, 1, 2]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1], [1, 2, 2]], dtype=torch.uint8)
    scores = evaluated([(predicted, truth)], 3).compute()
    assert scores.iou.tolist() == [1 / 2, 2 / 4, 1 / 2]
    assert scores.numbers()["miou_present"] == 0.5


def test_pixels_without_a_prediction_are_missed_and_void_truth_counts_nowhere() -> None:
    truth = torch.tensor([[0, 0, 1, VOID]], dtype=torch.uint8)
    predicted = torch.tensor([[0, VOID, 1, 0]], dtype=torch.uint8)
    scores = evaluated([(predicted, truth)], 2).compute()
    assert scores.counts.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert scores.iou.tolist() == [0.5, 1.0]
    assert scores.numbers()["pixel_accuracy"] == pytest.approx(2 / 3, rel=EXACT)


def slow_boundaries(labels: Tensor, others: Tensor, truth: Tensor, c: int, radius: float) -> tuple[int, int]:
    """Count the boundary pixels of a class, and those near one of the other map, pixel by pixel."""

    def edges(m: Tensor) -> list[tuple[int, int]]:
        H, W = m.shape
        found = []
        for y in range(H):
            for x in range(W):
                if truth[y, x] == VOID or m[y, x] != c:
                    continue
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                inside = [(v, u) for v, u in around if 0 <= v < H and 0 <= u < W]
                if any(m[v, u] not in (c, VOID) for v, u in inside):
                    found.append((y, x))
        return found

    own, other = edges(labels), edges(others)
    near = [p for p in own if any(math.dist(p, q) <= radius for q in other)]
    return len(own), len(near)


def test_boundary_f_by_slow_loops() -> None:
    pairs = maps(2)
    evaluator = evaluated(pairs, tolerance=0.07)
    expected = np.zeros((K, 4), int)
    for predicted, truth in pairs:
        radius = 0.07 * math.hypot(*truth.shape)
        for c in range(K):
            expected[c] += [
                *slow_boundaries(predicted, truth, truth, c, radius),
                *slow_boundaries(truth, predicted, truth, c, radius),
            ]
    assert evaluator.boundaries.tolist() == expected.tolist()
    assert (expected[: K - 1, 1] > 0).all()
    assert (expected[: K - 1, 1] < expected[: K - 1, 0]).sum() > 1
    f = []
    for found, near, true, met in expected[: K - 1]:
        p, r = near / found, met / true
        f.append(2 * p * r / (p + r))
    assert evaluator.compute().numbers()["boundary_f"] == pytest.approx(sum(f) / len(f), rel=EXACT)


def test_boundaries_are_met_within_a_pixel_and_a_half_at_least() -> None:
    truth = torch.zeros(12, 12, dtype=torch.uint8)
    truth[:, 6:] = 1
    numbers = {}
    for shift in (0, 1, 2):
        predicted = truth.roll(shift, 1)
        predicted[:, :shift] = 0
        numbers[shift] = evaluated([(predicted, truth)], 2).compute().numbers()["boundary_f"]
    assert numbers == {0: 1.0, 1: 1.0, 2: 0.0}
    assert evaluated([(predicted, truth)], 2, tolerance=2 / math.hypot(12, 12)).compute().numbers()["boundary_f"] == 1.0


def test_a_set_is_counted_as_its_parts_together() -> None:
    pairs = maps(4)
    whole, one, two = evaluated(pairs), evaluated(pairs[:1]), evaluated(pairs[1:])
    assert (whole.counts == one.counts + two.counts).all()
    assert (whole.boundaries == one.boundaries + two.boundaries).all()


def test_a_perfect_prediction() -> None:
    pairs = [(truth, truth) for _, truth in maps(2, void=False)]
    assert evaluated(pairs).compute().numbers() == {
        "miou_present": 1.0,
        "pixel_accuracy": 1.0,
        "class_accuracy": 1.0,
        "boundary_f": 1.0,
    }


def test_one_class_has_no_boundary() -> None:
    alone = torch.zeros(4, 4, dtype=torch.uint8)
    numbers = evaluated([(alone, alone)], 1).compute().numbers()
    assert numbers["miou_present"] == 1.0
    assert math.isnan(numbers["boundary_f"])


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [([[0, 1]], [[0], [1]], "one size"), ([[0, 5]], [[0, 1]], "label 5"), ([[0, 1]], [[0, 5]], "label 5")],
)
def test_maps_that_cannot_be_counted(predicted: list[list[int]], truth: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentationEvaluator(K).update(*(torch.tensor(m, dtype=torch.uint8) for m in (predicted, truth)))


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        SegmentationEvaluator(K).compute()
    void = torch.full((3, 3), VOID, dtype=torch.uint8)
    with pytest.raises(ValueError, match="void"):
        evaluated([(void, void)]).compute()
    for classes in (0, 256):
        with pytest.raises(ValueError, match=r"1\.\.255"):
            SegmentationEvaluator(classes)


def test_a_class_that_is_only_predicted_or_has_one_pixel_counts() -> None:
    truth = torch.zeros(6, 9, dtype=torch.uint8)
    truth[0, 0] = 1
    predicted = torch.zeros(6, 9, dtype=torch.uint8)
    predicted[:, 6:] = 2
    scores = evaluated([(predicted, truth)], 3).compute()
    assert scores.iou.tolist() == [35 / 54, 0.0, 0.0]
    assert scores.boundary_f.tolist() == [0.0, 0.0, 0.0]
    assert scores.numbers()["class_accuracy"] == pytest.approx((35 / 53 + 0) / 2, rel=EXACT)


def test_one_image_has_the_mean_of_its_own_classes() -> None:
    for predicted, truth in maps(4):
        found = image_miou(predicted, truth, K)
        assert found == evaluated([(predicted, truth)]).compute().numbers()["miou_present"]
    void = torch.full((4, 4), VOID, dtype=torch.uint8)
    assert image_miou(void * 0, void, K) is None
    with pytest.raises(ValueError, match="expected one size"):
        image_miou(void, void[:3], K)
