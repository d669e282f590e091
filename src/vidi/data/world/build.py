"""The build and clothes of a person: what its solids are like before they are posed, a function of the identity.

The 17 solids: head, neck, trunk, shoulders, pelvis; upper arms and thighs; forearms and shins; hands; feet.
"""

from functools import lru_cache

import numpy as np

from vidi.data.world.identities import IDENTITIES, Identity
from vidi.data.world.names import COLOURS, PARTS, PATTERNS
from vidi.data.world.solids import CAPSULE, SPHERE, Solids


def _part(low: str, middle: str | None = None, high: str | None = None) -> tuple[int, int, int]:
    return PARTS.index(low), PARTS.index(middle or low), PARTS.index(high or low)


_PART_ROWS = np.array(
    (
        _part("head"),
        _part("neck"),
        _part("torso"),
        _part("left_shoulder", "torso", "right_shoulder"),
        _part("left_hip", "torso", "right_hip"),
        *(_part(f"{side}_shoulder", f"{side}_upper_arm", f"{side}_elbow") for side in ("left", "right")),
        *(_part(f"{side}_hip", f"{side}_thigh", f"{side}_knee") for side in ("left", "right")),
        *(_part(f"{side}_elbow", f"{side}_forearm", f"{side}_wrist") for side in ("left", "right")),
        *(_part(f"{side}_knee", f"{side}_shin", f"{side}_ankle") for side in ("left", "right")),
        *(_part(f"{side}_wrist") for side in ("left", "right")),
        *(_part(f"{side}_ankle") for side in ("left", "right")),
    )
)
_SHIRT, _TROUSERS, _SKIN, _SHOES = range(4)
_CLOTHES = np.array(
    (
        *(_SKIN, _SKIN, _SHIRT, _SHIRT, _TROUSERS),  # head, neck, trunk, shoulders, pelvis
        *(_SHIRT, _SHIRT, _TROUSERS, _TROUSERS),  # upper limbs
        *(_SKIN, _SKIN, _TROUSERS, _TROUSERS),  # lower limbs
        *(_SKIN, _SKIN, _SHOES, _SHOES),  # hands, feet
    )
)
_FOREARMS = (9, 10)


# Half length of the capsules' segments for stature 1.
_SEGMENTS = np.array(
    (0.0, 0.02, 0.10, 0.085, 0.045, *(0.0825,) * 2, *(0.1225,) * 2, *(0.075,) * 2, *(0.12,) * 2, *(0.0,) * 4)
)


@lru_cache(maxsize=IDENTITIES)
def dress(person: Identity) -> Solids:
    """Give the solids of a person in its clothes, at no place yet; not to be changed."""
    half = _half_extents(person.girth)
    colour, pattern = _paint(person)
    return Solids(
        kind=np.where(_SEGMENTS > 0.0, CAPSULE, SPHERE),
        centre=np.zeros((17, 3)),
        rotation=np.zeros((17, 3, 3)),
        half=2.0 * person.half[1] * half,
        ratio=_SEGMENTS / half[:, 1],
        owner=np.zeros(17, dtype=np.int64),
        part=_PART_ROWS,
        colour=colour,
        pattern=pattern,
        frequency=np.full(17, 1.5),
    )


def _half_extents(girth: float) -> np.ndarray:
    """Half extents of the 17 solids for stature 1; bones do not grow with the girth."""
    g = girth
    return np.array(
        (
            (0.052, 0.070, 0.060),  # head
            (0.030 * g, 0.030, 0.030 * g),  # neck
            (0.090 * g, 0.050, 0.060 * g),  # trunk
            (0.040 * g, 0.042, 0.042 * g),  # shoulders
            (0.062 * g, 0.056 * g, 0.066 * g),  # pelvis
            *((0.031 * g,) * 3,) * 2,  # upper arms
            *((0.049 * g,) * 3,) * 2,  # thighs
            *((0.026 * g,) * 3,) * 2,  # forearms
            *((0.036 * g,) * 3,) * 2,  # shins
            *((0.018, 0.042, 0.030),) * 2,  # hands
            *((0.032, 0.026, 0.074),) * 2,  # feet
        )
    )


def _paint(person: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Colours (17 2 3) and patterns (17) of shirt, trousers, skin, shoes and hair."""
    clothes = _CLOTHES.copy()
    if person.has_long_sleeves:
        clothes[list(_FOREARMS)] = _SHIRT
    shirt, trousers = np.array(COLOURS[person.colour]), np.array(COLOURS[person.second])
    skin, shoes = np.array(person.skin), np.array((0.16, 0.13, 0.12))
    first = np.stack((shirt, trousers, skin, shoes))[clothes]
    second = np.stack((0.55 * shirt + 0.45 * trousers, 0.8 * trousers, 0.9 * skin, shoes))[clothes]
    second[0] = person.hair
    pattern = np.where(clothes == _SHIRT, PATTERNS.index(person.pattern), PATTERNS.index("plain"))
    pattern[0] = PATTERNS.index("face")
    return np.stack((first, second), axis=1), pattern
