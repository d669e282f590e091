"""A training from its data to its report: its stages in order, each by gradients or at once."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
import torch.distributed

from vidi import files
from vidi.data.loading import size_of
from vidi.data.transforms import Augmentation, cutmix, mixup
from vidi.engine import plots, report
from vidi.engine.datasets import Source
from vidi.engine.evaluate import evaluate
from vidi.engine.fit import Training, Validate, Validated, fit_at_once, trained_by_gradients
from vidi.engine.hooks import Epoch, Hook, OnEpoch, since_last_validation
from vidi.engine.judging import by_class
from vidi.engine.processes import Processes
from vidi.engine.progress import Progress
from vidi.engine.recipe import Recipe
from vidi.engine.report import Trained
from vidi.engine.runs import WEIGHTS, Row, Run, is_main_process, number_in, numbers_of
from vidi.engine.task import PictureScorer, Scorer
from vidi.metrics.generation_score import Extractor
from vidi.model import Predicts, Samples, Saved, Stage, Trainable
from vidi.preprocess import Prepares, Preprocess
from vidi.results.categories import Categories


@dataclass(frozen=True)
class Job:
    """What `vidi train` was asked for, resolved: a model with its recipes, its data and its run folder."""

    run: Run
    model: Saved
    recipes: Mapping[str, Recipe]  # by stage; one named "" for everything but staged systems
    source: Source
    categories: Categories
    progress: Progress
    datasets: dict[str, Any] = field(default_factory=dict)  # by split, those that are open already
    former: Mapping[str, Sequence[Recipe]] = field(default_factory=dict)  # by stage: recipes of lengths that it had
    extractor: Extractor | None = None  # of what generated pictures are judged by
    on_epoch: OnEpoch | None = None

    @cached_property
    def hook(self) -> Hook:
        """Who is told of each validation."""
        return Hook(self.on_epoch, self.progress)

    def recipe(self) -> Recipe:
        """Return the recipe that data, seed and evaluation follow: the last stage's."""
        return list(self.recipes.values())[-1]

    def dataset(self, split: str) -> Any:
        """Return a split of the job's data, opened once."""
        if split not in self.datasets:
            self.datasets[split] = self.source.open(split, self.recipe())
        return self.datasets[split]

    def picture_scorer(self) -> PictureScorer | None:
        """Return who judges generated pictures, beside those of the validation split; None where nobody does."""
        generated = self.source.task.generated
        if generated is None or self.extractor is None:
            return None
        datasets = {split: self.dataset(split) for split in ("train", "val")}
        return generated(self.extractor, self.recipe(), self.source.name, "val", datasets)


def train(job: Job) -> Row:
    """Train, score the best weights on the validation split, and write plots and report; return the scores."""
    if (threads := job.recipe().threads) is not None:
        torch.set_num_threads(threads)
    if is_main_process():
        files.remove_temporaries(job.run.folder)
    dataset = job.dataset("train")
    begun, resumed = time.monotonic(), job.run.has_state()
    rows: list[Row] = []
    stages = job.model.stages()
    for stage in stages:
        done = _train_stage(job, stage, stage.prepare(dataset))
        first = max((int(number_in(row, "step")) for row in rows), default=0)
        named = {"stage": stage.name} if stage.name else {}
        rows += [{**row, "step": int(number_in(row, "step")) + first, **named} for row in done]
    if any(stage.name for stage in stages) and is_main_process():
        _write_weights(job)
        job.run.write_metrics(rows)
    scores = _finish(job, rows, Trained(time.monotonic() - begun, resumed))
    job.hook.end()
    return scores


