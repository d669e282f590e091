"""Semantic segmenters learn what the pixels of the world are, through `vidi.train`, from a fixed seed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import vidi
from tests.conftest import Learnt
from tests.settings import SEED
from vidi import api
from vidi.data.world.names import SEMANTIC_CATEGORIES

# What says the commonest class at each place of the picture, whatever it shows: mIoU 0.243, pixel accuracy 0.855.
AT_64_PIXELS: dict[str, Any] = {
    "world_scenes": 240,
    "world_size": (64, 64),
    "batch_size": 16,
    "learning_rate": 1e-2,
    "warmup": 10,
    "ema": 0.97,
    "validate_every": 999,
}


@pytest.mark.system("5.1-SEMSEG", "5.1.4-UNET")
def test_a_short_training_tells_sky_from_ground_from_things(tmp_path: Path, learnt: Learnt) -> None:
    run = vidi.train("unet_tiny", out=tmp_path / "run", seed=SEED, steps=120, size=(64, 64), **AT_64_PIXELS)
    scores = api.scores_of(run)
    learnt("mIoU", float(scores["miou_present"]), least=0.30)
    learnt("pixel accuracy", float(scores["pixel_accuracy"]), least=0.87)
    written = {path.name for path in run.folder.iterdir()}
    assert {"class_iou.png", "confusion_matrix.png", "mosaic.png", "report.md"} <= written
    config = json.loads((run.folder / "config.json").read_text())
    assert tuple(config["arguments"]["categories"]) == tuple(config["data"]["categories"]) == SEMANTIC_CATEGORIES
    assert vidi.evaluate(run.folder)["miou_present"] == pytest.approx(scores["miou_present"])
    (found,) = vidi.load(run.folder).predict(torch.rand(3, 50, 70))
    assert found.classes.shape == (50, 70)
    assert found.categories == SEMANTIC_CATEGORIES


@pytest.mark.system("5.1.3-FCN8", "5.1.3-FCN16", "5.1.3-FCN32")
def test_a_network_trained_from_coarse_to_fine_learns(tmp_path: Path, learnt: Learnt) -> None:
    stages = ("stride32", "stride16", "stride8")
    numbers = {f"{stage}.{key}": value for stage in stages for key, value in AT_64_PIXELS.items()}
    own = {"steps": 40, "learning_rate": 4e-3, "seed": SEED}
    numbers |= {f"{stage}.{key}": value for stage in stages for key, value in own.items()}
    run = vidi.train("fcn8_coarse_to_fine_tiny", out=tmp_path / "run", size=(64, 64), **numbers)
    learnt("mIoU", float(api.scores_of(run)["miou_present"]), least=0.27)
