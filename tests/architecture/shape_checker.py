"""The checker that conftest.py's import hook wraps round every annotated function of the package."""

from collections.abc import Callable
from typing import Any, get_args, get_origin, runtime_checkable

from beartype import beartype


def check(definition: Callable) -> Callable:
    """Apply beartype; a Protocol among the annotations is checked by the names of its members.

    Functions within functions go unchecked: they are defined, and would be decorated, at every call of the outer one.
    """
    if "<locals>" in definition.__qualname__:
        return definition
    for hint in getattr(definition, "__annotations__", {}).values():
        _make_protocols_checkable(hint)
    return beartype(definition)


def _make_protocols_checkable(hint: Any) -> None:
    if getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False):
        runtime_checkable(get_origin(hint) or hint)
    for part in hint if isinstance(hint, list) else get_args(hint):  # a list: the arguments of a Callable
        _make_protocols_checkable(part)