def _train_stage(job: Job, stage: Stage, dataset: Any) -> list[Row]:
    """Train one stage, or load its weights where it has ended; the whole model then holds its best."""
    run = Run(job.run.folder / stage.name)
    if stage.name:
        job.progress.say(f"stage {stage.name}")
    model = trained_by_gradients(stage.model)
    if model is None:
        job.progress.say(f"fitting to {len(dataset)} samples")
        fit_at_once(stage.model, dataset, seed=job.recipe().seed)
        if is_main_process():
            _write_weights(job)
        return []
    recipe = job.recipes[stage.name]
    validation = _validation(job, model, recipe)
    training = Training(
        model,
        recipe,
        dataset,
        run,
        owner=job.model,
        augment=augmentation_of(recipe, model.preprocess, dataset),
        alter=mixing_of(recipe, len(job.categories)),
        validate=validation.validate,
        headline=validation.headline,
        falling=validation.falling,
        after_validation=partial(_after_validation, job, stage.name, validation),
        progress=job.progress,
        former=job.former.get(stage.name, ()),
    )
    rows = training.fit()
    _wait_for_all()
    job.model.load_state_dict(files.read_tensors(run.weights_path("best")))
    return rows


def _write_weights(job: Job) -> None:
    for which in WEIGHTS:
        files.write_tensors(job.run.weights_path(which), job.model.state_dict())


