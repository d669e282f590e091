"""Mask R-CNN: numbers of the paper, the worked example, and what no other implementation shows."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.detection.scenes import boxes_of
from vidi.detection.regions.fast_rcnn import RegionCriterion, Samples
from vidi.detection.regions.faster_rcnn import FasterCriterion
from vidi.detection.regions.region_proposals import ProposalCriterion, ProposalSelection
from vidi.model import Step
from vidi.preprocess import Batch, Placement
from vidi.segmentation.mask_rcnn import (
    MaskHead,
    MaskRCNNCriterion,
    mask_log_odds,
    maskrcnn_efficientnet_lite0_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet50_fpn,
    object_masks,
    with_pixels,
)

K = 3
DETECTOR = FasterCriterion(ProposalCriterion(), RegionCriterion((0, 1, 2)), ProposalSelection(10, 10))


def samples(boxes: Tensor, labels: list[int], objects: list[int]) -> Samples:
    rows = torch.tensor(objects)
    return Samples(boxes, torch.zeros_like(rows), torch.tensor(labels), boxes, rows)


@pytest.mark.system("B5.10", "5.2.1-MASKLOSS")
@pytest.mark.parametrize(("loss", "classes"), [("sigmoid", K), ("softmax", K + 1)])
def test_the_mask_loss_at_a_probability_of_one_half(loss: Any, classes: int) -> None:
    """B5.10: ln 2; masks that compete give each of the four classes a quarter instead: ln 4."""
    masks = torch.rand(2, 64, 96) < 0.5
    found = samples(boxes_of(4), [0, 2, 1, 1], [0, 1, 1, 0])
    logits = torch.zeros(4, classes, 28, 28, dtype=torch.float64)
    value = MaskRCNNCriterion(DETECTOR, loss).of_samples(logits, found, [masks], Step())["mask"]
    assert_close(value, math.log(2) if loss == "sigmoid" else math.log(4))


@pytest.mark.system("5.2.1-MASKLOSS")
@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
def test_the_loss_by_slow_loops(loss: Any) -> None:
    """Only the true class's channel counts; where classes compete, what the object does not cover is background."""
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 2:6, 3:8] = True
    boxes = torch.tensor([[2.0, 2, 6, 6]], dtype=torch.float64)
    logits = torch.randn(1, K + (loss == "softmax"), 4, 4, dtype=torch.float64, requires_grad=True)
    value = MaskRCNNCriterion(DETECTOR, loss).of_samples(logits, samples(boxes, [1], [0]), [masks], Step())["mask"]
    total = 0.0
    for y in range(4):
        for x in range(4):
            z, covered = logits[0, :, y, x].tolist(), bool(masks[0, 2 + y, 2 + x])  # a cell a pixel
            if loss == "sigmoid":
                total += math.log(1 + math.exp(-z[1] if covered else z[1]))
            else:
                total += math.log(sum(map(math.exp, z))) - z[1 if covered else K]
    assert_close(value.detach(), total / 16, NUMBERS)
    value.backward()
    assert logits.grad is not None
    others = logits.grad[0, [0, 2]]
    assert (others == 0).all() if loss == "sigmoid" else (others != 0).all()


def test_log_odds_are_those_of_the_probabilities() -> None:
    logits, outputs = torch.randn(5, K + 1, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    rows = torch.arange(5)
    assert_close(mask_log_odds(logits, outputs, "softmax").sigmoid(), logits.softmax(1)[rows, outputs])
    assert torch.equal(mask_log_odds(logits, outputs, "sigmoid"), logits[rows, outputs])


def test_an_object_without_a_pixel_at_this_size_trains_no_mask() -> None:
    masks = [torch.zeros(2, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)]
    masks[0][1, 3, 3] = True
    rows = torch.tensor([0, 1, -1, 0])
    found = Samples(boxes_of(4), torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 3, 2]), boxes_of(4), rows)
    kept = with_pixels(found, masks)
    assert kept.labels.tolist() == [1, 2]
    assert kept.images.tolist() == [0, 1]
    none = MaskRCNNCriterion(DETECTOR).of_samples(
        torch.zeros(0, K, 28, 28, requires_grad=True), with_pixels(found, [m & False for m in masks]), masks, Step()
    )
    assert none["mask"] == 0


