"""Hard negative mining of one image by slow loops, over plain numbers."""

from tests.references.boxes import Box, iou


def hardest(
    losses: list[float],
    boxes: list[Box],
    positive: list[bool],
    negative: list[bool],
    ratio: float,
    threshold: float | None,
    least: int,
) -> set[int]:
    """Take the negative of the largest loss that no harder one covers, again and again."""
    wanted = max(int(sum(positive) * ratio), least)
    remaining = [i for i in range(len(losses)) if negative[i]]
    taken: list[int] = []
    while remaining and len(taken) < wanted:
        best = max(remaining, key=lambda i: (losses[i], -i))
        taken.append(best)
        remaining.remove(best)
        if threshold is not None:
            remaining = [i for i in remaining if iou(boxes[i], boxes[best]) <= threshold]
    return set(taken)