def _wait_for_all() -> None:
    """Let the other processes read what the main one writes."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def augmentation_of(recipe: Recipe, preprocess: Prepares, dataset: Any) -> Augmentation | None:
    """Return how a recipe moves the samples of a data set; None for not at all."""
    if recipe.augment == "none" or not isinstance(preprocess, Preprocess):
        return None
    image, _ = dataset[0]
    size = preprocess.crop or preprocess.exact or (image.shape[-2], image.shape[-1])
    joints = getattr(dataset, "joints", ()) or getattr(dataset, "keypoint_names", ())
    return Augmentation(recipe.augment, size, joints=tuple(joints), parts=tuple(getattr(dataset, "parts", ())))


def mixing_of(recipe: Recipe, classes: int) -> Any:
    """Return how a recipe mixes the pictures of a batch; None for not at all."""
    return {"none": None, "mixup": partial(mixup, classes=classes), "cutmix": partial(cutmix, classes=classes)}[
        recipe.mix
    ]


@dataclass(frozen=True)
class Validation:
    """How one training is judged."""

    validate: Validate
    headline: str | None = None
    falling: bool = False


def _validation(job: Job, model: Trainable, recipe: Recipe) -> Validation:
    """Return how a stage is judged: by results for pictures, by the pictures that it makes, or not at all."""
    scorer = job.source.task.scorer
    if scorer is not None:
        return Validation(partial(_validate, job, recipe), scorer(job.categories).headline)
    judge = job.picture_scorer() if isinstance(model, Samples) else None
    if judge is None:
        return Validation(_no_scores)
    return Validation(partial(_judge, judge), judge.headline, falling=True)


def _judge(judge: PictureScorer, model: Trainable, processes: Processes) -> Row:
    """Score the pictures that a model makes; every process makes them all, and gets the same scores."""
    if not isinstance(model, Samples):
        raise TypeError(f"a {type(model).__name__} makes no pictures to score")
    return {"split": "val", **judge.score(model)}


def _validate(job: Job, recipe: Recipe, model: Trainable, processes: Processes) -> Row:
    scorer, dataset = job.source.task.scorer, job.dataset("val")
    if scorer is None:
        raise TypeError(f"the task {job.source.task.name} has no scorer")
    if not isinstance(model, Predicts):
        raise TypeError(f"a {type(model).__name__} gives no results to score")
    judge = scorer(job.categories)
    scores = evaluate(
        model,
        dataset,
        judge,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        channels_last=recipe.channels_last,
        processes=processes,
    )
    return {"split": "val", "images": size_of(dataset), **scores, **_threshold(judge)}


def _threshold(scorer: Scorer) -> Row:
    """Return the score from which on what is found is shown: that of the best F1, where a scorer knows one."""
    best = getattr(scorer, "best_threshold", None)
    found = None if best is None else best()
    return {} if found is None else {"threshold": found}


def _no_scores(model: Trainable, processes: Processes) -> Row:
    """Score nothing: a generator that nobody judges is looked at, `_show` draws its samples."""
    return {}


def _after_validation(job: Job, stage: str, validation: Validation, model: Trainable, validated: Validated) -> None:
    """Write what there is to look at, then tell the hook of it."""
    run, row = Run(job.run.folder / stage), validated.row
    _show(job, run, job.recipes[stage], model, validated)
    if job.on_epoch is None:
        return
    epoch = Epoch(
        job.run,
        stage,
        step=int(number_in(row, "step")),
        epoch=float(number_in(row, "epoch")),
        rows=since_last_validation(run.metrics()),
        scores=numbers_of(row),
        headline=validation.headline,
        falling=validation.falling,
        is_best=validated.is_best,
        is_last=False,
    )
    job.hook.tell(epoch, ends_stage=validated.is_last)


def _show(job: Job, run: Run, recipe: Recipe, model: Trainable, validated: Validated) -> None:
    """Write what a training that is stopped now would leave to look at: pictures, curves, report.

    While an average warms up, samples of the weights that it averages stand beside those of its own.
    """
    averages, row = validated.averages, validated.row
    if isinstance(model, Samples):
        raw = partial(averages.lifted, model) if averages.warms_up else None
        report.write_samples(run, model, job.dataset("train"), seed=recipe.seed, raw=raw)
    if isinstance(model, Predicts) and validated.is_best:
        _note_threshold(job, model, row)
    if validated.is_last:  # `_finish` writes the rest
        return
    if isinstance(model, Predicts) and job.source.task.scorer is not None:
        report.write_mosaic(
            run, model, job.dataset("val"), job.source.task, job.categories, split="val", weights="last"
        )
    if run == job.run:
        scores = {**row, "weights": "last", "data": job.source.name}
        report.write_report(run, job.source.task, run.config(), run.metrics(), scores)
    else:
        plots.curves(run.folder / "curves.png", run.metrics())


def _note_threshold(job: Job, model: Predicts, row: Row) -> None:
    """Have a model, and the run that it is loaded from, show what scores at least the threshold of a row of scores."""
    if "threshold" in row and hasattr(job.source.task.result, "above"):  # that of identities is a distance
        model.shown_from = float(row["threshold"])
        job.run.write_config({**job.run.config(), "threshold": model.shown_from})


def scored_on(split: str, dataset: Any, weights: str, source: Source) -> Row:
    """Return what a row of scores says of what they are of."""
    return {"split": split, "images": size_of(dataset), "weights": weights, "data": source.name}


def _finish(job: Job, rows: list[Row], trained: Trained) -> Row:
    """Score the best weights, and write what a run folder ends with; the main process does it alone."""
    _wait_for_all()
    if not is_main_process():
        return {}
    model, recipe = job.model, job.recipe()
    scores: Row = {}
    remarks: list[str] = []
    if isinstance(model, Predicts) and job.source.task.scorer is not None:
        scorer = job.source.task.scorer(job.categories)
        validation = job.dataset("val")
        numbers = evaluate(model, validation, scorer, batch_size=recipe.batch_size, workers=recipe.workers)
        scores = scored_on("val", validation, "best", job.source) | numbers | _threshold(scorer)
        _note_threshold(job, model, scores)
        trained = trained._replace(classes=by_class(scorer))
        remarks = report.remarks_of(scorer)
        for remark in remarks:
            job.progress.say(f"warning: {remark}")
        scorer.write_plots(job.run.folder)
        report.write_mosaic(job.run, model, validation, job.source.task, job.categories, split="val")
    elif isinstance(model, Samples) and (judge := job.picture_scorer()) is not None:
        scores, remarks = _judged(job, judge, model)
    elif numbers := model.learnt_numbers():
        scores = scored_on("train", job.dataset("train"), "best", job.source) | numbers
    if isinstance(model, Samples):
        report.write_samples(job.run, model, job.dataset("train"), seed=recipe.seed)
    files.write_json(job.run.scores_path, scores)
    report.write_report(job.run, job.source.task, job.run.config(), rows, scores, remarks, trained)
    if not recipe.keep_state:
        job.run.forget_states()
    return scores


def _judged(job: Job, judge: PictureScorer, model: Samples) -> tuple[Row, list[str]]:
    """Return the scores of the best weights' pictures with the remarks on them, and write their record."""
    scores = scored_on("val", job.dataset("val"), "best", job.source) | judge.score(model)
    for remark in judge.remarks():
        job.progress.say(f"warning: {remark}")
    judge.write_record(job.run.folder)
    return scores, judge.remarks()
