"""Files as the Darknet framework writes them: written here from random weights, read back into DarkNet-53."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.parity.networks import randomise
from vidi.backbones.darknet import darknet53, trunk
from vidi.model import Saved
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer
from vidi.weights.darknet_files import Header, Order, read_header
from vidi.weights.local_files import load_file
from vidi.weights.strict import load_strictly

WIDE = struct.pack("<3iq", 0, 2, 5, 2**33)  # version 0.2, more images seen than 32 bits can count
NARROW = struct.pack("<4i", 0, 1, 0, 123)


def load_darknet(network: nn.Module, path: Path, name: str = "some") -> Header:
    """Load a file as one's own into a model that is but the network; return its header."""
    model = Saved()
    model.network = network
    assert load_file(model, name, path) == "darknet"
    return read_header(path.read_bytes())


def convolution(layer: ConvNorm) -> list[Tensor]:
    """The order of load_convolutional_weights in Darknet's parser.c."""
    norm = layer.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return [norm.bias, norm.weight, norm.running_mean, norm.running_var, layer.conv.weight]


def body_of(tensors: list[Tensor]) -> bytes:
    return b"".join(tensor.detach().numpy().astype("<f4").tobytes() for tensor in tensors)


def darknet53_layers(network: nn.Module) -> list[Tensor]:
    """The layers of darknet53.cfg, from the first to the last."""
    backbone: Any = network.get_submodule("backbone")
    tensors = convolution(backbone.stem)
    for stage in backbone.stages:
        down, *blocks = stage
        tensors += convolution(down)
        for block in blocks:
            tensors += convolution(block.conv1) + convolution(block.conv2)
    linear: Any = network.get_submodule("head.linear")
    return [*tensors, linear.bias, linear.weight]


@pytest.mark.system("4.3.4-DARKNET")
@pytest.mark.parametrize("header", [WIDE, NARROW], ids=["64 bits", "32 bits"])
def test_a_file_becomes_the_network_that_it_was_written_from(header: bytes, tmp_path: Path) -> None:
    written, read = (darknet53(categories=7, width=4).network.eval() for _ in range(2))
    randomise(written)
    path = tmp_path / "darknet53.weights"
    path.write_bytes(header + body_of(darknet53_layers(written)))
    found = load_darknet(read, path)
    assert found.seen == (2**33 if header is WIDE else 123)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(read(x).logits, written(x).logits)
    expected = {key: value for key, value in written.state_dict().items() if not key.endswith("tracked")}
    assert all(torch.equal(read.state_dict()[key], value) for key, value in expected.items())


def test_a_cut_file_fits_the_trunk(tmp_path: Path) -> None:
    """As darknet53.conv.74, with which YOLOv3 starts."""
    network = darknet53(categories=7, width=4).network
    randomise(network)
    path = tmp_path / "darknet53.conv.74"
    path.write_bytes(WIDE + body_of(darknet53_layers(network)[:-2]))
    backbone = trunk(width=4)
    load_strictly(backbone, Order().ours(backbone, path.read_bytes()))
    expected = network.get_submodule("backbone").state_dict()
    name = "stages.4.4.conv2.conv.weight"
    assert torch.equal(backbone.get_parameter(name), expected[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-4], "damaged or belongs"),
        (lambda data: data[:-3], "and 1 bytes"),
        (lambda data: data + bytes(4), "damaged or belongs"),
        (lambda data: data[:10], "16 of a Darknet header"),
        (lambda data: data[:18], "20 of a header of version 0.2"),
        (lambda data: b"", "received 0 bytes"),
    ],
    ids=["short", "within a number", "long", "no header", "half a header", "empty"],
)
def test_damaged_files_leave_the_network_as_it_was(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    network = nn.Sequential(ConvNorm(3, 4, 3, norm=norm_layer("batch")), nn.Linear(4, 2))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    body = np.arange(4 * 4 + 108 + 2 + 8, dtype="<f4").tobytes()
    path = tmp_path / "some.weights"
    path.write_bytes(change(WIDE + body))
    with pytest.raises(ValueError, match=message) as error:
        load_darknet(network, path)
    assert str(path) in str(error.value)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    path.write_bytes(WIDE + body)
    load_darknet(network, path)
    assert torch.equal(network.get_parameter("0.norm.bias"), torch.arange(4.0))
    assert torch.equal(network.get_parameter("0.norm.weight"), torch.arange(4.0) + 4)
    assert torch.equal(network.get_parameter("0.conv.weight").flatten(), torch.arange(108.0) + 16)
    assert torch.equal(network.get_parameter("1.bias"), torch.arange(2.0) + 124)


def test_connected_layers_of_versions_above_1000_are_transposed(tmp_path: Path) -> None:
    path = tmp_path / "old.weights"
    path.write_bytes(struct.pack("<4i", 1001, 0, 0, 0) + np.arange(8, dtype="<f4").tobytes())
    layer = nn.Sequential(nn.Linear(3, 2))
    assert load_darknet(layer, path) == Header(1001, 0, 0, 0, 16)
    assert torch.equal(layer.get_parameter("0.bias"), torch.arange(2.0))
    assert torch.equal(layer.get_parameter("0.weight"), torch.tensor([[2.0, 4.0, 6.0], [3.0, 5.0, 7.0]]))


def test_convolutions_without_norm_have_biases_before_kernels(tmp_path: Path) -> None:
    path = tmp_path / "yolo.weights"
    path.write_bytes(WIDE + np.arange(8, dtype="<f4").tobytes())
    layer = nn.Conv2d(3, 2, 1)
    load_darknet(layer, path)
    assert torch.equal(layer.weight.flatten(), torch.arange(6.0) + 2)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1, bias=False)], ids=["norm", "no bias"])
def test_networks_of_other_layers_are_refused(layer: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "some.weights"
    path.write_bytes(WIDE)
    with pytest.raises(ValueError, match="not made of layers as Darknet has them"):
        load_darknet(nn.Sequential(layer), path)


@pytest.mark.parametrize(
    ("version", "size"), [((0, 1), 16), ((0, 2), 20), ((1, 0), 20), ((0, 999), 20), ((0, 1000), 16), ((1000, 0), 16)]
)
def test_images_seen_have_64_bits_from_version_0_2_on(version: tuple[int, int], size: int) -> None:
    header = read_header(struct.pack("<3iq", *version, 0, 5))
    assert (header.size, header.seen) == (size, 5)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.weights"):
        load_darknet(nn.Linear(1, 1), tmp_path / "none.weights")
