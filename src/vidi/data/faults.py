"""Faults of a data set: all of them at once, each with its file and row.

A reader logs what is wrong while it indexes the annotations and settles the log at the end. With `on_fault="raise"` any
fault is an error that lists them; with "drop" the faulty rows are left out and counted, and with a row the picture that
it belongs to: without one of its objects it would teach that there is background. Remarks are oddities that can be
repaired without loss (a box that reaches over the border is clipped): they never stop a reader.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

OnFault = Literal["raise", "drop"]

SHOWN = 20


@dataclass(frozen=True)
class Fault:
    """One thing wrong: in which file, where in it (a line, a row, an id; may be empty), and what."""

    file: str
    where: str
    message: str

    @classmethod
    def of(cls, file: str | Path, error: Exception) -> "Fault":
        """Return a file that cannot be read as a fault; errors of `vidi.files` begin with its name."""
        return cls(str(file), "", str(error).removeprefix(str(file)).lstrip(":, "))

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.where, self.message) if part)


@dataclass(frozen=True)
class Hint(Fault):
    """What may mend the faults of a data set: a remark that is told wherever they are."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 folder`, `2 folders`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def folded(texts: Sequence[str], shown: int = 8) -> str:
    """Return the first texts of a list, and how many more there are."""
    more = len(texts) - shown
    return ", ".join(texts if more <= 0 else texts[:shown]) + (f", and {more} more" if more > 0 else "")


def tallied(file: str | Path, what: str, places: Sequence[str]) -> Fault:
    """Tell in one line what holds of several places of a file, with their number and the first."""
    return Fault(str(file), "", f"{what}: {len(places)} (first: {places[0]})")


def listing(faults: Iterable[Fault], shown: int = SHOWN) -> str:
    """Print faults one a line, the first `shown` of them and how many more there are."""
    lines = [f"  {fault}" for fault in faults]
    more = len(lines) - shown
    return "\n".join(lines[:shown] + ([f"  ... and {more} more"] if more > 0 else []))


class DataFaults(ValueError):  # noqa: N818, plural: it holds many
    """A data set with bad rows; `faults` holds all of them, the message the first twenty, and what may mend them."""

    def __init__(self, root: str | Path, faults: Iterable[Fault], hints: Iterable[Fault] = ()) -> None:
        self.root = str(root)
        self.faults = tuple(faults)
        self.hints = tuple(hint for hint in hints if isinstance(hint, Hint))
        told = "".join(f"{hint}\n" for hint in self.hints)
        super().__init__(
            f"{self.root}: {counted(len(self.faults), 'fault')} in the data set\n{listing(self.faults)}\n{told}"
            "Repair them, or leave the faulty rows and their pictures out with --drop-faults (faults='drop' in Python)."
        )

    def __reduce__(self) -> tuple[type["DataFaults"], tuple[str, tuple[Fault, ...], tuple[Fault, ...]]]:
        return DataFaults, (self.root, self.faults, self.hints)  # a loader worker sends it to its parent


def check_choice(on_fault: str) -> None:
    """Raise a ValueError that lists the choices if a word is none of them."""
    if on_fault not in get_args(OnFault):
        raise ValueError(f"on_fault is {on_fault!r}; choose from {', '.join(get_args(OnFault))}")


@dataclass
class FaultLog:
    """What a reader finds wrong with the data set under `root`, until it settles."""

    root: Path
    on_fault: OnFault = "raise"
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)
    spoiled: set[int] = field(default_factory=set)  # images with a fault, as the reader numbers them
    tallies: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # file, what -> where

    def __post_init__(self) -> None:
        check_choice(self.on_fault)

    def fault(self, file: str | Path, where: str, message: str, *, image: int | None = None) -> None:
        """Log something that makes a row unusable, and with it the image that it belongs to."""
        self.faults.append(Fault(str(file), where, message))
        if image is not None:
            self.spoiled.add(image)

    def unreadable(self, file: str | Path, error: Exception, *, image: int | None = None) -> None:
        """Log a file that cannot be read."""
        self.fault(file, "", Fault.of(file, error).message, image=image)

    def remark(self, file: str | Path, where: str, message: str) -> None:
        """Log something odd that was repaired."""
        self.remarks.append(Fault(str(file), where, message))

    def tally(self, file: str | Path, where: str, what: str) -> None:
        """Note something odd that many rows of a file have; one remark tells `what: N` when the log settles."""
        self.tallies.setdefault((str(file), what), []).append(where)

    def settle(self, images: int) -> None:
        """Raise DataFaults if there are faults and they are not to be dropped, or if dropping leaves none of N images.

        Tallies become remarks.
        """
        for (file, what), places in self.tallies.items():
            self.remarks.append(tallied(file, what, places))
        self.tallies.clear()
        kept = images - len(self.spoiled)
        if self.faults and (self.on_fault == "raise" or kept == 0):
            raise DataFaults(self.root, self.faults, self.remarks)
        if kept == 0:
            raise ValueError(f"{self.root}: the data set holds no images")

    def is_sound(self, images: int) -> np.ndarray:
        """Tell which of N images have no fault, bool."""
        sound = np.ones(images, dtype=bool)
        sound[sorted(self.spoiled)] = False
        return sound
