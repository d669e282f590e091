"""MobileNetV2 and its block against torchvision and the notes."""

from functools import partial
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual as ReferenceBlock

from tests.closeness import EXACT, FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import mobilenet
from vidi.backbones.inverted_residual import InvertedResidual, InvertedResidualTrunk, Stage
from vidi.backbones.mobilenet import mobilenet_v2, trunk
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_mobilenet

BATCH = norm_layer("batch")
WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
RENAME = partial(renamed, names=torchvision_mobilenet.NAMES)


def images(size: tuple[int, int] = (64, 64), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module) -> Tensor:
    torch.default_generator.manual_seed(0)  # equal dropout in both
    result = network(images())
    return result if isinstance(result, Tensor) else result.logits


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("2.5-MBV2")
@pytest.mark.parametrize(
    ("width", "training"),
    [
        (1.0, True),
        (1.0, False),
        pytest.param(0.35, True, marks=pytest.mark.extended),
        pytest.param(1.4, True, marks=pytest.mark.extended),
    ],
)
def test_equals_torchvision(width: float, training: bool) -> None:
    ours = mobilenet_v2(width=width).network
    theirs = torchvision.models.mobilenet_v2(width_mult=width)
    assert_same_training(ours, theirs, RENAME, outputs, training=training)


def test_float32_evaluation_equals_torchvision() -> None:
    ours, theirs = mobilenet_v2().network.eval(), torchvision.models.mobilenet_v2().eval()
    randomise(theirs)
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images((57, 83), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


BLOCK = {
    f"conv.{number}.{old}": f"{layer}.{new}"
    for number, layer in enumerate(("expand", "depthwise"))
    for old, new in {"0.weight": "conv.weight", "1.*": "norm.*"}.items()
} | {"conv.2.weight": "project.conv.weight", "conv.3.*": "project.norm.*"}


@pytest.mark.system("2.5-INVRES")
@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (8, 2), (12, 1)])
def test_block_equals_torchvision_and_adds_only_where_the_shape_stays(channels: int, stride: int) -> None:
    ours = InvertedResidual(8, channels, expansion=6, norm=BATCH, stride=stride)
    theirs = ReferenceBlock(8, channels, stride, 6)
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_same_training(ours, theirs, partial(renamed, names=BLOCK), lambda network: network(x), training=True)
    nn.init.zeros_(ours.get_parameter("project.norm.weight"))
    nn.init.zeros_(ours.get_parameter("project.norm.bias"))
    expected = x if (channels, stride) == (8, 1) else torch.zeros(2, channels, -(-7 // stride), 6 // stride).double()
    assert torch.equal(ours.eval()(x), expected)


@pytest.mark.system("2.5-INVRES")
def test_bottleneck_is_linear() -> None:
    """No activation follows the projection: its outputs are of both signs, those inside lie in [0, 6]."""
    block = InvertedResidual(8, 12, expansion=6, norm=BATCH)
    x = 100 * torch.randn(4, 8, 6, 6)
    expanded = block.expand(x)
    filtered = block.depthwise(expanded)
    assert expanded.shape[1] == filtered.shape[1] == 48
    assert all(inside.min() == 0 and inside.max() <= 6 for inside in (expanded, filtered))
    output = block.project(filtered)
    torch.testing.assert_close(block(x), output)
    assert output.min() < 0 < output.max()


@pytest.mark.system("2.5-DWCONV")
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution_treats_each_channel_by_itself(stride: int) -> None:
    conv = InvertedResidual(4, 4, expansion=2, norm=BATCH, kernel=5, stride=stride).double().depthwise.conv
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64)
    expected = torch.cat(
        [F.conv2d(x[:, c : c + 1], conv.weight[c : c + 1], stride=stride, padding=2) for c in range(8)], 1
    )
    assert_close(conv(x), expected)
    assert conv.weight.numel() == 8 * 25


@pytest.mark.system("2.5-DWSEP")
def test_separable_convolution_is_a_full_one_of_rank_one_per_pair_of_channels() -> None:
    block = InvertedResidual(8, 12, expansion=1, norm=lambda _: nn.Identity(), activation=nn.Identity).double()
    depthwise, pointwise = block.depthwise.conv.weight, block.project.conv.weight  # C 1 k k and D C 1 1
    full = pointwise * depthwise[None, :, 0]  # D C k k
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64)
    assert_close(block(x), F.conv2d(x, full, padding=1))
    separable = depthwise.numel() + pointwise.numel()
    assert separable / full.numel() == pytest.approx(1 / 12 + 1 / 9, rel=EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# The table


@pytest.mark.system("2.5-MBV2", "B2.12")
def test_rows_of_table_2_1_at_224_pixels() -> None:
    with torch.device("meta"):
        network = mobilenet_v2().network.eval()
        seen: list[tuple[int, ...]] = []
        rows = [network.get_submodule("backbone.stem"), *network.get_submodule("backbone.stages").children()]
        for row in (*rows, network.get_submodule("head.before")):
            row.register_forward_hook(lambda module, arguments, output: seen.append(tuple(output.shape[1:])))
        network(torch.empty(1, 3, 224, 224))
    assert seen == [
        (32, 112, 112),
        (16, 112, 112),
        (24, 56, 56),
        (32, 28, 28),
        (64, 14, 14),
        (96, 14, 14),
        (160, 7, 7),
        (320, 7, 7),
        (1280, 7, 7),
    ]
    assert [len(list(row.children())) for row in rows[1:]] == [1, 2, 3, 4, 3, 3, 1]


@pytest.mark.system("B2.4", "2.5-MBV2")
def test_parameter_count_of_the_inventory() -> None:
    with torch.device("meta"):
        network = mobilenet_v2().network
    assert sum(p.numel() for p in network.parameters()) == 3_504_872


@pytest.mark.system("2.5-MBV2")
@pytest.mark.parametrize(
    ("stem", "strides"), [("imagenet", (4, 8, 16, 32)), ("small", (1, 2, 4, 8))], ids=["imagenet", "small"]
)
def test_maps_have_the_announced_channels_and_strides(stem: Any, strides: tuple[int, ...]) -> None:
    network = trunk(stem=stem).eval()
    maps = network.features(images((64, 96), torch.float32))
    assert network.channels == tuple(x.shape[1] for x in maps) == (24, 32, 96, 320)
    assert network.strides == tuple(64 // x.shape[2] for x in maps) == tuple(96 // x.shape[3] for x in maps) == strides


@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_any_table_of_stages_gives_the_last_map_of_each_resolution(stem: Literal["imagenet", "small"]) -> None:
    stages = [Stage(3, 8, 1, 2), Stage(3, 16, 2, 1), Stage(6, 24, 1, 2, 5)]
    network = InvertedResidualTrunk(8, stages, norm=BATCH, activation=nn.SiLU, stem=stem)
    maps = network(torch.randn(1, 3, 32, 32))
    assert network.channels == tuple(x.shape[1] for x in maps) == (16, 24)
    assert network.strides == tuple(32 // x.shape[2] for x in maps)


def test_narrow_network_keeps_the_width_of_the_head() -> None:
    for width, features in ((0.5, 1280), (1.4, 1792)):
        with torch.device("meta"):
            network = mobilenet_v2(width=width).network
        assert network.get_parameter("head.linear.weight").shape == (1000, features)


def test_initialisation_has_the_variance_of_the_reference() -> None:
    torch.default_generator.manual_seed(0)
    ours, expected = mobilenet_v2().network, RENAME(torchvision.models.mobilenet_v2().state_dict())
    for name in ("backbone.stages.5.1.depthwise.conv.weight", "head.before.conv.weight", "head.linear.weight"):
        torch.testing.assert_close(ours.get_parameter(name).std(), expected[name].std(), rtol=0.03, atol=0)
    assert not ours.get_parameter("head.linear.bias").any()


@pytest.mark.parametrize(
    ("arguments", "message"), [({"stem": "tiny"}, "'imagenet'.*'small'"), ({"width": 0.0}, "above 0")]
)
def test_wrong_arguments_name_the_choices(arguments: dict, message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)


def test_builder_records_its_arguments() -> None:
    model = mobilenet_v2(categories=("cat", "dog"), size=(48, 64), width=0.25, dropout=0.1)
    assert model.origin is not None
    assert model.origin[0] == "mobilenet_v2"
    assert model.origin[1]["width"] == 0.25
    assert model.preprocess.exact == (48, 64)
    assert model.network.get_parameter("head.linear.weight").shape == (2, mobilenet.HEAD_WIDTH)
    assert model.network.get_submodule("head.dropout").p == 0.1
