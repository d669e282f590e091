"""Which published weights of a task are on this machine, for one who names pictures and no model."""

from collections.abc import Iterator
from typing import NamedTuple

from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.starting.choice import is_installed
from vidi.weights.table import PUBLISHED

BEST_BY = {
    "detection": "ap",
    "instance": "mask_ap",
    "semantic": "miou",
    "pose": "keypoint_ap",
    "classification": "top1",
}
"""Which published score is compared, by task; the tasks in the order in which they are tried where none is named."""


class Installed(NamedTuple):
    """A model with published weights that are here."""

    name: str
    weights: str
    task: str
    score: float | None  # in per cent, as its publisher gives it
    licence: str

    def __str__(self) -> str:
        told = "" if self.score is None else f", {BEST_BY[self.task]} {self.score:g} as published"
        return f"{self.name} with the weights {self.weights} for {self.task}{told} ({self.licence})"


def installed(task: str) -> list[Installed]:
    """Return the published weights of a task that are on this machine, the best first."""
    found = list(_installed(task))
    return sorted(found, key=lambda one: -1.0 if one.score is None else one.score, reverse=True)


def _installed(task: str) -> Iterator[Installed]:
    for name, row in PUBLISHED.items():
        if entry(row.model).task.name == task and is_installed(name):
            score = row.score.get(BEST_BY[task])
            yield Installed(row.model, row.version, task, score, row.licence)


def best_installed(task: str | None = None) -> Installed:
    """Return the best published weights of a task that are here; without a task, of the first that has any.

    Raises:
        UsageError: if there are none; says how to get some.
    """
    if task is not None and task not in BEST_BY:
        raise UsageError(f"received task {task!r}, expected one with published weights: {', '.join(BEST_BY)}")
    for wanted in BEST_BY if task is None else (task,):
        if found := installed(wanted):
            return found[0]
    some = next(row for row in PUBLISHED.values() if entry(row.model).task.name == (task or "detection"))
    raise UsageError(
        f"no published weights{f' for {task}' if task else ''} are on this machine: name a RUN, or fetch some once, as "
        f"by `vidi predict {some.model} --weights {some.version} --download PHOTOS` (`vidi models --weights` lists all)"
    )
