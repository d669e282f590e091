"""The pool of identities: what an object looks like wherever it is met.

Shape, size, colours and texture are functions of the identity alone; a scene adds position, turn and (for a person)
pose. Identity i belongs to category i mod 5, so each category has 50 of the 250.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vidi.data.world.names import CATEGORIES, COLOUR_NAMES, PERSON, THING_PATTERNS

IDENTITIES = 250

_SKINS = ((0.96, 0.78, 0.66), (0.88, 0.66, 0.50), (0.72, 0.50, 0.36), (0.52, 0.34, 0.24), (0.36, 0.23, 0.16))
_HAIRS = ((0.10, 0.08, 0.07), (0.28, 0.17, 0.10), (0.52, 0.32, 0.14), (0.85, 0.68, 0.32), (0.62, 0.62, 0.64))


@dataclass(frozen=True)
class Identity:
    """What is constant about one object. `colour` of a person is the shirt's, `second` the trousers'."""

    category: int
    colour: str
    second: str
    pattern: str
    frequency: (
        float  # periods of the pattern across the object; whole or half, so that opposite faces of a box look alike
    )
    half: tuple[
        float, float, float
    ]  # half extents along right, down, forward in metres; a person's stature / 2 is half[1]
    girth: float  # thickness of a person's limbs and trunk, 1 = average
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    has_long_sleeves: bool

    @property
    def size(self) -> str:
        """Name the size as captions do: small, medium or large."""
        reach = max(self.half)
        small, large = (0.82, 0.93) if self.category == PERSON else (0.45, 0.65)
        if reach < small:
            return "small"
        return "large" if reach > large else "medium"


@lru_cache(maxsize=IDENTITIES)
def identity(number: int) -> Identity:
    """Give the looks of an identity, 0 <= number < 250; another number is a ValueError."""
    if not 0 <= number < IDENTITIES:
        raise ValueError(f"identity {number} does not exist; choices are 0 to {IDENTITIES - 1}")
    category, variant = number % len(CATEGORIES), number // len(CATEGORIES)
    rng = np.random.default_rng((7001, number))
    names = len(COLOUR_NAMES)
    first = (variant + 3 * category) % names
    second = (first + int(rng.integers(1, names))) % names
    pattern = THING_PATTERNS[(variant // names + int(rng.integers(2))) % len(THING_PATTERNS)]
    return Identity(
        category=category,
        colour=COLOUR_NAMES[first],
        second=COLOUR_NAMES[second],
        pattern=pattern,
        frequency=float(rng.integers(2, 4)) if pattern == "dotted" else 0.5 * float(rng.integers(3, 7)),
        half=_half_extents(CATEGORIES[category], rng),
        girth=float(rng.uniform(0.85, 1.3)),
        skin=_SKINS[int(rng.integers(len(_SKINS)))],
        hair=_HAIRS[int(rng.integers(len(_HAIRS)))],
        has_long_sleeves=bool(rng.random() < 0.5),
    )


def _half_extents(category: str, rng: np.random.Generator) -> tuple[float, float, float]:
    a, b, c = (float(u) for u in rng.random(3))
    if category == "sphere":
        radius = 0.32 + 0.48 * a
        return radius, radius, radius
    if category == "box":
        return 0.28 + 0.52 * a, 0.28 + 0.57 * b, 0.28 + 0.52 * c
    if category == "cylinder":
        radius = 0.25 + 0.30 * a
        return radius, radius * (0.9 + 0.9 * b), radius
    if category == "cone":
        radius = 0.34 + 0.32 * a
        return radius, radius * (1.0 + 0.7 * b), radius
    stature = 1.5 + 0.45 * a
    return 0.14 * stature, 0.5 * stature, 0.09 * stature
