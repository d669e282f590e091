"""Scores of label maps: IoU of each class, their mean, accuracies, and how well boundaries are met.

Pixels are counted over the whole set, not averaged over images (Everingham et al. 2010; notes 5.1):

    IoU_c         = TP_c / (TP_c + FP_c + FN_c)
    mIoU          its mean over the classes that occur, in a truth or in a prediction
    boundary F_c  = 2 P R / (P + R), P the share of predicted boundary pixels of c that have a true one within the
                  tolerance, R that of true ones (Csurka et al. 2013); their mean over the classes that have boundaries

Differs from the notes: the sums of IoU run over images; a class that never occurs has no IoU, and is left out of the
mean. Pixels whose truth is void count nowhere; a pixel that a prediction leaves open is missed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

TOLERANCE = 0.0075  # of a boundary, in diagonals of the picture (Csurka et al. 2013; BSDS)


@dataclass(frozen=True)
class SegmentationScores:
    """What was counted of K classes.

    Attributes:
        counts: pixels by (true class, predicted class); the last column of those without a predicted one.
        boundaries: of each class: predicted boundary pixels, those of them that are near, true ones, those near.
    """

    counts: Int64[Tensor, "K K+1"]
    boundaries: Int64[Tensor, "K 4"]

    @property
    def iou(self) -> Float[Tensor, " K"]:
        """The IoU of each class; NaN for one that occurs in no truth and in no prediction."""
        hits = self.counts.diagonal().double()
        return hits / (self.counts.sum(1) + self.counts[:, :-1].sum(0) - hits)

    @property
    def boundary_f(self) -> Float[Tensor, " K"]:
        """The boundary F score of each class; NaN for one without a boundary in any truth or prediction."""
        predicted, near, true, met = self.boundaries.double().unbind(1)
        precision, recall = near / predicted.clamp(min=1), met / true.clamp(min=1)
        score = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)
        return score.where(predicted + true > 0, torch.nan)

    def numbers(self) -> dict[str, float]:
        """Return the means; "present" are the classes that occur."""
        counts = self.counts.double()
        hits, true = counts.diagonal(), counts.sum(1)
        return {
            "miou_present": float(self.iou.nanmean()),
            "pixel_accuracy": float(hits.sum() / true.sum()),
            "class_accuracy": float((hits / true)[true > 0].mean()),
            "boundary_f": float(self.boundary_f.nanmean()),
        }


def image_miou(predicted: UInt8[Tensor, "H W"], truth: UInt8[Tensor, "h w"], classes: int) -> float | None:
    """Return the mean IoU of the classes that occur in one image; None where all of its truth is void.

    Raises:
        ValueError: if the maps differ in size, or hold a label that is no class.
    """
    counts = np.zeros((classes, classes + 1), np.int64)
    _count(predicted, truth, counts)
    if not counts.any():
        return None
    scores = SegmentationScores(torch.from_numpy(counts), torch.zeros(classes, 4, dtype=torch.int64))
    return float(scores.iou.nanmean())


def _count(predicted: Tensor, truth: Tensor, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the pairs of classes of one image's pixels to `counts`; return predicted and true map as arrays."""
    from vidi.metrics.segmentation_kernels import count_pairs

    if predicted.shape != truth.shape:
        raise ValueError(f"received maps of {tuple(predicted.shape)} and {tuple(truth.shape)}, expected one size")
    guess, real = (np.ascontiguousarray(labels.as_subclass(Tensor).numpy()) for labels in (predicted, truth))
    wrong = count_pairs(real.reshape(-1), guess.reshape(-1), counts)
    if wrong >= 0:
        raise ValueError(f"received a pixel with the label {wrong}, expected 0..{len(counts) - 1} or 255")
    return guess, real


class SegmentationEvaluator:
    """Counts pixels of label maps; its only state are whole numbers.

    Args:
        classes: K.
        tolerance: of boundaries, in diagonals of the picture; a pixel and a half at least.
    """

    def __init__(self, classes: int, *, tolerance: float = TOLERANCE):
        if not 1 <= classes <= 255:
            raise ValueError(f"received {classes} classes, expected 1..255")
        self.tolerance = tolerance
        self.counts = np.zeros((classes, classes + 1), np.int64)
        self.boundaries = np.zeros((classes, 4), np.int64)

    def update(self, predicted: UInt8[Tensor, "H W"], truth: UInt8[Tensor, "h w"]) -> None:
        """Count the pixels of one image; `VOID` in the truth is left out.

        Raises:
            ValueError: if the maps differ in size, or hold a label that is no class.
        """
        from vidi.metrics.segmentation_kernels import count_near_boundaries

        guess, real = _count(predicted, truth, self.counts)
        radius = max(1.5, self.tolerance * float(np.hypot(*real.shape)))
        count_near_boundaries(guess, real, real, radius, self.boundaries[:, :2])
        count_near_boundaries(real, guess, real, radius, self.boundaries[:, 2:])

    def compute(self) -> SegmentationScores:
        """Return the scores of all images so far.

        Raises:
            ValueError: if there is no pixel with a class.
        """
        if not self.counts.any():
            raise ValueError("no pixels to score: update() was never called, or all of them are void")
        return SegmentationScores(torch.from_numpy(self.counts.copy()), torch.from_numpy(self.boundaries.copy()))
