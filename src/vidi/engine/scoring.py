"""How each task is scored: results and targets in, numbers and the plots that people of the task look at out."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vidi import files
from vidi.data.world.names import JOINTS, SKELETON
from vidi.engine import plots
from vidi.metrics.boxes_3d import Box3dEvaluator
from vidi.metrics.classification import confusion_matrix, top_k_accuracy
from vidi.metrics.coco import RECALL_LEVELS, CocoEvaluator, CocoScores
from vidi.metrics.keypoints import KeypointEvaluator, joint_sigmas
from vidi.ops.skeletons import COCO_SKELETON, Skeleton
from vidi.results import Categories, Classification, Detections, Translation


class Scorer(Protocol):
    """Collects one evaluation. `headline` names the number by which weights are best; larger is better.

    `keys` of a target are all that an evaluation decodes: what the scorer reads, and the losses of systems of its task.
    """

    headline: str
    keys: tuple[str, ...]

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
    keys: tuple[str, ...] = ("label",)

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


class PoseScorer(DetectionScorer):
    """COCO's numbers for boxes, and its ten for keypoints as `keypoint_ap` ..., by object keypoint similarity."""

    headline = "keypoint_ap"
    keys: tuple[str, ...] = (*DetectionScorer.keys, "keypoints", "visibility")

    def __init__(self, categories: Categories):
        super().__init__(categories)
        self.joints: KeypointEvaluator | None = None

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
        keypoints = self.joints.compute().numbers()
        return {**super().compute(), **{f"keypoint_{name}": value for name, value in keypoints.items()}}


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


class TranslationScorer:
    """The share of sentences that are right to the last word, and of words at their right place."""

    headline = "exact"
    keys: tuple[str, ...] = ("tokens", "sentence")

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


SKELETONS = {len(skeleton.joints): skeleton for skeleton in (COCO_SKELETON, Skeleton(JOINTS, SKELETON))}


def known_skeleton(joints: int) -> Skeleton:
    """Return the skeleton of COCO or of the world by its number of joints, of any other number one without bones."""
    return SKELETONS.get(joints) or Skeleton(tuple(f"joint {number}" for number in range(joints)))


def _pose_truth(target: Mapping[str, Any], categories: Categories) -> Detections:
    visible = (target["visibility"] > 0).float()[..., None]
    keypoints = torch.cat((target["keypoints"].as_subclass(Tensor), visible), 2)
    return replace(_box_truth(target, categories), keypoints=keypoints, skeleton=known_skeleton(keypoints.shape[1]))


def _truth_3d(target: Mapping[str, Any], categories: Categories) -> Detections:
    boxes = _box_truth(target, categories)
    if "intrinsics" not in target:  # nothing says where in the picture the boxes in space are
        return boxes
    return replace(boxes, boxes_3d=target["boxes_3d"], intrinsics=target["intrinsics"])


TASKS: dict[str, Task] = {
    "classification": Task(("label",), (), ClassificationScorer, _class_truth),
    "detection": Task(("boxes", "labels"), ("areas", "crowd"), DetectionScorer, _box_truth),
    "pose": Task(("boxes", "labels", "keypoints", "visibility"), ("areas", "crowd"), PoseScorer, _pose_truth),
    "detection_3d": Task(
        ("boxes", "labels", "boxes_3d"), ("intrinsics", "areas", "crowd"), Detection3dScorer, _truth_3d
    ),
    "generation": Task(()),
    "anchors": Task(("boxes",)),
    "windows": Task((), ("boxes", "labels", "crowd", "label")),
    "translation": Task(("tokens",), (), TranslationScorer),
}
