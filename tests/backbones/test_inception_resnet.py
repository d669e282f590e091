"""Inception-ResNet-v2 against timm, its blocks against their equations."""

from functools import partial
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.conv_bn_act import ConvNormAct
from timm.models.inception_resnet_v2 import Block8, Block17, Block35
from torch import Tensor, nn

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones.classifier import Logits
from vidi.backbones.inception_resnet import (
    VARIANTS,
    InceptionResNetA,
    InceptionResNetB,
    InceptionResNetC,
    ScaledResidual,
    inception_resnet_v2,
    trunk,
)
from vidi.nn.branches import ConvUnit
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_inception

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
RENAME = partial(renamed, names=timm_inception.RESNET)
UNIT = ConvUnit(norm_layer("batch", eps=1e-3))


def images(size: tuple[int, int] = (75, 91), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def scores(network: nn.Module) -> Tensor:
    outputs = network(images())
    return outputs.logits if isinstance(outputs, Logits) else outputs


def shallow() -> nn.Module:
    """timm's network with one A, one B and two C."""
    theirs: Any = timm.create_model("inception_resnet_v2", pretrained=False, num_classes=7)
    theirs.repeat, theirs.repeat_1, theirs.repeat_2 = theirs.repeat[:1], theirs.repeat_1[:1], theirs.repeat_2[:1]
    return theirs


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("2.2.2-IR-NET")
@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.extended)])
def test_reduced_depth_equals_timm(training: bool) -> None:
    ours = inception_resnet_v2(categories=7, blocks=(1, 1, 2), dropout=0.0).network
    assert_same_training(ours, shallow(), RENAME, scores, training=training)


