"""AnyNet and RegNet against torchvision and the notes."""

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import regnet as reference

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import regnet
from vidi.backbones.classifier import Classifier
from vidi.backbones.near_zero_head import near_zero_head
from vidi.backbones.regnet import AnyNet, RegNetBlock, anynet, compatible_widths, regnet_stages, trunk
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_regnet

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
RENAME = partial(renamed, names=torchvision_regnet.NAMES)
BUILDERS: dict[str, Callable] = {name: getattr(regnet, name) for name in regnet.VARIANTS}


def images(size: tuple[int, int] = (64, 64), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module, size: tuple[int, int] = (64, 64)) -> Tensor:
    result = network(images(size))
    return result if isinstance(result, Tensor) else result.logits


@pytest.fixture
def numbers_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference computes its widths with tensors, which have no values while a network is built on "meta"."""
    compute = reference.BlockParams.from_init_params

    def on_cpu(**numbers: Any) -> reference.BlockParams:
        with torch.device("cpu"):
            return compute(**numbers)

    monkeypatch.setattr(reference.BlockParams, "from_init_params", on_cpu)


def extended(name: str, training: bool) -> object:
    return pytest.param(name, training, marks=pytest.mark.extended)


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("2.8-REGNET")
@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("regnet_x_400mf", True),
        ("regnet_y_400mf", True),
        ("regnet_y_400mf", False),
        extended("regnet_x_400mf", False),
        extended("regnet_x_800mf", True),
        extended("regnet_y_800mf", True),
        extended("regnet_x_1_6gf", True),
        extended("regnet_y_1_6gf", True),
        extended("regnet_x_3_2gf", True),
        extended("regnet_y_3_2gf", True),
        extended("regnet_x_8gf", False),
        extended("regnet_y_8gf", False),
    ],
)
def test_equals_torchvision(name: str, training: bool) -> None:
    ours, theirs = BUILDERS[name]().network, torchvision.models.get_model(name, weights=None)
    assert_same_training(ours, theirs, RENAME, outputs, training=training)


@pytest.mark.system("2.8-ANYNET")
@pytest.mark.parametrize("se_ratio", [None, 0.25])
def test_any_network_of_the_space_equals_torchvision(se_ratio: float | None) -> None:
    """All sixteen numbers differ; the reference has the inverse of the bottleneck ratio."""
    depths, widths, group_widths, bottlenecks = [1, 3, 2, 1], [16, 48, 64, 96], [4, 8, 1, 24], [2, 1, 4, 2]
    theirs = reference.RegNet(
        reference.BlockParams(
            depths, widths, group_widths, [1 / b for b in bottlenecks], [2, 2, 2, 2], se_ratio=se_ratio
        ),
        num_classes=5,
    )
    ours = Classifier(AnyNet(depths, widths, group_widths, bottlenecks, se_ratio=se_ratio), 5)
    assert_same_training(ours, theirs, RENAME, outputs, training=True)


def test_float32_evaluation_equals_torchvision() -> None:
    ours, theirs = regnet.regnet_y_400mf().network.eval(), torchvision.models.regnet_y_400mf().eval()
    randomise(theirs)
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images((57, 83), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


@pytest.mark.system("2.8-REGNET")
@pytest.mark.usefixtures("numbers_on_cpu")
@pytest.mark.parametrize("name", sorted(regnet.VARIANTS))
def test_every_variant_has_the_tensors_of_its_reference(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = BUILDERS[name](), torchvision.models.get_model(name, weights=None)
    assert ours.origin is not None
    assert ours.origin[0] == name
    expected = {key: value.shape for key, value in RENAME(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.network.state_dict().items()} == expected


@pytest.mark.system("B2.4")
@pytest.mark.parametrize(("name", "count"), [("regnet_x_400mf", 5_495_976), ("regnet_y_400mf", 4_344_144)])
def test_parameter_counts_of_the_inventory(name: str, count: int) -> None:
    with torch.device("meta"):
        network = BUILDERS[name]().network
    assert sum(p.numel() for p in network.parameters()) == count


# ----------------------------------------------------------------------------------------------------------------------
# From few numbers to many


@pytest.mark.system("2.8-REGNET")
def test_stages_of_random_numbers_equal_torchvision() -> None:
    generator = random.Random(0)
    for _ in range(300):
        numbers = {
            "depth": generator.randint(1, 40),
            "w_0": 8 * generator.randint(1, 40),
            "w_a": generator.uniform(0, 180),
            "w_m": generator.uniform(1.5, 3.0),
            "group_width": generator.choice([1, 2, 8, 16, 24, 48, 112]),
        }
        bottleneck = generator.choice([1, 2, 4])
        theirs = reference.BlockParams.from_init_params(**numbers, bottleneck_multiplier=1 / bottleneck)
        ours = regnet_stages(**numbers, bottleneck=bottleneck)
        expected = (theirs.depths, theirs.widths, theirs.group_widths, (bottleneck,) * len(theirs.depths))
        assert ours == tuple(tuple(row) for row in expected), (numbers, bottleneck)


@pytest.mark.system("2.8-REGNET")
def test_widths_are_a_quantised_line() -> None:
    """RegNetX-400MF: the blocks' widths before rounding lie within half a power of w_m of u_j = w_0 + w_a j."""
    depths, widths, _, _ = regnet_stages(22, 24, 24.48, 2.54, 1)
    assert (depths, widths) == ((1, 2, 7, 12), (24, 64, 152, 392))
    assert regnet_stages(22, 24, 24.48, 2.54, 16).widths == (32, 64, 160, 400)
    blocks = [width for width, depth in zip(widths, depths, strict=True) for _ in range(depth)]
    for index, width in enumerate(blocks):
        power = math.log(width / (24 + 24.48 * index)) / math.log(2.54)
        assert abs(power) < 0.55  # half, and what rounding to eights adds


