"""Detection: a picture, and the boxes and classes of the things in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidi.data.truths import object_truth
from vidi.engine import plots
from vidi.engine.datasets import WORLD, categories_of
from vidi.engine.recipe import AugmentChoice
from vidi.engine.task import Task
from vidi.metrics.coco import RECALL_LEVELS, CocoEvaluator, CocoScores
from vidi.recipes.detection import FINE_TUNED, FROM_SCRATCH
from vidi.results.categories import Categories
from vidi.results.detections import Detections

MOVES_BOXES: tuple[AugmentChoice, ...] = ("none", "flip", "resized_crop", "boxes", "dihedral_boxes")
"""The others move no boxes: reflecting paddings show a thing twice, RandAugment moves the picture alone."""


class DetectionScorer:
    """COCO's twelve numbers for boxes, and the precision-recall curves."""

    headline = "ap"
    keys: tuple[str, ...] = ("boxes", "labels", "areas", "crowd")

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
