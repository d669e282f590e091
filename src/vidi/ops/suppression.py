"""Non-maximum suppression: of boxes that overlap, keep the one with the best score.

Boxes are visited by descending score (ties in their order of entry); a box is kept unless a kept one overlaps it by an
IoU above the threshold (strictly). Close objects of one class that overlap more than the threshold are therefore lost.

On a CPU the loops are compiled (numba) and give torchvision's decisions bit for bit. On other devices, and while a
network is compiled or exported, torchvision's operator runs on boxes that are shifted apart. As in torchvision, NaN
scores come first, and a box with a NaN or infinite coordinate or without area is kept and suppresses none. Half
precision is computed in float32.
"""

import numpy as np
import torch
import torchvision.ops
from jaxtyping import Bool, Float, Int64
from torch import Tensor

GRID_FROM = 2_000
"""Number of boxes above which the hash grid is built; below it costs more than it saves."""

GRID_THRESHOLD = 0.1
"""IoU threshold below which boxes reach so far that the grid saves nothing."""


def non_maximum_suppression(
    boxes: Float[Tensor, "N 4"], scores: Float[Tensor, " N"], threshold: float | int
) -> Int64[Tensor, " kept"]:
    """Return the indices of the kept boxes by descending score (torchvision.ops.nms).

    Raises:
        ValueError: if `threshold` is not in [0, 1].
    """
    return class_wise_suppression(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), threshold)


def class_wise_suppression(
    boxes: Float[Tensor, "N 4"], scores: Float[Tensor, " N"], labels: Int64[Tensor, " N"], threshold: float | int
) -> Int64[Tensor, " kept"]:
    """Return the indices of the kept boxes by descending score; boxes of different labels do not meet.

    torchvision.ops.batched_nms without its shift of coordinates, which rounds them.

    Raises:
        ValueError: if `threshold` is not in [0, 1].
    """
    _check(threshold)
    if _operator_runs(boxes):
        valid = torch.ones_like(labels, dtype=torch.bool)
        return _keep_by_operator(boxes[None], scores[None], labels[None], valid[None], threshold)
    order = scores.detach().sort(descending=True, stable=True).indices.numpy()
    return torch.from_numpy(_keep_by_kernel(boxes, order, labels.contiguous().numpy(), threshold))


def suppress(
    boxes: Float[Tensor, "B N 4"],
    scores: Float[Tensor, "B N"],
    labels: Int64[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    *,
    threshold: float | int,
) -> Bool[Tensor, "B N"]:
    """Say of each box whether it is kept; boxes of different images or labels do not meet, invalid ones do not count.

    One call for a batch with fixed shapes, as detectors need it: a top-k of the kept scores follows.

    Raises:
        ValueError: if `threshold` is not in [0, 1].
    """
    _check(threshold)
    if boxes.is_meta:  # a count of costs has no numbers to compare
        return valid
    B, N = scores.shape
    if _operator_runs(boxes):
        kept = _keep_by_operator(boxes, scores, labels, valid, threshold)
        keep = torch.zeros(B * N, dtype=torch.bool, device=boxes.device)
        return keep.index_put((kept,), keep.new_ones(())).view(B, N) & valid
    order = scores.detach().flatten().sort(descending=True, stable=True).indices.numpy()
    order = order[valid.flatten().numpy()[order]]
    groups = labels.numpy() - labels.numpy().min(initial=0)
    groups += np.arange(B)[:, None] * (groups.max(initial=0) + 1)
    keep = np.zeros(B * N, bool)
    keep[_keep_by_kernel(boxes.flatten(0, 1), order, groups.ravel(), threshold)] = True
    return torch.from_numpy(keep).view(B, N)


def _check(threshold: float | int) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"received an IoU threshold of {threshold}, expected a number in [0, 1]")


def _operator_runs(boxes: Tensor) -> bool:
    return boxes.device.type != "cpu" or torch.compiler.is_compiling() or torch.compiler.is_exporting()


def _keep_by_kernel(boxes: Tensor, order: np.ndarray, groups: np.ndarray, threshold: float | int) -> np.ndarray:
    from vidi.ops import suppression_kernels

    many = order.size > GRID_FROM and threshold >= GRID_THRESHOLD
    kernel = suppression_kernels.scan_grid if many else suppression_kernels.scan
    exact = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32)).contiguous().numpy()
    return kernel(exact, order, groups, float(threshold))


def _keep_by_operator(boxes: Tensor, scores: Tensor, labels: Tensor, valid: Tensor, threshold: float | int) -> Tensor:
    """Return indices into the flattened batch, by descending score; invalid boxes may be among them.

    Classes lie side by side and images one below the other: in two directions the shifts stay small, and with them
    the coordinates' rounding.
    """
    if 0 in scores.shape:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    usable = valid & boxes.isfinite().all(-1)
    boxes = torch.where(usable[..., None], boxes, 0)  # a point overlaps nothing
    x, y = boxes[..., 0::2], boxes[..., 1::2]  # B N 2
    images = torch.arange(scores.shape[0], device=boxes.device)[:, None]
    x = x + ((x.max() - x.min() + 1) * labels)[..., None]
    y = y + ((y.max() - y.min() + 1) * images)[..., None]
    shifted = torch.stack((x, y), -1).flatten(-2)  # B N 4
    return torchvision.ops.nms(shifted.flatten(0, 1), scores.flatten().to(boxes.dtype), threshold)
