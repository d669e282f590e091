"""A row of the catalogue: what builds a system, what it is for, where it comes from, what proves it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from vidi.engine.recipe import Recipe
from vidi.engine.task import Task
from vidi.model import Saved


@dataclass(frozen=True)
class Entry:
    """One system.

    Attributes:
        builder: makes the model; keyword arguments only.
        task: what kind of system it is.
        section: of the course notes.
        paper: authors, year and arXiv id.
        reference: the package whose implementation gives the same numbers; empty where none can be installed.
        tiny: builder arguments of a variant small enough for the contract tests.
        recipe: how it is trained, by stage for a staged system; None: by its task's recipe.
    """

    builder: Callable[..., Saved]
    task: Task
    section: str
    paper: str
    reference: str = ""
    tiny: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe | Mapping[str, Recipe] | None = None

    @property
    def name(self) -> str:
        """The key of the catalogue."""
        return self.builder.__name__

    @property
    def recipes(self) -> Mapping[str, Recipe]:
        """The recipes by stage; a system without stages has one, named ""."""
        recipe = self.recipe or self.task.recipe
        return {"": recipe} if isinstance(recipe, Recipe) else recipe

    def given_to(self, stage: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a user gave of a stage's recipe; a number without a stage is of all that have no own."""
        names = (field.name for field in fields(Recipe))
        return {name: given[key] for name in names for key in (name, f"{stage}.{name}") if key in given}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the builder with their types."""
        hints = get_type_hints(self.builder)
        return {argument: hints[argument] for argument in inspect.signature(self.builder).parameters}

    @property
    def keys(self) -> dict[str, Any]:
        """Every key that a training takes, with its type: of recipes, of a stage or of all, and of the builder."""
        hints = get_type_hints(Recipe)
        of_stages = {f"{stage}.{key}": kind for stage in self.recipes if stage for key, kind in hints.items()}
        return hints | of_stages | {key: kind for key, kind in self.arguments.items() if key not in self.task.says}
