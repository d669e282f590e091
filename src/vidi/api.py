"""The verbs: create, load, train, evaluate, predict, sample. They join catalogue, recipes, data, weights and engine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import PIL.Image
import torch

from vidi import files
from vidi.catalog import CATALOG
from vidi.data.faults import OnFault
from vidi.data.loading import seeded_draws, size_of
from vidi.engine.datasets import BUILT_IN, Source, left_out, lines_about
from vidi.engine.evaluate import evaluate as evaluate_model
from vidi.engine.lengthening import durations_of, former_recipes, lengthened
from vidi.engine.limits import check_recipes
from vidi.engine.overrides import OverrideError, check_overrides
from vidi.engine.progress import Progress, Silent
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row, Run, is_main_process
from vidi.engine.scoring import TASKS
from vidi.engine.train import Job, scored_on
from vidi.engine.train import train as train_job
from vidi.model import Adversarial, Predicts, Preprocess, Saved, Supervised
from vidi.nn.cost import CostReport, count_cost
from vidi.nn.inference import fuse_for_inference
from vidi.recipes.table import RECIPES, fine_tuning
from vidi.results import Categories, Detections, category_names
from vidi.weights.creation import UsageError, builder_types, check_weights, create, entry, recorded_weights
from vidi.weights.loading import published_weights
from vidi.weights.own_runs import recorded_part

FROM_DATA = ("categories", "source_words", "target_words")
"""Arguments of builders that a training takes from its data set."""

# ----------------------------------------------------------------------------------------------------------------------
# Counting


def cost(name: str, *, image: tuple[int, int] | None = None, **arguments: Any) -> CostReport:
    """Count the parameters and multiply-adds of a model for one image, without memory or arithmetic.

    Args:
        name: as in `vidi.models()`.
        image: (H, W) of the image; by default what the model's preprocessing makes of a square one.
        arguments: of the model's builder.

    Raises:
        ValueError: for unknown names and arguments, and if the model is no network for images.
    """
    with torch.device("meta"):
        model = create(name, **arguments)
    if not isinstance(model, Supervised) or not isinstance(model.preprocess, Preprocess):
        raise UsageError(f"{name} is a {type(model).__name__}; the cost of networks from images to outputs is counted")
    usual = model.preprocess.crop or model.preprocess.resized((224, 224))
    return count_cost(model.network, image or usual)


# ----------------------------------------------------------------------------------------------------------------------
# Folders


def load(folder: str | Path, *, weights: str = "best") -> Any:
    """Load a model from a run folder, or from a folder that `model.save` wrote.

    Args:
        folder: with `config.json` and weights.
        weights: `best` by the validation metric, or `last`.

    Raises:
        FileNotFoundError, ValueError: if the folder is not complete, or its parts do not fit together.
    """
    run = Run(Path(folder))
    path = run.weights_path(weights)
    model = build_from(run.config())
    tensors = files.read_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:  # torch lists all keys and shapes
        differences = _differences(model.state_dict(), tensors)
        raise ValueError(f"{path} holds other weights than {run.config_path} describes: {differences}") from error
    return model


def load_or_create(name: str | Path, *, weights: str | None = None, download: bool = False) -> Any:
    """Return the model of a run folder, or one of the catalogue with published weights.

    Args:
        name: a run folder, or a name as in `vidi.models()`; a folder wins.
        weights: of a run, `best` (the default) or `last`; of a name, a published set, its first one by default.
        download: fetch published weights if they are not on this machine.

    Raises:
        FileNotFoundError: if there is no such folder, or the weights are not on this machine.
        ValueError: for a name that is neither, for weights that do not exist, or a model that has none.
    """
    if Run(Path(name)).config_path.is_file() or str(name) not in CATALOG:
        return load(name, weights=weights or "best")
    known = published_weights(str(name))
    if weights is None and not known:
        raise UsageError(f"{name} has no published weights; train it first, then name its run folder")
    return create(str(name), weights=weights or known[0], download=download)


def _differences(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """Say how two sets of weights differ, with the first names of each kind."""
    rows = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": [n for n in expected if n in found and expected[n].shape != found[n].shape],
    }
    kinds = ((kind, names) for kind, names in rows.items() if names)
    return "; ".join(f"{len(names)} {kind} ({', '.join(names[:2])}...)" for kind, names in kinds)


def build_from(config: Mapping[str, Any]) -> Saved:
    """Build the model that a configuration describes, with random weights.

    Raises:
        ValueError: if this version of vidi knows no such model, argument or preprocessing.
    """
    name = config["model"]
    model = entry(name).builder(**check_overrides(config["arguments"], builder_types(name)))
    model.preprocess = recorded_part("preprocess", type(model.preprocess), config["preprocess"])
    return model


def _begun_again(config: Mapping[str, Any]) -> Saved:
    """Build the model that a run began with, from the weights that it began with, if there were any."""
    begun = {key: config.get(key) for key in ("weights", "backbone_weights")}
    digest = config.get("weights_sha256")  # of a file, which may have changed; published ones are checked anyway
    if digest is not None and recorded_weights(config["model"], begun["weights"])["weights_sha256"] != digest:
        raise ValueError(f"{begun['weights']} holds other weights now than the run began with: begin a new run")
    model = create(config["model"], **begun, **config["arguments"])
    model.preprocess = recorded_part("preprocess", type(model.preprocess), config["preprocess"])
    return model


def _recorded_recipes(config: Mapping[str, Any]) -> dict[str, Recipe]:
    """Return the recipes that a run was trained by; those of the system for a model that was only saved."""
    if "recipe" not in config:
        return RECIPES[config["model"]]
    return recorded_part("recipe", dict[str, Recipe], config["recipe"])


# ----------------------------------------------------------------------------------------------------------------------
# Training


def recipe_types(name: str) -> dict[str, Any]:
    """Return every key that `train(name, key=value)` takes, with its type: recipe, stages, builder arguments."""
    own = {key: kind for key, kind in builder_types(name).items() if key not in FROM_DATA}
    hints = get_type_hints(Recipe)
    keys = {f"{stage}.{key}" if stage else key: kind for stage in RECIPES[name] for key, kind in hints.items()}
    return keys | own


def train(
    name: str,
    *,
    data: str | Path = "world",
    weights: str | None = None,
    backbone_weights: str | None = None,
    download: bool = False,
    out: str | Path | None = None,
    faults: OnFault = "raise",
    progress: Progress | None = None,
    **overrides: Any,
) -> Run:
    """Train a model of the catalogue and return its run folder.

    Args:
        name: as in `vidi.models()`.
        data: `world`, or the path of a data set.
        weights: published weights to begin with, a file of them, or a run of the same model, as for `create`; the
            recipe is then one for fine-tuning, and the last layer a new one where the data set has other categories.
        backbone_weights: published weights of another model whose backbone this one begins with, as for `create`.
        download: fetch the weights if they are not on this machine.
        out: the run folder; `runs/NAME` or the next free number after it by default.
        faults: whether faulty rows of a data set are an error (`raise`) or left out (`drop`).
        progress: receives what happens; silent by default.
        overrides: keys of the recipe and of the builder.

    Raises:
        OverrideError: naming all keys and values that cannot be taken.
        FileExistsError: if `out` already holds a run.
        FileNotFoundError, ValueError: if the data set does not exist, or cannot train this model.
    """
    checked = check_overrides(overrides, recipe_types(name))
    check_weights(name, weights, backbone_weights)
    recipes = _recipes(name, checked, fine_tuned=weights is not None)
    task = TASKS[entry(name).task]
    check_recipes(recipes, task)
    run = Run(Path(out) if out is not None else next_free_folder(name))
    if is_main_process() and run.is_taken():
        raise FileExistsError(f"{run.folder} already holds a run; continue it with --resume, or choose another folder")

    source = Source.of(data, faults)
    datasets = source.open_for_training(task, list(recipes.values())[-1])
    if source.name not in BUILT_IN:
        (progress or Silent()).say(source.describe())
    _tell(source, datasets, progress)
    categories = _categories(datasets["train"])
    with seeded_draws(_seed(recipes)):
        begun = {"weights": weights, "backbone_weights": backbone_weights}
        model = _build(name, {**checked, **_arguments(name, datasets["train"])}, begun, download=download)
    begun |= recorded_weights(name, weights)
    job = Job(run, model, task, recipes, source, categories, progress or Silent(), datasets)
    if is_main_process():
        run.write_config(
            {
                **model.description(),
                "task": entry(name).task,
                "recipe": _as_plain(recipes),
                "data": _description(source, datasets),
                **{key: value for key, value in begun.items() if value is not None},
            }
        )
    _run(job)
    return run


def resume(
    folder: str | Path, *, data: str | Path | None = None, progress: Progress | None = None, **durations: Any
) -> Run:
    """Continue a run that was stopped or killed, from its last state; what it computes is what it would have been.

    Args:
        folder: of the run.
        data: where the run's data set is now, if it was moved.
        progress: receives what happens; silent by default.
        durations: `epochs` or `steps` (of a stage, `stage.epochs`) in all, to which the run goes on, ended or not: the
            learning rate then follows the schedule of this length.

    Raises:
        OverrideError: for any other key, and for a duration that the run has come to.
        FileNotFoundError, ValueError: if the run or its data set is not there, or not what it was.
    """
    run = Run(Path(folder))
    config = run.config()
    if "recipe" not in config:
        raise UsageError(f"{folder} is a saved model, not a training that could be continued")
    recorded, recipes, task = config["data"], _recorded_recipes(config), TASKS[config["task"]]
    if durations:
        longer = lengthened(run, recipes, durations)
        check_recipes(longer, task)
        former = [*config.get("lengthened", ()), durations_of(recipes)]
        config, recipes = {**config, "recipe": _as_plain(longer), "lengthened": former}, longer
    source = _recorded_source(recorded, data)
    datasets = source.open_for_training(task, list(recipes.values())[-1])
    _tell(source, datasets, progress)
    found = _description(source, datasets)
    _check_same(recorded, found)
    if is_main_process() and (durations or data is not None):
        run.write_config({**config, "data": found if data is not None else recorded})
    if is_main_process() and durations:
        run.forget_scores()
    with seeded_draws(_seed(recipes)):  # a run that was killed before its first state begins again
        model = build_from(config) if run.has_state() else _begun_again(config)
    categories, lengths = tuple(recorded["categories"]), config.get("lengthened", ())
    former = {stage: former_recipes(stage, recipe, lengths) for stage, recipe in recipes.items()}
    _run(Job(run, model, task, recipes, source, categories, progress or Silent(), datasets, former))
    return run


def _as_plain(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    return {stage: asdict(recipe) for stage, recipe in recipes.items()}


def _run(job: Job) -> None:
    """Train; if that fails, leave a folder that a next attempt can use, and say how to find out more."""
    try:
        train_job(job)
    except BaseException as error:
        if is_main_process():
            job.run.discard_if_empty()
        if isinstance(error, ValueError | OSError) and job.source.name in str(error):  # an image could not be read
            error.add_note(f"`vidi data check {job.source.name}` lists all faults of the data set")
        raise


def _recorded_source(recorded: Mapping[str, Any], data: str | Path | None) -> Source:
    """Return a run's own data, or where the user says that it is now."""
    try:
        return Source.of(recorded["source"] if data is None else data, recorded["faults"])
    except FileNotFoundError as error:
        moved = "" if data is not None else "; if it was moved, say where it is now with --data (data= in Python)"
        raise FileNotFoundError(f"{error}{moved}") from None


