"""What a server counts, in the text format of Prometheus (exposition format 0.0.4)."""

import bisect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of durations."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Upper bounds of the buckets of batch sizes."""

Labels = tuple[tuple[str, str], ...]


class Counter:
    """A number that only grows, for each set of labels."""

    kind = "counter"

    def __init__(self) -> None:
        self.values: dict[Labels, float] = defaultdict(float)

    def add(self, amount: float | int, labels: Labels) -> None:
        """Let it grow."""
        self.values[labels] += amount

    def rows(self, name: str) -> Iterator[str]:
        """Yield a line for each set of labels."""
        yield from (f"{name}{_braced(labels)} {_shown(value)}" for labels, value in sorted(self.values.items()))


class Histogram:
    """How many values lie below each of some bounds, for each set of labels."""

    kind = "histogram"

    def __init__(self, bounds: tuple[float, ...]):
        self.bounds = bounds
        self.counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self.sums: dict[Labels, float] = defaultdict(float)

    def add(self, value: float | int, labels: Labels) -> None:
        """Count a value."""
        self.counts[labels][bisect.bisect_left(self.bounds, value)] += 1
        self.sums[labels] += value

    def rows(self, name: str) -> Iterator[str]:
        """Yield the cumulative counts, the sum and the number of values for each set of labels."""
        for labels, counts in sorted(self.counts.items()):
            below = 0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                below += count
                shown = "+Inf" if bound == float("inf") else _shown(bound)
                yield f"{name}_bucket{_braced((*labels, ('le', shown)))} {below}"
            yield f"{name}_sum{_braced(labels)} {_shown(self.sums[labels])}"
            yield f"{name}_count{_braced(labels)} {below}"


class Metrics:
    """All that one server counts; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.time()
        self._gauges: dict[str, tuple[str, Callable[[], Mapping[Labels, float | int]]]] = {}
        self._kept: dict[str, tuple[str, Counter | Histogram]] = {
            "vidi_requests_total": ("Requests by path and status.", Counter()),
            "vidi_request_seconds": ("From the first byte of a request to the last of its answer.", Histogram(SECONDS)),
            "vidi_pictures_total": ("Pictures by model and by what became of them.", Counter()),
            "vidi_batch_size": ("Pictures that went through a network together.", Histogram(SIZES)),
            "vidi_model_seconds": (
                "Time of a model for a batch, or for pictures that it makes.",
                Histogram(SECONDS),
            ),
        }

    def add(self, name: str, value: float | int = 1, **labels: str) -> None:
        """Add to a counter, or count a value of a histogram."""
        with self._lock:
            self._kept[name][1].add(value, tuple(sorted(labels.items())))

    def watch(self, name: str, about: str, read: Callable[[], Mapping[Labels, float | int]]) -> None:
        """Have a gauge that is read whenever somebody asks."""
        self._gauges[name] = (about, read)

    def text(self) -> str:
        """Return all numbers as text for Prometheus."""
        lines = [*_head("vidi_start_time_seconds", "When the server started, Unix time.", "gauge")]
        lines.append(f"vidi_start_time_seconds {self._started:.3f}")
        with self._lock:
            for name, (about, kept) in self._kept.items():
                lines += [*_head(name, about, kept.kind), *kept.rows(name)]
        for name, (about, read) in self._gauges.items():
            rows = (f"{name}{_braced(labels)} {_shown(value)}" for labels, value in sorted(read().items()))
            lines += [*_head(name, about, "gauge"), *rows]
        return "\n".join(lines) + "\n"


def _head(name: str, about: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {about}", f"# TYPE {name} {kind}"


def _braced(labels: Labels) -> str:
    """Return labels as the format has them: backslash, quote and newline escaped."""
    if not labels:
        return ""
    escaped = {ord("\\"): r"\\", ord('"'): r"\"", ord("\n"): r"\n"}
    return "{" + ",".join(f'{name}="{value.translate(escaped)}"' for name, value in labels) + "}"


def _shown(value: float | int) -> str:
    return f"{value:.10g}"
