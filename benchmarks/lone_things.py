"""Scenes of the world that show one thing alone, and all that a caption can say of such a scene."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from vidi.data.world.dataset import World
from vidi.data.world.identities import identity
from vidi.data.world.names import CATEGORIES, COLOUR_NAMES, GROUND_NAMES, PERSON

SHAPES = tuple(name for number, name in enumerate(CATEGORIES) if number != PERSON)
THINGS = tuple((colour, shape) for colour in COLOUR_NAMES for shape in SHAPES)
SIZES = ("", "small ", "large ")
PATTERNS = ("", "striped ", "checked ", "dotted ", "marbled ")


def sentences_of(colour: str, shape: str) -> list[str]:
    """Return all captions of a scene with one thing of a colour and a shape."""
    phrases = [f"{size}{colour} {pattern}{shape}" for size in SIZES for pattern in PATTERNS]
    return [
        f"{'An' if phrase[0] in 'aeiou' else 'A'} {phrase}, on {ground}. One {shape}."
        for phrase in phrases
        for ground in GROUND_NAMES
    ]


class LoneThing(NamedTuple):
    """A scene with one thing and no person."""

    image: Tensor  # uint8 3 H W
    thing: tuple[str, str]  # colour and shape
    caption: str


def lone_things(split: str, count: int, size: tuple[int, int]) -> Iterator[LoneThing]:
    """Yield those of the first `count` scenes that show one thing, no person."""
    scenes = World(split, count=count, size=size, targets=("identity", "caption"))
    for row in range(count):
        image, target = scenes[row]
        member = identity(int(target["identity"][0])) if len(target["identity"]) == 1 else None
        if member is not None and member.category != PERSON:
            yield LoneThing(image, (member.colour, CATEGORIES[member.category]), target["caption"])
