"""The localizer: its two heads, its loss by a slow loop, its one detection an image."""

import math
from typing import Any

import pytest
import torch

from tests.detection.scenes import SIZE, K, batch_of, target
from vidi.detection.localizer import (
    LocalizerCriterion,
    LocalizerDecode,
    LocalizerOutputs,
    localizer_alexnet,
    localizer_resnet18,
    localizer_tiny,
    main_object,
)
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.preprocess import Placement


def outputs_of(count: int, outputs: int = K) -> LocalizerOutputs:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(count, outputs, generator=generator, dtype=torch.float64)
    corners = 60 * torch.rand(count, 4, generator=generator, dtype=torch.float64)
    return LocalizerOutputs(logits.requires_grad_(), corners.requires_grad_())


# ----------------------------------------------------------------------------------------------------------------------
# Loss


@pytest.mark.system("4.3.1-LOCALIZER")
def test_the_loss_is_the_equation_by_slow_loops() -> None:
    """Of the largest object of each image that has one, in shares of the canvas; crowds are no objects."""
    targets = [
        target([[4, 8, 20, 24], [10, 0, 90, 60], [0, 0, 96, 64]], [0, 2, 1], [False, False, True]),
        target([], []),
        target([[30, 30, 50, 40]], [1]),
    ]
    outputs = outputs_of(3)
    losses = LocalizerCriterion((0, 1, 2), 5.0).compare(outputs, batch_of(targets), Step())
    log_loss = box_loss = 0.0
    for row, label, box in ((0, 2, (10, 0, 90, 60)), (2, 1, (30, 30, 50, 40))):
        logits = outputs.class_logits[row].tolist()
        log_loss += math.log(sum(math.exp(x) for x in logits)) - logits[label]
        sides = (96, 64, 96, 64)
        shares = [(a - b) / s for a, b, s in zip(outputs.boxes[row].tolist(), box, sides, strict=True)]
        box_loss += sum(share**2 for share in shares) / 4
    assert losses["classification"].item() == pytest.approx(log_loss / 2, rel=1e-10)
    assert losses["box"].item() == pytest.approx(5 * box_loss / 2, rel=1e-10)


def test_images_without_objects_have_no_loss() -> None:
    outputs = outputs_of(2)
    losses = LocalizerCriterion((0, 1, 2), 5.0).compare(outputs, batch_of([target([], [])] * 2), Step())
    assert [value.item() for value in losses.values()] == [0, 0]
    torch.stack(list(losses.values())).sum().backward()
    assert (outputs.boxes.grad == 0).all()


def test_the_first_of_equally_large_objects_is_the_main_one() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [8, 8, 10, 16], [9, 9, 13, 13]])
    box, label = main_object(Objects(boxes, torch.tensor([2, 1, 0]), boxes[:0]))
    assert box.tolist() == [[0, 0, 4, 4]]
    assert label.tolist() == [2]


# ----------------------------------------------------------------------------------------------------------------------
# Network and results


@pytest.mark.system("4.3.1-LOCALIZER")
@pytest.mark.parametrize(
    ("build", "size", "features"), [(localizer_alexnet, 227, (256, 6, 6)), (localizer_resnet18, 224, (512, 7, 7))]
)
def test_two_heads_share_the_features(build: Any, size: int, features: tuple[int, int, int]) -> None:
    """A thousand logits and four numbers an image."""
    with torch.device("meta"):
        network = build().network
        images = torch.empty(2, 3, size, size)
        assert tuple(network.backbone(images)[-1].shape[1:]) == features
        outputs = network(images)
    assert (tuple(outputs.class_logits.shape), tuple(outputs.boxes.shape)) == ((2, 1000), (2, 4))
    assert build(width=16, hidden=8).preprocess.exact == (size, size)


def test_boxes_are_shares_of_the_canvas() -> None:
    network = localizer_tiny(categories=K, hidden=8).network.eval()
    with torch.no_grad():
        network.get_submodule("box_head.linear").weight.zero_()  # type: ignore[operator, union-attr]
        network.get_submodule("box_head.linear").bias.copy_(torch.tensor([0.25, 0.5, 0.75, 1.0]))  # type: ignore[operator, union-attr]
        boxes = network(torch.randn(1, 3, *SIZE)).boxes
    assert boxes.tolist() == [[24, 32, 72, 64]]


@pytest.mark.system("4.3.1-LOCALIZER")
def test_one_detection_an_image_in_pixels_of_the_original() -> None:
    logits = torch.tensor([[0.0, 2.0, 5.0, 1.0], [3.0, 0.0, 0.0, 0.0]])
    boxes = torch.tensor([[48.0, 8, 12, 40], [-5.0, -5, 200, 200]])  # the first has left and right swapped
    decode = LocalizerDecode(("a", "b", None, "c"))
    one, two = decode(LocalizerOutputs(logits, boxes), [Placement((128, 96), SIZE), Placement((32, 48), SIZE)])
    assert one.boxes.tolist() == [[12, 16, 48, 80]]
    assert one.labels.tolist() == [1]
    assert one.scores.item() == pytest.approx(logits[0].softmax(0)[1].item())
    assert two.boxes.tolist() == [[0, 0, 48, 32]]
    assert (one.categories, two.labels.tolist()) == (("a", "b", "c"), [0])


def test_weights_that_are_no_numbers_are_told() -> None:
    model = localizer_tiny(categories=K, hidden=8, size=(64, 64))
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="boxes"):
        model.predict(torch.zeros(3, 64, 64, dtype=torch.uint8))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="box_weight=-1"):
        localizer_tiny(box_weight=-1.0)
