"""The verbs: load, train, resume, evaluate, predict, sample. They join catalogue, weights, tasks, data and engine."""

import hashlib
import inspect
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from vidi import files
from vidi.catalog.entry import Entry
from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.data.faults import OnFault
from vidi.data.loading import seeded_draws
from vidi.engine.conditions import checked_conditions
from vidi.engine.console import progress_for
from vidi.engine.datasets import Source, categories_for, facts_for, lines_about
from vidi.engine.evaluate import evaluate as evaluate_model
from vidi.engine.hooks import OnEpoch
from vidi.engine.judging import Judgement, Judging, by_class
from vidi.engine.lengthening import durations_of, former_recipes, lengthened
from vidi.engine.limits import check_recipes
from vidi.engine.overrides import OverrideError, check_overrides
from vidi.engine.progress import Progress, Silent
from vidi.engine.recipe import Recipe
from vidi.engine.rehearsal import check_minutes, within
from vidi.engine.report import remarks_of
from vidi.engine.runs import Row, Run, is_main_process
from vidi.engine.task import Task
from vidi.engine.train import Job, scored_on
from vidi.engine.train import train as train_job
from vidi.exported.network import is_exported, running, said_by, with_network
from vidi.exported.writing import Exported, Format, NoExportError, export_model, reason_against
from vidi.metrics.generation_score import Extractor
from vidi.model import Predicts, Samples, Saved, Supervised
from vidi.nn.cost import CostReport, count_cost
from vidi.nn.inference import fuse_for_inference
from vidi.preprocess import Preprocess
from vidi.recorded import (
    begun_again,
    check_same,
    description_of,
    is_run,
    known_categories,
    knows_photos,
    plain_recipes,
    recorded_config,
    recorded_model,
    recorded_recipes,
    recorded_source,
    recorded_task,
    task_of,
)
from vidi.results.result import SHOWN_FROM
from vidi.starting.choice import Choice, choose, command_of
from vidi.weights.creation import build, check_weights, create, own_weights, recorded_weights
from vidi.weights.extractors import EXTRACTORS, extractor, extractor_of
from vidi.weights.loading import published, published_weights
from vidi.weights.pipelines import PIPELINES

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
    network = getattr(model, "network", None)
    if network is None or not isinstance(model.preprocess, Preprocess):
        raise UsageError(f"{name} is a {type(model).__name__}; the cost of networks from images to outputs is counted")
    usual = model.preprocess.crop or model.preprocess.resized((224, 224))
    return count_cost(network, image or usual)


# ----------------------------------------------------------------------------------------------------------------------
# Folders


def load(folder: str | Path, *, weights: str = "best") -> Any:
    """Load a model from a run folder, from a folder that `model.save` wrote, or from a file of `vidi export`.

    Args:
        folder: with `config.json` and weights; or an exported file, `.onnx`.
        weights: `best` by the validation metric, or `last`; of a run that was not validated yet, which is said, the
            best ones are the last.

    Raises:
        FileNotFoundError, ValueError: if the folder is not complete, or its parts do not fit together.
    """
    if is_exported(folder):
        described = said_by(folder)
        digest = hashlib.sha256(files.read_bytes(folder)).digest()
        return with_network(recorded_model(described.config), running(folder), described.form, digest)
    run = Run(Path(folder))
    path = run.weights_path(weights)
    if weights == "best" and not path.is_file() and run.weights_path("last").is_file():
        path = run.weights_path("last")
        logging.getLogger("vidi").warning("%s was not validated yet: these are its last weights", folder)
    model = recorded_model(run.config())
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
    if is_run(name):
        return load(name, weights=weights or "best")
    known = published_weights(str(name))
    if weights is None and not known and name not in PIPELINES:
        raise UsageError(f"{name} has no published weights; train it first, then name its run folder")
    return create(str(name), weights=weights or next(iter(known), None), download=download)