def _tell(source: Source, datasets: Mapping[str, Any], progress: Progress | None) -> None:
    """Say what is left out of a data set and what was odd about it."""
    for line in lines_about(source, datasets):
        (progress or Silent()).say(line)


def _description(source: Source, datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run folder records of its data."""
    facts = {"categories": list(_categories(datasets["train"])), "samples": size_of(datasets["train"])}
    return {"source": source.name, "faults": source.faults, **facts, "left_out": left_out(datasets)}


def _check_same(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse to continue a training on other data."""
    for fact in ("categories", "samples", "left_out"):
        if recorded.get(fact, found[fact]) != found[fact]:
            changed = f"has {found[fact]} as {fact} now; the run began with {recorded[fact]}"
            raise ValueError(f"{found['source']} {changed}: a run resumes with its own data")


def scores_of(run: Run) -> Row:
    """Return the scores that a finished training ended with."""
    return files.read_json(run.scores_path) if run.scores_path.is_file() else {}


def _recipes(name: str, checked: Mapping[str, Any], *, fine_tuned: bool) -> dict[str, Recipe]:
    """Return the recipes by stage with the overrides in place."""
    recipes = {}
    for stage, usual in RECIPES[name].items():
        recipe = fine_tuning(entry(name).task, usual) if fine_tuned else usual
        prefix = f"{stage}." if stage else ""
        own = {f.name: checked[prefix + f.name] for f in fields(Recipe) if prefix + f.name in checked}
        recipes[stage] = replace(recipe, **own)
    return recipes


def _seed(recipes: Mapping[str, Recipe]) -> int:
    """Return the seed of the random weights that a training begins with: the first stage's."""
    return next(iter(recipes.values())).seed


def _arguments(name: str, dataset: Any) -> dict[str, Any]:
    """Return what a data set says about the model: its categories, or its words."""
    categories = _categories(dataset)
    said = {"categories": categories} if categories else getattr(dataset, "arguments", {})
    return {key: value for key, value in said.items() if key in builder_types(name)}


def _build(name: str, checked: Mapping[str, Any], begun: Mapping[str, str | None], *, download: bool) -> Saved:
    """Build a model; blame the user's arguments, if there are any, for a failure."""
    given = {key: value for key, value in checked.items() if key in builder_types(name)}
    try:
        return create(name, **begun, download=download, **given)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        own = {key: value for key, value in given.items() if key not in FROM_DATA}
        if not own:
            raise
        arguments = " ".join(f"{key}={value}" for key, value in own.items())
        raise OverrideError(f"{name} cannot be built with {arguments}: {error}") from error


def _categories(dataset: Any) -> Categories:
    names = getattr(dataset, "categories", ())
    return category_names(names) if names else ()


def next_free_folder(name: str) -> Path:
    """Return `runs/NAME`, or the first of `runs/NAME-2`, `runs/NAME-3` ... that does not exist.

    Raises:
        ValueError: under torchrun, whose processes would not agree on one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("several processes write one run folder; say which with --out (out= in Python)")
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
    progress: Progress | None = None,
) -> Row:
    """Score a run on a split of its own or another data set; plots go to `out` if given.

    `progress` hears what is left out of the data set; silent by default.

    Returns:
        Split, number of its images, weights and data, then the scores; -1 of COCO's where there is no object to score.

    Raises:
        ValueError: if the data's categories are not the model's, or the task has no score.
    """
    run = Run(Path(folder))
    config = run.config()
    kind = task_of(folder)
    task = TASKS[kind]
    if task.scorer is None:
        raise UsageError(f"{config['model']} is a system for {kind}, which has no score")
    if data is not None:
        source = Source.of(data, faults)
    elif "data" in config:
        source = _recorded_source(config["data"], None)
    else:
        raise UsageError(f"{folder} is a saved model without a data set of its own; say which with --data (data=)")
    recipe = list(_recorded_recipes(config).values())[-1]
    dataset = source.open(split, task, recipe)
    _tell(source, {split: dataset}, progress)
    model = load(folder, weights=weights)
    categories = _known_categories(source.name, dataset, config)
    scorer = task.scorer(categories)
    scores = evaluate_model(model, dataset, scorer, batch_size=recipe.batch_size)
    if out is not None:
        scorer.write_plots(Path(out))
    return scored_on(split, dataset, weights, source) | scores


def _known_categories(source: str, dataset: Any, config: Mapping[str, Any]) -> Categories:
    """Return the categories of a run, none for a system without; refuse a data set that has others, or other words."""
    known = config["arguments"]
    for key, value in getattr(dataset, "arguments", {}).items():
        if tuple(known[key]) != value:
            raise ValueError(f"{source} has other {key.replace('_', ' ')} than the model")
    if "categories" not in known:
        return ()
    categories = category_names(known["categories"])
    _check_categories(source, _categories(dataset), categories)
    return categories


def _check_categories(source: str, found: Categories, known: Categories) -> None:
    """Refuse to score a model by the labels of another vocabulary."""
    if found == known:
        return
    more, fewer = [str(n) for n in found if n not in known], [str(n) for n in known if n not in found]
    differences = [f"the model does not know {', '.join(more)}"] if more else []
    differences += [f"the data set lacks {', '.join(fewer)}"] if fewer else []
    reason = "; ".join(differences) or "they come in another order"
    raise ValueError(f"{source} has other categories than the model: {reason}")


def predict_files(model: Saved, paths: Sequence[Path], *, ahead: int = 16) -> Iterator[tuple[Path, Any]]:
    """Yield (path, result) in order, reading a few files ahead; the result of an unreadable file is its error.

    Raises:
        ValueError: if the model gives no results for pictures.
    """
    if not isinstance(model, Predicts):
        raise UsageError(f"a {type(model).__name__} predicts nothing; expected a model that looks at pictures")
    model = fuse_for_inference(model) if isinstance(model, Supervised) else model
    for start in range(0, len(paths), ahead):
        images, errors = {}, {}
        for path in paths[start : start + ahead]:
            try:
                images[path] = files.read_image(path)
            except (ValueError, OSError) as error:
                errors[path] = error
        results = dict(zip(images, model.predict(list(images.values()), batch_size=ahead), strict=True))
        yield from ((path, errors.get(path) or results[path]) for path in paths[start : start + ahead])


def task_of(name: str | Path) -> str:
    """Return the task of a run folder or of a model of the catalogue.

    Raises:
        FileNotFoundError: if it is neither.
    """
    run = Run(Path(name))
    if run.config_path.is_file() or str(name) not in CATALOG:
        config = run.config()
        return config.get("task", entry(config["model"]).task)
    return entry(str(name)).task


def draw(result: Any, path: Path, threshold: float) -> PIL.Image.Image:
    """Return a picture file with a result drawn on it; detections from `threshold` on."""
    image = files.read_image(path)
    return result.draw(image, threshold=threshold) if isinstance(result, Detections) else result.draw(image)


def sample(model: Saved, count: int, *, seed: int = 0) -> torch.Tensor:
    """Draw images (N C H W in [0, 1]) from a generative model; equal seeds give equal images."""
    if not isinstance(model, Adversarial):
        raise UsageError(f"a {type(model).__name__} does not generate; expected a generative model")
    return model.sample(count, generator=torch.Generator(model.device).manual_seed(seed)).cpu()
