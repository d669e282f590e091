"""Depth: of the left picture of a stereo pair, or of one picture, by a system that has learnt it

    stereo             from disparities of pairs, and is shown pairs
    depth              from measured depth
    depth_from_stereo  from pairs without depth
    depth_from_video   from neighbouring frames without depth or the camera's motion

All give a `DepthMap`, and are judged by the same scores; what only these ask for, a training never sees.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.data.truths import depth_truth
from vidi.engine import plots
from vidi.engine.datasets import WORLD
from vidi.engine.recipe import Recipe
from vidi.engine.task import Task
from vidi.metrics.depth import DepthEvaluator, DisparityEvaluator
from vidi.metrics.trajectory import MotionEvaluator, align_similarity
from vidi.ops.rigid import inverse_pose
from vidi.recipes.depth import DEPTH_FINE_TUNED, DEPTH_FROM_SCRATCH, STEREO_FINE_TUNED, STEREO_FROM_SCRATCH
from vidi.results.categories import Categories
from vidi.results.depth_map import DepthMap

TRUTH = ("depth", "depth_valid")
DISPARITY = ("disparity", "disparity_valid")
RANGES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 80.0)  # metres, of the plot


class DepthScorer:
    """The scores of depth as predicted, where it is in metres, of depth scaled by the medians, and of its borders.

    Without a truth there are no scores. That of a pair whose cameras are not known has no unit, and is judged by the
    scaled ones alone.
    """

    headline = "delta1_metric"
    keys: tuple[str, ...] = (*TRUTH, "intrinsics")

    def __init__(self, categories: Categories):
        self.metric = DepthEvaluator(protocols=("metric",))
        self.scaled = DepthEvaluator(protocols=("median_scaled",), boundaries=True)
        self.errors = torch.zeros(2, len(RANGES) - 1, dtype=torch.float64)  # sum, count
        self.constant = self.images = 0

    def update(self, results: Sequence[DepthMap], targets: Sequence[Mapping[str, Any]]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.images += 1
            self.constant += result.is_constant()
            truth = depth_truth(target)
            if not bool(truth.valid.any()):
                continue
            unit = 1.0 if truth.unit == "metres" else truth.percentiles(50)[0]
            maps = result.depth, truth.depth / unit, truth.valid, result.valid
            if result.unit == truth.unit == "metres":
                self.metric.update(*maps)
            self.scaled.update(*maps)
            if truth.unit == "metres":
                self._note_errors(result, truth)

    def _note_errors(self, result: DepthMap, truth: DepthMap) -> None:
        both = result.valid & truth.valid
        if bool(both.any()):
            real, found = truth.depth[both].double(), result.depth[both].double()
            scaled = (found * (real.median() / found.median())).clamp(max=RANGES[-1])
            errors = (scaled - real).abs() / real
            rows = torch.bucketize(real, torch.tensor(RANGES[1:-1], dtype=torch.float64))
            kept = real < RANGES[-1]
            for row, values in enumerate((errors, torch.ones_like(errors))):
                self.errors[row].index_add_(0, rows[kept], values[kept])

    def compute(self) -> dict[str, float]:
        """Return the scores that can be taken; none without a truth."""
        return {
            name: value
            for evaluator in (self.metric, self.scaled)
            if evaluator.pictures
            for name, value in evaluator.compute().items()
            if value == value  # NaN: no prediction, or no dense truth, anywhere
        }

    def remarks(self) -> list[str]:
        """Return a warning where most predictions are constant."""
        if 2 * self.constant <= self.images:
            return []
        return [
            f"the predicted depth of {self.constant} of {self.images} pictures is constant: it does not depend on what "
            "they show"
        ]

    def write_plots(self, folder: Path) -> None:
        """Write `error_by_depth.png`, if any depth is known in metres."""
        sums, counts = self.errors
        if not counts.any():
            return
        names = [f"{low:g} to {high:g} m" for low, high in itertools.pairwise(RANGES)]
        means = dict(zip(names, (sums / counts).tolist(), strict=True))  # NaN where no pixel is so far away
        label = "AbsRel of the pixels at that depth, each picture scaled by the medians"
        plots.class_scores(folder / "error_by_depth.png", means, label)


class StereoScorer(DepthScorer):
    """The scores of depth, and those of disparity in pixels."""

    headline = "within1"  # share of pixels whose disparity is off by one pixel at most
    keys = (*TRUTH, *DISPARITY, "disparity_right", "disparity_right_valid", "right", "intrinsics", "baseline")

    def __init__(self, categories: Categories):
        super().__init__(categories)
        self.disparity = DisparityEvaluator()

    def update(self, results: Sequence[DepthMap], targets: Sequence[Mapping[str, Any]]) -> None:
        super().update(results, targets)
        for result, target in zip(results, targets, strict=True):
            truth = depth_truth(target)
            if result.disparity is not None and truth.disparity is not None:
                self.disparity.update(result.disparity, truth.disparity, target["disparity_valid"].bool())

    def compute(self) -> dict[str, float]:
        if not self.disparity.pictures:
            return super().compute()
        found = self.disparity.compute()
        del found["coverage"]  # a pixel without a prediction is a bad one
        return {"within1": 1 - found["bad1"], **found, **super().compute()}


class PairDepthScorer(DepthScorer):
    """The scores of depth that was learnt from pairs, whose cameras need not be known."""

    headline = "delta1_median_scaled"
    keys = (*TRUTH, *DISPARITY, "right", "intrinsics", "baseline")


class VideoDepthScorer(DepthScorer):
    """The scores of depth that was learnt from videos, whose unit cannot be known, and of the camera's motions."""

    headline = "delta1_median_scaled"
    keys: tuple[str, ...] = (*TRUTH, "neighbours", "poses", "intrinsics")

    def __init__(self, categories: Categories):
        super().__init__(categories)
        self.motion = MotionEvaluator()

    def update(self, results: Sequence[DepthMap], targets: Sequence[Mapping[str, Any]]) -> None:
        super().update(results, targets)
        for result, target in zip(results, targets, strict=True):
            if result.motions is not None and "poses" in target:
                self.motion.update(result.motions, target["poses"])

    def compute(self) -> dict[str, float]:
        return super().compute() | (self.motion.compute() if self.motion.truth else {})

    def write_plots(self, folder: Path) -> None:
        super().write_plots(folder)
        paths = list(self.motion.paths())
        if paths:
            plots.camera_paths(folder / "camera_paths.png", [seen_from_above(*both) for both in paths])


