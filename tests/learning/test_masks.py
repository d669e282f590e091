"""Small mask classifiers learn four scenes by heart: things one by one, stuff in one piece."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import Learnt
from vidi.data.world.dataset import World
from vidi.engine.evaluate import evaluate
from vidi.model import Step
from vidi.segmentation.mask2former import mask2former_tiny
from vidi.segmentation.maskformer import maskformer_tiny
from vidi.segmentation.panoptic_fpn import panoptic_fpn_tiny
from vidi.tasks.panoptic import PANOPTIC, PanopticScorer

TWO_STAGES = {"width": 0.25, "channels": 32, "proposals": 40, "anchor_sizes": (4, 8, 16, 32, 64), "least_stuff": 16}


def case(build: Callable[..., Any], bar: float, steps: int, *rows: str, extended: bool = False, **numbers: Any) -> Any:
    marks = [pytest.mark.system(*rows), *([pytest.mark.extended] if extended else [])]
    return pytest.param(build, bar, steps, numbers, id=build.__name__, marks=marks)


@pytest.mark.parametrize(
    ("build", "bar", "steps", "numbers"),
    [
        case(mask2former_tiny, 0.5, 120, "5.3.3-M2F", "5.3.3-MASKATT", "5.3.3-POINTLOSS", points=256),
        case(maskformer_tiny, 0.5, 120, "5.3.2-MASKFORMER", "5.3.2-MFLOSS", "5.3.2-MFINFER", extended=True),
        case(panoptic_fpn_tiny, 0.3, 120, "5.3.1-PANFPN", "5.3.1-MERGE", extended=True, **TWO_STAGES),
    ],
)
def test_four_scenes_are_learnt_by_heart(
    build: Callable[..., Any], bar: float, steps: int, numbers: dict[str, Any], learnt: Learnt
) -> None:
    """A PQ of things on its own training images, where it was zero."""
    size = (64, 64)
    scenes = World("train", count=4, size=size, targets=PANOPTIC.keys)
    model = build(categories=scenes.semantic_categories, things=scenes.categories, size=size, **numbers)

    def score() -> float:
        return float(evaluate(model, scenes, PanopticScorer(scenes.semantic_categories))["pq_things"])

    assert score() <= 0
    batch = model.preprocess.collate([model.preprocess.place(*scenes[index]) for index in range(4)])
    rate = 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        torch.stack(list(model.losses("network", batch, Step(generator=generator)).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    learnt("pq_things", score(), least=bar)
