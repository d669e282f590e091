"""Captions: the facts of a picture in words, and the dirt that alternative texts of the web carry.

"A large red striped sphere left of a person in a blue shirt, on grass. One sphere, two boxes and one person."
"""

from dataclasses import dataclass

import numpy as np

from vidi.data.world.identities import identity
from vidi.data.world.names import CATEGORIES, PERSON
from vidi.data.world.truth import Observation

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
PLURALS = {"sphere": "spheres", "box": "boxes", "cylinder": "cylinders", "cone": "cones", "person": "people"}
RELATIONS = ("left of", "right of", "in front of", "behind", "next to")

_PREFIXES = ("photo of ", "IMG_{number:04d}.jpg ", "stock picture: ", "[image] ", "free download ", "DSC{number:05d} ")
_SUFFIXES = (" #nature #sunny", " (click to enlarge)", " | my holidays", " - royalty free", " 800x600", "...")


@dataclass(frozen=True)
class Facts:
    """What a caption tells about a picture."""

    counts: tuple[int, ...]  # visible things of each category
    main: int | None  # identity of the thing with the largest visible area; None: nothing can be seen
    second: int | None  # identity of the next largest
    relation: str | None  # where the main thing is with respect to the second
    ground: str


def find_facts(seen: Observation) -> Facts:
    """Read the facts off an observation.

    Left and right are said if the middles of the two boxes are further apart than a sixth of the picture's width,
    otherwise in front of and behind if their distances differ by more than 0.7 m, otherwise next to.
    """
    scene, order = seen.scene, seen.rows[np.argsort(-seen.areas, kind="stable")]
    counts = np.bincount(scene.categories[seen.rows], minlength=len(CATEGORIES))
    second, relation = None, None
    if len(order) > 1:
        second, relation = int(scene.identities[order[1]]), _relate(seen, int(order[0]), int(order[1]))
    main = int(scene.identities[order[0]]) if len(order) else None
    return Facts(tuple(counts.tolist()), main, second, relation, scene.ground)


def _relate(seen: Observation, main: int, second: int) -> str:
    rows = np.searchsorted(seen.rows, (main, second))
    columns = np.any(seen.masks[rows], axis=1)
    width = seen.size[1]
    middles = 0.5 * (columns.argmax(1) + width - columns[:, ::-1].argmax(1))
    right = middles[0] - middles[1]
    if abs(right) > width / 6:
        return "right of" if right > 0 else "left of"
    farther = seen.scene.boxes_3d[main, 2] - seen.scene.boxes_3d[second, 2]
    if abs(farther) > 0.7:
        return "behind" if farther > 0 else "in front of"
    return "next to"


def describe(number: int) -> str:
    """Describe an identity with its article."""
    member = identity(number)
    if member.category == PERSON:
        return f"a person in {_article(member.colour)} shirt and {member.second} trousers"
    words = [word for word in (member.size, member.colour, member.pattern) if word not in ("medium", "plain")]
    phrase = " ".join((*words, CATEGORIES[member.category]))
    return _article(phrase)


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _list_counts(counts: tuple[int, ...]) -> str:
    parts = [
        f"{NUMBERS[count]} {PLURALS[name] if count > 1 else name}"
        for name, count in zip(CATEGORIES, counts, strict=True)
        if count
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def write_caption(facts: Facts) -> str:
    """Put facts into two sentences, or one where there is no thing."""
    if facts.main is None:
        return f"Nothing, on {facts.ground}."
    subject = describe(facts.main)
    if facts.second is not None:
        subject += f" {facts.relation} {describe(facts.second)}"
    return f"{subject.capitalize()}, on {facts.ground}. {_list_counts(facts.counts).capitalize()}."


def soil_caption(caption: str, rng: np.random.Generator) -> str:
    """Make a caption look like an alternative text of the web: words dropped, wrong case, file names, advertising."""
    words = [word for word in caption.split() if rng.random() > 0.15] or [caption]
    text = " ".join(words)
    text = (text, text.lower(), text.upper(), text.replace(",", "").replace(".", ""))[int(rng.integers(4))]
    if rng.random() < 0.6:
        text = _PREFIXES[int(rng.integers(len(_PREFIXES)))].format(number=int(rng.integers(10000))) + text
    if rng.random() < 0.5:
        text += _SUFFIXES[int(rng.integers(len(_SUFFIXES)))]
    return text
