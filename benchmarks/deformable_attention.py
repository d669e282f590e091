"""Multi-scale deformable attention against transformers' Mask2Former. `python -m benchmarks.deformable_attention`.

The pixel decoder's numbers for one picture of 480 x 640: every cell of the maps at 1/8, 1/16 and 1/32 is a query of 8
heads of 32 numbers and 4 points a map; float32, torch's own number of threads.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

from benchmarks.timing import compare
from vidi.ops.deformable_attention import deformable_attention

SIZES = [(15, 20), (30, 40), (60, 80)]
HEADS, WIDTH, POINTS = 8, 32, 4
FORWARD_BAR, BOTH_BAR = 1.5, 1.2

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(values: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return deformable_attention(values, SIZES, locations, weights).flatten(2)


def theirs(values: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return multi_scale_deformable_attention(values, SIZES, locations, weights)  # type: ignore[arg-type]


def lines() -> Iterator[str]:
    """Yield a row for the forward pass, and one with its gradients."""
    generator = torch.Generator().manual_seed(0)
    cells = sum(H * W for H, W in SIZES)
    values = torch.randn(1, cells, HEADS, WIDTH, generator=generator)
    locations = torch.rand(1, cells, HEADS, len(SIZES), POINTS, 2, generator=generator)
    weights = torch.rand(1, cells, HEADS, len(SIZES) * POINTS, generator=generator)
    weights = (weights / weights.sum(-1, keepdim=True)).unflatten(-1, (len(SIZES), POINTS))
    inputs = values, locations, weights
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), rtol=0, atol=1e-5)
    peers = {"vidi": ours, "transformers": theirs}
    forward: dict[str, Callable[[], object]] = {name: _plain(attend, inputs) for name, attend in peers.items()}
    both: dict[str, Callable[[], object]] = {name: _with_gradients(attend, inputs) for name, attend in peers.items()}
    yield compare("deformable attention forward", forward).line("transformers", FORWARD_BAR)
    yield compare("deformable attention with gradients", both).line("transformers", BOTH_BAR)


def _plain(attend: Attend, inputs: tuple[Tensor, Tensor, Tensor]) -> Callable[[], object]:
    return lambda: attend(*inputs)


def _with_gradients(attend: Attend, inputs: tuple[Tensor, Tensor, Tensor]) -> Callable[[], object]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    return lambda: torch.autograd.grad(attend(*leaves).sum(), leaves)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
