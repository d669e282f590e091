"""Numbers and ids in another form: "1", 1.0, [400.0] and null mean what a person reads in them.

Files that were written by hand, by a spreadsheet or through a float array hold them. What can mean one thing only is
read so and counted in a remark; anything else is an error.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidi.data.faults import FaultLog

Id = int | str

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_WHOLE = re.compile(r"\s*([+-]?(?:0|[1-9]\d*))(?:\.0*)?\s*")  # 007 is a name, not 7
_LARGEST = 1e15  # floats beyond have gaps, and no picture has such sides


class LooseRows:
    """Reads the values of the rows of one file, and tallies those that were written in another form."""

    def __init__(self, file: Path, log: FaultLog) -> None:
        self.file = file
        self.log = log

    def number(self, row: Mapping[str, Any], key: str, where: str) -> float:
        """Return a finite number; ValueError where the value is none."""
        value, form = number_of(row.get(key))
        self._tally(key, form, where)
        if value is None:
            raise ValueError(f"{key} is {row.get(key)!r}, expected a finite number")
        return float(value)

    def whole(self, row: Mapping[str, Any], key: str, where: str) -> int:
        """Return a whole number; ValueError where the value is none."""
        value, form = number_of(row.get(key))
        if value is None or value != int(value):
            raise ValueError(f"{key} is {row.get(key)!r}, expected a whole number")
        self._tally(key, form or ("with a decimal point" if isinstance(value, float) else ""), where)
        return int(value)

    def identity(self, row: Mapping[str, Any], key: str, where: str) -> Id:
        """Return an id: a whole number, or any other text as it stands; ValueError where the value is neither.

        An id is looked up and not computed with: "1" and 1.0 are 1, "0001" is a text of its own.
        """
        value, form = _alone(row.get(key))
        if isinstance(value, str) and value.strip():
            match = _WHOLE.fullmatch(value)
            if match is None:
                return value
            value, form = int(match.group(1)), "as text"
        if isinstance(value, float) and value.is_integer():
            value, form = int(value), form or "with a decimal point"
        if type(value) is not int:
            raise ValueError(f"{key} is {row.get(key)!r}, expected a whole number or a text")
        self._tally(key, form, where)
        return value

    def flag(self, row: Mapping[str, Any], key: str, where: str) -> bool:
        """Return whether a flag is set: 0, 1, true, false; absent and null are 0. ValueError for anything else."""
        if row.get(key, 0) is None:
            self.log.tally(self.file, where, f"values of {key} are null and are read as 0")
            return False
        if isinstance(row.get(key), bool):
            return row[key]
        value = self.whole({key: row.get(key, 0)}, key, where)
        if value not in (0, 1):
            raise ValueError(f"{key} is {value}, expected 0 or 1")
        return bool(value)

    def _tally(self, key: str, form: str, where: str) -> None:
        if form:
            self.log.tally(self.file, where, f"values of {key} are written {form} and are read as numbers")


def number_of(value: Any) -> tuple[float | int | None, str]:
    """Return a finite number, as an int where it was one, and the form that it was written in if that is not its own.

    None stands for what is no number: truth values, text with more than a number, and what is beyond 1e15.
    """
    value, form = _alone(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        whole = _WHOLE.fullmatch(value)
        value, form = int(whole.group(1)) if whole else float(value), "as text"
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        return None, ""
    return value, form


def _alone(value: Any) -> tuple[Any, str]:
    """Take a value out of a list that holds nothing else."""
    return (value[0], "in a list") if isinstance(value, list) and len(value) == 1 else (value, "")
