"""Every detector learns to find the things of the world, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from tests.conftest import Learnt
from tests.settings import SEED
from vidi import api
from vidi.detection.yolo import WORLD_ANCHORS
from vidi.engine.runs import Run

AT_64_PIXELS: dict[str, Any] = {
    "world_scenes": 240,
    "world_size": (64, 64),
    "size": (64, 64),
    "batch_size": 16,
    "warmup": 20,
    "learning_rate": 4e-3,
    "ema": 0.98,
    "validate_every": 999,
}


def ap50(run: Run) -> float:
    return float(api.scores_of(run)["ap50"])


def after_and_before(name: str, folder: Path, numbers: dict[str, Any]) -> tuple[float, float]:
    """Return the AP50 on held-out scenes after a training, and that of its untrained copy."""
    trained = vidi.train(name, out=folder / "run", seed=SEED, **numbers)
    untrained = vidi.train(name, out=folder / "start", seed=SEED, **{**numbers, "steps": 1, "learning_rate": 1e-9})
    return ap50(trained), ap50(untrained)


def case(name: str, bar: float, *rows: str, extended: bool = False, **numbers: Any) -> Any:
    marks = [pytest.mark.system(*rows), *([pytest.mark.extended] if extended else [])]
    return pytest.param(name, bar, numbers, id=name, marks=marks)


@pytest.mark.parametrize(
    ("name", "bar", "numbers"),
    [
        case("rcnn_tiny", 0.12, "4.3.2-RCNN", steps=80, crop=(32, 32), proposals=60, smallest=4, warmup=10, ema=0.97),
        case(
            "fasterrcnn_tiny",
            0.10,
            "4.3.2-FASTERRCNN",
            "4.3.3-FRCNNFPN",
            steps=100,
            anchor_sizes=(8, 16, 32, 64),
            channels=32,
            width=16,
            hidden=64,
        ),
        case("ssd_tiny", 0.02, "4.3.3-SSD", steps=300, width=16),
        case("retinanet_tiny", 0.04, "4.3.4-RETINANET", steps=120, channels=32, width=16),
        case(
            "yolov3_small",
            0.025,
            "4.3.4-YOLO",
            "4.3.4-YOLOLOSS",
            "4.3.4-ONESTAGE",
            steps=120,
            anchors=tuple(side / 2 for side in WORLD_ANCHORS),  # those are for 128 pixels
        ),
        case("centernet_tiny", 0.03, "4.3.5-CENTERNET", "4.3.5-CTBACKBONE", steps=240),
        case(
            "efficientdet_tiny",
            0.05,
            "4.A-EFFDET",
            "4.A-BIFPN",
            extended=True,
            steps=200,
            warmup=10,
            learning_rate=8e-3,
            ema=0.95,
            anchor_scale=1.0,
            channels=32,
            repeats=1,
            head_depth=1,
            score_threshold=0.01,
        ),
    ],
)
def test_a_short_training_at_64_pixels_helps(
    name: str, bar: float, numbers: dict[str, Any], tmp_path: Path, learnt: Learnt
) -> None:
    """An AP50 above the bar, and three times what it was at the beginning."""
    after, before = after_and_before(name, tmp_path, {**AT_64_PIXELS, **numbers})
    learnt("ap50", after, least=max(bar, 3 * before))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bar", "numbers"),
    [
        case("sliding_window_tiny", 0.30, "4.3.1-SLIDING", world_scenes=600),
        case("rcnn_tiny", 0.30, "4.3.2-RCNN", world_scenes=700),
        case(
            "fast_rcnn_resnet18",
            0.30,
            "4.3.2-FASTRCNN",
            world_scenes=1000,
            steps=400,
            batch_size=16,
            learning_rate=2e-3,
            augment="flip",
            size=(128, 128),
            width=32,
            hidden=128,
            window_sizes=(16, 32, 64),
        ),
        case("fasterrcnn_tiny", 0.60, "4.3.2-FASTERRCNN", "4.3.3-FRCNNFPN", world_scenes=600, steps=250),
        case("ssd_tiny", 0.30, "4.3.3-SSD", "4.3.3-CNNPYR", world_scenes=600, steps=200),
        case("retinanet_tiny", 0.60, "4.3.4-RETINANET"),  # `make demo`
        case("yolov3_small", 0.30, "4.3.4-YOLO", "4.3.4-YOLOLOSS", world_scenes=1000, steps=500),
        case("centernet_tiny", 0.30, "4.3.5-CENTERNET", world_scenes=1200, learning_rate=4e-3),
        case("centernet_pose_tiny", 0.30, "4.3.5-CTPOSE", world_scenes=1200, learning_rate=4e-3),
        case("centernet_3d_tiny", 0.30, "4.3.5-CT3D", world_scenes=1200, learning_rate=4e-3),
        case("detr_tiny", 0.30, "4.3.6-DETR"),
        case("efficientdet_tiny", 0.30, "4.A-EFFDET", "4.A-BIFPN"),
    ],
)
def test_a_training_at_128_pixels_finds_the_things_of_the_world(
    name: str, bar: float, numbers: dict[str, Any], tmp_path: Path, learnt: Learnt
) -> None:
    """An AP50 above the bar (DETR at 64 pixels), and three times what it was at the beginning."""
    after, before = after_and_before(name, tmp_path, {"validate_every": 999, **numbers})
    learnt("ap50", after, least=max(bar, 3 * before))
