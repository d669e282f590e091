"""An attentional cascade: stages of boosted trees, each of which rejects most windows that are still in play.

Viola & Jones 2001, section 4; section 4.2.3 of the notes. Trees as in OpenCV (Lienhart et al. 2003): stumps mostly.

    window -> stage 1 -> votes below its threshold? rejected : stage 2 -> ... -> passed all: an object

Each stage keeps nearly all objects (detection rate d) and a part of the rest (false-positive rate f), so the whole has
D = prod d_i and F = prod f_i. Training is in `training`, scanning of images in `scanning`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from vidi.detection.viola_jones.boosting import Round
from vidi.detection.viola_jones.haar import HaarFeatures, Windows

SLACK = np.float32(1e-5)
"""How far the votes of a stage may stay below its threshold, as in OpenCV: covers the rounding of text files."""


class Rates(NamedTuple):
    """Shares of objects and of other windows that pass."""

    detection: float
    false_positive: float


def overall_rates(stages: Sequence[Rates]) -> Rates:
    """Multiply the rates of stages that follow each other: D = prod d_i, F = prod f_i."""
    return Rates(prod(stage.detection for stage in stages), prod(stage.false_positive for stage in stages))


@dataclass(frozen=True, eq=False)
class Cascade:
    """A cascade as flat arrays: S stages of T trees with M nodes and L = M + T leaves.

    At a node the value of its feature goes below or above the threshold; a child is a node of the same tree, counted
    from its root, if positive, else the negative place of a leaf within the tree. A leaf is the tree's vote.

    Raises:
        ValueError: if the parts do not fit together.
    """

    window: tuple[int, int]  # H, W
    stage_trees: Int32[np.ndarray, " S"]  # trees of each stage
    stage_thresholds: Float32[np.ndarray, " S"]
    tree_nodes: Int32[np.ndarray, " T"]  # nodes of each tree
    node_features: Int32[np.ndarray, " M"]  # rows of `features`
    node_thresholds: Float32[np.ndarray, " M"]
    node_children: Int32[np.ndarray, "M 2"]  # below, not below
    leaves: Float32[np.ndarray, " L"]
    features: HaarFeatures

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault:
            raise ValueError(f"no cascade: {fault}")

    def _fault(self) -> str:
        """Say what does not fit, or nothing."""
        nodes, trees = len(self.node_features), len(self.tree_nodes)
        if min(self.window) < 3 or max(self.window) > 1000:
            return f"a window of {self.window[1]} x {self.window[0]} pixels, expected 3 to 1000"
        if (self.stage_trees < 1).any() or self.stage_trees.sum() != trees:
            return f"stages of {self.stage_trees.sum()} trees in all, but {trees} trees"
        if (self.tree_nodes < 1).any() or self.tree_nodes.sum() != nodes:
            return f"trees of {self.tree_nodes.sum()} nodes in all, but {nodes} nodes"
        if len(self.leaves) != nodes + trees:
            return f"{len(self.leaves)} leaves, expected one more than nodes in each tree: {nodes + trees}"
        if not (len(self.node_thresholds) == len(self.node_children) == nodes):
            return f"{nodes} nodes with {len(self.node_thresholds)} thresholds and {len(self.node_children)} children"
        numbers = (self.stage_thresholds, self.node_thresholds, self.leaves, self.features.weights)
        if not all(np.isfinite(values).all() for values in numbers):
            return "a threshold, vote or weight that is not finite"
        if ((self.node_features < 0) | (self.node_features >= len(self.features))).any():
            return f"a node asks for a feature that is none of the {len(self.features)}"
        used = np.unique(self.node_features)
        outside = used[self.features[used].outside(self.window)]
        if len(outside):
            return f"feature {outside[0]} reaches beyond the window of {self.window[1]} x {self.window[0]}"
        return self._fault_of_children()

    def _fault_of_children(self) -> str:
        """Say which node's children are none; they come after it, so that no walk is endless."""
        sizes = np.repeat(self.tree_nodes, self.tree_nodes)[:, None]
        first = np.repeat(np.cumsum(self.tree_nodes) - self.tree_nodes, self.tree_nodes)
        place = (np.arange(len(self.node_features)) - first)[:, None]
        inner = self.node_children > 0
        wrong = np.where(inner, (self.node_children <= place) | (self.node_children >= sizes), False)
        wrong |= np.where(inner, False, -self.node_children > sizes)
        rows = np.flatnonzero(wrong.any(axis=1))
        return f"node {rows[0]} has children {self.node_children[rows[0]].tolist()}" if len(rows) else ""

    def __len__(self) -> int:
        """Return the number of stages."""
        return len(self.stage_trees)

    @property
    def stage_limits(self) -> Float32[np.ndarray, " S"]:
        """The votes that a window needs to pass each stage."""
        return self.stage_thresholds - SLACK

    def truncated(self, stages: int) -> "Cascade":
        """Return the cascade of the first stages alone."""
        trees = int(self.stage_trees[:stages].sum())
        nodes = int(self.tree_nodes[:trees].sum())
        return Cascade(
            self.window,
            self.stage_trees[:stages],
            self.stage_thresholds[:stages],
            self.tree_nodes[:trees],
            self.node_features[:nodes],
            self.node_thresholds[:nodes],
            self.node_children[:nodes],
            self.leaves[: nodes + trees],
            self.features,
        )

    def stage_votes(self, windows: Windows) -> Float64[np.ndarray, "S N"]:
        """Return the votes of every stage on every window, whether or not it was rejected before.

        Raises:
            ValueError: if the windows are not as large as the cascade's, or a feature is tilted.
        """
        values = windows.values(self.features[self.node_features])  # M N
        votes = np.zeros((len(self), len(windows)))
        tree = node = leaf = 0
        for stage, trees in enumerate(self.stage_trees.tolist()):
            for size in self.tree_nodes[tree : tree + trees].tolist():
                below = values[node : node + size] < self.node_thresholds[node : node + size, None]
                children = self.node_children[node : node + size]
                votes[stage] += self.leaves[leaf : leaf + size + 1][_leaf_of(below, children)]
                node, leaf = node + size, leaf + size + 1
            tree += trees
        return votes

    def passes(self, windows: Windows) -> Bool[np.ndarray, " N"]:
        """Tell which windows pass all stages."""
        passed = (self.stage_votes(windows) >= self.stage_limits[:, None].astype(np.float64)).all(axis=0)
        return passed & windows.show_something()


