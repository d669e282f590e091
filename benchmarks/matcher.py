"""Matching of queries and objects against transformers' DETR matcher. `python -m benchmarks.matcher`.

16 images of 12 to 28 objects, 91 classes and "no object", 100 and 900 queries, one thread, float32; the pairs are the
same. Both begin with logits and boxes; what differs is the matrix of costs, which there has the objects of all images
for every query.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.loss.loss_for_object_detection import HungarianMatcher

from benchmarks.timing import compare
from vidi.detection.detr import DetrCriterion, PaddedObjects

IMAGES, CLASSES, FEWEST, MOST = 16, 91, 12, 28
BARS = {100: 2.0, 900: 5.0}  # number of queries -> bar


def lines() -> Iterator[str]:
    """Yield a row for each number of queries."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for queries, bar in BARS.items():
        yield _row(queries, bar, generator)


def _boxes(count: int, generator: torch.Generator) -> Tensor:
    """Draw boxes (cx, cy, w, h) in units of the image."""
    return torch.rand(count, 4, generator=generator) * torch.tensor([0.8, 0.8, 0.5, 0.5]) + 0.1


def _row(queries: int, bar: float, generator: torch.Generator) -> str:
    logits = torch.randn(IMAGES, queries, CLASSES + 1, generator=generator)
    boxes = _boxes(IMAGES * queries, generator).view(IMAGES, queries, 4)
    counts = torch.randint(FEWEST, MOST + 1, (IMAGES,), generator=generator).tolist()
    truths = [_boxes(count, generator) for count in counts]
    labels = [torch.randint(CLASSES, (count,), generator=generator) for count in counts]

    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    theirs = [{"class_labels": k, "boxes": b} for k, b in zip(labels, truths, strict=True)]
    criterion = DetrCriterion(tuple(range(CLASSES)))

    def ours() -> list[tuple[Tensor, Tensor]]:
        padded = pad_sequence(truths, batch_first=True), pad_sequence(labels, batch_first=True)
        problem, row, column = criterion.match(logits, boxes, PaddedObjects(*padded, counts))
        sizes = problem.bincount(minlength=IMAGES).tolist()
        return list(zip(row.split(sizes), column.split(sizes), strict=True))

    contestants: dict[str, Callable[[], list[tuple[Tensor, Tensor]]]] = {
        "vidi": ours,
        "transformers HungarianMatcher": lambda: matcher({"logits": logits, "pred_boxes": boxes}, theirs),
    }
    for one, other in zip(*(run() for run in contestants.values()), strict=True):
        if not all(map(torch.equal, one, other)):
            raise ValueError(f"{queries} queries: the pairs differ")
    comparison = compare(f"matching of {queries} queries", {**contestants})
    return comparison.line("transformers HungarianMatcher", bar)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
