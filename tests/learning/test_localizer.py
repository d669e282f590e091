"""The localizer learns where the largest thing of a scene is, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vidi
from tests.conftest import Learnt
from tests.settings import SEED
from vidi.data.world.dataset import World
from vidi.ops.boxes import box_area, paired_box_iou


def largest_objects(scenes: World) -> tuple[list[Tensor], Tensor]:
    """Return the pictures that have an object, and the box of the largest one of each."""
    images, boxes = [], []
    for image, target in (scenes[row] for row in range(len(scenes))):
        own = target["boxes"].as_subclass(Tensor)
        if len(own):
            images.append(image)
            boxes.append(own[box_area(own).argmax()])
    return images, torch.stack(boxes)


def mean_overlap(trained: Any, size: tuple[int, int], count: int) -> tuple[float, float]:
    """Return the mean IoU with the largest objects of held-out scenes, of the model and of the best constant box."""
    _, known = largest_objects(World("train", count=count, size=size, targets=("boxes", "labels")))
    images, boxes = largest_objects(World("val", count=count, size=size, targets=("boxes", "labels")))
    found = torch.cat([result.boxes for result in vidi.load(trained.folder).predict(images)])
    constant = known.median(0).values.expand_as(boxes)
    return float(paired_box_iou(found, boxes).mean()), float(paired_box_iou(constant, boxes).mean())


@pytest.mark.extended
@pytest.mark.system("4.3.1-LOCALIZER")
def test_a_tiny_localizer_learns_where_the_main_object_is(tmp_path: Path, learnt: Learnt) -> None:
    """A mean IoU on held-out scenes of 64 pixels that is above that of the training set's median box."""
    world: dict[str, Any] = {"world_scenes": 240, "world_size": (64, 64), "size": (64, 64)}
    numbers: dict[str, Any] = {**world, "batch_size": 16, "warmup": 20, "validate_every": 999}
    run = vidi.train("localizer_tiny", out=tmp_path / "run", seed=SEED, steps=300, ema=0.98, **numbers)
    overlap, constant = mean_overlap(run, (64, 64), 60)
    learnt("gain of the mean overlap", overlap - constant, least=0.015)
