"""Paths that a file of a data set names: taken as they are, or found again where the set was moved.

Lists and yaml files are written on one machine and read on another. A path that exists is that path. Otherwise
backslashes are turned, and what follows the folders of the other machine is looked for below the set; last of all a
picture is known by its file name, if that is unique. What was found so is remarked, with its number.
"""

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vidi import files
from vidi.data.faults import Fault
from vidi.data.readers.image_set import files_below, is_image_name


class Place(NamedTuple):
    """A path that exists; `is_guessed` where folders of another machine were left out."""

    path: Path
    is_guessed: bool


@dataclass
class Pictures:
    """The pictures of a split, the folders that were read whole, and what is wrong or odd about both."""

    paths: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Stock:
    """All pictures below the folder of a data set."""

    root: Path

    @functools.cached_property
    def names(self) -> list[str]:
        return files_below(self.root)

    @functools.cached_property
    def by_file_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for name in self.names:
            found.setdefault(name.rpartition("/")[2], []).append(self.root / name)
        return found


def find_place(text: str, bases: Sequence[Path], *, guess: bool = True) -> Place | None:
    """Return the file or folder that a text names, relative to the first of the bases where it exists.

    With `guess` the longest tail of the text that exists below a base is taken, where the text itself does not.
    """
    turned = text.replace("\\", "/")
    for base in bases:
        for spelling in (text, turned):
            if os.path.exists(base / spelling):
                return Place(base / spelling, False)
    parts = [part for part in turned.split("/") if part not in ("", ".")]
    while parts and parts[0] == "..":  # Roboflow writes ../train/images for a folder beside the yaml
        parts.pop(0)
    is_foreign = turned.startswith("/")
    for start in range(len(parts)) if guess and ".." not in parts else ():
        for base in bases:
            if os.path.exists(base.joinpath(*parts[start:])):
                return Place(base.joinpath(*parts[start:]), is_foreign or start > 0)
    return None


def gather(places: Iterable[Path], stock: Stock, bases: Sequence[Path]) -> Pictures:
    """Collect the pictures of folders (with their sub-folders) and of text files that list them, each once."""
    found = Pictures()
    for place in map(functools.partial(_below, stock.root), places):
        if place.is_dir():
            found.folders.append(place)
            found.paths += [place / name for name in files_below(place)]
        elif place.suffix == ".txt":
            _read_list(place, stock, [place.parent, *bases], found)
        else:
            found.faults.append(Fault(str(place), "", "expected a folder, or a .txt that lists pictures"))
    distinct = list(dict.fromkeys(found.paths))
    if len(distinct) < len(found.paths):
        message = f"{len(found.paths) - len(distinct)} pictures of this split stand there twice: each is used once"
        found.remarks.append(Fault(str(stock.root), "", message))
    found.paths = distinct
    return found


def _read_list(file: Path, stock: Stock, bases: Sequence[Path], found: Pictures) -> None:
    guesses = []
    for line, text in enumerate(map(str.strip, files.read_text(file).splitlines()), start=1):
        if not text:
            continue
        place = find_place(text, bases) or _by_file_name(text, stock)
        if isinstance(place, str):
            found.faults.append(Fault(str(file), f"line {line}", place))
        elif not place.path.is_file() or not is_image_name(place.path.name):
            found.faults.append(Fault(str(file), f"line {line}", f"{text} is no picture"))
        else:
            found.paths.append(_below(stock.root, place.path))
            if place.is_guessed:
                guesses.append(f"line {line}, {text}, is {found.paths[-1]}")
    if guesses:
        message = f"{len(guesses)} paths of another machine are found by their last parts (first: {guesses[0]})"
        found.remarks.append(Fault(str(file), "", message))


def _by_file_name(text: str, stock: Stock) -> Place | str:
    """Return the only picture of that file name, or say why there is none."""
    known = stock.by_file_name.get(text.replace("\\", "/").rpartition("/")[2], [])
    if len(known) == 1:
        return Place(known[0], True)
    if known:
        return f"{text} is not there, and {len(known)} pictures have this file name ({known[0]}, {known[1]}, ...)"
    return f"{text} is not there; looked below {stock.root}"


def _below(root: Path, path: Path) -> Path:
    """Write a path as one below `root`, without `..`, where it is; so that one picture has one spelling."""
    absolute, above = os.path.abspath(path), os.path.abspath(root)
    inside = absolute == above or absolute.startswith(above.rstrip(os.sep) + os.sep)
    return root / os.path.relpath(absolute, above) if inside else Path(absolute)
