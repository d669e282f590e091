"""Weights of one's own: what a training or `model.save` left, to go on from with other categories, sizes or data.

    folder, or a file of weights in one -> config.json, tensors -> a model of the same name -> strict load

The arguments that the weights were made with are the defaults; others may be given, as far as the tensors still fit.
Layers that depend on the categories begin anew where those are others, positions are fitted to another size, and of
the preprocessing only what the given arguments change is not the run's.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from vidi import files
from vidi.backbones.vit import fitted_positions
from vidi.engine.runs import WEIGHTS, Run, recorded_part
from vidi.model import Saved
from vidi.results.categories import category_names
from vidi.weights.strict import load_strictly

WORDS = ("source_words", "target_words")
"""The arguments that give an embedding its rows: weights of other words mean nothing."""

KEPT = ("merges",)
"""The arguments that a data set says and weights go on with as they are: a tokenizer takes any text."""


class OtherModelError(ValueError):
    """The weights are those of another model, or of one that cannot begin with any."""

    is_usage = True


@dataclass(frozen=True)
class OwnWeights:
    """Tensors that vidi wrote, and the configuration that lies beside them."""

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def at(cls, place: str | Path) -> "OwnWeights | None":
        """Return the weights of a run folder (the best), or those of a file in one; None for any other file.

        Raises:
            NotARunError, ValueError: for a folder that is not a run's, or a damaged one.
        """
        path = Path(place)
        if path.is_dir():
            return cls(Run(path).weights_path(), Run(path).config())
        run = Run(path.parent)
        if path.name in WEIGHTS.values() and path.is_file() and run.config_path.is_file():
            return cls(path, run.config())
        return None

    def check_model(self, name: str) -> None:
        """Refuse to begin any but the model that the weights are of."""
        known = self.config["model"]
        if known != name:
            raise OtherModelError(f"{self.path} holds the weights of {known}, not of {name}: they begin {known} only")


def own_model(
    own: OwnWeights, build: Callable[..., Saved], known: Mapping[str, Any], given: Mapping[str, Any]
) -> Saved:
    """Build a model that begins with weights of one's own.

    Args:
        own: the weights, of the model that `build` makes.
        build: the builder.
        known: the arguments that the weights were made with.
        given: arguments that replace them, such as other `categories`.

    Raises:
        ValueError: if the model has other words, or tensors of other shapes, or is fitted at once.
    """
    given = {key: value for key, value in given.items() if key not in KEPT}
    for key in WORDS:
        if key in given and tuple(given[key]) != tuple(known[key]):
            raise OtherModelError(
                f"{own.path} knows other {key.replace('_', ' ')} than the data set, or than were given"
            )
    model = build(**{**known, **given})
    if not model.can_begin_with_weights:
        raise OtherModelError(f"{own.config['model']} is fitted at once to a data set: no weights can begin it")
    with torch.device("meta"):
        before = build(**known)
    model.preprocess = _preprocess(model, before, own.config)
    tensors = fitted_positions(model, files.read_tensors(own.path), before=before, antialias=True)
    if "categories" in given and category_names(given["categories"]) != category_names(known["categories"]):
        present = model.state_dict()
        tensors |= {key: present[key] for key in by_category(build, known)}
    load_strictly(model, tensors)
    return model


def by_category(build: Callable[..., Saved], arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of a model's tensors whose shapes depend on the number of categories."""
    names = category_names(arguments["categories"])
    with torch.device("meta"):
        some = build(**{**arguments, "categories": names}).state_dict()
        more = build(**{**arguments, "categories": (*names, "one more")}).state_dict()
    return [key for key, value in some.items() if value.shape != more[key].shape]


def _preprocess(model: Saved, before: Saved, config: Mapping[str, Any]) -> Any:
    """Return the recorded preprocessing, changed where the model's arguments are not those of `before`."""
    ours, usual = model.preprocess, before.preprocess
    names = [field.name for field in fields(ours)]
    changed = {name: getattr(ours, name) for name in names if getattr(ours, name) != getattr(usual, name)}
    recorded = recorded_part("preprocess", type(ours), asdict(usual) | config["preprocess"])
    return replace(recorded, **changed)
