"""What is done, in parts: a file is there whole, with all its rows, or not at all.

    parts/0003-000127.jsonl    {"keys": [...], "facts": {...}}     what is done by it, and what holds for all rows
                               {"source": "photos/a.jpg", ...}     a row a picture, in the order of sources and frames
                               {"source": "photos/b.jpg", ...}

Parts are numbered by process. A part is written under another name, forced to the disk, and renamed: that is all there
is to a commit, and the parts are all that a resumed run knows. What was in the making when a process was killed is done
again; nothing of it was counted. Keys are those of `vidi.bulk.sources`.
"""

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from vidi import files
from vidi.catalog.listed import UsageError

Row = dict[str, Any]
"""What is written of one picture: plain values by name, its `source` among them."""

Facts = dict[str, Any]
"""What rows have in common, such as categories: by name, values by their own names."""


class Parts:
    """The parts in a folder, and the process of several that adds to them here."""

    def __init__(self, folder: Path, process: int = 0):
        self.folder = folder
        self.process = process
        self.following = 0  # the number of the next part of this process

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the parts of this process for oneself, without what a killed one left in the making.

        Raises:
            UsageError: if another process has them.
        """
        own = f"{self.process:04d}"
        try:
            lock = ExitStack()
            lock.enter_context(files.locked(self.folder / f"{own}.lock"))
        except BlockingIOError:
            told = f"{self.folder}: another run writes here as process {self.process}; wait for it, or stop it"
            raise UsageError(told) from None
        with lock:
            files.remove_temporaries(self.folder, f"{own}-")
            numbers = (int(path.stem.partition("-")[2]) for path in self.folder.glob(f"{own}-*.jsonl"))
            self.following = max(numbers, default=-1) + 1
            yield

    def paths(self) -> list[Path]:
        """Return the parts of all processes that are done."""
        return sorted(self.folder.glob("[0-9]*-[0-9]*.jsonl"))

    def done(self) -> tuple[UInt64[np.ndarray, " N"], Facts]:
        """Return the keys of all that is done, in rising order, and what the rows have in common."""
        keys, facts = [np.zeros(0, dtype=np.uint64)], Facts()
        for path in self.paths():
            head = json.loads(next(files.read_lines(path)))
            keys.append(np.array(head["keys"], dtype=np.uint64))
            facts = merged(facts, head["facts"])
        return np.sort(np.concatenate(keys)), facts

    def add(self, rows: Sequence[Row], keys: Sequence[int], facts: Facts) -> Path:
        """Write a part, and return its path."""
        path = self.folder / f"{self.process:04d}-{self.following:06d}.jsonl"
        self.following += 1  # before anything is written: an interrupted caller may go on with another part
        ordered = sorted(rows, key=place_of)
        lines = [
            json.dumps({"keys": list(keys), "facts": facts}),
            *(json.dumps(row, allow_nan=False) for row in ordered),
        ]
        files.write_text(path, "\n".join(lines) + "\n")
        return path

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all parts in the order of their sources and frames; no more is held than parts overlap."""
        first = sorted((next((place_of(row) for row in _rows_of(path)), ("", 0)), path) for path in self.paths())
        waiting: list[tuple[tuple[str, int], int, Row, Iterator[Row]]] = []
        for number, (place, path) in enumerate([*first, (None, None)]):
            while waiting and (place is None or waiting[0][0] < place):
                _, own, row, others = waiting[0]
                yield row
                following = next(others, None)
                if following is None:
                    heapq.heappop(waiting)
                else:
                    heapq.heapreplace(waiting, (place_of(following), own, following, others))
            if path is not None:
                others = _rows_of(path)
                if (row := next(others, None)) is not None:
                    heapq.heappush(waiting, (place_of(row), number, row, others))


def place_of(row: Row) -> tuple[str, int]:
    """Return where a row stands among all of them."""
    return row["source"], row.get("frame", 0)


def merged(facts: Mapping[str, Any], others: Mapping[str, Any]) -> Facts:
    """Join facts: values that are mappings are joined themselves, of other ones the largest is kept."""
    joined = dict(facts)
    for name, value in others.items():
        known = joined.get(name)
        if known is None:
            joined[name] = value
        elif isinstance(known, Mapping) and isinstance(value, Mapping):
            joined[name] = merged(known, value)
        elif not isinstance(value, list | str) and value > known:
            joined[name] = value
    return joined


def _rows_of(path: Path) -> Iterator[Row]:
    lines = files.read_lines(path)
    next(lines)
    return map(json.loads, lines)
