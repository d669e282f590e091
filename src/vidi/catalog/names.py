"""Names of systems: looked up once, at the entrance; a wrong one is told with the nearest."""

import difflib

from vidi.catalog.entry import Entry
from vidi.catalog.listed import UnknownNameError, listed
from vidi.catalog.table import CATALOG


def models(pattern: str = "*", *, task: str | None = None) -> list[str]:
    """Return the names in the catalogue that match a wildcard pattern, optionally of one task.

    Raises:
        ValueError: if the task does not exist.
    """
    return [row.name for row in listed(pattern, task=task)]


def entry(name: str) -> Entry:
    """Return a catalogue entry.

    Raises:
        ValueError: if there is none of this name; names the nearest ones.
    """
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, 3)
        advice = f"did you mean {' or '.join(near)}?" if near else "vidi.models(), `vidi models`, lists them"
        raise UnknownNameError(f"no model is called {name!r}; {advice}")
    return CATALOG[name]
