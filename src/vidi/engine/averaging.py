"""Exponential moving averages of a model's sub-modules."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def warmed_decay(updates: float) -> float:
    """Return the most that an average keeps of itself after so many updates."""
    return (1.0 + updates) / (10.0 + updates)


def moving_average(decay: float):
    """Return the update of `AveragedModel` that forgets with `decay`, and faster at the start of a training.

    After n updates the weight of the old average is min(decay, (1 + n) / (10 + n)), so that a short training does not
    keep its random initialisation.
    """

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], updates: Tensor | int) -> None:
        weight = 1.0 - min(decay, warmed_decay(float(updates)))
        if averages[0].is_floating_point():  # AveragedModel groups tensors by type
            torch._foreach_lerp_(list(averages), list(currents), weight)  # type: ignore[attr-defined]
        else:  # counters, such as the batches that a batch norm has seen
            torch._foreach_copy_(list(averages), list(currents))  # type: ignore[attr-defined]

    return update


class Averages:
    """The averaged copies of a model's sub-modules; none when the decay is None."""

    def __init__(self, model: nn.Module, names: Sequence[str], decay: float | None):
        self.copies: dict[str, AveragedModel] = {}
        self.present: dict[str, dict[str, Tensor]] = {}  # the model's own weights while the averaged ones are applied
        self.decay = decay
        if decay is not None:
            update = moving_average(decay)
            for name in names:
                copy = AveragedModel(model.get_submodule(name), multi_avg_fn=update, use_buffers=True)
                self.copies[name] = copy

    def update(self, model: nn.Module) -> None:
        """Move each average towards the model's present weights."""
        for name, copy in self.copies.items():
            copy.update_parameters(model.get_submodule(name))

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Give the model its averaged weights for the length of a block."""
        for name, copy in self.copies.items():
            module = model.get_submodule(name)
            self.present[name] = {key: value.clone() for key, value in module.state_dict().items()}
            module.load_state_dict(copy.module.state_dict())
        try:
            yield
        finally:
            for name, state in self.present.items():
                model.get_submodule(name).load_state_dict(state)
            self.present = {}

    @contextmanager
    def lifted(self, model: nn.Module) -> Iterator[None]:
        """Give the model its own weights back for the length of a block, within one of `applied`."""
        for name, state in self.present.items():
            model.get_submodule(name).load_state_dict(state)
        try:
            yield
        finally:
            for name in self.present:
                model.get_submodule(name).load_state_dict(self.copies[name].module.state_dict())

    @property
    def warms_up(self) -> bool:
        """Whether there are averages that still forget faster than their decay says, and so differ most from it."""
        updates = [float(copy.n_averaged) for copy in self.copies.values()]
        return self.decay is not None and any(warmed_decay(count) < self.decay for count in updates)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the averages by sub-module."""
        return {name: copy.state_dict() for name, copy in self.copies.items()}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Load what `state_dict` returned."""
        for name, copy in self.copies.items():
            copy.load_state_dict(state[name])


def without_gradient(value: Tensor) -> Tensor:
    """Return a detached copy that a collective operation may overwrite."""
    return torch.clone(value.detach())
