"""How each task is scored: results and targets in, numbers and the plots that people of the task look at out."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vidi import files
from vidi.engine import plots
from vidi.metrics.classification import confusion_matrix, top_k_accuracy
from vidi.metrics.coco import RECALL_LEVELS, CocoEvaluator, CocoScores
from vidi.results import Categories, Classification, Detections, Translation


class Scorer(Protocol):
    """Collects one evaluation. `headline` names the number by which weights are best; larger is better."""

    headline: str

    def update(self, results: Sequence[Any], targets: Sequence[Mapping[str, Any]]) -> None:
        """Add images: their results, and their targets in the pixels of the originals."""
        ...

    def compute(self) -> dict[str, float]:
        """Return the scores of all images so far."""
        ...

    def write_plots(self, folder: Path) -> None:
        """Write the task's plots of the scores that `compute` returned."""
        ...


class ClassificationScorer:
    """Top-1 and top-5 accuracy, and the confusion matrix."""

    headline = "top1"

    def __init__(self, categories: Categories):
        self.categories = categories
        self.probabilities: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, results: Sequence[Classification], targets: Sequence[Mapping[str, Any]]) -> None:
        self.probabilities += [result.probabilities for result in results]
        self.labels += [target["label"] for target in targets]

    def compute(self) -> dict[str, float]:
        probabilities, labels = torch.stack(self.probabilities), torch.stack(self.labels)
        scores = {"top1": top_k_accuracy(probabilities, labels)}
        if len(self.categories) > 5:
            scores["top5"] = top_k_accuracy(probabilities, labels, k=5)
        return scores

    def write_plots(self, folder: Path) -> None:
        predicted = torch.stack(self.probabilities).argmax(dim=1)
        matrix = confusion_matrix(predicted, torch.stack(self.labels), classes=len(self.categories))
        names = [name or "" for name in self.categories]
        plots.confusion_matrix(folder / "confusion_matrix.png", matrix, names)


class DetectionScorer:
    """COCO's twelve numbers for boxes, and the precision-recall curves."""

    headline = "ap"

    def __init__(self, categories: Categories):
        self.categories = categories
        self.evaluator = CocoEvaluator(len(categories))
        self.scores: CocoScores | None = None

    def update(self, results: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        self.evaluator.update(results, targets)

    def compute(self) -> dict[str, float]:
        self.scores = self.evaluator.compute()
        return self.scores.numbers()

    def write_plots(self, folder: Path) -> None:
        if self.scores is not None:
            curves = {str(name): (RECALL_LEVELS, self.scores.curve(k)) for k, name in enumerate(self.categories)}
            title = "Precision and recall at an IoU of 0.50"
            plots.precision_recall(folder / "precision_recall.png", curves, title)


class TranslationScorer:
    """The share of sentences that are right to the last word, and of words at their right place."""

    headline = "exact"

    def __init__(self, categories: Categories):
        self.rows: list[dict[str, Any]] = []

    def update(self, results: Sequence[Translation], targets: Sequence[Mapping[str, Any]]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.rows.append({"expected": target["sentence"], "found": " ".join(result.words), "score": result.score})

    def compute(self) -> dict[str, float]:
        exact = [row["expected"] == row["found"] for row in self.rows]
        words = [
            found == expected
            for row in self.rows
            for found, expected in itertools.zip_longest(row["found"].split(), row["expected"].split())
        ]
        return {"exact": sum(exact) / len(exact), "words": sum(words) / len(words)}

    def write_plots(self, folder: Path) -> None:
        """Write `sentences.csv`, the wrong ones first."""
        files.write_csv(folder / "sentences.csv", sorted(self.rows, key=lambda row: row["expected"] == row["found"]))


@dataclass(frozen=True)
class Task:
    """What a kind of system needs from a data set, and how it is judged."""

    targets: tuple[str, ...]  # keys without which it cannot be trained
    optional: tuple[str, ...] = ()  # keys that are used where a data set has them
    scorer: Callable[[Categories], Scorer] | None = None
    truth: Callable[[Mapping[str, Any], Categories], Any] | None = None  # the target as a result, to be drawn


def _class_truth(target: Mapping[str, Any], categories: Categories) -> Classification:
    return Classification(torch.nn.functional.one_hot(target["label"], len(categories)).float(), categories)


def _box_truth(target: Mapping[str, Any], categories: Categories) -> Detections:
    boxes, labels = target["boxes"].as_subclass(Tensor), target["labels"]
    return Detections(boxes, torch.ones(len(boxes)), labels, categories)


TASKS: dict[str, Task] = {
    "classification": Task(("label",), (), ClassificationScorer, _class_truth),
    "detection": Task(("boxes", "labels"), ("areas", "crowd"), DetectionScorer, _box_truth),
    "generation": Task(()),
    "anchors": Task(("boxes",)),
    "windows": Task((), ("boxes", "labels", "crowd", "label")),
    "translation": Task(("tokens",), (), TranslationScorer),
}
