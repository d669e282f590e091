"""What a generative model is asked for: from the words of a shell to its own `sample`, and to text beside a picture."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from vidi.engine.overrides import check_overrides, spelled
from vidi.model import Samples


def checked_conditions(model: Samples, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model is asked for as arguments of its `sample`; values may be text.

    Raises:
        OverrideError: naming all conditions that the model does not take, and all values of another type.
    """
    hints = get_type_hints(model.sample)
    known = {key: kind for key, kind in hints.items() if key not in ("count", "generator", "return")}
    arguments = {_spoken(key): key for key in known}
    checked = check_overrides(asked, {key: known[argument] for key, argument in arguments.items()})
    return {arguments[key]: value for key, value in checked.items()}


def told_conditions(model: Samples, asked: Mapping[str, Any], image: int | None = None) -> dict[str, str]:
    """Return all conditions of a sampling as a shell spells them, those that nobody asked for included.

    Args:
        model: that samples.
        asked: as for `checked_conditions`.
        image: its number: the conditions under which it is the first image of its own seed; None: those of all.

    Raises:
        OverrideError: as `checked_conditions`.
        ValueError: for conditions out of range, or under which an image is no function of its own seed.
    """
    told = model.conditions(image, **checked_conditions(model, asked))
    return {_spoken(key): spelled(value) for key, value in told.items()}


def _spoken(argument: str) -> str:
    """Return an argument as it is asked for: `class_` is no keyword of Python's, and is asked for as `class`."""
    return argument.removesuffix("_")
