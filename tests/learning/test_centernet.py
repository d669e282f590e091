"""A small CenterNet learns to find the things of the world."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api


@pytest.mark.system("4.3.5-CENTERNET", "4.3.5-CTBACKBONE")
def test_a_tiny_centernet_learns_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.04 at 64 pixels after 120 steps of 16, and three times what it was at the beginning."""
    world = {"world_scenes": 240, "world_size": (64, 64), "size": (64, 64)}
    numbers: dict[str, Any] = {**world, "batch_size": 16, "warmup": 20, "validate_every": 999}
    trained = vidi.train("centernet_tiny", out=tmp_path / "run", steps=120, learning_rate=4e-3, ema=0.98, **numbers)
    untrained = vidi.train("centernet_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    start = float(api.scores_of(untrained)["ap50"])
    assert float(api.scores_of(trained)["ap50"]) >= max(0.04, 3 * start)


@pytest.mark.slow
@pytest.mark.system("4.3.5-CENTERNET")
def test_a_tiny_centernet_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.30 on held-out scenes of 128 pixels, and three times what it was at the beginning."""
    numbers: dict[str, Any] = {"world_scenes": 1200, "validate_every": 99}
    trained = vidi.train("centernet_tiny", out=tmp_path / "run", learning_rate=4e-3, **numbers)
    untrained = vidi.train("centernet_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    start = float(api.scores_of(untrained)["ap50"])
    assert float(api.scores_of(trained)["ap50"]) >= max(0.30, 3 * start)
