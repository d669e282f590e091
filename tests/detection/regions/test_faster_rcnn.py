"""Faster R-CNN beyond its parity with torchvision: every variant trains, crowds, draws, its stages."""

from typing import Any

import pytest
import torch

from tests.detection import scenes
from tests.detection.scenes import BOXES, SIZE, K, target
from vidi.detection.regions.faster_rcnn import (
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet50,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fasterrcnn_tiny,
)
from vidi.model import Step, evaluating
from vidi.preprocess import Batch

SMALL: dict[str, Any] = {"categories": K, "width": 16, "channels": 16, "hidden": 16, "proposals": 30}
ONE_MAP: dict[str, Any] = {"categories": K, "width": 16, "proposals": 10, "sampled": 8, "anchor_sizes": (16, 32, 64)}
PYRAMID = {"channels": 16, "hidden": 16, "proposals": 20, "anchor_sizes": (8, 16, 32, 64, 128), "categories": K}


def batch_of(boxes: list[list[list[float]]]) -> Batch:
    images = torch.randn(len(boxes), 3, *SIZE, generator=torch.Generator().manual_seed(1))
    return scenes.batch_of([target(rows) for rows in boxes], images=images, masked=True)


def total(model: Any, batch: Batch, seed: int = 0) -> torch.Tensor:
    step = Step(generator=torch.Generator().manual_seed(seed))
    return torch.stack(list(model.losses("network", batch, step).values())).sum()


# ----------------------------------------------------------------------------------------------------------------------
# Training


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (fasterrcnn_tiny, SMALL),
        (fasterrcnn_resnet50, ONE_MAP),
        (fasterrcnn_resnet18_fpn, PYRAMID | {"width": 16}),
        pytest.param(fasterrcnn_resnet50_fpn, PYRAMID | {"two_way": True}, marks=pytest.mark.extended),
        pytest.param(fasterrcnn_resnet50_fpn_v2, PYRAMID, marks=pytest.mark.extended),
    ],
)
def test_every_parameter_learns_and_every_mode_gives_the_same_shapes(build: Any, options: dict[str, Any]) -> None:
    model = build(**options)
    batch = batch_of([BOXES["one"], BOXES["none"]])
    total(model, batch).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        trained, evaluated = model.train()(batch.images), model.eval()(batch.images)
    N = options["proposals"]
    shapes = [(2, N, 4), (2, N), (2, N, K + 1), (2, N, K, 4)]
    assert [tuple(v.shape) for v in trained] == [tuple(v.shape) for v in evaluated] == shapes


def test_crowds_are_neither_objects_nor_background() -> None:
    model: Any = fasterrcnn_tiny(**SMALL)
    batch = batch_of([[[0, 0, 96, 64]]])
    batch.targets[0]["crowd"] = torch.tensor([True])  # type: ignore[index]
    losses = model.losses("network", batch, Step())
    assert losses["box"] == losses["proposal"] == losses["classification"] == 0


def test_draws_are_those_of_the_step() -> None:
    model = fasterrcnn_tiny(**SMALL, sampled=8)
    batch = batch_of([BOXES["long"], BOXES["one"]])
    one, two, three = (total(model, batch, seed) for seed in (1, 1, 2))
    assert one == two
    assert one != three


def test_weights_that_are_not_numbers_are_caught() -> None:
    model: Any = fasterrcnn_tiny(**SMALL)
    with torch.no_grad():
        model.network.backbone.stem.conv.weight.fill_(torch.nan)
    batch = batch_of([BOXES["one"]])
    assert not total(model, batch).isfinite()
    (result,) = model.decode(model.eval()(batch.images), batch.placements)
    assert len(result) == 0


# ----------------------------------------------------------------------------------------------------------------------
# Prediction


@pytest.mark.system("4.3.2-TWOSTAGE")
def test_the_stages_put_together_are_the_network() -> None:
    model: Any = fasterrcnn_tiny(**SMALL)
    batch = batch_of([BOXES["one"], BOXES["long"]])
    with evaluating(model), torch.no_grad():
        outputs = model(batch.images)
        first = model.network.first_stage(batch.images)
        proposals = model.network.selection(first.predictions, torch.tensor([SIZE] * 2).float())
        rows = torch.tensor([1] * 30)
        second = model.network.second_stage(first.features, proposals.boxes[1], rows)
    assert torch.equal(outputs.proposals, proposals.boxes)
    torch.testing.assert_close(outputs.class_logits[1], second.class_logits)
    torch.testing.assert_close(outputs.box_deltas[1], second.box_deltas)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor_sizes": (8, 16)}, "one for each of 4 levels"),
        ({"score_threshold": 1.5}, "score_threshold=1.5"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fasterrcnn_tiny(**SMALL | options)
    with pytest.raises(ValueError, match="trainable_backbone_layers=9"):
        fasterrcnn_resnet50(**ONE_MAP, trainable_backbone_layers=9)
