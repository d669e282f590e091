"""The first steps of a training, made to be timed: on a copy of the model, in a folder that is thrown away."""

import copy
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import Subset

from vidi.data.loading import size_of
from vidi.engine.budget import Measured, Pace, StepTimes, fitted
from vidi.engine.console import spoken_time
from vidi.engine.evaluate import evaluate
from vidi.engine.fit import Training, trained_by_gradients
from vidi.engine.lengthening import DURATIONS
from vidi.engine.overrides import OverrideError
from vidi.engine.runs import Run
from vidi.engine.train import Job, augmentation_of, mixing_of
from vidi.model import Predicts, Samples, Trainable

WRITING = 1.5
"""Seconds that pictures, curves, the state and the weights of a validation take, about."""


def check_minutes(minutes: float | int | None, checked: Mapping[str, Any]) -> None:
    """Refuse minutes of a training whose length is given, and those that no budget is."""
    if minutes is None:
        return
    lengths = [key for key in checked if key.rpartition(".")[2] in DURATIONS]
    if lengths:
        raise OverrideError(f"minutes: they decide {lengths[0]}; give one of the two")
    if not minutes > 0:
        raise OverrideError(f"minutes: received {minutes}, expected more than 0")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OverrideError("minutes: several processes would not agree on them; say how many epochs")


def within(
    job: Job, seconds: float | int, *, began: float, clock: Callable[[], float] = time.monotonic
) -> tuple[Job, dict[str, int]]:
    """Return a job that ends so many seconds after it began, with the keys of its recipe that are set for that."""
    pace = pace_of(job, seconds, clock=clock)
    recipe = job.recipe()
    durations = fitted(pace, recipe, seconds - (clock() - began))
    steps = durations.get("steps", durations["epochs"] * pace.steps_per_epoch)
    job.progress.say(
        f"a step takes {pace.step:.3g} s, a validation {pace.validation:.3g} s: "
        f"{steps} steps fit into {spoken_time(seconds)}"
    )
    return replace(job, recipes={"": replace(recipe, **durations)}), durations


def pace_of(job: Job, seconds: float | int, *, clock: Callable[[], float] = time.monotonic) -> Pace:
    """Time the first steps of a training and a part of a validation; the job's model stays as it is.

    Args:
        job: of one stage that is trained by gradients.
        seconds: of the budget, of which this takes a small share.
        clock: seconds that only grow.

    Raises:
        OverrideError: if the system has stages, or is fitted at once.
    """
    stages = job.model.stages()
    model = trained_by_gradients(stages[0].model) if len(stages) == 1 else None
    if model is None:
        raise OverrideError("minutes: they are kept by systems of one stage that are trained step by step")
    recipe, dataset, model = job.recipe(), stages[0].prepare(job.dataset("train")), copy.deepcopy(model)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    times = StepTimes(clock, seconds)
    with TemporaryDirectory() as folder, suppress(Measured):
        training = Training(
            model,
            replace(recipe, log_every=1, checkpoint_seconds=seconds),
            dataset,
            Run(Path(folder)),
            augment=augmentation_of(recipe, model.preprocess, dataset),
            alter=mixing_of(recipe, len(job.categories)),
            progress=times,
        )
        steps_per_epoch = training.plan.steps_per_epoch
        training.fit()
    return Pace(times.step(), validation_seconds(job, model, clock=clock), steps_per_epoch)


def validation_seconds(job: Job, model: Trainable, *, clock: Callable[[], float]) -> float:
    """Return how long a validation takes: by one batch, or as a whole where pictures that a model makes are judged."""
    scorer, recipe = job.source.task.scorer, job.recipe()
    if scorer is None:
        judge = job.picture_scorer() if isinstance(model, Samples) else None
        if judge is None or not isinstance(model, Samples):
            return WRITING
        began = clock()
        judge.score(model)
        return clock() - began + WRITING
    if not isinstance(model, Predicts):
        raise TypeError(f"a {type(model).__name__} gives no results to score")
    dataset = job.dataset("val")
    count, total = min(recipe.batch_size, size_of(dataset)), size_of(dataset)
    evaluate(model, Subset(dataset, [0]), scorer(job.categories))  # kernels are compiled
    began = clock()
    evaluate(model, Subset(dataset, range(count)), scorer(job.categories), batch_size=recipe.batch_size)
    return (clock() - began) * total / count + WRITING
