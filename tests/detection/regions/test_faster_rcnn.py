"""Faster R-CNN beyond its parity with torchvision: every input trains, batches equal singles, export, learning."""

from typing import Any

import pytest
import torch

from tests.conftest import Learnt
from tests.detection.pairing import assert_same_detections
from vidi.detection.regions.faster_rcnn import (
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet50,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fasterrcnn_tiny,
)
from vidi.model import Step, evaluating
from vidi.ops.boxes import box_iou
from vidi.preprocess import Batch, MaskedBatch, Placement

K = 3
SIZE = (64, 96)
SMALL: dict[str, Any] = {"categories": K, "width": 16, "channels": 16, "hidden": 16, "proposals": 30}
ONE_MAP: dict[str, Any] = {"categories": K, "width": 16, "proposals": 10, "sampled": 8, "anchor_sizes": (16, 32, 64)}
PYRAMID = {"channels": 16, "hidden": 16, "proposals": 20, "anchor_sizes": (8, 16, 32, 64, 128), "categories": K}
BOXES: dict[str, list[list[float]]] = {
    "none": [],
    "one": [[20, 10, 52, 40]],
    "at the border": [[0, 0, 30, 30], [66, 34, 96, 64]],
    "of one pixel": [[40, 40, 41, 41], [0, 0, 1, 1]],
    "around everything": [[0, 0, 96, 64]],
    "long": [[0, 20, 96, 44], [10, 0, 16, 64]],
}


def batch_of(boxes: list[list[list[float]]], size: tuple[int, int] = SIZE) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(boxes), 3, *size, generator=generator)
    rows = [torch.tensor(b, dtype=torch.float32).view(-1, 4) for b in boxes]
    targets = [{"boxes": b, "labels": torch.arange(len(b)) % K} for b in rows]
    return MaskedBatch(images, images[:, 0] > -99, [Placement(size, size)] * len(boxes), targets)


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


@pytest.mark.parametrize("build", [fasterrcnn_tiny, pytest.param(fasterrcnn_resnet50, marks=pytest.mark.extended)])
def test_losses_and_gradients_are_finite_whatever_the_boxes(build: Any) -> None:
    model = build(**(SMALL if build is fasterrcnn_tiny else ONE_MAP))
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=generator) * torch.tensor([80.0, 50.0])
    crowded = torch.cat([corner, corner + 2 + 12 * torch.rand(300, 2, generator=generator)], 1)
    for boxes in (*BOXES.values(), crowded.tolist()):
        model.zero_grad()
        loss = total(model, batch_of([boxes, BOXES["none"]]))
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [(32, 128), (128, 32), (32, 32)])
def test_long_and_small_images(size: tuple[int, int]) -> None:
    model = fasterrcnn_tiny(**SMALL)
    batch = batch_of([[[2, 3, 20, 28]], []], size)
    assert total(model, batch).isfinite()
    H, W = size
    for result in model.decode(model.eval()(batch.images), batch.placements):
        assert (result.boxes <= torch.tensor([W, H, W, H])).all()


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


def test_half_precision_losses_are_computed_in_float32() -> None:
    model: Any = fasterrcnn_tiny(**SMALL)
    batch = batch_of([BOXES["one"], BOXES["none"]])
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses("network", batch, Step())
        outputs = model(batch.images)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert all(v.dtype == torch.float32 for v in outputs if v.is_floating_point())


def test_one_batch_is_learnt(learnt: Learnt) -> None:
    model: Any = fasterrcnn_tiny(**{**SMALL, "channels": 32, "hidden": 64})
    batch = batch_of([[[10, 12, 50, 60]], [[10, 12, 50, 60]]])
    for i, image in enumerate(batch.images):
        image.mul_(0.1)
        image[:, 12:60, 10:50] = torch.tensor([2.0, 0.0, 2.0 * i]).view(3, 1, 1)
        batch.targets[i]["labels"].fill_(i)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    model.train()
    for step in range(80):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, 2 - step / 40)
        loss = total(model, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        results = model.decode(model(batch.images), batch.placements)
    for i, result in enumerate(results):
        assert result.labels[0] == i
        learnt("score", float(result.scores[0]), least=0.5)
        learnt("overlap", float(box_iou(result.boxes[:1], torch.tensor([[10.0, 12, 50, 60]]))), least=0.5)


# ----------------------------------------------------------------------------------------------------------------------
# Prediction


def test_a_batch_equals_its_images_alone() -> None:
    model: Any = fasterrcnn_tiny(**SMALL, score_threshold=0.01)
    images = [torch.rand(3, *size) for size in ((128, 128), (100, 150), (128, 128), (40, 160))]
    together = model.predict(images)
    for image, result in zip(images, together, strict=True):
        (alone,) = model.predict([image])
        assert len(result) == len(alone) > 0
        assert_same_detections(result, alone)


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


EXPORT = """
import torch
from vidi.detection.regions.faster_rcnn import fasterrcnn_resnet50, fasterrcnn_tiny

torch.set_num_threads(1)
network = {}.network.eval()
B, h, w = (torch.export.Dim(name, min=low, max=64) for name, low in (("B", 1), ("h", 2), ("w", 2)))
shapes = {{"images": {{0: B, 2: 32 * h, 3: 32 * w}}}}
program = torch.export.export(network, (torch.randn(2, 3, 160, 192),), dynamic_shapes=shapes).module()
for size in ((1, 3, 192, 160), (3, 3, 96, 224)):
    images = torch.randn(size)
    for ours, exported in zip(network(images), program(images), strict=True):
        torch.testing.assert_close(ours, exported, rtol=1e-4, atol=1e-4)
"""


@pytest.mark.parametrize(
    "built",
    [
        "fasterrcnn_tiny(width=16, channels=16, hidden=16, proposals=20)",
        pytest.param("fasterrcnn_resnet50(categories=3, width=16, proposals=5)", marks=pytest.mark.extended),
    ],
)
def test_the_network_exports_with_any_batch_height_and_width(run_python: Any, built: str) -> None:
    finished = run_python("-c", EXPORT.format(built))
    assert finished.returncode == 0, finished.stderr


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
