"""`key=value` on the command line: parsed, checked against types and choices, all faults reported at once."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import pydantic


class OverrideError(ValueError):
    """One or several keys or values that cannot be taken; the message has a line for each."""

    is_usage = True


@dataclass(frozen=True)
class Unreadable:
    """What stands for a value where a word was no `key=value`, or its key came before."""

    fault: str


def split_overrides(words: Sequence[str]) -> dict[str, str | Unreadable]:
    """Split `key=value` words; `check_overrides` tells what is wrong with them, with the faults of their values."""
    pairs: dict[str, str | Unreadable] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            pairs[word] = Unreadable(f"{word!r}: expected key=value")
        else:
            pairs[key] = Unreadable(f"{key}: given twice") if key in pairs else value
    return pairs


def check_overrides(values: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values (text from a shell, or Python values) to the types their keys have.

    Args:
        values: what the user gave.
        types: every key that may be given, with its type: numbers, strings, literals, tuples of them, None.

    Raises:
        OverrideError: naming every unknown key with the nearest known one, and every value that does not fit.
    """
    faults, checked = [], {}
    for key, value in values.items():
        if isinstance(value, Unreadable):
            faults.append(value.fault)
            continue
        if key not in types:
            near = difflib.get_close_matches(key, types, 1)
            known = f"choices: {', '.join(sorted(types))}" if types else "there is none to give"
            meant = f"did you mean {near[0]}?" if near else known
            faults.append(f"{key}: no such key; {meant}")
            continue
        try:
            checked[key] = pydantic.TypeAdapter(types[key]).validate_python(_from_text(value, types[key]))
        except pydantic.ValidationError:
            faults.append(f"{key}: received {value!r}, expected {describe_type(types[key])}")
    if faults:
        raise OverrideError("\n".join(faults))
    return checked


def spelled(value: Any) -> str:
    """Return a value as a shell spells it: what `check_overrides` reads as the same value again."""
    if isinstance(value, tuple):
        return ",".join(map(spelled, value))
    return "none" if value is None else str(value)


def describe_type(annotation: Any) -> str:
    """Say in words what values a type admits: `int`, `one of sgd, adamw`, `int or none`, `H,W`."""
    if annotation is None or annotation is type(None):
        return "none"
    arguments = get_args(annotation)
    if not arguments:
        return getattr(annotation, "__name__", str(annotation))
    if _is_literal(annotation):
        return "one of " + ", ".join(map(str, arguments))
    if get_origin(annotation) is tuple:
        if arguments[-1] is Ellipsis:
            return f"{describe_type(arguments[0])},..."
        return ",".join(describe_type(a) for a in arguments)
    return " or ".join(describe_type(a) for a in arguments)


def _is_literal(annotation: Any) -> bool:
    return str(get_origin(annotation)) == "typing.Literal"


def _from_text(value: Any, annotation: Any) -> Any:
    """Turn shell text into None, a choice or a tuple where the type has one; pydantic converts the numbers."""
    if not isinstance(value, str):
        return value
    if _is_literal(annotation):
        return next((choice for choice in get_args(annotation) if str(choice) == value), value)
    members = get_args(annotation) if not _is_literal(annotation) and get_origin(annotation) is not tuple else ()
    if value.lower() == "none" and type(None) in members:
        return None
    tuples = [t for t in (annotation, *members) if get_origin(t) is tuple]
    if tuples and not (int in members and value.isdecimal()):
        parts = [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
        return tuple(None if part.lower() == "none" else part for part in parts)
    return value
