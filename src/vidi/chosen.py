"""What a model decides by numbers that may be chosen anew, without other weights.

A decoder, a frozen dataclass, names those of its fields in a tuple `options`; a field that is such a dataclass itself
adds its own. A network that selects detections itself, because a head runs on them, does so by such a dataclass too:
the attribute `select` of the network, or of the part of it that selects.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

from torch import nn


def options_of(decode: Any, network: nn.Module) -> dict[str, Any]:
    """Return the type of each option, by name."""
    selections = (getattr(module, "select", None) for module in network.modules())
    return {name: kind for part in (*selections, decode) for name, kind in _typed(part)}


def _typed(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield the options of a part and of the parts in it, if it is such a dataclass, and their types."""
    if not is_dataclass(part):
        return
    for inner in fields(part):
        yield from _typed(getattr(part, inner.name))
    hints = get_type_hints(type(part))
    yield from ((name, hints[name]) for name in getattr(part, "options", ()))


def decided_by(decode: Any, options: Mapping[str, Any]) -> Any:
    """Return a decoder with other numbers, its own and those of the parts in it.

    Raises:
        ValueError: for values that cannot be.
    """
    parts = {each.name: getattr(decode, each.name) for each in fields(decode)}
    changed = {name: decided_by(part, options) for name, part in parts.items() if dict(_typed(part)).keys() & options}
    own = {name: options[name] for name in getattr(decode, "options", ()) if name in options}
    return replace(decode, **changed, **own)


def selecting_by(network: nn.Module, options: Mapping[str, Any], decode: Any) -> nn.Module:
    """Return a network with other numbers of its selection, and the same weights.

    A threshold that the decoder has as well, and decides by afterwards, is only ever lowered here.
    """
    select: Any = getattr(network, "select", None)
    own = {name: options[name] for name, _ in _typed(select) if name in options}
    own |= {name: min(own[name], getattr(select, name)) for name, _ in _typed(decode) if name in own}
    inner = {name: selecting_by(part, options, decode) for name, part in network.named_children()}
    changed = {name: part for name, part in inner.items() if part is not network._modules[name]}
    if not own and not changed:
        return network
    other: Any = copy.copy(network)
    other.__dict__["_modules"] = {**network._modules, **changed}
    if own:
        other.select = replace(select, **own)
    return other
