"""ResNet v2 as in Big Transfer, against timm."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.std_conv import StdConv2d
from timm.models.resnetv2 import ResNetV2 as Reference
from torch import Tensor, nn

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import resnet_v2
from vidi.backbones.classifier import Classifier
from vidi.backbones.near_zero_head import near_zero_head
from vidi.backbones.resnet_v2 import PreActivationBottleneck, ResNetV2, StandardizedConv2d, trunk
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed

GROUP = norm_layer("group")
WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do

NAMES = {
    "stem.conv.weight": "backbone.stem.0.weight",
    "stages.0.blocks.*.*.*": "backbone.stage1.*.*.*",
    "stages.1.blocks.*.*.*": "backbone.stage2.*.*.*",
    "stages.2.blocks.*.*.*": "backbone.stage3.*.*.*",
    "stages.3.blocks.*.*.*": "backbone.stage4.*.*.*",
    "stages.0.blocks.0.downsample.conv.weight": "backbone.stage1.0.skip.weight",
    "stages.1.blocks.0.downsample.conv.weight": "backbone.stage2.0.skip.weight",
    "stages.2.blocks.0.downsample.conv.weight": "backbone.stage3.0.skip.weight",
    "stages.3.blocks.0.downsample.conv.weight": "backbone.stage4.0.skip.weight",
    "norm.*": "backbone.norm.*",
    "head.fc.*": "head.linear.*",
}


def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's tensors our names; its last layer is a 1x1 convolution."""
    ours = renamed(tensors, NAMES)
    return {name: value.flatten(1) if name == "head.linear.weight" else value for name, value in ours.items()}


def images(height: int = 64, width: int = 64, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module, size: tuple[int, int] = (64, 64)) -> Tensor:
    result = network(images(*size))
    return result if isinstance(result, Tensor) else result.logits


def shallow(factor: int) -> tuple[nn.Module, nn.Module]:
    """Build both networks with one or two blocks a stage."""
    ours = Classifier(ResNetV2((1, 2, 1, 1), width=64 * factor, norm=GROUP), 10, near_zero_head)
    conv = partial(StdConv2d, eps=1e-8)
    theirs = Reference([1, 2, 1, 1], num_classes=10, width_factor=factor, stem_type="fixed", conv_layer=conv)
    return ours, theirs


# ----------------------------------------------------------------------------------------------------------------------
# Parity


def test_equals_timm() -> None:
    """Outputs and gradients; without batch statistics training and evaluation are one."""
    ours, theirs = resnet_v2.resnetv2_50x1_bit().network, timm.create_model("resnetv2_50x1_bit", pretrained=False)
    assert_same_training(ours, theirs, rename, outputs, training=True)


def test_odd_sizes_equal_timm() -> None:
    ours, theirs = shallow(1)
    assert_same_training(ours, theirs, rename, partial(outputs, size=(57, 83)), training=False)


@pytest.mark.extended
@pytest.mark.parametrize("factor", [2, 3])
def test_wider_networks_of_reduced_depth_equal_timm(factor: int) -> None:
    ours, theirs = shallow(factor)
    assert_same_training(ours, theirs, rename, outputs, training=True)


def test_float32_evaluation_equals_timm() -> None:
    ours, theirs = shallow(1)
    randomise(theirs)
    ours.load_state_dict(rename(theirs.state_dict()))
    x = images(dtype=torch.float32)
    assert_close(ours.eval()(x).logits, theirs.eval()(x), FLOAT32)


def test_every_map_equals_timm() -> None:
    ours, theirs = shallow(1)
    randomise(theirs)
    ours.load_state_dict(rename(theirs.state_dict()))
    x = images(64, 96)
    maps = ours.double().features(x)  # type: ignore[operator]
    expected = theirs.double().forward_intermediates(x, indices=4, norm=True, intermediates_only=True)  # type: ignore[operator]
    for received, other in zip(maps, expected, strict=True):
        assert_close(received, other, NUMBERS)


