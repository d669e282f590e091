"""Which images train, which select the model, which test.

A set's own splits are taken as they are. Without `val`, `test` takes its place; without both, a fixed tenth of `train`
does, chosen by a hash of each image's name, so that an image never changes sides when others are added.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from vidi.data.faults import OnFault
from vidi.data.readers.image_set import ImageSet

Part = Literal["all", "train", "val"]

UNSPLIT = "all"
VAL_SHARE = 0.1
_SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
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


@dataclass(frozen=True)
class Split:
    """Where a split comes from: which source, which part of it, and that in words where it is not the set's own."""

    source: str
    part: Part
    note: str


def split_named(name: str) -> str | None:
    """Return the split that a file or folder name speaks of: `instances_val2017` -> `val`, `valid` -> `val`."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((split for split, spellings in _SPELLINGS.items() if any(word in spellings for word in words)), None)


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that are named like splits, such as `train` and `valid`."""
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        split = split_named(entry.name) if entry.is_dir() else None
        if split is not None and entry.name.lower().rstrip("0123456789") in _SPELLINGS[split]:
            found.setdefault(split, entry)
    return found


def assign_splits(sources: Collection[str]) -> dict[str, Split]:
    """Derive the splits that can be opened from the sources that exist; those of the set itself have an empty note."""
    splits = {name: Split(name, "all", "") for name in ("train", "val", "test") if name in sources}
    whole = "train" if "train" in sources else UNSPLIT
    if "val" not in splits and whole in sources:
        if "test" in splits:
            splits["val"] = Split("test", "all", "val is test: the set has no val of its own")
        else:
            splits["train"] = Split(whole, "train", "train is the other nine tenths")
            splits["val"] = Split(whole, "val", "val is a fixed tenth, chosen by a hash of the names")
    if UNSPLIT in sources:
        splits["all"] = Split(UNSPLIT, "all", "all is every image")
    return {name: splits[name] for name in ("train", "val", "test", "all") if name in splits}


def part_members(names: Sequence[str], part: Part) -> np.ndarray:
    """Return which of N names belong to a part, bool; two names or more give at least one to `train` and to `val`."""
    if part == "all":
        return np.ones(len(names), dtype=bool)
    ranks = np.array([_hash(name) for name in names])
    val = ranks < VAL_SHARE
    if len(names) > 1 and not val.any():
        val[ranks.argmin()] = True
    if len(names) > 1 and val.all():
        val[ranks.argmax()] = False
    return val if part == "val" else ~val


def _hash(name: str) -> float:
    """Spread names evenly over [0, 1), the same on every machine."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
