"""A table of messages with two features, to tell spam from ham: the smallest set that boosted stumps can learn.

The features are counts: URLs, and words in capital letters. Spam has more of both, but the two overlap: no threshold
on one feature is right for all.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from vidi.data.seeding import sample_generator

CATEGORIES = ("ham", "spam")
FEATURES = ("URLs", "capitalised words")

# Negative binomial (successes, mean) of each feature, per category.
_COUNTS = (((1.6, 3.0), (1.8, 12.0)), ((2.2, 9.0), (2.6, 32.0)))


class SpamTable(NamedTuple):
    """Messages as rows."""

    features: Float64[np.ndarray, "N 2"]  # counts, in the order of FEATURES
    labels: Int64[np.ndarray, " N"]  # places in CATEGORIES


def worked_example() -> SpamTable:
    """Return the eight messages a to h on which the notes' AdaBoost example works (section 4.2.1).

    They realise its errors: the stump "URLs > 3" is wrong about a and b, "URLs > 10" about c and d, and
    "capitalised words > 20" about a, f and g.
    """
    features = [[7, 30], [8, 15], [4, 25], [5, 40], [1, 5], [2, 45], [12, 10], [15, 50]]
    return SpamTable(np.array(features, np.float64), np.array([0, 0, 1, 1, 0, 0, 1, 1]))


def spam_table(count: int, *, split: str = "train", seed: int = 0) -> SpamTable:
    """Draw `count` messages, half of them spam on average; row i is the same in every longer table.

    Raises:
        ValueError: for an unknown split or a negative count.
    """
    if count < 0:
        raise ValueError(f"received count {count}, expected 0 or more")
    rows = [_message(sample_generator(seed, split, index)) for index in range(count)]
    features = np.array([features for features, _ in rows], np.float64).reshape(count, 2)
    return SpamTable(features, np.array([label for _, label in rows], np.int64))


def _message(random: np.random.Generator) -> tuple[list[int], int]:
    label = int(random.integers(2))
    return [int(random.negative_binomial(n, n / (n + mean))) for n, mean in _COUNTS[label]], label