@pytest.mark.system("2.8-ANYNET")
def test_compatible_widths_split_into_whole_groups() -> None:
    generator = random.Random(1)
    for _ in range(200):
        bottlenecks = [generator.choice([1, 2, 4]) for _ in range(4)]
        widths = [8 * generator.randint(1, 128) for _ in range(4)]
        group_widths = [2 ** generator.randint(0, 5) for _ in range(4)]
        adjusted, groups = compatible_widths(widths, group_widths, bottlenecks)
        for width, group, before, wanted, bottleneck in zip(
            adjusted, groups, widths, group_widths, bottlenecks, strict=True
        ):
            assert width % (bottleneck * group) == 0
            assert group <= wanted
            assert width >= 0.9 * before
            assert abs(width - before) <= bottleneck * group
        assert compatible_widths(adjusted, groups, bottlenecks) == (adjusted, groups)


@pytest.mark.system("2.8-ANYNET")
def test_group_widths_are_channels_and_not_groups() -> None:
    network = AnyNet((1, 1), (32, 64), (4, 16), (2, 1))
    first, second = (network.get_submodule(f"stages.{stage}.0.conv2.conv") for stage in range(2))
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    assert (first.out_channels, first.groups) == (16, 4)  # 32 / 2 / 4 groups of 4 channels
    assert (second.out_channels, second.groups) == (64, 4)


# ----------------------------------------------------------------------------------------------------------------------
# Networks


@pytest.mark.system("2.8-REGNET")
def test_block_is_a_grouped_bottleneck_with_a_gate_of_a_quarter_of_the_input() -> None:
    block: Any = RegNetBlock(16, 24, stride=2, group_width=8, bottleneck=1, se_ratio=0.25, norm=norm_layer("batch"))
    assert block.get_submodule("se.fc1").out_channels == 4
    assert block.get_submodule("se.fc1").in_channels == 24
    block = block.double().eval()
    randomise(block)
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64)
    inner = block.conv2(block.conv1(x))
    gate = torch.sigmoid(block.se.fc2(torch.relu(block.se.fc1(inner.mean((2, 3), keepdim=True)))))
    expected = torch.relu(block.conv3(inner * gate) + block.skip(x))
    assert_close(block(x), expected)


