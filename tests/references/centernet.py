"""CenterNet's targets, loss and decoder by slow loops, straight from arXiv 1904.07850 and 1808.01244."""

import math

Box = tuple[float, float, float, float]
Map = list[list[float]]  # y, x
R = 4


def iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def radius(width: float, height: float, min_iou: float) -> float:
    """By bisection: the largest r for which all nine moves of the two corners by r keep the IoU."""

    def worst(r: float) -> float:
        moved = [(dx1, dx2) for dx1 in (-r, r) for dx2 in (-r, r)]
        boxes = [(x1, y1, width + x2, height + y2) for x1, x2 in moved for y1, y2 in moved]
        whole = [b for b in boxes if b[2] > b[0] and b[3] > b[1]]
        return 0.0 if len(whole) < len(boxes) else min(iou((0, 0, width, height), b) for b in whole)

    low, high = 0.0, min(width, height)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if worst(middle) >= min_iou else (low, middle)
    return low


def cornernet_radius(width: float, height: float, min_iou: float) -> float:
    """The least of the roots of three quadratics, by the formula for quadratics."""
    sides, area = width + height, width * height
    c1 = area * (1 - min_iou) / (1 + min_iou)
    shifted = (sides - math.sqrt(sides**2 - 4 * c1)) / 2
    a2, b2, c2 = 4, 2 * sides, (1 - min_iou) * area
    shrunk = (b2 - math.sqrt(b2**2 - 4 * a2 * c2)) / (2 * a2)
    a3, b3, c3 = 4 * min_iou, -2 * min_iou * sides, (min_iou - 1) * area
    grown = (b3 + math.sqrt(b3**2 - 4 * a3 * c3)) / (2 * a3)
    return min(shifted, shrunk, grown)


def cell_of(box: Box, size: tuple[int, int]) -> tuple[int, int]:
    x, y = (math.floor((box[axis] + box[axis + 2]) / 2 / R) for axis in (0, 1))
    return min(max(x, 0), size[1] - 1), min(max(y, 0), size[0] - 1)


def heatmaps(boxes: list[Box], labels: list[int], classes: int, size: tuple[int, int], min_iou: float) -> list[Map]:
    h, w = size
    maps = [[[0.0] * w for _ in range(h)] for _ in range(classes)]
    for box, label in zip(boxes, labels, strict=True):
        cx, cy = cell_of(box, size)
        sigma = cornernet_radius((box[2] - box[0]) / R, (box[3] - box[1]) / R, min_iou) / 3
        for y in range(h):
            for x in range(w):
                near = (x, y) == (cx, cy)
                value = 1.0 if near else math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                maps[label][y][x] = max(maps[label][y][x], value)
    return maps


def cell_loss(logit: float, target: float, gamma: float = 2, beta: float = 4) -> float:
    p = 1 / (1 + math.exp(-logit))
    if target == 1:
        return -((1 - p) ** gamma) * math.log(p)
    return -((1 - target) ** beta) * p**gamma * math.log(1 - p)


def centernet_loss(
    logits: list[list[Map]],  # image, class, y, x
    offsets: list[list[Map]],  # image, 2, y, x
    sizes: list[list[Map]],
    boxes: list[list[Box]],  # image, object
    labels: list[list[int]],
    crowd: list[list[Box]],  # image, region
    *,
    huber: bool = False,
    min_iou: float = 0.3,
) -> tuple[float, float, float]:
    """Loss of heatmaps, offsets and sizes of a batch, with their weights, divided by its number of objects."""

    def residual(difference: float) -> float:
        return 0.5 * difference**2 if huber and abs(difference) < 1 else abs(difference) - 0.5 * huber

    heat = offset = size = 0.0
    for image, maps in enumerate(logits):
        h, w = len(maps[0]), len(maps[0][0])
        targets = heatmaps(boxes[image], labels[image], len(maps), (h, w), min_iou)
        for k, plane in enumerate(maps):
            for y in range(h):
                for x in range(w):
                    px, py = (x + 0.5) * R, (y + 0.5) * R
                    hidden = any(b[0] <= px < b[2] and b[1] <= py < b[3] for b in crowd[image])
                    if targets[k][y][x] == 1 or not hidden:
                        heat += cell_loss(plane[y][x], targets[k][y][x])
        for box in boxes[image]:
            x, y = cell_of(box, (h, w))
            for axis, cell in enumerate((x, y)):
                centre = (box[axis] + box[axis + 2]) / 2 / R
                offset += residual(offsets[image][axis][y][x] - (centre - cell))
                size += residual(sizes[image][axis][y][x] - (box[axis + 2] - box[axis]))
    count = max(1, sum(len(own) for own in boxes))
    return heat / count, offset / count, 0.1 * size / count


def decoded(
    logits: list[Map], offsets: list[Map], sizes: list[Map], size: tuple[int, int], count: int
) -> list[tuple[float, int, Box]]:
    """Score, class and box of the best peaks of one image of `size` (h, w) pixels, clipped to it."""
    rows, columns = -(-size[0] // R), -(-size[1] // R)
    found = []
    for k, plane in enumerate(logits):
        for y in range(rows):
            for x in range(columns):
                around = [
                    plane[j][i]
                    for j in range(max(0, y - 1), min(rows, y + 2))
                    for i in range(max(0, x - 1), min(columns, x + 2))
                ]
                if plane[y][x] == max(around):
                    found.append((1 / (1 + math.exp(-plane[y][x])), k, x, y))
    results = []
    for score, k, x, y in sorted(found, key=lambda peak: -peak[0])[:count]:
        cx, cy = R * (x + offsets[0][y][x]), R * (y + offsets[1][y][x])
        w, h = max(0.0, sizes[0][y][x]), max(0.0, sizes[1][y][x])
        box = tuple(
            min(max(side, 0.0), float(limit))
            for side, limit in (
                (cx - w / 2, size[1]), (cy - h / 2, size[0]), (cx + w / 2, size[1]), (cy + h / 2, size[0]),
            )
        )  # fmt: skip
        if box[2] > box[0] and box[3] > box[1]:
            results.append((score, k, box))
    return results
