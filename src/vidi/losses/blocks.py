"""Sums over the rows of a matrix that is never there as a whole: the memory of one block, the same value and gradients.

Losses of a batch compare every vector with every other: n x n numbers, several times over. Where these are too many the
rows go by in blocks. The gradients of a block are taken at once and added up, so that nothing is computed twice.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vidi.losses.reduction import full_precision
from vidi.ops.blocks import row_blocks

Compare = Callable[..., Tensor]
"""(rows, *inputs) -> the loss of these rows, summed."""


def sum_over_rows(compare: Compare, rows: int, columns: int, *inputs: Tensor) -> Tensor:
    """Return the sum of the losses of all rows.

    Args:
        compare: called once for each block, with a slice of the rows and with the inputs.
        rows: of the matrix that `compare` makes.
        columns: of that matrix.
        inputs: what gradients are taken of; `compare` gets them in full precision, outside autocast.
    """
    blocks = row_blocks(rows, columns)
    with torch.autocast(inputs[0].device.type, enabled=False):
        inputs = tuple(map(full_precision, inputs))
        if len(blocks) == 1:
            return compare(*blocks, *inputs)
        if not torch.is_grad_enabled():
            inputs = tuple(value.detach() for value in inputs)
        return _InBlocks.apply(compare, blocks, *inputs)  # type: ignore[no-any-return]


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compare: Compare, blocks: list[slice], *inputs: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[2:]
        sums = [torch.zeros_like(value) for value, is_wanted in zip(inputs, wanted, strict=True) if is_wanted]
        total = inputs[0].new_zeros(())
        for rows in blocks:
            with torch.enable_grad():
                own = [value.detach().requires_grad_(w) for value, w in zip(inputs, wanted, strict=True)]
                loss = compare(rows, *own)
            total += loss.detach()
            if sums:
                gradients = torch.autograd.grad(loss, [value for value in own if value.requires_grad])
                for one, gradient in zip(sums, gradients, strict=True):
                    one += gradient
        ctx.save_for_backward(*sums)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sums = iter(ctx.saved_tensors)
        return (None, None, *(gradient * next(sums) if wanted else None for wanted in ctx.needs_input_grad[2:]))
