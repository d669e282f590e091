"""Small CenterNets learn a few scenes by heart: the poses of persons, and boxes in space."""

import math
from typing import Any

import pytest
import torch
from torch.utils.data import Subset

from tests.conftest import Learnt
from vidi.data.world.dataset import World
from vidi.detection.centernet_3d import centernet_3d_tiny
from vidi.detection.centernet_pose import centernet_pose_tiny
from vidi.engine.evaluate import evaluate
from vidi.model import Step
from vidi.tasks.table import TASKS

SIZE = (64, 64)


def scenes_of(task: str, *, with_persons: bool, count: int = 4) -> Subset[Any]:
    targets = TASKS[task].keys
    world = World("train", count=30, size=SIZE, targets=(*targets, "keypoints", "visibility"))
    rows = [row for row in range(30) if not with_persons or ((world[row][1]["visibility"] > 0).sum(1) > 9).any()]
    return Subset(world, rows[:count])


def scores(model: Any, scenes: Subset[Any], task: str) -> dict[str, float]:
    scorer = TASKS[task].scorer
    assert scorer is not None
    found = evaluate(model, scenes, scorer(World.categories))
    return {name: float(value) for name, value in found.items() if value is not None}


def learn_by_heart(model: Any, scenes: Subset[Any], *, steps: int, rate: float = 4e-3) -> None:
    placed = [model.preprocess.place(*scenes[index]) for index in range(len(scenes))]
    batch = model.preprocess.collate(placed)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 10, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        torch.stack(list(model.losses("network", batch, Step()).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()


@pytest.mark.system("4.3.5-CTPOSE")
def test_a_tiny_centernet_learns_poses_by_heart(learnt: Learnt) -> None:
    """A keypoint AP50 of 0.7 on its own four training images after 80 steps, where it was 0."""
    scenes = scenes_of("pose", with_persons=True)
    model: Any = centernet_pose_tiny(size=SIZE)
    before = scores(model, scenes, "pose")
    learn_by_heart(model, scenes, steps=80)
    after = scores(model, scenes, "pose")
    assert before["keypoint_ap50"] < 0.05
    learnt("keypoint_ap50", after["keypoint_ap50"], least=0.7)


@pytest.mark.system("4.3.5-CT3D")
def test_a_tiny_centernet_learns_boxes_in_space_by_heart(learnt: Learnt) -> None:
    """On its own four training images depths within a tenth and yaws within 20 degrees, and most things found."""
    scenes = scenes_of("detection_3d", with_persons=False)
    model: Any = centernet_3d_tiny(size=SIZE)
    before = scores(model, scenes, "detection_3d")
    learn_by_heart(model, scenes, steps=80)
    after = scores(model, scenes, "detection_3d")
    assert before["space_score"] < 0.05
    learnt("space_score", after["space_score"], least=0.7)
    learnt("space_matched", after["space_matched"], least=0.7)
    learnt("space_relative_depth_error", after["space_relative_depth_error"], most=0.1)
    learnt("space_orientation_error", after["space_orientation_error"], most=math.radians(20))
