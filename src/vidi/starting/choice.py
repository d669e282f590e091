"""Which training suits what lies at a path: the task by the annotations, the row of `STARTS` by pictures and machine.

    path -> recognised, opened once a format -> task -> row -> canvas, epochs, anchors -> Choice: `vidi train NAME ...`

A choice is nothing but the words of a command with a name, so that the command gives the same run.
"""

import inspect
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidi.catalog.entry import Entry
from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.data.faults import OnFault
from vidi.data.loading import size_of
from vidi.data.recognise import recognise
from vidi.engine.lengthening import DURATIONS
from vidi.engine.overrides import check_overrides, spelled
from vidi.ops.clustering import cluster_sizes
from vidi.starting.starts import MORE_PIXELS, PREFERRED, STARTS, Start
from vidi.tasks.table import TASKS
from vidi.weights.loading import found, published

LOOKED_AT = 50  # pictures whose size tells that of all of them
MEASURED = 2000  # pictures whose boxes are clustered
CLUSTERS, LEAST_ANCHOR, OCTAVES = 9, 8, 5
CANVAS = {"size", "shorter", "longest"}
VALIDATIONS = 12  # of a training
MOST_EPOCHS = 300  # after so many a handful of pictures is known by heart
ALIKE = 1.2  # ratio of two aspect ratios up to which pictures are resized to one canvas


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What `vidi train NAME` is told of a data set.

    Attributes:
        name: of the system.
        data: the path as it was given.
        weights: published ones to be fine-tuned.
        backbone_weights: published ones of another model.
        overrides: keys of the recipe and of the builder.
        reasons: what was seen and decided, a line each.
    """

    name: str
    data: str
    weights: str | None = None
    backbone_weights: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def without_length(self) -> "Choice":
        """Return the same training of another length."""
        kept = {key: value for key, value in self.overrides.items() if key not in (*DURATIONS, "validate_every")}
        return replace(self, overrides=kept)


def command_of(
    name: str,
    overrides: Mapping[str, Any],
    *,
    data: str | Path | None = None,
    weights: str | None = None,
    backbone_weights: str | None = None,
    faults: OnFault = "raise",
) -> str:
    """Return the command that trains a system so, as a shell takes it."""
    options = {"--data": data, "--weights": weights, "--backbone-weights": backbone_weights}
    words = ["vidi", "train", name]
    words += [word for option, value in options.items() if value is not None for word in (option, str(value))]
    words += ["--drop-faults"] if faults == "drop" else []
    return shlex.join([*words, *(f"{key}={spelled(value)}" for key, value in overrides.items())])


class Pictures(NamedTuple):
    """How many pictures a data set has, and how large they are."""

    count: int
    height: int  # medians
    width: int
    alike: bool  # whether all have about one shape


@dataclass
class Look:
    """What lies at a path; each format that it may be read as is opened once."""

    path: Path
    opened: dict[str, Any] = field(default_factory=dict)

    def dataset(self, task: str) -> Any:
        """Return the training split as a task would read it."""
        found = recognise(self.path, needs=TASKS[task].needs)
        if found.format not in self.opened:
            self.opened[found.format] = found.open("train", on_fault="drop")
        return self.opened[found.format]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the data could train, the most telling one first."""
        return tuple(task for task in PREFERRED if set(TASKS[task].needs) <= self.dataset(task).kinds)

    def task(self) -> str:
        """Return the task that a user would expect."""
        return next(task for task in self.tasks if not _is_by_the_way(task, self.dataset(task)))


