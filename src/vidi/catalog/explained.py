"""What the training of a system can be told, in words: each key with its type, its default, and what it is.

The words are those of docstrings: of `Recipe` for the numbers of a training, of the builder for those of the model.
"""

import inspect
import re
from dataclasses import fields
from typing import Any, NamedTuple

from vidi.catalog.entry import Entry
from vidi.engine.overrides import describe_type, spelled
from vidi.engine.recipe import Recipe


class Key(NamedTuple):
    """A key of `vidi train NAME key=value`."""

    name: str
    kind: str  # what values it admits
    default: str
    says: str  # one sentence


def keys_of(entry: Entry) -> list[Key]:
    """Return all keys of a system: of its model, then of its recipes, by stage (without a stage they are of all)."""
    kinds, of_model, of_recipe = entry.keys, words_of(entry.builder), words_of(Recipe)
    parameters = inspect.signature(entry.builder).parameters
    found = [
        Key(name, describe_type(kinds[name]), spelled(parameters[name].default), of_model.get(name, ""))
        for name in parameters
        if name in kinds
    ]
    for stage, recipe in entry.recipes.items():
        prefix = f"{stage}." if stage else ""
        found += [
            Key(
                prefix + f.name,
                describe_type(kinds[prefix + f.name]),
                spelled(getattr(recipe, f.name)),
                of_recipe[f.name],
            )
            for f in fields(Recipe)
        ]
    return found


def words_of(documented: Any) -> dict[str, str]:
    """Return what a docstring says of each argument or attribute, on one line."""
    parts = re.split(r"\n(?:Args|Attributes):\n", inspect.getdoc(documented) or "", maxsplit=1)
    if len(parts) < 2:
        return {}
    section = parts[1].split("\n\n")[0]
    found = {}
    for names, words in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(words.split()))
    return found
