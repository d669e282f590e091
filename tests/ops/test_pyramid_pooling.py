"""Spatial pyramid pooling against torch's adaptive pools, and the length of the notes."""

import pytest
import torch
from torch import nn

from vidi.ops.pyramid_pooling import spatial_pyramid_pool


@pytest.mark.system("5.A-SPP")
@pytest.mark.parametrize("size", [(13, 13), (7, 20), (4, 3), (1, 5)])
@pytest.mark.parametrize("levels", [(1, 2, 3, 6), (1, 2, 4)])
def test_levels_are_torchs_adaptive_max_pools(size: tuple[int, int], levels: tuple[int, ...]) -> None:
    x = torch.randn(2, 5, *size)
    expected = torch.cat([nn.AdaptiveMaxPool2d(level)(x).flatten(1) for level in levels], 1)
    assert torch.equal(spatial_pyramid_pool(x, levels), expected)


@pytest.mark.system("5.A-SPP", "B5.12")
def test_the_length_does_not_depend_on_the_size() -> None:
    for size in ((13, 13), (31, 8)):
        assert spatial_pyramid_pool(torch.zeros(1, 256, *size)).shape == (1, 12_800)


@pytest.mark.parametrize("levels", [(), (0, 2)])
def test_no_levels(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        spatial_pyramid_pool(torch.zeros(1, 2, 4, 4), levels)
    with pytest.raises(ValueError, match="at least 1"):
        spatial_pyramid_pool(torch.zeros(1, 2, 0, 4))
