"""Convolutions that pad like TensorFlow, against timm's."""

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from tests.closeness import assert_close
from vidi.nn.convolution import ConvNorm, SamePaddedConv2d
from vidi.nn.normalization import norm_layer


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, (3, 5)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 5)], ids=str)
def test_same_padding_equals_timm(kernel: int | tuple[int, int], stride: int, size: tuple[int, int]) -> None:
    ours, theirs = SamePaddedConv2d(4, 6, kernel, stride, groups=2), Conv2dSame(4, 6, kernel, stride, groups=2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    received = ours.double()(x)
    assert_close(received, theirs.double()(x))
    assert received.shape[2:] == tuple(-(-side // stride) for side in size)


def test_dilated_same_padding_keeps_the_size() -> None:
    ours, theirs = SamePaddedConv2d(2, 2, 3, dilation=3), Conv2dSame(2, 2, 3, dilation=3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 2, 9, 12)
    assert_close(ours(x), theirs(x), 1e-6)


def test_odd_rows_of_zeros_go_behind() -> None:
    conv = SamePaddedConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert conv(x)[0, 0, 0, 0] == x[0, 0, :3, :3].sum()
    assert conv(x)[0, 0, 1, 1] == x[0, 0, 2:, 2:].sum()


def test_another_kind_of_convolution_inside_a_unit() -> None:
    unit = ConvNorm(3, 4, 3, 2, norm=norm_layer("batch"), conv=SamePaddedConv2d)
    assert isinstance(unit.conv, SamePaddedConv2d)
    assert unit.conv.bias is None
    assert unit(torch.randn(2, 3, 7, 8)).shape == (2, 4, 4, 4)
