"""Scores of image classifiers: accuracy among the k best classes, and the confusion matrix."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def top_k_accuracy(scores: Float[Tensor, "N K"], labels: Int64[Tensor, " N"], *, k: int = 1) -> float:
    """Return the share of rows whose label is among the k highest scores; ties go to the lower class.

    Raises:
        ValueError: if there are no rows.
    """
    if not len(labels):
        raise ValueError("received no rows, expected at least one")
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]  # N k
    return (order == labels[:, None]).any(dim=1).double().mean().item()


def confusion_matrix(
    predicted: Int64[Tensor, " N"], labels: Int64[Tensor, " N"], *, classes: int
) -> Int64[Tensor, "K K"]:
    """Count rows by (true class, predicted class)."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)
