"""Names of systems: looked up once, at the entrance; a wrong one is told with the nearest."""

import difflib
from fnmatch import fnmatchcase

from vidi.catalog.entry import Entry
from vidi.catalog.table import CATALOG
from vidi.tasks.table import TASKS


class UsageError(ValueError):
    """What was asked for does not exist or does not go together."""

    is_usage = True


class UnknownNameError(UsageError):
    """There is no model, task or set of weights of this name; the message lists the nearest."""


def models(pattern: str = "*", *, task: str | None = None) -> list[str]:
    """Return the names in the catalogue that match a wildcard pattern, optionally of one task.

    Raises:
        ValueError: if the task does not exist.
    """
    if task is not None and task not in TASKS:
        raise UnknownNameError(f"received task {task!r}, expected one of {', '.join(TASKS)}")
    return [n for n, e in CATALOG.items() if fnmatchcase(n, pattern) and task in (None, e.task.name)]


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