@pytest.mark.system("2.2.2-IR-NET", "B2.4")
def test_full_depth_has_the_tensors_of_timm() -> None:
    with torch.device("meta"):
        ours = inception_resnet_v2().network
        theirs = timm.create_model("inception_resnet_v2", pretrained=False)
    expected = {key: value.shape for key, value in RENAME(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert sum(p.numel() for p in ours.parameters()) == 55_843_464


@pytest.mark.parametrize(
    ("ours", "theirs", "channels"),
    [
        pytest.param(InceptionResNetA, Block35, 320, marks=pytest.mark.system("2.2.2-IR-A")),
        pytest.param(InceptionResNetB, Block17, 1088, marks=pytest.mark.system("2.2.2-IR-B")),
        (InceptionResNetC, Block8, 2080),
    ],
    ids=["A", "B", "C"],
)
def test_blocks_equal_timm(ours: type[ScaledResidual], theirs: type[nn.Module], channels: int) -> None:
    unit = partial(ConvNormAct, padding=0, norm_kwargs={"eps": 1e-3})
    x = torch.randn(2, channels, 9, 8, dtype=torch.float64)
    stage = {320: "a", 1088: "b", 2080: "c"}[channels]

    def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        prefix = {"a": "repeat.0.", "b": "repeat_1.0.", "c": "repeat_2.0."}[stage]
        full = renamed({prefix + name: value for name, value in tensors.items()}, timm_inception.TRUNK)
        return {name.removeprefix(f"stage_{stage}.0."): value for name, value in full.items()}

    block: Any = ours
    assert_same_training(
        block(UNIT, 0.17), theirs(scale=0.17, conv_block=unit), rename, lambda module: module(x), training=True
    )


def test_float32_evaluation_equals_timm() -> None:
    theirs = shallow().eval()
    ours = inception_resnet_v2(categories=7, blocks=(1, 1, 2)).network.eval()
    randomise(theirs)
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images((107, 83), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


# ----------------------------------------------------------------------------------------------------------------------
# Blocks


def kernels(branch: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(m.kernel_size) for m in branch.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.system("2.2.2-IR-A", "2.2.2-IR-B")
def test_paths_of_the_notes() -> None:
    """Block B has two paths, of which one is factorised (C2.5)."""
    a, b = InceptionResNetA(UNIT, 0.17), InceptionResNetB(UNIT, 0.1)
    assert isinstance(a.branches, nn.ModuleList)
    assert isinstance(b.branches, nn.ModuleList)
    assert [kernels(path) for path in a.branches] == [[(1, 1)], [(1, 1), (3, 3)], [(1, 1), (3, 3), (3, 3)]]
    assert [kernels(path) for path in b.branches] == [[(1, 1)], [(1, 1), (1, 7), (7, 1)]]
    assert (a.linear.in_channels, a.linear.out_channels) == (128, 320)
    assert (b.linear.in_channels, b.linear.out_channels) == (384, 1088)


@pytest.mark.system("2.2.2-IR-A", "2.2.2-IR-B")
@pytest.mark.parametrize("relu", [True, False])
def test_the_sum_is_scaled_and_only_then_rectified(relu: bool) -> None:
    """The last 1x1 has no activation of its own: the branch can lower x (C2.5)."""
    block = ScaledResidual(nn.Conv2d(4, 6, 1), 6, 4, scale=0.2, relu=relu).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    before = x.clone()
    total = x + 0.2 * block.linear(block.branches(x))
    assert_close(block(x), total.relu() if relu else total)
    assert (block.linear(block.branches(x)) < 0).any()
    assert torch.equal(x, before)


@pytest.mark.system("2.2.2-IR-NET")
def test_stages_of_the_paper() -> None:
    backbone = trunk(width=8).eval()  # a quarter of all channels
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 299, 299))
    stages = (backbone.stage_a, backbone.stage_b, backbone.stage_c)
    assert [len(stage) for stage in stages] == [10, 20, 9]
    scales = [{getattr(block, "scale", None) for block in stage} for stage in stages]
    assert scales == [{0.17}, {0.10}, {0.20}]
    assert VARIANTS["inception_resnet_v2"].scales == (0.17, 0.10, 0.20)
    assert (backbone.last_c.scale, backbone.last_c.relu) == (1.0, False)
    sizes = [(192, 71), (320, 35), (1088, 17), (1536, 8)]
    assert [tuple(x.shape[1:]) for x in maps] == [(channels // 4, side, side) for channels, side in sizes]
    assert backbone.channels == tuple(x.shape[1] for x in maps)
    assert backbone.strides == (4, 8, 16, 32)


# ----------------------------------------------------------------------------------------------------------------------
# Options


def test_small_stem() -> None:
    backbone = trunk(stem="small", width=8, blocks=(1, 1, 1)).eval()
    maps = backbone(images((28, 40), torch.float32))
    assert backbone.channels == tuple(x.shape[1] for x in maps) == (48, 80, 272, 384)
    assert [tuple(x.shape[2:]) for x in maps] == [(22, 34), (10, 16), (4, 7), (1, 3)]
    assert backbone.strides == (1, 2, 4, 8)


def test_builder_records_name_and_arguments() -> None:
    model = inception_resnet_v2(categories=("cat", "dog"), width=8, blocks=(1, 1, 1))
    assert model.origin is not None
    assert model.origin[0] == "inception_resnet_v2"
    assert model.origin[1]["blocks"] == (1, 1, 1)
    assert model.preprocess.crop == (299, 299)
    dropout = model.network.get_submodule("head.dropout")
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.2
    x = images(dtype=torch.float32)
    features = F.adaptive_avg_pool2d(model.network.eval().get_submodule("backbone")(x)[-1], 1).flatten(1)
    linear: Any = model.network.get_submodule("head.linear")
    torch.testing.assert_close(model.network(x).logits, linear(features))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "inception_v4"}, "inception_resnet_v2"),
        ({"norm": "group"}, "'batch'.*'frozen'"),
        ({"stem": "tiny"}, "'imagenet'.*'small'"),
        ({"width": 4}, "at least 8"),
        ({"blocks": (1, 0, 1)}, "at least one"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)
