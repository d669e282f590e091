"""Objects that several windows of one picture show, each of them once.

    windows     overlap; each has its own detections, moved to the pixels of the picture
    pieces      a box that reaches a border of its window within the picture is a piece of an object
    pairs       boxes of one class and of two windows are the same object where they agree on what both windows show,
                and a piece is one of what most of it lies in
    groups      pairs, the best first; a group has one object of a window at most
    merged      the surest whole object of each group; of pieces alone box, mask and joints of all together
    overview    the detections of the whole picture, seen from afar: those that no window holds whole are added; one
                that the pieces in it make up is what they are together, as they show more of it

Akyon et al. 2022, "Slicing aided hyper inference", arXiv 2202.06934 (SAHI): slices, the whole picture besides them, and
merging of what overlaps by more than half of the smaller one. Differs from the paper: that rule holds for pieces only,
as a child before its mother is no piece of her; boxes of one window, among which its model chose, are never merged; and
the parts of an object over several windows, which overlap little, are known by their agreement where windows overlap.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.ops.boxes import box_iou, paired_box_iou, paired_box_share
from vidi.ops.masks import CodedMasks
from vidi.results.detections import Detections, joined

AGREEMENT = 0.5
"""Overlap above which two boxes are one object, as in SAHI."""

NEAR = 0.02
"""Share of a window's side: a box that comes so near to a border is taken to reach it, as detectors are not exact."""

LEAST_SURE = 0.5
"""A piece is not merged with what has less than this share of its score: detectors also tell what they doubt."""


FAR = 3
"""Pixels of the overview by which a box in it may be wrong."""


class View(NamedTuple):
    """What a window of a picture shows."""

    window: tuple[int, int, int, int]  # xyxy
    found: Detections  # in the pixels of the picture


class Pair(NamedTuple):
    """Two detections that agree."""

    agreement: float
    first: int
    second: int


def merge_views(
    views: Sequence[View], overview: Detections, size: tuple[int, int], *, coarseness: float | int
) -> Detections:
    """Return what the windows of a picture of `size` (H, W), and a look at all of it, found together.

    Args:
        views: at least one.
        overview: the detections of the whole picture.
        size: of the picture.
        coarseness: pixels of the picture that are one of the overview.
    """
    windows = torch.tensor([view.window for view in views], dtype=torch.float64)
    held = _held(windows, size)
    found, order = _joined([view.found for view in views])
    view_of = torch.repeat_interleave(torch.tensor([len(view.found) for view in views]))[order]
    whole = _inside(found.boxes.double(), held[view_of])
    pairs = _pairs(found, view_of, windows, whole)
    groups = _groups(pairs, view_of.tolist(), whole.tolist(), found.scores.tolist())
    wholes = [[row for row in group if whole[row]] for group in groups]
    parts = [rows[:1] or group for rows, group in zip(wholes, groups, strict=True)]
    near = _together(found, parts, [group[0] for group in groups])
    far = overview.chosen(~_inside(overview.boxes[:, None].double(), held).any(1))
    return _completed(near, torch.tensor([bool(rows) for rows in wholes], dtype=torch.bool), far, coarseness)


def _joined(parts: Sequence[Detections]) -> tuple[Detections, Int64[Tensor, " N"]]:
    """Return all detections, and which of all that come one after the other each is."""
    order = torch.cat([part.scores for part in parts]).argsort(descending=True, stable=True)
    return joined(parts), order


def _held(windows: Float[Tensor, "V 4"], size: tuple[int, int]) -> Float[Tensor, "V 4"]:
    """Return where a box is whole in each window: away from its borders, but for those of the picture."""
    H, W = size
    near = NEAR * (windows[:, 2:] - windows[:, :2])  # V 2
    low = torch.where(windows[:, :2] > 0, windows[:, :2] + near, -torch.inf)
    high = torch.where(windows[:, 2:] < windows.new_tensor([W, H]), windows[:, 2:] - near, torch.inf)
    return torch.cat((low, high), 1)


def _inside(boxes: Float[Tensor, "*N 4"], others: Float[Tensor, "*M 4"]) -> Bool[Tensor, "*L"]:
    return ((boxes[..., :2] > others[..., :2]) & (boxes[..., 2:] < others[..., 2:])).all(-1)


# ----------------------------------------------------------------------------------------------------------------------
# Which are the same


def _pairs(
    found: Detections, view_of: Int64[Tensor, " N"], windows: Float[Tensor, "V 4"], whole: Bool[Tensor, " N"]
) -> list[Pair]:
    """Return the detections of two windows that agree, those that agree most first."""
    boxes, pairs = found.boxes.double(), []
    for view, window in enumerate(windows):
        own, others = (view_of == view).nonzero()[:, 0], (view_of > view).nonzero()[:, 0]
        low, high = window[:2].maximum(windows[view_of[others], :2]), window[2:].minimum(windows[view_of[others], 2:])
        meet = (low < high).all(1)
        others, low, high = others[meet], low[meet].repeat(1, 2), high[meet].repeat(1, 2)  # M 4
        first, second = boxes[own][:, None].expand(-1, len(others), 4), boxes[others].expand(len(own), -1, 4)
        agreement = paired_box_iou(first.clamp(low, high), second.clamp(low, high))  # n M
        one_is_whole, other_is_whole = whole[own][:, None], whole[others]
        agreement = agreement * (one_is_whole == other_is_whole)
        agreement = agreement.maximum(paired_box_share(first, second) * ~one_is_whole)
        agreement = agreement.maximum(paired_box_share(second, first) * ~other_is_whole)
        same = (found.labels[own][:, None] == found.labels[others]) & (agreement > AGREEMENT)
        for row, column in same.nonzero().tolist():
            pairs.append(Pair(float(agreement[row, column]), int(own[row]), int(others[column])))
    return sorted(pairs, key=lambda pair: (-pair.agreement, min(pair[1:]), max(pair[1:])))


