"""Non-maximum suppression against torchvision: clustered (detector-like), spread (proposal-like), in 80 classes.

One thread, IoU 0.5, float32; the kept indices are the same. `python -m benchmarks.nms`.
"""

from collections.abc import Callable, Iterator

import torch
import torchvision.ops
from torch import Tensor

from benchmarks.timing import compare
from vidi.ops.suppression import class_wise_suppression, non_maximum_suppression

THRESHOLD = 0.5
CLASSES = 80
CLUSTERED = {100: 0.8, 1_000: 0.8, 5_000: 1.5, 20_000: 5.0, 100_000: 10.0}  # number of boxes -> bar
SPREAD = {100: 0.8, 1_000: 0.8, 5_000: None, 20_000: 20.0}
BATCHED = {1_000: 0.8, 20_000: None}


def clustered(count: int, generator: torch.Generator) -> Tensor:
    """Draw boxes that scatter around one object for every hundred of them: few are kept."""
    objects = count // 100
    sides = torch.exp(torch.randn(objects, 2, generator=generator) * 0.5 + 4)
    centres = torch.rand(objects, 2, generator=generator) * 1000
    of = torch.randint(objects, (count,), generator=generator)
    centres = centres[of] + torch.randn(count, 2, generator=generator) * sides[of] * 0.1
    sides = sides[of] * torch.exp(torch.randn(count, 2, generator=generator) * 0.15)
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def spread(count: int, generator: torch.Generator) -> Tensor:
    """Draw boxes all over an area that grows with their number: most are kept."""
    sides = torch.exp(torch.randn(count, 2, generator=generator) * 0.6 + 3.5)
    centres = torch.rand(count, 2, generator=generator) * 1000 * (count / 1000) ** 0.5
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def lines() -> Iterator[str]:
    """Yield a row for each kind and number of boxes."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for draw, bars in ((clustered, CLUSTERED), (spread, SPREAD)):
        for count, bar in bars.items():
            yield _plain(draw.__name__, draw(count, generator), _scores(count, generator), bar)
    for count, bar in BATCHED.items():
        labels = torch.randint(CLASSES, (count,), generator=generator)
        yield _batched(spread(count, generator), _scores(count, generator), labels, bar)


def _scores(count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator).float() / count  # distinct: ties have no order in torchvision


def _plain(kind: str, boxes: Tensor, scores: Tensor, bar: float | None) -> str:
    contestants = {
        "vidi": lambda: non_maximum_suppression(boxes, scores, THRESHOLD),
        "torchvision.ops.nms": lambda: torchvision.ops.nms(boxes, scores, THRESHOLD),
    }
    return _row(f"nms, {kind} {len(boxes):,}", contestants, len(boxes), bar)


def _batched(boxes: Tensor, scores: Tensor, labels: Tensor, bar: float | None) -> str:
    boxes = boxes.round()  # torchvision's shift of whole numbers is exact
    contestants = {
        "vidi": lambda: class_wise_suppression(boxes, scores, labels, THRESHOLD),
        "torchvision.ops.batched_nms": lambda: torchvision.ops.batched_nms(boxes, scores, labels, THRESHOLD),
    }
    return _row(f"nms, {CLASSES} classes {len(boxes):,}", contestants, len(boxes), bar)


def _row(name: str, contestants: dict[str, Callable[[], Tensor]], count: int, bar: float | None) -> str:
    ours, theirs = (run() for run in contestants.values())
    if not torch.equal(ours, theirs):
        raise ValueError(f"{name}: the kept boxes differ")
    times = max(1, 10_000 // count)
    repeated: dict[str, Callable[[], object]] = {label: _repeat(run, times) for label, run in contestants.items()}
    comparison = compare(name, repeated, rounds=3 if count > 50_000 else 7)
    return comparison.line(list(contestants)[1], bar)


def _repeat(run: Callable[[], Tensor], times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            run()

    return repeated


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