def _is_by_the_way(task: str, dataset: Any) -> bool:
    """Tell whether a data set was made for something else: joints of some categories only, masks that are boxes."""
    if task == "pose":
        return len(dataset.categories) > 1
    if task == "instance":
        return all(_are_their_boxes(dataset.target(index)) for index in _spread(len(dataset), LOOKED_AT // 5))
    return False


def _are_their_boxes(target: Mapping[str, Any]) -> bool:
    """Tell whether masks fill their boxes, but for the pixels at the edges."""
    masks = torch.as_tensor(target["masks"]).flatten(1).sum(1)  # N
    sides = target["boxes"].as_subclass(Tensor)[:, 2:] - target["boxes"].as_subclass(Tensor)[:, :2]
    return bool((masks >= (sides - 1).clamp(min=0).prod(1)).all())


def choose(
    data: str | Path,
    *,
    task: str | None = None,
    given: Mapping[str, Any] | None = None,
    accelerator: bool | None = None,
) -> Choice:
    """Choose a training for what lies at a path.

    Args:
        data: the path of a data set.
        task: one that the data can train; by default that which tells most.
        given: keys that the user decides.
        accelerator: whether to choose for one; by default if there is one.

    Raises:
        UsageError: for a data set that is built in, and an unknown task.
        OverrideError: for keys that the chosen system does not have.
        FileNotFoundError, ValueError: if there is no data set, or none for the task.
    """
    if task is not None and task not in STARTS:
        raise UsageError(f"received task {task!r}, expected one of {', '.join(STARTS)}; other systems have to be named")
    if not Path(data).exists() and any(str(data) in known.built_in for known in TASKS.values()):
        raise UsageError(f"{data} is made for any system: name one of `vidi models`")
    look = Look(Path(data))
    if task is not None and task not in look.tasks:
        has = ", ".join(sorted(look.dataset(task).kinds - {"image_id"})) or "no targets"
        raise ValueError(f"{data} has {has}; {task} needs {', '.join(TASKS[task].needs)}")
    picked = look.task() if task is None else task
    dataset = look.dataset(picked)
    if accelerator is None:
        accelerator = torch.accelerator.is_available()
    pictures = pictures_of(dataset)
    start = fitting(STARTS[picked], pictures, accelerator=accelerator)
    row = entry(start.system)
    own = check_overrides(given or {}, row.keys)
    sized = {} if CANVAS & own.keys() else _canvas_of(row, start, pictures, accelerator=accelerator)
    overrides = {**start.arguments, **sized, **own}
    anchored = {} if "anchor_sizes" in own or not start.ladder else _ladder(row, dataset, overrides)
    overrides = {**overrides, **anchored}
    overrides = {**_duration(start, row, pictures.count, overrides), **overrides}
    return Choice(
        name=start.system,
        data=str(data),
        weights=start.weights,
        backbone_weights=start.backbone,
        overrides=overrides,
        reasons=tuple(_reasons(look, picked, start, pictures, anchored)),
    )


def _spread(count: int, most: int) -> Iterator[int]:
    """Yield at most so many places of `count`, evenly spread."""
    most = min(count, most)
    yield from (row * count // most for row in range(most))


def pictures_of(dataset: Any) -> Pictures:
    """Return how many pictures there are, and how large, by some of them; damaged ones are somebody else's business.

    Raises:
        ValueError: if there are none.
    """
    count, found = size_of(dataset), []
    for index in _spread(count, LOOKED_AT):
        with suppress(ValueError, OSError):
            found.append(tuple(dataset.image(index).shape[-2:]))
    if not found:
        raise ValueError(f"{dataset.root}: no pictures to train on that can be read")
    sizes = np.array(found)  # N 2
    height, width = np.median(sizes, axis=0)
    low, high = np.quantile(sizes[:, 1] / sizes[:, 0], (0.1, 0.9))
    return Pictures(count, round(float(height)), round(float(width)), bool(high <= ALIKE * low))


def is_installed(name: str) -> bool:
    """Tell whether all files of published weights, `model/publisher/version`, are on this machine."""
    return all(found(file) is not None for file in published(name).files)


def fitting(starts: Sequence[Start], pictures: Pictures, *, accelerator: bool) -> Start:
    """Return the first row that suits the pictures and the machine; the last one of a task always does."""
    for start in starts:
        wanted = [f"{start.system}/{start.weights}"] if start.weights is not None else []
        wanted += [start.backbone] if start.backbone is not None else []
        is_small = start.up_to is None or max(pictures.height, pictures.width) <= start.up_to
        if is_small and accelerator >= start.accelerator and all(map(is_installed, wanted)):
            return start
    raise ValueError(f"received {pictures}, expected one that a row is for")


def canvas(pictures: Pictures, start: Start, *, accelerator: bool = False) -> tuple[int, int]:
    """Return the (H, W) that pictures are resized to: of their shape, and no larger than they or a row's canvas are."""
    pixels = start.pixels * (MORE_PIXELS if accelerator and start.up_to is None else 1)
    height, width = pictures.height, pictures.width
    if start.square:
        height = width = round(math.sqrt(height * width))
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    height, width = (max(1, round(side * scale / start.multiple)) * start.multiple for side in (height, width))
    return height, width


def _canvas_of(row: Entry, start: Start, pictures: Pictures, *, accelerator: bool) -> dict[str, Any]:
    """Return the keys that make a canvas: of pictures of several shapes by the lengths of their sides, if they can."""
    H, W = canvas(pictures, start, accelerator=accelerator)
    keys = inspect.signature(row.builder).parameters
    if pictures.alike or start.square or not {"shorter", "longest"} & set(keys):
        return {"size": (H, W)}
    sides = {"shorter": min(H, W), "longest": 2 * min(H, W) if "shorter" in keys else max(H, W)}
    return {key: value for key, value in sides.items() if key in keys}


def _ladder(row: Entry, dataset: Any, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return anchors from the smallest cluster of boxes on, by k-means of 1 - IoU: five octaves, on powers of 2."""
    parameters = inspect.signature(row.builder).parameters
    sizes = box_sizes(dataset, {**{key: parameters[key].default for key in CANVAS if key in parameters}, **overrides})
    distinct = len(torch.unique(sizes, dim=0))
    if distinct == 0:
        return {}
    generator = torch.Generator().manual_seed(0)
    centroids = cluster_sizes(sizes, min(CLUSTERS, distinct), generator=generator).centroids
    side = math.sqrt(float(centroids[0].prod()))
    first = max(LEAST_ANCHOR, 2 ** math.floor(math.log2(side) + 1e-9))
    return {"anchor_sizes": tuple(first * 2**octave for octave in range(OCTAVES))}


def box_sizes(dataset: Any, sides: Mapping[str, Any]) -> Tensor:
    """Return the widths and heights of boxes (M 2) in pixels of the canvas of a `size`, or of `shorter`, `longest`."""
    found = []
    for index in _spread(size_of(dataset), MEASURED):
        target = dataset.target(index)
        boxes = target["boxes"]
        H, W = boxes.canvas_size
        scale = min(sides["shorter"] / min(H, W), sides["longest"] / max(H, W))
        h, w = sides["size"] or (H * scale, W * scale)
        plain = boxes.as_subclass(Tensor)
        plain = plain[~target["crowd"].bool()] if "crowd" in target else plain
        found.append((plain[:, 2:] - plain[:, :2]).double() * torch.tensor([w / W, h / H], dtype=torch.float64))
    sizes = torch.cat(found)
    return sizes[(sizes > 0).all(1)]


def _duration(start: Start, row: Entry, count: int, overrides: Mapping[str, Any]) -> dict[str, int]:
    """Return how long a training is, and how often it is validated: as many updates as our results took."""
    (recipe,) = row.recipes.values()
    recipe = row.task.fine_tuned(recipe) if start.weights is not None else recipe
    batch = overrides.get("batch_size", recipe.batch_size)
    wanted = max(start.least, math.ceil(start.updates / math.ceil(count / batch)))
    epochs = overrides.get("epochs", min(MOST_EPOCHS, wanted))
    return {"epochs": epochs, "validate_every": math.ceil(epochs / VALIDATIONS)}


def _reasons(
    look: Look,
    task: str,
    start: Start,
    pictures: Pictures,
    anchored: Mapping[str, Any],
) -> Iterator[str]:
    """Say what was seen, what was chosen, and what else could have been."""
    size = f"{'' if pictures.alike else 'about '}{pictures.width} x {pictures.height}"
    begun = start.weights or start.backbone
    yield f"{task}: {pictures.count} pictures of {size} pixels to train on"
    yield f"system: {start.system}, {f'beginning with {begun}' if begun else 'from random weights'}"
    if anchored:
        yield f"anchors: from {anchored['anchor_sizes'][0]} pixels on, by k-means of the boxes on the canvas"
    others = [other for other in look.tasks if other != task]
    if others:
        yield f"it could train other tasks too: {', '.join(f'--task {other}' for other in others)}"
