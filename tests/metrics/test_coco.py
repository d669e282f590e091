"""COCO's twelve numbers against pycocotools, on its published example and on cases made to be awkward."""

import contextlib
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval
from tests.closeness import EXACT, assert_close
from tests.references.coco_reference import COCO, evaluated, run

from vidi.metrics import coco
from vidi.metrics.coco import CocoEvaluator, CocoScores, coco_scores
from vidi.metrics.coco_rows import Kind, Predictions, Truths
from vidi.ops.masks import CodedMasks, encode_masks
from vidi.results.detections import Detections

Record = dict[str, Any]

IMAGE_IDS = [3, 11, 42, 57]
CATEGORY_IDS = [2, 5, 90]
SIZE = (128, 128)
MANY = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

# Few values, so that scores, overlaps and areas tie and fall on the limits of COCO's ranges (32^2 and 96^2).
sides = st.sampled_from([0.0, 4.0, 10.1, 16.0, 31.9, 32.0, 33.3, 64.0, 96.0, 100.0])
corners = st.sampled_from([0.0, 1.0, 2.5, 8.1, 16.0, 20.3])
areas = st.sampled_from(
    [0.0, 50.0, 32.0**2 - 0.5, 32.0**2, 32.0**2 + 1e-9, 5000.0, 96.0**2, 96.0**2 + 1e-9, 1e5**2 + 1]
)
scores = st.sampled_from([0.0, -0.0, 1e-3, 0.25, 0.5, 0.5 + 1e-16, 0.75, 1.0])
boxes = st.tuples(corners, corners, sides, sides).map(list)