def _groups(
    pairs: Sequence[Pair], view_of: Sequence[int], whole: Sequence[bool], scores: Sequence[float]
) -> list[list[int]]:
    """Return the detections that are the same object; the surest of a group first.

    A piece goes to the whole object that it agrees with most, even where others of its window do: an object that bends
    may reach into a window twice.
    """
    groups = {row: [row] for row in range(len(view_of))}
    group_of = list(range(len(view_of)))

    def unite(one: int, other: int) -> None:
        moved = groups.pop(other)
        groups[one] += moved
        for row in moved:
            group_of[row] = one

    settled: set[int] = set()  # pieces of whole objects
    for _, first, second in pairs:
        piece, other = (second, first) if whole[first] else (first, second)
        if whole[other] > whole[piece] and piece not in settled and scores[other] >= LEAST_SURE * scores[piece]:
            settled.add(piece)
            unite(other, piece)
    for _, first, second in pairs:
        one, other = group_of[first], group_of[second]
        alike = whole[first] == whole[second] and one != other and not {first, second} & settled
        if not whole[first] and min(scores[first], scores[second]) < LEAST_SURE * max(scores[first], scores[second]):
            continue
        views = [{view_of[row] for row in groups[group] if row not in settled} for group in (one, other)]
        if alike and not views[0] & views[1]:
            unite(one, other)
    return sorted(sorted(group) for group in groups.values())


# ----------------------------------------------------------------------------------------------------------------------
# What they are together


def _together(found: Detections, parts: Sequence[Sequence[int]], surest: Sequence[int]) -> Detections:
    """Return one detection for all of each part, with the score of another row: the surest that speaks for it."""
    firsts = torch.tensor([part[0] for part in parts], dtype=torch.int64)
    boxes, scores, keypoints, masks = found.boxes[firsts], found.scores[surest], found.keypoints, found.coded_masks
    for row, part in enumerate(parts):
        boxes[row] = _around(found.boxes[part])
    if masks is not None:
        masks = CodedMasks.joined([masks[:0], *(masks[part].united() for part in parts)])
    if keypoints is not None:
        keypoints = torch.cat([keypoints[:0], *(_surest_joints(keypoints[part]) for part in parts)])
    labels = found.labels[firsts]
    return replace(found, boxes=boxes, scores=scores, labels=labels, masks=masks, keypoints=keypoints)


def _around(boxes: Float[Tensor, "P 4"]) -> Float[Tensor, " 4"]:
    return torch.cat((boxes[:, :2].amin(0), boxes[:, 2:].amax(0)))


def _surest_joints(keypoints: Float[Tensor, "P J 3"]) -> Float[Tensor, "1 J 3"]:
    """Return each joint as the piece gives it that is surest of it."""
    best = keypoints[:, :, 2].argmax(0)  # J
    return keypoints[best, torch.arange(len(best))][None]


def _completed(near: Detections, whole: Bool[Tensor, " N"], far: Detections, coarseness: float | int) -> Detections:
    """Add what was seen from afar: objects of which there are pieces near by, or nothing.

    Of an object that is whole in both, the near view stays unless it is doubtful.
    """
    if not len(far):
        return near
    found, order = _joined([near, far])
    is_far = order >= len(near)
    own, others = (~is_far).nonzero()[:, 0], is_far.nonzero()[:, 0]
    is_whole = whole[order[own]][:, None]
    boxes, scores = found.boxes.double(), found.scores
    same = found.labels[own][:, None] == found.labels[others]  # N M
    rivals = same & is_whole & (box_iou(boxes[own], boxes[others]) > AGREEMENT)
    believed = scores[own][:, None] >= LEAST_SURE * scores[others]
    beaten = (rivals & believed).any(0)  # M
    ousted = (rivals & ~beaten).any(1)  # N
    first, second = boxes[own][:, None].expand(-1, len(others), 4), boxes[others].expand(len(own), -1, 4)
    sure = scores[others] >= LEAST_SURE * scores[own][:, None]
    share = paired_box_share(first, second).maximum(paired_box_share(second, first))
    share, object_of = (share * (same & ~is_whole & ~beaten & sure)).max(1)
    is_piece = share > AGREEMENT
    parts = [[row] for row in own[~is_piece & ~ousted].tolist()]
    surest = [row for (row,) in parts]
    for column, row in enumerate(others.tolist()):
        if beaten[column]:
            continue
        pieces = own[is_piece & (object_of == column)].tolist()
        complete = bool(pieces) and bool(((_around(boxes[pieces]) - boxes[row]).abs() <= FAR * coarseness).all())
        parts.append(pieces if complete else [row])
        surest.append(min([row, *pieces]))
    return _together(found, parts, surest)
