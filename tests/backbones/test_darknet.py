"""DarkNet-53 against timm and the paper."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.models import cspnet
from torch import Tensor, nn

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones.darknet import DarkBlock, DarkNet, darknet53, trunk
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_darknet

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
RENAME = partial(renamed, names=timm_darknet.NAMES)


def images(size: tuple[int, int] = (64, 64), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module) -> Tensor:
    result = network(images())
    return result if isinstance(result, Tensor) else result.logits


def narrowed(width: int) -> nn.Module:
    """The reference with another number of channels in the stem."""
    config = cspnet.model_cfgs["darknet53"]
    stages = replace(config.stages, out_chs=tuple(width * 2**index for index in range(1, 6)))
    return cspnet.CspNet(replace(config, stem=replace(config.stem, out_chs=width), stages=stages))


@pytest.mark.system("4.3.4-DARKNET")
@pytest.mark.parametrize(
    ("width", "training"),
    [(8, True), (8, False), *(pytest.param(32, mode, marks=pytest.mark.extended) for mode in (True, False))],
)
def test_equals_timm(width: int, training: bool) -> None:
    ours, theirs = darknet53(slope=0.01, width=width).network, narrowed(width)
    assert_same_training(ours, theirs, RENAME, outputs, training=training)


@pytest.mark.system("4.3.4-DARKNET")
def test_has_the_tensors_of_timm() -> None:
    with torch.device("meta"):
        ours, theirs = darknet53().network, timm.create_model("darknet53")
    expected = {key: value.shape for key, value in RENAME(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


def test_float32_evaluation_equals_timm() -> None:
    ours, theirs = darknet53(slope=0.01, width=8).network.eval(), narrowed(8).eval()
    randomise(theirs)
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images((57, 83), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


@pytest.mark.system("4.3.4-DARKNET")
def test_slope_of_the_paper_is_a_tenth() -> None:
    slopes = {m.negative_slope for m in trunk(width=2).modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.1}


@pytest.mark.system("4.3.4-DARKNET")
def test_table_1_of_the_paper() -> None:
    """Convolutions by stage, the outputs at 256 pixels, and the parameters, all with the head."""
    with torch.device("meta"):
        network = darknet53().network.eval()
        maps = network.get_submodule("backbone")(torch.empty(1, 3, 256, 256))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
        (512, 16, 16),
        (1024, 8, 8),
    ]
    stages = network.get_submodule("backbone.stages").children()
    assert [sum(isinstance(m, nn.Conv2d) for m in stage.modules()) for stage in stages] == [3, 5, 17, 17, 9]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == 53
    assert sum(p.numel() for p in network.parameters()) == 41_609_928


@pytest.mark.system("4.3.4-DARKNET")
def test_nothing_follows_the_sum_of_a_block() -> None:
    conv = partial(ConvNorm, norm=norm_layer("batch"), activation=partial(nn.LeakyReLU, 0.1))
    block = DarkBlock(8, conv).double().eval()
    randomise(block)
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    before = x.clone()
    assert_close(block(x) - x, block.conv2(block.conv1(x)))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("stem", "strides"), [("imagenet", (2, 4, 8, 16, 32)), ("small", (1, 1, 2, 4, 8))], ids=["imagenet", "small"]
)
def test_maps_have_the_announced_channels_and_strides(stem: Any, strides: tuple[int, ...]) -> None:
    network = trunk(stem=stem, width=4).eval()
    maps = network.features(images((64, 96), torch.float32))
    assert network.channels == tuple(x.shape[1] for x in maps) == (8, 16, 32, 64, 128)
    assert network.strides == tuple(64 // x.shape[2] for x in maps) == tuple(96 // x.shape[3] for x in maps) == strides


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trunk("darknet19"), "darknet53"),
        (lambda: DarkNet((1,), stem="tiny"), "'imagenet'.*'small'"),  # type: ignore[arg-type]
        (lambda: DarkNet((1,), width=0), "width=0"),
    ],
)
def test_wrong_arguments_name_the_choices(call: Any, message: str) -> None:
    with pytest.raises(WRONG, match=message):
        call()


def test_builder_takes_pixels_from_0_to_1() -> None:
    model = darknet53(categories=("cat", "dog"), width=4)
    assert model.origin is not None
    assert model.origin[0] == "darknet53"
    assert (model.preprocess.mean, model.preprocess.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert model.preprocess.crop == (256, 256)
    assert model.predict(torch.rand(3, 40, 50))[0].probabilities.shape == (2,)
