"""Models by name: the catalogue's entries, with random or published weights, or those of a file or a run."""

import difflib
import hashlib
import inspect
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_type_hints

from vidi import files
from vidi.catalog import CATALOG, Entry
from vidi.engine.overrides import check_overrides
from vidi.engine.scoring import TASKS
from vidi.model import Saved
from vidi.results import category_names
from vidi.weights.loading import load_published, published, published_weights
from vidi.weights.local_files import load_file, usual_arguments
from vidi.weights.own_runs import OwnWeights, own_model
from vidi.weights.sources import Source


class UsageError(ValueError):
    """What was asked for does not exist or does not go together."""

    is_usage = True


class UnknownNameError(UsageError):
    """There is no model, task or set of weights of this name; the message lists the nearest."""


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
        near = difflib.get_close_matches(name, CATALOG, 3)
        advice = f"did you mean {' or '.join(near)}?" if near else "vidi.models(), `vidi models`, lists them"
        raise UnknownNameError(f"no model is called {name!r}; {advice}")
    return CATALOG[name]


def builder_types(name: str) -> dict[str, Any]:
    """Return the arguments of a model's builder with their types."""
    function = inspect.unwrap(entry(name).builder)
    hints = get_type_hints(function)
    return {argument: hints[argument] for argument in inspect.signature(function).parameters}


def create(
    name: str,
    *,
    weights: str | None = None,
    backbone_weights: str | None = None,
    download: bool = False,
    **arguments: Any,
) -> Any:
    """Build a model of the catalogue, with random or published weights.

    Args:
        name: as in `vidi.models()`.
        weights: a published set, such as "torchvision/imagenet1k_v2"; its preprocessing, categories and the arguments
            that it was trained with come with it. Or a run folder of the same model, or a saved model's, with all that
            it records; see `own_model`. Or the path of a file in a published format; see `load_file`. Other
            `categories` get a new, random last layer; another `size` replaces the one of the preprocessing.
        backbone_weights: published weights of another model, such as "resnet18/torchvision/imagenet1k_v1", of which
            the backbone is taken, and what its pixels mean.
        download: fetch the weights if they are not on this machine.
        arguments: of the model's builder.

    Raises:
        ValueError: for unknown names, arguments and weights, with the choices.
        FileNotFoundError: if the weights are not on this machine; says where to put them.
    """
    checked = check_overrides(arguments, builder_types(name))
    model = entry(name).builder(**checked) if weights is None else _with_weights(name, weights, checked, download)
    if backbone_weights is not None:
        load_published(model, backbone_weights, part="backbone", download=download)
    return model


def _with_weights(name: str, weights: str, checked: dict[str, Any], download: bool) -> Saved:
    if weights not in published_weights(name) and Path(weights).exists():
        own = OwnWeights.at(weights)
        if own is not None:
            own.check_model(name)
            known = check_overrides(own.config["arguments"], builder_types(name))
            return own_model(own, entry(name).builder, known, checked)
        model = entry(name).builder(**{**usual_arguments(name, Path(weights)), **checked})
        load_file(model, name, Path(weights), new_head="categories" in checked)
        return model
    source = weights_of(name, weights)
    categories = source.categories()
    model = entry(name).builder(**{**source.arguments, "categories": categories, **checked})
    load_published(
        model,
        f"{name}/{weights}",
        new_head=category_names(checked.get("categories", categories)) != categories,
        own_size=checked.get("size") is not None,
        download=download,
    )
    return model


def check_weights(name: str, weights: str | None, backbone_weights: str | None) -> None:
    """Refuse names of weights that do not exist with a ValueError, before anything else is done."""
    if weights is not None and (weights in published_weights(name) or not Path(weights).exists()):
        weights_of(name, weights)
    elif weights is not None and (own := OwnWeights.at(weights)) is not None:
        own.check_model(name)
    if backbone_weights is not None:
        try:
            published(backbone_weights)
        except ValueError as error:
            raise UnknownNameError(str(error)) from None


def recorded_weights(name: str, weights: str | None) -> dict[str, str]:
    """Return what a run folder records of the weights that it begins with: a name, or a path and the file's digest."""
    if weights is None or weights in published_weights(name):
        return {} if weights is None else {"weights": weights}
    own = OwnWeights.at(weights)
    digest = hashlib.sha256(files.read_bytes(Path(weights) if own is None else own.path)).hexdigest()
    return {"weights": str(Path(weights).resolve()), "weights_sha256": digest}


def weights_of(name: str, weights: str) -> Source:
    """Return what is known about published weights of a model.

    Raises:
        ValueError: if the model has none of this name; lists those that it has.
    """
    entry(name)  # a wrong name is told with the nearest ones
    known = published_weights(name)
    if weights in known:
        return published(f"{name}/{weights}")
    others = "a run folder, or a file"
    choices = f"expected one of {', '.join(known)}, {others}" if known else f"none are published: expected {others}"
    raise UnknownNameError(f"{name} has no weights {weights!r}; {choices}")
