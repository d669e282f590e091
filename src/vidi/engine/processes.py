"""The processes that train one model together; one alone by default."""

import atexit
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor

from vidi.engine.averaging import without_gradient


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as a criterion and an evaluation see them."""

    index: int = 0
    count: int = 1
    mean: Callable[[Tensor], Tensor] = field(default=lambda value: value)
    gather: Callable[[Tensor], Tensor] = field(default=lambda value: value)

    @classmethod
    def of(cls, accelerator: Accelerator) -> "Processes":
        """Return those that an Accelerator joins."""
        if accelerator.num_processes == 1:
            return cls()
        return cls(
            accelerator.process_index,
            accelerator.num_processes,
            mean=lambda value: accelerator.reduce(without_gradient(value), "mean"),  # type: ignore[arg-type]
            gather=gather_with_gradient,
        )


def gather_with_gradient(rows: Tensor) -> Tensor:
    """Concatenate the rows of all processes, of one as many as of another or not, in the order of the processes.

    The gradient of each row flows back to the process that it came from, summed over all processes.
    """
    from torch.distributed.nn.functional import all_gather

    counts = torch.empty(torch.distributed.get_world_size(), dtype=torch.int64, device=rows.device)
    torch.distributed.all_gather_into_tensor(counts, counts.new_tensor([len(rows)]))
    sizes = counts.tolist()
    missing = rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])  # all must send as much
    parts = all_gather(torch.cat([rows, missing]))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


@atexit.register
def leave_the_group() -> None:
    """End the process group, if there is one, while Python is whole.

    Its threads may still hold tensors of the last exchange, and letting go of them later aborts the process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
