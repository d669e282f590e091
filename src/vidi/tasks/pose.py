"""Poses: detection, and the joints of the things that have some."""

from collections.abc import Mapping, Sequence
from typing import Any

from vidi.data.truths import known_skeleton, object_truth
from vidi.engine.datasets import WORLD, categories_of
from vidi.engine.task import Task
from vidi.metrics.coco import CocoScores
from vidi.metrics.keypoints import KeypointEvaluator, KeypointScores, joint_sigmas
from vidi.recipes.detection import FINE_TUNED, FROM_SCRATCH
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.tasks.detection import MOVES_BOXES, DetectionScorer, known


class PoseScorer(DetectionScorer):
    """COCO's numbers for boxes, and its ten for keypoints as `keypoint_ap` ..., by object keypoint similarity."""

    headline = "keypoint_ap"
    keys: tuple[str, ...] = (*DetectionScorer.keys, "keypoints", "visibility")

    def __init__(self, categories: Categories):
        super().__init__(categories)
        self.joints: KeypointEvaluator | None = None
        self.joint_scores: KeypointScores | None = None

    def update(self, results: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        super().update(results, targets)
        for result, target in zip(results, targets, strict=True):
            if self.joints is None:
                skeleton = result.skeleton or known_skeleton(target["keypoints"].shape[1])
                self.joints = KeypointEvaluator(len(self.categories), joint_sigmas(skeleton.joints).tolist())
            self.joints.update([result], [target])

    def compute(self) -> dict[str, float]:
        if self.joints is None:
            raise ValueError("no images to score: update() was never called")
        self.joint_scores = self.joints.compute()
        keypoints = self.joint_scores.numbers()
        return {**super().compute(), **{f"keypoint_{name}": value for name, value in keypoints.items()}}

    def class_aps(self, scores: CocoScores) -> dict[str, list[float | None]]:
        of_boxes = super().class_aps(scores)
        if self.joint_scores is None:
            return of_boxes
        ap, ap50 = self.joint_scores.ap_per_class(), self.joint_scores.ap_per_class(0)
        return {"keypoint_ap": known(ap), "keypoint_ap50": known(ap50), **of_boxes}


POSE = Task(
    name="pose",
    needs=("boxes", "labels", "keypoints", "visibility"),
    uses=("areas", "crowd"),
    says={"categories": categories_of},
    result=Detections,
    scorer=PoseScorer,
    truth=object_truth,
    moves=MOVES_BOXES,
    tiles=True,
    built_in={"world": WORLD},
    recipe=FROM_SCRATCH,
    fine_tuning=FINE_TUNED,
)
