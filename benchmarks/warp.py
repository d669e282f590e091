"""Warping by disparity, with its backward, against kornia and torch's own sampling. `python -m benchmarks.warp`.

Eight pictures of 256 x 512, a disparity of 0 to 60 pixels that varies smoothly; gradients with respect to picture and
disparity; float32, torch's own number of threads. kornia has no warp by disparity: its `remap` samples at the columns
that are handed to it, with `align_corners=True`.
"""

from collections.abc import Callable, Iterator

import kornia.geometry.transform
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import compare
from vidi.ops.warp import left_from_right, row_by_grid_sample

PICTURES, SIZE, LARGEST = 8, (256, 512), 60.0
KORNIA_BAR = 1.2

Warp = Callable[[Tensor, Tensor], Tensor]


def ours(right: Tensor, disparity: Tensor) -> Tensor:
    return left_from_right(right, disparity, beyond="zero").image


def kornias(right: Tensor, disparity: Tensor) -> Tensor:
    H, W = right.shape[2:]
    columns = torch.arange(W, dtype=right.dtype) - disparity[:, 0]
    rows = torch.arange(H, dtype=right.dtype)[:, None].expand_as(columns)
    return kornia.geometry.transform.remap(right, columns, rows, align_corners=True)


def torchs(right: Tensor, disparity: Tensor) -> Tensor:
    columns = torch.arange(right.shape[3], dtype=right.dtype) + 0.5 - disparity
    return row_by_grid_sample(right, columns, beyond="zero")


def lines() -> Iterator[str]:
    """Yield a row against each peer, without gradients and with them."""
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(PICTURES, 3, *SIZE, generator=generator)
    coarse = LARGEST * torch.rand(PICTURES, 1, 5, 9, generator=generator)
    disparity = F.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
    peers: dict[str, Warp] = {"vidi": ours, "kornia": kornias, "torch grid_sample": torchs}
    exact = right.double(), disparity.double()  # rounded columns may fall on either side of a kink
    results = {name: [warp(*exact), *_gradients(warp, *exact)] for name, warp in peers.items()}
    for name in ("kornia", "torch grid_sample"):
        for one, other in zip(results["vidi"], results[name], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    forward: dict[str, Callable[[], object]] = {
        name: lambda warp=warp: warp(right, disparity) for name, warp in peers.items()
    }
    both: dict[str, Callable[[], object]] = {
        name: lambda warp=warp: _gradients(warp, right, disparity) for name, warp in peers.items()
    }
    for name, contestants, bar in (("", forward, None), (" and backward", both, KORNIA_BAR)):
        timed = compare(f"warp by disparity{name}", contestants)
        yield timed.line("kornia", bar)
        yield timed.line("torch grid_sample")


def _gradients(warp: Warp, right: Tensor, disparity: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in (right, disparity)]
    return torch.autograd.grad(warp(*leaves).square().sum(), leaves)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