def seen_from_above(
    predicted: Float[Tensor, "F 4 4"], truth: Float[Tensor, "F 4 4"]
) -> tuple[Float[Tensor, "F 2"], Float[Tensor, "F 2"]]:
    """Return x and z of two paths, metres in the frame of the first true camera, the predicted one moved and scaled."""
    true = (inverse_pose(truth[:1]) @ truth)[:, :3, 3]
    scale, rotation, translation = align_similarity(predicted[:, :3, 3], true)
    moved = scale * predicted[:, :3, 3].double() @ rotation.T + translation
    return moved[:, ::2], true[:, ::2]


def baseline_of(dataset: Any) -> float | None:
    """Return the metres between the two cameras of a data set of pairs; None where it is not known."""
    return getattr(dataset, "baseline", None)


def _task(name: str, recipe: Recipe = DEPTH_FROM_SCRATCH, fine_tuning: Recipe = DEPTH_FINE_TUNED, **facts: Any) -> Task:
    return Task(
        name=name,
        result=DepthMap,
        truth=depth_truth,
        moves=("none", "flip", "resized_crop"),
        built_in={"world": WORLD},
        recipe=recipe,
        fine_tuning=fine_tuning,
        **facts,
    )


STEREO = _task(
    "stereo",
    STEREO_FROM_SCRATCH,
    STEREO_FINE_TUNED,
    needs=("right", *DISPARITY),
    uses=("disparity_right", "disparity_right_valid", "intrinsics", "baseline"),
    judges=TRUTH,
    asks="pairs",
    scorer=StereoScorer,
)
DEPTH = _task("depth", needs=TRUTH, uses=("intrinsics",), scorer=DepthScorer)
DEPTH_FROM_STEREO = _task(
    "depth_from_stereo",
    needs=("right",),
    uses=("intrinsics",),
    judges=(*TRUTH, *DISPARITY, "baseline"),
    says={"baseline": baseline_of},
    scorer=PairDepthScorer,
)
DEPTH_FROM_VIDEO = _task(
    "depth_from_video",
    needs=("neighbours", "intrinsics"),
    judges=(*TRUTH, "poses"),
    scorer=VideoDepthScorer,
)
