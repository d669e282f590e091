"""Iterative data creation: more data of the poses that a classifier fails on (Shotton et al. 2011, section 2.1; 5.1.1).

    train -> judge poses that it has not seen -> synthesise bodies in poses near the worst ones -> train on all -> ...

The paper leaves out poses that are near others and adds those that a classifier is bad at; so the data set comes to
cover what is hard instead of showing the usual ever again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64


class MakesBodies(Protocol):
    """A data set that can be asked for more of some kind, such as `DepthBodies`."""

    def __len__(self) -> int: ...

    def plan(self, index: int) -> Any: ...

    def others(self, count: int, *, first: int) -> "MakesBodies": ...

    def with_near(self, poses: Sequence[np.ndarray]) -> "MakesBodies": ...


@dataclass(frozen=True, eq=False)
class Round:
    """What one round found."""

    accuracy: Float64[np.ndarray, " N"]  # of each candidate, by the classifier of that round
    hardest: tuple[int, ...]  # the candidates that failed most
    poses: tuple[np.ndarray, ...]  # theirs


def train_on_hard_poses(
    train: Callable[[Any], None],
    judge: Callable[[Any], Float64[np.ndarray, " N"]],
    dataset: MakesBodies,
    *,
    rounds: int,
    candidates: int,
    hardest: int,
) -> tuple[MakesBodies, list[Round]]:
    """Train, find the poses that fail, add bodies near them, and train again, `rounds` times.

    Args:
        train: fits a classifier to a data set, from nothing.
        judge: returns the accuracy of the classifier on each sample of a data set.
        dataset: to begin with.
        rounds: how often data are added.
        candidates: samples judged in each round, never seen before.
        hardest: of them whose poses are varied.

    Returns:
        The data set that was trained on last, and what each round found.

    Raises:
        TypeError: if the data set cannot make more samples.
        ValueError: if there are fewer candidates than hardest ones.
    """
    if not all(hasattr(dataset, name) for name in ("plan", "others", "with_near")):
        raise TypeError(f"received a {type(dataset).__name__}, expected a data set that makes bodies in given poses")
    if not 1 <= hardest <= candidates:
        raise ValueError(f"received hardest={hardest} of candidates={candidates}, expected from 1 to all of them")
    history = []
    seen = len(dataset)
    train(dataset)
    for _ in range(rounds):
        fresh = dataset.others(candidates, first=seen)
        seen += candidates
        accuracy = judge(fresh)
        worst = tuple(int(row) for row in np.argsort(accuracy, kind="stable")[:hardest])
        poses = tuple(fresh.plan(row).pose for row in worst)
        history.append(Round(accuracy, worst, poses))
        dataset = dataset.with_near(poses)
        train(dataset)
    return dataset, history
