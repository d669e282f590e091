"""Decision trees as flat arrays, alone or as a forest (Breiman et al. 1984; Breiman 2001; notes 5.1.1).

    table N F -> each tree: from the root to a leaf, left where feature <= threshold -> its class distribution
              -> mean over the trees N K

A deep tree has low bias and high variance: it fits, and changes much when the data change a little. The mean of many
such trees keeps the bias and loses variance, the more the less their errors go together (see `bagging`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64


@dataclass(frozen=True, eq=False)
class Trees:
    """T trees of N nodes in all, over F features and K classes."""

    feature: Int32[np.ndarray, " N"]  # -1: a leaf
    threshold: Float32[np.ndarray, " N"]
    left: Int32[np.ndarray, " N"]  # the left child, behind which the right one stands; of a leaf: its row of `leaves`
    leaves: Float64[np.ndarray, "L K"]  # class distributions
    roots: Int64[np.ndarray, " T"]

    def __len__(self) -> int:
        return len(self.roots)

    def probabilities(self, table: Float[np.ndarray, "N F"]) -> Float64[np.ndarray, "N K"]:
        """Return the mean over the trees of the distributions of the leaves that samples fall into.

        Features are compared in float32, as scikit-learn does.

        Raises:
            ValueError: if there are no trees, or the table lacks a feature or has missing numbers.
        """
        from vidi.segmentation.body_parts import tree_kernels

        values = checked_table(table)
        if len(self) == 0:
            raise ValueError("received no trees: grow some first")
        if self.feature.max(initial=-1) >= values.shape[1]:
            raise ValueError(f"received {values.shape[1]} features, expected at least {self.feature.max() + 1}")
        total = np.zeros((len(values), self.leaves.shape[1]))
        tree_kernels.descend(values, self.feature, self.threshold, self.left, self.roots, self.leaves, total)
        return total / len(self)


def checked_table(table: np.ndarray) -> np.ndarray:
    """Return a table of features as contiguous float32 numbers; a ValueError where one is missing or too large."""
    values = np.ascontiguousarray(table, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("received features that are missing or not finite in float32")
    return values


def binary_tree(
    left: Sequence[int] | np.ndarray,
    right: Sequence[int] | np.ndarray,
    feature: Sequence[int] | np.ndarray,
    threshold: Sequence[float] | np.ndarray,
    counts: Float64[np.ndarray, "N K"],
) -> Trees:
    """Make a tree of the arrays by which other packages describe one (`tree_` of scikit-learn).

    Args:
        left, right: children of each node; -1 in leaves.
        feature, threshold: of each inner node.
        counts: of the classes, or their shares.
    """
    order = [0]
    for node in order:  # grows while it is walked: siblings come to stand next to each other
        if left[node] >= 0:
            order += [int(left[node]), int(right[node])]
    place = {node: number for number, node in enumerate(order)}
    rows = np.array(order)
    inner = np.asarray(left)[rows] >= 0
    children = np.array([place[int(left[node])] if left[node] >= 0 else 0 for node in order], np.int32)
    thresholds = np.asarray(threshold, np.float64)[rows]
    return tree_of_counts(
        np.where(inner, np.asarray(feature)[rows], -1).astype(np.int32),
        rounded_down(thresholds),
        children,
        counts[rows],
    )


def rounded_down(values: Float64[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    """Return the largest float32 numbers that are not above some numbers: float32 features are divided equally."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def tree_of_counts(feature: Any, threshold: Any, left: Any, counts: Float64[np.ndarray, "N K"]) -> Trees:
    """Make a tree of nodes with their class counts, of which the leaves keep the shares."""
    is_leaf = feature < 0
    rows = np.where(is_leaf, np.cumsum(is_leaf) - 1, left).astype(np.int32)
    leaves = counts[is_leaf]
    return Trees(feature, threshold, rows, leaves / leaves.sum(1, keepdims=True), np.zeros(1, np.int64))


def joined(trees: Sequence[Trees]) -> Trees:
    """Put trees together to a forest.

    Raises:
        ValueError: if there are none.
    """
    if not trees:
        raise ValueError("received no trees, expected at least one")
    nodes = np.cumsum([0, *(len(tree.feature) for tree in trees)])
    rows = np.cumsum([0, *(len(tree.leaves) for tree in trees)])
    parts = zip(trees, nodes, rows, strict=False)
    left = [tree.left + np.where(tree.feature < 0, row, node).astype(np.int32) for tree, node, row in parts]
    return Trees(
        np.concatenate([tree.feature for tree in trees]),
        np.concatenate([tree.threshold for tree in trees]),
        np.concatenate(left),
        np.concatenate([tree.leaves for tree in trees]),
        np.concatenate([tree.roots + node for tree, node in zip(trees, nodes, strict=False)]),
    )
