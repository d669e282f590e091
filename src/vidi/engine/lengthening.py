"""A run that goes on past its end: its recipes with other durations, and what its configuration says of the former.

The learning rate follows the schedule of the new length from the step that the run has come to. A state of a former
length is taken up as one of the new length; all else resumes exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vidi.engine.overrides import OverrideError, check_overrides
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run, number_in

DURATIONS = {"epochs": int, "steps": int | None}
"""The keys of a recipe that say how long a training is."""


def lengthened(run: Run, recipes: Mapping[str, Recipe], given: Mapping[str, Any]) -> dict[str, Recipe]:
    """Return a run's recipes with other durations.

    Args:
        run: ended or not.
        recipes: by stage, as recorded.
        given: `epochs` or `steps` in all, behind a stage where there are stages; epochs alone replace steps.

    Raises:
        OverrideError: for any other key, for a duration that the run has come to, and for a stage that others follow.
    """
    types = {_key(stage, name): kind for stage in recipes for name, kind in DURATIONS.items()}
    others = [key for key in given if key not in types]
    if others:
        keys = ", ".join(types)
        raise OverrideError("\n".join(f"{key}: a run goes on with its own numbers, all but {keys}" for key in others))
    checked = check_overrides(given, types)
    longer, faults = dict(recipes), []
    for stage, recipe in recipes.items():
        durations = {name: checked[_key(stage, name)] for name in DURATIONS if _key(stage, name) in checked}
        if durations:
            longer[stage] = replace(recipe, **{"steps": None, **durations})
            faults += _faults(run, list(recipes), stage, longer[stage])
    if faults:
        raise OverrideError("\n".join(faults))
    return longer


def former_recipes(stage: str, recipe: Recipe, former: Sequence[Mapping[str, Any]]) -> list[Recipe]:
    """Return a stage's recipes of the lengths that it had; `former` is what `durations_of` returned each time."""
    return [replace(recipe, **durations[stage]) for durations in former]


def durations_of(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """Return the durations by stage, as a configuration records those that a run no longer has."""
    return {stage: {name: getattr(recipe, name) for name in DURATIONS} for stage, recipe in recipes.items()}


def _key(stage: str, name: str) -> str:
    return f"{stage}.{name}" if stage else name


def _faults(run: Run, stages: Sequence[str], stage: str, recipe: Recipe) -> list[str]:
    """Say why a stage cannot be as long as its new recipe says."""
    begun = [later for later in stages[stages.index(stage) + 1 :] if Run(run.folder / later).has_state()]
    if begun:
        return [f"{stage}: {begun[0]} has begun with what it learnt; only the last stage that has begun can be longer"]
    rows = Run(run.folder / stage).metrics() if stage else run.metrics()
    name, column = ("epochs", "epoch") if recipe.steps is None else ("steps", "step")
    done, wanted = number_in(rows[-1], column) if rows else 0.0, getattr(recipe, name)
    if done >= wanted:
        return [f"{_key(stage, name)}: received {wanted}, expected more than {done:g}, which the run has come to"]
    return []
