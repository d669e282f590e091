"""Boxes: formats, geometry, overlap, and the corrections that detectors regress.

A box is `xyxy`: left, top, right, bottom in absolute continuous pixels (x right, y down), so that a box may reach
the image's width and height themselves and an area has no +1. Other formats are named: `xywh` (left, top, width,
height), `cxcywh` (centre, width, height), `_normalized` (divided by the width and the height of the image). A `size`
is always (H, W). All functions work on the last axis, give new tensors and let gradients through.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# A length in pixels or cells; symbolic while a network is exported, which torch's own types do not tell.
if TYPE_CHECKING:
    Side = int
else:
    Side = int | torch.SymInt

Size = Sequence[Side]
"""Height and width."""

Weights = tuple[float | int, float | int, float | int, float | int]

MAXIMAL_LOG_SCALE = math.log(1000 / 16)
"""Bound of a predicted log size: no box becomes more than 62.5 times its anchor (torchvision, detectron)."""


# ----------------------------------------------------------------------------------------------------------------------
# Formats


def xyxy_to_xywh(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Convert corners to left, top, width, height."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((x1, y1, x2 - x1, y2 - y1), -1)


def xywh_to_xyxy(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Convert left, top, width, height to corners."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x, y, x + w, y + h), -1)


def xyxy_to_cxcywh(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Convert corners to centre, width, height."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


def cxcywh_to_xyxy(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Convert centre, width, height to corners."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)


def xywh_to_cxcywh(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Convert left, top, width, height to centre, width, height."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x + w / 2, y + h / 2, w, h), -1)


def cxcywh_to_xywh(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Convert centre, width, height to left, top, width, height."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, w, h), -1)


def xyxy_to_xyxy_normalized(boxes: Float[Tensor, "*N 4"], size: Size) -> Float[Tensor, "*N 4"]:
    """Divide corners in pixels by the width and the height of the image."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    H, W = size
    return torch.stack((x1 / W, y1 / H, x2 / W, y2 / H), -1)


def xyxy_normalized_to_xyxy(boxes: Float[Tensor, "*N 4"], size: Size) -> Float[Tensor, "*N 4"]:
    """Multiply corners in [0, 1] by the width and the height of the image."""
    return scale_boxes(boxes, (1, 1), size)


def xyxy_to_cxcywh_normalized(boxes: Float[Tensor, "*N 4"], size: Size) -> Float[Tensor, "*N 4"]:
    """Convert corners in pixels to centre, width, height in [0, 1]: what DETR and YOLO regress."""
    return xyxy_to_xyxy_normalized(xyxy_to_cxcywh(boxes), size)


def cxcywh_normalized_to_xyxy(boxes: Float[Tensor, "*N 4"], size: Size) -> Float[Tensor, "*N 4"]:
    """Convert centre, width, height in [0, 1] to corners in pixels."""
    return xyxy_normalized_to_xyxy(cxcywh_to_xyxy(boxes), size)


# ----------------------------------------------------------------------------------------------------------------------
# Geometry


