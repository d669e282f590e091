"""From what `--data` says to data sets: what a task has built in by its name, or a folder recognised by its files."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidi.data.digits import Digits
from vidi.data.faults import DataFaults, OnFault
from vidi.data.inspecting import inspected
from vidi.data.joining import Joined
from vidi.data.readers.view_set import ViewSet
from vidi.data.recognise import open_dataset, recognise
from vidi.data.world.dataset import World
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.task import BuiltIn, Task
from vidi.results.categories import Categories, category_names


@dataclass(frozen=True)
class Source:
    """Where a task's samples come from: the name of a data set that it has built in, or the path of another."""

    name: str
    task: Task
    faults: OnFault = "raise"

    @classmethod
    def of(cls, data: str | Path | None, task: Task, faults: OnFault = "raise") -> "Source":
        """Return the source that a user named; a path is made absolute, so that a run finds it from anywhere.

        None is the task's default. Raises FileNotFoundError if there is nothing at the path.
        """
        if data is None or str(data) in task.built_in:
            return cls(str(data or next(iter(task.built_in))), task, faults)
        path = Path(data)
        if not path.exists():
            names = ", ".join(f"`{name}`" for name in task.built_in)
            raise FileNotFoundError(f"{path}: no such data set; expected the path of one, or {names}")
        return cls(str(path.resolve()), task, faults)

    @property
    def is_built_in(self) -> bool:
        """Whether the samples are made, not read."""
        return self.name in self.task.built_in

    def describe(self) -> str:
        """Say what the source was recognised as, and why."""
        if self.is_built_in:
            return f"{self.name}: {self.task.built_in[self.name].about}"
        found = recognise(Path(self.name), needs=self.task.needs, apart=self.task.apart)
        return f"{self.name}: {found.format} ({found.reason})"

    def open(self, split: str, recipe: Recipe, *, to_train: bool = False) -> Any:
        """Return one split as a data set that gives the task's targets; every image of it has been decoded once.

        `all` is every image; of a data set that comes in splits, all of them one after the other.

        One to train on is without what only scores are taken of.

        Raises:
            DataFaults: with all faults, of annotations and of images, if they are not to be dropped.
            FileNotFoundError, ValueError: if there is no such data set, it lacks what the task needs, or has no object
                to train on.
            OverrideError: if the world does not come in the recipe's size.
        """
        task = self.task
        if split == "all" and (splits := self._splits()):
            return self._joined(splits, recipe)
        keys = task.keys if to_train else (*task.keys, *task.judges)
        if self.is_built_in:
            count = recipe.world_scenes if split == "train" else max(1, recipe.world_scenes // 8)
            return task.built_in[self.name].opens(split, count, recipe, keys)
        dataset = open_dataset(Path(self.name), split, needs=task.needs, apart=task.apart, on_fault="drop")
        if isinstance(dataset, ViewSet):
            dataset = dataset.with_gap(recipe.frame_gap)
        missing = sorted(set(task.needs) - set(dataset.kinds))
        if missing:
            has = ", ".join(sorted(dataset.kinds)) or "no targets"
            raise ValueError(f"{self.name} has {has}; this task needs {', '.join(missing)}")
        if len(dataset) == 0:
            raise ValueError(f"{self.name}: the split {split!r} holds no images")
        dataset, boxes = inspected(dataset.giving(keys))
        if dataset.faults and self.faults == "raise":
            raise DataFaults(self.name, dataset.faults, dataset.remarks)
        if split == "train" and "boxes" in task.needs and boxes.objects == 0:
            raise ValueError(f"{self.name}: no object in {len(dataset)} images of {split!r}: there is nothing to learn")
        return dataset

    def _splits(self) -> Sequence[str]:
        """Return the splits that `all` is put together of; none where the data set has it itself."""
        if self.is_built_in:
            return ("train", "val", "test")
        splits = recognise(Path(self.name), needs=self.task.needs, apart=self.task.apart).splits
        return () if "all" in splits else tuple(splits)

    def _joined(self, splits: Sequence[str], recipe: Recipe) -> Joined:
        if self.task.apart:
            raise ValueError(f"{self.name}: each split has classes of its own; choose from {', '.join(splits)}")
        return Joined(self._opened(splits, recipe, to_train=()))

    def open_for_training(self, recipe: Recipe) -> dict[str, Any]:
        """Return the splits that a training needs, by name.

        Raises:
            DataFaults: with the faults of all of them.
            FileNotFoundError, ValueError: as `open` does.
        """
        return self._opened(("train", "val") if self.task.validates else ("train",), recipe, to_train=("train",))

    def _opened(self, splits: Sequence[str], recipe: Recipe, *, to_train: Sequence[str]) -> dict[str, Any]:
        """Return some splits by name, or the faults of all of them as an error."""
        opened, faults, hints = {}, [], []
        for split in splits:
            try:
                opened[split] = self.open(split, recipe, to_train=split in to_train)
            except DataFaults as error:
                faults += error.faults
                hints += error.hints
        if faults:
            raise DataFaults(self.name, dict.fromkeys(faults), dict.fromkeys(hints))
        return opened


def left_out(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not in some splits for its faults: how many faults, and images by split; empty without faults."""
    faults = {fault for dataset in datasets.values() for fault in getattr(dataset, "faults", ())}
    images = {split: getattr(dataset, "left_out", 0) for split, dataset in datasets.items()}
    return {"faults": len(faults), "images": images} if faults else {}


def spoken(left: Mapping[str, Any]) -> str:
    """Return what `left_out` tells, in a line."""
    images = " and ".join(f"{count} of {split}" for split, count in left["images"].items())
    return f"{left['faults']} fault{'s' if left['faults'] != 1 else ''} dropped; images left out for them: {images}"


def lines_about(source: Source, datasets: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a user should know of the data before it is used: what is left out, and that something was odd."""
    left = left_out(datasets)
    if left:
        yield f"{source.name}: {spoken(left)}"
    remarks = dict.fromkeys(remark for dataset in datasets.values() for remark in getattr(dataset, "remarks", ()))
    if remarks:
        counted = f"{len(remarks)} remark{'s' if len(remarks) != 1 else ''}"
        yield f"{source.name}: {counted}, which `vidi data check` lists; first: {next(iter(remarks))}"


def categories_of(dataset: Any) -> Categories:
    """Return the names of a data set's classes; none where it has no classes."""
    names = getattr(dataset, "categories", ())
    return category_names(names) if names else ()


def semantic_categories_of(dataset: Any) -> Categories:
    """Return the names of what the pixels of a data set are; none where it has no label maps."""
    names = getattr(dataset, "semantic_categories", ())
    return category_names(names) if names else ()


def categories_for(task: Task, dataset: Any) -> Categories:
    """Return the names of the classes that a task tells apart in a data set."""
    return task.says.get("categories", categories_of)(dataset)


def facts_for(task: Task, dataset: Any, wanted: Collection[str] | None = None) -> dict[str, Any]:
    """Return what a data set says about a model of a task: arguments of its builder, those that are `wanted`."""
    asked = {argument: fact for argument, fact in task.says.items() if wanted is None or argument in wanted}
    facts = {argument: fact(dataset) for argument, fact in asked.items()}
    return {argument: fact for argument, fact in facts.items() if fact}


def open_rendered(kind: Any, name: str, split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> Any:
    """Open rendered pictures of a kind, such as `World`; an OverrideError where they cannot have the recipe's size."""
    targets = [key for key in keys if key in kind.kinds]
    try:
        return kind(split, count=count, size=recipe.world_size, seed=recipe.seed, targets=targets)
    except ValueError as error:
        raise OverrideError(f"{name}: {error}") from None


def _open_digits(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> Digits:
    return Digits(split)


WORLD = BuiltIn("rendered scenes", partial(open_rendered, World, "world"))
DIGITS = BuiltIn("handwritten digits of 8 x 8 pixels, by 13 people", _open_digits)
