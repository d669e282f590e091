"""Text files that list the stems of a split, as VOC's ImageSets do."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidi import files
from vidi.data.faults import Fault, FaultLog
from vidi.data.readers.image_set import stem_of
from vidi.data.readers.splits import remark_shared, remark_unused, split_called
from vidi.formats import is_image_name


@dataclass(frozen=True)
class Listing:
    """A file that lists the stems of a split; those of another one are left out."""

    file: Path
    without: Path | None = None  # trainval.txt is train once val.txt is taken off


def listings_in(folder: Path) -> dict[str, Listing]:
    """Return the lists of a folder by split; trainval.txt is train where there is no train.txt."""
    lists = {split: file for file in sorted(folder.glob("*.txt")) if (split := split_called(file.stem)) is not None}
    found = {split: Listing(lists[split]) for split in ("train", "val", "test") if split in lists}
    both = folder / "trainval.txt"
    if "train" not in found and both.is_file():
        found = {"train": Listing(both, without=lists.get("val")), **found}
    return found


def listed_stems(listing: Listing, known: set[str], log: FaultLog) -> list[str]:
    """Read the stems of a split, without repetitions; lines mean `known` stems where they can."""
    seen: dict[str, int] = {}
    for line, text in lines_of(listing.file):
        stem = stem_meant(text, known)
        if stem in seen:
            log.fault(listing.file, f"line {line}", f"{stem} stands in line {seen[stem]} already")
        elif ".." in re.split(r"[/\\]", stem) or Path(stem).is_absolute():
            log.fault(listing.file, f"line {line}", f"{stem} is not a file name of this set")
        else:
            seen[stem] = line
    others = {stem_meant(text, known) for _, text in lines_of(listing.without)} if listing.without else set()
    return [stem for stem in seen if stem not in others]


def remark_lists(listings: Mapping[str, Listing], known: set[str], usable: Iterable[str]) -> tuple[Fault, ...]:
    """Remark the usable stems that no list has, and those that two have."""
    stems = {split: {stem_meant(text, known) for _, text in lines_of(one.file)} for split, one in listings.items()}
    for split, listing in listings.items():
        if listing.without is not None:
            stems[split] -= {stem_meant(text, known) for _, text in lines_of(listing.without)}
    folder = next(iter(listings.values())).file.parent
    unlisted = set(usable).difference(*stems.values())
    return remark_unused(folder, unlisted, "they stand in no list") + remark_shared(folder, stems)


def lines_of(file: Path) -> Iterable[tuple[int, str]]:
    """Yield the lines of a file that say something, with their numbers."""
    lines = enumerate(files.read_text(file).splitlines(), start=1)
    return ((number, text.strip()) for number, text in lines if text.strip())


def stem_meant(text: str, known: set[str]) -> str:
    """Return the stem that a line of a list means.

    The flag of VOC's lists of a class, a suffix, and folders of another machine are left out where what is left is
    known; a line that means nothing known is returned without its flag.
    """
    unflagged = re.sub(r"\s+-?[01]$", "", text)  # `2008_000008  1`, but `my photo 1` if there is such a file
    for spelling in (text, unflagged):
        for tail in _tails(spelling.replace("\\", "/")):
            for stem in (tail, stem_of(tail)) if is_image_name(tail) else (tail,):
                if stem in known:
                    return stem
    return unflagged


def _tails(text: str) -> Iterable[str]:
    """Yield a path and its tails, from the longest to the file name; a path that leads upwards has no tails."""
    parts = text.split("/")
    rows = range(len(parts)) if ".." not in parts else range(1)
    return ("/".join(parts[row:]) for row in rows)
