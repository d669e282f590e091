"""Panoptic segmentation: the class of every pixel, things one by one, stuff in one piece."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidi import files
from vidi.data.truths import panoptic_truth
from vidi.engine.datasets import WORLD, categories_of, semantic_categories_of
from vidi.engine.runs import Row
from vidi.engine.task import Judged, Task
from vidi.metrics.panoptic import PanopticEvaluator, PanopticScores
from vidi.recipes.segmentation import PANOPTIC as RECIPE
from vidi.recipes.segmentation import PANOPTIC_FINE_TUNED
from vidi.results.categories import Categories
from vidi.results.panoptic_map import PanopticMap


class PanopticScorer:
    """Panoptic, segmentation and recognition quality: of all classes that occur, of things, and of stuff.

    For networks of queries also how many of an image became no segment, and why: `queries_below_the_score` ...
    """

    headline = "pq"
    keys: tuple[str, ...] = ("panoptic", "semantic", "crowd")

    def __init__(self, categories: Categories):
        self.categories = categories
        self.evaluator = PanopticEvaluator(len(categories))
        self.scores: PanopticScores | None = None
        self.images = 0
        self.fallen: Counter[str] = Counter()

    def update(self, results: Sequence[PanopticMap], targets: Sequence[Mapping[str, Any]]) -> None:
        self.evaluator.update(results, targets)
        self.images += len(results)
        for result in results:
            self.fallen.update(result.fallen)

    def compute(self) -> dict[str, float]:
        self.scores = self.evaluator.compute()
        fallen = {f"queries_{why.replace(' ', '_')}": count / self.images for why, count in self.fallen.items()}
        return self.scores.numbers() | fallen

    def by_class(self) -> list[Row]:
        """Return the true segments of each class, and its qualities."""
        scores = self.scores
        if scores is None:
            return []
        qualities = {"pq": scores.pq, "sq": scores.sq, "rq": scores.rq}
        return [
            {"class": name, "segments": int(scores.segments[k])}
            | {key: float(values[k]) if scores.occurs[k] else None for key, values in qualities.items()}
            for k, name in enumerate(self.categories)
            if name is not None
        ]

    def judged(self, result: PanopticMap, target: Mapping[str, Any]) -> Judged | None:
        """Return the panoptic quality of one picture."""
        alone = PanopticEvaluator(len(self.categories))
        alone.update([result], [target])
        scores = alone.compute()
        if not scores.occurs.any():
            return None
        pq = float(scores.pq[scores.occurs].mean())
        return Judged(pq, f"PQ {pq:.2f}")

    def write_plots(self, folder: Path) -> None:
        """Write `panoptic_quality.csv`: the qualities of each class that occurs, the best first."""
        if self.scores is None:
            return
        order = (-self.scores.pq).argsort(kind="stable")
        qualities = {"pq": self.scores.pq, "sq": self.scores.sq, "rq": self.scores.rq}
        rows = [
            {"class": self.categories[k] or f"unnamed {k}", **{name: float(q[k]) for name, q in qualities.items()}}
            for k in order[self.scores.occurs[order]].tolist()
        ]
        files.write_csv(folder / "panoptic_quality.csv", rows)


PANOPTIC = Task(
    name="panoptic",
    needs=("panoptic", "semantic"),
    uses=("crowd",),
    says={"categories": semantic_categories_of, "things": categories_of},
    result=PanopticMap,
    scorer=PanopticScorer,
    truth=panoptic_truth,
    moves=("none", "flip", "resized_crop"),
    built_in={"world": WORLD},
    recipe=RECIPE,
    fine_tuning=PANOPTIC_FINE_TUNED,
)
