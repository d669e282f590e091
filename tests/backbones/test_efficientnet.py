"""EfficientNet and EfficientNet-Lite against torchvision, timm and the notes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import efficientnet as reference

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import efficientnet
from vidi.backbones.efficientnet import VARIANTS, efficientnet_b0, efficientnet_compound, efficientnet_lite0, trunk
from vidi.backbones.inverted_residual import InvertedResidual
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_efficientnet, torchvision_efficientnet

BATCH = norm_layer("batch")
WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
FROM_TORCHVISION = partial(renamed, names=torchvision_efficientnet.NAMES)
FROM_TIMM = partial(renamed, names=timm_efficientnet.NAMES)
BUILDERS: dict[str, Callable] = {name: getattr(efficientnet, name) for name in VARIANTS}


def images(size: tuple[int, int] = (64, 64), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module, size: tuple[int, int] = (64, 64)) -> Tensor:
    torch.default_generator.manual_seed(0)  # equal dropout and stochastic depth in both
    result = network(images(size))
    return result if isinstance(result, Tensor) else result.logits


def extended(name: str, training: bool) -> object:
    return pytest.param(name, training, marks=pytest.mark.extended)


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("2.7-B0", "2.7-B1B7")
@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("efficientnet_b0", True),
        ("efficientnet_b0", False),
        extended("efficientnet_b1", True),
        extended("efficientnet_b2", True),
        extended("efficientnet_b3", True),
        extended("efficientnet_b4", True),
    ],
)
def test_equals_torchvision(name: str, training: bool) -> None:
    ours, theirs = BUILDERS[name]().network, torchvision.models.get_model(name, weights=None)
    assert_same_training(ours, theirs, FROM_TORCHVISION, outputs, training=training)


@pytest.mark.system("2.7-B1B7")
@pytest.mark.extended
@pytest.mark.parametrize("name", ["efficientnet_b5", "efficientnet_b6", "efficientnet_b7"])
def test_deep_variants_of_a_quarter_of_the_width_equal_torchvision(name: str) -> None:
    variant = VARIANTS[name]
    stages, _ = reference._efficientnet_conf(name, width_mult=variant.width / 4, depth_mult=variant.depth)
    theirs = reference.EfficientNet(
        stages,
        variant.dropout,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
        last_channel=round(1280 * variant.width / 4),
    )
    ours = BUILDERS[name](width=0.25).network
    assert_same_training(ours, theirs, FROM_TORCHVISION, outputs, training=True)


@pytest.mark.system("2.7-B0")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("efficientnet_lite0", (64, 64)),
        ("efficientnet_b0", (57, 83)),
        pytest.param("efficientnet_b0", (64, 64), marks=pytest.mark.extended),
        pytest.param("efficientnet_lite0", (57, 83), marks=pytest.mark.extended),
    ],
)
def test_form_of_tensorflow_equals_timm(name: str, size: tuple[int, int]) -> None:
    ours = BUILDERS[name](tensorflow=True, drop=0.2, dropout=0.3).network
    theirs = timm.create_model(f"tf_{name}", drop_rate=0.3, drop_path_rate=0.2, bn_momentum=0.01)
    assert_same_training(ours, theirs, FROM_TIMM, partial(outputs, size=size), training=size == (64, 64))


@pytest.mark.extended
@pytest.mark.parametrize("number", range(5))
def test_lite_variants_equal_timm(number: int) -> None:
    ours = BUILDERS[f"efficientnet_lite{number}"](drop=0.2).network
    rate = VARIANTS[f"efficientnet_lite{number}"].dropout
    theirs = timm.create_model(f"tf_efficientnet_lite{number}", drop_rate=rate, drop_path_rate=0.2, bn_momentum=0.01)
    assert_same_training(ours, theirs, FROM_TIMM, outputs, training=True)


@pytest.mark.extended
def test_lite_with_even_padding_equals_timm() -> None:
    ours = efficientnet_lite0(tensorflow=False).network
    theirs = timm.create_model("efficientnet_lite0")
    assert_same_training(ours, theirs, FROM_TIMM, partial(outputs, size=(57, 83)), training=False)


def test_float32_evaluation_equals_torchvision() -> None:
    ours, theirs = efficientnet_b0().network.eval(), torchvision.models.efficientnet_b0().eval()
    randomise(theirs)
    ours.load_state_dict(FROM_TORCHVISION(theirs.state_dict()))
    x = images((57, 83), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


@pytest.mark.system("2.7-B1B7", "B2.4")
@pytest.mark.parametrize(
    ("number", "count", "resolution"),
    [
        (0, 5_288_548, 224),
        (1, 7_794_184, 240),
        (2, 9_109_994, 260),
        (3, 12_233_232, 300),
        (4, 19_341_616, 380),
        (5, 30_389_784, 456),
        (6, 43_040_704, 528),
        (7, 66_347_960, 600),
    ],
)
def test_every_variant_has_the_numbers_of_its_reference(number: int, count: int, resolution: int) -> None:
    with torch.device("meta"):
        model = BUILDERS[f"efficientnet_b{number}"]()
        theirs: Any = torchvision.models.get_model(f"efficientnet_b{number}", weights=None)
    assert model.origin is not None
    assert model.origin[0] == f"efficientnet_b{number}"
    ours = model.network
    expected = {key: value.shape for key, value in FROM_TORCHVISION(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert sum(p.numel() for p in ours.parameters()) == count
    norm = theirs.features[0][1]
    assert {(m.eps, m.momentum) for m in ours.modules() if isinstance(m, nn.BatchNorm2d)} == {(norm.eps, norm.momentum)}
    assert ours.get_submodule("head.dropout").p == theirs.classifier[0].p
    assert model.preprocess.crop == (resolution, resolution)


@pytest.mark.parametrize("number", range(5))
def test_every_lite_variant_has_the_tensors_of_its_reference(number: int) -> None:
    with torch.device("meta"):
        ours = BUILDERS[f"efficientnet_lite{number}"]()
        theirs = timm.create_model(f"tf_efficientnet_lite{number}")
    assert ours.origin is not None
    assert ours.origin[0] == f"efficientnet_lite{number}"
    expected = {key: value.shape for key, value in FROM_TIMM(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.network.state_dict().items()} == expected


# ----------------------------------------------------------------------------------------------------------------------
# Blocks


@pytest.mark.system("2.7-B0")
def test_block_gates_the_expanded_channels_through_a_quarter_of_the_input() -> None:
    block: Any = trunk("efficientnet_b0").get_submodule("stages.3.0").double().eval()
    assert block.get_submodule("se.fc1").weight.shape == (10, 240, 1, 1)  # 40 channels in, 240 inside
    randomise(block)
    x = torch.randn(2, 40, 6, 6, dtype=torch.float64)
    inner = block.depthwise(block.expand(x))
    squeezed = nn.functional.silu(block.se.fc1(inner.mean((2, 3), keepdim=True)))
    expected = block.project(inner * torch.sigmoid(block.se.fc2(squeezed)))
    assert_close(block(x), expected)


def test_stochastic_depth_leaves_out_whole_branches_and_keeps_the_expectation() -> None:
    block = InvertedResidual(4, 4, expansion=2, norm=lambda _: nn.Identity(), drop=0.25).double()
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64).expand(400, 4, 5, 5)
    branch = block.eval()(x)[0] - x[0]
    torch.default_generator.manual_seed(0)
    change = block.train()(x) - x
    kept = change.flatten(1).any(1)
    assert_close(change[kept], (branch / 0.75).expand_as(change[kept]))
    assert 0.68 < kept.double().mean() < 0.82
    torch.default_generator.manual_seed(0)
    assert torch.equal(block(x) - x, change)


def test_probability_of_leaving_out_grows_with_the_depth() -> None:
    blocks = [m for m in trunk("efficientnet_b0", drop=0.32).modules() if isinstance(m, InvertedResidual)]
    assert [block.drop.p for block in blocks] == pytest.approx([0.02 * index for index in range(16)])


# ----------------------------------------------------------------------------------------------------------------------
# Options


@pytest.mark.system("2.7-B0")
@pytest.mark.parametrize(
    ("stem", "strides"), [("imagenet", (4, 8, 16, 32)), ("small", (1, 2, 4, 8))], ids=["imagenet", "small"]
)
@pytest.mark.parametrize("tensorflow", [False, True])
def test_maps_have_the_announced_channels_and_strides(stem: Any, strides: tuple[int, ...], tensorflow: bool) -> None:
    network = trunk("efficientnet_b0", stem=stem, tensorflow=tensorflow).eval()
    maps = network.features(images((64, 96), torch.float32))
    assert network.channels == tuple(x.shape[1] for x in maps) == (24, 40, 112, 320)
    assert network.strides == tuple(64 // x.shape[2] for x in maps) == tuple(96 // x.shape[3] for x in maps) == strides


@pytest.mark.system("2.7-B0")
def test_b0_has_the_stages_of_table_1_at_224_pixels() -> None:
    with torch.device("meta"):
        network = efficientnet_b0().network.eval()
        seen: list[tuple[int, ...]] = []
        for stage in network.get_submodule("backbone.stages").children():
            stage.register_forward_hook(lambda module, arguments, output: seen.append(tuple(output.shape[1:])))
        network(torch.empty(1, 3, 224, 224))
    assert seen == [
        (16, 112, 112),
        (24, 56, 56),
        (40, 28, 28),
        (80, 14, 14),
        (112, 14, 14),
        (192, 7, 7),
        (320, 7, 7),
    ]


def test_initialisation_has_the_variance_of_the_reference() -> None:
    torch.default_generator.manual_seed(0)
    ours, expected = efficientnet_b0().network, FROM_TORCHVISION(torchvision.models.efficientnet_b0().state_dict())
    for name in (
        "backbone.stages.5.1.depthwise.conv.weight",
        "backbone.stages.5.1.se.fc1.weight",
        "head.before.conv.weight",
        "head.linear.weight",
    ):
        torch.testing.assert_close(ours.get_parameter(name).std(), expected[name].std(), rtol=0.03, atol=0)
    assert not ours.get_parameter("backbone.stages.5.1.se.fc1.bias").any()
    assert not ours.get_parameter("head.linear.bias").any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "efficientnet_b9"}, "efficientnet_b0"),
        ({"name": "efficientnet_b0", "stem": "tiny"}, "'imagenet'.*'small'"),
        ({"name": "efficientnet_b0", "width": 0.0}, "above 0"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict, message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)


def test_builders_record_name_and_arguments() -> None:
    model = efficientnet_lite0(categories=("cat", "dog"), size=(48, 64), width=0.25, dropout=0.4)
    assert model.origin is not None
    assert model.origin[0] == "efficientnet_lite0"
    assert model.origin[1]["width"] == 0.25
    assert model.preprocess.exact == (48, 64)
    assert model.network.get_parameter("head.linear.weight").shape == (2, 1280)
    assert model.network.get_submodule("head.dropout").p == 0.4


def test_compound_scaling_with_phi_0_is_b0() -> None:
    with torch.device("meta"):
        ours, baseline = efficientnet_compound(phi=0), efficientnet_b0()
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, baseline)]
    assert shapes[0] == shapes[1]
    assert ours.preprocess == baseline.preprocess


def stages_of(model: Any) -> list[list[Any]]:
    return [list(stage) for stage in model.network.backbone.stages]


def test_compound_scaling_with_phi_2_has_the_depths_widths_and_pixels_of_equation_3() -> None:
    """Depths times 1.44, widths times 1.21 in steps of 8, 224 pixels times 1.3225; constants are arguments."""
    with torch.device("meta"):
        model = efficientnet_compound(phi=2)
        stages = stages_of(model)
        deep = efficientnet_compound(phi=1, alpha=3, beta=1, gamma=1)
    assert [len(stage) for stage in stages] == [2, 3, 3, 5, 5, 6, 2]
    assert [stage[-1].project.conv.out_channels for stage in stages] == [24, 32, 48, 96, 136, 232, 384]
    assert (model.preprocess.crop, model.preprocess.shorter) == ((296, 296), 328)
    assert [len(stage) for stage in stages_of(deep)] == [3, 6, 6, 9, 9, 12, 3]
    assert deep.preprocess == efficientnet_b0().preprocess
