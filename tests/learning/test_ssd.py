"""A narrow SSD learns to find the things of the world, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api
from vidi.engine.runs import Run


def ap50(run: Run) -> float:
    return float(api.scores_of(run)["ap50"])


@pytest.mark.system("4.3.3-SSD")
def test_a_tiny_ssd_learns_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.05 at 64 pixels after 100 steps of 16, and three times what it was at the beginning."""
    numbers: dict[str, Any] = {
        "world_scenes": 240,
        "world_size": (64, 64),
        "size": (64, 64),
        "width": 16,
        "batch_size": 16,
        "warmup": 20,
        "validate_every": 999,
    }
    trained = vidi.train("ssd_tiny", out=tmp_path / "run", steps=100, learning_rate=4e-3, ema=0.98, **numbers)
    untrained = vidi.train("ssd_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50(trained) >= max(0.05, 3 * ap50(untrained))


@pytest.mark.slow
@pytest.mark.system("4.3.3-SSD", "4.3.3-CNNPYR")
def test_a_short_training_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.30 on held-out scenes of 128 pixels after 200 steps of 16, and three times that of the untrained."""
    numbers: dict[str, Any] = {"world_scenes": 600, "batch_size": 16, "validate_every": 999}
    trained = vidi.train("ssd_tiny", out=tmp_path / "run", steps=200, **numbers)
    untrained = vidi.train("ssd_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50(trained) >= max(0.30, 3 * ap50(untrained))
