"""RetinaNet's loss by slow loops, straight from section 3 and 4 of the paper (arXiv 1708.02002), on plain numbers."""

import math

Box = tuple[float, float, float, float]


def area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: Box, b: Box) -> float:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared)


def assigned(anchors: list[Box], boxes: list[Box], crowd: list[Box]) -> list[int | None]:
    """Row of each anchor's object, -1 for background, None for ignored."""
    result: list[int | None] = []
    best_of_object = [max((iou(box, anchor) for anchor in anchors), default=0.0) for box in boxes]
    for anchor in anchors:
        overlaps = [iou(box, anchor) for box in boxes]
        best = max(overlaps, default=0.0)
        is_best = any(o == b and o > 0 for o, b in zip(overlaps, best_of_object, strict=True))
        if boxes and (best >= 0.5 or is_best):
            result.append(overlaps.index(best))
        elif best >= 0.4 or any(intersection(anchor, region) > 0.5 * area(anchor) for region in crowd):
            result.append(None)
        else:
            result.append(-1)
    return result


def focal(logit: float, positive: bool, alpha: float = 0.25, gamma: float = 2.0) -> float:
    p = 1 / (1 + math.exp(-logit))
    p_t, alpha_t = (p, alpha) if positive else (1 - p, 1 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * math.log(p_t)


def encoded(box: Box, anchor: Box) -> list[float]:
    w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
    return [
        ((box[0] + box[2]) - (anchor[0] + anchor[2])) / 2 / w,
        ((box[1] + box[3]) - (anchor[1] + anchor[3])) / 2 / h,
        math.log((box[2] - box[0]) / w),
        math.log((box[3] - box[1]) / h),
    ]


def smooth_l1(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def retinanet_loss(
    logits: list[list[list[float]]],  # image, anchor, class
    deltas: list[list[list[float]]],  # image, anchor, 4
    anchors: list[Box],
    boxes: list[list[Box]],  # image, object
    labels: list[list[int]],
    crowd: list[list[Box]],  # image, region
) -> tuple[float, float]:
    """Classification and box loss of a batch, divided by its number of positive anchors."""
    classification = box_loss = 0.0
    positives = 0
    for image in range(len(logits)):
        matches = assigned(anchors, boxes[image], crowd[image])
        for row, (anchor, match) in enumerate(zip(anchors, matches, strict=True)):
            if match is None:
                continue
            for k, logit in enumerate(logits[image][row]):
                classification += focal(logit, match >= 0 and labels[image][match] == k)
            if match >= 0:
                positives += 1
                target = encoded(boxes[image][match], anchor)
                box_loss += sum(smooth_l1(d - t) for d, t in zip(deltas[image][row], target, strict=True))
    return classification / max(1, positives), box_loss / max(1, positives)
