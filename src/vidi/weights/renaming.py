"""From the names that a publisher gave the tensors of a network to ours.

A table is a literal: published name -> our name, or None for what is dropped on purpose. A `*` stands for one part of a
dotted name, or a piece of one, and the stars of our name take the same pieces in the same order:

    {"layer*.*.bn*.*": "stage*.*.norm*.*"}       layer2.0.bn1.weight -> stage2.0.norm1.weight
"""

import re
from collections.abc import Mapping
from typing import TypeVar

Names = Mapping[str, str | None]
Value = TypeVar("Value")


def renamed(tensors: Mapping[str, Value], names: Names) -> dict[str, Value]:
    """Return the tensors under our names.

    Raises:
        ValueError: naming every tensor that no row of the table matches, or several do, or that shares its new name.
    """
    rows = [(re.compile(re.escape(old).replace(r"\*", "([^.]+)")), new) for old, new in names.items()]
    result: dict[str, Value] = {}
    faults: list[str] = []
    for key, value in tensors.items():
        matches = [(match, new) for pattern, new in rows if (match := pattern.fullmatch(key))]
        if len(matches) != 1:
            faults.append(f"{key} ({len(matches)} rows match)")
            continue
        match, new = matches[0]
        if new is None:
            continue
        name = _filled(new, match.groups())
        if name in result:
            faults.append(f"{key} (becomes {name}, as another one does)")
        result[name] = value
    if faults:
        raise ValueError(f"the rename table does not fit {len(faults)} tensors: {', '.join(faults[:10])}")
    return result


def under(names: Names, old: str, new: str) -> dict[str, str | None]:
    """Put a prefix before both sides of a table: for a network that is part of a larger one."""
    return {old + key: None if value is None else new + value for key, value in names.items()}


def inverted(names: Names) -> dict[str, str | None]:
    """Return the table from our names to the publisher's; ValueError if two of theirs became one of ours."""
    kept = {new: old for old, new in names.items() if new is not None}
    if len(kept) != sum(new is not None for new in names.values()):
        raise ValueError("two rows of the table give one name, expected a table that can be read backwards")
    return {**kept}


def _filled(name: str, pieces: tuple[str, ...]) -> str:
    if name.count("*") != len(pieces):
        raise ValueError(f"the new name {name!r} has {name.count('*')} stars, the old one {len(pieces)}")
    for piece in pieces:
        name = name.replace("*", piece, 1)
    return name
