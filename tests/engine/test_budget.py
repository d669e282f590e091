"""A training that fits into minutes: arithmetic, and steps timed by a clock of the test's own."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vidi.engine import budget
from vidi.engine.budget import SHARE, VALIDATION_SHARE, Measured, Pace, StepTimes, fitted
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe

RECIPE = Recipe(validate_every=2)


def seconds_of(pace: Pace, keys: dict[str, int]) -> float:
    """Return what a training with these keys takes, the scoring at its end included."""
    steps = keys.get("steps", keys["epochs"] * pace.steps_per_epoch)
    return steps * pace.step + (math.ceil(keys["epochs"] / keys["validate_every"]) + 1) * pace.validation


def test_the_constants() -> None:
    assert (SHARE, VALIDATION_SHARE, budget.WARM_STEPS) == (0.93, 0.2, 2)
    assert (budget.LEAST_TIMED, budget.MOST_TIMED, budget.MEASURING_SHARE) == (3, 20, 0.05)


def test_the_most_epochs_that_fit_are_taken() -> None:
    pace = Pace(step=1.0, validation=4.0, steps_per_epoch=26)
    assert fitted(pace, RECIPE, 1800) == {"epochs": 59, "validate_every": 2}
    # 59 x 26 + 30 x 4 + 4 = 1658 of 1674; an epoch more would be 1684
    assert seconds_of(pace, {"epochs": 59, "validate_every": 2}) == 1658


@pytest.mark.parametrize("step", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("validation", [0.0, 0.5, 30.0])
@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("seconds", [300, 1800, 36_000])
def test_a_training_stays_within_its_seconds_and_leaves_less_than_an_epoch(
    step: float, validation: float, every: int, seconds: int
) -> None:
    pace = Pace(step, validation, steps_per_epoch=40)
    keys = fitted(pace, replace(RECIPE, validate_every=every), seconds)
    assert seconds_of(pace, keys) <= SHARE * seconds + 1e-6
    more = {**keys, "epochs": keys["epochs"] + 1}
    assert seconds_of(pace, more) > SHARE * seconds - validation
    validations = math.ceil(keys["epochs"] / keys["validate_every"])
    assert validations == 1 or validations * validation <= VALIDATION_SHARE * SHARE * seconds
    assert keys["validate_every"] >= every


def test_validations_that_would_take_too_much_come_more_seldom() -> None:
    pace = Pace(step=0.1, validation=20.0, steps_per_epoch=10)
    keys = fitted(pace, replace(RECIPE, validate_every=1), 600)
    # 0.93 x 600 - 20 = 538: 5 validations at most, so that (538 - 5 x 20) / 1 = 438 epochs fit
    assert keys == {"epochs": 438, "validate_every": 88}


def test_where_no_epoch_fits_steps_do() -> None:
    pace = Pace(step=2.0, validation=10.0, steps_per_epoch=1000)
    # 0.93 x 300 - 2 x 10 = 259
    assert fitted(pace, RECIPE, 300) == {"epochs": 1, "steps": 129, "validate_every": 1}


def test_where_nothing_fits_the_least_is_told() -> None:
    pace = Pace(step=20.0, validation=18.25, steps_per_epoch=10)
    with pytest.raises(OverrideError, match=r"minutes: 0.5 are left, expected at least 1: a step takes 20 s, a valid"):
        fitted(pace, RECIPE, 30)
    assert fitted(pace, RECIPE, 61)["steps"] == 1


# ----------------------------------------------------------------------------------------------------------------------
# Timing


def clock_of(*times: float) -> Iterator[float]:
    yield from times


def timed(times: Iterator[float], budget_seconds: float) -> StepTimes:
    listening = StepTimes(lambda: next(times), budget_seconds)
    listening.start("run", 0, 1000)
    return listening


def test_warm_steps_are_not_counted() -> None:
    listening = timed(clock_of(0, 10, 15, 16, 17, 18), 20)  # 5 % are a second
    for step in (1, 2, 3, 4):
        listening.advance(step, {}, 0.0)
    with pytest.raises(Measured):
        listening.advance(5, {}, 0.0)
    assert listening.step() == 1.0


def test_fast_steps_are_timed_until_there_are_twenty() -> None:
    listening = timed(clock_of(*range(100)), 1e6)
    for step in range(1, 22):
        listening.advance(step, {}, 0.0)
    with pytest.raises(Measured):
        listening.advance(22, {}, 0.0)
    assert listening.step() == 1.0


def test_a_training_of_few_steps_is_timed_as_far_as_it_goes() -> None:
    one, two, three = timed(clock_of(0, 7), 1e6), timed(clock_of(0, 7, 9), 1e6), timed(clock_of(0, 7, 9, 12), 1e6)
    for listening, steps in ((one, 1), (two, 2), (three, 3)):
        for step in range(1, steps + 1):
            listening.advance(step, {}, 0.0)
    assert [one.step(), two.step(), three.step()] == [7, 2, 3]
