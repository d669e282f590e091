"""YOLOv3's target, loss and decoder by slow loops, on plain numbers, as forward_yolo_layer of Darknet goes about them.

An image is `numbers[scale][row][column][anchor]`: x, y, w, h, objectness, classes, before any activation.
"""

import math

from tests.references.boxes import Box, iou, suppress

Numbers = list[list[list[list[list[float]]]]]
Slot = tuple[int, int, int, int]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def entropy(logit: float, target: float) -> float:
    p = sigmoid(logit)
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def predicted_box(numbers: list[float], row: int, column: int, stride: int, anchor: tuple[float, float]) -> Box:
    x, y = (column + sigmoid(numbers[0])) * stride, (row + sigmoid(numbers[1])) * stride
    w, h = anchor[0] * math.exp(numbers[2]), anchor[1] * math.exp(numbers[3])
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def slot_of(box: Box, numbers: Numbers, strides: list[int], anchors: list[list[tuple[float, float]]]) -> Slot:
    """Scale, row, column and anchor that an object belongs to."""
    w, h = box[2] - box[0], box[3] - box[1]
    best, found = -1.0, (0, 0)
    for scale, of_scale in enumerate(anchors):
        for a, (anchor_w, anchor_h) in enumerate(of_scale):
            overlap = iou((-w / 2, -h / 2, w / 2, h / 2), (-anchor_w / 2, -anchor_h / 2, anchor_w / 2, anchor_h / 2))
            if overlap > best:
                best, found = overlap, (scale, a)
    scale, a = found
    row, column = int((box[1] + box[3]) / 2 / strides[scale]), int((box[0] + box[2]) / 2 / strides[scale])
    return scale, min(row, len(numbers[scale]) - 1), min(column, len(numbers[scale][0]) - 1), a


def image_loss(
    numbers: Numbers,
    strides: list[int],
    anchors: list[list[tuple[float, float]]],
    canvas: tuple[int, int],
    boxes: list[Box],
    labels: list[int],
    crowd: list[Box],
    ignore: float,
) -> tuple[dict[str, float], list[list[float]]]:
    """Losses of one image, and Darknet's deltas (the negative gradients of the numbers) row after row."""
    losses = {"objectness": 0.0, "classification": 0.0, "box": 0.0}
    taken: dict[Slot, tuple[Box, set[int]]] = {}
    for box, label in zip(boxes, labels, strict=True):
        slot = slot_of(box, numbers, strides, anchors)
        others = taken[slot][1] if slot in taken else set()
        taken[slot] = (box, others | {label})
    deltas = []
    for scale, grid in enumerate(numbers):
        for row, cells in enumerate(grid):
            for column, cell in enumerate(cells):
                for a, values in enumerate(cell):
                    delta = [0.0] * len(values)
                    stride, anchor = strides[scale], anchors[scale][a]
                    found = predicted_box(values, row, column, stride, anchor)
                    if (scale, row, column, a) in taken:
                        truth, classes = taken[scale, row, column, a]
                        w, h = truth[2] - truth[0], truth[3] - truth[1]
                        weight = 2 - (w / canvas[1]) * (h / canvas[0])
                        places = (
                            (truth[0] + truth[2]) / 2 / stride - column,
                            (truth[1] + truth[3]) / 2 / stride - row,
                        )
                        for i, t in enumerate(places):
                            losses["box"] += weight * entropy(values[i], t)
                            delta[i] = weight * (t - sigmoid(values[i]))
                        for i, t in ((2, math.log(w / anchor[0])), (3, math.log(h / anchor[1]))):
                            losses["box"] += weight * (t - values[i]) ** 2 / 2
                            delta[i] = weight * (t - values[i])
                        losses["objectness"] += entropy(values[4], 1)
                        delta[4] = 1 - sigmoid(values[4])
                        for k, logit in enumerate(values[5:]):
                            losses["classification"] += entropy(logit, float(k in classes))
                            delta[5 + k] = float(k in classes) - sigmoid(logit)
                    elif not ignored(found, boxes, crowd, ignore):
                        losses["objectness"] += entropy(values[4], 0)
                        delta[4] = 0 - sigmoid(values[4])
                    deltas.append(delta)
    return losses, deltas


def ignored(found: Box, boxes: list[Box], crowd: list[Box], threshold: float) -> bool:
    area = (found[2] - found[0]) * (found[3] - found[1])
    for region in crowd:
        w = min(found[2], region[2]) - max(found[0], region[0])
        h = min(found[3], region[3]) - max(found[1], region[1])
        if w > 0 and h > 0 and w * h > area / 2:
            return True
    return any(iou(found, box) > threshold for box in boxes)


def detections(
    numbers: Numbers,
    strides: list[int],
    anchors: list[list[tuple[float, float]]],
    size: tuple[int, int],
    score_threshold: float,
    nms_threshold: float,
) -> list[tuple[float, int, Box]]:
    """Score, label and box of what is found, the best first."""
    found = []
    for scale, grid in enumerate(numbers):
        for row, cells in enumerate(grid):
            for column, cell in enumerate(cells):
                for a, values in enumerate(cell):
                    x1, y1, x2, y2 = predicted_box(values, row, column, strides[scale], anchors[scale][a])
                    x1, x2 = (min(max(x, 0), size[1]) for x in (x1, x2))
                    y1, y2 = (min(max(y, 0), size[0]) for y in (y1, y2))
                    for k, logit in enumerate(values[5:]):
                        score = sigmoid(values[4]) * sigmoid(logit)
                        if score > score_threshold and x2 > x1 and y2 > y1:
                            found.append((score, k, (x1, y1, x2, y2)))
    scores, labels, boxes = ([row[i] for row in found] for i in range(3))
    return [found[i] for i in suppress(boxes, scores, labels, nms_threshold)]
