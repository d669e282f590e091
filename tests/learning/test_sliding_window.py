"""The sliding-window detector learns to find the things of the world, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api


@pytest.mark.slow
@pytest.mark.system("4.3.1-SLIDING")
def test_a_tiny_sliding_window_detector_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.20 on held-out scenes of 128 pixels, and three times what it was at the beginning."""
    numbers: dict[str, Any] = {"world_scenes": 600, "validate_every": 99}
    trained = vidi.train("sliding_window_tiny", out=tmp_path / "run", **numbers)
    untrained = vidi.train("sliding_window_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    start = float(api.scores_of(untrained)["ap50"])
    assert float(api.scores_of(trained)["ap50"]) >= max(0.20, 3 * start)
