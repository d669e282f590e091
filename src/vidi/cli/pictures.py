"""Which pictures and sentences a command was given, and where those go that it draws."""

import sys
from collections.abc import Sequence
from pathlib import Path

from vidi import files
from vidi.cli.failures import DATA, fail


def lines_of(argument: str) -> list[str]:
    """Return the lines of a text file, or the argument itself where it is no file."""
    path = Path(argument)
    if path.suffix == ".txt":
        return [line for line in files.read_text(path).splitlines() if line.strip()]
    return [argument]


def without_drawn(paths: Sequence[Path], photos: Sequence[Path], folder: Path) -> list[Path]:
    """Leave out what was drawn before, where the folder for it lies in a folder of photos; say how many."""
    drawn, given = folder.resolve(), [photo.resolve() for photo in photos]
    if not any(photo != drawn and drawn.is_relative_to(photo) for photo in given):
        return list(paths)
    kept = [path for path in paths if path in photos or not path.resolve().is_relative_to(drawn)]
    if len(kept) < len(paths):
        print(
            f"vidi: {len(paths) - len(kept)} pictures in {folder} were drawn before and are left out", file=sys.stderr
        )
    if not kept:
        fail(DATA, f"there are no pictures but those in {folder}, which were drawn before")
    return kept


def drawn_paths(folder: Path, paths: Sequence[Path], photos: Sequence[Path]) -> list[Path]:
    """Return a picture file for each path: in the sub-folders that it had in its folder of `photos`.

    Photos that would share a file get numbers.
    """
    targets: dict[Path, None] = {}  # in order
    for path in paths:
        above = next((photo for photo in photos if path != photo and path.is_relative_to(photo)), path.parent)
        name, number = folder / path.relative_to(above).with_suffix(""), 1
        target = name.with_name(f"{name.name}.png")
        while target in targets:
            number += 1
            target = name.with_name(f"{name.name}-{number}.png")
        targets[target] = None
    return list(targets)
