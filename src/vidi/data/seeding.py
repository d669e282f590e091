"""The random numbers of one generated sample: a function of (seed, split, index), whatever was drawn before."""

import numpy as np

from vidi.data.loading import derived_seed
from vidi.data.world.names import SPLITS


def sample_generator(seed: int, split: str, *numbers: int) -> np.random.Generator:
    """Return the generator of one sample; `numbers` (none negative) name the sample within its split.

    Raises:
        ValueError: for a split that is not one of `SPLITS`, and a negative seed or number.
    """
    if min(seed, *numbers, 0) < 0:
        raise ValueError(f"received seed {seed} and numbers {numbers}, expected none below 0")
    return np.random.default_rng(derived_seed(seed, split_number(split), *numbers))


def split_number(split: str) -> int:
    """Return a split's place in `SPLITS`; ValueError with the choices for another name."""
    if split not in SPLITS:
        raise ValueError(f"received split {split!r}, expected one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


def checked_index(index: int, count: int) -> int:
    """Return an index from 0 to count - 1, negative ones counted from the end; IndexError beyond it."""
    if not -count <= index < count:
        raise IndexError(f"received index {index}, the data set has {count} samples")
    return index % count
