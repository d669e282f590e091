"""A search for the numbers of a training: trials that are drawn by what earlier ones gave, the hopeless ones cut short.

    space -> optuna (TPE, median pruner) <-> trials, runs of `vidi train` in OUT/trial-NNN -> table, plots, command

The study lies in OUT/study.db (SQLite); begun again, a search goes on where it was. What a trial draws is a function
of the seed, its number and the trials before it, so that a search that was stopped ends as it would have.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidi import api, files
from vidi.catalog.entry import Entry
from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.data.faults import OnFault
from vidi.engine import plots
from vidi.engine.hooks import Epoch, StopTraining
from vidi.engine.overrides import OverrideError, spelled
from vidi.engine.progress import Progress, Silent
from vidi.engine.runs import Run, shown
from vidi.starting.choice import command_of
from vidi.tuning.space import Range, Space, split_space

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

STUDY = "search"
UNPRUNED_TRIALS = 4
"""Trials that run to their end before any is cut short: a median of fewer says nothing."""

UNPRUNED_VALIDATIONS = 1
"""Validations of each trial after which it may be: the first one follows the warm-up of the learning rate."""


@dataclass(frozen=True)
class Tried:
    """One trial.

    Attributes:
        number: from 0 on.
        state: complete, pruned (cut short) or failed.
        value: its best validation; None for a failed one.
        drawn: the values that were searched, as a shell spells them.
        curve: the score at each validation.
        run: its folder.
        reason: why it failed, else empty.
    """

    number: int
    state: str
    value: float | None
    drawn: Mapping[str, str]
    curve: tuple[float, ...]
    run: Path
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """What a search found."""

    folder: Path
    headline: str
    falling: bool
    tried: tuple[Tried, ...]
    command: str  # that trains as the best trial did

    @property
    def best(self) -> Tried:
        """The trial with the best validation."""
        return best_of(self.tried, falling=self.falling)


def best_of(tried: Sequence[Tried], *, falling: bool) -> Tried:
    """Return the trial with the best value, the first of equal ones.

    Raises:
        ValueError: if all failed.
    """
    scored = [one for one in tried if one.value is not None]
    if not scored:
        reasons = "; ".join(dict.fromkeys(one.reason for one in tried if one.reason))
        raise ValueError(f"none of {len(tried)} trials has a score: {reasons or 'all were stopped'}")
    return min(scored, key=lambda one: (one.value or 0.0) * (1 if falling else -1))


def tune(
    name: str,
    *,
    trials: int = 30,
    data: str | Path | None = None,
    weights: str | None = None,
    backbone_weights: str | None = None,
    out: str | Path | None = None,
    faults: OnFault = "raise",
    seed: int = 0,
    progress: Progress | None = None,
    **overrides: Any,
) -> Search:
    """Search for the numbers with which a system learns best, by its validation.

    Args:
        name: as in `vidi.models()`.
        trials: in all; where `out` holds a search already, those that it lacks.
        data, weights, backbone_weights, faults: as for `train`.
        out: the folder; `runs/NAME-search` by default.
        seed: of what is drawn; trainings have their own.
        progress: hears of the trials and their trainings.
        overrides: keys of the recipe and of the builder: `"1e-4..1e-2"` is a range, `"sgd,adamw"` (or a list) a
            choice, anything else stays as it is.

    Raises:
        OverrideError: naming all keys and values that cannot be taken.
        ModuleNotFoundError: if optuna is not installed.
        ValueError: if the task has no score, the folder holds another search, or no trial has a score.
    """
    row, progress = entry(name), progress or Silent()
    space, fixed = split_space(overrides, row.keys)
    if not space:
        raise UsageError("nothing to search: expected a range, key=low..high, or a choice, key=a,b,c")
    if not row.task.validates:
        raise UsageError(f"{name} is a system for {row.task.name}, which has no score to search by")
    if trials < 1:
        raise UsageError(f"received {trials} trials, expected at least 1")
    if find_spec("optuna") is None:
        raise ModuleNotFoundError("optuna is not installed: pip install 'vidi[tune]'")
    folder = Path("runs") / f"{name}-search" if out is None else Path(out)
    begun = {"weights": weights, "backbone_weights": backbone_weights}
    options = {"data": data, "faults": faults, **begun}
    _record(folder, row, space, fixed, options)
    falling = row.task.scorer is None
    trying = Trying(row.name, folder, space, {**fixed, **options}, progress)
    with opened(folder, falling=falling) as study:
        for left in range(trials - len(_counted(study)), 0, -1):
            progress.say(f"trial {trials - left + 1} of {trials}")
            _one_trial(study, trying, seed)
        tried = tuple(_tried(trial, folder, falling=falling) for trial in _counted(study))
        headline = study.user_attrs.get("headline", "score")
    best = best_of(tried, falling=falling)
    drawn = {key: _value(space, key, text) for key, text in best.drawn.items()}
    command = command_of(row.name, {**fixed, **drawn}, data=data, **begun, faults=faults)
    found = Search(folder, headline, falling, tried, command)
    _write(found, space)
    return found


def _record(folder: Path, row: Entry, space: Space, fixed: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Write what is searched; refuse a folder in which something else was.

    Raises:
        UsageError: naming what differs.
    """
    asked = {
        "model": row.name,
        "space": {key: str(value) for key, value in space.items()},
        "fixed": {key: spelled(value) for key, value in fixed.items()},
        **{key: None if value is None else str(value) for key, value in options.items()},
    }
    path = folder / "search.json"
    known = files.read_json(path) if path.is_file() else asked
    others = [key for key in asked if known.get(key) != asked[key]]
    if others:
        differences = "; ".join(f"{key} {known.get(key)}, not {asked[key]}" for key in others)
        raise UsageError(f"{folder} holds a search with {differences}: choose another folder")
    files.write_json(path, asked)


