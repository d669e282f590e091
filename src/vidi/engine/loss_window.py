"""What a training tells of itself between two logs: means of its losses, and its speed."""

import math
import time

import torch

from vidi.engine.processes import Processes
from vidi.model import Losses


class NonFiniteLossError(FloatingPointError):
    """A loss term is NaN or infinite."""


class LossWindow:
    """The sums of the loss terms since the last log."""

    def __init__(self, sums: dict[str, float] | None = None, counts: dict[str, int] | None = None):
        self.sums, self.counts = dict(sums or {}), dict(counts or {})

    def add(self, prefix: str, losses: Losses, step: int) -> None:
        """Add one batch's terms.

        Raises:
            NonFiniteLossError: if a term is NaN or infinite.
        """
        values = torch.stack([value.detach() for value in losses.values()]).tolist()
        for name, value in zip(losses, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss term {name!r} is {value} at step {step}. "
                    "A smaller learning_rate, clip=1 or a look at the data (`vidi data check`) usually helps"
                )
            key = f"{prefix}/{name}" if prefix else name
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def take(self, processes: Processes) -> dict[str, float]:
        """Return the means over the window and over processes, and start over."""
        values = torch.tensor(list(self.means().values()), dtype=torch.float64)
        means = dict(zip(self.sums, processes.mean(values).tolist(), strict=True))
        self.sums, self.counts = {}, {}
        return means

    def means(self) -> dict[str, float]:
        """Return the means of this process so far; the window stays open."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def state(self) -> tuple[dict[str, float], dict[str, int]]:
        """Return what the constructor takes."""
        return self.sums, self.counts


class Clock:
    """Steps per second since the last question."""

    def __init__(self, step: int):
        self.step, self.time = step, time.monotonic()

    def rate(self, step: int) -> float:
        """Return steps per second since the last call."""
        now = time.monotonic()
        rate = (step - self.step) / max(now - self.time, 1e-9)
        self.step, self.time = step, now
        return rate
