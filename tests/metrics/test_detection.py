"""Matching, precision and recall of one class, against the worked example, slow loops and other people's code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.metrics import precision_recall_curve as sklearn_curve
from tests.closeness import EXACT, assert_close
from tests.references.coco_reference import evaluated
from torchmetrics.detection import MeanAveragePrecision

from vidi.metrics.detection import (
    Mode,
    average_precision,
    match_detections,
    mean_average_precision,
    precision_envelope,
    precision_recall,
    precision_recall_curve,
)
from vidi.ops.boxes import box_iou

# Worked example B4.2: five objects, eight predictions.
SCORES = torch.tensor([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=torch.float64)
CORRECT = torch.tensor([True, True, False, True, False, False, True, False])
OBJECTS = 5


@pytest.mark.system("4.1-IOU", "B4.1")
def test_overlap_of_the_worked_example():
    a, b = torch.tensor([[0.0, 0, 2, 2]], dtype=torch.float64), torch.tensor([[1.0, 1, 3, 3]], dtype=torch.float64)
    assert box_iou(a, b).item() == pytest.approx(1 / 7, rel=EXACT)
    assert box_iou(a, torch.tensor([[1.0, 1, 1, 1], [3, 3, 2, 2]], dtype=torch.float64)).tolist() == [[0.0, 0.0]]


@pytest.mark.system("4.1-PR", "4.1-PRCURVE", "4.1-AP", "B4.2")
def test_worked_example():
    curve = precision_recall_curve(SCORES, CORRECT, OBJECTS)
    assert_close(curve.recall, [0.2, 0.4, 0.4, 0.6, 0.6, 0.6, 0.8, 0.8])
    assert_close(curve.precision, [1, 1, 2 / 3, 0.75, 0.6, 0.5, 4 / 7, 0.5])
    assert_close(curve.envelope, [1, 1, 0.75, 0.75, 0.6, 4 / 7, 4 / 7, 0.5])
    areas: dict[Mode, float] = {
        "step": 0.664286,
        "envelope": 0.664286,
        "hundred_one_points": 0.667610,
        "eleven_points": 0.694805,
        "trapezoid": 0.648810,
    }
    for mode, area in areas.items():
        assert average_precision(curve.recall, curve.precision, mode=mode) == pytest.approx(area, abs=1e-6), mode


@pytest.mark.system("4.1-AP")
def test_trapezoids_begin_at_recall_0_and_precision_1():
    """A first point beyond recall 0 has a trapezoid before it, which begins at precision 1."""
    correct = torch.tensor([False, True, True])
    curve = precision_recall_curve(torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64), correct, 2)
    assert curve.recall.tolist() == [0, 0.5, 1]
    # from (0, 1) straight down to (0, 0): no area; (0, 0) to (1/2, 1/2): 1/8; (1/2, 1/2) to (1, 2/3): 7/24
    assert average_precision(curve.recall, curve.precision, mode="trapezoid") == pytest.approx(1 / 8 + 7 / 24)
    one = torch.tensor([0.5, 1.0], dtype=torch.float64), torch.tensor([0.5, 2 / 3], dtype=torch.float64)
    # several predictions at once: the first point is (1/2, 1/2), and what is before it counts: 3/8 + 7/24
    assert average_precision(*one, mode="trapezoid") == pytest.approx(3 / 8 + 7 / 24)


@pytest.mark.system("4.1-PR")
def test_recall_never_rises_with_the_floor_but_precision_may_do_either():
    ious = torch.where(CORRECT[:, None], torch.eye(8, dtype=torch.float64), 0)
    floors = [0.0, 0.45, 0.55, 0.65, 0.75, 0.82, 0.87, 0.92]
    pairs = [precision_recall(match_detections(SCORES, ious, threshold=0.5, score_floor=f), OBJECTS) for f in floors]
    curve = precision_recall_curve(SCORES, CORRECT, OBJECTS)
    assert_close([pair.recall for pair in pairs], curve.recall.flip(0))
    assert_close([pair.precision for pair in pairs], curve.precision.flip(0))
    assert (np.diff([pair.recall for pair in pairs]) <= 0).all()
    steps = np.sign(np.diff([pair.precision for pair in pairs]))
    assert {-1, 1} <= set(steps)


def test_nothing_predicted_and_nothing_to_find():
    nothing = match_detections(torch.zeros(0), torch.zeros(0, 3), threshold=0.5)
    pair = precision_recall(nothing, 3)
    assert math.isnan(pair.precision)
    assert pair.recall == 0.0
    false = match_detections(torch.ones(2), torch.zeros(2, 0), threshold=0.5)
    assert precision_recall(false, 0).precision == 0.0
    assert math.isnan(precision_recall(false, 0).recall)
    empty = precision_recall_curve(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 3)
    assert average_precision(empty.recall, empty.precision) == 0.0
    undefined = precision_recall_curve(torch.ones(2), torch.zeros(2, dtype=torch.bool), 0)
    assert math.isnan(average_precision(undefined.recall, undefined.precision))
    assert mean_average_precision(torch.tensor([0.5, math.nan, 0.25])) == 0.375


@pytest.mark.system("4.1-MATCH")
def test_each_object_is_found_once():
    ious = torch.tensor([[0.9, 0.6], [0.8, 0.7], [0.5, 0.1]], dtype=torch.float64)
    scores = torch.tensor([0.3, 0.9, 0.6], dtype=torch.float64)
    # The surest takes object 0; the last one falls back on object 1 with COCO, and is a duplicate with VOC.
    coco = match_detections(scores, ious, threshold=0.5)
    assert coco.correct.tolist() == [True, True, False]
    assert coco.truths.tolist() == [1, 0, -1]
    voc = match_detections(scores, ious, threshold=0.5, takes_next_best=False)
    assert voc.correct.tolist() == [False, True, False]
    floor = match_detections(scores, ious, threshold=0.5, score_floor=0.6)
    assert floor.counted.tolist() == [False, True, True]
    assert floor.correct.tolist() == [False, True, False]


@pytest.mark.system("4.1-MATCH")
def test_overlap_at_the_threshold():
    scores, ious = torch.ones(1, dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    assert match_detections(scores, ious, threshold=0.5).correct.item()
    assert not match_detections(scores, ious, threshold=0.5, inclusive=False).correct.item()


corners = st.sampled_from([0.0, 1.0, 2.0, 4.0])
sides = st.sampled_from([0.0, 4.0, 5.0, 8.0])
boxes = st.lists(st.tuples(corners, corners, sides, sides), max_size=7)


@pytest.mark.system("4.1-MATCH")
@given(boxes, boxes, st.data())
def test_matches_equal_pycocotools(truths: list, found: list, data: st.DataObject):
    scores = data.draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=len(found), max_size=len(found)))
    place = {"image_id": 1, "category_id": 1}
    theirs = evaluated(
        [{**place, "bbox": list(box), "area": 50.0, "iscrowd": 0} for box in truths],
        [{**place, "bbox": list(box), "score": score} for box, score in zip(found, scores, strict=True)],
        image_ids=[1],
        category_ids=[1],
    ).evalImgs[0]
    ours = match_detections(
        torch.tensor(scores, dtype=torch.float64), box_iou(as_xyxy(found), as_xyxy(truths)), threshold=0.5
    )
    expected = torch.full((len(found),), -1)
    if theirs is not None:
        expected[torch.tensor(theirs["dtIds"], dtype=torch.int64) - 1] = (
            torch.from_numpy(theirs["dtMatches"][0]).long() - 1
        )
    assert ours.truths.tolist() == expected.tolist()
    assert ours.correct.tolist() == (expected >= 0).tolist()


def as_xyxy(boxes_xywh: list) -> torch.Tensor:
    """Turn whole-numbered x, y, width, height into corners: exact, so that overlaps are equal too."""
    rows = torch.tensor(boxes_xywh, dtype=torch.float64).reshape(-1, 4)
    return torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:]], 1)


def random_curve(seed: int, missed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Draw distinct scores and flags, with so many objects that nothing finds."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randperm(60, generator=generator).double() / 60
    correct = torch.rand(60, generator=generator) < 0.2 + 0.6 * scores
    return scores, correct, int(correct.sum()) + missed


@pytest.mark.system("4.1-PRCURVE", "4.1-AP")
def test_curve_and_step_area_equal_scikit_learn():
    scores, correct, truths = random_curve(0, missed=0)
    curve = precision_recall_curve(scores, correct, truths)
    precision, recall, thresholds = sklearn_curve(correct.numpy(), scores.numpy())
    # scikit-learn runs the other way and appends recall 0 and precision 1
    assert_close(curve.precision.flip(0), precision[:-1])
    assert_close(curve.recall.flip(0), recall[:-1])
    assert_close(curve.scores.flip(0), thresholds)
    step = average_precision(curve.recall, curve.precision, mode="step")
    assert step == pytest.approx(average_precision_score(correct.numpy(), scores.numpy()), rel=EXACT)


@pytest.mark.system("4.1-AP")
@pytest.mark.parametrize("seed", range(5))
def test_areas_equal_slow_loops(seed: int):
    curve = precision_recall_curve(*random_curve(seed, missed=seed))
    recall, precision = curve.recall.tolist(), curve.precision.tolist()

    def best_from(level: float) -> float:
        return max((p for r, p in zip(recall, precision, strict=True) if r >= level), default=0.0)

    eleven = sum(best_from(level / 10) for level in range(11)) / 11
    hundred_one = sum(best_from(level) for level in np.linspace(0, 1, 101)) / 101
    levels = sorted(set(recall) - {0.0})
    exact = sum((high - low) * best_from(high) for low, high in zip([0.0, *levels], levels, strict=False))
    assert average_precision(curve.recall, curve.precision, mode="eleven_points") == pytest.approx(eleven, rel=EXACT)
    assert average_precision(curve.recall, curve.precision) == pytest.approx(hundred_one, rel=EXACT)
    assert average_precision(curve.recall, curve.precision, mode="envelope") == pytest.approx(exact, rel=EXACT)
    assert torch.equal(curve.envelope, precision_envelope(curve.precision))


def random_scene(seed: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Draw the boxes of one image with three classes, and predictions near them."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 60, (6, 2), generator=generator).double()
    truth = torch.cat([corner, corner + torch.randint(10, 50, (6, 2), generator=generator)], 1)
    labels = torch.randint(0, 3, (6,), generator=generator)
    source = torch.randint(0, 6, (12,), generator=generator)
    found = truth[source] + torch.randint(-6, 7, (12, 4), generator=generator)
    scores = torch.rand(12, generator=generator, dtype=torch.float64)
    return {"boxes": truth, "labels": labels}, {"boxes": found, "labels": labels[source], "scores": scores}


@pytest.mark.system("4.1-MAP")
def test_mean_over_classes_equals_torchmetrics():
    scenes = [random_scene(seed) for seed in range(4)]
    areas = []
    for k in range(3):
        scores, correct, objects = [], [], 0
        for target, found in scenes:
            own, wanted = found["labels"] == k, target["labels"] == k
            matches = match_detections(
                found["scores"][own], box_iou(found["boxes"][own], target["boxes"][wanted]), threshold=0.5
            )
            scores.append(found["scores"][own])
            correct.append(matches.correct)
            objects += int(wanted.sum())
        curve = precision_recall_curve(torch.cat(scores), torch.cat(correct), objects)
        areas.append(average_precision(curve.recall, curve.precision))
    levels = np.linspace(0, 1, 101).tolist()  # torchmetrics' own are float32: 0.6 found of 0.6 does not reach them
    reference = MeanAveragePrecision(rec_thresholds=levels, backend="pycocotools")
    reference.update([found for _, found in scenes], [target for target, _ in scenes])
    theirs = reference.compute()["map_50"].item()  # float32
    assert 0.1 < theirs < 0.95
    assert mean_average_precision(torch.tensor(areas, dtype=torch.float64)) == pytest.approx(theirs, abs=1e-7)
