"""What is to be predicted on: folders, globs, lists, tar archives, videos and cameras as one listing, in flat arrays.

    photos/      pictures, archives and videos in it and its sub-folders    'photos/**/*.jpg'    a glob
    list.txt     a path a line, as on the command line                      shard-0000.tar       the pictures in it
    clip.mp4     the frames of a video                                      0, /dev/video0       a camera

Each entry has a key: 64 bits of a hash over its path as it is seen from the folder of the results. Keys do not change
when an argument is spelt otherwise, or when pictures and results move together. They say which entries are done, and
which process does which: both are functions of the entry alone, so that processes that list a growing folder at
different moments neither do one twice nor leave one out for good.
"""

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

from vidi import files, formats
from vidi.bulk.videos import has_pyav, needs_pyav
from vidi.catalog.listed import UsageError
from vidi.data.readers.flat import Names
from vidi.formats import VIDEO_SUFFIXES, is_hidden, is_image_name

PICTURE, MEMBER, ARCHIVE, VIDEO, CAMERA = range(5)
"""Kinds of entries: a file, a picture in an archive, an archive that cannot be read, a video, a camera."""


def key_of(text: str) -> int:
    """Return 64 bits of a hash."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def frame_key(video: int, frame: int) -> int:
    """Return the key of a frame of the video with a key; that of the video itself says that all of them are done."""
    return key_of(f"{video}#{frame}")


class Root(NamedTuple):
    """What entries were found by: what is cut off their sources, and what is put before the rest, to name files."""

    path: str  # with a slash at its end, or empty
    label: str


@dataclass(frozen=True, eq=False)
class Listing:
    """Entries in the order of their sources."""

    sources: Names
    kinds: UInt8[np.ndarray, " N"]
    keys: UInt64[np.ndarray, " N"]
    places: Int64[np.ndarray, "N 3"]  # archive, first byte and number of bytes, of a picture in an archive
    archives: tuple[str, ...]
    roots: tuple[Root, ...]
    of_root: Int64[np.ndarray, " N"]
    doubled: Bool[np.ndarray, " N"]  # whether another entry differs in its suffix only
    skipped: dict[str, int]  # how many files of each suffix were no entry

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        """Return the path, without suffix, of files that are written for an entry; no other entry has it."""
        root, source = self.roots[int(self.of_root[index])], self.sources[index]
        text = source.removeprefix(root.path).lstrip("/")
        return root.label + (text if self.doubled[index] else without_suffix(text))

    def share(self, process: int, processes: int) -> Int64[np.ndarray, " M"]:
        """Return the entries that one of several processes does; a camera is of the first one."""
        own = self.keys % np.uint64(processes) == process
        return np.flatnonzero(np.where(self.kinds == CAMERA, process == 0, own))


def without_suffix(path: str) -> str:
    """Return a path without the suffix of its file."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def listing_of(arguments: Sequence[str], out: Path) -> Listing:
    """List what was named on a command line.

    Args:
        arguments: paths and globs.
        out: the folder of the results; what lies in it was made before.

    Raises:
        UsageError: if a folder of pictures is to hold the results.
        FileNotFoundError: for a path that is not there, and a glob without a match.
        ValueError: for what is no source, and if there is nothing to predict on.
    """
    found = _Found(out)
    singles: list[str] = []
    for argument in arguments:
        if _is_camera(argument):
            found.take_camera(argument)
        elif os.path.isdir(argument):
            found.take_folder(argument)
        elif argument.endswith(".txt") and os.path.isfile(argument):
            found.take_files([line.strip() for line in files.read_text(argument).splitlines() if line.strip()])
        elif os.path.isfile(argument):
            if told := _unread(argument):
                raise ValueError(f"{argument}: {told}")
            singles.append(argument)
        elif re.search(r"[*?\[]", argument):
            matches = sorted(glob.glob(argument, recursive=True))
            if not matches:
                raise FileNotFoundError(f"{argument}: no file or folder matches")
            found.take_files(matches)
        elif told := formats.advice_on_source(Path(argument).as_posix()):
            raise ValueError(f"{argument}: {told}")
        else:
            raise FileNotFoundError(f"{argument}: no such file or folder")
    found.take_files(singles)
    return found.listing()


def _is_camera(argument: str) -> bool:
    return bool(re.fullmatch(r"/dev/video\d+", argument)) or (argument.isdigit() and not os.path.exists(argument))


def _unread(name: str) -> str | None:
    """Say what helps with a file that is neither picture nor archive nor video; None for those and what is unknown."""
    if name.lower().endswith(VIDEO_SUFFIXES):
        return None if has_pyav() else needs_pyav()
    return None if name.lower().endswith(".tar") else formats.advice(name)


def _kind(name: str) -> int | None:
    lower = os.path.basename(name).lower()
    if is_hidden(lower):
        return None
    if lower.endswith(VIDEO_SUFFIXES):
        return VIDEO if has_pyav() else None
    return ARCHIVE if lower.endswith(".tar") else PICTURE if is_image_name(lower) else None


