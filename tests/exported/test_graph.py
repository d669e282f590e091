"""Graphs of ONNX give what their networks give, at sizes and batches that they were not traced on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import roi_pool

from tests.closeness import FLOAT32, assert_close
from vidi.depth.disparity_network import DisparityNetwork
from vidi.exported.graph import Form, graph_of, in_a_row, program_of
from vidi.exported.network import running
from vidi.necks.bifpn import halved
from vidi.nn.convolution import SamePaddedConv2d


class Sorted(NamedTuple):
    values: Tensor
    places: Tensor


class Sorts(nn.Module):
    def forward(self, images: Tensor) -> Sorted:
        return Sorted(*images.flatten(1).round().sort(dim=1, descending=True, stable=True))


class Padded(NamedTuple):
    map: Tensor


class Pads(nn.Module):
    """Four convolutions and a pool, padded as TensorFlow does."""

    def __init__(self) -> None:
        super().__init__()
        kernels = [(3, 2), (5, 2), (3, 1), (5, 2)]
        self.layers = nn.Sequential(*(SamePaddedConv2d(3, 3, kernel, stride) for kernel, stride in kernels))

    def forward(self, images: Tensor) -> Padded:
        return Padded(halved(self.layers(images), same_padding=True))


class Pooled(NamedTuple):
    values: Tensor


class Pools(nn.Module):
    """The largest values in nine parts of two boxes of the last picture, on a map of half the size."""

    def forward(self, images: Tensor) -> Pooled:
        boxes = images.new_tensor([[1.0, 1, 13, 10], [4, 0, 9, 15]])
        number = torch.full_like(boxes[:, :1], 1) * (images.shape[0] - 1)
        return Pooled(roi_pool(images[..., ::2, ::2], torch.cat((number, boxes), 1), (3, 2), 0.5))


def graph_and_network(network: nn.Module, traced: Tensor, others: Sequence[Tensor]) -> None:
    """Compare a network's outputs with those of its graph, for tensors of other sizes than the traced ones."""
    network.eval()
    form = Form.of(network(traced))
    graph: Any = graph_of(program_of(network, [traced]), ["images"], form.names)
    run = running(graph.SerializeToString())
    for images in (traced, *others):
        with torch.no_grad():
            expected = in_a_row(network(images))
        for found, value in zip(run([images]), expected, strict=True):
            assert_close(found, value, FLOAT32)


@pytest.mark.parametrize("network", [Sorts(), Pools()], ids=["stable sort", "roi_pool"])
def test_operators_that_torch_translates_not_or_wrongly(network: nn.Module) -> None:
    others = [4 * torch.randn(3, 3, 20, 24), 4 * torch.randn(1, 3, 16, 18)]
    graph_and_network(network, 4 * torch.randn(2, 3, 18, 22), others)


def test_maps_that_become_as_large_as_others_keep_their_sizes_apart() -> None:
    """A map of 1 by 1 that is enlarged to 2 by 1 must not take another's place in memory."""
    network = DisparityNetwork("vgg", views=1, width=0.125)
    graph_and_network(network, torch.rand(3, 3, 32, 32), [torch.rand(1, 3, 37, 32), torch.rand(2, 3, 96, 320)])


def test_sizes_of_maps_padded_as_tensorflow_does_stay_short_formulas() -> None:
    """Long ones, with remainders inside of remainders, took the export of an EfficientDet more than a quarter hour."""
    torch.default_generator.manual_seed(0)
    network = Pads()
    graph_and_network(network, torch.randn(2, 3, 64, 96), [torch.randn(1, 3, 37, 41), torch.randn(3, 3, 50, 81)])
    program = program_of(network, [torch.randn(2, 3, 64, 96)])
    (output,) = [node for node in program.graph.nodes if node.op == "output"]
    size = str(output.args[0][0].meta["val"].shape[2])
    assert "Mod" not in size
    assert len(size) < 100  # 54 signs for four halvings; with the remainders 432
