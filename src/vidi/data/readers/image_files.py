"""Finds the image files that an annotation file names, also where it was written on another machine."""

import os
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

MOVED = "names of image files are paths of another machine: the files are found by the last parts of their paths"


class ImageFiles:
    """Looks for the files of some names in some folders.

    A plain name is looked for in one folder, the one that holds most of the names. A name with backslashes, or one that
    leaves the folder (absolute, or with `..`), is a path of another machine: as many of its last parts as lead to a
    file in one of the folders find it, if they lead to one file only.
    """

    def __init__(self, folders: Sequence[Path], names: Sequence[str]) -> None:
        self.folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        plain = [name for name in names if not is_foreign(name)]
        counted = max(self.folders, key=lambda folder: sum((folder / name).is_file() for name in plain), default=None)
        self.folder = counted or folders[0]  # the first of equals
        self._listings: dict[Path, frozenset[str]] = {}

    def find(self, name: str) -> tuple[Path, str, bool]:
        """Return the folder of an image, its name in there, and whether it had to be looked for as a moved one.

        Raises ValueError that names the folders looked into.
        """
        if not is_foreign(name):
            if (self.folder / name).is_file():
                return self.folder, name, False
            raise ValueError(f"the image file {self.folder / name} is missing; {self._looked()}")
        if "\\" in name and "/" not in name and (self.folder / name).is_file():  # Unix allows it in a name
            return self.folder, name, False
        parts = _own_parts(name)
        for first in range(len(parts)):
            last = "/".join(parts[first:])
            holding = [folder for folder in self.folders if self._holds(folder, last)]
            found = {(folder / last).resolve(): folder for folder in reversed(holding)}
            if len(found) > 1:
                raise ValueError(f"the image file {name} could be each of {', '.join(sorted(map(str, found)))}")
            if found:
                return next(iter(found.values())), last, True
        raise ValueError(f"the image file {name} is missing, also by its last parts; {self._looked()}")

    def _looked(self) -> str:
        return f"images were looked for in {', '.join(map(str, self.folders))}"

    def _holds(self, folder: Path, name: str) -> bool:
        place, _, last = name.rpartition("/")
        directory = folder / place
        if directory not in self._listings:
            self._listings[directory] = _files_in(directory)
        return last in self._listings[directory]


def is_foreign(name: str) -> bool:
    """Tell whether a name is the path of another machine, or one that leaves its folder."""
    path = PureWindowsPath(name)  # knows separators of both kinds
    return "\\" in name or bool(path.root or path.drive) or ".." in path.parts


def _own_parts(name: str) -> list[str]:
    """Return the parts of a path without its drive and root, those behind the last `..`."""
    path = PureWindowsPath(name)
    parts = [part for part in path.parts if part != path.anchor]
    return parts[max((row for row, part in enumerate(parts) if part == ".."), default=-1) + 1 :]


def _files_in(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if entry.is_file())
