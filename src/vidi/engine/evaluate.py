"""Evaluation: a model over a data set, its results against the truths of the originals, and its losses."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed

from vidi.data.loading import derived_seed, evaluation_loader, size_of
from vidi.engine.fit import NonFiniteLossError, Processes
from vidi.engine.runs import Row
from vidi.engine.scoring import Scorer
from vidi.model import AnyBatch, Predicts, Step, Supervised, evaluating

Scored = tuple[Any, Mapping[str, Any]]
"""One image's result and its target in the pixels of the original."""


def evaluate(
    model: Predicts,
    dataset: Any,
    scorer: Scorer,
    *,
    batch_size: int = 32,
    workers: int = 0,
    channels_last: bool = False,
    processes: Processes | None = None,
) -> Row:
    """Score a model on a data set; with several processes each runs its share and all get the whole score.

    Targets are decoded as far as the scorer asks for them, handed to it batch by batch in the order of the data set,
    and not kept: memory grows by what the scorer keeps of an image.

    Returns:
        The scorer's numbers, and for supervised models the mean validation losses as `val/NAME`.
    """
    processes = processes or Processes()
    if hasattr(dataset, "giving"):
        dataset = dataset.giving(scorer.keys)
    loader = evaluation_loader(
        dataset,
        model.preprocess,
        batch_size=batch_size,
        process=processes.index,
        processes=processes.count,
        workers=workers,
    )
    losses = LossMeans()
    with evaluating(model), torch.no_grad():
        for number, (batch, originals) in enumerate(loader):
            results = run_batch(model, batch, number, losses, channels_last=channels_last)
            _update(scorer, list(zip(results, originals, strict=True)), processes)
    first_share = math.ceil(size_of(dataset) / processes.count)
    for _ in range(len(loader), math.ceil(first_share / batch_size)):  # batches that the first process has more
        _update(scorer, [], processes)
    return {**scorer.compute(), **losses.means(processes)}


def _update(scorer: Scorer, scored: Sequence[Scored], processes: Processes) -> None:
    """Hand the images of one batch of every process to the scorer, in the order of the data set."""
    for result, target in in_order_of_images(scored, processes):
        scorer.update([result], [target])


def run_batch(
    model: Predicts, batch: AnyBatch, number: int, losses: "LossMeans", *, channels_last: bool = False
) -> list[Any]:
    """Return the results of one batch, and add its losses; one forward serves both where the criterion allows it."""
    if not isinstance(model, Supervised):
        return model.predict_batch(batch)
    batch = batch.to(model.device, channels_last=channels_last)
    outputs = model.run(batch)
    step = Step(generator=torch.Generator(model.device).manual_seed(derived_seed(number)))
    compare = getattr(model.criterion, "compare", None)
    terms = compare(outputs, batch, step) if compare else model.losses("network", batch, step)
    losses.add({name: value.item() for name, value in terms.items()}, len(batch.targets))
    return model.decode(outputs, batch.placements)


def in_order_of_images(scored: Sequence[Scored], processes: Processes) -> Iterator[Scored]:
    """Yield every process's rows in the order of the data set, which process p walks as p, p + P, ..."""
    if processes.count == 1:
        yield from scored
        return
    shares: list[Any] = [None] * processes.count
    torch.distributed.all_gather_object(shares, list(scored))
    for row in range(max(map(len, shares))):
        yield from (share[row] for share in shares if row < len(share))


class LossMeans:
    """Means of the loss terms over images."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.images = 0

    def add(self, terms: Mapping[str, float], images: int) -> None:
        """Add the terms of a batch, weighted by its number of images.

        Raises:
            NonFiniteLossError: if a term is NaN or infinite.
        """
        for name, value in terms.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss term {name!r} is {value} in a validation: the training has diverged. "
                    "A smaller learning_rate or clip=1 usually helps"
                )
            self.sums[name] = self.sums.get(name, 0.0) + value * images
        self.images += images

    def means(self, processes: Processes) -> dict[str, float]:
        """Return the means over all processes, as `val/NAME`."""
        shares: list[Any] = [(self.sums, self.images)]
        if processes.count > 1:
            shares = [None] * processes.count
            torch.distributed.all_gather_object(shares, (self.sums, self.images))
        images = sum(count for _, count in shares)
        names = dict.fromkeys(name for sums, _ in shares for name in sums)
        return {f"val/{name}": sum(sums.get(name, 0.0) for sums, _ in shares) / images for name in names}
