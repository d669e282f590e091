"""The feature pyramid against torchvision, and the notes' two-level form against loops."""

from collections import OrderedDict
from functools import partial

import pytest
import torch
import torchvision.ops
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from tests.closeness import assert_close
from tests.parity.networks import assert_same_training
from vidi.necks.feature_pyramid import FeaturePyramid, TwoLevelMerge, upsampled_to
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_fpn import PYRAMID

CHANNELS = (6, 8, 12)
EXTRA = {
    "none": lambda: None,
    "pool": LastLevelMaxPool,
    "p6p7_from_p5": lambda: LastLevelP6P7(10, 10),
    "p6p7_from_c5": lambda: LastLevelP6P7(12, 10),
}


def maps(sizes: tuple[tuple[int, int], ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]


def flattened(network: nn.Module, inputs: list[Tensor]) -> Tensor:
    """All levels in one vector."""
    theirs = isinstance(network, torchvision.ops.FeaturePyramidNetwork)
    pyramid = network(OrderedDict(enumerate(inputs))).values() if theirs else network(inputs)
    return torch.cat([level.flatten() for level in pyramid])


@pytest.mark.system("4.3.3-FPN")
@pytest.mark.parametrize("extra", list(EXTRA))
@pytest.mark.parametrize(
    "sizes", [((16, 24), (8, 12), (4, 6)), ((17, 23), (9, 12), (5, 6)), ((3, 3), (2, 2), (1, 1))], ids=str
)
def test_equals_torchvision(extra: str, sizes: tuple[tuple[int, int], ...]) -> None:
    ours = FeaturePyramid(CHANNELS, 10, extra=extra)  # type: ignore[arg-type]
    theirs = torchvision.ops.FeaturePyramidNetwork(list(CHANNELS), 10, extra_blocks=EXTRA[extra]())
    inputs = maps(sizes)
    rename = partial(renamed, names=PYRAMID)
    assert_same_training(ours, theirs, rename, partial(flattened, inputs=inputs), training=True)
    assert [tuple(level.shape) for level in ours(inputs)] == [
        tuple(level.shape) for level in theirs(OrderedDict(enumerate(inputs))).values()
    ]


@pytest.mark.system("4.3.3-FPN")
def test_what_flows_down_is_not_smoothed() -> None:
    """C4.21: the 3x3 of a level changes that level only."""
    pyramid = FeaturePyramid(CHANNELS, 10).double()
    inputs = maps(((16, 24), (8, 12), (4, 6)))
    before = pyramid(inputs)
    nn.init.zeros_(pyramid.smooth[2].weight)  # type: ignore[arg-type]
    after = pyramid(inputs)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[2], before[2])


@pytest.mark.parametrize(
    ("extra", "expected"),
    [("none", (8, 16, 32)), ("pool", (8, 16, 32, 64)), ("p6p7_from_c5", (8, 16, 32, 64, 128))],
)
def test_strides(extra: str, expected: tuple[int, ...]) -> None:
    pyramid = FeaturePyramid(CHANNELS, 10, extra=extra)  # type: ignore[arg-type]
    assert pyramid.strides((8, 16, 32)) == expected
    inputs = [x.float() for x in maps(((32, 32), (16, 16), (8, 8)))]
    assert tuple(256 // level.shape[-1] for level in pyramid(inputs)) == expected


@pytest.mark.system("4.3.3-FPN")
def test_two_level_form_of_the_notes_against_loops() -> None:
    merge = TwoLevelMerge(3, 5).double()
    lower, upper = torch.randn(1, 3, 4, 6, dtype=torch.float64), torch.randn(1, 5, 2, 3, dtype=torch.float64)
    bias = [merge.get_parameter(f"{name}.bias") for name in ("lateral", "smooth")]
    summed = torch.zeros(5, 6, 8, dtype=torch.float64)  # a border of zeros around 4 x 6
    for row in range(4):
        for column in range(6):
            lateral = bias[0] + merge.lateral.weight[:, :, 0, 0] @ lower[0, :, row, column]
            summed[:, row + 1, column + 1] = lateral + upper[0, :, row // 2, column // 2]
    expected = torch.stack(
        [
            torch.stack(
                [
                    torch.einsum("oikl,ikl->o", merge.smooth.weight, summed[:, row : row + 3, column : column + 3])
                    for column in range(6)
                ],
                dim=-1,
            )
            for row in range(4)
        ],
        dim=-2,
    )
    received = merge(lower, upper)[0] - bias[1][:, None, None]
    assert_close(received, expected)


def test_upsampling_repeats_pixels() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(upsampled_to(x, torch.zeros(1, 9, 4, 6)), expected)


def test_initialisation_is_that_of_the_reference() -> None:
    ours = FeaturePyramid((64,), 64, extra="p6p7_from_p5")
    theirs = torchvision.ops.FeaturePyramidNetwork([64], 64, extra_blocks=LastLevelP6P7(64, 64))
    expected = renamed(theirs.state_dict(), PYRAMID)
    for name, value in ours.state_dict().items():
        if name.endswith("bias"):
            assert not value.any()
        else:
            torch.testing.assert_close(value.abs().max(), expected[name].abs().max(), rtol=0.02, atol=0)


def test_wrong_arguments() -> None:
    with pytest.raises((ValueError, TypeError), match="p6p7_from_c5"):
        FeaturePyramid(CHANNELS, extra="p6")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="received 1 maps, expected 3"):
        FeaturePyramid(CHANNELS)([torch.zeros(1, 6, 4, 4)])