def with_options(model: Saved, options: Mapping[str, Any]) -> Any:
    """Return a model of the same weights that predicts by other numbers: `model.with_options`, also of text.

    Raises:
        UsageError: if the model has no options, or a value cannot be.
        OverrideError: naming all options that the model does not have, and all values of another type.
    """
    known = model.options() if isinstance(model, Supervised) else {}
    if not isinstance(model, Supervised) or not known:
        given = ", ".join(map(str, options))
        raise UsageError(f"received {given} for a model that has no options, expected pictures alone")
    checked = check_overrides(options, known)
    try:
        return model.with_options(**checked)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say how two sets of weights differ, with the first names of each kind."""
    rows = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": [n for n in expected if n in found and expected[n].shape != found[n].shape],
    }
    kinds = ((kind, names) for kind, names in rows.items() if names)
    return "; ".join(f"{len(names)} {kind} ({', '.join(names[:2])}...)" for kind, names in kinds)


# ----------------------------------------------------------------------------------------------------------------------
# Training


def train(
    name: str | Choice | None = None,
    *,
    data: str | Path | None = None,
    weights: str | None = None,
    backbone_weights: str | None = None,
    download: bool = False,
    out: str | Path | None = None,
    faults: OnFault = "raise",
    minutes: float | int | None = None,
    on_epoch: OnEpoch | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Run:
    """Train a model of the catalogue and return its run folder.

    Args:
        name: as in `vidi.models()`; without one what lies at `data` decides, as `vidi.choose(data, task=...)` says it.
        data: a data set that is built in, such as `world`, or the path of one; the first built-in one by default.
        weights: published weights to begin with, a file of them, or a run of the same model, as for `create`; the
            recipe is then one for fine-tuning (not if it was trained on the rendered world only and is to learn
            photos), and the last layer a new one where the data set has other categories.
        backbone_weights: published weights of another model whose backbone this one begins with, as for `create`.
        download: fetch the weights if they are not on this machine.
        out: the run folder; `runs/NAME` or the next free number after it by default.
        faults: whether faulty rows of a data set are an error (`raise`) or left out (`drop`).
        minutes: that it may take; the first steps are timed, and `epochs` (or `steps`) set so that all of it fits.
        on_epoch: is told of each validation, see `vidi.engine.hooks.Epoch`; if it fails, that is said once.
        quiet: say nothing; by default a bar, or lines, go to the standard error.
        progress: receives what happens, instead.
        overrides: keys of the recipe and of the builder.

    Raises:
        OverrideError: naming all keys and values that cannot be taken.
        FileExistsError: if `out` already holds a run.
        FileNotFoundError, ValueError: if the data set does not exist, or cannot train this model.
        StopTraining: if `on_epoch` does.
    """
    began, progress = time.monotonic(), _listener(progress, quiet)
    name = _chosen(data, weights, backbone_weights, overrides) if name is None else name
    choice = name if isinstance(name, Choice) else None
    if choice is not None:
        choice = choice if minutes is None else choice.without_length()
        name, data, weights, backbone_weights = choice.name, choice.data, choice.weights, choice.backbone_weights
        overrides = {**choice.overrides, **overrides}
        for reason in choice.reasons:
            progress.say(reason)
    row = entry(str(name))
    checked = check_overrides(overrides, row.keys)
    check_minutes(minutes, checked)
    check_weights(row.name, weights, backbone_weights)
    source = Source.of(data, row.task, faults)
    own = own_weights(row.name, weights)
    new_to_photos = not source.is_built_in and own is not None and not knows_photos(own.config)
    recipes = _recipes(row, checked, fine_tuned=weights is not None and not new_to_photos)
    check_recipes(recipes, row.task)
    judge = _judge(row.task, recipes)
    run = Run(Path(out) if out is not None else next_free_folder(row.name))
    if is_main_process() and run.is_taken():
        raise FileExistsError(f"{run.folder} already holds a run; continue it with --resume, or choose another folder")

    if new_to_photos:
        progress.say(f"{weights} has seen no photos: trained as one that begins with nothing, not fine-tuned")
    datasets = source.open_for_training(list(recipes.values())[-1])
    if not source.is_built_in:
        progress.say(source.describe())
    _tell(source, datasets, progress)
    begun = {"weights": weights, "backbone_weights": backbone_weights}
    with seeded_draws(_seed(recipes)):
        model = _build(row, checked, facts_for(row.task, datasets["train"], row.arguments), begun, download=download)
    categories = categories_for(row.task, datasets["train"])
    job = Job(run, model, recipes, source, categories, progress, datasets, extractor=judge, on_epoch=on_epoch)
    if minutes is not None:
        job, durations = within(job, 60 * minutes, began=began)
        checked |= durations
    if minutes is not None or choice is not None:
        progress.say(f"the same again: {command_of(row.name, checked, data=data, **begun, faults=faults)}")
    if is_main_process():
        _write_config(job, checked, begun | recorded_weights(row.name, weights))
    _run(job)
    return run


def _write_config(job: Job, checked: Mapping[str, Any], begun: Mapping[str, str | None]) -> None:
    """Write what a run is: its model, recipe and data, what the user gave, and the weights that it begins with."""
    job.run.write_config(
        {
            **job.model.description(),
            "task": job.source.task.name,
            "recipe": plain_recipes(job.recipes),
            "given": checked,
            "data": description_of(job.source, job.datasets),
            **{key: value for key, value in begun.items() if value is not None},
        }
    )


def resume(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **durations: Any,
) -> Run:
    """Continue a run that was stopped or killed, from its last state; what it computes is what it would have been.

    Args:
        folder: of the run.
        data: where the run's data set is now, if it was moved.
        on_epoch, quiet, progress: as for `train`.
        durations: `epochs` or `steps` (of a stage, `stage.epochs`) in all, to which the run goes on, ended or not: the
            learning rate then follows the schedule of this length.

    Raises:
        OverrideError: for any other key, and for a duration that the run has come to.
        FileNotFoundError, ValueError: if the run or its data set is not there, or not what it was.
    """
    run, progress = Run(Path(folder)), _listener(progress, quiet)
    config = run.config()
    if "recipe" not in config:
        raise UsageError(f"{folder} is a saved model, not a training that could be continued")
    recorded, recipes = config["data"], recorded_recipes(config)
    if durations:
        longer = lengthened(run, recipes, durations)
        check_recipes(longer, recorded_task(config))
        former = [*config.get("lengthened", ()), durations_of(recipes)]
        config, recipes = {**config, "recipe": plain_recipes(longer), "lengthened": former}, longer
    if run.has_ended() and not run.has_state():
        raise UsageError(
            f"{folder} has ended, and kept no state to go on from: train with keep_state=true to go on later, or begin "
            f"a new run with its weights: vidi train {config['model']} --weights {folder}"
        )
    source = recorded_source(config, data)
    datasets = source.open_for_training(list(recipes.values())[-1])
    _tell(source, datasets, progress)
    found = description_of(source, datasets)
    check_same(recorded, found)
    if is_main_process() and (durations or data is not None):
        run.write_config({**config, "data": found if data is not None else recorded})
    if is_main_process() and durations:
        run.forget_scores()
    with seeded_draws(_seed(recipes)):  # a run that was killed before its first state begins again
        model = recorded_model(config) if run.has_state() else begun_again(config)
    categories, lengths = tuple(recorded["categories"]), config.get("lengthened", ())
    former = {stage: former_recipes(stage, recipe, lengths) for stage, recipe in recipes.items()}
    judge = _judge(source.task, recipes)
    _run(Job(run, model, recipes, source, categories, progress, datasets, former, judge, on_epoch))
    return run


def _chosen(
    data: str | Path | None, weights: str | None, backbone_weights: str | None, given: Mapping[str, Any]
) -> Choice:
    """Return the training that suits a data set, for one who names no system."""
    if data is None:
        raise UsageError("which model? Name one of `vidi models`, or say which data with --data (data=), which decide")
    if weights is not None or backbone_weights is not None:
        raise UsageError(f"{weights or backbone_weights} are weights of a system: name it beside them")
    return choose(data, given=given)


def _listener(progress: Progress | None, quiet: bool) -> Progress:
    """Return what hears of a training: what the caller says, or a bar or lines on the standard error."""
    if progress is not None:
        return progress
    return progress_for(Console(stderr=True), quiet=quiet or not is_main_process())


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


def _tell(source: Source, datasets: Mapping[str, Any], progress: Progress | None) -> None:
    """Say what is left out of a data set and what was odd about it."""
    for line in lines_about(source, datasets):
        (progress or Silent()).say(line)


def scores_of(run: Run) -> Row:
    """Return the scores that a finished training ended with."""
    return run.scores()


def _recipes(row: Entry, checked: Mapping[str, Any], *, fine_tuned: bool) -> dict[str, Recipe]:
    """Return the recipes by stage with the overrides in place."""
    recipes = {}
    for stage, usual in row.recipes.items():
        recipe = row.task.fine_tuned(usual) if fine_tuned else usual
        own = row.given_to(stage, checked)
        judge = own.get("judge")
        if judge is not None and judge not in EXTRACTORS:  # a run, which is to be found from anywhere
            own["judge"] = str(Path(judge).resolve())
        recipes[stage] = replace(recipe, **own)
    return recipes


def _judge(task: Task, recipes: Mapping[str, Recipe]) -> Extractor | None:
    """Return who judges the pictures that a training's last stage makes; None for a task of results, and for nobody."""
    name = list(recipes.values())[-1].judge
    if task.generated is None or name is None:
        return None
    return extractor(name) if name in EXTRACTORS else extractor_of(load(name), name)


