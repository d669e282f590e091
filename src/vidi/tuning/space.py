"""What a search may vary: `key=low..high` is a range, `key=a,b,c` a choice, `key=value` stays.

A range of positive numbers whose ends are at least ten times apart is searched by orders of magnitude. The values of a
key that is a list itself are written in brackets: `size=(64,64),(96,96)`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from vidi.engine.overrides import OverrideError, check_overrides, spelled

WIDE = 10
"""Ratio of the ends of a range from which on its logarithm is searched."""


@dataclass(frozen=True)
class Range:
    """Numbers from one to another, both included; whole ones where both ends are."""

    low: float | int
    high: float | int

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def is_wide(self) -> bool:
        """Whether the logarithm is searched."""
        return self.low > 0 and self.high >= WIDE * self.low

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Among:
    """One of some values."""

    choices: tuple[Any, ...]

    def by_name(self) -> dict[str, Any]:
        """Return the values by how a shell spells them."""
        return {spelled(choice): choice for choice in self.choices}

    def __str__(self) -> str:
        return ",".join(f"({name})" if isinstance(value, tuple) else name for name, value in self.by_name().items())


Space = dict[str, Range | Among]


def split_space(values: Mapping[str, Any], types: Mapping[str, Any]) -> tuple[Space, dict[str, Any]]:
    """Split what a user gives into what is searched and what stays, both checked.

    Args:
        values: text from a shell, or Python values, where a list is a choice.
        types: of the keys that may be given.

    Raises:
        OverrideError: naming every unknown key and every value that does not fit.
    """
    asked = {key: parts for key, value in values.items() if (parts := _parts(value, types.get(key))) is not None}
    faults: list[str] = []
    space: Space = {}
    fixed = _checked({key: value for key, value in values.items() if key not in asked}, types, faults)
    for key, (kind, parts) in asked.items():
        found = [_checked({key: part}, types, faults) for part in parts]
        if all(found):
            checked = tuple(one[key] for one in found)
            space[key] = Among(tuple(dict.fromkeys(checked))) if kind == "among" else Range(*checked)
            faults += _faults(key, space[key])
    if faults:
        raise OverrideError("\n".join(dict.fromkeys(faults)))
    return space, fixed


def _checked(values: Mapping[str, Any], types: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return checked values; none, and what is wrong as faults, where something is."""
    try:
        return check_overrides(values, types)
    except OverrideError as error:
        faults += str(error).splitlines()
        return {}


def _parts(value: Any, kind: Any) -> tuple[str, list[Any]] | None:
    """Return the ends of a range or the values of a choice; None for a single value."""
    if isinstance(value, list):
        return "among", value
    if not isinstance(value, str):
        return None
    low, dots, high = value.partition("..")
    if dots:
        return "range", [low, high]
    if bracketed := re.findall(r"\(([^()]*)\)", value):
        return "among", bracketed
    return ("among", value.split(",")) if "," in value and not _is_list(kind) else None


def _is_list(kind: Any) -> bool:
    """Tell whether a value of a type may be several numbers."""
    return any(get_origin(part) is tuple for part in (kind, *get_args(kind)))


def _faults(key: str, searched: Range | Among) -> list[str]:
    """Say what cannot be searched."""
    if isinstance(searched, Among):
        return [] if len(searched.choices) > 1 else [f"{key}: received one value, expected several to choose from"]
    ends = (searched.low, searched.high)
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        return [f"{key}: received {searched}, expected a range of numbers"]
    return [] if searched.low < searched.high else [f"{key}: received {searched}, expected a range that rises"]