def box_area(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Return (right - left) * (bottom - top) in square pixels."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1) * (y2 - y1)


def clip_boxes(boxes: Float[Tensor, "*N 4"], size: Size) -> Float[Tensor, "*N 4"]:
    """Move corners that lie outside the image onto its border: x into [0, W], y into [0, H]."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    H, W = size
    return torch.stack((x1.clamp(0, W), y1.clamp(0, H), x2.clamp(0, W), y2.clamp(0, H)), -1)


def clip_boxes_to_images(boxes: Float[Tensor, "B N 4"], sizes: Float[Tensor, "B 2"]) -> Float[Tensor, "B N 4"]:
    """Clip the boxes of a batch to the size (H, W) of their own image; images may share a canvas."""
    return boxes.unflatten(2, (2, 2)).minimum(sizes.flip(1)[:, None, None]).clamp(min=0).flatten(2)


def scale_boxes(boxes: Float[Tensor, "*N 4"], source: Size, target: Size) -> Float[Tensor, "*N 4"]:
    """Map boxes on an image of size `source` onto the same image resized to `target`."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    sy, sx = target[0] / source[0], target[1] / source[1]
    return torch.stack((x1 * sx, y1 * sy, x2 * sx, y2 * sy), -1)


def flip_boxes_horizontally(boxes: Float[Tensor, "*N 4"], width: float | int) -> Float[Tensor, "*N 4"]:
    """Mirror boxes left to right in an image of this width."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((width - x2, y1, width - x1, y2), -1)


def flip_boxes_vertically(boxes: Float[Tensor, "*N 4"], height: float | int) -> Float[Tensor, "*N 4"]:
    """Mirror boxes top to bottom in an image of this height."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((x1, height - y2, x2, height - y1), -1)


def boxes_at_least(boxes: Float[Tensor, "*N 4"], side: float | int) -> Bool[Tensor, "*N"]:
    """Say of each box whether both its sides are at least `side` pixels long."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1 >= side) & (y2 - y1 >= side)


def boxes_inside(boxes: Float[Tensor, "*N 4"], size: Size) -> Bool[Tensor, "*N"]:
    """Say of each box whether it lies wholly in the image; Ren et al. 2015 train on such anchors only."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    H, W = size
    return (x1 >= 0) & (y1 >= 0) & (x2 <= W) & (y2 <= H)


# ----------------------------------------------------------------------------------------------------------------------
# Overlap


def box_iou(first: Float[Tensor, "*B N 4"], second: Float[Tensor, "*B M 4"]) -> Float[Tensor, "*B N M"]:
    """Return the intersection over union of every box of `first` with every box of `second`, in [0, 1].

    The denominator is the union, area + area - intersection (Jaccard 1901). Two boxes without area overlap by 0.
    """
    overlap, union = _overlap_and_union(first.unsqueeze(-2), second.unsqueeze(-3))  # *B N M
    return _ratio(overlap, union)


def paired_box_iou(
    first: Float[Tensor, "*N 4"], second: Float[Tensor, "*N 4"], *, eps: float | int = 0.0
) -> Float[Tensor, "*N"]:
    """Return the intersection over union of box i of `first` with box i of `second`.

    `eps` is added to the denominator (torchvision's losses: 1e-7).
    """
    overlap, union = _overlap_and_union(first, second)
    return _ratio(overlap, union + eps)


def paired_box_share(first: Float[Tensor, "*N 4"], second: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Return which share of box i of `first` lies in box i of `second`, in [0, 1]; 0 of a box without area."""
    overlap, _ = _overlap_and_union(first, second)
    return _ratio(overlap, box_area(first))


def generalized_box_iou(first: Float[Tensor, "*B N 4"], second: Float[Tensor, "*B M 4"]) -> Float[Tensor, "*B N M"]:
    """Return the generalised IoU of every box of `first` with every box of `second`, in (-1, 1].

    IoU less the share of the smallest enclosing box that neither box covers (Rezatofighi et al. 2019, algorithm 1):
    unlike the IoU it tells near from far when boxes do not overlap.
    """
    return _generalized_iou(first.unsqueeze(-2), second.unsqueeze(-3), eps=0.0)  # *B N M


def paired_generalized_box_iou(
    first: Float[Tensor, "*N 4"], second: Float[Tensor, "*N 4"], *, eps: float | int = 0.0
) -> Float[Tensor, "*N"]:
    """Return the generalised IoU of box i of `first` with box i of `second`; `eps` is added to both denominators."""
    return _generalized_iou(first, second, eps=eps)


def _generalized_iou(first: Tensor, second: Tensor, *, eps: float | int) -> Tensor:
    overlap, union = _overlap_and_union(first, second)
    ax1, ay1, ax2, ay2 = first.unbind(-1)
    bx1, by1, bx2, by2 = second.unbind(-1)
    width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    enclosing = width * height
    return _ratio(overlap, union + eps) - _ratio(enclosing - union, enclosing + eps)


def _overlap_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    ax1, ay1, ax2, ay2 = first.unbind(-1)
    bx1, by1, bx2, by2 = second.unbind(-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    overlap = width * height
    return overlap, box_area(first) + box_area(second) - overlap


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide; a whole of no area gives the part, which is then 0, and a finite gradient."""
    return part / torch.where(whole > 0, whole, 1)


# ----------------------------------------------------------------------------------------------------------------------
# Corrections


def encode_boxes(
    boxes: Float[Tensor, "*N 4"],
    anchors: Float[Tensor, "*#N 4"],
    *,
    weights: Weights = (1, 1, 1, 1),
) -> Float[Tensor, "*N 4"]:
    """Return the corrections (dx, dy, dw, dh) that turn anchors (or proposals) into boxes.

    Centre offsets in units of the anchor's sides, logarithms of the ratios of sides (Girshick et al. 2014, eq. 6-9),
    times `weights`: (10, 10, 5, 5) for the heads of Fast and Faster R-CNN, where they stand for the standard
    deviations (0.1, 0.1, 0.2, 0.2) of the targets. Sides must be positive.
    """
    wx, wy, ww, wh = weights
    gx, gy, gw, gh = _centres_and_sides(boxes)
    ax, ay, aw, ah = _centres_and_sides(anchors)
    dx, dy = wx * (gx - ax) / aw, wy * (gy - ay) / ah
    dw, dh = ww * torch.log(gw / aw), wh * torch.log(gh / ah)
    return torch.stack((dx, dy, dw, dh), -1)


def decode_boxes(
    deltas: Float[Tensor, "*N 4"],
    anchors: Float[Tensor, "*#N 4"],
    *,
    weights: Weights = (1, 1, 1, 1),
    clamp: float = MAXIMAL_LOG_SCALE,
) -> Float[Tensor, "*N 4"]:
    """Apply corrections to anchors (or proposals): the inverse of `encode_boxes`.

    Log sizes above `clamp` are cut, so that an untrained head cannot overflow the exponential (Girshick et al. 2014,
    eq. 1-4; the bound is torchvision's). The boxes are not clipped to an image.
    """
    wx, wy, ww, wh = weights
    dx, dy, dw, dh = deltas.unbind(-1)
    ax, ay, aw, ah = _centres_and_sides(anchors)
    cx, cy = dx / wx * aw + ax, dy / wy * ah + ay
    half_w = 0.5 * (torch.exp((dw / ww).clamp(max=clamp)) * aw)
    half_h = 0.5 * (torch.exp((dh / wh).clamp(max=clamp)) * ah)
    return torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), -1)


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split boxes into centre x, centre y, width, height, in torchvision's order of operations."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    w, h = x2 - x1, y2 - y1
    return x1 + 0.5 * w, y1 + 0.5 * h, w, h
