"""Finds the image files that an annotation file names, also where it was written on another machine."""

import os
from collections.abc import Sequence
from pathlib import Path

from vidi.data.readers.elsewhere import MissingPictureError
from vidi.data.readers.places import find_moved, is_foreign

MOVED = "image files named by a path of another machine, found by its last parts"


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
            raise MissingPictureError(name, f"the image file {self.folder / name} is missing; {self._looked()}")
        if "\\" in name and "/" not in name and (self.folder / name).is_file():  # Unix allows it in a name
            return self.folder, name, False
        found = find_moved(name, self.folders, self._holds)
        if found is None:
            told = f"the image file {name} is missing, also by its last parts; {self._looked()}"
            raise MissingPictureError(name, told)
        return *found, True

    def _looked(self) -> str:
        return f"images were looked for in {', '.join(map(str, self.folders))}"

    def _holds(self, folder: Path, name: str) -> bool:
        place, _, last = name.rpartition("/")
        directory = folder / place
        if directory not in self._listings:
            self._listings[directory] = _files_in(directory)
        return last in self._listings[directory]


def _files_in(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if entry.is_file())
