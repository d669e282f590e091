"""ArcFace's networks: counts of the authors' code, layers in their order, and the loss that trains them."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import FLOAT32, assert_close
from vidi.catalog.table import CATALOG
from vidi.embedding.arcface import VARIANTS, ImprovedBlock, arcface_resnet18, arcface_resnet50

PARAMETERS = {"arcface_resnet18": 24_025_600, "arcface_resnet50": 43_590_848, "arcface_resnet100": 65_156_160}
"""Of the authors' IResNet, with 512 numbers for pictures of 112 pixels."""
BLOCKS = {"arcface_resnet18": (2, 2, 2, 2), "arcface_resnet50": (3, 4, 14, 3), "arcface_resnet100": (3, 13, 30, 3)}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_parameters_of_the_authors(name: str) -> None:
    with torch.device("meta"):
        model: Any = CATALOG[name].builder(identities=7)
        outputs = model.network(torch.zeros(2, 3, 112, 112))
    assert sum(p.numel() for p in model.network.parameters()) == PARAMETERS[name]
    assert outputs.embeddings.shape == (2, 512)
    assert VARIANTS[name].blocks == BLOCKS[name]
    assert model.criterion.templates.shape == (7, 512)


def test_a_block_is_norm_convolution_norm_prelu_convolution_norm() -> None:
    kinds = [nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d, nn.PReLU, nn.Conv2d, nn.BatchNorm2d]
    block = ImprovedBlock(8, 16, 2)
    assert [type(layer) for layer in block.layers] == kinds
    assert [layer.stride for layer in block.layers if isinstance(layer, nn.Conv2d)] == [(1, 1), (2, 2)]
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(x), block.layers(x) + block.skip(x))
    assert isinstance(ImprovedBlock(8, 8, 1).skip, nn.Identity)


def test_the_head_is_option_e() -> None:
    head: Any = arcface_resnet18(width=16, dimensions=32).network.head
    assert [type(layer) for layer in head] == [nn.BatchNorm2d, nn.Dropout, nn.Flatten, nn.Linear, nn.BatchNorm1d]
    assert head[3].in_features == 128 * 7 * 7


@pytest.mark.system("7.2.3-ARCFACE")
def test_the_loss_has_the_papers_scale_and_margin_which_can_be_chosen() -> None:
    with torch.device("meta"):
        usual: Any = arcface_resnet50()
        soft: Any = arcface_resnet50(scale=30.0, margin=0.3)
    assert usual.criterion.loss.keywords == {"scale": 64.0, "margin": 0.5}
    assert soft.criterion.loss.keywords == {"scale": 30.0, "margin": 0.3}


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"received size=\(100, 112\), expected multiples of 16"):
        arcface_resnet18(size=(100, 112))


def test_a_narrower_network_than_its_kernels_bear_is_refused() -> None:
    with pytest.raises(ValueError, match="received width=8, expected at least 16"):
        arcface_resnet18(width=8)


def test_maps_are_as_much_smaller_as_they_say_and_vectors_have_length_1() -> None:
    network: Any = arcface_resnet18(size=(32, 48), width=16, dimensions=8).network.eval()
    assert network.head[3].in_features == 128 * 2 * 3
    images = torch.randn(2, 3, 32, 48)
    maps = network.backbone.features(images)
    assert [32 / m.shape[2] for m in maps] == list(network.backbone.strides) == [2, 4, 8, 16]
    assert_close(network(images).embeddings.norm(dim=1), torch.ones(2), FLOAT32)


def test_convolutions_begin_with_the_variance_of_he_et_al() -> None:
    """2015 (1502.01852): 2 / (k^2 channels), so that gradients keep their size."""
    backbone: Any = arcface_resnet18(width=64).network.backbone
    block = backbone.stages[1][1]
    for convolution in (block.layers[1], block.layers[4]):
        assert float(convolution.weight.detach().var()) == pytest.approx(2 / (9 * 128), rel=0.02)
