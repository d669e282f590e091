"""Detection: a picture, and the boxes and classes of the things in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidi.data.truths import object_truth
from vidi.engine import plots
from vidi.engine.datasets import WORLD, categories_of
from vidi.engine.recipe import AugmentChoice
from vidi.engine.runs import Row
from vidi.engine.task import Judged, Task
from vidi.metrics.coco import RECALL_LEVELS, CocoEvaluator, CocoScores
from vidi.metrics.thresholds import MIN_IOU, Objects, best_threshold, confused_objects, f1_curve, f1_of
from vidi.recipes.detection import FINE_TUNED, FROM_SCRATCH
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.results.result import SHOWN_FROM

MOVES_BOXES: tuple[AugmentChoice, ...] = ("none", "flip", "resized_crop", "boxes", "dihedral_boxes")
"""The others move no boxes: reflecting paddings show a thing twice, RandAugment moves the picture alone."""


"""From which score on detections are believed where nothing says better."""


class DetectionScorer:
    """COCO's twelve numbers for boxes, the precision-recall curves, and what is confused from a threshold on."""

    headline = "ap"
    keys: tuple[str, ...] = ("boxes", "labels", "areas", "crowd")

    def __init__(self, categories: Categories):
        self.categories = categories
        self.evaluator = CocoEvaluator(len(categories))
        self.scores: CocoScores | None = None
        self.threshold: float | None = None  # from which on detections are believed; None: the best one

    def update(self, results: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        self.evaluator.update(results, targets)

    def compute(self) -> dict[str, float]:
        self.scores = self.evaluator.compute()
        return self.scores.numbers()

    def best_threshold(self) -> float | None:
        """Return the score from which on F1 is best, of all classes together, at an IoU of 0.50; to two digits.

        None where nothing is right, or nothing was scored.
        """
        if self.scores is None:
            return None
        found = self.scores.found
        return best_threshold(found.scores, found.right, int(found.truths.sum()))

    def by_class(self) -> list[Row]:
        """Return the true objects and the AP of each class, that of boxes last."""
        if self.scores is None:
            return []
        objects, aps = self.scores.found.truths, self.class_aps(self.scores)
        return [
            {"class": name, "objects": int(objects[k]), **{key: values[k] for key, values in aps.items()}}
            for k, name in enumerate(self.categories)
            if name is not None
        ]

    def class_aps(self, scores: CocoScores) -> dict[str, list[float | None]]:
        """Return scores of each class, None for one without truths; the most telling first."""
        return {"ap": known(scores.ap_per_class()), "ap50": known(scores.ap_per_class(0.5))}

    def judged(self, result: Detections, target: Mapping[str, Any]) -> Judged | None:
        """Return the F1 of the boxes of one picture from the threshold on."""
        boxes, labels = target["boxes"].as_subclass(Tensor), target["labels"]
        crowd = target["crowd"].bool() if "crowd" in target else torch.zeros(len(labels), dtype=torch.bool)
        truths = Objects(boxes.cpu(), labels.cpu())
        counts = self._confused(Objects(result.boxes, result.labels), result.scores, truths, crowd.cpu())
        f1 = f1_of(counts)
        if f1 is None:
            return None
        missed, false = int(counts[:-1, -1].sum()), int(counts[-1].sum())
        confused = int(counts[:-1, :-1].sum() - counts.diagonal()[:-1].sum())
        faults = {"missed": missed, "false": false, "confused": confused}
        told = ", ".join(f"{count} {what}" for what, count in faults.items() if count)
        order = f1 - 1e-6 * sum(faults.values())  # of equal ones that with more faults is worse
        return Judged(order, f"F1 {f1:.2f}{': ' if told else ''}{told}")

    def _confused(self, found: Objects, scores: Tensor, truths: Objects, crowd: Tensor) -> Tensor:
        used = self._used_threshold()
        return confused_objects(found, scores, truths, crowd, classes=len(self.categories), threshold=used)

    def _used_threshold(self) -> float:
        if self.threshold is not None:
            return self.threshold
        best = self.best_threshold()
        return SHOWN_FROM if best is None else best

    def write_plots(self, folder: Path) -> None:
        """Write precision over recall, F1 over the threshold, and what is taken for what from the threshold on."""
        if self.scores is None:
            return
        curves = {str(name): (RECALL_LEVELS, self.scores.curve(k)) for k, name in enumerate(self.categories)}
        title = f"Precision and recall at an IoU of {MIN_IOU:.2f}"
        plots.precision_recall(folder / "precision_recall.png", curves, title)
        used, found = self._used_threshold(), self.scores.found
        curve = f1_curve(found.scores, found.right, int(found.truths.sum()))
        lines = {"F1": curve.f1, "precision": curve.precision, "recall": curve.recall}
        plots.threshold_curves(
            folder / "thresholds.png", curve.thresholds, lines, used=used, best=self.best_threshold()
        )
        names = [name or "" for name in self.categories]
        plots.confusion_matrix(
            folder / "confusion_matrix.png",
            self.confusion(),
            [*names, "false alarm"],
            columns=[*names, "missed"],
            title=f"IoU {MIN_IOU:.2f}, scores from {used:.2f}",
        )

    def confusion(self) -> Tensor:
        """Return the counts of `confused_objects` of all pictures, from the threshold on."""
        counts = torch.zeros(len(self.categories) + 1, len(self.categories) + 1, dtype=torch.int64)
        for truths, predictions in self.evaluator.objects():
            labels, boxes, _, crowd = map(torch.from_numpy, truths)
            found_labels, found_boxes, scores = map(torch.from_numpy, predictions)
            counts += self._confused(Objects(found_boxes, found_labels), scores, Objects(boxes, labels), crowd)
        return counts


def known(values: np.ndarray) -> list[float | None]:
    """Return scores of classes, None for COCO's -1."""
    return [None if value == -1 else float(value) for value in values]


DETECTION = Task(
    name="detection",
    needs=("boxes", "labels"),
    uses=("areas", "crowd"),
    says={"categories": categories_of},
    result=Detections,
    scorer=DetectionScorer,
    truth=object_truth,
    moves=MOVES_BOXES,
    tiles=True,
    built_in={"world": WORLD},
    recipe=FROM_SCRATCH,
    fine_tuning=FINE_TUNED,
)
