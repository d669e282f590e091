"""ResNet, ResNeXt, Wide ResNet and SE-ResNet against torchvision, timm and the notes."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import resnet as reference

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import resnet, resnext, senet, wide_resnet
from vidi.backbones.classifier import Classifier
from vidi.backbones.resnet import BasicBlock, Bottleneck, Projection, ResNet, residual_stage, trunk
from vidi.nn.normalization import FrozenBatchNorm2d, norm_layer
from vidi.nn.squeeze_excitation import SqueezeExcitation
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_senet, torchvision_resnet

BATCH = norm_layer("batch")
WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
BUILDERS: dict[str, Callable] = {
    name: getattr(module, name)
    for module in (resnet, resnext, senet, wide_resnet)
    for name in resnet.VARIANTS
    if name in vars(module)
}


def images(size: tuple[int, int] = (64, 64), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module, size: tuple[int, int] = (64, 64)) -> Tensor:
    result = network(images(size))
    return result if isinstance(result, Tensor) else result.logits


# ----------------------------------------------------------------------------------------------------------------------
# Parity


def extended(name: str, training: bool) -> object:
    return pytest.param(name, training, marks=pytest.mark.extended)


@pytest.mark.system("2.2.1-RESNET18", "2.2.1-RESNET50", "2.3-NET", "2.6.1-WRN", "2.2-RESBLOCK", "2.2.1-BOTTLENECK")
@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("resnet18", True),
        ("resnet18", False),
        ("resnet50", True),
        extended("resnet50", False),
        ("resnext50_32x4d", False),
        extended("resnext50_32x4d", True),
        extended("resnet34", True),
        extended("resnet101", True),
        extended("resnet101", False),
        extended("wide_resnet50_2", True),
        extended("wide_resnet50_2", False),
    ],
)
def test_equals_torchvision(name: str, training: bool) -> None:
    ours = BUILDERS[name]().network
    theirs = torchvision.models.get_model(name, weights=None)
    rename = partial(renamed, names=torchvision_resnet.CLASSIFIER)
    assert_same_training(ours, theirs, rename, outputs, training=training)


@pytest.mark.system("2.4-SE", "2.4-SENET")
@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("seresnext50_32x4d", True),
        extended("seresnext50_32x4d", False),
        extended("seresnet50", True),
        extended("seresnet50", False),
    ],
)
def test_equals_timm(name: str, training: bool) -> None:
    ours = BUILDERS[name]().network
    theirs = timm.create_model(name, pretrained=False)
    assert_same_training(ours, theirs, partial(renamed, names=timm_senet.NAMES), outputs, training=training)


@pytest.mark.system("2.6.1-WRN")
def test_wide_bottlenecks_of_reduced_depth_equal_torchvision() -> None:
    ours = Classifier(ResNet(partial(Bottleneck, width_per_group=128), (1, 1, 1, 1), expansion=4, norm=BATCH), 10)
    theirs = reference.ResNet(reference.Bottleneck, [1, 1, 1, 1], num_classes=10, width_per_group=128)
    rename = partial(renamed, names=torchvision_resnet.CLASSIFIER)
    assert_same_training(ours, theirs, rename, outputs, training=True)


@pytest.mark.system("2.2.1-BOTTLENECK")
def test_stride_in_the_first_1x1_is_the_form_of_the_paper() -> None:
    """The reference has the stride in the 3x3; here its attributes are changed to those of the paper (C2.3)."""
    block = partial(Bottleneck, stride_in_1x1=True)
    ours = Classifier(ResNet(block, (1, 1, 1, 1), expansion=4, norm=BATCH), 10)
    theirs = reference.ResNet(reference.Bottleneck, [1, 1, 1, 1], num_classes=10)
    for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
        first: Any = stage[0]
        first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    rename = partial(renamed, names=torchvision_resnet.CLASSIFIER)
    assert_same_training(ours, theirs, rename, outputs, training=False)


@pytest.mark.parametrize("dilated", [(False, True, True), (False, False, True)], ids=["stride 8", "stride 16"])
def test_dilated_equals_torchvision(dilated: tuple[bool, bool, bool]) -> None:
    ours = Classifier(ResNet(Bottleneck, (1, 1, 2, 2), expansion=4, norm=BATCH, dilated=dilated), 5)
    theirs = reference.ResNet(
        reference.Bottleneck, [1, 1, 2, 2], num_classes=5, replace_stride_with_dilation=list(dilated)
    )
    rename = partial(renamed, names=torchvision_resnet.CLASSIFIER)
    assert_same_training(ours, theirs, rename, outputs, training=False)


@pytest.mark.parametrize(("name", "v1"), [("resnet18", False), ("resnet50", False), ("resnet50", True)])
def test_dilation_fills_in_the_pixels_that_strides_skip(name: str, v1: bool) -> None:
    plain = trunk(name, width=16, stride_in_1x1=v1).double().eval()
    dense = trunk(name, width=16, stride_in_1x1=v1, dilated=(False, True, True)).double().eval()
    randomise(plain)
    dense.load_state_dict(plain.state_dict())
    x = images((96, 72))
    c4, c5 = plain.features(x)[2:]
    d4, d5 = dense.features(x)[2:]
    assert_close(d4[:, :, ::2, ::2], c4)
    assert_close(d5[:, :, ::4, ::4], c5)
    assert dense.strides == (4, 8, 8, 8)


@pytest.mark.parametrize("size", [(64, 64), (57, 83)], ids=["even", "odd"])
def test_float32_evaluation_equals_torchvision(size: tuple[int, int]) -> None:
    ours, theirs = resnet.resnet18().network.eval(), torchvision.models.resnet18().eval()
    randomise(theirs)
    ours.load_state_dict(renamed(theirs.state_dict(), torchvision_resnet.CLASSIFIER))
    x = images(size, torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


# ----------------------------------------------------------------------------------------------------------------------
# Counts


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnext50_32x4d", 25_028_904),
        ("wide_resnet50_2", 68_883_240),
    ],
)
def test_parameter_counts_of_the_inventory(name: str, count: int) -> None:
    with torch.device("meta"):
        network = BUILDERS[name]().network
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", sorted(resnet.VARIANTS))
def test_every_variant_has_the_tensors_of_its_reference(name: str) -> None:
    rounded = {"seresnet18": 16, "seresnet34": 16}  # timm rounds the squeezed widths 4, 8, 16, 32 up to 8, 8, 16, 32
    create = timm.create_model if name.startswith("se") else partial(torchvision.models.get_model, weights=None)
    with torch.device("meta"):
        ours = BUILDERS[name]().network
        theirs = create(name)
    names = timm_senet.NAMES if name.startswith("se") else torchvision_resnet.CLASSIFIER
    expected = {key: value.shape for key, value in renamed(theirs.state_dict(), names).items()}
    received = {key: value.shape for key, value in ours.state_dict().items()}
    assert received.keys() == expected.keys()
    differing = {key for key in expected if received[key] != expected[key]}
    assert all(".stage1." in key and ".se." in key for key in differing) if name in rounded else not differing


@pytest.mark.system("B2.3")
def test_bottleneck_and_basic_block_cost_about_the_same() -> None:
    basic = BasicBlock(64, 64, skip=nn.Identity(), norm=BATCH)
    bottleneck = Bottleneck(256, 64, skip=nn.Identity(), norm=BATCH)
    weights = [sum(m.weight.numel() for m in b.modules() if isinstance(m, nn.Conv2d)) for b in (basic, bottleneck)]
    assert weights == [73_728, 69_632]


# ----------------------------------------------------------------------------------------------------------------------
# Blocks and stages


@pytest.mark.system("2.2-RESBLOCK")
def test_basic_block_is_the_equation_of_the_notes() -> None:
    block = BasicBlock(4, 4, skip=nn.Identity(), norm=BATCH).double().eval()
    randomise(block)
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    before = x.clone()
    branch = torch.relu(block.norm1(block.conv1(x)))
    expected = torch.relu(block.norm2(block.conv2(branch)) + x)
    assert_close(block(x), expected)
    assert torch.equal(x, before)


@pytest.mark.system("2.2-SKIP")
def test_projection_is_a_matrix_on_every_second_pixel() -> None:
    skip = Projection(3, 5, 2, lambda _: nn.Identity()).double()
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    expected = torch.einsum("oc,bchw->bohw", skip.conv.weight[:, :, 0, 0], x[:, :, ::2, ::2])
    assert_close(skip(x), expected)


@pytest.mark.system("2.2-SKIP")
def test_identity_skip_passes_what_the_branch_does_not_change() -> None:
    block = BasicBlock(4, 4, skip=nn.Identity(), norm=BATCH).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 6)
    assert torch.equal(block(x), x.relu())


@pytest.mark.system("2.2-IDENTINIT", "B2.16")
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "seresnet18"])
def test_zero_initialised_identity_blocks_give_relu_of_their_input(name: str) -> None:
    network = trunk(name, zero_init_residual=True, width=16).eval()
    for stage in (network.stage1, network.stage2, network.stage3, network.stage4):
        later = nn.Sequential(*[block for block in stage if isinstance(block.skip, nn.Identity)])
        last: Any = stage[-1]
        x = torch.randn(2, last.last_norm.weight.numel(), 4, 4)
        assert len(later) > 0
        assert torch.equal(later(x), x.relu())


@pytest.mark.system("2.2-IDENTINIT")
def test_zero_initialisation_touches_the_scales_that_torchvision_does() -> None:
    ours = resnet.resnet50(zero_init_residual=True).network.state_dict()
    theirs = torchvision.models.resnet50(zero_init_residual=True).state_dict()
    theirs = renamed(theirs, torchvision_resnet.CLASSIFIER)
    scales = [key for key in ours if ".norm" in key and key.endswith("weight")]
    assert scales
    assert all(torch.equal(ours[key], theirs[key]) for key in scales)


@pytest.mark.system("2.2-IDENTINIT")
def test_sum_after_relu_can_only_add() -> None:
    """The notes' remark: activated before the sum, the branch never lowers a value."""
    after = trunk("resnet18", sum_after_relu=True, width=16).eval().stage1
    before = trunk("resnet18", width=16).eval().stage1
    x = torch.randn(2, 16, 8, 8)
    assert (after(x) >= x).all()
    assert (before(x) < x.relu()).any()


