"""Which sample comes when, and how it is drawn: functions of (seed, epoch, index), so that killed runs resume exactly.

No generator state is kept anywhere. The order of an epoch is a permutation drawn from (seed, epoch); the augmentation
of a sample is drawn from (seed, epoch, index); so the batches of step n are the same in a fresh run, in a resumed one,
and with any number of loader workers.
"""

import functools
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vidi.model import AnyBatch, Prepares, Sample

Augment = Callable[[Sample], Sample]


def derived_seed(*numbers: int) -> int:
    """Mix whole numbers into one seed of 63 bits; equal numbers give equal seeds, near ones unrelated seeds."""
    # the count goes first: numpy pads with zeros, so that (3, 1) and (3, 1, 0) alone would be one seed
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0] >> 1)


class seeded_draws:  # noqa: N801 - reads as a statement: `with seeded_draws(seed, epoch, index):`
    """Seed torch's global generator for the length of a block, and put its state back afterwards.

    torchvision's transforms draw from the global generator only; numpy's and Python's are not used in this package.
    """

    def __init__(self, *numbers: int):
        self.seed = derived_seed(*numbers)

    def __enter__(self) -> None:
        self.state = torch.default_generator.get_state()
        torch.default_generator.manual_seed(self.seed)

    def __exit__(self, *exception: object) -> None:
        torch.default_generator.set_state(self.state)


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """Return the permutation of `count` samples that an epoch walks."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    return torch.randperm(count, generator=generator).tolist()


@dataclass(frozen=True)
class Plan:
    """How many samples make a step, and who takes which.

    `batch_size` is global: over all processes and accumulated micro-batches. The last batch of an epoch may be short;
    it is cut to a multiple of processes x accumulation, so that all micro-batches weigh the same, and left out if it is
    a single image after larger batches: a batch normalisation cannot train on that.
    """

    count: int
    batch_size: int
    seed: int = 0
    processes: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        share = self.processes * self.accumulate
        if self.count < share:
            raise ValueError(f"{self.count} samples cannot be shared by {share} processes x accumulated micro-batches")
        if self.batch_size < 1 or self.batch_size % share:
            expected = f"a multiple of processes x accumulate = {self.processes} x {self.accumulate}"
            raise ValueError(f"received batch_size={self.batch_size}, expected {expected}")

    @property
    def steps_per_epoch(self) -> int:
        """Steps, the short last one included unless too little of it is left."""
        full, rest = divmod(self.count, self.batch_size)
        least = 2 if full and self.batch_size > 1 else 1
        return full + (rest >= max(least, self.processes * self.accumulate))

    def micro_batches(self, step: int, process: int, order: list[int]) -> list[list[int]]:
        """Return this process's micro-batches of a step, given the order of the step's epoch."""
        start = (step % self.steps_per_epoch) * self.batch_size
        rows = order[start : start + self.batch_size]
        share = self.processes * self.accumulate
        rows = rows[: len(rows) // share * share]
        parts = [rows[part::share] for part in range(share)]
        return parts[process :: self.processes]


class Steps(Sampler[list[tuple[int, int]]]):
    """The micro-batches of steps first..last-1 for one process, as (epoch, index) pairs."""

    def __init__(self, plan: Plan, first: int, last: int, process: int):
        self.plan, self.first, self.last, self.process = plan, first, last, process

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, []
        for step in range(self.first, self.last):
            if step // self.plan.steps_per_epoch != epoch:
                epoch = step // self.plan.steps_per_epoch
                order = epoch_order(self.plan.count, self.plan.seed, epoch)
            for rows in self.plan.micro_batches(step, self.process, order):
                yield [(epoch, index) for index in rows]

    def __len__(self) -> int:
        return (self.last - self.first) * self.plan.accumulate


class Augmented(Dataset[Any]):
    """A data set whose item (epoch, index) is drawn, augmented and placed as a function of (seed, epoch, index)."""

    def __init__(self, dataset: Dataset[Any], preprocess: Prepares, augment: Augment | None, seed: int):
        self.dataset, self.preprocess, self.augment, self.seed = dataset, preprocess, augment, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        image, target = self.dataset[index]
        if self.augment is not None:
            with seeded_draws(self.seed, epoch, index, 1):
                image, target = self.augment((image, target))
        return self.preprocess.place(image, target)


class Evaluated(Dataset[Any]):
    """A data set whose item is the placed sample together with its target in the pixels of the original."""

    def __init__(self, dataset: Dataset[Any], preprocess: Prepares):
        self.dataset, self.preprocess = dataset, preprocess

    def __getitem__(self, index: int) -> tuple[Any, Mapping[str, Any]]:
        image, target = self.dataset[index]
        return self.preprocess.place(image, target), target


def size_of(dataset: Any) -> int:
    """Return the number of samples of a map-style data set.

    Raises:
        TypeError: if the data set has no length.
    """
    if not isinstance(dataset, Sized):
        raise TypeError(f"received a {type(dataset).__name__} without a length, expected a map-style data set")
    return len(dataset)


def training_loader(
    dataset: Dataset[Any],
    preprocess: Prepares,
    plan: Plan,
    *,
    augment: Augment | None = None,
    first: int = 0,
    last: int,
    process: int = 0,
    workers: int = 0,
) -> DataLoader[AnyBatch]:
    """Return a loader that yields the micro-batches of steps first..last-1, `plan.accumulate` of them a step."""
    return DataLoader(
        Augmented(dataset, preprocess, augment, plan.seed),
        batch_sampler=Steps(plan, first, last, process),
        collate_fn=preprocess.collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=prepare_worker if workers else None,
    )


def evaluation_loader(
    dataset: Dataset[Any],
    preprocess: Prepares,
    *,
    batch_size: int,
    process: int = 0,
    processes: int = 1,
    workers: int = 0,
) -> DataLoader[tuple[AnyBatch, list[Mapping[str, Tensor]]]]:
    """Return a loader over this process's share of a data set: batches, and the targets of the originals."""
    rows = range(process, size_of(dataset), processes)
    return DataLoader(
        Evaluated(dataset, preprocess),
        batch_sampler=[list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)],
        collate_fn=functools.partial(_collate_with_originals, preprocess),
        num_workers=workers,
        worker_init_fn=prepare_worker if workers else None,
    )


def _collate_with_originals(
    preprocess: Prepares, items: Sequence[tuple[Any, Mapping[str, Any]]]
) -> tuple[AnyBatch, list[Mapping[str, Any]]]:
    return preprocess.collate([placed for placed, _ in items]), [target for _, target in items]


def prepare_worker(worker: int) -> None:
    """Give a loader worker one thread, the cores belong to the training; and leave Ctrl-C to the main process."""
    torch.set_num_threads(1)
    # a terminal signals the whole group, and forked workers inherit the training's handlers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
