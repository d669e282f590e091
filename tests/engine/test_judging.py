"""What an evaluation leaves in a folder: records that other tools read, a table by class, the worst pictures."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from tests.closeness import NUMBERS
from tests.references.coco_reference import COCO
from vidi.engine import judging as module
from vidi.engine.judging import Judging, by_class
from vidi.engine.task import Judged
from vidi.metrics.thresholds import best_threshold
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.results.semantic_map import SemanticMap
from vidi.tasks.classification import CLASSIFICATION, ClassificationScorer
from vidi.tasks.detection import DETECTION, DetectionScorer
from vidi.tasks.semantic import SEMANTIC, SemanticScorer

NAMES = ("cat", "dog", "cow")


class Pictures(list[Any]):
    """Grey pictures with targets."""

    category_ids = (3, 7, 20)
    root = "/data/set"

    def name(self, row: int) -> str:
        return f"/data/set/images/{row}.jpg"


def boxes_of(count: int, seed: int) -> Tensor:
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 40
    return torch.cat((corners, corners + 20), 1)


def detections(count: int = 12) -> tuple[list[Detections], Pictures]:
    """Return results and a data set: picture k misses k of 12 objects; one class has no object."""
    results, pictures = [], Pictures()
    for row in range(count):
        boxes, labels = boxes_of(count, row), torch.arange(count) % 2
        found = torch.ones(count, dtype=torch.bool)
        found[:row] = False
        scores = torch.linspace(0.9, 0.6, count)[found]
        results.append(Detections(boxes[found], scores, labels[found], NAMES))
        target = {"image_id": torch.tensor(100 + row), "boxes": boxes, "labels": labels}
        target |= {"areas": torch.full((count,), 400.0), "crowd": torch.zeros(count, dtype=torch.bool)}
        pictures.append((torch.full((3, 60, 60), 90, dtype=torch.uint8), target))
    return results, pictures


def judged(scorer: Any, results: Sequence[Any], pictures: Sequence[Any], split: str = "val") -> Judging:
    judging = Judging(scorer, pictures, split)
    for result, (_, target) in zip(results, pictures, strict=True):
        judging.update([result], [target])
    judging.compute()
    return judging


def shown_by(judging: Judging, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """Return what the mosaic of the worst pictures is made of."""
    given: dict[str, Any] = {}

    def drawn(path: Path, tiles: Any, **more: Any) -> None:
        given.update(path=path, tiles=tiles, **more)

    monkeypatch.setattr(module.plots, "mosaic", drawn)
    judging.write(folder, **options)
    return given


def test_a_folder_holds_what_a_detector_is_judged_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, pictures = detections()
    scorer = DetectionScorer(NAMES)
    scorer.threshold = 0.5
    judging = judged(scorer, results, pictures)
    shown = shown_by(judging, tmp_path, monkeypatch, task=DETECTION, categories=NAMES, threshold=0.5)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("scores.csv", "predictions.json", "precision_recall.png", "thresholds.png", "confusion_matrix.png")
    }
    assert shown["path"] == tmp_path / "worst.png"
    assert shown["titles"] == ("ground truth", "prediction")
    assert len(shown["tiles"]) == 12
    assert shown["captions"][0] == "F1 0.15: 11 missed   images/11.jpg"
    assert shown["captions"][-1] == "F1 1.00   images/0.jpg"
    truth, prediction = shown["tiles"][0]
    image, target = pictures[11]
    assert truth.tobytes() == DETECTION.truth(target, NAMES).draw(image).tobytes()  # pyright: ignore[reportOptionalCall]
    assert prediction.tobytes() == results[11].draw(image, threshold=0.5).tobytes()
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == list(NAMES)
    assert [row["objects"] for row in rows] == ["72", "72", "0"]
    assert (rows[2]["ap"], rows[2]["ap50"]) == ("", "")
    assert 0 < float(rows[0]["ap"]) < 1


def test_predictions_are_cocos_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, pictures = detections()
    scorer = DetectionScorer(NAMES)
    judging = judged(scorer, results, pictures)
    judging.write(tmp_path, DETECTION, NAMES, threshold=0.5)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": int(target["image_id"])} for _, target in pictures],
        "categories": [{"id": number} for number in Pictures.category_ids],
        "annotations": [
            {"id": 1 + 12 * row + k, "image_id": int(target["image_id"]), "area": 400.0, "iscrowd": 0}
            | {"category_id": Pictures.category_ids[label], "bbox": [x, y, 20, 20]}
            for row, (_, target) in enumerate(pictures)
            for k, ((x, y, *_), label) in enumerate(
                zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
            )
        ],
    }
    truth.createIndex()
    theirs = COCOeval(truth, truth.loadRes(str(tmp_path / "predictions.json")), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    assert scorer.compute()["ap50"] == pytest.approx(theirs.stats[1], rel=NUMBERS)
    capsys.readouterr()


def test_ids_of_categories_count_from_one_where_the_data_have_none() -> None:
    results, pictures = detections(2)
    plain = Judging(DetectionScorer(NAMES), list(pictures), "val")
    plain.update(results, [target for _, target in pictures])
    assert {json.loads(record)["category_id"] for record in plain.records} == {1, 2}


def test_the_twenty_worst_are_kept_and_of_equals_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Scorer(ClassificationScorer):
        def judged(self, result: Classification, target: Mapping[str, Any]) -> Judged:
            order = float(target["worth"])
            return Judged(order, f"{order:g}")

        def by_class(self) -> list[Any]:
            return []

    probabilities = torch.tensor([1.0, 0, 0])
    targets = [{"label": torch.tensor(0), "worth": (7 * row) % 50 // 2} for row in range(50)]
    pictures = [(torch.zeros(3, 8, 8, dtype=torch.uint8), target) for target in targets]
    results = [Classification(probabilities, NAMES)] * 50
    judging = judged(Scorer(NAMES), results, pictures, split="test")
    shown = shown_by(judging, tmp_path, monkeypatch, task=CLASSIFICATION, categories=NAMES, threshold=0.5)
    order = sorted(range(50), key=lambda row: (targets[row]["worth"], row))[: module.WORST]
    assert module.WORST == 20
    assert shown["captions"] == [f"{targets[row]['worth']:g}   image {row} of test" for row in order]
    assert not (tmp_path / "scores.csv").exists()


def test_wrong_answers_come_first_the_surest_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.tensor([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.3, 0.6, 0.1], [0.4, 0.3, 0.3]])
    pictures = Pictures((torch.zeros(3, 8, 8, dtype=torch.uint8), {"label": torch.tensor(0)}) for _ in rows)
    scorer = ClassificationScorer(NAMES)
    judging = judged(scorer, [Classification(row, NAMES) for row in rows], pictures)
    shown = shown_by(judging, tmp_path, monkeypatch, task=CLASSIFICATION, categories=NAMES, threshold=0.5)
    assert [caption.partition("   ")[0] for caption in shown["captions"]] == [
        *("wrong: dog 0.90", "wrong: dog 0.60", "right: cat 0.40", "right: cat 0.90")
    ]
    records = json.loads((tmp_path / "predictions.json").read_text())
    assert [(record["image"], record["image_id"], record["name"]) for record in records[:2]] == [
        *(("images/0.jpg", 0, "cat"), ("images/1.jpg", 1, "dog"))
    ]
    assert scorer.by_class() == [
        {"class": "cat", "pictures": 4, "recall": 0.5, "precision": 1.0},
        {"class": "dog", "pictures": 0, "recall": None, "precision": 0.0},
        {"class": "cow", "pictures": 0, "recall": None, "precision": None},
    ]


def test_maps_are_judged_by_the_mean_iou_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = torch.zeros(8, 8, dtype=torch.uint8)
    truth[:, 4:] = 1
    half = truth.clone()
    half[:4] = 0
    void = torch.full((8, 8), 255, dtype=torch.uint8)
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    pictures = Pictures((image, {"semantic": target}) for target in (truth, truth, void))
    results = [SemanticMap(classes, NAMES) for classes in (truth, half, truth)]
    scorer = SemanticScorer(NAMES)
    judging = judged(scorer, results, pictures)
    shown = shown_by(judging, tmp_path, monkeypatch, task=SEMANTIC, categories=NAMES, threshold=0.5)
    miou = (32 / 48 + 16 / 32) / 2
    assert shown["captions"] == [f"mIoU {miou:.2f}   images/1.jpg", "mIoU 1.00   images/0.jpg"]
    first, second, third = scorer.by_class()
    assert (first["class"], first["pixels"], first["iou"], first["accuracy"]) == ("cat", 64, 64 / 80, 1)
    assert (second["pixels"], second["iou"], second["accuracy"]) == (64, 48 / 64, 48 / 64)
    assert third == {"class": "cow", "pixels": 0, "iou": None, "accuracy": None, "boundary_f": None}
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 3


def test_a_task_without_more_to_tell_leaves_its_records(tmp_path: Path) -> None:
    class Scorer:
        headline, keys = "none", ()

        def update(self, results: Any, targets: Any) -> None: ...

        def compute(self) -> dict[str, float]:
            return {}

        def write_plots(self, folder: Path) -> None: ...

    judging = judged(Scorer(), [Classification(torch.ones(3), NAMES)], [(torch.zeros(3, 8, 8), {"label": 0})])
    judging.write(tmp_path / "new", CLASSIFICATION, NAMES, threshold=0.5)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["predictions.json"]
    assert by_class(judging.scorer) == []


def test_worst_is_a_picture(tmp_path: Path) -> None:
    results, pictures = detections(3)
    scorer = DetectionScorer(NAMES)
    judged(scorer, results, pictures).write(tmp_path, DETECTION, NAMES, threshold=0.5)
    with PIL.Image.open(tmp_path / "worst.png") as picture:
        assert picture.width > picture.height / 2 > 100


class TestDetectionScorer:
    def test_the_best_threshold_is_that_of_all_classes_together(self) -> None:
        results, pictures = detections()
        scorer = DetectionScorer(NAMES)
        assert scorer.best_threshold() is None  # nothing was scored
        assert scorer.by_class() == []
        worse = [
            Detections(
                torch.cat((result.boxes, result.boxes + 200)),
                torch.cat((result.scores, result.scores - 0.35)),
                torch.cat((result.labels, result.labels)),
                NAMES,
            )
            for result in results
        ]
        judged(scorer, worse, pictures)
        assert scorer.best_threshold() == 0.57  # the middle of 0.55, what is wrong, and 0.60, what is right
        found = scorer.scores.found if scorer.scores is not None else None
        assert found is not None
        assert scorer.best_threshold() == best_threshold(found.scores, found.right, 144)

    def test_nothing_right_has_no_best_threshold(self, tmp_path: Path) -> None:
        _, pictures = detections(2)
        far = Detections(torch.tensor([[500.0, 500, 510, 510]]), torch.tensor([0.9]), torch.tensor([0]), NAMES)
        scorer = DetectionScorer(NAMES)
        judged(scorer, [far, far], pictures)
        assert scorer.best_threshold() is None
        scorer.write_plots(tmp_path)
        assert scorer.confusion().tolist() == [[0, 0, 0, 2], [0, 0, 0, 2], [0, 0, 0, 0], [2, 0, 0, 0]]

    def test_the_threshold_decides_what_is_believed(self) -> None:
        results, pictures = detections()
        scorer = DetectionScorer(NAMES)
        judged(scorer, results, pictures)
        best = int(scorer.confusion().diagonal().sum())
        scorer.threshold = 0.75
        assert int(scorer.confusion().diagonal().sum()) == sum(int((r.scores >= 0.75).sum()) for r in results) < best
        verdict = scorer.judged(results[0], pictures[0][1])
        assert verdict is not None
        assert verdict.told == "F1 0.67: 6 missed"
        scorer.threshold = None
        assert best == sum(map(len, results))

    def test_a_picture_without_anything_is_not_judged(self) -> None:
        scorer = DetectionScorer(NAMES)
        none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), NAMES)
        target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        assert scorer.judged(none, target) is None
        far = Detections(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0.9]), torch.tensor([0]), NAMES)
        verdict = scorer.judged(far, target)
        assert verdict is not None
        assert verdict.told == "F1 0.00: 1 false"

    def test_of_equal_scores_the_picture_with_more_faults_is_worse(self) -> None:
        scorer = DetectionScorer(NAMES)
        none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), NAMES)
        orders = []
        for count in (1, 3):
            target = {"boxes": boxes_of(count, 0), "labels": torch.zeros(count, dtype=torch.int64)}
            verdict = scorer.judged(none, target)
            assert verdict is not None
            orders.append(verdict.order)
        assert orders[0] > orders[1] > -0.01

    def test_confused_objects_are_told(self) -> None:
        scorer = DetectionScorer(NAMES)
        boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])
        found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), NAMES)
        verdict = scorer.judged(found, {"boxes": boxes, "labels": torch.tensor([0, 2])})
        assert verdict is not None
        assert verdict.told == "F1 0.50: 1 confused"

    def test_unnamed_classes_have_no_row(self) -> None:
        names = ("cat", None)
        boxes = torch.tensor([[0.0, 0, 10, 10]])
        scorer = DetectionScorer(names)
        found = Detections(boxes, torch.tensor([0.9]), torch.tensor([0]), names)
        scorer.update([found], [{"image_id": torch.tensor(0), "boxes": boxes, "labels": torch.tensor([0])}])
        scorer.compute()
        assert [(row["class"], row["objects"]) for row in scorer.by_class()] == [("cat", 1)]
