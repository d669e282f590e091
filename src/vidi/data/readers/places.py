"""Paths that a file of a data set names: taken as they are, or found again where the set was moved.

Annotations, lists and yaml files are written on one machine and read on another. A path that exists is that path.
Otherwise what follows the folders of the other machine is looked for below the set; last of all a picture is known by
its file name, if that is unique. What was found so is remarked, with its number.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from vidi import files
from vidi.data.faults import Fault, tallied
from vidi.formats import files_below, is_image_name


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

    With `guess` its last parts are looked for where the text itself does not exist; ValueError as from `find_moved`.
    """
    for base in bases:
        for spelling in (text, text.replace("\\", "/")):
            if os.path.exists(base / spelling):
                return Place(base / spelling, False)
    moved = find_moved(text, bases, lambda base, last: os.path.exists(base / last)) if guess else None
    if moved is None:
        return None
    base, last = moved
    beside = "/".join(PureWindowsPath(text).parts).removeprefix("../") == last  # as Roboflow writes ../train/images
    return Place(base / last, not beside)


def is_foreign(name: str) -> bool:
    """Tell whether a name is the path of another machine, or one that leaves its folder."""
    path = PureWindowsPath(name)  # knows separators of both kinds
    return "\\" in name or bool(path.root or path.drive) or ".." in path.parts


def find_moved(name: str, folders: Sequence[Path], holds: Callable[[Path, str], bool]) -> tuple[Path, str] | None:
    """Return the folder that holds as many last parts of a path as lead anywhere, and these parts; None: no folder.

    The parts are those behind drive, root and the last `..`. Raises ValueError where two folders hold different files.
    """
    path = PureWindowsPath(name)
    parts = [part for part in path.parts if part != path.anchor]
    behind = max((row for row, part in enumerate(parts) if part == ".."), default=-1) + 1
    for first in range(behind, len(parts)):
        last = "/".join(parts[first:])
        found = {(folder / last).resolve(): folder for folder in reversed(folders) if holds(folder, last)}
        if len(found) > 1:
            raise ValueError(f"{name} is not there, and could be each of {', '.join(sorted(map(str, found)))}")
        if found:
            return next(iter(found.values())), last
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
        message = f"pictures of this split that stand there before, used once: {len(found.paths) - len(distinct)}"
        found.remarks.append(Fault(str(stock.root), "", message))
    found.paths = distinct
    return found


def _read_list(file: Path, stock: Stock, bases: Sequence[Path], found: Pictures) -> None:
    guesses = []
    for line, text in enumerate(map(str.strip, files.read_text(file).splitlines()), start=1):
        if not text:
            continue
        try:
            place = find_place(text, bases) or _by_file_name(text, stock)
        except ValueError as error:
            found.faults.append(Fault(str(file), f"line {line}", str(error)))
            continue
        if not place.path.is_file() or not is_image_name(place.path.name):
            found.faults.append(Fault(str(file), f"line {line}", f"{text} is no picture"))
        else:
            found.paths.append(_below(stock.root, place.path))
            if place.is_guessed:
                guesses.append(f"line {line}, {text}, is {found.paths[-1]}")
    if guesses:
        found.remarks.append(tallied(file, "paths of another machine, found by their last parts", guesses))


def _by_file_name(text: str, stock: Stock) -> Place:
    """Return the only picture of that file name. Raises ValueError that says why there is none."""
    known = stock.by_file_name.get(text.replace("\\", "/").rpartition("/")[2], [])
    if len(known) == 1:
        return Place(known[0], True)
    if known:
        raise ValueError(
            f"{text} is not there, and {len(known)} pictures have this file name ({known[0]}, {known[1]}, ...)"
        )
    raise ValueError(f"{text} is not there; looked below {stock.root}")


def _below(root: Path, path: Path) -> Path:
    """Write a path as one below `root`, without `..`, where it is; so that one picture has one spelling."""
    absolute, above = os.path.abspath(path), os.path.abspath(root)
    inside = absolute == above or absolute.startswith(above.rstrip(os.sep) + os.sep)
    return root / os.path.relpath(absolute, above) if inside else Path(absolute)
