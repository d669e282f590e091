"""A small DETR learns four scenes by heart: a set without duplicates."""

import pytest
import torch

from tests.conftest import Learnt
from vidi.data.world.dataset import World
from vidi.detection.detr import detr_tiny
from vidi.engine.evaluate import evaluate
from vidi.model import Step
from vidi.tasks.detection import DetectionScorer


@pytest.mark.system("4.3.6-DETR", "4.3.6-SETLOSS")
def test_a_tiny_detr_learns_four_scenes_by_heart(learnt: Learnt) -> None:
    """An AP50 of 0.5 on its own training images after 80 steps, where it was below 0.1."""
    size = (64, 64)
    scenes = World("train", count=4, size=size, targets=("boxes", "labels"))
    model = detr_tiny(size=size)

    def score() -> float:
        return float(evaluate(model, scenes, DetectionScorer(scenes.categories))["ap50"])

    assert score() < 0.1
    batch = model.preprocess.collate([model.preprocess.place(*scenes[index]) for index in range(4)])
    rate, steps = 1e-3, 80
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        torch.stack(list(model.losses("network", batch, Step()).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    learnt("ap50", score(), least=0.5)
