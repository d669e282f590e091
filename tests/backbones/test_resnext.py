"""ResNeXt as a network: by branches, by groups, and what groups cost."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.parity.networks import randomise
from vidi.backbones.resnet import Projection, trunk
from vidi.figures.split_transform_merge import ResNeXtBlock, grouped_to_branches
from vidi.nn.normalization import norm_layer

BATCH = norm_layer("batch")


def by_branches(block: Any) -> ResNeXtBlock:
    """Build the branch form of a block of ResNeXt-50 (32 x 4d), with its weights."""
    conv = block.conv2
    projects = isinstance(block.skip, Projection)
    in_channels, out_channels = block.conv1.in_channels, block.conv3.out_channels
    skip = Projection(in_channels, out_channels, conv.stride[0], BATCH) if projects else nn.Identity()
    form = ResNeXtBlock(
        in_channels,
        out_channels // 4,
        branches=conv.groups,
        branch_width=conv.in_channels // conv.groups,
        skip=skip,
        norm=BATCH,
        stride=conv.stride[0],
    )
    form.double().load_state_dict(grouped_to_branches(block.state_dict(), conv.groups))
    return form.eval()


@pytest.mark.system("2.3-NET", "2.3-EQ-MID")
def test_the_network_by_branches_gives_the_same_maps() -> None:
    network = trunk("resnext50_32x4d", width=16).double().eval()
    randomise(network)
    images = torch.randn(1, 3, 64, 48, dtype=torch.float64)
    x = network.stem(images)
    stages = (network.stage1, network.stage2, network.stage3, network.stage4)
    for stage, expected in zip(stages, network.features(images), strict=True):
        x = nn.Sequential(*map(by_branches, stage))(x)
        torch.testing.assert_close(x, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.system("2.3-NET")
@pytest.mark.parametrize(
    ("name", "groups", "width"), [("resnext50_32x4d", 32, 4), ("resnext101_32x8d", 32, 8), ("resnext101_64x4d", 64, 4)]
)
def test_the_name_says_groups_and_width(name: str, groups: int, width: int) -> None:
    """The width doubles from stage to stage, the number of groups stays."""
    with torch.device("meta"):
        network = trunk(name)
    for index, stage in enumerate((network.stage1, network.stage2, network.stage3, network.stage4)):
        for block in stage:
            conv = block.get_submodule("conv2")
            assert isinstance(conv, nn.Conv2d)
            assert (conv.groups, conv.in_channels // conv.groups) == (groups, width * 2**index)


@pytest.mark.system("2.3-NET")
def test_about_as_large_as_the_network_without_groups() -> None:
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in trunk(name).parameters()) for name in ("resnet50", "resnext50_32x4d")]
    assert sizes[1] / sizes[0] == pytest.approx(1, abs=0.03)
