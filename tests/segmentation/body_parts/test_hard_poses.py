"""Iterative data creation: what is judged, what is added, and that it helps where the classifier failed."""

from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from tests.conftest import Learnt
from vidi.data.world.depth_bodies import DepthBodies
from vidi.data.world.skeleton import POSES
from vidi.segmentation.body_parts.classifier import body_parts
from vidi.segmentation.body_parts.hard_poses import train_on_hard_poses

SIZE = (60, 80)
SMALL: dict[str, Any] = {"trees": 2, "depth": 12, "candidates": 100, "tried": 15, "thresholds": 8, "pixels": 100}


class Numbers:
    """A data set of numbers, of which those that divide by 7 are hard."""

    def __init__(self, numbers: list[int]):
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def plan(self, index: int) -> Any:
        return type("Plan", (), {"pose": np.array([self.numbers[index]])})

    def others(self, count: int, *, first: int) -> "Numbers":
        return Numbers(list(range(first, first + count)))

    def with_near(self, poses: Any) -> "Numbers":
        return Numbers(self.numbers + [int(p[0]) for p in poses])


@pytest.mark.system("5.1.1-HARDPOSE")
def test_rounds_judge_what_was_never_seen_and_add_what_failed_most():
    trained, judged = [], []

    def judge(dataset: Numbers) -> np.ndarray:
        judged.append(dataset.numbers)
        return np.array([0.1 * (n % 7) for n in dataset.numbers])

    last, history = train_on_hard_poses(
        lambda d: trained.append(list(d.numbers)), judge, Numbers(list(range(10))), rounds=2, candidates=14, hardest=2
    )
    assert judged == [list(range(10, 24)), list(range(24, 38))]
    assert [[int(p[0]) for p in one.poses] for one in history] == [[14, 21], [28, 35]]
    assert [one.hardest for one in history] == [(4, 11), (4, 11)]
    assert history[0].accuracy[4] == 0
    everything = [*range(10), 14, 21, 28, 35]
    assert trained == [everything[:10], everything[:12], everything]
    assert isinstance(last, Numbers)
    assert last.numbers == everything


@pytest.mark.system("5.1.1-HARDPOSE")
def test_a_classifier_learns_the_poses_that_it_failed_on(learnt: Learnt):
    """Poses that fail are added to upright ones; others like them are then found better than by more upright ones."""
    upright = [np.deg2rad(POSES["stand"])] * 2
    dataset = DepthBodies(count=1, size=SIZE, near=upright, copies=20)
    model = body_parts(rounds=2, judged=60, hardest=6, **SMALL)
    model.fit(dataset)
    assert [len(found.accuracy) for found in model.rounds] == [60, 60]
    for found in model.rounds:
        assert found.accuracy[list(found.hardest)].max() <= np.sort(found.accuracy)[5]
    usual = body_parts(**SMALL)
    usual.fit(DepthBodies(count=1, size=SIZE, near=upright * 7, copies=20))
    failed = [pose for found in model.rounds for pose in found.poses]
    unseen = DepthBodies("val", count=1, size=SIZE, near=failed, copies=4)
    learnt(
        "gain on failing poses", float(model.accuracies(unseen).mean() - usual.accuracies(unseen).mean()), least=0.04
    )


def test_data_that_cannot_be_made_are_refused():
    samples = [DepthBodies(count=1, size=SIZE)[0]]
    with pytest.raises((TypeError, TypeCheckError), match=r"list|MakesBodies"):  # the tests' hook comes first
        body_parts(rounds=1, **SMALL).fit(samples)
    with pytest.raises(ValueError, match="hardest=3 of candidates=2"):
        train_on_hard_poses(print, np.asarray, Numbers([1]), rounds=1, candidates=2, hardest=3)
