"""Keypoint R-CNN: numbers of the paper, and what torchvision's does not have."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import assert_close
from vidi.ops.skeletons import Skeleton
from vidi.preprocess import Placement
from vidi.segmentation.keypoint_rcnn import (
    KeypointDecode,
    KeypointHead,
    KeypointOutputs,
    joint_places,
    keypointrcnn_resnet50_fpn,
    keypointrcnn_tiny,
)


@pytest.mark.system("5.2.1-KEYPOINT")
def test_numbers_of_the_paper() -> None:
    """Section 5: eight 3x3 of 512, a transposed convolution and bilinear doubling to 56 x 56, seventeen joints."""
    with torch.device("meta"):
        model: Any = keypointrcnn_resnet50_fpn()
        regions = torch.zeros(3, 256, 14, 14)
    head = model.network.keypoint_head
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    shapes = [(type(c).__name__, c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in layers]
    assert shapes == [
        ("Conv2d", 256, 512, (3, 3), (1, 1), (1, 1)),
        *[("Conv2d", 512, 512, (3, 3), (1, 1), (1, 1))] * 7,
        ("ConvTranspose2d", 512, 17, (4, 4), (2, 2), (1, 1)),
    ]
    assert sum(isinstance(layer, nn.ReLU) for layer in head.modules()) == 8
    assert head(regions).shape == (3, 17, 56, 56)
    assert (model.network.further_pooling.size, model.network.further_pooling.aligned) == ((14, 14), True)
    assert (model.preprocess.shorter, model.preprocess.longest) == (800, 1333)
    assert model.network.select.detections_per_image == 100


def test_a_new_head_has_no_biases_and_weights_for_relus() -> None:
    head = KeypointHead(32, 5, width=32, depth=2)
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert not any(bool(layer.bias.any()) for layer in layers if layer.bias is not None)
    for layer in layers[:2]:
        assert float(layer.weight.detach().std()) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)


def test_joints_lie_where_their_map_is_largest_and_others_have_none() -> None:
    """A map with one peak in the middle of a cell, in a box that is as many pixels as cells; a crate has no joints."""
    logits = torch.full((1, 2, 2, 56, 56), -4.0)
    logits[0, :, 0, 10, 20] = 3.0
    logits[0, :, 1, 55, 0] = 3.0
    boxes = torch.tensor([[[8.0, 4, 64, 60], [0, 0, 56, 56]]])
    outputs = KeypointOutputs(boxes, torch.tensor([[0.9, 0.8]]), torch.tensor([[1, 0]]), torch.ones(1, 2) > 0, logits)
    decode = KeypointDecode(("crate", "person"), Skeleton(("left_hand", "right_hand")), (1,))
    (found,) = decode(outputs, [Placement((64, 128), (64, 64))])
    assert found.keypoints is not None
    assert_close(found.keypoints[0, :, :2], torch.tensor([[2 * 28.5, 14.5], [2 * 8.5, 59.5]]), 1e-6)
    assert_close(found.keypoints[1, 0, :2], torch.tensor([2 * 20.5, 10.5]), 1e-6)
    assert (found.keypoints[0, :, 2] > 0.9).all()
    assert (found.keypoints[1, :, 2] == 0).all()


def test_places_count_rows_then_columns_of_maps_that_are_not_square() -> None:
    points = torch.tensor([[[1.0, 1.0], [4.0, 3.0], [4.1, 3.0], [0.9, 2.0], [2.2, 1.6]]])
    places, inside = joint_places(points, torch.tensor([[1.0, 1, 4, 3]]), (2, 6))
    assert inside.tolist() == [[True, True, False, False, True]]
    assert places[inside].tolist() == [0, 11, 2]


def test_joints_are_of_categories_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"jointed=\('cat',\), expected names among the categories sphere, box"):
        keypointrcnn_tiny(jointed=("cat",))
    with torch.device("meta"):
        every: Any = keypointrcnn_tiny(jointed=())
        persons: Any = keypointrcnn_tiny()
    assert every.decode.jointed == (0, 1, 2, 3, 4)
    assert len(persons.decode.jointed) == 1
