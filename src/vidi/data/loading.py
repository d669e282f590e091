"""Which sample comes when, and how it is drawn: functions of (seed, epoch, index), so that killed runs resume exactly.

No generator state is kept anywhere. The order of an epoch is a permutation drawn from (seed, epoch); the augmentation
of a sample is drawn from (seed, epoch, index); so the batches of step n are the same in a fresh run, in a resumed one,
and with any number of loader workers.
"""

import functools
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vidi.preprocess import AnyBatch, Prepares, Sample, equal_canvases

Augment = Callable[[Sample], Sample]

Chunk = tuple[list[tuple[list[int], AnyBatch]], list[Mapping[str, Any]]]
"""Neighbours in a data set: those of equal canvas as batches with their places in the chunk, and the targets of all."""


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


@dataclass(frozen=True, eq=False)
class Balance:
    """Batches of P identities with K pictures each (Schroff et al. 2015, section 3.2), of no identity twice.

    An epoch has as many full batches as there are identities for: it shows each picture about once. One that has fewer
    than a multiple of K repeats some; one that has more than fit into the batches leaves some out, others each time.

    Args:
        labels: the identity of each sample.
        per_identity: K.
        identities: P.

    Raises:
        ValueError: if K or P is below 1, or there are fewer than P identities.
    """

    labels: Int64[Tensor, " N"]
    per_identity: int
    identities: int

    def __post_init__(self) -> None:
        K, P, people = self.per_identity, self.identities, len(self.labels.unique())
        if K < 1 or P < 1 or people < P:
            given = f"{people} identities for batches of {P} identities with {K} pictures each"
            raise ValueError(f"received {given}, expected at least as many, and 1 or more of each")

    @functools.cached_property
    def groups(self) -> Int64[Tensor, " I"]:
        """How many times an epoch may show K pictures of each identity."""
        counts = self.labels.unique(return_counts=True)[1]
        groups = (counts + self.per_identity - 1) // self.per_identity
        batches = int(groups.sum()) // self.identities
        while (possible := int(groups.clamp(max=batches).sum()) // self.identities) < batches:
            batches = possible  # fewer batches can show an identity, which is in each of them once, less often
        return groups.clamp(max=batches)

    @property
    def batches(self) -> int:
        """How many batches an epoch has."""
        return int(self.groups.sum()) // self.identities

    @property
    def count(self) -> int:
        """How many samples an epoch walks, repeated ones included."""
        return self.batches * self.identities * self.per_identity

    def order(self, seed: int, epoch: int) -> list[int]:
        """Return the samples that an epoch walks: batch by batch, identity by identity."""
        generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
        shuffled = torch.randperm(len(self.labels), generator=generator)
        by_identity = shuffled[self.labels.cpu()[shuffled].argsort(stable=True)]
        pictures = by_identity.split(self.labels.unique(return_counts=True)[1].tolist())
        shown = [0] * len(pictures)
        rows: list[Tensor] = []
        for chosen in self._identities_by_batch(generator):
            for identity in chosen:
                own = pictures[identity]
                rows.append(own[(shown[identity] + torch.arange(self.per_identity)) % len(own)])
                shown[identity] += self.per_identity
        return torch.cat(rows).tolist()

    def _identities_by_batch(self, generator: torch.Generator) -> Iterator[list[int]]:
        """Draw P identities for each batch; those that must be in all that are left come first."""
        tokens = torch.arange(len(self.groups)).repeat_interleave(self.groups.cpu())
        kept = tokens[torch.randperm(len(tokens), generator=generator)[: self.batches * self.identities]]
        left = kept.bincount(minlength=len(self.groups))
        for batch in range(self.batches):
            draws = left.log() - torch.empty(len(left)).exponential_(generator=generator).log()
            draws[left == self.batches - batch] = torch.inf
            chosen = draws.topk(self.identities).indices  # as often as they are left (Gumbel)
            left[chosen] -= 1
            yield chosen.tolist()


@dataclass(frozen=True)
class Plan:
    """How many samples make a step, and who takes which.

    `batch_size` is global: over all processes and accumulated micro-batches. An epoch holds every sample once. Its last
    batch may be short: all processes then take equally many micro-batches, no larger than usual, whose sizes differ by
    one at most. What cannot be shared out so, with `least` samples in each, is left out of that epoch; a single process
    leaves out nothing where `least` is 1. A data set smaller than one batch is trained on whatever `least` says.
    """

    count: int
    batch_size: int
    seed: int = 0
    processes: int = 1
    accumulate: int = 1
    least: int = 1  # samples of a micro-batch
    balance: Balance | None = None  # of identities, with a batch of P x K samples; `count` is its count

    def __post_init__(self) -> None:
        if self.count < self.processes:
            raise ValueError(f"{self.count} samples cannot be shared by {self.processes} processes")
        share = self.processes * self.accumulate
        if self.batch_size < 1 or self.batch_size % share:
            expected = f"a multiple of processes x accumulate = {self.processes} x {self.accumulate}"
            raise ValueError(f"received batch_size={self.batch_size}, expected {expected}")

    @functools.cached_property
    def short(self) -> tuple[int, int]:
        """Samples of the short last batch, and the micro-batches that each process makes of them; 0, 0 without it."""
        usual = self.batch_size // (self.processes * self.accumulate)
        least = min(self.least, usual) if self.count >= self.batch_size else 1
        for samples in range(self.count % self.batch_size, 0, -1):
            parts = math.ceil(samples / (self.processes * usual))
            if samples // (self.processes * parts) >= least:
                return samples, parts
        return 0, 0

    @property
    def left_out(self) -> int:
        """Samples that an epoch leaves out; others each time."""
        return self.count % self.batch_size - self.short[0]

    @property
    def steps_per_epoch(self) -> int:
        """Steps, the short last one included."""
        return self.count // self.batch_size + (self.short[0] > 0)

    def order(self, epoch: int) -> list[int]:
        """Return the samples that an epoch walks."""
        if self.balance is not None:
            return self.balance.order(self.seed, epoch)
        return epoch_order(self.count, self.seed, epoch)

    def shape(self, step: int) -> tuple[int, int]:
        """Return the samples of a step, of all processes together, and the micro-batches that each process takes."""
        is_full = step % self.steps_per_epoch < self.count // self.batch_size
        return (self.batch_size, self.accumulate) if is_full else self.short

    def micro_batches(self, step: int, process: int, order: list[int]) -> list[list[int]]:
        """Return this process's micro-batches of a step, given the order of the step's epoch."""
        start = (step % self.steps_per_epoch) * self.batch_size
        samples, parts = self.shape(step)
        rows = order[start : start + samples]
        share = self.processes * parts
        return [rows[part::share] for part in range(process, share, self.processes)]


class Steps(Sampler[list[tuple[int, int]]]):
    """The micro-batches of steps first..last-1 for one process, as (epoch, index) pairs."""

    def __init__(self, plan: Plan, first: int, last: int, process: int):
        self.plan, self.first, self.last, self.process = plan, first, last, process

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, []
        for step in range(self.first, self.last):
            if step // self.plan.steps_per_epoch != epoch:
                epoch = step // self.plan.steps_per_epoch
                order = self.plan.order(epoch)
            for rows in self.plan.micro_batches(step, self.process, order):
                yield [(epoch, index) for index in rows]

    def __len__(self) -> int:
        return sum(self.plan.shape(step)[1] for step in range(self.first, self.last))


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
    """Return a loader that yields the micro-batches of steps first..last-1, as many a step as `plan.shape` says."""
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
) -> DataLoader[Chunk]:
    """Return a loader over this process's share of a data set, in chunks of `batch_size` samples."""
    rows = range(process, size_of(dataset), processes)
    return DataLoader(
        Evaluated(dataset, preprocess),
        batch_sampler=[list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)],
        collate_fn=functools.partial(_collate_chunk, preprocess),
        num_workers=workers,
        worker_init_fn=prepare_worker if workers else None,
    )


def _collate_chunk(preprocess: Prepares, items: Sequence[tuple[Any, Mapping[str, Any]]]) -> Chunk:
    placed = [sample for sample, _ in items]
    batches = [
        (rows, preprocess.collate([placed[row] for row in rows])) for rows in equal_canvases(placed, len(placed))
    ]
    return batches, [target for _, target in items]


def prepare_worker(worker: int) -> None:
    """Give a loader worker one thread, the cores belong to the training; and leave Ctrl-C to the main process."""
    torch.set_num_threads(1)
    # a terminal signals the whole group, and forked workers inherit the training's handlers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