@contextmanager
def opened(folder: Path, *, falling: bool) -> Iterator["Study"]:
    """Give the study of a folder, made if there is none; trials that a kill left running are failed ones."""
    import optuna
    from optuna.storages import RDBStorage
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = RDBStorage(f"sqlite:///{folder / 'study.db'}")
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=STUDY,
            load_if_exists=True,
            direction="minimize" if falling else "maximize",
            pruner=optuna.pruners.MedianPruner(UNPRUNED_TRIALS, UNPRUNED_VALIDATIONS + 1),
        )
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _counted(study: "Study") -> list["FrozenTrial"]:
    """Return the trials that came to an end of their own, in order: not those that were stopped or killed."""
    return [trial for trial in study.trials if trial.state.name != "FAIL" or "reason" in trial.user_attrs]


def _one_trial(study: "Study", trying: "Trying", seed: int) -> None:
    from optuna.samplers import TPESampler

    study.sampler = TPESampler(seed=seed + len(_counted(study)))
    study.optimize(trying, n_trials=1, catch=(FloatingPointError, OverrideError))


@dataclass(frozen=True)
class Trying:
    """Trains with what a trial draws, and tells the study how it goes."""

    name: str
    folder: Path
    space: Space
    options: Mapping[str, Any]  # of `api.train`, and keys that stay
    progress: Progress

    def __call__(self, trial: "Trial") -> float:
        import optuna

        drawn = {key: _drawn(trial, key, self.space) for key in self.space}
        words = " ".join(f"{key}={spelled(value)}" for key, value in drawn.items())
        self.progress.say(words)
        folder, look = run_folder(self.folder, trial.number), Look(trial)
        try:
            api.train(self.name, **self.options, out=folder, on_epoch=look, progress=self.progress, **drawn)
        except StopTraining:
            Run(folder).forget_states()
            self.progress.say(f"trial {trial.number}: cut short at {shown(look.best)}")
            raise optuna.TrialPruned from None
        except (FloatingPointError, OverrideError) as error:
            trial.set_user_attr("reason", str(error))
            self.progress.say(f"trial {trial.number}: failed: {error}")
            raise
        if look.best is None:
            trial.set_user_attr("reason", f"{folder} has no score")
            raise OverrideError(f"{folder} has no score")
        self.progress.say(f"trial {trial.number}: {look.headline} {shown(look.best)}")
        return look.best


class Look:
    """Tells a study each validation of a trial, and stops a trial that the study gives up."""

    def __init__(self, trial: "Trial"):
        self.trial = trial
        self.headline: str | None = None
        self.values: list[float] = []
        self.falling = False

    @property
    def best(self) -> float | None:
        """The best value so far; that of the weights which a run keeps."""
        return best_value(self.values, falling=self.falling)

    def __call__(self, epoch: Epoch) -> None:
        if epoch.value is None or epoch.headline is None:
            return
        if self.headline is None:
            self.headline, self.falling = epoch.headline, epoch.falling
            self.trial.study.set_user_attr("headline", epoch.headline)
        self.values.append(epoch.value)
        self.trial.report(epoch.value, len(self.values))
        if not epoch.is_last and self.trial.should_prune():
            raise StopTraining


def best_value(values: Sequence[float], *, falling: bool) -> float | None:
    """Return the best of some scores; None of none."""
    if not values:
        return None
    return min(values) if falling else max(values)


def run_folder(folder: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return folder / f"trial-{number:03d}"


def _drawn(trial: "Trial", key: str, space: Space) -> Any:
    """Draw the value of a key."""
    searched = space[key]
    if not isinstance(searched, Range):
        return searched.by_name()[trial.suggest_categorical(key, list(searched.by_name()))]
    if searched.is_whole:
        return trial.suggest_int(key, int(searched.low), int(searched.high), log=searched.is_wide)
    return trial.suggest_float(key, searched.low, searched.high, log=searched.is_wide)


def _value(space: Space, key: str, text: str) -> Any:
    """Return a drawn value again from its text."""
    searched = space[key]
    if isinstance(searched, Range):
        return int(text) if searched.is_whole else float(text)
    return searched.by_name()[text]


def _tried(trial: "FrozenTrial", folder: Path, *, falling: bool) -> Tried:
    curve = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    best = best_value(curve, falling=falling)
    drawn = {key: spelled(value) for key, value in trial.params.items()}
    reason = trial.user_attrs.get("reason", "")
    run = run_folder(folder, trial.number)
    return Tried(trial.number, state, best if state != "failed" else None, drawn, curve, run, reason)


def _write(found: Search, space: Space) -> None:
    """Write the table of trials and their plots."""
    rows = [
        {"trial": one.number, "state": one.state, found.headline: one.value, **one.drawn, "run": one.run.name}
        for one in found.tried
    ]
    files.write_csv(found.folder / "trials.csv", rows)
    values = [math.nan if one.value is None else one.value for one in found.tried]
    drawn = {
        key: [_value(space, key, one.drawn[key]) if isinstance(kind, Range) else one.drawn[key] for one in found.tried]
        for key, kind in space.items()
    }
    plots.trials(found.folder / "search.png", found.headline, values, [one.curve for one in found.tried], drawn)
