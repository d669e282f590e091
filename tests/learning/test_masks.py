"""Small mask classifiers learn four scenes by heart: things one by one, stuff in one piece, and classes of pixels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import Learnt
from vidi.catalog.table import CATALOG
from vidi.data.world.dataset import World
from vidi.engine.datasets import facts_for
from vidi.engine.evaluate import evaluate
from vidi.model import Step
from vidi.segmentation.mask2former import mask2former_tiny, mask2former_tiny_instance
from vidi.segmentation.maskformer import maskformer_tiny, maskformer_tiny_semantic
from vidi.segmentation.panoptic_fpn import panoptic_fpn_tiny

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
        case(maskformer_tiny_semantic, 0.5, 120, "5.3.2-MASKCLS", extended=True),
        case(mask2former_tiny_instance, 0.5, 120, "5.3.2-MASKCLS", extended=True, points=256),
    ],
)
def test_four_scenes_are_learnt_by_heart(
    build: Callable[..., Any], bar: float, steps: int, numbers: dict[str, Any], learnt: Learnt
) -> None:
    """A PQ of things, mask AP50 or mIoU on its own training images, where it was next to nothing."""
    size = (64, 64)
    task = CATALOG[build.__name__].task
    scenes = World("train", count=4, size=size, targets=[key for key in task.keys if key in World.kinds])
    facts = facts_for(task, scenes)
    model = build(**facts, size=size, **numbers)
    measure = {"panoptic": "pq_things", "instance": "mask_ap50", "semantic": "miou_present"}[task.name]

    def score() -> float:
        assert task.scorer is not None
        return float(evaluate(model, scenes, task.scorer(facts["categories"]))[measure])

    assert score() < bar / 3
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
    learnt(measure, score(), least=bar)
