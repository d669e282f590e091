"""A tiny EfficientDet learns to find the things of the world."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from vidi import api
from vidi.engine.runs import Run


def ap50(run: Run) -> float:
    return float(api.scores_of(run)["ap50"])


@pytest.mark.system("4.A-EFFDET", "4.A-BIFPN")
def test_a_tiny_efficientdet_learns_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.03 at 64 pixels after 120 steps of 16, and three times what it was at the beginning."""
    world: dict[str, Any] = {"world_scenes": 240, "world_size": (64, 64), "size": (64, 64), "anchor_scale": 1.0}
    smaller = {"channels": 32, "repeats": 1, "head_depth": 1, "score_threshold": 0.01}
    numbers = {**world, **smaller, "batch_size": 16, "warmup": 10, "validate_every": 999}
    trained = vidi.train("efficientdet_tiny", out=tmp_path / "run", steps=120, learning_rate=8e-3, ema=0.95, **numbers)
    untrained = vidi.train("efficientdet_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, **numbers)
    assert ap50(trained) >= max(0.03, 3 * ap50(untrained))


@pytest.mark.slow
@pytest.mark.system("4.A-EFFDET", "4.A-BIFPN")
def test_a_tiny_efficientdet_finds_the_things_of_the_world(tmp_path: Path) -> None:
    """An AP50 of 0.30 on held-out scenes of 128 pixels by its recipe, and three times what it was at the beginning."""
    trained = vidi.train("efficientdet_tiny", out=tmp_path / "run", validate_every=999)
    untrained = vidi.train("efficientdet_tiny", out=tmp_path / "start", steps=1, learning_rate=1e-9, validate_every=999)
    assert ap50(trained) >= max(0.30, 3 * ap50(untrained))
