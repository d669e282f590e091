"""Recall of proposals against slow loops and COCO's average recall."""

import math

import pytest
import torch
from tests.closeness import EXACT
from tests.references.boxes import iou
from torchmetrics.detection import MeanAveragePrecision

from vidi.metrics.proposals import IOUS, average_recall, best_overlaps, mean_average_best_overlap, recall
from vidi.ops.boxes import box_iou

COUNTS = [0, 1, 5, 20, 1000]


def boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60
    return torch.cat((corner, corner + 5 + 40 * torch.rand(count, 2, generator=generator, dtype=torch.float64)), 1)


@pytest.fixture(scope="module")
def images() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(boxes(40, 2 * n), boxes(5 + n, 2 * n + 1)) for n in range(4)]


@pytest.mark.system("4.3.2-SELSEARCH")
def test_recall_is_that_of_slow_loops(images):
    overlaps = torch.cat([best_overlaps(box_iou(found, truths), COUNTS) for found, truths in images], 1)
    for row, count in zip(overlaps, COUNTS, strict=True):
        best = [
            max((iou(box, truth) for box in found[:count].tolist()), default=0.0)
            for found, truths in images
            for truth in truths.tolist()
        ]
        assert row.tolist() == pytest.approx(best, rel=EXACT)
        shares = [sum(value >= threshold for value in best) / len(best) for threshold in IOUS]
        assert [recall(row, threshold).item() for threshold in IOUS] == pytest.approx(shares, rel=EXACT)
        assert average_recall(row).item() == pytest.approx(sum(shares) / len(shares), rel=EXACT)
    assert average_recall(overlaps).shape == (len(COUNTS),)
    assert (average_recall(overlaps).diff() >= 0).all()


def test_average_recall_is_cocos_where_no_box_covers_two_objects():
    truths = torch.tensor([[0, 0, 40, 40], [100, 0, 140, 40], [0, 100, 40, 140], [100, 100, 140, 140]]).double()
    found = truths + torch.tensor([[0, 0, 1, 0], [7, 0, 0, 0], [0, 3, 0, 9], [30, 0, 30, 0]])
    metric = MeanAveragePrecision(backend="pycocotools")
    labels = torch.zeros(4, dtype=torch.int64)
    metric.update(
        [{"boxes": found.float(), "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]), "labels": labels}],
        [{"boxes": truths.float(), "labels": labels}],
    )
    result = average_recall(best_overlaps(box_iou(found, truths), [10]))
    assert result.item() == pytest.approx(metric.compute()["mar_10"].item(), abs=1e-6)


def test_thresholds():
    assert IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    assert recall(torch.tensor([0.5, 0.49, 1.0]), 0.5).item() == pytest.approx(2 / 3)  # reached, not passed


def test_mean_average_best_overlap():
    overlaps = torch.tensor([[0.2, 0.4, 0.9], [0.5, 0.7, 1.0]], dtype=torch.float64)
    result = mean_average_best_overlap(overlaps, torch.tensor([3, 3, 8]))
    assert result.tolist() == pytest.approx([(0.3 + 0.9) / 2, (0.6 + 1.0) / 2], rel=EXACT)


def test_nothing_to_find_and_nothing_found():
    nothing = best_overlaps(torch.zeros(3, 0), [2])
    assert math.isnan(recall(nothing).item())
    assert math.isnan(average_recall(nothing).item())
    assert math.isnan(mean_average_best_overlap(nothing, torch.zeros(0, dtype=torch.int64)).item())
    assert best_overlaps(torch.zeros(0, 2), [0, 5]).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"\[3, -1\]"):
        best_overlaps(torch.zeros(3, 2), [3, -1])