def test_frozen_scales_cannot_start_at_zero() -> None:
    with pytest.raises(ValueError, match="frozen"):
        trunk("resnet18", norm="frozen", zero_init_residual=True, width=16)


@pytest.mark.system("2.2.1-STAGE")
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (32, 33)], ids=str)
def test_first_stage_keeps_and_the_others_halve_and_double(size: tuple[int, int]) -> None:
    """The notes have every stage halve; stage 1 does not (C2.2)."""
    network = trunk("resnet18").eval()
    stem = network.stem(images(size, torch.float32))
    maps = network.features(images(size, torch.float32))
    assert maps[0].shape == stem.shape
    for finer, coarser in pairwise(maps):
        assert coarser.shape[1] == 2 * finer.shape[1]
        assert coarser.shape[2:] == tuple(-(-side // 2) for side in finer.shape[2:])


@pytest.mark.system("2.2.1-STAGE")
def test_only_the_first_block_of_a_stage_changes_the_shape() -> None:
    stage = residual_stage(Bottleneck, 64, 32, 128, 3, norm=BATCH, stride=2)
    channels = zip(stage, (64, 128, 128), strict=True)
    shapes = [tuple(block(torch.randn(1, count, 8, 8)).shape[1:]) for block, count in channels]
    assert shapes == [(128, 4, 4), (128, 8, 8), (128, 8, 8)]
    assert [isinstance(block.skip, Projection) for block in stage] == [True, False, False]


@pytest.mark.system("2.2.1-RESNET50")
@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", (64, 128, 256, 512)), ("resnet50", (256, 512, 1024, 2048))]
)
def test_feature_maps_have_the_announced_channels_and_strides(name: str, channels: tuple[int, ...]) -> None:
    network = trunk(name).eval()
    maps = network.features(images((64, 96), torch.float32))
    assert network.channels == tuple(x.shape[1] for x in maps) == channels
    assert network.strides == tuple(64 // x.shape[2] for x in maps) == tuple(96 // x.shape[3] for x in maps)
    assert network.strides == (4, 8, 16, 32)


def test_small_stem_keeps_the_resolution() -> None:
    network = trunk("resnet18", stem="small", width=16).eval()
    maps = network(images((28, 28), torch.float32))
    assert [tuple(x.shape[2:]) for x in maps] == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert network.strides == (1, 2, 4, 8)


# ----------------------------------------------------------------------------------------------------------------------
# Squeeze and excitation


@pytest.mark.system("2.4-SENET")
def test_the_gate_acts_on_the_branch_before_the_sum() -> None:
    block = BasicBlock(16, 16, skip=nn.Identity(), norm=BATCH, reduction=16).double().eval()
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    branch = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
    assert isinstance(block.se, SqueezeExcitation)
    expected = torch.relu(block.se.gate(branch) * branch + x)
    assert_close(block(x), expected)


# ----------------------------------------------------------------------------------------------------------------------
# Options


def test_initialisation_has_the_variance_of_the_reference() -> None:
    ours, theirs = trunk("resnet18"), torchvision.models.resnet18()
    weight = ours.get_parameter("stage3.0.conv2.weight").detach()
    expected = theirs.get_parameter("layer3.0.conv2.weight").detach()
    torch.testing.assert_close(weight.std(), expected.std(), rtol=0.01, atol=0)
    assert abs(float(weight.mean())) < 1e-3


def test_norms_by_name() -> None:
    frozen = trunk("resnet18", norm="frozen", eps=0.0, width=16)
    kinds = [m for m in frozen.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(kinds) == 20
    assert all(m.eps == 0 for m in kinds)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules())
    assert any(isinstance(m, nn.GroupNorm) for m in trunk("resnet18", norm="group").modules())
    with pytest.raises(WRONG, match="'batch', 'frozen', 'group'"):
        trunk("resnet18", norm="layer")  # type: ignore[arg-type]


def test_frozen_norms_take_the_weights_of_batch_norms() -> None:
    source, frozen = trunk("resnet18", width=16).eval(), trunk("resnet18", norm="frozen", width=16)
    randomise(source)
    frozen.load_state_dict(source.state_dict())
    x = images(dtype=torch.float32)
    for ours, theirs in zip(frozen.train()(x), source(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "resnet18"),
        ({"name": "resnet18", "stem": "tiny"}, "'imagenet'.*'small'"),
        ({"name": "resnet18", "stride_in_1x1": True}, "bottlenecks"),
        ({"name": "resnext50_32x4d", "width": 8}, "at least 16"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict, message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_builders_record_name_and_arguments(name: str) -> None:
    with torch.device("meta"):
        model = BUILDERS[name](categories=("cat", "dog"), size=(48, 64), width=16)
    assert model.origin is not None
    assert model.origin[0] == name
    assert model.origin[1]["categories"] == ("cat", "dog")
    assert model.preprocess.exact == (48, 64)
    assert model.network.get_parameter("head.linear.weight").shape[0] == 2