@st.composite
def annotations_and_results(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """Draw annotations (some crowds) and results of few images and classes, at times over 100 in one of them."""
    place = st.tuples(st.sampled_from(IMAGE_IDS[:3]), st.sampled_from(CATEGORY_IDS))
    annotations = [
        {"image_id": i, "category_id": k, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for (i, k), box, area, crowd in draw(
            st.lists(st.tuples(place, boxes, areas, st.sampled_from([False, False, False, True])), max_size=10)
        )
    ]
    near = [row["bbox"] for row in annotations]
    found = st.one_of(boxes, st.sampled_from(near)) if near else boxes
    results = [
        {"image_id": i, "category_id": k, "bbox": box, "score": score}
        for (i, k), box, score in draw(st.lists(st.tuples(place, found, scores), max_size=16))
    ]
    if results and draw(st.integers(0, 5)) == 0:
        copies = draw(st.integers(95, 120))
        row = draw(st.sampled_from(results))
        results += [{**row, "score": float(0.3 + 0.001 * (n % 7))} for n in range(copies)]
    return annotations, results


def scored(annotations: list[Record], results: list[Record], kind: Kind = "boxes") -> CocoScores:
    """Score records in memory with the code under test."""
    return coco_scores(
        Truths.from_annotations(annotations, IMAGE_IDS, CATEGORY_IDS),
        Predictions.from_results(results, IMAGE_IDS, CATEGORY_IDS),
        images=len(IMAGE_IDS),
        categories=len(CATEGORY_IDS),
        kind=kind,
    )


def assert_equal(ours: CocoScores, theirs: COCOeval) -> None:
    """Compare the twelve numbers and the three tables behind them to 1e-12."""
    assert_close(list(ours.numbers().values()), theirs.stats)
    for table in ("precision", "recall", "scores"):
        assert_close(getattr(ours, table), theirs.eval[table], msg=table)


@pytest.mark.system("4.1-COCOMAP", "4.1-AP", "4.1-MATCH")
@MANY
@given(annotations_and_results())
def test_boxes_equal_pycocotools(case: tuple[list[Record], list[Record]]):
    annotations, results = case
    theirs = evaluated(annotations, results, image_ids=IMAGE_IDS, category_ids=CATEGORY_IDS)
    assert_equal(scored(annotations, results), theirs)


def mask_of(box: list[float], hole: bool) -> Record:
    """Rasterise a box, with a hole in its middle where asked, to JSON-able run lengths."""
    pixels = torch.zeros(1, *SIZE, dtype=torch.bool)
    left, top, right, bottom = round(box[0]), round(box[1]), round(box[0] + box[2]), round(box[1] + box[3])
    pixels[0, top:bottom, left:right] = True
    if hole:
        pixels[0, (top + bottom) // 2 : bottom - 2, left + 2 : right - 2] = False
    rle = encode_masks(pixels)[0]
    return {"size": list(rle["size"]), "counts": bytes(rle["counts"]).decode()}  # pyright: ignore[reportArgumentType]


@pytest.mark.system("4.1-COCOMAP")
@MANY
@given(annotations_and_results(), st.integers(0, 2**32 - 1))
def test_masks_equal_pycocotools(case: tuple[list[Record], list[Record]], seed: int):
    holes = np.random.default_rng(seed)
    annotations, results = ([dict(row) for row in rows] for rows in case)
    for row in annotations + results:
        row["segmentation"] = mask_of(row["bbox"], bool(holes.random() < 0.4))
    for row in results:
        del row["bbox"]  # with a box, loadRes takes its area for the mask's
    theirs = evaluated(annotations, results, image_ids=IMAGE_IDS, category_ids=CATEGORY_IDS, kind="masks", size=SIZE)
    assert_equal(scored(annotations, results, "masks"), theirs)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.system("4.1-COCOMAP")
def test_published_example(shared_data: Path, kind: Kind):
    folder = shared_data / "coco_eval_reference"
    name = {"boxes": "bbox", "masks": "segm"}[kind]
    results_file = folder / f"instances_val2014_fake{name}100_results.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "instances_val2014_100.json"))
        theirs = run(truth, truth.loadRes(str(results_file)), kind)
    image_ids, category_ids = sorted(truth.getImgIds()), sorted(truth.getCatIds())
    annotations = [{**row, "segmentation": truth.annToRLE(row)} for row in truth.dataset["annotations"]]
    ours = coco_scores(
        Truths.from_annotations(annotations, image_ids, category_ids),
        Predictions.from_results(json.loads(results_file.read_text()), image_ids, category_ids),
        images=len(image_ids),
        categories=len(category_ids),
        kind=kind,
    )
    assert_equal(ours, theirs)
    expected = json.loads((folder / "expected_pycocotools.json").read_text())
    assert_close(list(ours.numbers().values()), expected[name])
    printed = (folder / "val2014_fake_eval_res.txt").read_text().split(f"type={name}")[1].splitlines()[3:15]
    assert [line.split() for line in ours.summary().splitlines()] == [line.split() for line in printed]


def test_nothing_to_find_and_nothing_found():
    nothing = scored([], [])
    assert set(nothing.numbers().values()) == {-1.0}
    assert nothing.ap_per_class().tolist() == [-1.0, -1.0, -1.0]
    truth = {"image_id": 3, "category_id": 5, "bbox": [0, 0, 10, 10], "area": 100.0, "iscrowd": 0}
    missed = scored([truth], [])
    assert (missed.ap, missed.ar100, missed.ap_small, missed.ap_large) == (0.0, 0.0, 0.0, -1.0)


@pytest.mark.system("4.1-COCOMAP")
@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_crowd_takes_as_many_detections_as_lie_in_it(kind: Kind):
    """Three detections in a crowd are neither right nor wrong; were it taken by the first, two would be wrong."""
    place = {"image_id": 3, "category_id": 5}
    boxes = [[0.0, 0, 60, 40], [70.0, 0, 20, 20]]
    truths = [
        {**place, "bbox": boxes[0], "area": 2400.0, "iscrowd": 1, "segmentation": mask_of(boxes[0], hole=False)},
        {**place, "bbox": boxes[1], "area": 400.0, "iscrowd": 0, "segmentation": mask_of(boxes[1], hole=False)},
    ]
    inside = [[0.0, 0, 20, 20], [20.0, 0, 20, 20], [40.0, 10, 20, 20]]
    found = [
        {**place, "bbox": box, "segmentation": mask_of(box, hole=False), "score": 0.9 - 0.1 * row}
        for row, box in enumerate([*inside, boxes[1]])
    ]
    assert scored(truths, found, kind).ap == pytest.approx(1.0, abs=1e-12)
    # without the crowd the three are wrong and surer than what is right: precision 1/4
    assert scored(truths[1:], found, kind).ap == pytest.approx(0.25, abs=1e-12)


def test_per_class_numbers_average_to_the_whole():
    rows = [
        {"image_id": 3, "category_id": k, "bbox": [0, 0, 10 * k, 40], "area": 400.0 * k, "iscrowd": 0} for k in (2, 5)
    ]
    found = [{**rows[0], "score": 0.9}, {**rows[1], "bbox": [0, 0, 50, 30], "score": 0.8}]
    ours = scored(rows, found)
    assert_close(ours.ap_per_class(), [1.0, 0.6, -1.0])  # IoU 0.75 reaches six thresholds
    assert_close(ours.ap_per_class(0.75), [1.0, 1.0, -1.0])
    assert_close(ours.ap_per_class(0.8), [1.0, 0.0, -1.0])
    assert ours.ap == pytest.approx(0.8, rel=EXACT)
    assert_close(ours.curve(1, 0.75), np.ones(101))
    with pytest.raises(ValueError, match=r"0\.52 is none of"):
        ours.ap_per_class(0.52)
    with pytest.raises(ValueError, match="'tiny' is none of"):
        ours.curve(0, area="tiny")


def test_other_limits_on_detections():
    truths = [
        {"image_id": 3, "category_id": 2, "bbox": [20 * n, 0, 9, 9], "area": 81.0, "iscrowd": 0} for n in range(5)
    ]
    found = [{**row, "score": 0.9 - 0.1 * n} for n, row in enumerate(truths)]
    ours = coco_scores(
        Truths.from_annotations(truths, IMAGE_IDS, CATEGORY_IDS),
        Predictions.from_results(found, IMAGE_IDS, CATEGORY_IDS),
        images=4,
        categories=3,
        max_detections=(1, 2, 3),
    )
    assert (ours.ar1, ours.ar10, ours.ar100) == pytest.approx((0.2, 0.4, 0.6))
    assert ours.summary().splitlines()[7].endswith("maxDets=  2 ] = 0.400")


def rows_of(count: int) -> tuple[Truths, Predictions]:
    """Make valid rows that a test can spoil."""
    zeros, box = np.zeros(count, np.int64), np.tile([0.0, 0.0, 5.0, 5.0], (count, 1))
    truths = Truths(zeros, zeros, box, np.full(count, 25.0), np.zeros(count, bool))
    return truths, Predictions(zeros, zeros, box, np.ones(count))


def test_wrong_rows_are_refused_with_reasons():
    truths, predictions = rows_of(2)
    wrong: list[tuple[str, Truths, Predictions]] = [
        ("image 0..7, expected 0..3", truths, predictions._replace(image=np.array([0, 7]))),
        ("category -1..0", truths._replace(category=np.array([-1, 0])), predictions),
        ("2 rows in `image` and 3 in `scores`", truths, predictions._replace(scores=np.ones(3))),
        ("scores that are not finite in 1 rows, first 1", truths, predictions._replace(scores=np.array([1, np.nan]))),
        ("boxes that are not finite", truths._replace(boxes=np.full((2, 4), np.inf)), predictions),
    ]
    for message, wrong_truths, wrong_predictions in wrong:
        with pytest.raises(ValueError, match=re.escape(message)):
            coco_scores(wrong_truths, wrong_predictions, images=4, categories=3)
    with pytest.raises(ValueError, match="no masks"):
        coco_scores(truths, predictions, images=4, categories=3, kind="masks")
    with pytest.raises(ValueError, match="three rising"):
        coco_scores(truths, predictions, images=4, categories=3, max_detections=(10, 1, 100))
    with pytest.raises(ValueError, match=r"image_id \[77\]"):
        Predictions.from_results([{"image_id": 77, "category_id": 2, "score": 1.0}], IMAGE_IDS, CATEGORY_IDS)


def test_masks_of_unequal_size_are_refused():
    masks = encode_masks(torch.ones(1, 4, 6, dtype=torch.bool)), encode_masks(torch.ones(1, 5, 6, dtype=torch.bool))
    truths, predictions = rows_of(1)
    with pytest.raises(ValueError, match="image 0 has masks of different sizes"):
        coco_scores(
            truths._replace(masks=masks[0]), predictions._replace(masks=masks[1]), images=1, categories=1, kind="masks"
        )


def random_image(image_id: int, *, empty: bool = False) -> tuple[Detections, dict[str, torch.Tensor]]:
    """Draw the target of one image with rectangles as masks, and detections near it."""
    generator = torch.Generator().manual_seed(image_id)
    count = 0 if empty else 5
    corner = torch.randint(0, 60, (count, 2), generator=generator)
    truth = torch.cat([corner, corner + torch.randint(8, 60, (count, 2), generator=generator)], 1).float()
    labels = torch.randint(0, 3, (count,), generator=generator)
    near = (truth + torch.randint(-3, 4, truth.shape, generator=generator)).clamp(0)
    target = {
        "image_id": torch.tensor(image_id),
        "boxes": truth,
        "labels": labels,
        "crowd": torch.rand(count, generator=generator) < 0.2,
        "masks": rectangles(truth),
    }
    scores = torch.rand(count, generator=generator, dtype=torch.float64).round(decimals=1)
    return Detections(near, scores, labels, ("a", "b", "c"), rectangles(near)), target


def rectangles(xyxy: torch.Tensor) -> torch.Tensor:
    """Draw boxes of whole pixels as masks."""
    masks = torch.zeros(len(xyxy), *SIZE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, xyxy.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return masks


@pytest.mark.system("4.0-FORMAT", "5.2-INSTSEG")
@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_evaluator_equals_pycocotools_on_the_written_results(kind: Kind):
    images = {i: random_image(i, empty=i == 11) for i in IMAGE_IDS}
    evaluator = CocoEvaluator(3, kind=kind)
    for detections, target in images.values():
        evaluator.update([detections], [target])
    written = [row for i, (found, _) in images.items() for row in found.to_coco(i, CATEGORY_IDS)]
    results = json.loads(json.dumps(written))
    annotations = [row for i, (_, target) in images.items() for row in annotations_of(i, target)]
    if kind == "masks":
        for row in results:
            del row["bbox"]
    theirs = evaluated(annotations, results, image_ids=IMAGE_IDS, category_ids=CATEGORY_IDS, kind=kind, size=SIZE)
    assert_equal(evaluator.compute(), theirs)
    assert_equal(scored(annotations, results, kind), theirs)
    assert 0 < theirs.stats[0] < 1


def annotations_of(image_id: int, target: dict[str, torch.Tensor]) -> list[Record]:
    """Write a target as COCO annotations."""
    return [
        {
            "image_id": image_id,
            "category_id": CATEGORY_IDS[label],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "iscrowd": int(crowd),
            "segmentation": rle,
        }
        for box, label, crowd, rle in zip(
            target["boxes"].double().tolist(),
            target["labels"].tolist(),
            target["crowd"].tolist(),
            encode_masks(target["masks"]),
            strict=True,
        )
    ]


def test_evaluator_does_not_depend_on_order_or_processes():
    images = [random_image(i) for i in range(9)]
    together, first, second = (CocoEvaluator(3) for _ in range(3))
    together.update([found for found, _ in images], [target for _, target in images])
    for number, (found, target) in enumerate(reversed(images)):
        (first if number % 2 else second).update([found], [target])
    first.update([images[8][0]], [images[8][1]])  # a padded sampler shows the last image to both
    first.merge(second)
    assert len(first) == len(together) == 9
    assert first.compute().numbers() == together.compute().numbers()


@pytest.mark.system("5.2-INSTSEG")
@pytest.mark.parametrize("limits", [(1, 10, 100), (1, 2, 3)])
def test_overlaps_of_masks_are_found_image_by_image(limits: tuple[int, int, int]):
    """Whatever the order; the same as with all masks at once, and from masks that are run lengths in the target too."""
    images = [random_image(i, empty=i == 4) for i in range(9)]
    evaluator = CocoEvaluator(3, kind="masks", max_detections=limits)
    other = CocoEvaluator(3, kind="masks", max_detections=limits)
    for number, (found, target) in enumerate(reversed(images)):
        coded = {**target, "masks": CodedMasks.of(target["masks"])}
        (evaluator if number % 2 else other).update([found], [coded if number % 3 else target])
    evaluator.merge(other)
    truths, rows = [], []
    for i, (found, target) in enumerate(images):
        truths += annotations_of(i, target)
        rows += found.to_coco(i, CATEGORY_IDS)
    whole = coco_scores(
        Truths.from_annotations(truths, range(9), CATEGORY_IDS),
        Predictions.from_results(rows, range(9), CATEGORY_IDS),
        images=9,
        categories=3,
        kind="masks",
        max_detections=limits,
    )
    found = evaluator.compute()
    assert found.numbers() == whole.numbers()
    np.testing.assert_array_equal(found.precision, whole.precision)
    np.testing.assert_array_equal(found.scores, whole.scores)
    assert 0 < found.ap < 1


def test_two_threads_decode_many_masks(monkeypatch: pytest.MonkeyPatch):
    found, target = random_image(3)
    arguments: dict[str, Any] = {"images": 1, "categories": 3, "kind": "masks"}
    truths = Truths.from_annotations(annotations_of(0, target), [0], CATEGORY_IDS)
    predictions = Predictions.from_results(found.to_coco(0, CATEGORY_IDS), [0], CATEGORY_IDS)
    alone = coco_scores(truths, predictions, **arguments)
    monkeypatch.setattr(coco, "PARALLEL_FROM", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert coco_scores(truths, predictions, **arguments).numbers() == alone.numbers()
    assert alone.ap > 0


def test_nothing_of_masks_but_their_overlaps_is_kept():
    """An image of 2,000 x 2,000 with 40 speckled masks: megabytes of run lengths, a few kilobytes of state."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(40, 500, 500, generator=generator) < 0.5
    coded = CodedMasks.of(masks)
    boxes = torch.tensor([[0.0, 0, 500, 500]]).expand(40, 4)
    labels = torch.arange(40) % 3
    evaluator = CocoEvaluator(3, kind="masks")
    found = Detections(boxes, torch.rand(40, generator=generator), labels, ("a", "b", "c"), coded)
    evaluator.update([found], [{"image_id": torch.tensor(0), "boxes": boxes, "labels": labels, "masks": coded}])
    assert sum(map(len, coded.runs)) > 2_000_000
    assert len(pickle.dumps(evaluator)) < 20_000
    assert evaluator.compute().ap == pytest.approx(1)


def test_masks_of_another_size_than_the_truth_are_refused_at_once():
    found, target = random_image(1)
    masks = target["masks"][:, :-1]
    with pytest.raises(ValueError, match="masks of different sizes"):
        CocoEvaluator(3, kind="masks").update([found], [{**target, "masks": masks}])


def test_evaluator_refuses_what_it_cannot_score():
    found, target = random_image(1)
    evaluator = CocoEvaluator(3)
    with pytest.raises(ValueError, match="no images"):
        evaluator.compute()
    with pytest.raises(ValueError, match=r"lacks \['labels'\]"):
        evaluator.update([found], [{key: value for key, value in target.items() if key != "labels"}])
    with pytest.raises(ValueError, match="1 images and targets of 0"):
        evaluator.update([found], [])
    evaluator.update([found], [target])
    with pytest.raises(ValueError, match="image 1 was given before"):
        evaluator.update([found], [target])
    with pytest.raises(ValueError, match="cannot merge"):
        evaluator.merge(CocoEvaluator(4))
    without_masks = Detections(found.boxes, found.scores, found.labels, found.categories)
    with pytest.raises(ValueError, match="has no masks"):
        CocoEvaluator(3, kind="masks").update([without_masks], [target])


def test_inputs_stay_as_they_were():
    found, target = random_image(2)
    kept = found.boxes.clone(), target["boxes"].clone()
    evaluator = CocoEvaluator(3)
    evaluator.update([found], [target])
    before = evaluator.compute().numbers()
    target["boxes"].zero_()
    assert evaluator.compute().numbers() == before
    assert torch.equal(found.boxes, kept[0])
    assert not torch.equal(target["boxes"], kept[1])
