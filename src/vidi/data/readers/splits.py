"""Which images train, which select the model, which test.

A set's own splits are taken as they are. Without `val`, a tenth of `train` is held out: never the test split, which
would then choose what it scores. The tenth is drawn by a seeded hash of each image's name, every class by itself; when
images are added, only those near the limit change sides.

Where classes are kept apart, as the people of a verification protocol are, `val` is a quarter of the classes with all
their images: nobody who is scored was ever trained on.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from vidi.data.faults import Fault, OnFault, tallied
from vidi.data.readers.box_table import BoxRow
from vidi.data.readers.image_set import ImageSet
from vidi.formats import files_below, is_hidden

Part = Literal["all", "train", "val"]

UNSPLIT = "all"
VAL_SHARE = 0.1
APART_SHARE = 0.25  # of the classes
FEWEST_APART = 2  # classes of a part: one alone has no other to be told from
SEED = 0  # of the hash that draws the tenth
_NO_CLASS = -1  # images without objects are a class of their own here
_SPELLINGS = {
    "test": ("test", "testing"),
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
}


class Build(Protocol):
    """Makes the data set of one source; `part` is the share of it that the hash of the names selects."""

    def __call__(self, *, part: Part, on_fault: OnFault) -> ImageSet: ...


@dataclass(frozen=True)
class Layout:
    """What a reader found in a folder: why it thinks so, and how to open each source (train, val, test, all)."""

    root: Path
    reason: str
    sources: Mapping[str, Build]
    remarks: tuple[Fault, ...] = ()  # about the set as a whole: what none of its sources uses
    stratified: bool = True  # whether a part of a source is drawn class by class
    training_classes: Callable[[], tuple[str, ...]] | None = None  # where each source has a list of its own
    apart: Mapping[str, Build] | None = None  # sources with the classes that each has, where `sources` have one list


@dataclass(frozen=True)
class Split:
    """Where a split comes from: which source, which part of it, and that in words where it is not the set's own."""

    source: str
    part: Part
    note: str