@pytest.mark.system("2.8-ANYNET")
@pytest.mark.parametrize(
    ("stem", "strides"), [("imagenet", (4, 8, 16, 32)), ("small", (1, 2, 4, 8))], ids=["imagenet", "small"]
)
def test_maps_have_the_announced_channels_and_strides(stem: Any, strides: tuple[int, ...]) -> None:
    network = trunk("regnet_x_400mf", stem=stem, width=0.25).eval()
    maps = network.features(images((64, 96), torch.float32))
    assert network.channels == tuple(x.shape[1] for x in maps)
    assert network.strides == tuple(64 // x.shape[2] for x in maps) == tuple(96 // x.shape[3] for x in maps) == strides


def test_narrow_networks_keep_their_depth() -> None:
    with torch.device("meta"):
        model = regnet.regnet_y_128gf(categories=("cat", "dog"), size=(48, 64), width=0.02)
    assert model.preprocess.exact == (48, 64)
    assert model.network.get_parameter("head.linear.weight").shape == (2, 144)
    narrow, wide = trunk("regnet_y_1_6gf", width=0.1), regnet_stages(27, 48, 20.71, 2.65, 24)
    assert tuple(len(list(stage.children())) for stage in narrow.stages) == wide.depths
    assert max(narrow.channels) < 0.15 * max(wide.widths)


def test_initialisation_has_the_variance_of_the_reference() -> None:
    torch.default_generator.manual_seed(0)
    ours, theirs = regnet.regnet_x_400mf().network, torchvision.models.regnet_x_400mf()
    expected = RENAME(theirs.state_dict())
    for name in (
        "backbone.stages.3.5.conv1.conv.weight",
        "backbone.stages.3.5.conv2.conv.weight",
        "head.linear.weight",
    ):
        torch.testing.assert_close(ours.get_parameter(name).std(), expected[name].std(), rtol=0.02, atol=0)
    assert not ours.get_parameter("head.linear.bias").any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trunk("regnet_x_500mf"), "regnet_x_400mf"),
        (lambda: trunk("regnet_x_400mf", stem="tiny"), "'imagenet'.*'small'"),  # type: ignore[arg-type]
        (lambda: AnyNet((1, 1), (8, 8), (8,), (1, 1)), "for every stage"),
        (lambda: AnyNet((), (), (), ()), "for every stage"),
        (lambda: AnyNet((0,), (8,), (8,), (1,)), "at least 1"),
        (lambda: AnyNet((1,), (24,), (16,), (1,)), "compatible_widths"),
        (lambda: regnet_stages(10, 20, 3.0, 2.0, 8), "w_0=20"),
        (lambda: regnet_stages(10, 24, -3.0, 2.0, 8), "w_a=-3"),
        (lambda: regnet_stages(10, 24, 3.0, 1.0, 8), "w_m=1"),
        (lambda: regnet_stages(10, 24, 3.0, 2.0, 0), "group_width=0"),
    ],
)
def test_wrong_arguments_name_what_was_expected(call: Callable[[], object], message: str) -> None:
    with pytest.raises(WRONG, match=message):
        call()


@pytest.mark.system("2.8-ANYNET")
def test_anynet_is_built_from_the_numbers_of_its_stages() -> None:
    model = anynet(depths=(1, 2), widths=(8, 16), group_widths=(4, 4), bottlenecks=(1, 2), categories=("cat", "dog"))
    assert model.origin is not None
    assert model.origin[1]["depths"] == (1, 2)
    assert model.network.get_submodule("backbone.stages.1.1.conv2.conv").weight.shape == (8, 4, 3, 3)
    assert model.predict(torch.rand(3, 40, 30))[0].probabilities.shape == (2,)


def test_head_starts_near_zero() -> None:
    head = near_zero_head(512, 100)
    assert float(head.linear.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
