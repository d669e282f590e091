"""How long a training may be that has so many minutes: by the times of its steps and of its validations.

    a training of `epochs` epochs = epochs x steps an epoch x a step + epochs / validate_every x a validation + the last
    scoring, which is a validation of the best weights

The durations are measured on the first steps, and then given to the whole training: the schedule of the learning rate
ends with it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe

SHARE = 0.93
"""Of the minutes that are planned: steps and validations are not all equally long."""

VALIDATION_SHARE = 0.2
"""Of them that validations may take; a training whose own would take more is validated more seldom."""

WARM_STEPS = 2
"""Steps that are not timed: memory is reserved in them, and kernels are chosen."""

LEAST_TIMED, MOST_TIMED = 3, 20
MEASURING_SHARE = 0.05
"""Of the minutes that the timed steps may take, once there are `LEAST_TIMED`."""


@dataclass(frozen=True)
class Pace:
    """How long the parts of a training take.

    Attributes:
        step: seconds of an update.
        validation: seconds of a validation, with what it writes.
        steps_per_epoch: updates of an epoch.
    """

    step: float
    validation: float
    steps_per_epoch: int


class Measured(Exception):  # noqa: N818 - an end, not an error
    """Enough steps were timed."""


class StepTimes:
    """Listens to a training and times its steps; raises `Measured` once it knows enough."""

    def __init__(self, clock: Callable[[], float], budget: float | int):
        self.clock, self.most = clock, MEASURING_SHARE * budget
        self.times: list[float] = []  # when the training began, and at the end of each step

    def start(self, what: str, done: int, total: int) -> None:
        self.times = [self.clock()]

    def advance(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        self.times.append(self.clock())
        timed = len(self.times) - 1 - WARM_STEPS
        if timed >= MOST_TIMED or (timed >= LEAST_TIMED and self.times[-1] - self.times[WARM_STEPS] >= self.most):
            raise Measured

    def say(self, text: str) -> None: ...

    def stop(self) -> None: ...

    def step(self) -> float:
        """Return the mean time of a step in seconds; of a training that has so few, the warm ones count too."""
        steps = len(self.times) - 1
        warm = min(WARM_STEPS, steps - 1)
        return (self.times[-1] - self.times[warm]) / (steps - warm)


def fitted(pace: Pace, recipe: Recipe, seconds: float | int) -> dict[str, int]:
    """Return the keys of a recipe that make a training end in so many seconds: the most epochs that fit.

    Where not even one epoch fits, `steps` are those that do.

    Raises:
        OverrideError: if no step does.
    """
    usable = SHARE * seconds - pace.validation  # the last scoring
    epoch = pace.step * pace.steps_per_epoch
    most = max(1, math.floor(VALIDATION_SHARE * usable / pace.validation)) if pace.validation > 0 else None
    epochs = _epochs(epoch, pace.validation, recipe.validate_every, usable)
    every = recipe.validate_every
    if most is not None and math.ceil(epochs / every) > most:
        every = max(every, math.ceil((usable - most * pace.validation) / epoch / most))
        epochs = _epochs(epoch, pace.validation, every, usable)
    if epochs >= 1:
        return {"epochs": epochs, "validate_every": every}
    steps = math.floor((usable - pace.validation) / pace.step)
    if steps < 1:
        least = (pace.step + 2 * pace.validation) / SHARE
        raise OverrideError(
            f"minutes: {max(seconds, 0) / 60:.2g} are left, expected at least {least / 60:.2g}: a step takes "
            f"{pace.step:.2g} s, a validation {pace.validation:.2g} s"
        )
    return {"epochs": 1, "steps": steps, "validate_every": 1}


def _epochs(epoch: float, validation: float, every: int, usable: float) -> int:
    """Return the most epochs, validated at each `every`, that take at most so many seconds."""
    epochs = max(0, math.floor(usable / (epoch + validation / every)))
    while epochs and epochs * epoch + math.ceil(epochs / every) * validation > usable:
        epochs -= 1
    return epochs
