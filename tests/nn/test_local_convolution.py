"""Locally connected layers, by slow loops and by the convolution that they become where all weights are equal."""

import pytest
import torch

from tests.closeness import EXACT, GRADIENTS, assert_close
from vidi.nn.local_convolution import LocallyConnected2d


@pytest.mark.parametrize(
    ("kernel", "size", "stride", "share"), [(3, (7, 6), 1, 1), (3, (7, 6), 1, 2), (2, (8, 5), 2, 1), (2, (5, 5), 1, 3)]
)
def test_each_place_has_the_weights_of_its_region(kernel: int, size: tuple[int, int], stride: int, share: int) -> None:
    layer = LocallyConnected2d(2, 3, kernel, size, stride=stride, share=share).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    ours = layer(x)
    assert ours.shape == (2, 3, *layer.size)
    for row in range(layer.size[0]):
        for column in range(layer.size[1]):
            seen = x[:, :, row * stride :, column * stride :][:, :, :kernel, :kernel].flatten(1)  # B Ckk
            region = row // share, column // share
            assert_close(ours[:, :, row, column], seen @ layer.weight[region].T + layer.bias[region], EXACT)


def test_one_region_is_a_convolution_with_its_gradients() -> None:
    layer = LocallyConnected2d(2, 4, 3, (6, 7), share=9).double()
    conv = torch.nn.Conv2d(2, 4, 3).double()
    conv.weight.data = layer.weight.detach()[0, 0].unflatten(1, (2, 3, 3)).clone()
    conv.bias.data = layer.bias.detach()[0, 0].clone()  # type: ignore[union-attr]
    x = torch.randn(3, 2, 6, 7, dtype=torch.float64)
    ours, theirs = layer(x), conv(x)
    assert_close(ours, theirs, EXACT)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    assert conv.weight.grad is not None
    assert layer.weight.grad is not None
    assert_close(layer.weight.grad[0, 0].view_as(conv.weight), conv.weight.grad, GRADIENTS)


def test_first_weights_are_those_of_a_convolution_of_that_size() -> None:
    layer = LocallyConnected2d(4, 8, 3, (12, 12))
    assert 0.95 / 6 < float(layer.weight.detach().abs().max()) <= 1 / 6
    assert repr(layer).endswith("kernel=3, stride=1, share=1)")


def test_a_map_smaller_than_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="received maps of 4 x 2, expected at least the kernel, 3"):
        LocallyConnected2d(1, 1, 3, (4, 2))
