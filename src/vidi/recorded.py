"""What a run's `config.json` means: the model, the recipes, the task and the data set that it describes."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidi.catalog.names import entry
from vidi.catalog.table import CATALOG
from vidi.data.loading import size_of
from vidi.engine.datasets import Source, categories_for, left_out
from vidi.engine.overrides import check_overrides
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run, recorded_part
from vidi.engine.task import Task
from vidi.exported.network import is_exported, said_by
from vidi.model import Predicts, Saved
from vidi.results.categories import Categories, category_names
from vidi.tasks.table import TASKS
from vidi.weights.creation import build, recorded_weights
from vidi.weights.pipelines import PIPELINES

# ----------------------------------------------------------------------------------------------------------------------
# The system


def recorded_config(name: str | Path) -> dict[str, Any]:
    """Return what a run folder, a saved model or an exported file records.

    Raises:
        FileNotFoundError, ValueError: as `Run.config`, and `said_by` of an exported file.
    """
    return said_by(name).config if is_exported(name) else Run(Path(name)).config()


def is_run(name: str | Path) -> bool:
    """Tell whether a name is that of a run folder or an exported file, and not one of a model; a folder wins."""
    return Run(Path(name)).config_path.is_file() or not (str(name) in CATALOG or str(name) in PIPELINES)


def task_of(name: str | Path) -> Task:
    """Return the task of a run folder or of a model.

    Raises:
        FileNotFoundError: if it is neither.
    """
    if str(name) in PIPELINES and not is_run(name):
        return PIPELINES[str(name)].task
    return recorded_task(recorded_config(name)) if is_run(name) else entry(str(name)).task


def recorded_task(config: Mapping[str, Any]) -> Task:
    """Return the task that a model was trained for; that of the catalogue for one that was only saved."""
    row = entry(config["model"])
    return TASKS[config["task"]] if "task" in config else row.task


def recorded_model(config: Mapping[str, Any]) -> Saved:
    """Build the model that a configuration describes, with random weights.

    Raises:
        ValueError: if this version of vidi knows no such model, argument or preprocessing.
    """
    row = entry(config["model"])
    model = row.builder(**check_overrides(config["arguments"], row.arguments))
    return _as_recorded(model, config)


def begun_again(config: Mapping[str, Any]) -> Saved:
    """Build the model that a run began with, from the weights that it began with, if there were any."""
    row = entry(config["model"])
    weights, backbone_weights = config.get("weights"), config.get("backbone_weights")
    digest = config.get("weights_sha256")  # of a file, which may have changed; published ones are checked anyway
    if digest is not None and recorded_weights(row.name, weights)["weights_sha256"] != digest:
        raise ValueError(f"{weights} holds other weights now than the run began with: begin a new run")
    checked = check_overrides(config["arguments"], row.arguments)
    return _as_recorded(build(row, checked, weights=weights, backbone_weights=backbone_weights), config)


def _as_recorded(model: Saved, config: Mapping[str, Any]) -> Saved:
    """Give a model the recorded preprocessing and threshold; what was not recorded is as its builder says."""
    usual = asdict(model.preprocess)
    model.preprocess = recorded_part("preprocess", type(model.preprocess), usual | config["preprocess"])
    if isinstance(model, Predicts) and "threshold" in config:
        model.shown_from = recorded_part("threshold", float, config["threshold"])
    return model


# ----------------------------------------------------------------------------------------------------------------------
# The training


def recorded_recipes(config: Mapping[str, Any]) -> Mapping[str, Recipe]:
    """Return the recipes that a run was trained by; those of the system for a model that was only saved."""
    if "recipe" not in config:
        return entry(config["model"]).recipes
    return recorded_part("recipe", dict[str, Recipe], config["recipe"])


def plain_recipes(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """Return recipes as a configuration records them."""
    return {stage: asdict(recipe) for stage, recipe in recipes.items()}


# ----------------------------------------------------------------------------------------------------------------------
# The data


def recorded_source(config: Mapping[str, Any], data: str | Path | None = None) -> Source:
    """Return a run's own data, or where the user says that it is now."""
    recorded = config["data"]
    try:
        return Source.of(recorded["source"] if data is None else data, recorded_task(config), recorded["faults"])
    except FileNotFoundError as error:
        moved = "" if data is not None else "; if it was moved, say where it is now with --data (data= in Python)"
        raise FileNotFoundError(f"{error}{moved}") from None


def knows_photos(config: Mapping[str, Any]) -> bool:
    """Tell whether weights may have seen more than a data set that is built in, as those may that record nothing."""
    if "data" not in config or "weights" in config or "backbone_weights" in config:
        return True
    return config["data"]["source"] not in recorded_task(config).built_in


def description_of(source: Source, datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration records of the data."""
    categories = categories_for(source.task, datasets["train"])
    facts = {"categories": list(categories), "samples": size_of(datasets["train"])}
    return {"source": source.name, "faults": source.faults, **facts, "left_out": left_out(datasets)}


def check_same(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse to continue a training on other data."""
    for fact in ("categories", "samples", "left_out"):
        if recorded.get(fact, found[fact]) != found[fact]:
            changed = f"has {found[fact]} as {fact} now; the run began with {recorded[fact]}"
            raise ValueError(f"{found['source']} {changed}: a run resumes with its own data")


def known_categories(source: Source, dataset: Any, config: Mapping[str, Any]) -> Categories:
    """Return the categories of a run, none for a system without; refuse a data set that has others, or other words."""
    known = config["arguments"]
    for key, fact in source.task.says.items():
        if isinstance(known.get(key), list | tuple):
            _check_vocabulary(source.name, key.replace("_", " "), fact(dataset), category_names(known[key]))
    return category_names(known["categories"]) if "categories" in known else ()


def _check_vocabulary(source: str, what: str, found: Categories, known: Categories) -> None:
    """Refuse to score a model by the labels of another vocabulary."""
    if found == known:
        return
    more, fewer = [str(n) for n in found if n not in known], [str(n) for n in known if n not in found]
    differences = [f"the model does not know {', '.join(more)}"] if more else []
    differences += [f"the data set lacks {', '.join(fewer)}"] if fewer else []
    reason = "; ".join(differences) or "they come in another order"
    raise ValueError(f"{source} has other {what} than the model: {reason}")
