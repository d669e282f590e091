"""A narrow YOLOv3 learns to find the things of the world."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api
from vidi.detection.yolo import WORLD_ANCHORS
from vidi.engine.runs import Run


def ap50_of(run: Run) -> float:
    return float(api.scores_of(run)["ap50"])


@pytest.mark.system("4.3.4-YOLO", "4.3.4-YOLOLOSS", "4.3.4-ONESTAGE")
def test_a_narrow_yolo_learns_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.03 at 64 pixels after 120 steps of 16, and three times what it was at the beginning."""
    world = {"world_scenes": 240, "world_size": (64, 64), "size": (64, 64)}
    anchors = tuple(side / 2 for side in WORLD_ANCHORS)  # those are for 128 pixels
    numbers: dict[str, Any] = {
        **world,
        "anchors": anchors,
        "batch_size": 16,
        "warmup": 20,
        "validate_every": 999,
    }
    trained = vidi.train("yolov3_small", out=tmp_path / "run", steps=120, learning_rate=4e-3, ema=0.98, **numbers)
    untrained = vidi.train("yolov3_small", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50_of(trained) >= max(0.03, 3 * ap50_of(untrained))


@pytest.mark.slow
@pytest.mark.system("4.3.4-YOLO", "4.3.4-YOLOLOSS")
def test_a_narrow_yolo_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.30 on held-out scenes of 128 pixels, and three times what it was at the beginning."""
    numbers: dict[str, Any] = {"world_scenes": 1000, "validate_every": 999}
    trained = vidi.train("yolov3_small", out=tmp_path / "run", steps=500, **numbers)
    untrained = vidi.train("yolov3_small", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50_of(trained) >= max(0.30, 3 * ap50_of(untrained))
