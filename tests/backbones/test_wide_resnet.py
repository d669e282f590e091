"""Wide ResNets for small images against the paper's sizes and its equations."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.closeness import NUMBERS, assert_close
from tests.parity.networks import randomise
from vidi.backbones import wide_resnet
from vidi.backbones.wide_resnet import WideBlock, WideResNet


@pytest.mark.system("2.6.1-WRN")
@pytest.mark.parametrize(
    ("build", "count"),
    [
        (wide_resnet.wide_resnet16_4, 2_748_890),
        (wide_resnet.wide_resnet28_10, 36_479_194),
        (wide_resnet.wide_resnet40_4, 8_949_210),
    ],
)
def test_parameter_counts_are_those_of_the_paper(build: Callable, count: int) -> None:
    """Table 5: 36.5 M for WRN-28-10 and 8.9 M for WRN-40-4; to the unit by `formula`."""
    with torch.device("meta"):
        network = build().network
    depth, factor = {2_748_890: (16, 4), 36_479_194: (28, 10), 8_949_210: (40, 4)}[count]
    assert sum(p.numel() for p in network.parameters()) == count == formula(depth, factor)


def formula(depth: int, factor: int) -> int:
    """Weights of WRN-n-k for ten classes, block by block."""
    total, before = 3 * 16 * 9, 16
    for width in (16 * factor, 32 * factor, 64 * factor):
        for block in range((depth - 4) // 6):
            inputs = before if block == 0 else width
            total += 2 * inputs + 9 * inputs * width + 2 * width + 9 * width * width
            total += inputs * width if block == 0 else 0
        before = width
    return total + 2 * before + 10 * before + 10


@pytest.mark.system("2.6.1-WRN")
def test_network_is_the_equations_of_the_paper() -> None:
    network = WideResNet(16, 2).double().eval()
    randomise(network)
    state = network.state_dict()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def active(y: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((y - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)

    y = F.conv2d(x, state["stem.weight"], padding=1)
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        for block in range(2):
            name, step = f"stage{stage}.{block}", stride if block == 0 else 1
            z = active(y, f"{name}.norm1")
            skip = F.conv2d(z, state[f"{name}.skip.weight"], stride=step) if block == 0 else y
            z = F.conv2d(z, state[f"{name}.conv1.weight"], stride=step, padding=1)
            y = F.conv2d(active(z, f"{name}.norm2"), state[f"{name}.conv2.weight"], padding=1) + skip
    assert_close(network(x)[-1], active(y, "norm"), NUMBERS)


def test_maps_have_the_announced_channels_and_strides() -> None:
    network = WideResNet(10, 1).eval()
    maps = network.features(torch.randn(1, 3, 32, 32))
    assert network.channels == tuple(x.shape[1] for x in maps) == (16, 32, 64)
    assert network.strides == tuple(32 // x.shape[2] for x in maps) == (1, 2, 4)


@pytest.mark.system("2.6.1-WRN")
def test_dropout_acts_in_training_only() -> None:
    network = WideResNet(10, 1, dropout=0.5)
    x = torch.randn(2, 3, 16, 16)
    network.eval()
    assert torch.equal(network(x)[-1], network(x)[-1])
    network.train()
    assert not torch.equal(network(x)[-1], network(x)[-1])


@pytest.mark.system("2.6.1-WRN")
def test_dropout_lies_between_the_two_convolutions_behind_norm_and_rectifier() -> None:
    """Figure 1d: norm, ReLU, 3x3, norm, ReLU, dropout, 3x3; the skip connection is never dropped."""
    block = WideBlock(4, 6, stride=2, dropout=0.3).double().train()
    x = torch.randn(8, 4, 6, 6, dtype=torch.float64)
    torch.default_generator.manual_seed(3)
    received = block(x)
    with torch.no_grad():
        active = F.batch_norm(x, None, None, block.norm1.weight, block.norm1.bias, training=True).relu()
        inner = F.conv2d(active, block.conv1.weight, stride=2, padding=1)
        inner = F.batch_norm(inner, None, None, block.norm2.weight, block.norm2.bias, training=True).relu()
        torch.default_generator.manual_seed(3)
        dropped = F.dropout(inner, 0.3, training=True)
        skip = block.skip(active)
        expected = F.conv2d(dropped, block.conv2.weight, padding=1) + skip
    assert 0.6 < float((dropped[inner > 0] > 0).double().mean()) < 0.8
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.system("2.6.1-WRN")
def test_every_block_of_a_network_drops_as_it_is_told() -> None:
    network = wide_resnet.wide_resnet16_4(dropout=0.3).network
    assert [m.dropout.p for m in network.modules() if isinstance(m, WideBlock)] == [0.3] * 6


def test_impossible_depth() -> None:
    with pytest.raises(ValueError, match="6 N \\+ 4"):
        WideResNet(17, 1)
