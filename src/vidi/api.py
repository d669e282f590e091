"""The verbs: create, load, train, evaluate, predict, sample. They join catalogue, recipes, data, weights and engine."""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_type_hints

import PIL.Image
import pydantic
import torch

from vidi import files
from vidi.catalog import CATALOG, Entry
from vidi.data.faults import OnFault
from vidi.engine.datasets import Source
from vidi.engine.evaluate import evaluate as evaluate_model
from vidi.engine.overrides import check_overrides
from vidi.engine.progress import Progress, Silent
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row, Run
from vidi.engine.scoring import TASKS
from vidi.engine.train import Job
from vidi.engine.train import train as train_job
from vidi.model import Adversarial, Predicts, Preprocess, Saved
from vidi.recipes.table import RECIPES
from vidi.results import Categories, Detections, category_names
from vidi.weights.loading import load_published, published
from vidi.weights.published import PUBLISHED

# ----------------------------------------------------------------------------------------------------------------------
# Names


class UnknownNameError(ValueError):
    """There is no model, task or set of weights of this name; the message lists the nearest."""

    is_usage = True


def models(pattern: str = "*", *, task: str | None = None) -> list[str]:
    """Return the names in the catalogue that match a wildcard pattern, optionally of one task.

    Raises:
        ValueError: if the task does not exist.
    """
    if task is not None and task not in TASKS:
        raise UnknownNameError(f"received task {task!r}, expected one of {', '.join(TASKS)}")
    return [n for n, e in CATALOG.items() if fnmatchcase(n, pattern) and task in (None, e.task)]


def entry(name: str) -> Entry:
    """Return a catalogue entry.

    Raises:
        ValueError: if there is none of this name; names the nearest ones.
    """
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, 3) or list(CATALOG)
        raise UnknownNameError(f"no model is called {name!r}; did you mean {' or '.join(near)}?")
    return CATALOG[name]


def builder_types(name: str) -> dict[str, Any]:
    """Return the arguments of a model's builder with their types."""
    function = inspect.unwrap(entry(name).builder)
    hints = get_type_hints(function)
    return {argument: hints[argument] for argument in inspect.signature(function).parameters}


def create(name: str, *, weights: str | None = None, **arguments: Any) -> Any:
    """Build a model of the catalogue, with random or published weights.

    Args:
        name: as in `vidi.models()`.
        weights: a published set, such as "imagenet1k_v1" for "resnet50.imagenet1k_v1"; its preprocessing, categories
            and the arguments that it was trained with come with it.
        arguments: of the model's builder.

    Raises:
        ValueError: for unknown names, arguments and weights, with the choices.
        FileNotFoundError: if the weights are not on this machine; says where to put them.
    """
    checked = check_overrides(arguments, builder_types(name))
    if weights is None:
        return entry(name).builder(**checked)
    known = weights if weights in PUBLISHED else f"{name}.{weights}"
    source = published(known)
    if source.model != name:
        raise UnknownNameError(f"the weights {known!r} are of {source.model}, not of {name}")
    model = entry(name).builder(**{**source.arguments, "categories": source.categories(), **checked})
    load_published(model, known)
    return model


# ----------------------------------------------------------------------------------------------------------------------
# Folders


def load(folder: str | Path, *, weights: str = "best") -> Any:
    """Load a model from a run folder, or from a folder that `model.save` wrote.

    Args:
        folder: with `config.json` and weights.
        weights: `best` by the validation metric, or `last`.

    Raises:
        FileNotFoundError, ValueError: if the folder is not complete.
    """
    run = Run(Path(folder))
    config = run.config()
    model = build_from(config)
    model.load_state_dict(files.read_tensors(run.weights_path(weights)))
    return model


def build_from(config: Mapping[str, Any]) -> Saved:
    """Build the model that a configuration describes, with random weights."""
    name = config["model"]
    model = entry(name).builder(**check_overrides(config["arguments"], builder_types(name)))
    model.preprocess = pydantic.TypeAdapter(Preprocess).validate_python(config["preprocess"])
    return model


# ----------------------------------------------------------------------------------------------------------------------
# Training


def recipe_types(name: str) -> dict[str, Any]:
    """Return every key that `train(name, key=value)` takes, with its type: recipe, stages, builder arguments."""
    hints = get_type_hints(Recipe)
    stages = RECIPES[name]
    keys = {f"{stage}.{key}" if stage else key: kind for stage in stages for key, kind in hints.items()}
    return keys | {key: kind for key, kind in builder_types(name).items() if key != "categories"}


def train(
    name: str,
    *,
    data: str | Path = "world",
    out: str | Path | None = None,
    faults: OnFault = "raise",
    progress: Progress | None = None,
    **overrides: Any,
) -> Run:
    """Train a model of the catalogue and return its run folder.

    Args:
        name: as in `vidi.models()`.
        data: `world`, or the path of a data set.
        out: the run folder; `runs/NAME` or the next free number after it by default.
        faults: whether faulty rows of a data set are an error (`raise`) or left out (`drop`).
        progress: receives what happens; silent by default.
        overrides: keys of the recipe and of the builder.

    Raises:
        OverrideError: naming all keys and values that cannot be taken.
        FileExistsError: if `out` already holds a run.
    """
    checked = check_overrides(overrides, recipe_types(name))
    recipes = _recipes(name, checked)
    task = TASKS[entry(name).task]
    source = Source(str(data), faults)
    folder = Path(out) if out is not None else next_free_folder(name)
    if (folder / "config.json").exists():
        raise FileExistsError(f"{folder} already holds a run; continue it with --resume, or choose another folder")

    categories = _categories(source.open("train", task, list(recipes.values())[-1]))
    arguments = {key: value for key, value in checked.items() if key in builder_types(name)}
    if "categories" in builder_types(name) and categories:
        arguments["categories"] = categories
    model = entry(name).builder(**arguments)
    run = Run(folder)
    run.write_config(
        {
            **model.description(),
            "task": entry(name).task,
            "recipe": {stage: asdict(recipe) for stage, recipe in recipes.items()},
            "data": {"source": source.name, "faults": faults, "categories": categories},
        }
    )
    train_job(Job(run, model, task, recipes, source, categories, progress or Silent()))
    return run


