"""R-CNN learns to find the things of the world, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api


@pytest.mark.system("4.3.2-RCNN")
def test_a_tiny_rcnn_learns_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.12 at 64 pixels after 80 steps of 16: only the classes of proposals have to be learnt."""
    world: dict[str, Any] = {"world_scenes": 240, "world_size": (64, 64), "size": (64, 64)}
    crops: dict[str, Any] = {"crop": (32, 32), "proposals": 60, "smallest": 4}
    numbers: dict[str, Any] = {**world, **crops, "batch_size": 16, "warmup": 10, "validate_every": 999}
    trained = vidi.train("rcnn_tiny", out=tmp_path / "run", steps=80, learning_rate=4e-3, ema=0.97, **numbers)
    assert float(api.scores_of(trained)["ap50"]) >= 0.12


@pytest.mark.slow
@pytest.mark.system("4.3.2-RCNN")
def test_a_tiny_rcnn_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.30 on held-out scenes of 128 pixels, and three times what it was at the beginning."""
    numbers: dict[str, Any] = {"world_scenes": 700, "validate_every": 99}
    trained = vidi.train("rcnn_tiny", out=tmp_path / "run", **numbers)
    untrained = vidi.train("rcnn_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    start = float(api.scores_of(untrained)["ap50"])
    assert float(api.scores_of(trained)["ap50"]) >= max(0.30, 3 * start)