def split_named(name: str) -> str | None:
    """Return the split that a file or folder name speaks of: `instances_val2017` -> `val`, `test-dev2017` -> `test`."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((split for split, spellings in _SPELLINGS.items() if any(word in spellings for word in words)), None)


def split_called(name: str) -> str | None:
    """Return the split that is called by this name and nothing else: `valid` -> `val`, `train2017` -> `train`."""
    bare = name.lower().rstrip("0123456789")
    return next((split for split, spellings in _SPELLINGS.items() if bare in spellings), None)


def split_folders(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the sub-folders that are named like splits, such as `train` and `valid`; two may name the same one."""
    found: dict[str, tuple[Path, ...]] = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        split = split_called(entry.name) if entry.is_dir() and not is_hidden(entry.name) else None
        if split is not None:
            found[split] = (*found.get(split, ()), entry)
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def spoken_path(path: Path, root: Path) -> str:
    """Return a path as one says it: from the folder of the data set, where it lies below it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def remark_doubled(root: Path, folders: Mapping[str, Sequence[Path]]) -> tuple[Fault, ...]:
    """Remark each split that several folders are named for: all of them are read."""
    return tuple(
        Fault(str(root), "", f"{' and '.join(spoken_path(f, root) for f in several)} are both read as {split}")
        for split, several in folders.items()
        if len(several) > 1
    )


def remark_unused(place: Path, names: Iterable[str], why: str) -> tuple[Fault, ...]:
    """Remark the images that are not used, in one line with their number; none give none."""
    unused = sorted(names)
    return (tallied(place, f"pictures not used because {why}", unused),) if unused else ()


def remark_shared(place: Path, splits: Mapping[str, Iterable[Path | str]]) -> tuple[Fault, ...]:
    """Remark, in one line a pair of splits, the images that stand in both."""
    remarks: tuple[Fault, ...] = ()
    for one, other in itertools.combinations(splits, 2):
        if both := sorted(map(str, set(splits[one]) & set(splits[other]))):
            remarks += (
                tallied(place, f"pictures that stand in {one} and in {other}, so that scores are too good", both),
            )
    return remarks


def remark_outside(root: Path, used: Iterable[Path], why: str) -> tuple[Fault, ...]:
    """Remark, in one line, the images below a folder that lie in none of the folders that are used."""
    places = {folder.relative_to(root).as_posix() for folder in used}
    return remark_unused(root, (name for name in files_below(root) if places.isdisjoint(_folders_of(name))), why)


def _folders_of(name: str) -> Iterator[str]:
    """Yield the folders that a relative name lies in, from the innermost to `.`."""
    while name:
        name = name.rpartition("/")[0]
        yield name or "."


def refuse_hidden_splits(root: Path, names: Iterable[str], remedy: str) -> None:
    """Raise ValueError where images of a set without splits lie in folders that somebody meant as splits."""
    folders = {part for name in names for part in name.split("/")[:-1]}
    named = sorted(folder for folder in folders if split_named(folder))
    if named:
        raise ValueError(
            f"{root}: the folders {', '.join(named)} speak of splits: call them train, val, test, or {remedy}"
        )


def assign_splits(sources: Collection[str], *, stratified: bool = True, apart: bool = False) -> dict[str, Split]:
    """Derive the splits that can be opened from the sources that exist; those of the set itself have an empty note.

    Args:
        sources: their names.
        stratified: whether a part of a source is drawn class by class.
        apart: whether it is drawn of the classes, as `classes_apart` does.
    """
    splits = {name: Split(name, "all", "") for name in ("train", "val", "test") if name in sources}
    whole = "train" if "train" in sources else UNSPLIT
    if "val" not in splits and whole in sources:
        of = "train" if whole == "train" else "the set"
        classwise = ", stratified by class" if stratified else ""
        share, rest = f"a tenth of {of}, drawn with seed {SEED}{classwise}", "nine tenths"
        if apart:
            share, rest = f"a quarter of the classes of {of}, drawn with seed {SEED}", "classes"
        splits["train"] = Split(whole, "train", f"train is the other {rest}")
        splits["val"] = Split(whole, "val", f"val is {share}")
    if UNSPLIT in sources:
        splits["all"] = Split(UNSPLIT, "all", "all is every image")
    return {name: splits[name] for name in ("train", "val", "test", "all") if name in splits}


def part_members(names: Sequence[str], part: Part, classes: Sequence[Collection[int]] | None = None) -> np.ndarray:
    """Return which of N names belong to a part, bool.

    `classes` are those that each image shows; a tenth of the images of every class is `val`, but at least one where
    there are two. Two names or more give at least one to `train` and to `val`.
    """
    if part == "all":
        return np.ones(len(names), dtype=bool)
    shown = [frozenset(labels) or frozenset({_NO_CLASS}) for labels in classes or [()] * len(names)]
    order = sorted(range(len(names)), key=lambda row: _hash(names[row]))
    rows_of: dict[int, list[int]] = {}
    for row in order:
        for label in shown[row]:
            rows_of.setdefault(label, []).append(row)
    left = {label: len(rows) for label, rows in rows_of.items()}  # images of each class that train
    val = np.zeros(len(names), dtype=bool)
    for label in sorted(rows_of, key=lambda label: (len(rows_of[label]), label)):  # rare classes choose first
        wanted = max(1, int(VAL_SHARE * len(rows_of[label]) + 0.5)) - int(val[rows_of[label]].sum())
        for row in rows_of[label]:
            if wanted > 0 and not val[row] and all(left[other] > 1 for other in shown[row]):
                val[row], wanted = True, wanted - 1
                left |= {other: left[other] - 1 for other in shown[row]}
    if len(names) > 1 and not val.any():  # every class has one image
        val[order[0]] = True
    return val if part == "val" else ~val


def classes_apart(names: Sequence[str], images: Sequence[int], part: Part) -> np.ndarray:
    """Return which of K classes belong to a part, bool: a quarter of them, but at least two, are `val`.

    Args:
        names: of the classes.
        images: how many each has; `val` has none with a single one, which is like no other.
        part: that is asked for.

    Raises:
        ValueError: if there are too few classes for two in each part.
    """
    if part == "all":
        return np.ones(len(names), dtype=bool)
    several = [row for row, count in enumerate(images) if count > 1]
    if len(names) < 2 * FEWEST_APART or len(several) < FEWEST_APART:
        given = f"{len(names)} classes, {len(several)} of them with two images or more"
        least = f"at least {2 * FEWEST_APART}: {FEWEST_APART} to train on, and {FEWEST_APART} of those to be scored on"
        raise ValueError(f"received {given}, expected {least}")
    order = sorted(several, key=lambda row: _hash(names[row]))
    val = np.zeros(len(names), dtype=bool)
    most = min(max(FEWEST_APART, int(APART_SHARE * len(names) + 0.5)), len(names) - FEWEST_APART)
    val[order[:most]] = True
    return val if part == "val" else ~val


def classes_of(rows: Iterable[BoxRow], images: int) -> list[set[int]]:
    """Return the labels that each of the images shows."""
    shown: list[set[int]] = [set() for _ in range(images)]
    for row in rows:
        shown[row.image].add(row.label)
    return shown


def _hash(name: str) -> int:
    """Spread names evenly, the same on every machine."""
    salt = SEED.to_bytes(8, "big")
    return int.from_bytes(
        hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, salt=salt).digest(), "big"
    )
