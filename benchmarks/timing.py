"""Side-by-side timing: interleaved rounds, medians, spread, and a line of the table against the bar."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds of every round by label; ours comes first."""

    name: str
    seconds: dict[str, list[float]]

    @property
    def ours(self) -> str:
        """Name the first label: what the others are compared with."""
        return next(iter(self.seconds))

    def median(self, label: str) -> float:
        """Give the median seconds of one label."""
        return statistics.median(self.seconds[label])

    def ratios(self, peer: str) -> list[float]:
        """Give how many times as fast as `peer` ours was, round by round in rising order."""
        pairs = zip(self.seconds[peer], self.seconds[self.ours], strict=True)
        return sorted(theirs / ours for theirs, ours in pairs)

    def ratio(self, peer: str) -> float:
        """Give the median of `ratios`."""
        return statistics.median(self.ratios(peer))

    def line(self, peer: str, bar: float | None = None) -> str:
        """Give one row of the table: the ratio with its spread, the times, and the bar it has to reach."""
        ratios = self.ratios(peer)
        spread = f"{self.ratio(peer):8.2f}x [{ratios[0]:.2f}..{ratios[-1]:.2f}]"
        times = f"{_duration(self.median(self.ours))} against {_duration(self.median(peer))}"
        verdict = "no bar" if bar is None else f"bar {bar:g}x {'reached' if self.ratio(peer) >= bar else 'MISSED'}"
        return f"{self.name:<38} {peer:<30} {spread:<28} {times:<28} {verdict}"


def compare(name: str, contestants: dict[str, Callable[[], object]], *, rounds: int = 7) -> Comparison:
    """Time every contestant once per round, ours (the first) and its peers in turn, after a round that does not count.

    Says nothing about the answers: check that they agree before.
    """
    seconds: dict[str, list[float]] = {label: [] for label in contestants}
    for round_number in range(rounds + 1):
        for label, run in contestants.items():
            gc.collect()
            start = time.perf_counter()
            run()
            if round_number > 0:
                seconds[label].append(time.perf_counter() - start)
    return Comparison(name, seconds)


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
