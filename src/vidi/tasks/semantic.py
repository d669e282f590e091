"""Semantic segmentation: a picture, and the class of each of its pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidi.data.truths import semantic_truth
from vidi.engine import plots
from vidi.engine.datasets import WORLD, semantic_categories_of
from vidi.engine.runs import Row, with_gaps
from vidi.engine.task import Judged, Task
from vidi.metrics.segmentation import SegmentationEvaluator, image_miou
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

    def by_class(self) -> list[Row]:
        """Return the true pixels of each class, its IoU, the share of its pixels that are found, and its boundary F."""
        scores = self.evaluator.compute()
        pixels = scores.counts.sum(1)
        found = torch.where(pixels > 0, scores.counts.diagonal() / pixels, torch.nan)
        columns = {"iou": scores.iou, "accuracy": found, "boundary_f": scores.boundary_f}
        return [
            {"class": name, "pixels": int(pixels[k])} | with_gaps({key: float(v[k]) for key, v in columns.items()})
            for k, name in enumerate(self.categories)
            if name is not None
        ]

    def judged(self, result: SemanticMap, target: Mapping[str, Any]) -> Judged | None:
        """Return the mean IoU of one picture."""
        miou = image_miou(result.classes, target["semantic"].as_subclass(Tensor), len(self.categories))
        return None if miou is None else Judged(miou, f"mIoU {miou:.2f}")

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
