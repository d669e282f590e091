"""Semantic segmentation: a picture, and the class of each of its pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vidi.data.truths import semantic_truth
from vidi.engine import plots
from vidi.engine.datasets import WORLD, semantic_categories_of
from vidi.engine.task import Task
from vidi.metrics.segmentation import SegmentationEvaluator
from vidi.recipes.segmentation import SEMANTIC_FINE_TUNED, SEMANTIC_FROM_SCRATCH
from vidi.results.categories import Categories
from vidi.results.semantic_map import SemanticMap


class SemanticScorer:
    """mIoU over the classes that occur, accuracies and boundary F, from counts of pixels; the IoU of each class."""

    headline = "miou_present"
    keys: tuple[str, ...] = ("semantic",)

    def __init__(self, categories: Categories):
        self.categories = categories
        self.evaluator = SegmentationEvaluator(len(categories))

    def update(self, results: Sequence[SemanticMap], targets: Sequence[Mapping[str, Any]]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.evaluator.update(result.classes, target["semantic"].as_subclass(Tensor))

    def compute(self) -> dict[str, float]:
        return self.evaluator.compute().numbers()

    def remarks(self) -> list[str]:
        """Return which classes `miou_present` leaves out, as no pixel of a truth or of a prediction is theirs."""
        absent = self.evaluator.compute().iou.isnan()
        if not absent.any():
            return []
        names = ", ".join(str(self.categories[k]) for k in absent.nonzero()[:, 0].tolist())
        return [f"{int(absent.sum())} of {len(absent)} classes do not occur, and miou_present leaves them out: {names}"]

    def write_plots(self, folder: Path) -> None:
        scores, names = self.evaluator.compute(), [name or "" for name in self.categories]
        ious = dict(zip(names, scores.iou.tolist(), strict=True))
        plots.class_scores(folder / "class_iou.png", ious, "IoU of the pixels; classes that do not occur are left out")
        plots.confusion_matrix(folder / "confusion_matrix.png", scores.counts[:, :-1], names)


SEMANTIC = Task(
    name="semantic",
    needs=("semantic",),
    says={"categories": semantic_categories_of},
    result=SemanticMap,
    scorer=SemanticScorer,
    truth=semantic_truth,
    moves=("none", "flip", "shift", "crop", "resized_crop", "boxes", "dihedral_boxes"),
    tiles=True,
    built_in={"world": WORLD},
    recipe=SEMANTIC_FROM_SCRATCH,
    fine_tuning=SEMANTIC_FINE_TUNED,
)
