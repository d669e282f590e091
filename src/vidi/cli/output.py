"""What commands print, and how."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidi import formats
from vidi.engine.runs import describe_scores, numbers_of, shown

Download = Annotated[bool, typer.Option("--download", help="Fetch published weights that are not on this machine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def console(*, stderr: bool = False) -> Console:
    """Return a console whose tables keep one line a row where a program reads them."""
    made = Console(stderr=stderr, soft_wrap=True)
    return made if made.is_terminal else Console(stderr=stderr, soft_wrap=True, width=240)


out, err = console(), console(stderr=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on the standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_scores(scores: Mapping[str, Any]) -> None:
    """Print what was scored, and the numbers as a table."""
    if not scores:
        return
    out.print(describe_scores(scores), markup=False, highlight=False)
    table = Table("score", "value", box=None)
    for name, value in numbers_of(scores).items():
        table.add_row(name, shown(value))
    out.print(table)


WORST_SHOWN, BEST_SHOWN = 10, 5
"""Classes of a table that is folded."""


def print_classes(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the scores of each class, the worst by the first score on top; of many only the ends."""
    if not rows:
        return
    names = list(rows[0])
    first = names[2]
    ordered = sorted((row for row in rows if row[first] is not None), key=lambda row: row[first])
    without = [row for row in rows if row[first] is None]
    table = Table(*names, box=None)
    hidden = len(ordered) - WORST_SHOWN - BEST_SHOWN
    for place, row in enumerate(ordered):
        if hidden <= 1 or place < WORST_SHOWN or place >= WORST_SHOWN + hidden:
            table.add_row(*(escape(shown(row[name])) for name in names))
        elif place == WORST_SHOWN:
            table.add_row(f"... {hidden} more")
    if len(without) <= WORST_SHOWN or not ordered:
        for row in without[: WORST_SHOWN + BEST_SHOWN]:
            table.add_row(*(escape(shown(row[name])) for name in names))
    out.print(table)
    if len(without) > WORST_SHOWN:
        out.print(f"{len(without)} classes of {len(rows)} have no score: there is nothing of them", highlight=False)


def picture_path(path: Path, name: str) -> Path:
    """Return `path` if it names a picture file, else the picture `name` in the folder `path`."""
    return path if path.suffix.lower() in formats.IMAGE_SUFFIXES else path / name
