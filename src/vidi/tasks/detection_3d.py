"""Boxes in space: detection, and where the things stand, how large they are and which way they look."""

from collections.abc import Mapping, Sequence
from typing import Any

from vidi.data.truths import object_truth
from vidi.engine.datasets import WORLD, categories_of
from vidi.engine.task import Task
from vidi.metrics.boxes_3d import Box3dEvaluator
from vidi.recipes.detection import FINE_TUNED_3D, FROM_SCRATCH_3D
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.tasks.detection import DetectionScorer


class Detection3dScorer(DetectionScorer):
    """COCO's numbers for boxes in the picture, and the errors of boxes in space as `space_score`, `space_ap` ..."""

    headline = "space_score"
    keys: tuple[str, ...] = (*DetectionScorer.keys, "boxes_3d", "intrinsics")

    def __init__(self, categories: Categories):
        super().__init__(categories)
        self.boxes_3d = Box3dEvaluator(len(categories))

    def update(self, results: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        super().update(results, targets)
        self.boxes_3d.update(results, targets)

    def compute(self) -> dict[str, float]:
        in_space = self.boxes_3d.compute().numbers()
        return {**super().compute(), **{f"space_{name}": value for name, value in in_space.items()}}


DETECTION_3D = Task(
    name="detection_3d",
    needs=("boxes", "labels", "boxes_3d"),
    uses=("intrinsics", "areas", "crowd"),
    says={"categories": categories_of},
    result=Detections,
    scorer=Detection3dScorer,
    truth=object_truth,
    moves=("none", "flip"),
    built_in={"world": WORLD},
    recipe=FROM_SCRATCH_3D,
    fine_tuning=FINE_TUNED_3D,
)
