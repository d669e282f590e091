"""Panoptic quality against torchmetrics and the loop of COCO's panopticapi. `python -m benchmarks.panoptic`.

Pairs of maps of 480 x 640 pixels and 133 categories, about 15 segments each, the predictions moved by a few pixels;
ten of the 500 of a validation, as torchmetrics takes half a second for each. All start from maps of ids in memory and
what the segments are; torchmetrics gets maps of categories and ids.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torchmetrics.detection import PanopticQuality

from benchmarks.timing import compare
from vidi.metrics.panoptic import LabelledMap, PanopticEvaluator

IMAGES, SIZE, CLASSES, THINGS, SEGMENTS = 10, (480, 640), 133, 80, 15
BAR = 10.0

Pair = tuple[LabelledMap, LabelledMap]


def pairs() -> list[Pair]:
    """Draw maps of overlapping rectangles without void, stuff in one piece."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(IMAGES):
        ids = np.ones(SIZE, np.int32)
        labels = [THINGS, *generator.permutation(CLASSES)[: SEGMENTS - 1]]
        labels = list(dict.fromkeys(int(label) for label in labels))
        for number in range(2, len(labels) + 1):
            y, x = generator.integers(0, SIZE[0] - 60), generator.integers(0, SIZE[1] - 60)
            h, w = generator.integers(40, 240, 2)
            ids[y : y + h, x : x + w] = number
        moved = np.roll(ids, generator.integers(-6, 7, 2), (0, 1))
        made.append((_labelled(moved, labels), _labelled(ids, labels)))
    return made


def _labelled(ids: np.ndarray, labels: list[int]) -> LabelledMap:
    shown = np.unique(ids)
    return LabelledMap(ids, shown.astype(np.int64), np.array(labels, np.int64)[shown - 1])


def ours(maps: list[Pair]) -> np.ndarray:
    evaluator = PanopticEvaluator(CLASSES)
    for found, truth in maps:
        evaluator.add(found, truth)
    return evaluator.compute().pq


def of_torchmetrics(inputs: list[tuple[torch.Tensor, torch.Tensor]]) -> np.ndarray:
    metric = PanopticQuality(set(range(THINGS)), set(range(THINGS, CLASSES)), return_per_class=True)
    for found, truth in inputs:
        metric.update(found, truth)
    return metric.compute().numpy().reshape(-1)


def of_panopticapi(maps: list[Pair]) -> np.ndarray:
    """Score as panopticapi's `pq_compute_single_core` does, once its PNGs are decoded to ids."""
    iou, tp, fp, fn = (np.zeros(CLASSES) for _ in range(4))
    for found, truth in maps:
        offset = 256**3
        labels = {int(i): int(k) for i, k in zip(found.ids, found.labels, strict=True)}
        true_labels = {int(i): int(k) for i, k in zip(truth.ids, truth.labels, strict=True)}
        areas = dict(zip(*np.unique(found.map, return_counts=True), strict=True))
        true_areas = dict(zip(*np.unique(truth.map, return_counts=True), strict=True))
        joint = truth.map.astype(np.uint64) * offset + found.map.astype(np.uint64)
        shared = {
            (int(key) // offset, int(key) % offset): int(count)
            for key, count in zip(*np.unique(joint, return_counts=True), strict=True)
        }
        matched: set[tuple[str, int]] = set()
        for (t, f), number in shared.items():
            if true_labels.get(t) != labels.get(f):
                continue
            share = number / (true_areas[t] + areas[f] - number)
            if share > 0.5:
                iou[labels[f]] += share
                tp[labels[f]] += 1
                matched |= {("t", t), ("f", f)}
        for t, label in true_labels.items():
            fn[label] += ("t", t) not in matched
        for f, label in labels.items():
            fp[label] += ("f", f) not in matched
    total = tp + fp / 2 + fn / 2
    return iou / np.where(total > 0, total, 1)


def _stacked(side: LabelledMap) -> torch.Tensor:
    table = np.zeros(int(side.ids.max()) + 1, np.int64)
    table[side.ids] = side.labels
    return torch.from_numpy(np.stack((table[side.map], side.map), -1))[None]


def lines() -> Iterator[str]:
    """Yield a row against each peer."""
    maps = pairs()
    inputs = [(_stacked(found), _stacked(truth)) for found, truth in maps]
    np.testing.assert_allclose(ours(maps), of_panopticapi(maps), atol=1e-12)
    np.testing.assert_allclose(ours(maps), of_torchmetrics(inputs), atol=1e-5)
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: ours(maps),
        "torchmetrics": lambda: of_torchmetrics(inputs),
        "panopticapi": lambda: of_panopticapi(maps),
    }
    compared = compare(f"panoptic quality, {len(maps)} maps", contestants, rounds=5)
    yield compared.line("torchmetrics", BAR)
    yield compared.line("panopticapi", BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
