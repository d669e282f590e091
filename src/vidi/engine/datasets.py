"""From what `--data` says to data sets: the rendered world, or a folder recognised by what lies in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidi.data.faults import OnFault
from vidi.data.recognise import open_dataset, recognise
from vidi.data.world.dataset import World
from vidi.engine.recipe import Recipe
from vidi.engine.scoring import Task

WORLD = "world"

@dataclass(frozen=True)
class Source:
    """Where samples come from: `world`, or the path of a data set."""

    name: str
    faults: OnFault = "raise"

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
        """
        if self.name == WORLD:
            scenes = recipe.world_scenes if split == "train" else max(1, recipe.world_scenes // 8)
            targets = (*task.targets, *task.optional)
            kinds = frozenset(World.kinds)
            return World(
                split,
                count=scenes,
                size=recipe.world_size,
                seed=recipe.seed,
                targets=[kind for kind in targets if kind in kinds],
            )
        dataset = open_dataset(Path(self.name), split, on_fault=self.faults)
        missing = sorted(set(task.targets) - set(dataset.kinds))
        if missing:
            has = ", ".join(sorted(dataset.kinds)) or "no targets"
            raise ValueError(f"{self.name} has {has}; this task needs {', '.join(missing)}")
        return dataset
