"""A training's progress: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vidi.engine.progress import Progress as Told
from vidi.engine.progress import Silent


def progress_for(console: Console, *, quiet: bool = False) -> Told:
    """Return a bar for a terminal, lines for anything else, and nothing for those who want to hear nothing."""
    if quiet:
        return Silent()
    return Bar(console) if console.is_terminal else Lines(console)


def describe(losses: Mapping[str, float], images_per_second: float) -> str:
    """Return losses and speed as one line."""
    terms = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
    return f"{terms}  {images_per_second:.0f} images/s"


def spoken_time(seconds: float | int) -> str:
    """Return a time as one says it, in its two largest units."""
    whole = round(seconds)
    minutes, hours = whole // 60, whole // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


@contextmanager
def counting(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Give a function of (what, done, total) that moves a bar on a terminal, one for each `what`, and else nothing."""
    if not console.is_terminal:
        yield lambda what, done, total: None
        return
    # what is printed meanwhile goes above a bar on the same console; another stream is left as it is
    with Progress(console=console, transient=True, redirect_stdout=not console.stderr) as bar:
        tasks: dict[str, TaskID] = {}

        def count(what: str, done: int, total: int) -> None:
            task = tasks[what] if what in tasks else tasks.setdefault(what, bar.add_task(what, total=total))
            bar.update(task, completed=done)

        yield count


Item = TypeVar("Item")


def paced(items: Iterable[Item], total: int, console: Console) -> Iterator[Item]:
    """Yield the items of which there are `total`, with a bar on a terminal, and say at the end how fast they came."""
    began, done = time.perf_counter(), 0
    with counting(console) as count:
        count("pictures", 0, total)
        for done, item in enumerate(items, start=1):
            yield item
            count("pictures", done, total)
    console.print(pace(done, time.perf_counter() - began), highlight=False, markup=False)


def pace(done: int, seconds: float) -> str:
    """Say how fast so many pictures came."""
    many = "1 picture" if done == 1 else f"{done} pictures"
    return f"{many} in {seconds:.1f} s, {done / seconds:.3g} images/s"


class Bar:
    """A bar that moves, with the losses beside it and messages above it."""

    def __init__(self, console: Console):
        self.console = console
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def start(self, what: str, done: int, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[state]}"), console=self.console)
        self.task = self.bar.add_task(what, total=total, completed=done, state="")
        self.bar.start()

    def advance(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, state=describe(losses, images_per_second))

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()


class Lines:
    """At most one line of progress every few seconds, and every message."""

    def __init__(self, console: Console, *, every: float = 10.0):
        self.console, self.every = console, every
        self.total, self.told = 0, float("-inf")
        self.begun, self.first = 0.0, 0

    def start(self, what: str, done: int, total: int) -> None:
        self.total, self.first, self.begun = total, done, time.monotonic()
        self.say(f"{what}: {total} steps" + (f", continued after {done}" if done else ""))

    def advance(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        now = time.monotonic()
        if now - self.told >= self.every:
            self.told = now
            left = (now - self.begun) / max(step - self.first, 1) * (self.total - step)
            self.say(f"step {step}/{self.total}  {describe(losses, images_per_second)}  {spoken_time(left)} left")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None: ...
