"""Semantic segmentation: counts against torchmetrics, training against a bare loop. `python -m benchmarks.semantic`.

Maps of 512 x 1024 pixels and 19 classes (Cityscapes), a tenth of the 500 of its validation; both start from labels in
memory. The training is of U-Net on pictures of camvid's shape: `Training` with all that it does at a step against a
loop of forward, loss, backward and step over the same batches, as a user would write it.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from benchmarks.timing import compare
from vidi.engine.fit import Training
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run
from vidi.metrics.segmentation import SegmentationEvaluator
from vidi.metrics.segmentation_kernels import count_pairs
from vidi.model import Step
from vidi.ops.label_maps import VOID
from vidi.segmentation.unet import unet_small

MAPS, SIZE, CLASSES = 50, (512, 1024), 19
COUNTS_BAR = 5.0
TRAINING_BAR = 0.95
PICTURES, PICTURE_SIZE, LABELS = 24, (180, 240), 11
RECIPE = Recipe(epochs=1, batch_size=8, optimizer="adamw", learning_rate=1e-4, device="cpu")

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


class Pictures(torch.utils.data.Dataset):
    """Noise with labels, in memory: what is compared is what happens behind the data."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (PICTURES, 3, *PICTURE_SIZE), generator=generator, dtype=torch.uint8)
        self.labels = torch.randint(0, LABELS, (PICTURES, *PICTURE_SIZE), generator=generator, dtype=torch.uint8)

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.images[index], {"semantic": self.labels[index]}


def training() -> Iterator[str]:
    """Yield a row of three steps of the engine against three of a bare loop, each from its set-up to its end."""
    pictures = Pictures()

    def engine() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Training(unet_small(categories=LABELS, size=PICTURE_SIZE), RECIPE, pictures, Run(Path(folder))).fit()

    def bare() -> None:
        model = unet_small(categories=LABELS, size=PICTURE_SIZE).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE.learning_rate)
        order = torch.randperm(PICTURES).tolist()
        for start in range(0, PICTURES, RECIPE.batch_size):
            samples = [pictures[row] for row in order[start : start + RECIPE.batch_size]]
            batch = model.preprocess.collate([model.preprocess.place(*sample) for sample in samples])
            optimizer.zero_grad()
            torch.stack(list(model.losses("network", batch, Step()).values())).sum().backward()
            optimizer.step()

    yield compare("training steps of U-Net", {"vidi": engine, "bare loop": bare}).line("bare loop", TRAINING_BAR)


def lines() -> Iterator[str]:
    """Yield all rows; one thread."""
    torch.set_num_threads(1)
    yield from counting()
    yield from training()


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
