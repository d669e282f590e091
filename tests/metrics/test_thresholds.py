"""F1 over the threshold and what is confused there, against slow loops over the objects."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tests.closeness import assert_close

from vidi.metrics.coco import CocoEvaluator
from vidi.metrics.thresholds import LEVELS, MIN_IOU, Objects, best_threshold, confused_objects, f1_curve, f1_of
from vidi.results.detections import Detections

CLASSES = 3


class Picture(NamedTuple):
    """The objects of one image."""

    found: Objects
    scores: torch.Tensor
    truths: Objects
    crowd: torch.Tensor


def picture(seed: int) -> Picture:
    """Draw truths, and predictions near some of them, of some wrong classes, several of one, and on crowds."""
    rng = np.random.default_rng(seed)
    truths, predictions = int(rng.integers(0, 7)), int(rng.integers(0, 12))
    corners = rng.uniform(0, 60, (truths, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (truths, 2))], 1).reshape(-1, 4)
    labels, crowd = rng.integers(0, CLASSES, truths), rng.random(truths) < 0.2
    chosen = rng.integers(0, max(truths, 1), predictions)
    near = boxes[chosen] + rng.normal(0, 3, (predictions, 4)) if truths else rng.uniform(0, 9, (predictions, 4))
    near = np.concatenate([np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:]) + 1], 1)
    guesses = labels[chosen] if truths else rng.integers(0, CLASSES, predictions)
    guesses = np.where(rng.random(predictions) < 0.3, rng.integers(0, CLASSES, predictions), guesses)
    scores = rng.choice(np.round(rng.uniform(0, 1, 6), 3), predictions)  # with ties
    return Picture(
        Objects(torch.tensor(near), torch.tensor(guesses).long()),
        torch.tensor(scores),
        Objects(torch.tensor(boxes), torch.tensor(labels).long()),
        torch.tensor(crowd),
    )


def overlap(a: list[float], b: list[float], *, of_first: bool = False) -> float:
    """Return the IoU of two boxes, or the share of the first that lies in the second."""
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (areas[0] if of_first else sum(areas) - shared)


def slowly(seen: Picture, threshold: float) -> tuple[list[list[int]], set[int]]:
    """Return the confusion matrix, and the predictions that found a truth of their class."""
    boxes, guesses, scores = seen.found.boxes.tolist(), seen.found.labels.tolist(), seen.scores.tolist()
    real, labels, crowd = seen.truths.boxes.tolist(), seen.truths.labels.tolist(), seen.crowd.tolist()
    order = sorted((p for p in range(len(boxes)) if scores[p] >= threshold), key=lambda p: -scores[p])
    counts = [[0] * (CLASSES + 1) for _ in range(CLASSES + 1)]
    taken: set[int] = set()
    right: set[int] = set()
    taken_by_other = set()
    for is_own in (True, False):
        for p in order:
            if p in right or p in taken_by_other:
                continue
            in_crowd = any(
                crowd[t] and labels[t] == guesses[p] and overlap(boxes[p], real[t], of_first=True) >= MIN_IOU
                for t in range(len(real))
            )
            if not is_own and in_crowd:
                continue
            best = None
            for t in range(len(real)):
                if crowd[t] or t in taken or (is_own and labels[t] != guesses[p]):
                    continue
                iou = overlap(boxes[p], real[t])
                if iou >= MIN_IOU and (best is None or iou >= overlap(boxes[p], real[best])):
                    best = t
            if best is not None:
                taken.add(best)
                (right if is_own else taken_by_other).add(p)
                counts[labels[best]][guesses[p]] += 1
            elif not is_own:
                counts[CLASSES][guesses[p]] += 1
    for t in range(len(real)):
        if t not in taken and not crowd[t]:
            counts[labels[t]][CLASSES] += 1
    return counts, right


@pytest.mark.parametrize("seed", range(40))
def test_what_is_confused_is_what_a_loop_over_the_objects_finds(seed: int) -> None:
    seen = picture(seed)
    for threshold in (0.0, 0.4, float(seen.scores.max()) if len(seen.scores) else 0.9):
        counts = confused_objects(*seen, classes=CLASSES, threshold=threshold)
        expected, right = slowly(seen, threshold)
        assert counts.tolist() == expected
        found = sum(seen.scores[p] >= threshold for p in range(len(seen.scores)))
        excused = int(found) - int(counts[:, :-1].sum())
        objects = int((~seen.crowd).sum()) + int(found) - excused
        assert f1_of(counts) == (2 * len(right) / objects if objects else None)


def test_confusions_by_hand() -> None:
    truths = Objects(torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]), torch.tensor([0, 1, 2]))
    found = Objects(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [70, 0, 80, 10]]), torch.tensor([1, 0, 0, 2])
    )
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    counts = confused_objects(found, scores, truths, torch.zeros(3) > 0, classes=3, threshold=0.5)
    # the second finds its class, so that the surer first one is a false alarm; the third takes a 1 for a 0
    assert counts.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]]
    assert f1_of(counts) == 2 / 7
    above = confused_objects(found, scores, truths, torch.zeros(3) > 0, classes=3, threshold=0.75)
    assert above.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0]]


def test_a_crowd_excuses_its_own_class_alone_and_by_half_of_a_box() -> None:
    truths = Objects(torch.tensor([[0.0, 0, 100, 10]]), torch.tensor([0]))
    found = Objects(
        torch.tensor([[0.0, 0, 10, 10], [95, 0, 105, 10], [96, 0, 106, 10], [20, 0, 30, 10]]),
        torch.tensor([0, 0, 0, 1]),
    )
    counts = confused_objects(found, torch.ones(4), truths, torch.tensor([True]), classes=2, threshold=0.5)
    assert counts.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    counts = confused_objects(nothing, torch.zeros(0), truths, torch.tensor([True]), classes=2, threshold=0.5)
    assert not counts.any()
    assert f1_of(counts) is None


@pytest.mark.parametrize("seed", range(10))
def test_the_curve_counts_what_is_above_each_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice([0.0, 0.1, 0.25, 0.3, 0.5, 0.99, 1.0], 30)
    right = rng.random(30) < scores
    truths = int(right.sum()) + seed
    curve = f1_curve(scores, right, truths)
    assert curve.thresholds.tolist() == [round(k / 100, 2) for k in range(101)]
    for row, threshold in enumerate(LEVELS):
        above = [bool(r) for s, r in zip(scores, right, strict=True) if s >= threshold]
        tp, fp, fn = sum(above), len(above) - sum(above), truths - sum(above)
        expected = [tp / (tp + fp) if above else math.nan, tp / truths if truths else math.nan]
        expected.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan)
        for found, value in zip((curve.precision, curve.recall, curve.f1), expected, strict=True):
            assert (math.isnan(found[row]) and math.isnan(value)) or found[row] == value
    best = best_threshold(scores, right, truths)
    if not right.any():
        assert best is None
        return
    assert best is not None
    values = [value for value in curve.f1.tolist() if not math.isnan(value)]
    assert curve.f1[round(best * 100)] == max(values)
    assert round(best, 2) == best


def test_a_gap_between_right_and_wrong_scores_is_halved() -> None:
    scores, right = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    assert best_threshold(scores, right, 2) == 0.5  # of 0.21 .. 0.80
    assert best_threshold(scores[:2], right[:2], 2) is None
    assert best_threshold(np.array([0.004]), np.array([True]), 1) == 0.0
    assert best_threshold(np.array([1.0]), np.array([True]), 1) == 0.5  # of all levels, the last one too
    assert best_threshold(np.zeros(0), np.zeros(0, bool), 0) is None


def test_nothing_above_has_no_precision_and_no_truths_no_recall() -> None:
    curve = f1_curve(np.array([0.5]), np.array([False]), 0, np.array([0.4, 0.6]))
    assert_close(curve.precision[0], 0.0)
    assert np.isnan(curve.precision[1])
    assert np.isnan(curve.recall).all()
    assert curve.f1[0] == 0
    assert np.isnan(curve.f1[1])


def test_what_cocos_walk_found_is_what_the_loop_finds() -> None:
    evaluator, expected, truths = CocoEvaluator(CLASSES), [], np.zeros(CLASSES, int)
    for image in range(30):
        seen = picture(100 + image)
        found = Detections(seen.found.boxes, seen.scores, seen.found.labels, ("a", "b", "c"))
        target = {"image_id": torch.tensor(image), "boxes": seen.truths.boxes, "labels": seen.truths.labels}
        evaluator.update([found], [{**target, "crowd": seen.crowd}])
        sorted_ones = seen._replace(found=Objects(found.boxes, found.labels), scores=found.scores)
        counts, right = slowly(sorted_ones, 0.0)
        excused = len(found) - sum(map(sum, counts)) + sum(row[CLASSES] for row in counts)
        expected += [(int(found.labels[p]), float(found.scores[p]), True) for p in right]
        wrong = len(found) - excused - len(right)
        truths += np.bincount(seen.truths.labels[~seen.crowd].numpy(), minlength=CLASSES)
        expected += [(-1, 0.0, False)] * wrong
    found_ones = evaluator.compute().found
    rows = list(zip(found_ones.labels.tolist(), found_ones.scores.tolist(), found_ones.right.tolist(), strict=True))
    assert sorted(row for row in rows if row[2]) == sorted(row for row in expected if row[2])
    assert len(rows) == len(expected)
    assert found_ones.truths.tolist() == truths.tolist()
    for k in range(CLASSES):
        of_class = found_ones.scores[found_ones.labels == k]
        assert (np.diff(of_class) <= 0).all()


def test_predictions_beyond_the_limit_of_a_class_do_not_count() -> None:
    evaluator = CocoEvaluator(2, max_detections=(1, 2, 3))
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(6, 1)
    found = Detections(
        boxes, torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), torch.tensor([0, 0, 0, 0, 0, 1]), ("a", "b")
    )
    target = {"image_id": torch.tensor(0), "boxes": boxes[:1], "labels": torch.tensor([0])}
    evaluator.update([found], [target])
    counted = evaluator.compute().found
    assert counted.labels.tolist() == [0, 0, 0, 1]
    assert counted.right.tolist() == [True, False, False, False]
    assert counted.truths.tolist() == [1, 0]
