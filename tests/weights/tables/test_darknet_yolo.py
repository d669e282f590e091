"""`yolov3.weights` as the Darknet framework writes it: from random weights, read back into YOLOv3."""

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.parity.networks import randomise
from tests.weights.test_darknet_files import WIDE, body_of, convolution, load_darknet
from vidi.backbones.darknet import DarkNet
from vidi.detection.yolo import WORLD_ANCHORS, Yolo, yolov3
from vidi.nn.convolution import ConvNorm
from vidi.weights.darknet_files import Order
from vidi.weights.strict import load_strictly
from vidi.weights.tables.darknet_yolo import PARTS


def small(blocks: tuple[int, ...] = (1, 1, 1, 1, 1)) -> Yolo:
    return Yolo(DarkNet(blocks, width=4), 3, WORLD_ANCHORS).eval()


def layers_of(network: Yolo) -> list[Tensor]:
    """The layers of yolov3.cfg, from the first to the last."""
    backbone: Any = network.backbone
    tensors = convolution(backbone.stem)
    for down, *blocks in backbone.stages:
        tensors += convolution(down)
        for block in blocks:
            tensors += convolution(block.conv1) + convolution(block.conv2)
    neck: Any = network.neck
    for scale, stride in ((2, 32), (1, 16), (0, 8)):
        if stride < 32:
            tensors += convolution(neck.reduce[scale])
        for unit in neck.blocks[scale]:
            tensors += convolution(unit)
        head: Any = network.heads[scale]
        tensors += [*convolution(head.widen), head.predict.bias, head.predict.weight]
    return tensors


@pytest.mark.system("4.3.4-YOLO")
def test_a_file_becomes_the_detector_that_it_was_written_from(tmp_path: Path) -> None:
    written, read = small(), small()
    randomise(written)
    path = tmp_path / "yolov3.weights"
    path.write_bytes(WIDE + body_of(layers_of(written)))
    assert load_darknet(read, path, "yolov3").seen == 2**33
    x = torch.rand(1, 3, 64, 96)
    for ours, expected in zip(read(x), written(x), strict=True):
        assert torch.equal(ours, expected)
    kept = {key: value for key, value in written.state_dict().items() if not key.endswith("tracked")}
    assert all(torch.equal(read.state_dict()[key], value) for key, value in kept.items())


@pytest.mark.system("4.3.4-YOLO")
def test_the_order_is_that_of_the_published_configuration() -> None:
    """Channels of all 75 convolutions of yolov3.cfg, in the order of its layers."""
    with torch.device("meta"):
        network: Any = yolov3().network
    parts = nn.ModuleList(network.get_submodule(part) for part in PARTS)
    channels = [m.weight.shape[0] for m in parts.modules() if isinstance(m, nn.Conv2d)]
    trunk = [32]
    for C, repeats in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        trunk += [C, *([C // 2, C] * repeats)]
    scales = [[C // 2, C] * 3 + [255] for C in (1024, 512, 256)]
    assert channels == [*trunk, *scales[0], 256, *scales[1], 128, *scales[2]]
    assert len(channels) == 75
    shared = {id(p) for p in parts.parameters()}
    assert shared == {id(p) for p in network.parameters()}


def test_the_file_of_the_trunk_fits_the_backbone(tmp_path: Path) -> None:
    written, read = small(), small()
    randomise(written)
    count = len([m for m in written.backbone.modules() if isinstance(m, ConvNorm)])
    path = tmp_path / "darknet53.conv.74"
    path.write_bytes(WIDE + body_of(layers_of(written)[: 5 * count]))
    load_strictly(read.backbone, Order().ours(read.backbone, path.read_bytes()))
    last = "stages.4.1.conv2.conv.weight"
    assert torch.equal(read.backbone.get_parameter(last), written.backbone.get_parameter(last))


def test_a_file_of_another_network_leaves_the_detector_as_it_was(tmp_path: Path) -> None:
    written, read = small(), small((1, 1, 2, 1, 1))
    before = {key: value.clone() for key, value in read.state_dict().items()}
    path = tmp_path / "yolov3.weights"
    path.write_bytes(struct.pack("<3iq", 0, 2, 0, 1) + body_of(layers_of(written)))
    with pytest.raises(ValueError, match="damaged or belongs to another network"):
        load_darknet(read, path, "yolov3")
    assert all(torch.equal(read.state_dict()[key], value) for key, value in before.items())
