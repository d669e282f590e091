"""Branches side by side, and the convolutions that they are made of."""

import pytest
import torch
from torch import nn

from vidi.nn.branches import Branches, ConvUnit
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer

BATCH = norm_layer("batch")


def test_branches_are_concatenated_in_order() -> None:
    branches = Branches(nn.Conv2d(3, 2, 1), nn.Identity(), nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, padding=1)))
    x = torch.randn(2, 3, 5, 6)
    assert torch.equal(branches(x), torch.cat([branch(x) for branch in branches], 1))
    assert branches(x).shape == (2, 9, 5, 6)


@pytest.mark.parametrize("norm", [BATCH, None], ids=["norm", "bias"])
def test_units_scale_all_channels_but_those_of_the_image(norm) -> None:
    unit = ConvUnit(norm, width=8, full=32)
    first = next(m for m in unit(3, 64, 3).modules() if isinstance(m, nn.Conv2d))
    later = next(m for m in unit(64, 80).modules() if isinstance(m, nn.Conv2d))
    assert (first.in_channels, first.out_channels) == (3, 16)
    assert (later.in_channels, later.out_channels) == (16, 20)
    assert (first.bias is None) == (norm is not None)


@pytest.mark.parametrize("norm", [BATCH, None], ids=["norm", "bias"])
@pytest.mark.parametrize(
    ("options", "size"),
    [({}, (9, 8)), ({"kernel": (1, 7)}, (9, 8)), ({"kernel": 3, "stride": 2, "padding": 0}, (4, 3))],
)
def test_units_keep_the_size_unless_told_otherwise(norm, options: dict, size: tuple[int, int]) -> None:
    unit = ConvUnit(norm)(2, 3, **options)
    output = unit(torch.randn(2, 2, 9, 8))
    assert output.shape == (2, 3, *size)
    assert (output >= 0).all()
    assert isinstance(unit, ConvNorm) == (norm is not None)
