"""PANet's neck against its formula by loops."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.closeness import NUMBERS, assert_close
from vidi.necks.path_aggregation import PathAggregation

CHANNELS = (4, 6, 8)


def maps(sizes: tuple[tuple[int, int], ...] = ((7, 6), (4, 3), (2, 2))) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(2, count, *size, dtype=torch.float64, generator=generator)
        for count, size in zip(CHANNELS, sizes, strict=True)
    ]


def convolved(x: Tensor, conv: Any, stride: int) -> Tensor:
    """A 3x3 convolution with a border of zeros and a ReLU, pixel by pixel."""
    B, C, H, W = x.shape
    framed = torch.zeros(B, C, H + 2, W + 2, dtype=x.dtype)
    framed[:, :, 1:-1, 1:-1] = x
    rows = []
    for top in range(0, H, stride):
        row = []
        for left in range(0, W, stride):
            window = framed[:, :, top : top + 3, left : left + 3]
            row.append(torch.einsum("bcij,dcij->bd", window, conv.weight) + conv.bias)
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2).clamp(min=0)


@pytest.mark.system("4.A-PANET")
@pytest.mark.parametrize("extra", ["none", "pool", "p6p7_from_c5"])
def test_the_way_up_is_that_of_the_paper(extra: Any) -> None:
    """N_i+1 = relu(conv(P_i+1 + relu(conv of stride 2(N_i)))), from the finest level of the feature pyramid on."""
    neck = PathAggregation(CHANNELS, 5, extra=extra).double()
    for conv in (*neck.down, *neck.smooth):
        conv.bias.data.uniform_(-0.3, 0.3)  # type: ignore[union-attr, operator]
    pyramid = neck.pyramid(maps())
    received = neck(maps())
    assert len(received) == len(pyramid) == {"none": 3, "pool": 4, "p6p7_from_c5": 5}[extra]
    expected = pyramid[0]
    assert torch.equal(received[0], expected)
    for down, smooth, p, level in zip(neck.down, neck.smooth, pyramid[1:], received[1:], strict=True):
        expected = convolved(p + convolved(expected, down, 2), smooth, 1)
        assert_close(level, expected, NUMBERS)


@pytest.mark.system("4.A-PANET")
def test_the_finest_level_reaches_the_coarsest_and_the_other_way_round() -> None:
    neck = PathAggregation(CHANNELS, 5).double()
    inputs = [x.requires_grad_() for x in maps()]
    levels = neck(inputs)
    for level in levels:
        gradients = torch.autograd.grad(level.square().sum(), inputs, retain_graph=True)
        assert all(bool((gradient != 0).any()) for gradient in gradients)


def test_strides_and_faults() -> None:
    assert PathAggregation(CHANNELS, 5, extra="p6p7_from_c5").strides((8, 16, 32)) == (8, 16, 32, 64, 128)
    with pytest.raises(ValueError, match="received 2 maps"):
        PathAggregation(CHANNELS, 5).double()(maps()[:2])
    wrong: Any = "p8"
    with pytest.raises((ValueError, TypeError)):
        PathAggregation(CHANNELS, 5, extra=wrong)
