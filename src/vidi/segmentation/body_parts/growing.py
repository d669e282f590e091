"""Growing trees, bags of trees and random forests (Breiman et al. 1984, 1996, 2001; notes 5.1.1).

CART: a node takes the feature and the threshold that lower the impurity (entropy: by the information gain; or Gini)
most, and its two halves go on. A bag grows each tree on a bootstrap replica of the samples, as many of them drawn with
repetition: 63.2 % of them are in it. A random forest also has each split choose from a small random subset of the
features (random splitting), so that the trees err less alike. The mean of B predictions of variance s^2, of which two
have the correlation rho, has the variance s^2 (rho + (1 - rho) / B): more trees bring it down to rho s^2, not to 0, and
leave the bias as it is.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64

from vidi.segmentation.body_parts.trees import Trees, checked_table, joined, tree_of_counts

Criterion = Literal["entropy", "gini"]
NAMED = {"all": lambda features: features, "sqrt": lambda features: max(1, math.isqrt(features))}
"""How many features a split chooses from, by name."""


@dataclass(frozen=True)
class Growth:
    """When a tree goes on to split, and among what it chooses."""

    criterion: Criterion = "entropy"
    depth: int | None = None  # most splits on the way to a leaf; None: no limit
    least: int = 1  # samples of a leaf
    features: int | Literal["all", "sqrt"] = "all"  # drawn for each split
    thresholds: int = 0  # values of a feature that are tried, drawn; 0: between all of them
    sought: int = 2**62  # samples of a node that a split is sought on, where it has more

    def __post_init__(self) -> None:
        if self.criterion not in get_args(Criterion):
            raise ValueError(f"received the criterion {self.criterion!r}, expected {' or '.join(get_args(Criterion))}")
        if isinstance(self.features, str) and self.features not in NAMED:
            raise ValueError(f"received features={self.features!r}, expected a number, {' or '.join(NAMED)}")
        features = 1 if isinstance(self.features, str) else self.features
        limits = {"depth": 1 if self.depth is None else self.depth, "least": self.least, "features": features}
        low = [f"{name}={value}" for name, value in limits.items() if value < 1]
        low += [f"thresholds={self.thresholds}"] * (self.thresholds < 0) + [f"sought={self.sought}"] * (self.sought < 2)
        if low:
            raise ValueError(f"received {', '.join(low)}, expected at least 1, thresholds of at least 0, sought of 2")

    def numbers(self, features: int) -> tuple[int, int, int, int, int, int]:
        """Return them as the kernel takes them, for a number of features."""
        tried = NAMED[self.features](features) if isinstance(self.features, str) else min(self.features, features)
        deepest = 2**31 - 1 if self.depth is None else self.depth
        return int(self.criterion == "entropy"), deepest, self.least, tried, self.thresholds, self.sought


class Source(NamedTuple):
    """Where features come from: a table, or else depth images and what makes features of their pixels."""

    table: Float[np.ndarray, "N F"]
    cells: np.ndarray  # depths of all pictures, flat
    frames: np.ndarray  # of each picture: where it begins, H, W
    pixels: np.ndarray  # of each sample: picture, row, column
    scales: np.ndarray  # of each sample: focal length / depth
    thetas: np.ndarray  # F 2 2: offsets in metres

    @property
    def features(self) -> int:
        """How many there are."""
        return max(self.table.shape[1], len(self.thetas))


def source_of_table(table: Float[np.ndarray, "N F"]) -> Source:
    """Return the source of ready features."""
    no, whole = np.zeros(0, np.float32), np.zeros((0, 3), np.int64)
    return Source(checked_table(table), no, whole, whole.astype(np.int32), no, np.zeros((0, 2, 2), np.float32))


@dataclass(frozen=True, eq=False)
class Forest:
    """Grown trees, and how much each feature brought."""

    trees: Trees
    importances: Float64[np.ndarray, " F"]  # share of the impurity that splits by it took away; they add up to 1


def grow_forest(
    source: Source,
    labels: Int[np.ndarray, " N"],
    classes: int,
    growth: Growth,
    *,
    replicas: Sequence[Int64[np.ndarray, " M"]],
    seed: int = 0,
    threads: int | None = None,
) -> Forest:
    """Grow a tree on each replica; equal seeds give equal trees, whatever the number of threads.

    Args:
        source: of the features.
        labels: of all samples, 0..classes-1.
        classes: K.
        growth: of each tree.
        replicas: the samples of each tree; those that occur repeatedly count as often.
        seed: of the draws of features and thresholds.
        threads: that grow trees side by side; None: as many as torch uses.

    Raises:
        ValueError: if a label or a sample is out of range, or a replica is empty.
    """
    from vidi.segmentation.body_parts import growing_kernels

    _check(labels, classes, replicas)
    own, numbers = labels.astype(np.int64), growth.numbers(source.features)
    seeds = np.random.SeedSequence(seed).generate_state(len(replicas), np.uint64)

    def tree(number: int) -> tuple[Trees, np.ndarray]:
        rows = np.array(replicas[number], np.int64)
        found = growing_kernels.grow(rows, own, classes, source, source.features, numbers, seeds[number])
        feature, threshold, left, counts, gains = found
        return tree_of_counts(feature, threshold, left, counts), gains / max(gains.sum(), 1e-300)

    with ThreadPoolExecutor(threads or torch.get_num_threads()) as pool:
        grown = list(pool.map(tree, range(len(replicas))))
    mean = np.mean([gains for _, gains in grown], axis=0)
    return Forest(joined([tree for tree, _ in grown]), mean / max(mean.sum(), 1e-300))


def _check(labels: np.ndarray, classes: int, replicas: Sequence[np.ndarray]) -> None:
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"received labels {np.unique(labels).tolist()}, expected some of 0..{classes - 1}")
    for rows in replicas:
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(labels):
            raise ValueError(f"received a replica of {len(rows)} samples, expected some of 0..{len(labels) - 1}")


def bootstrap(count: int, rng: np.random.Generator) -> Int64[np.ndarray, " N"]:
    """Draw as many of `count` samples as there are, with repetition, in rising order."""
    return np.sort(rng.integers(count, size=count))


def bagged(
    table: Float[np.ndarray, "N F"],
    labels: Int[np.ndarray, " N"],
    *,
    classes: int,
    trees: int = 50,
    growth: Growth | None = None,
    seed: int = 0,
) -> Forest:
    """Grow trees on bootstrap replicas of a table; with `Growth(features="sqrt")` they are a random forest."""
    rng = np.random.default_rng(seed)
    replicas = [bootstrap(len(labels), rng) for _ in range(trees)]
    return grow_forest(source_of_table(table), labels, classes, growth or Growth(), replicas=replicas, seed=seed)


def random_forest(
    table: Float[np.ndarray, "N F"],
    labels: Int[np.ndarray, " N"],
    *,
    classes: int,
    trees: int = 100,
    growth: Growth | None = None,
    seed: int = 0,
) -> Forest:
    """Grow trees on bootstrap replicas, each split among the square root of the number of features."""
    return bagged(table, labels, classes=classes, trees=trees, growth=growth or Growth(features="sqrt"), seed=seed)


def decision_tree(
    table: Float[np.ndarray, "N F"],
    labels: Int[np.ndarray, " N"],
    *,
    classes: int,
    growth: Growth | None = None,
    seed: int = 0,
) -> Forest:
    """Grow one tree on all samples."""
    every = [np.arange(len(labels))]
    return grow_forest(source_of_table(table), labels, classes, growth or Growth(), replicas=every, seed=seed)


def variance_of_mean(correlation: float, count: int, variance: float = 1.0) -> float:
    """Return the variance of the mean of `count` predictions of equal variance and pairwise correlation."""
    return variance * (correlation + (1 - correlation) / count)


def bootstrap_coverage(count: int) -> float:
    """Return the expected share of `count` samples that a bootstrap replica holds: 1 - (1 - 1/n)^n, 0.632 of many."""
    return 1 - (1 - 1 / count) ** count
