"""Scores of depth and of disparity, by the protocol that their names say; and of where a depth map has its borders.

Eigen, Puhrsch, Fergus 2014 (arXiv 1406.2283, section 4.3), in the protocol of Monodepth's and SfMLearner's code:

    abs_rel   mean |z - z*| / z*             rmse      sqrt(mean (z - z*)^2)
    sq_rel    mean (z - z*)^2 / z*           rmse_log  sqrt(mean (ln z - ln z*)^2)
    delta_k   share of max(z / z*, z* / z) < 1.25^k

    ..._metric         depth as predicted
    ..._median_scaled  times median(truth) / median(prediction) of each picture: where the scale cannot be known

Each is taken over the pixels of one picture, then averaged over the pictures: a picture with few measured pixels counts
as much as another. Pixels count whose truth lies strictly between the caps; the prediction is clamped to them. A pixel
without a prediction counts in no average; `coverage` is the share of pixels that have one.

Disparity (KITTI 2015; Scharstein & Szeliski 2002), also picture by picture:

    epe    mean |d - d*|        bad_n   share off by more than n pixels        d1_all   by more than 3 pixels and 5 %

where a pixel without a prediction is missing in `epe`, and wrong in the others.

Boundaries (Bochkovskii et al. 2024, Depth Pro, arXiv 2410.02073, section 4, and its published code): two neighbouring
pixels are a border where one is farther by a factor; the F1 of those predicted, weighted over ten factors from 1.05 to
1.25.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Protocol = Literal["metric", "median_scaled"]
BAD = (1.0, 2.0, 3.0)  # pixels
D1_PIXELS, D1_SHARE = 3.0, 0.05
FACTORS = np.linspace(1.05, 1.25, 10)  # Depth Pro's thresholds
NEAREST = 1e-6  # depth at which Depth Pro's code stops to invert
DENSE = 0.9  # share of known pixels whose right neighbour is known as well

Map = Float[Tensor, "H W"]
Mask = Bool[Tensor, "H W"]


class DepthEvaluator:
    """Averages the scores of depth maps over pictures; its only state are the scores of each picture.

    Args:
        nearest: the lower cap, metres; the truth of a pixel that counts is larger.
        farthest: the upper cap; 80 for KITTI, 10 for rooms.
        protocols: which of the scores are taken.
        boundaries: whether `boundary_f1` is, of pictures whose truth is dense.
    """

    def __init__(
        self,
        *,
        nearest: float | int = 1e-3,
        farthest: float | int = 80.0,
        protocols: Sequence[Protocol] = get_args(Protocol),
        boundaries: bool = False,
    ):
        if not 0 < nearest < farthest:
            raise ValueError(f"received caps of {nearest} and {farthest} m, expected 0 < nearest < farthest")
        unknown = set(protocols) - set(get_args(Protocol))
        if unknown or not protocols:
            raise ValueError(f"received protocols {list(protocols)}, expected some of {', '.join(get_args(Protocol))}")
        self.caps = float(nearest), float(farthest)
        self.protocols = tuple(protocols)
        self.boundaries = boundaries
        self.pictures: list[dict[str, float]] = []

    def update(self, predicted: Map, truth: Map, truth_valid: Mask, predicted_valid: Mask | None = None) -> None:
        """Score one picture. One whose truth has no pixel between the caps is left out.

        Args:
            predicted: depth of each pixel.
            truth: in metres.
            truth_valid: where it is known.
            predicted_valid: where there is a prediction; None: everywhere. Depths that are not finite and positive are
                none.

        Raises:
            ValueError: if the maps differ in size.
        """
        _check_sizes(predicted, truth, truth_valid, predicted_valid)
        nearest, farthest = self.caps
        known = truth_valid & (truth > nearest) & (truth < farthest)
        count = int(known.sum())
        if count == 0:
            return
        given = known & _positive(predicted, predicted_valid)
        z, real = predicted[given].double(), truth[given].double()
        numbers = {"coverage": len(z) / count}
        if self.boundaries and is_dense(truth_valid):
            seen = predicted.where(_positive(predicted, predicted_valid), torch.nan)  # NaN is beyond no factor
            numbers["boundary_f1"] = boundary_f1(seen, truth, truth_valid & _positive(truth, None))
        for protocol in self.protocols if len(z) else ():
            scale = np.median(real.numpy()) / np.median(z.numpy()) if protocol == "median_scaled" else 1.0
            scores = depth_errors((scale * z).clamp(nearest, farthest), real)
            numbers |= {f"{name}_{protocol}": value for name, value in scores.items()}
        self.pictures.append(numbers)

    def compute(self) -> dict[str, float]:
        """Return the mean of each score over the pictures that have it; NaN if none has.

        Raises:
            ValueError: if there is no picture whose truth has a pixel between the caps.
        """
        if not self.pictures:
            nearest, farthest = self.caps
            raise ValueError(f"no pixels to score: no picture has a true depth between {nearest} and {farthest} m")
        names = [f"{name}_{protocol}" for protocol in self.protocols for name in DEPTH_SCORES]
        extra = ["boundary_f1"] if self.boundaries else []
        return _means(self.pictures, [*names, *extra, "coverage"])


DEPTH_SCORES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")


def depth_errors(predicted: Float[Tensor, " N"], truth: Float[Tensor, " N"]) -> dict[str, float]:
    """Return the seven scores of `DEPTH_SCORES` over N pixels, whose depths are all positive."""
    error = predicted - truth
    logs = predicted.log() - truth.log()
    ratio = torch.maximum(predicted / truth, truth / predicted)
    values = (
        (error.abs() / truth).mean(),
        (error**2 / truth).mean(),
        (error**2).mean().sqrt(),
        (logs**2).mean().sqrt(),
        *((ratio < 1.25**k).double().mean() for k in (1, 2, 3)),
    )
    return {name: float(value) for name, value in zip(DEPTH_SCORES, values, strict=True)}


class DisparityEvaluator:
    """Averages the scores of disparity maps over pictures; its only state are the scores of each picture."""

    def __init__(self) -> None:
        self.pictures: list[dict[str, float]] = []

    def update(self, predicted: Map, truth: Map, truth_valid: Mask, predicted_valid: Mask | None = None) -> None:
        """Score one picture, disparities in pixels; one without a true pixel is left out.

        Raises:
            ValueError: if the maps differ in size.
        """
        _check_sizes(predicted, truth, truth_valid, predicted_valid)
        if not bool(truth_valid.any()):
            return
        given = predicted.isfinite() if predicted_valid is None else predicted.isfinite() & predicted_valid
        real, found = truth[truth_valid].double(), given[truth_valid]
        errors = (predicted[truth_valid].double() - real).abs().where(found, torch.inf)
        wrong = {f"bad{limit:g}": errors > limit for limit in BAD}
        wrong["d1_all"] = (errors > D1_PIXELS) & (errors > D1_SHARE * real)
        numbers = {name: float(pixels.double().mean()) for name, pixels in wrong.items()}
        numbers["coverage"] = float(found.double().mean())
        if bool(found.any()):
            numbers["epe"] = float(errors[found].mean())
        self.pictures.append(numbers)

    def compute(self) -> dict[str, float]:
        """Return the mean of each score over the pictures; `epe` is NaN if none of them has a prediction.

        Raises:
            ValueError: if there is no picture with a true pixel.
        """
        if not self.pictures:
            raise ValueError("no pixels to score: no picture has a true disparity")
        return _means(self.pictures, ["epe", *(f"bad{limit:g}" for limit in BAD), "d1_all", "coverage"])


def boundary_f1(predicted: Map, truth: Map, truth_valid: Mask | None = None) -> float:
    """Return Depth Pro's scale-invariant F1 of boundaries, from depth maps.

    For each direction (left, up, right, down) precision and recall of the pairs of pixels whose first is nearer by more
    than a factor; their means over the directions give an F1, and the F1 of the factors their mean, weighted by factor.
    Pairs of which the truth of a pixel is not known are left out (the published code knows no such pixels).
    """
    guess, real = _inverse(predicted), _inverse(truth)
    known = np.ones(real.shape, np.bool_) if truth_valid is None else truth_valid.numpy()
    score = 0.0
    for factor in FACTORS:
        recalls, precisions = [], []
        pairs = zip(_neighbours(guess), _neighbours(real), _neighbours(known), strict=True)
        for (p, q), (s, t), (a, b) in pairs:
            found, true = (p / q > factor) & a & b, (s / t > factor) & a & b
            both = np.count_nonzero(found & true)
            recalls.append(both / max(np.count_nonzero(true), 1))
            precisions.append(both / max(np.count_nonzero(found), 1))
        recall, precision = float(np.mean(recalls)), float(np.mean(precisions))
        f1 = 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0
        score += f1 * factor / FACTORS.sum()
    return score


def is_dense(valid: Mask) -> bool:
    """Return whether known pixels lie side by side, as rendered ones do and the points of a laser do not."""
    known = valid[:, :-1]
    return int((known & valid[:, 1:]).sum()) >= DENSE * int(known.sum())


def boundary_recall(predicted: Map, mask: Mask) -> float:
    """Return Depth Pro's recall of the boundary of a mask (hair, fur), whose inside is nearer.

    As `boundary_f1`, but of pairs that cross the predicted border next to each other only the steepest counts.
    """
    guess, inside = _inverse(predicted), mask.numpy()
    score = 0.0
    for factor in FACTORS:
        recalls = []
        for axis, (p, q), (s, t) in zip((1, 1, 0, 0), _neighbours(guess), _neighbours(inside), strict=True):
            true = s & ~t
            steepest = _steepest(p / q, factor) if axis == 1 else _steepest((p / q).T, factor).T
            recalls.append(np.count_nonzero(steepest & true) / max(np.count_nonzero(true), 1))
        score += float(np.mean(recalls)) * factor / FACTORS.sum()
    return score


def _neighbours(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each pixel and the one beside it: to its right, to its left, below it, above it."""
    yield values[:, :-1], values[:, 1:]
    yield values[:, 1:], values[:, :-1]
    yield values[:-1], values[1:]
    yield values[1:], values[:-1]