def test_masks_are_asked_for_in_the_size_of_the_image() -> None:
    def batch(**target: Tensor) -> Batch:
        boxes = torch.tensor([[1.0, 1, 5, 5], [2, 2, 6, 6]])
        images = torch.zeros(1, 3, 8, 16)
        return Batch(images, images[:, 0] == 0, [Placement((8, 8), (8, 8))], [{"boxes": boxes, **target}])

    masks = torch.rand(2, 8, 8) < 0.5
    assert torch.equal(object_masks(batch(masks=masks), 0), masks)
    assert torch.equal(object_masks(batch(masks=masks, crowd=torch.tensor([True, False])), 0), masks[1:])
    with pytest.raises(ValueError, match=r"a target with \['boxes'\], expected masks too"):
        object_masks(batch(), 0)
    for wrong in (masks[:1], masks[:, :4], torch.zeros(2, 8, 16, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"masks of shape .* expected \(2, 8, 8\)"):
            object_masks(batch(masks=wrong), 0)


@pytest.mark.system("5.2.1-MASKHEAD", "5.2.1-MASKRCNN", "5.2.1-ROIALIGN")
def test_numbers_of_the_paper() -> None:
    """Section 3.1 and figure 4: what no shape shows, and sizes; in training 512 proposals, one in four positive."""
    with torch.device("meta"):
        model: Any = maskrcnn_resnet50_fpn()
        regions = torch.zeros(7, 256, 14, 14)
    network, head = model.network, model.network.mask_head
    convolutions = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    shapes = [(type(c).__name__, c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convolutions]
    assert shapes == [
        *[("Conv2d", 256, 256, (3, 3), (1, 1))] * 4,
        ("ConvTranspose2d", 256, 256, (2, 2), (2, 2)),
        ("Conv2d", 256, 90, (1, 1), (1, 1)),
    ]
    assert head(regions).shape == (7, 90, 28, 28)
    assert sum(isinstance(layer, nn.ReLU) for layer in head.modules()) == 5
    pooling = network.further_pooling
    assert (pooling.size, pooling.aligned, pooling.method, pooling.strides) == ((14, 14), True, "align", (4, 8, 16, 32))
    select, criterion = network.select, model.criterion
    assert (select.detections_per_image, select.nms_threshold, select.score_threshold) == (100, 0.5, 0.05)
    assert (network.selection.after, criterion.detector.selection.after) == (1000, 2000)
    regions_of_training = criterion.detector.regions
    assert (regions_of_training.count, regions_of_training.positive_share) == (512, 0.25)
    assert (model.decode.mask_threshold, model.decode.pasting) == (0.5, "exact")
    assert (model.preprocess.shorter, model.preprocess.longest) == (800, 1333)


def test_small_networks_have_the_backbone_of_their_name() -> None:
    with torch.device("meta"):
        one, other = maskrcnn_resnet18_fpn(width=0.5), maskrcnn_efficientnet_lite0_fpn()
    assert one.network.backbone.channels == (32, 64, 128, 256)  # type: ignore[union-attr]
    assert other.network.backbone.channels == (24, 40, 112, 320)  # type: ignore[union-attr]
    assert one.preprocess.mean != other.preprocess.mean


def test_choices_are_listed() -> None:
    for wrong in ({"mask_loss": "dice"}, {"pasting": "bilinear"}):
        with pytest.raises((ValueError, TypeError), match=r"dice|bilinear"):
            maskrcnn_resnet50_fpn(**wrong)  # type: ignore[arg-type]
    assert isinstance(MaskHead(8, 2, depth=0)(torch.zeros(1, 8, 14, 14)), Tensor)
