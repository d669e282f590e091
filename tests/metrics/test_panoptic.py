"""Panoptic quality against slow loops after panopticapi, against torchmetrics, and by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.closeness import EXACT, assert_close
from tests.references.panoptic_quality import counts_of, qualities
from torchmetrics.detection import PanopticQuality

from vidi.metrics.panoptic import LabelledMap, PanopticEvaluator
from vidi.results.panoptic_map import PanopticMap, Segment

CLASSES = 6


def drawn_map(generator: np.random.Generator, size: tuple[int, int] = (40, 50), *, void: bool = True) -> LabelledMap:
    """Rectangles over each other, each a segment; some share a label; the rest void."""
    ids = np.zeros(size, np.int64)
    labels = []
    for number in range(1, 10):
        y, x = generator.integers(0, size[0] - 8), generator.integers(0, size[1] - 8)
        h, w = generator.integers(6, 24, 2)
        ids[y : y + h, x : x + w] = number
        labels.append(generator.integers(0, CLASSES))
    if not void:
        ids[ids == 0] = 10
        labels.append(CLASSES - 1)
    crowd = generator.random(len(labels)) < 0.25
    return LabelledMap(ids, np.arange(1, len(labels) + 1), np.array(labels), crowd)


def nearby(truth: LabelledMap, generator: np.random.Generator) -> LabelledMap:
    """The truth, moved a little, with some labels changed and some ids far away."""
    moved = np.roll(truth.map, generator.integers(-2, 3, 2), (0, 1))
    labels = np.where(generator.random(len(truth.labels)) < 0.15, (truth.labels + 1) % CLASSES, truth.labels)
    return LabelledMap(moved, truth.ids, labels)


def records(side: LabelledMap) -> dict[int, tuple[int, bool]]:
    crowd = np.zeros(len(side.ids), bool) if side.crowd is None else side.crowd
    return {int(i): (int(k), bool(c)) for i, k, c in zip(side.ids, side.labels, crowd, strict=True)}


@pytest.mark.system("5.3-PANOPTIC")
@pytest.mark.parametrize("spread", [1, 1_000_003])  # ids as in our targets, and as large as COCO's
def test_equals_slow_loops_with_crowds_and_void(spread: int) -> None:
    generator = np.random.default_rng(0)
    evaluator, images = PanopticEvaluator(CLASSES), []
    for _ in range(25):
        truth = drawn_map(generator)
        found = nearby(truth, generator)
        truth = LabelledMap(truth.map * spread, truth.ids * spread, truth.labels, truth.crowd)
        evaluator.add(found, truth)
        images.append(counts_of(found.map, records(found), truth.map, records(truth)))
    scores, expected = evaluator.compute(), qualities(images, CLASSES)
    assert scores.occurs.all()
    for name in ("pq", "sq", "rq"):
        assert_close(getattr(scores, name), expected[name], EXACT)
    columns = [sum(len(i[k]["iou"]) if k in i else 0 for i in images) for k in range(CLASSES)]
    assert evaluator.counts[:, 0].tolist() == columns
    assert evaluator.counts[:, 1].tolist() == [sum(i[k]["fp"] if k in i else 0 for i in images) for k in range(CLASSES)]
    assert evaluator.counts[:, 2].tolist() == [sum(i[k]["fn"] if k in i else 0 for i in images) for k in range(CLASSES)]
    assert min(evaluator.counts[:, :3].sum(0)) > 5  # all three kinds occur


@pytest.mark.system("5.3-PANOPTIC")
def test_equals_torchmetrics_without_crowds() -> None:
    """It knows no crowds, takes stuff for one segment an image, and needs things and stuff apart."""
    generator = np.random.default_rng(1)
    things, stuff = {0, 1, 2}, {3, 4, 5}
    theirs = PanopticQuality(things, stuff, return_sq_and_rq=True, return_per_class=True)
    evaluator = PanopticEvaluator(CLASSES)
    for _ in range(10):
        truth = drawn_map(generator, void=False)
        truth, found = _joined(truth, stuff), _joined(nearby(truth, generator), stuff)
        evaluator.add(found, truth)
        theirs.update(_theirs(found), _theirs(truth))
    expected = theirs.compute()  # K 3
    scores = evaluator.compute()
    for column, name in enumerate(("pq", "sq", "rq")):
        assert_close(getattr(scores, name), expected[:, column].double(), 1e-6)  # theirs sums in float32


def _joined(side: LabelledMap, stuff: set[int]) -> LabelledMap:
    """Give all pieces of one stuff one id; without crowds."""
    ids, kept = side.map.copy(), {}
    for number, label in zip(side.ids.tolist(), side.labels.tolist(), strict=True):
        if label in stuff and label in kept:
            ids[ids == number] = kept[label]
        elif label in stuff:
            kept[label] = number
    present = np.isin(side.ids, ids)
    return LabelledMap(ids, side.ids[present], side.labels[present])


def _theirs(side: LabelledMap) -> torch.Tensor:
    labels = np.zeros(int(side.map.max()) + 1, np.int64)
    labels[side.ids] = side.labels
    return torch.from_numpy(np.stack((labels[side.map], side.map), -1))[None]


@pytest.mark.system("5.3-PANOPTIC", "B5.16")
def test_a_perfect_prediction_has_quality_one() -> None:
    truth = drawn_map(np.random.default_rng(2))
    truth = LabelledMap(truth.map, truth.ids, truth.labels)
    evaluator = PanopticEvaluator(CLASSES)
    evaluator.add(truth, truth)
    scores = evaluator.compute()
    for name in ("pq", "sq", "rq"):
        assert getattr(scores, name)[scores.occurs].tolist() == [1.0] * int(scores.occurs.sum())


def one_row(truth: list[int], found: list[int], labels: dict[int, int], **options: Any) -> PanopticEvaluator:
    """Score maps of one row whose segment i has the label `labels[i]`, in the truth as in the prediction."""
    ids, kinds = np.array(list(labels), np.int64), np.array(list(labels.values()), np.int64)
    evaluator = PanopticEvaluator(2)
    evaluator.add(LabelledMap(np.array([found]), ids, kinds), LabelledMap(np.array([truth]), ids, kinds, **options))
    return evaluator


def test_by_hand() -> None:
    """Six pixels: a match of IoU 3/4, and half a segment, which is none: 1/2 is not above 1/2."""
    evaluator = one_row([1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2], {1: 0, 2: 1})
    assert evaluator.counts[:, :3].tolist() == [[1, 0, 0], [1, 0, 0]]
    scores = evaluator.compute()
    assert scores.pq.tolist() == [0.75, pytest.approx(2 / 3, rel=1e-15)]
    assert one_row([1, 2], [1, 2], {1: 0, 2: 1}).counts[:, :3].tolist() == [[1, 0, 0], [1, 0, 0]]  # of one pixel each
    assert one_row([1], [1], {1: 0}).counts[0, :3].tolist() == [1, 0, 0]  # a map of one pixel
    half = one_row([1, 1, 1, 1], [1, 1, 0, 0], {1: 0})
    assert half.counts[0, :3].tolist() == [0, 1, 1]
    assert half.compute().numbers()["pq"] == 0


def test_pixels_without_truth_count_for_no_prediction() -> None:
    """Of a prediction of six pixels four are void: it matches the two others; one mostly in void is no fault."""
    assert one_row([1, 1, 0, 0, 0, 0], [1] * 6, {1: 0}).counts[0, :3].tolist() == [1, 0, 0]
    assert one_row([1, 0, 0, 0, 1, 1], [0, 2, 2, 2, 2, 2], {1: 0, 2: 1}).counts[:, :3].tolist() == [
        [0, 0, 1],
        [0, 0, 0],
    ]
    assert one_row([1, 0, 0, 1, 1, 1], [0, 2, 2, 2, 2, 0], {1: 0, 2: 1}).counts[1, :3].tolist() == [0, 1, 0]


def test_crowds_are_neither_matched_nor_missed_and_excuse_their_label_alone() -> None:
    crowd = np.array([True, False])
    assert one_row([1] * 4, [0] * 4, {1: 0, 2: 0}, crowd=crowd).counts[0, :3].tolist() == [0, 0, 0]
    assert one_row([1] * 4, [1] * 4, {1: 0, 2: 0}, crowd=crowd).counts[0, :3].tolist() == [0, 0, 0]
    assert one_row([1] * 4, [2] * 4, {1: 0, 2: 1}, crowd=crowd).counts[1, :3].tolist() == [0, 1, 0]


def test_the_order_of_images_changes_no_bit() -> None:
    generator = np.random.default_rng(3)
    pairs = [(nearby(truth, generator), truth) for truth in (drawn_map(generator) for _ in range(20))]
    one, other = PanopticEvaluator(CLASSES), PanopticEvaluator(CLASSES)
    for pair in pairs:
        one.add(*pair)
    for pair in reversed(pairs):
        other.add(*pair)
    assert np.array_equal(one.counts, other.counts)
    assert one.compute().numbers() == other.compute().numbers()


def test_means_are_over_classes_that_occur_things_and_stuff_apart() -> None:
    target = {
        "panoptic": torch.tensor([[1, 1, 2, 2, 3, 3]], dtype=torch.int32),
        "semantic": torch.tensor([[0, 0, 1, 1, 3, 3]], dtype=torch.uint8),
        "crowd": torch.zeros(2, dtype=torch.bool),
    }
    ids = torch.tensor([[1, 1, 2, 0, 3, 3]], dtype=torch.int32)
    segments = (Segment(1, 0, 1.0, True), Segment(2, 1, 1.0, True), Segment(3, 3, 1.0, False))
    evaluator = PanopticEvaluator(5)
    evaluator.update([PanopticMap(ids, segments, tuple("abcde"))], [target])
    numbers = evaluator.compute().numbers()
    assert numbers["pq_things"] == 0.5
    assert numbers["pq_stuff"] == numbers["sq_stuff"] == numbers["rq_stuff"] == 1
    assert numbers["pq"] == pytest.approx(2 / 3, rel=1e-15)
    assert PanopticEvaluator(2).compute().numbers() == {
        f"{name}{group}": -1 for name in ("pq", "sq", "rq") for group in ("", "_things", "_stuff")
    }


def test_faults_are_told() -> None:
    good = LabelledMap(np.ones((2, 2), int), np.array([1]), np.array([0]))
    evaluator = PanopticEvaluator(2)
    with pytest.raises(ValueError, match=r"maps of \(2, 3\) and \(2, 2\), expected one size"):
        evaluator.add(LabelledMap(np.ones((2, 3), int), good.ids, good.labels), good)
    with pytest.raises(ValueError, match=r"true segments with the ids \[1, 1\] and 2 labels"):
        evaluator.add(good, LabelledMap(good.map, np.array([1, 1]), np.array([0, 0])))
    with pytest.raises(ValueError, match=r"found segments with the ids \[0\]"):
        evaluator.add(LabelledMap(good.map, np.array([0]), np.array([0])), good)
    with pytest.raises(ValueError, match=r"labels from 2 to 2, expected 0\.\.1"):
        evaluator.add(LabelledMap(good.map, np.array([1]), np.array([2])), good)
    with pytest.raises(ValueError, match="a map with the id -1"):
        evaluator.add(LabelledMap(-good.map, good.ids, good.labels), good)
