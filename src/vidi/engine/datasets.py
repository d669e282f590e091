"""From what `--data` says to data sets: the rendered world, or a folder recognised by what lies in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidi.data.faults import DataFaults, OnFault
from vidi.data.recognise import open_dataset, recognise
from vidi.data.world.dataset import World
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.scoring import Task

WORLD = "world"


@dataclass(frozen=True)
class Source:
    """Where samples come from: `world`, or the path of a data set."""

    name: str
    faults: OnFault = "raise"

    @classmethod
    def of(cls, data: str | Path, faults: OnFault = "raise") -> "Source":
        """Return the source that a user named; a path is made absolute, so that a run finds it from anywhere.

        Raises:
            FileNotFoundError: if there is nothing at the path.
        """
        if str(data) == WORLD:
            return cls(WORLD, faults)
        path = Path(data)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such data set; expected the path of one, or `{WORLD}`")
        return cls(str(path.resolve()), faults)

    def describe(self) -> str:
        """Say what the source was recognised as, and why."""
        if self.name == WORLD:
            return "world: rendered scenes"
        found = recognise(Path(self.name))
        return f"{self.name}: {found.format} ({found.reason})"

    def open(self, split: str, task: Task, recipe: Recipe) -> Any:
        """Return one split as a data set that gives the task's targets.

        Raises:
            FileNotFoundError, ValueError: if there is no such data set, or it lacks what the task needs.
            OverrideError: if the world does not come in the recipe's size.
        """
        if self.name == WORLD:
            return _world(split, task, recipe)
        dataset = open_dataset(Path(self.name), split, on_fault=self.faults)
        missing = sorted(set(task.targets) - set(dataset.kinds))
        if missing:
            has = ", ".join(sorted(dataset.kinds)) or "no targets"
            raise ValueError(f"{self.name} has {has}; this task needs {', '.join(missing)}")
        if len(dataset) == 0:
            raise ValueError(f"{self.name}: the split {split!r} holds no images")
        return dataset

    def open_for_training(self, task: Task, recipe: Recipe) -> dict[str, Any]:
        """Return the splits that a training needs, by name.

        Raises:
            DataFaults: with the faults of all of them.
            FileNotFoundError, ValueError: as `open` does.
        """
        opened, faults = {}, []
        for split in ("train", "val") if task.scorer is not None else ("train",):
            try:
                opened[split] = self.open(split, task, recipe)
            except DataFaults as error:
                faults += error.faults
        if faults:
            raise DataFaults(self.name, dict.fromkeys(faults))
        return opened


def _world(split: str, task: Task, recipe: Recipe) -> World:
    scenes = recipe.world_scenes if split == "train" else max(1, recipe.world_scenes // 8)
    targets = [kind for kind in (*task.targets, *task.optional) if kind in World.kinds]
    try:
        return World(split, count=scenes, size=recipe.world_size, seed=recipe.seed, targets=targets)
    except ValueError as error:
        raise OverrideError(f"{WORLD}: {error}") from None
