"""The catalogue as a table in a file, so that a list of systems needs no torch.

python -m vidi.catalog.listed    writes the file anew; a test holds it to the catalogue
"""

import csv
import io
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from vidi import files

TABLE = Path(__file__).with_name("systems.csv")

EXPORTS = Path(__file__).with_name("exports.csv")
"""What the gate of `vidi export` says of each system: verified, differs by how much, or no and why; python -m
benchmarks.exports writes it."""


class UsageError(ValueError):
    """What was asked for does not exist or does not go together."""

    is_usage = True


class UnknownNameError(UsageError):
    """There is no model, task or set of weights of this name; the message lists the nearest."""


class Listed(NamedTuple):
    """A system: what it is called, what it is for, where it comes from, what proves it."""

    name: str
    task: str
    section: str
    paper: str
    reference: str


def listed(pattern: str = "*", *, task: str | None = None) -> list[Listed]:
    """Return the systems whose names match a wildcard pattern, optionally of one task.

    Raises:
        UnknownNameError: if the task does not exist.
    """
    rows = [Listed(**row) for row in files.read_csv(TABLE)]
    if task is not None and task not in {row.task for row in rows}:
        tasks = ", ".join(dict.fromkeys(row.task for row in rows))
        raise UnknownNameError(f"received task {task!r}, expected one of {tasks}")
    return [row for row in rows if fnmatchcase(row.name, pattern) and task in (None, row.task)]


def verdicts() -> dict[str, str]:
    """Return what the gate of `vidi export` says, by name; of a system that it has not seen, nothing."""
    return {row["name"]: row["verdict"] for row in files.read_csv(EXPORTS)}


def table() -> str:
    """Return what the file is to hold: the catalogue's systems in their order."""
    from vidi.catalog.table import CATALOG

    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(Listed._fields)
    for name, entry in CATALOG.items():
        reference = entry.reference.split()[0] if entry.reference else ""
        writer.writerow(Listed(name, entry.task.name, entry.section, entry.paper, reference))
    return written.getvalue()


if __name__ == "__main__":
    files.write_text(TABLE, table())
