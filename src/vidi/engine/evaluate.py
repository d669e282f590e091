"""Evaluation: a model over a data set, its results against the truths of the originals, and its losses."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed

from vidi.data.loading import derived_seed, evaluation_loader, size_of
from vidi.engine.loss_window import NonFiniteLossError
from vidi.engine.processes import Processes
from vidi.engine.runs import Row, with_gaps
from vidi.engine.task import Scorer
from vidi.model import Losses, Predicts, Step, evaluating
from vidi.preprocess import AnyBatch

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

    Results are those of `predict`, losses those of each image alone, so that no number depends on `batch_size`. Targets
    are decoded as far as the scorer asks for them, handed to it batch by batch in the order of the data set, and not
    kept: memory grows by what the scorer keeps of an image.

    Returns:
        The scorer's numbers, None where there is none, and for supervised models the losses, means over images, as
        `val/NAME`.
    """
    processes = processes or Processes()
    keys = getattr(scorer, "keys", None)  # a scorer of one's own that names none gets whole targets
    if keys is not None and hasattr(dataset, "giving"):
        dataset = dataset.giving(keys)
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
        for number, (batches, originals) in enumerate(loader):
            results: list[Any] = [None] * len(originals)
            first = number * batch_size
            for rows, batch in batches:
                images = [processes.index + (first + row) * processes.count for row in rows]
                found = run_batch(model, batch, images, losses, channels_last=channels_last)
                for row, result in zip(rows, found, strict=True):
                    results[row] = result
            _update(scorer, list(zip(results, originals, strict=True)), processes)
    first_share = math.ceil(size_of(dataset) / processes.count)
    for _ in range(len(loader), math.ceil(first_share / batch_size)):  # batches that the first process has more
        _update(scorer, [], processes)
    return {**with_gaps(scorer.compute()), **losses.means(processes)}


def _update(scorer: Scorer, scored: Sequence[Scored], processes: Processes) -> None:
    """Hand the images of one batch of every process to the scorer, in the order of the data set."""
    for result, target in in_order_of_images(scored, processes):
        scorer.update([result], [target])


def run_batch(
    model: Predicts, batch: AnyBatch, images: Sequence[int], losses: "LossMeans", *, channels_last: bool = False
) -> list[Any]:
    """Return the results of a batch of equal canvases, and add the losses of its images; `images` are their numbers.

    Each loss draws from a seed of its image's number.
    """
    steps = [Step(generator=torch.Generator(model.device).manual_seed(derived_seed(image))) for image in images]
    return model.judge_batch(batch.to(model.device, channels_last=channels_last), steps, losses.add)


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

    def add(self, losses: Sequence[Losses]) -> None:
        """Add the terms of each of some images.

        Raises:
            NonFiniteLossError: if a term is NaN or infinite.
        """
        names = [name for terms in losses for name in terms]
        values = torch.stack([value for terms in losses for value in terms.values()]).tolist()
        for name, value in zip(names, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss term {name!r} is {value} in a validation: the training has diverged. "
                    "A smaller learning_rate or clip=1 usually helps"
                )
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.images += len(losses)

    def means(self, processes: Processes) -> dict[str, float]:
        """Return the means over all processes, as `val/NAME`."""
        shares: list[Any] = [(self.sums, self.images)]
        if processes.count > 1:
            shares = [None] * processes.count
            torch.distributed.all_gather_object(shares, (self.sums, self.images))
        images = sum(count for _, count in shares)
        names = dict.fromkeys(name for sums, _ in shares for name in sums)
        return {f"val/{name}": sum(sums.get(name, 0.0) for sums, _ in shares) / images for name in names}
