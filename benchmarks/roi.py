"""Pooling of regions against torchvision, each in the layout that it likes best. `python -m benchmarks.roi`.

1,000 boxes of a 256 x 50 x 50 map, 7 x 7 bins, two sampling points an axis, float32, torch's own number of threads (of
which torchvision's loops use one). Ours gets and gives channels-last tensors, torchvision contiguous ones; the results
agree to 1e-4.
"""

from collections.abc import Callable, Iterator

import torch
import torchvision.ops
from torch import Tensor

from benchmarks.timing import compare
from vidi.ops.roi import roi_align, roi_pool

BOXES, CHANNELS, SIDE, BINS, STRIDE = 1_000, 256, 50, (7, 7), 16
FORWARD_BAR, BOTH_BAR = 2.0, 3.0

Pool = Callable[[Tensor], Tensor]


def regions(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a map, and boxes of 30 to 400 pixels that lie on its image."""
    features = torch.randn(1, CHANNELS, SIDE, SIDE, generator=generator)
    sides = torch.exp(torch.rand(BOXES, 2, generator=generator) * 2.6 + 3.4)
    corner = torch.rand(BOXES, 2, generator=generator) * (SIDE * STRIDE - sides)
    return features, torch.cat([corner, corner + sides], 1)


def lines() -> Iterator[str]:
    """Yield a row for RoIAlign with and without its gradient, and for RoIPool."""
    features, boxes = regions(torch.Generator().manual_seed(0))
    images = torch.zeros(BOXES, dtype=torch.int64)
    rows = torch.cat([images[:, None].float(), boxes], 1)

    def ours(x: Tensor) -> Tensor:
        return roi_align(x, boxes, images, BINS, stride=STRIDE, sampling_ratio=2)

    def theirs(x: Tensor) -> Tensor:
        return torchvision.ops.roi_align(x, rows, BINS, 1 / STRIDE, 2, aligned=True)

    def our_pool(x: Tensor) -> Tensor:
        return roi_pool(x, boxes, images, BINS, stride=STRIDE)

    def their_pool(x: Tensor) -> Tensor:
        return torchvision.ops.roi_pool(x, rows, BINS, 1 / STRIDE)

    yield _row("RoIAlign forward", ours, theirs, features, FORWARD_BAR)
    yield _row("RoIAlign forward and backward", ours, theirs, features, BOTH_BAR, backward=True)
    yield _row("RoIPool forward", our_pool, their_pool, features)
    yield _row("RoIPool forward and backward", our_pool, their_pool, features, backward=True)


def _row(
    name: str, ours: Pool, theirs: Pool, features: Tensor, bar: float | None = None, *, backward: bool = False
) -> str:
    torch.testing.assert_close(ours(features), theirs(features), rtol=0, atol=1e-4)
    gradient = torch.randn(BOXES, CHANNELS, *BINS)
    layouts = {"vidi": (ours, torch.channels_last), "torchvision": (theirs, torch.contiguous_format)}
    contestants: dict[str, Callable[[], object]] = {}
    for label, (pool, layout) in layouts.items():
        x, g = (tensor.contiguous(memory_format=layout) for tensor in (features, gradient))
        contestants[label] = _with_gradient(pool, x, g) if backward else _plain(pool, x)
    return compare(name, contestants).line("torchvision", bar)


def _plain(pool: Pool, features: Tensor) -> Callable[[], object]:
    return lambda: pool(features)


def _with_gradient(pool: Pool, features: Tensor, gradient: Tensor) -> Callable[[], object]:
    leaf = features.detach().requires_grad_()
    return lambda: torch.autograd.grad(pool(leaf), leaf, gradient)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
