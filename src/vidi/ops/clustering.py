"""Anchor shapes learnt from data: k-means on box sizes with the distance 1 - IoU (Redmon & Farhadi 2017, section 2).

With the Euclidean distance large boxes would count for more than small ones. The distance compares boxes as if they
had one centre, so only widths and heights matter.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor


class SizeClusters(NamedTuple):
    """What `cluster_sizes` gives."""

    centroids: Float[Tensor, "k 2"]  # width, height, by rising area
    assignment: Int64[Tensor, " N"]  # the centroid of highest IoU
    mean_iou: float  # of the boxes with their centroids, in (0, 1]


def cluster_sizes(
    sizes: Float[Tensor, "N 2"],
    count: int,
    *,
    generator: torch.Generator,
    rounds: int = 100,
) -> SizeClusters:
    """Group box sizes (width, height) into `count` clusters that keep the mean IoU high.

    Starts from sizes of the data, drawn with probability proportional to their distance from those drawn before
    (k-means++, Arthur & Vassilvitskii 2007), then alternates: each box joins the centroid of highest IoU, each centroid
    becomes the mean of its boxes; a centroid without boxes moves to the worst fitted box. As the mean is not exactly
    the minimiser of 1 - IoU, the best of all rounds is returned. The notes use 5 clusters (YOLOv2) or 9 (YOLOv3).

    Raises:
        ValueError: if a size is not positive and finite, or fewer than `count` of them are distinct.
    """
    if count < 1 or rounds < 1:
        raise ValueError(f"received count={count} and rounds={rounds}, expected both to be at least 1")
    flat = _flat(sizes)
    best = latest = _assign(flat, _spread_out(flat, count, generator))
    for _ in range(rounds):
        moved = _moved_centroids(flat, latest)
        if np.array_equal(moved, latest.centroids):
            break
        latest = _assign(flat, moved)
        if latest.mean_iou > best.mean_iou:
            best = latest
    by_area = best.centroids[best.centroids.prod(1).argsort(kind="stable")]
    final = _assign(flat, by_area)
    assignment = torch.from_numpy(final.nearest).to(sizes.device, torch.int64)
    return SizeClusters(torch.from_numpy(by_area).to(sizes), assignment, final.mean_iou)


def assign_sizes(
    sizes: Float[Tensor, "N 2"], centroids: Float[Tensor, "k 2"]
) -> tuple[Int64[Tensor, " N"], Float[Tensor, " N"]]:
    """Return for each box size the centroid of highest IoU (the first of equals) and that IoU.

    Raises:
        ValueError: if a size is not positive and finite, or there is no centroid.
    """
    if len(centroids) == 0:
        raise ValueError("received no centroids, expected at least one")
    state = _assign(_flat(sizes), np.ascontiguousarray(_flat(centroids).T))
    return torch.from_numpy(state.nearest).to(sizes.device, torch.int64), torch.from_numpy(state.iou).to(sizes)


@dataclass(frozen=True)
class _Assignment:
    centroids: np.ndarray  # k 2
    nearest: np.ndarray  # N
    iou: np.ndarray  # N, with the nearest centroid
    sums: np.ndarray  # k 3: widths, heights and number of the boxes of each centroid
    mean_iou: float


def _flat(sizes: Tensor) -> np.ndarray:
    """Copy sizes to a 2 N float64 array, and refuse those that no box can have."""
    wrong = ~((sizes > 0) & sizes.isfinite()).all(1)
    if wrong.any():
        rows = wrong.nonzero().flatten().tolist()
        received = f"{len(rows)} of {len(sizes)} sizes like {sizes[rows[0]].tolist()} (row {rows[0]})"
        raise ValueError(f"received {received}, expected positive, finite widths and heights")
    return np.ascontiguousarray(sizes.detach().to("cpu", torch.float64).numpy().T)


def _assign(sizes: np.ndarray, centroids: np.ndarray) -> _Assignment:
    from vidi.ops import clustering_kernels

    nearest, iou = np.empty(sizes.shape[1], np.int32), np.empty(sizes.shape[1])
    sums = clustering_kernels.assign(sizes, centroids, nearest, iou)
    return _Assignment(centroids, nearest, iou, sums, float(iou.mean()) if iou.size else 0.0)


def _spread_out(sizes: np.ndarray, count: int, generator: torch.Generator) -> np.ndarray:
    """Draw `count` sizes, each with probability proportional to its 1 - IoU with the nearest of those before."""
    distance = np.ones(sizes.shape[1])
    chosen = np.empty((count, 2))
    for j in range(count):
        cumulative = distance.cumsum()
        if j == sizes.shape[1] or cumulative[-1] <= 0:
            raise ValueError(f"received {j} distinct sizes, expected at least count={count}")
        draw = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64).item()
        index = np.searchsorted(cumulative, draw * cumulative[-1], side="right")
        chosen[j] = sizes[:, index]
        distance = np.minimum(distance, 1 - _assign(sizes, chosen[j : j + 1]).iou)
    return chosen


def _moved_centroids(sizes: np.ndarray, state: _Assignment) -> np.ndarray:
    """Return the mean size of each cluster; empty clusters get the sizes that fit their centroids worst."""
    number = state.sums[:, 2:]  # k 1
    empty = number[:, 0] == 0
    centroids = state.sums[:, :2] / np.maximum(number, 1)
    if empty.any():
        centroids[empty] = sizes[:, state.iou.argsort(kind="stable")[: empty.sum()]].T
    return centroids
