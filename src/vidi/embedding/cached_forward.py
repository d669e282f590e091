"""Batches larger than the memory: forward passes whose results are kept and whose insides are computed again.

    forward    part by part; only the embeddings stay
    backward   of the whole batch's loss, part by part: forward again, then the gradient

Gao et al. 2021, 2101.06983 (GradCache). A contrastive loss needs the embeddings of all of a batch at once, but the
layers need only one part; so the memory is that of a part, the time that of one forward pass more, and gradients are
those of the whole batch. Draws, of dropout, are the same both times.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BatchNorm = nn.modules.batchnorm._BatchNorm


def in_parts(network: nn.Module, inputs: Tensor, rows: int) -> Tensor:
    """Return what a network makes of rows, which go through it `rows` at a time.

    Equal to `network(inputs)` where no row sees another one. A batch norm does: its statistics are those of a part,
    and move once for each.

    Raises:
        ValueError: if a part has no row.
    """
    if rows < 1:
        raise ValueError(f"received parts of {rows} rows, expected at least 1")

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_kept(network)

    run: Callable[[Tensor], Tensor] = network
    parts = inputs.split(rows)
    return torch.cat([checkpoint(run, part, use_reentrant=False, context_fn=contexts) for part in parts])


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are, while they normalise by those of the batch."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None:
                norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
