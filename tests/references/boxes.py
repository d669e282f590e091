"""Boxes, suppression, anchors and matching by slow loops over Python's floats, straight from the definitions."""

import itertools
import math

Box = tuple[float, float, float, float]


def iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = area(a) + area(b) - width * height
    return width * height / union if union > 0 else 0.0


def generalized_iou(a: Box, b: Box) -> float:
    enclosing = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = area(a) + area(b) - width * height
    return iou(a, b) - (enclosing - union) / enclosing


def area(a: Box) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def encode(box: Box, anchor: Box) -> Box:
    (x, y, w, h), (gx, gy, gw, gh) = centre_form(anchor), centre_form(box)
    return (gx - x) / w, (gy - y) / h, math.log(gw / w), math.log(gh / h)


def centre_form(a: Box) -> Box:
    return (a[0] + a[2]) / 2, (a[1] + a[3]) / 2, a[2] - a[0], a[3] - a[1]


def suppress(boxes: list[Box], scores: list[float], labels: list[int], threshold: float) -> list[int]:
    """Take the best remaining box, drop those of its label that overlap it by more, and begin again."""
    remaining = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while remaining:
        best, *others = remaining
        kept.append(best)
        remaining = [i for i in others if labels[i] != labels[best] or iou(boxes[i], boxes[best]) <= threshold]
    return kept


def anchors(sizes: list[float], ratios: list[float], cells: tuple[int, int], stride: float) -> list[Box]:
    result = []
    for row, column, ratio, size in itertools.product(range(cells[0]), range(cells[1]), ratios, sizes):
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
        result.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return result


def match(iou: list[list[float]], low: float, high: float) -> list[int]:
    """Give each anchor (column) its object, -1 for background, -2 for neither; the best anchors of an object count."""
    matches = []
    best = [max(row) for row in iou]
    for a in range(len(iou[0])):
        column = [row[a] for row in iou]
        truth = column.index(max(column))
        best_of_some = any(row[a] == most > 0 for row, most in zip(iou, best, strict=True))
        if max(column) >= high or best_of_some:
            matches.append(truth)
        else:
            matches.append(-1 if all(value < low for value in column) else -2)
    return matches