@dataclass
class _Found:
    """Entries that are being collected."""

    out: Path
    sources: list[str] = field(default_factory=list)
    rows: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)  # kind, key, place, root
    archives: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.drawn = self.out.resolve()

    def take_folder(self, argument: str) -> None:
        """Take all that lies in a folder and its sub-folders, but for what was made before."""
        path = argument.rstrip("/") or "/"
        top = Path(path).resolve()
        if top == self.drawn:
            raise UsageError(f"{self.out} holds the photos: results would lie among them; expected another folder")
        made = f"{self.drawn.relative_to(top).as_posix()}/" if self.drawn.is_relative_to(top) else None
        root = self._root(path)
        names = formats.files_below(Path(path), lambda name: not is_hidden(name))
        self._take((name for name in names if made is None or not name.startswith(made)), path, root, is_all=False)

    def take_files(self, paths: Sequence[str]) -> None:
        """Take files that were named one by one; folders among them are taken whole."""
        whole = [path for path in paths if _kind(path) is None and os.path.isdir(path)]
        single = [os.path.normpath(path) for path in paths if path not in set(whole)]
        if single:
            parents = {os.path.dirname(path) for path in single}
            mixed = len({os.path.isabs(parent) for parent in parents}) > 1
            common = "" if mixed else os.path.commonpath(parents)
            self._take(single, "", self._root(common), is_all=True)
        for path in whole:
            self.take_folder(path)

    def take_camera(self, argument: str) -> None:
        """Take a camera: a path of Linux, or its number."""
        if not has_pyav():
            raise ValueError(f"{argument}: {needs_pyav()}")
        device = argument if argument.startswith("/") else f"/dev/video{argument}"
        self._add(device, CAMERA, key_of(device), (0, 0, 0), self._root("/dev"))

    def _root(self, path: str) -> int:
        self.roots.append(path)
        return len(self.roots) - 1

    def _take(self, names: Iterable[str], folder: str, root: int, *, is_all: bool) -> None:
        """Take the entries among some files; `is_all`: those of no known kind too, as pictures."""
        before = os.path.relpath(folder or ".", self.out).replace(os.sep, "/")
        prefix = "" if folder == "" else "/" if folder == "/" else f"{folder}/"
        for name in names:
            kind = _kind(name)
            if kind is None and not is_all:
                self.skipped[Path(name).suffix.lower() or "without suffix"] += 1
                continue
            away = os.path.isabs(name) or name.startswith("..")
            seen = os.path.relpath(name, self.out).replace(os.sep, "/") if away else f"{before}/{name}"
            seen = seen.removeprefix("./")
            if kind == ARCHIVE:
                self._take_archive(prefix + name, seen, root)
            else:
                self._add(prefix + name, PICTURE if kind is None else kind, key_of(seen), (0, 0, 0), root)

    def _take_archive(self, source: str, seen: str, root: int) -> None:
        number = len(self.archives)
        self.archives.append(source)
        try:
            members = files.tar_members(source)
        except (ValueError, OSError):  # what is wrong with it is said where it is read
            self._add(source, ARCHIVE, key_of(seen), (number, 0, 0), root)
            return
        for name, offset, size in members:
            if is_image_name(os.path.basename(name)):
                place = (number, offset, size)
                self._add(f"{source}/{name}", MEMBER, key_of(f"{seen}/{name}"), place, root)
            else:
                self.skipped[f"{Path(name).suffix.lower() or 'without suffix'} in .tar"] += 1

    def _add(self, source: str, kind: int, key: int, place: tuple[int, int, int], root: int) -> None:
        self.sources.append(source)
        self.rows.append((kind, key, *place, root))

    def listing(self) -> Listing:
        """Put what was collected in order; what came twice comes once."""
        if not self.sources:
            held = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.skipped.items()))
            raise ValueError(f"there is nothing to predict on{f': found {held}' if held else ''}")
        seen: set[int] = set()
        first = [row for row, entry in enumerate(self.rows) if entry[1] not in seen and not seen.add(entry[1])]
        order = sorted(first, key=self.sources.__getitem__)
        kinds, keys, places, of_root = [], [], [], []
        for row in order:
            kind, key, *place, root = self.rows[row]
            kinds.append(kind)
            keys.append(key)
            places.append(place)
            of_root.append(root)
        listing = Listing(
            Names([self.sources[row] for row in order]),
            np.array(kinds, dtype=np.uint8),
            np.array(keys, dtype=np.uint64),
            np.array(places, dtype=np.int64).reshape(-1, 3),
            tuple(self.archives),
            _labelled(self.roots),
            np.array(of_root, dtype=np.int64),
            np.zeros(len(order), dtype=bool),
            dict(self.skipped),
        )
        for _ in range(2):  # the whole name of one may be the stem of another
            names = (key_of(listing.name(index).casefold()) for index in range(len(listing)))
            _, inverse, counts = np.unique(np.fromiter(names, np.uint64), return_inverse=True, return_counts=True)
            listing.doubled[:] |= counts[inverse] > 1
        return listing


def _labelled(paths: Sequence[str]) -> tuple[Root, ...]:
    """Say what is put before the names of each root's entries: nothing where there is one root."""
    taken: Counter[str] = Counter()
    roots = []
    for path in paths:
        label = ""
        if len(paths) > 1:
            name = os.path.basename(os.path.abspath(path)) or "root"
            taken[name] += 1
            label = f"{name}/" if taken[name] == 1 else f"{name}-{taken[name]}/"
        roots.append(Root(f"{path.rstrip('/')}/" if path not in ("", "/") else "", label))
    return tuple(roots)