def resume(folder: str | Path, *, progress: Progress | None = None) -> Run:
    """Continue a run that was stopped or killed, from its last state; what it computes is what it would have been."""
    run = Run(Path(folder))
    config = run.config()
    recipes = pydantic.TypeAdapter(dict[str, Recipe]).validate_python(config["recipe"])
    data = config["data"]
    source = Source(data["source"], data["faults"])
    categories = tuple(data["categories"])
    model = build_from(config)
    train_job(Job(run, model, TASKS[config["task"]], recipes, source, categories, progress or Silent()))
    return run


def scores_of(run: Run) -> Row:
    """Return the scores that a finished training ended with."""
    return files.read_json(run.scores_path) if run.scores_path.is_file() else {}


def _recipes(name: str, checked: Mapping[str, Any]) -> dict[str, Recipe]:
    """Return the recipes by stage with the overrides in place."""
    recipes = {}
    for stage, recipe in RECIPES[name].items():
        prefix = f"{stage}." if stage else ""
        own = {f.name: checked[prefix + f.name] for f in fields(Recipe) if prefix + f.name in checked}
        recipes[stage] = replace(recipe, **own)
    return recipes


def _categories(dataset: Any) -> Categories:
    names = getattr(dataset, "categories", ())
    return category_names(names) if names else ()


def next_free_folder(name: str) -> Path:
    """Return `runs/NAME`, or the first of `runs/NAME-2`, `runs/NAME-3` ... that does not exist."""
    candidates = (Path("runs") / (name if k == 1 else f"{name}-{k}") for k in range(1, 10**6))
    return next(path for path in candidates if not path.exists())


# ----------------------------------------------------------------------------------------------------------------------
# Using what was trained


def evaluate(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "val",
    weights: str = "best",
    faults: OnFault = "raise",
    out: str | Path | None = None,
) -> Row:
    """Score a run on a split of its own or another data set; plots go to `out` if given.

    Raises:
        ValueError: if the data's categories are not the model's, or the task has no score.
    """
    run = Run(Path(folder))
    config = run.config()
    task = TASKS[config["task"]]
    if task.scorer is None:
        raise ValueError(f"{config['model']} is a system for {config['task']}, which this command does not score")
    recipe = list(pydantic.TypeAdapter(dict[str, Recipe]).validate_python(config["recipe"]).values())[-1]
    own = config["data"]
    source = Source(str(data), faults) if data is not None else Source(own["source"], own["faults"])
    dataset = source.open(split, task, recipe)
    categories = tuple(own["categories"])
    if _categories(dataset) != categories:
        raise ValueError(f"{source.name} has the categories {_categories(dataset)}, the model knows {categories}")
    scorer = task.scorer(categories)
    scores = evaluate_model(load(folder, weights=weights), dataset, scorer, batch_size=recipe.batch_size)
    if out is not None:
        scorer.write_plots(Path(out))
    return scores


def predict_files(model: Predicts, paths: Sequence[Path], *, ahead: int = 16) -> Iterator[tuple[Path, Any]]:
    """Yield (path, result) in order, reading a few files ahead; the result of an unreadable file is its error."""
    for start in range(0, len(paths), ahead):
        images, errors = {}, {}
        for path in paths[start : start + ahead]:
            try:
                images[path] = files.read_image(path)
            except (ValueError, OSError) as error:
                errors[path] = error
        results = dict(zip(images, model.predict(list(images.values()), batch_size=ahead), strict=True))
        yield from ((path, errors.get(path) or results[path]) for path in paths[start : start + ahead])


def draw(result: Any, path: Path, threshold: float) -> PIL.Image.Image:
    """Return a picture file with a result drawn on it; detections from `threshold` on."""
    image = files.read_image(path)
    return result.draw(image, threshold=threshold) if isinstance(result, Detections) else result.draw(image)


def sample(model: Adversarial, count: int, *, seed: int = 0) -> torch.Tensor:
    """Draw images (N C H W in [0, 1]) from a generative model; equal seeds give equal images."""
    if not isinstance(model, Adversarial):
        raise ValueError(f"a {type(model).__name__} does not generate; expected a generative model")
    return model.sample(count, generator=torch.Generator(model.device).manual_seed(seed)).cpu()


def image_paths(paths: Sequence[str | Path]) -> list[Path]:
    """Return image files from files and folders, in order.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if a folder holds no image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in files.IMAGE_SUFFIXES)
            if not inside:
                raise ValueError(f"{path} holds no images ({', '.join(files.IMAGE_SUFFIXES)})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return found
