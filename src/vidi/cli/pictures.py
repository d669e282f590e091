"""Which pictures and sentences a command was given, and where those go that it draws."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vidi import files
from vidi.cli.failures import DATA, USAGE, fail


def lines_of(argument: str) -> list[str]:
    """Return the lines of a text file, or the argument itself where it is no file."""
    path = Path(argument)
    if path.suffix == ".txt":
        return [line for line in files.read_text(path).splitlines() if line.strip()]
    return [argument]


def pictures_of(photos: Sequence[Path], folder: Path | None = None) -> list[Path]:
    """Return the pictures that were named, by themselves or by their folders; say what is left out of those.

    `folder` is where pictures are drawn: what it holds was drawn before.
    """
    from vidi.data.readers.image_set import counted_suffixes, given_pictures

    given = given_pictures(photos, drawn=folder)
    paths = given.paths if folder is None else without_drawn(given.paths, photos, folder)
    if given.skipped:
        print(f"vidi: skipped: {counted_suffixes(given.skipped)}", file=sys.stderr)
    return paths


def without_drawn(paths: Sequence[Path], photos: Sequence[Path], folder: Path) -> list[Path]:
    """Leave out what was drawn before, where the folder for it lies in a folder of photos; say how many."""
    drawn, given = folder.resolve(), [photo.resolve() for photo in photos]
    if drawn in given:
        fail(USAGE, f"{folder} holds the photos: what is drawn would lie among them; expected another folder")
    if not any(drawn.is_relative_to(photo) for photo in given):
        return list(paths)
    kept = [path for path in paths if path in photos or not path.resolve().is_relative_to(drawn)]
    if left := len(paths) - len(kept):
        were = "picture was" if left == 1 else "pictures were"
        print(f"vidi: {left} {were} drawn before in {folder}: left out", file=sys.stderr)
    if not kept:
        fail(DATA, f"there are no pictures but those in {folder}, which were drawn before")
    return kept


def drawn_paths(
    folder: Path, paths: Sequence[Path], photos: Sequence[Path], *, suffix: str | None = None
) -> list[Path]:
    """Return a picture file for each path: in the sub-folders that it had in its folder of `photos`.

    It has the suffix of its photo where that can be written, else PNG's; or `suffix`. Photos that would differ in
    nothing but that get numbers, as other files of that name may be written too; and no photo is written over.
    """
    targets: list[Path] = []
    taken = {_spelling(path.with_suffix("")) for path in paths}
    for path in paths:
        above = next((photo for photo in photos if path != photo and path.is_relative_to(photo)), path.parent)
        name, number = folder / path.relative_to(above).with_suffix(""), 1
        target = name
        while _spelling(target) in taken:
            number += 1
            target = name.with_name(f"{name.name}-{number}")
        taken.add(_spelling(target))
        kept = path.suffix if path.suffix.lower() in files.WRITTEN_SUFFIXES else ".png"
        targets.append(target.with_name(target.name + (suffix or kept)))
    return targets


def _spelling(path: Path) -> str:
    """Return what paths have in common that are one file, also where case does not count."""
    return os.path.abspath(path).casefold()


def renamed(path: Path, target: Path) -> str:
    """Say where a picture is drawn whose name another one has: ` -> out/a-2.png`; nothing for the others."""
    return "" if target.stem == path.stem else f" -> {target}"
