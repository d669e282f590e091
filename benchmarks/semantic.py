"""Semantic segmentation: counts against torchmetrics. `python -m benchmarks.semantic`.

Maps of 512 x 1024 pixels and 19 classes (Cityscapes), a tenth of the 500 of its validation; both start from labels in
memory.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from benchmarks.timing import compare
from vidi.metrics.segmentation import SegmentationEvaluator
from vidi.metrics.segmentation_kernels import count_pairs
from vidi.ops.label_maps import VOID

MAPS, SIZE, CLASSES = 50, (512, 1024), 19
COUNTS_BAR = 5.0

Maps = list[tuple[Tensor, Tensor]]


def drawn_maps() -> Maps:
    """Draw pairs of maps in blocks of 16 pixels: a tenth of the predictions differ, a twentieth is void."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(MAPS):
        coarse = generator.integers(0, CLASSES, (SIZE[0] // 16, SIZE[1] // 16))
        truth = np.kron(coarse, np.ones((16, 16))).astype(np.uint8)
        found = np.where(generator.random(SIZE) < 0.1, generator.integers(0, CLASSES, SIZE), truth).astype(np.uint8)
        truth[generator.random(SIZE) < 0.05] = VOID
        made.append((torch.from_numpy(found), torch.from_numpy(truth)))
    return made


def counted(maps: Maps) -> np.ndarray:
    """Count pairs of labels by the kernel of `SegmentationEvaluator`."""
    counts = np.zeros((CLASSES, CLASSES + 1), np.int64)
    for found, truth in maps:
        count_pairs(truth.numpy().reshape(-1), found.numpy().reshape(-1), counts)
    return counts


def scored(maps: Maps) -> Tensor:
    """Score maps with all that a validation of ours says: boundaries too."""
    evaluator = SegmentationEvaluator(CLASSES)
    for found, truth in maps:
        evaluator.update(found, truth)
    return evaluator.compute().iou


def scored_by_torchmetrics(maps: Maps) -> Tensor:
    metric = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=VOID, validate_args=False)
    for found, truth in maps:
        metric.update(found.long(), truth.long())
    return metric.compute()


def counting() -> Iterator[str]:
    """Yield a row of the counts alone, and one of everything that a validation says."""
    maps = drawn_maps()
    torch.testing.assert_close(scored(maps).float(), scored_by_torchmetrics(maps), atol=1e-6, rtol=0)
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: counted(maps),
        "torchmetrics": lambda: scored_by_torchmetrics(maps),
    }
    yield compare(f"confusion counts, {MAPS} maps", contestants).line("torchmetrics", COUNTS_BAR)
    contestants["vidi"] = lambda: scored(maps)
    yield compare(f"the same and boundaries, {MAPS} maps", contestants).line("torchmetrics")


def lines() -> Iterator[str]:
    """Yield all rows; one thread."""
    torch.set_num_threads(1)
    yield from counting()


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
