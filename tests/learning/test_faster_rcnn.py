"""Faster R-CNN learns to find the things of the world, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api
from vidi.engine.runs import Run


def ap50(run: Run) -> float:
    return float(api.scores_of(run)["ap50"])


@pytest.mark.system("4.3.2-FASTERRCNN", "4.3.3-FRCNNFPN")
def test_a_tiny_faster_rcnn_learns_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.10 at 64 pixels after 100 steps of 16, and three times what it was at the beginning."""
    world: dict[str, Any] = {
        "world_scenes": 240,
        "world_size": (64, 64),
        "size": (64, 64),
        "anchor_sizes": (8, 16, 32, 64),
    }
    numbers = {
        **world,
        "channels": 32,
        "width": 16,
        "hidden": 64,
        "batch_size": 16,
        "warmup": 20,
        "validate_every": 999,
    }
    trained = vidi.train("fasterrcnn_tiny", out=tmp_path / "run", steps=100, learning_rate=4e-3, ema=0.98, **numbers)
    untrained = vidi.train("fasterrcnn_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50(trained) >= max(0.10, 3 * ap50(untrained))


@pytest.mark.slow
@pytest.mark.system("4.3.2-FASTERRCNN", "4.3.3-FRCNNFPN")
def test_a_short_training_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.60 on held-out scenes of 128 pixels after 250 steps of 16, and three times that of the untrained."""
    numbers: dict[str, Any] = {"world_scenes": 600, "batch_size": 16, "validate_every": 999}
    trained = vidi.train("fasterrcnn_tiny", out=tmp_path / "run", steps=250, **numbers)
    untrained = vidi.train("fasterrcnn_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50(trained) >= max(0.60, 3 * ap50(untrained))
