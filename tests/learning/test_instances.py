"""Mask R-CNN and Keypoint R-CNN learn from the world, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from tests.conftest import Learnt
from tests.learning.test_detectors import AT_64_PIXELS
from tests.settings import SEED
from vidi import api

SMALL: dict[str, Any] = {**AT_64_PIXELS, "steps": 150, "channels": 32, "width": 0.25, "hidden": 64}


@pytest.mark.slow
@pytest.mark.system("5.2.1-MASKRCNN", "5.2.1-MASKLOSS", "5.2-INSTSEG")
def test_mask_rcnn_finds_the_pixels_of_the_things_of_the_world(tmp_path: Path, learnt: Learnt) -> None:
    """At 64 pixels, in 45 seconds of one core; masks nearly as good as the boxes that they are pasted into."""
    run = vidi.train("maskrcnn_tiny", out=tmp_path / "run", seed=SEED, mask_channels=32, **SMALL)
    scores = {name: float(value) for name, value in api.scores_of(run).items() if name.endswith("ap50")}
    learnt("mask_ap50", scores["mask_ap50"], least=0.05)
    learnt("share of the boxes' score", scores["mask_ap50"] / scores["ap50"], least=0.4)


@pytest.mark.slow
@pytest.mark.system("5.2.1-KEYPOINT")
def test_keypoint_rcnn_finds_the_joints_of_the_persons_of_the_world(tmp_path: Path, learnt: Learnt) -> None:
    run = vidi.train("keypointrcnn_tiny", out=tmp_path / "run", seed=SEED, keypoint_channels=32, **SMALL)
    learnt("keypoint_ap50", float(api.scores_of(run)["keypoint_ap50"]), least=0.0)