@pytest.mark.parametrize("name", sorted(resnet_v2.VARIANTS))
def test_every_variant_has_the_tensors_of_its_reference(name: str) -> None:
    with torch.device("meta"):
        ours = getattr(resnet_v2, name)().network
        theirs = timm.create_model(name, pretrained=False)
    expected = {key: value.shape for key, value in rename(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


# ----------------------------------------------------------------------------------------------------------------------
# Parts


def test_kernels_are_standardised() -> None:
    conv = StandardizedConv2d(6, 4, 3).double()
    nn.init.uniform_(conv.weight, 3, 5)
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64)
    weight = conv.weight.detach()
    mean, variance = weight.mean((1, 2, 3), keepdim=True), weight.var((1, 2, 3), correction=0, keepdim=True)
    expected = F.conv2d(x, (weight - mean) / (variance + 1e-8).sqrt(), padding=1)
    assert_close(conv(x), expected)
    assert_close(conv(x + 100)[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], NUMBERS)


def test_a_block_adds_to_its_input_and_activates_first() -> None:
    block = PreActivationBottleneck(64, 128, projects=True, norm=norm_layer("group")).double()
    plain = PreActivationBottleneck(128, 128, projects=False, norm=norm_layer("group")).double()
    x = torch.randn(2, 64, 6, 5, dtype=torch.float64)
    before = x.clone()
    active = torch.relu(block.norm1(x))
    inner = torch.relu(block.norm3(block.conv2(torch.relu(block.norm2(block.conv1(active))))))
    assert block.skip is not None
    assert_close(block(x), block.conv3(inner) + block.skip(active))
    assert torch.equal(x, before)
    nn.init.zeros_(plain.conv3.weight)
    y = torch.randn(2, 128, 6, 5, dtype=torch.float64)
    assert torch.equal(plain(y), y)


def test_an_image_does_not_depend_on_its_batch() -> None:
    network = trunk("resnetv2_50x1_bit", stem="small", width=32).double().train()
    x = images(16, 16)
    together = network(x)[-1]
    assert_close(network(x[:1])[-1], together[:1], NUMBERS)


@pytest.mark.parametrize(("stem", "finest"), [("imagenet", 4), ("small", 1)])
def test_maps_have_the_announced_channels_and_strides(stem: resnet_v2.Stem, finest: int) -> None:
    network = trunk("resnetv2_50x1_bit", stem=stem, width=32).eval()
    maps = network.features(images(64, 32, torch.float32))
    assert network.channels == tuple(x.shape[1] for x in maps) == (128, 256, 512, 1024)
    assert network.strides == tuple(64 // x.shape[2] for x in maps) == tuple(32 // x.shape[3] for x in maps)
    assert network.strides[0] == finest


def test_initialisation_has_the_variance_of_the_reference() -> None:
    ours, theirs = shallow(1)
    expected = rename(theirs.state_dict())
    for name in ("backbone.stage3.0.conv2.weight", "head.linear.weight"):
        torch.testing.assert_close(ours.get_parameter(name).std(), expected[name].std(), rtol=0.02, atol=0)
    assert not ours.get_parameter("head.linear.bias").any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnetv2_18"}, "resnetv2_50x1_bit"),
        ({"name": "resnetv2_50x1_bit", "stem": "tiny"}, "'imagenet'.*'small'"),
        ({"name": "resnetv2_50x1_bit", "width": 48}, "multiple of 32"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict, message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)


def test_builder_records_its_arguments_and_scales_pixels_to_minus_one_to_one() -> None:
    model = resnet_v2.resnetv2_50x1_bit(categories=("cat", "dog"), size=(48, 64), width=32)
    assert model.origin is not None
    assert model.origin[0] == "resnetv2_50x1_bit"
    assert model.preprocess.exact == (48, 64)
    assert (model.preprocess.mean, model.preprocess.std) == ((0.5,) * 3, (0.5,) * 3)
    assert model.network.get_parameter("head.linear.weight").shape == (2, 1024)
