"""Panoptic quality by slow loops, after the definition of COCO's panopticapi."""

from collections import defaultdict

import numpy as np

Records = dict[int, tuple[int, bool]]
"""Segment id -> label, whether it is a crowd."""


def counts_of(found: np.ndarray, found_records: Records, truth: np.ndarray, truth_records: Records) -> dict:
    """Return by label: the IoUs of its matches, and its false positives and negatives."""
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for t, f in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
        shared[t if t in truth_records else 0, f if f in found_records else 0] += 1
    truth_area: dict[int, int] = defaultdict(int)
    found_area: dict[int, int] = defaultdict(int)
    for (t, f), number in shared.items():
        truth_area[t] += number
        found_area[f] += number
    result: dict[int, dict] = defaultdict(lambda: {"iou": [], "fp": 0, "fn": 0})
    matched: set[tuple[str, int]] = set()
    for (t, f), number in shared.items():
        if t == 0 or f == 0 or truth_records[t][1] or truth_records[t][0] != found_records[f][0]:
            continue
        iou = number / (truth_area[t] + found_area[f] - number - shared.get((0, f), 0))
        if iou > 0.5:
            result[truth_records[t][0]]["iou"].append(iou)
            matched |= {("t", t), ("f", f)}
    crowds: dict[int, int] = {}
    for t, (label, crowd) in truth_records.items():
        if not truth_area[t] or ("t", t) in matched:
            continue
        if crowd:
            crowds[label] = t
        else:
            result[label]["fn"] += 1
    for f, (label, _) in found_records.items():
        if not found_area[f] or ("f", f) in matched:
            continue
        excused = shared.get((0, f), 0)
        if label in crowds:
            excused += shared.get((crowds[label], f), 0)
        if excused / found_area[f] <= 0.5:
            result[label]["fp"] += 1
    return result


def qualities(images: list[dict], classes: int) -> dict[str, list[float]]:
    """Return PQ, SQ and RQ of every label over several images, NaN for labels that do not occur."""
    scores: dict[str, list[float]] = {"pq": [], "sq": [], "rq": []}
    for label in range(classes):
        own = [image[label] for image in images if label in image]
        ious = [iou for row in own for iou in row["iou"]]
        wrong = sum(row["fp"] + row["fn"] for row in own) / 2
        total = len(ious) + wrong
        scores["pq"].append(sum(ious) / total if total else float("nan"))
        scores["sq"].append(sum(ious) / len(ious) if ious else 0.0 if total else float("nan"))
        scores["rq"].append(len(ious) / total if total else float("nan"))
    return scores