def _steepest(ratios: np.ndarray, factor: float) -> np.ndarray:
    """Mark the first of the largest values in each run, along a row, of values above a factor."""
    above = np.pad(ratios > factor, ((0, 0), (1, 1)))
    starts, ends = (np.flatnonzero(edge) for edge in (above[:, 1:-1] & ~above[:, :-2], above[:, 1:-1] & ~above[:, 2:]))
    flat, marks = ratios.ravel(), np.zeros(ratios.size, np.bool_)
    for start, end in zip(starts, ends, strict=True):
        marks[start + int(flat[start : end + 1].argmax())] = True
    return marks.reshape(ratios.shape)


def _inverse(depth: Tensor) -> np.ndarray:
    return 1.0 / depth.double().numpy().clip(min=NEAREST)


def _positive(depth: Tensor, valid: Tensor | None) -> Tensor:
    positive = depth.isfinite() & (depth > 0)
    return positive if valid is None else positive & valid


def _means(pictures: list[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Average over the pictures that have a score; the sum is exact, so that their order does not matter."""
    columns = {name: [numbers[name] for numbers in pictures if name in numbers] for name in names}
    return {name: math.fsum(column) / len(column) if column else math.nan for name, column in columns.items()}


def _check_sizes(*maps: Tensor | None) -> None:
    sizes = [tuple(values.shape) for values in maps if values is not None]
    if len(set(sizes)) > 1:
        raise ValueError(f"received maps of {', '.join(map(str, sizes))}, expected one size")
