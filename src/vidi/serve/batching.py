"""Requests that can share a batch do: a queue, and the one thread that empties it.

submit(key, item)    any thread; a future of the item's result
the oldest item      leads: those of its key go with it, in order, up to `most`
a few milliseconds   are waited for others, and only while others are known to be coming
run(key, items)      in the thread of the queue; an item that spoils a batch spoils only itself
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(eq=False)
class Job(Generic[Item, Found]):
    """An item that waits for its result."""

    key: Hashable
    item: Item
    future: "Future[Found]" = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class ClosedError(RuntimeError):
    """The queue takes nothing more: the server is about to stop."""


class Batcher(Generic[Item, Found]):
    """Runs items in batches, one batch at a time.

    Args:
        run: from items of one key to one result for each.
        most: items of a batch.
        wait: seconds from the arrival of the oldest item for which others that are coming are waited for.
        name: of the thread.
    """

    def __init__(
        self,
        run: Callable[[Hashable, Sequence[Item]], Sequence[Found]],
        *,
        most: int = 16,
        wait: float | int = 0.004,
        name: str = "batches",
    ):
        self.run, self.most, self.wait = run, most, wait
        self._jobs: list[Job[Item, Found]] = []
        self._coming = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def is_running(self) -> bool:
        """Whether the thread is there and takes items."""
        return self._thread.is_alive() and not self._closing

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Have a batch wait a little for what is about to be submitted in the block, or to fail there."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify_all()

    def submit(self, key: Hashable, item: Item) -> "Future[Found]":
        """Put an item into the queue.

        Args:
            key: items of equal keys may share a batch; None: it runs alone.
            item: for `run`.

        Raises:
            ClosedError: after `close`.
        """
        job: Job[Item, Found] = Job(key, item)
        with self._changed:
            if self._closing:
                raise ClosedError("the server is about to stop")
            self._jobs.append(job)
            self._changed.notify_all()
        return job.future

    def close(self) -> None:
        """Run what is in the queue, and take nothing more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]  # nobody waits for the others
            if running:
                self._answer(running)

    def _next(self) -> list[Job[Item, Found]]:
        """Wait for a batch and take it out of the queue; empty when the queue is closed."""
        with self._changed:
            while not self._jobs:
                if self._closing:
                    return []
                self._changed.wait()
            until = self._jobs[0].arrived + self.wait
            while self._coming and not self._closing and len(self._alike()) < self.most:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch = self._alike()
            self._jobs = [job for job in self._jobs if job not in batch]
            return batch

    def _alike(self) -> list[Job[Item, Found]]:
        """Return the oldest job and those that may go with it."""
        first = self._jobs[0]
        return [first] if first.key is None else [job for job in self._jobs if job.key == first.key][: self.most]

    def _answer(self, jobs: Sequence[Job[Item, Found]]) -> None:
        try:
            found = self.run(jobs[0].key, [job.item for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            logging.getLogger("vidi").warning("a batch of %d failed, each of it runs alone: %s", len(jobs), error)
            for job in jobs:
                self._answer([job])
            return
        for job, result in zip(jobs, found, strict=True):
            job.future.set_result(result)
