"""Models by name: the catalogue's entries, with random or published weights, or those of a file or a run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidi import files
from vidi.catalog.entry import Entry
from vidi.catalog.listed import UnknownNameError
from vidi.catalog.names import entry
from vidi.engine.overrides import check_overrides
from vidi.model import Saved
from vidi.results.categories import category_names
from vidi.weights.loading import load_published, published, published_weights
from vidi.weights.local_files import load_file, usual_arguments
from vidi.weights.own_runs import OwnWeights, own_model
from vidi.weights.pipelines import PIPELINES, read_whole
from vidi.weights.published import Published


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
        name: as in `vidi.models()`, or "stable_diffusion", which is read whole from its `weights`, a folder or a file.
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
    if name in PIPELINES:
        check_overrides(arguments, {})
        return read_whole(name, weights)
    row = entry(name)
    checked = check_overrides(arguments, row.arguments)
    return build(row, checked, weights=weights, backbone_weights=backbone_weights, download=download)


def build(
    row: Entry, checked: Mapping[str, Any], *, weights: str | None, backbone_weights: str | None, download: bool = False
) -> Saved:
    """Build a model as `create` does, from arguments that are checked."""
    if weights is None:
        model = row.builder(**checked)
        model.note_random_weights()
    else:
        model = _with_weights(row, weights, checked, download)
    if backbone_weights is not None:
        load_published(model, backbone_weights, part="backbone", download=download)
    return model


def _with_weights(row: Entry, weights: str, checked: Mapping[str, Any], download: bool) -> Saved:
    name = row.name
    if weights not in published_weights(name) and Path(weights).exists():
        own = OwnWeights.at(weights)
        if own is not None:
            own.check_model(name)
            known = check_overrides(own.config["arguments"], row.arguments)
            return own_model(own, row.builder, known, checked)
        model = row.builder(**{**usual_arguments(name, Path(weights)), **checked})
        load_file(model, name, Path(weights), new_head="categories" in checked)
        return model
    known = weights_of(name, weights)
    categories = known.categories()
    model = row.builder(**{**known.arguments, "categories": categories, **checked})
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
    elif (own := own_weights(name, weights)) is not None:
        own.check_model(name)
    if backbone_weights is not None:
        try:
            published(backbone_weights)
        except ValueError as error:
            raise UnknownNameError(str(error)) from None


def own_weights(name: str, weights: str | None) -> OwnWeights | None:
    """Return the weights of a run or a saved model that a name means; None for published ones and any other file."""
    if weights is None or weights in published_weights(name) or not Path(weights).exists():
        return None
    return OwnWeights.at(weights)


def recorded_weights(name: str, weights: str | None) -> dict[str, str]:
    """Return what a run folder records of the weights that it begins with: a name, or a path and the file's digest."""
    if weights is None or weights in published_weights(name):
        return {} if weights is None else {"weights": weights}
    own = OwnWeights.at(weights)
    digest = hashlib.sha256(files.read_bytes(Path(weights) if own is None else own.path)).hexdigest()
    return {"weights": str(Path(weights).resolve()), "weights_sha256": digest}


def weights_of(name: str, weights: str) -> Published:
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