def _leaf_of(below: np.ndarray, children: np.ndarray) -> np.ndarray:
    """Walk one tree for all windows: below n N (whether each node's value is below its threshold), children n 2."""
    place = np.zeros(below.shape[1], np.int64)
    leaf = np.zeros_like(place)
    walking = np.ones(below.shape[1], bool)
    for node in range(len(children)):  # children come after their parents
        here = walking & (place == node)
        child = np.where(below[node], children[node, 0], children[node, 1])
        ends = here & (child <= 0)
        leaf[ends] = -child[ends]
        walking &= ~ends
        place[here & ~ends] = child[here & ~ends]
    return leaf


class Stage(NamedTuple):
    """A stage as training gives it."""

    rounds: Sequence[Round]  # `stump.feature` is a row of the candidate features
    threshold: float


def of_stumps(window: tuple[int, int], stages: Sequence[Stage], candidates: HaarFeatures) -> Cascade:
    """Lay out stages of boosted stumps over candidate features as a cascade; keeps the features that are used."""
    rounds = [one for stage in stages for one in stage.rounds]
    # "polarity * value >= polarity * threshold" as "value < threshold ? below : not below", the same on every float32
    thresholds = np.array([one.stump.threshold for one in rounds], np.float32)
    rising = np.array([one.stump.polarity > 0 for one in rounds], bool)
    thresholds = np.where(rising, thresholds, np.nextafter(thresholds, np.float32(np.inf)))
    votes = np.array([one.vote for one in rounds], np.float32)
    below = np.where(rising, -votes, votes)
    return Cascade(
        window,
        np.array([len(stage.rounds) for stage in stages], np.int32),
        np.array([stage.threshold for stage in stages], np.float32),
        np.ones(len(rounds), np.int32),
        np.arange(len(rounds), dtype=np.int32),
        thresholds.astype(np.float32),
        np.tile(np.array([0, -1], np.int32), (len(rounds), 1)),
        np.stack([below, -below], 1).ravel().astype(np.float32),
        candidates[np.array([one.stump.feature for one in rounds], np.int64)],
    )


def same(one: Cascade, other: Cascade) -> bool:
    """Tell whether two cascades are equal to the last bit."""
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(Cascade) if f.name != "features"]
    pairs += [(getattr(one.features, f.name), getattr(other.features, f.name)) for f in fields(HaarFeatures)]
    return all(np.array_equal(a, b) for a, b in pairs)
