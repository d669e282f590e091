"""What commands print, and how."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vidi import formats
from vidi.engine.runs import describe_scores, numbers_of, shown

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


def picture_path(path: Path, name: str) -> Path:
    """Return `path` if it names a picture file, else the picture `name` in the folder `path`."""
    return path if path.suffix.lower() in formats.IMAGE_SUFFIXES else path / name
