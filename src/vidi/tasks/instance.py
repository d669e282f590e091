"""Instance segmentation: a picture, and the class, box and pixels of each thing in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from vidi.data.truths import object_truth
from vidi.engine.datasets import WORLD, categories_of
from vidi.engine.task import Task
from vidi.metrics.coco import CocoEvaluator, CocoScores
from vidi.recipes.detection import FINE_TUNED, FROM_SCRATCH
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.tasks.detection import MOVES_BOXES, DetectionScorer


class InstanceScorer(DetectionScorer):
    """COCO's twelve numbers for boxes, and the same for masks as `mask_ap` ..."""

    headline = "mask_ap"
    keys: tuple[str, ...] = (*DetectionScorer.keys, "masks")

    def __init__(self, categories: Categories):
        super().__init__(categories)
        self.masks = CocoEvaluator(len(categories), kind="masks")
        self.mask_scores: CocoScores | None = None

    def update(self, results: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        super().update(results, targets)
        self.masks.update(results, targets)

    def compute(self) -> dict[str, float]:
        self.mask_scores = self.masks.compute()
        return {**super().compute(), **{f"mask_{name}": value for name, value in self.mask_scores.numbers().items()}}

    def class_aps(self, scores: CocoScores) -> dict[str, list[float | None]]:
        of_boxes = super().class_aps(scores)
        if self.mask_scores is None:
            return of_boxes
        return {f"mask_{name}": values for name, values in super().class_aps(self.mask_scores).items()} | of_boxes


INSTANCE = Task(
    name="instance",
    needs=("boxes", "labels", "masks"),
    uses=("areas", "crowd"),
    says={"categories": categories_of},
    result=Detections,
    scorer=InstanceScorer,
    truth=object_truth,
    moves=MOVES_BOXES,
    tiles=True,
    built_in={"world": WORLD},
    recipe=FROM_SCRATCH,
    fine_tuning=FINE_TUNED,
)
