"""What an evaluation leaves in a folder besides its scores: a table by class, the worst pictures, all predictions."""

import heapq
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidi import files
from vidi.engine import plots
from vidi.engine.report import image_name
from vidi.engine.runs import Row
from vidi.engine.task import Judged, Scorer, Task
from vidi.results.categories import Categories
from vidi.results.detections import Detections

WORST = 20
"""Pictures that are shown."""


class Judgement(NamedTuple):
    """What an evaluation says."""

    scores: Row  # split, number of its images, weights and data, then the scores; None where there is none
    classes: Sequence[Row] = ()  # for each class: `class`, how many true ones there are, then its scores


class Judging:
    """A scorer that hands on to another one, and keeps the results of the worst pictures and a record of each.

    Args:
        scorer: of the task.
        dataset: that is scored, from its first picture on.
        split: which part of the data it is.
    """

    def __init__(self, scorer: Scorer, dataset: Any, split: str):
        self.scorer, self.dataset, self.split = scorer, dataset, split
        self.headline, self.keys = scorer.headline, scorer.keys
        self.records: list[str] = []  # JSON; that of a picture's objects is a tenth of the objects' own memory
        self.images = 0
        self._worst: list[tuple[float, int, Judged, Any]] = []  # a heap, the best of the worst on top

    def update(self, results: Sequence[Any], targets: Sequence[Mapping[str, Any]]) -> None:
        self.scorer.update(results, targets)
        judged = getattr(self.scorer, "judged", None)
        for result, target in zip(results, targets, strict=True):
            row = self.images
            self.images += 1
            self.records += [
                json.dumps(record, ensure_ascii=False, allow_nan=False) for record in self._records(row, result, target)
            ]
            verdict = None if judged is None else judged(result, target)
            if verdict is not None:
                push = heapq.heappush if len(self._worst) < WORST else heapq.heappushpop
                push(self._worst, (-verdict.order, -row, verdict, result))

    def compute(self) -> dict[str, float]:
        return self.scorer.compute()

    def write_plots(self, folder: Path) -> None:
        self.scorer.write_plots(folder)

    def _records(self, row: int, result: Any, target: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return one picture's objects as COCO's results, or what is told of it as one record."""
        number = int(target["image_id"]) if "image_id" in target else row
        if isinstance(result, Detections):
            own = getattr(self.dataset, "category_ids", ())
            return result.to_coco(number, own or range(1, len(result.categories) + 1))
        return [{"image": image_name(self.dataset, row, self.split), "image_id": number, **result.to_dict()}]

    def write(self, folder: Path, task: Task, categories: Categories, *, threshold: float) -> None:
        """Write the scorer's plots, `scores.csv`, `predictions.json` and `worst.png`, each if there is such a thing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write_plots(folder)
        classes = by_class(self.scorer)
        if classes:
            files.write_csv(folder / "scores.csv", classes)
        files.write_text(folder / "predictions.json", "[\n" + ",\n".join(self.records) + "\n]\n")
        if self._worst and task.truth is not None:
            self._write_worst(folder / "worst.png", task.truth, categories, threshold)

    def _write_worst(self, path: Path, truth: Any, categories: Categories, threshold: float) -> None:
        tiles, captions = [], []
        for _, row, judged, result in sorted(self._worst, key=lambda entry: entry[:2], reverse=True):
            image, target = self.dataset[-row]
            tiles.append((truth(target, categories).draw(image), result.draw(image, threshold=threshold)))
            captions.append(f"{judged.told}   {image_name(self.dataset, -row, self.split)}")
        plots.mosaic(path, tiles, columns=2, titles=("ground truth", "prediction"), captions=captions)


def by_class(scorer: Any) -> list[Row]:
    """Return the scores of each class that a scorer has."""
    rows = getattr(scorer, "by_class", None)
    return [] if rows is None else rows()