def _seed(recipes: Mapping[str, Recipe]) -> int:
    """Return the seed of the random weights that a training begins with: the first stage's."""
    return next(iter(recipes.values())).seed


def _build(
    row: Entry,
    checked: Mapping[str, Any],
    said: Mapping[str, Any],
    begun: Mapping[str, str | None],
    *,
    download: bool,
) -> Saved:
    """Build a model from what the user and the data set say; blame the user's arguments, if any, for a failure."""
    own = {key: value for key, value in checked.items() if key in row.arguments}
    facts = check_overrides({key: said[key] for key in said if key in row.arguments}, row.arguments)
    try:
        return build(row, {**own, **facts}, **begun, download=download)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        if not own:
            raise
        arguments = " ".join(f"{key}={value}" for key, value in own.items())
        raise OverrideError(f"{row.name} cannot be built with {arguments}: {error}") from error


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
    threshold: float | int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Row:
    """Score a run on a split of its own or another data set; see `judge`.

    Returns:
        Split, number of its images, weights and data, then the scores; None where there is none.
    """
    asked: dict[str, Any] = {"data": data, "split": split, "weights": weights, "faults": faults, "out": out}
    return judge(folder, **asked, threshold=threshold, progress=progress, options=options).scores


def judge(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "val",
    weights: str = "best",
    faults: OnFault = "raise",
    out: str | Path | None = None,
    threshold: float | int | None = None,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> Judgement:
    """Score a run on a split of its own or another data set, in all and by class.

    Args:
        folder: of the run.
        data: a data set as for `train`; the run's own by default.
        split: `train`, `val`, `test` or `all`.
        weights: `best` or `last`.
        faults: whether faulty rows of a data set are an error (`raise`) or left out (`drop`).
        out: a folder for the plots of the task, `scores.csv` by class, `predictions.json` and `worst.png`.
        threshold: of a detector's scores, from which on its plots and worst pictures believe it; the run's by default.
        progress: hears what is left out of the data set; silent by default.
        options: what the model decides by other numbers, as `with_options` takes it.

    Raises:
        ValueError: if the data's categories are not the model's, the task has no score, or none with a threshold.
        OverrideError: for options that the model does not have.
    """
    config = recorded_config(folder)
    task = recorded_task(config)
    if not task.validates:
        raise UsageError(f"{config['model']} is a system for {task.name}, which has no score")
    if data is not None:
        source = Source.of(data, task, faults)
    elif "data" in config:
        source = recorded_source(config)
    else:
        raise UsageError(f"{folder} knows no data set of its own; say which with --data (data=)")
    recipe = list(recorded_recipes(config).values())[-1]
    dataset = source.open(split, recipe)
    _tell(source, {split: dataset}, progress)
    model = load(folder, weights=weights)
    model = with_options(model, options) if options else model
    about = scored_on(split, dataset, weights, source)
    if task.scorer is None:
        _check_threshold(task, None, threshold)
        datasets = {"train": source.open("train", recipe), split: dataset}
        return Judgement(about | _judged(config, model, source, split, datasets, out))
    categories = known_categories(source, dataset, config)
    scorer: Any = task.scorer(categories)
    _check_threshold(task, scorer, threshold)
    used = float(getattr(model, "shown_from", SHOWN_FROM) if threshold is None else threshold)
    if hasattr(scorer, "threshold"):
        scorer.threshold = used
    judging = None if out is None else Judging(scorer, dataset, split)
    scores = evaluate_model(model, dataset, judging or scorer, batch_size=recipe.batch_size)
    for remark in remarks_of(scorer):
        (progress or Silent()).say(f"warning: {remark}")
    if judging is not None:
        judging.write(Path(out or ""), task, categories, threshold=used)
    return Judgement(about | scores, by_class(scorer))


def _check_threshold(task: Task, scorer: Any, threshold: float | int | None) -> None:
    """Refuse a threshold out of range, and one for a system whose scores have none."""
    if threshold is None:
        return
    if not 0 <= threshold <= 1:
        raise UsageError(f"received threshold={threshold}, expected 0 to 1")
    if not hasattr(scorer, "threshold"):
        raise UsageError(f"received threshold={threshold} for a system for {task.name}, whose results have no scores")


def _judged(
    config: Mapping[str, Any],
    model: Saved,
    source: Source,
    split: str,
    datasets: Mapping[str, Any],
    out: str | Path | None,
) -> Row:
    """Return the scores of the pictures that a model makes, against those of a split; their record goes to `out`."""
    recipes = recorded_recipes(config)
    judge = _judge(source.task, recipes)
    if source.task.generated is None or judge is None or not isinstance(model, Samples):
        raise UsageError(f"{config['model']} was trained with judge=none, and has no score")
    scorer = source.task.generated(judge, list(recipes.values())[-1], source.name, split, datasets)
    scores = scorer.score(model)
    if out is not None:
        scorer.write_record(Path(out))
    return {**scores}


def predict_files(
    model: Saved,
    sources: Sequence[Any],
    *,
    ahead: int = 16,
    known: Mapping[str, Any] | None = None,
    tile: int | None = None,
    overlap: float | int = 0.25,
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (source, image, result) in order, reading a few files ahead.

    Images are what the model reads, to be drawn on; an unreadable file has none, and its result is its error.

    Args:
        model: that predicts.
        sources: a path for each, or whatever the model's `predict` takes an image from.
        ahead: how many are read, and predicted, together; of tiles, which are for large pictures, one at a time.
        known: what the model's own `samples` takes besides, such as the focal length.
        tile, overlap: as for `model.predict`.

    Raises:
        ValueError: if the model gives no results for pictures, or takes no such thing besides.
    """
    looks = predicting(model, known or {})
    model = fuse_for_inference(looks) if looks.by_one_network else looks
    ahead = 1 if tile is not None else ahead
    for start in range(0, len(sources), ahead):
        samples, errors = {}, {}
        for source in sources[start : start + ahead]:
            try:
                (samples[source],) = model.samples([source], **(known or {}))
            except (ValueError, OSError) as error:
                errors[source] = error
        found = model.predict_samples(samples.values(), batch_size=ahead, tile=tile, overlap=overlap)
        results = dict(zip(samples, found, strict=True))
        for source in sources[start : start + ahead]:
            image, _ = samples.get(source, (None, {}))
            yield source, image, errors.get(source) or results[source]


def predicting(model: Saved, known: Mapping[str, Any]) -> Predicts:
    """Return a model that gives results for pictures, and takes what is known of them besides.

    Raises:
        UsageError: if it gives none, or naming all that it does not take.
    """
    if not isinstance(model, Predicts):
        raise UsageError(f"a {type(model).__name__} predicts nothing; expected a model that looks at pictures")
    taken = {key for key in inspect.signature(model.samples).parameters if key != "images"}
    if unknown := sorted(set(known) - taken):
        raise UsageError(f"received {', '.join(unknown)} for a model that takes {', '.join(sorted(taken)) or 'none'}")
    return model


def sample(
    model: Saved, count: int, *, seed: int = 0, condition: Mapping[str, Any] | None = None
) -> Float[Tensor, "N C H W"]:
    """Draw images (N C H W in [0, 1]) from a generative model; equal seeds give equal images.

    Args:
        model: that samples.
        count: how many images, N.
        seed: of all draws: that of the first image, image i has the seed after i more.
        condition: what the model's own `sample` takes besides, such as guidance, steps or a prompt; also as text.

    Raises:
        OverrideError: naming all conditions that the model does not take.
        ValueError: if the model makes no images.
    """
    if not isinstance(model, Samples):
        raise UsageError(f"a {type(model).__name__} does not generate; expected a generative model")
    conditions = checked_conditions(model, condition or {})
    generator = torch.Generator(model.device).manual_seed(seed)
    return model.sample(count, generator=generator, **conditions).cpu()


# ----------------------------------------------------------------------------------------------------------------------
# Taking it elsewhere


def export(
    name: str | Path,
    out: str | Path,
    *,
    format: Format = "onnx",
    half: bool = False,
    int8: Sequence[Any] = (),
    photos: Sequence[Any] = (),
    weights: str | None = None,
    download: bool = False,
    anyway: bool = False,
) -> Exported:
    """Write the network of a run, or of published weights, with all that belongs to it, to a file for other runtimes.

    `vidi.load`, `vidi predict` and `vidi eval` take a file of ONNX as they take a run.

    Args:
        name: a run folder, or a name as in `vidi.models()`.
        out: the file.
        format: "onnx", or "pt2", a program for `torch.export.load`.
        half: numbers inside have sixteen bits.
        int8: photos of the kind that it will see, which say the ranges of numbers of eight bits; none: not so few.
        photos: that results are compared on; by default one that comes with matplotlib.
        weights: of a run, `best` or `last`; of a name, a published set.
        download: fetch published weights if they are not on this machine.
        anyway: write the file also if its results differ.

    Raises:
        NoExportError: if the model cannot be exported.
        DiffersError: if the file does not have the model's results.
    """
    if int8 and (half or format == "pt2"):
        other = "half=True" if half else "format='pt2'"
        raise UsageError(f"received int8 with {other}, expected format='onnx' and half=False")
    model: Any = load_or_create(name, weights=weights, download=download)
    asks = task_of(name).asks
    reason = "it takes sentences, no pictures" if asks == "sentences" else reason_against(model)
    if reason is not None:
        raise NoExportError(f"{name} is not exported: {reason}")
    config = recorded_config(name) if is_run(name) else {}
    own = {key: config[key] for key in ("task",) if key in config}  # not where its data lie
    return export_model(
        model,
        list(model.samples(photos or [_photo(asks == "pairs")])),
        out,
        config={**model.description(), **own},
        licence=_licence(name, weights, config),
        format=format,
        half=half,
        calibration=list(model.samples(int8)),
        anyway=anyway,
    )


def _photo(paired: bool) -> Any:
    """Return a photo that is on every machine (Grace Hopper's, public domain), or two views of it."""
    from matplotlib.cbook import get_sample_data

    photo = files.read_image(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return (photo[:, :, 8:], photo[:, :, :-8]) if paired else photo


def _licence(name: str | Path, weights: str | None, config: Mapping[str, Any]) -> str:
    """Return the licence of published weights, or of those that a run began with, and whose the others are."""
    model = config.get("model", str(name))
    began = config.get("weights") if config else weights or next(iter(published_weights(model)), None)
    if began is None or began not in published_weights(model):
        return "that of whoever trained it"
    licence = published(f"{model}/{began}").licence
    return f"{licence} ({began}), trained on by whoever made the run" if config else f"{licence} ({began})"
