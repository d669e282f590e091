"""Inception, Inception-ResNet and ResNeXt as split, transform, merge; the two forms of a ResNeXt block; its width."""

from functools import partial
from typing import Any

import pytest
import torch
from timm.models.inception_resnet_v2 import Block17, Block35
from torch import Tensor, nn
from torchvision.models.googlenet import Inception
from torchvision.models.resnet import Bottleneck as Reference

from tests.closeness import assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones.googlenet import InceptionModule, Widths
from vidi.backbones.inception_resnet import InceptionResNetA, InceptionResNetB
from vidi.backbones.resnet import Bottleneck, Projection
from vidi.figures.split_transform_merge import (
    Residual,
    ResNeXtBlock,
    SplitTransformMerge,
    block_weights,
    branches_to_grouped,
    equal_cost_width,
    grouped_to_branches,
    stack_inputs,
    stack_outputs,
)
from vidi.nn.branches import ConvUnit
from vidi.nn.normalization import norm_layer
from vidi.ops.convolution import convolve, grouped_convolve
from vidi.weights.renaming import renamed

BATCH = norm_layer("batch")
BLOCK = {
    "conv*.weight": "conv*.weight",
    "bn*.*": "norm*.*",
    "downsample.0.weight": "skip.conv.weight",
    "downsample.1.*": "skip.norm.*",
}  # torchvision's names
EXACT = 1e-12  # B2.9


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def children(module: nn.Module, *names: str) -> list[nn.Module]:
    return [module.get_submodule(name) for name in names]


def assert_equal_maps(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Compare two modules that share their layers, in evaluation."""
    assert_close(ours.double().eval()(x), theirs.double().eval()(x), EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# The frame


@pytest.mark.system("2.3-SPLITMERGE")
def test_inception_is_four_transforms_side_by_side() -> None:
    theirs = Inception(16, 8, 6, 12, 4, 8, 5)
    randomise(theirs)
    ours = SplitTransformMerge(children(theirs, "branch1", "branch2", "branch3", "branch4"), merge="concat")
    x = draw(2, 16, 7, 6)
    assert_equal_maps(ours, theirs, x)
    assert ours(x).shape == (2, 8 + 12 + 8 + 5, 7, 6)

    module = InceptionModule(16, Widths(8, 6, 12, 4, 8, 5), unit=ConvUnit(BATCH))
    randomise(module)
    assert_equal_maps(SplitTransformMerge(module.children(), merge="concat"), module, x)


@pytest.mark.system("2.3-SPLITMERGE")
@pytest.mark.parametrize(
    ("block", "channels", "branches"),
    [(Block35, 320, ("branch0", "branch1", "branch2")), (Block17, 1088, ("branch0", "branch1"))],
    ids=["A", "B"],
)
def test_inception_resnet_adds_a_projection_of_the_concatenation(
    block: type[nn.Module], channels: int, branches: tuple[str, ...]
) -> None:
    theirs = block(scale=0.17)
    randomise(theirs)
    merged = SplitTransformMerge(children(theirs, *branches), merge="concat")
    branch = nn.Sequential(merged, *children(theirs, "conv2d"))
    assert_equal_maps(nn.Sequential(Residual(branch, scale=0.17), nn.ReLU()), theirs, draw(1, channels, 5, 6))


@pytest.mark.system("2.3-SPLITMERGE")
@pytest.mark.parametrize(("block", "channels"), [(InceptionResNetA, 32), (InceptionResNetB, 108)], ids=["A", "B"])
def test_our_inception_resnet_blocks_in_the_same_frame(block: Any, channels: int) -> None:
    ours = block(ConvUnit(BATCH, 1, 10), 0.2)
    randomise(ours)
    branch = nn.Sequential(SplitTransformMerge(ours.branches.children(), merge="concat"), ours.linear)
    assert_equal_maps(nn.Sequential(Residual(branch, scale=0.2), nn.ReLU()), ours, draw(1, channels, 5, 6))


@pytest.mark.system("2.3-SPLITMERGE")
def test_resnext_adds_the_sum_of_its_transforms() -> None:
    block = ResNeXtBlock(32, 8, branches=4, branch_width=2, skip=nn.Identity(), norm=BATCH)
    randomise(block)
    branch = nn.Sequential(block.branches, block.norm3)
    assert_equal_maps(nn.Sequential(Residual(branch), nn.ReLU()), block, draw(2, 32, 5, 4))


@pytest.mark.system("2.3-SPLITMERGE", "2.3-GROUPCONV")
def test_a_grouped_convolution_transforms_chunks() -> None:
    theirs = nn.Conv2d(12, 20, 3, padding=1, groups=4, bias=False)
    layers = [nn.Conv2d(3, 5, 3, padding=1, bias=False) for _ in range(4)]
    for layer, weight in zip(layers, theirs.weight.chunk(4), strict=True):
        layer.weight = nn.Parameter(weight)
    assert_equal_maps(SplitTransformMerge(layers, split="chunks", merge="concat"), theirs, draw(2, 12, 5, 6))


@pytest.mark.parametrize(
    "arguments", [{"merge": "product"}, {"merge": "sum", "split": "half"}, {"merge": "sum", "transforms": []}], ids=str
)
def test_wrong_arguments_of_the_frame(arguments: dict) -> None:
    with pytest.raises((ValueError, TypeError), match=r"expected|Expected"):
        SplitTransformMerge(**{"transforms": [nn.Identity()], **arguments})


def test_channels_that_cannot_be_cut_equally() -> None:
    frame = SplitTransformMerge([nn.Identity() for _ in range(3)], split="chunks", merge="sum")
    with pytest.raises(ValueError, match="7 channels, expected a multiple of 3"):
        frame(draw(1, 7, 2, 2))


# ----------------------------------------------------------------------------------------------------------------------
# The three equivalences


@pytest.mark.system("2.3-EQ-LAST", "B2.9")
@pytest.mark.parametrize("groups", [2, 5])
def test_a_sum_of_1x1_convolutions_is_one_of_the_concatenation(groups: int) -> None:
    weights = [draw(16, 3, 1, 1) for _ in range(groups)]
    activations = [draw(2, 3, 5, 4) for _ in range(groups)]
    branches = torch.stack([convolve(a, w) for a, w in zip(activations, weights, strict=True)]).sum(0)
    joined = convolve(torch.cat(activations, 1), stack_inputs(weights))
    assert_close(joined, branches, EXACT)


@pytest.mark.system("2.3-EQ-FIRST", "B2.9")
@pytest.mark.parametrize("groups", [2, 5])
def test_1x1_convolutions_of_one_input_are_one_that_is_split_afterwards(groups: int) -> None:
    x, weights = draw(2, 16, 5, 4), [draw(3, 16, 1, 1) for _ in range(groups)]
    parts = convolve(x, stack_outputs(weights)).chunk(groups, 1)
    for part, weight in zip(parts, weights, strict=True):
        assert_close(part, convolve(x, weight), EXACT)


@pytest.mark.system("2.3-EQ-MID", "B2.9")
@pytest.mark.parametrize("groups", [2, 5])
def test_3x3_convolutions_of_a_branch_each_are_a_grouped_one(groups: int) -> None:
    weights = [draw(3, 3, 3, 3) for _ in range(groups)]
    activations = [draw(2, 3, 5, 4) for _ in range(groups)]
    branches = [convolve(a, w, padding=1) for a, w in zip(activations, weights, strict=True)]
    joined = grouped_convolve(torch.cat(activations, 1), stack_outputs(weights), groups, padding=1)
    assert_close(joined, torch.cat(branches, 1), EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# The block in both forms


@pytest.mark.system("2.3-RESNEXT", "2.3-EQ-FIRST", "2.3-EQ-MID", "2.3-EQ-LAST")
@pytest.mark.parametrize("training", [True, False])
def test_branches_equal_torchvisions_grouped_bottleneck(training: bool) -> None:
    """ResNeXt-50 (32 x 4d)'s first stage: outputs, gradients of every weight and running statistics."""
    ours = ResNeXtBlock(256, 64, branches=32, branch_width=4, skip=nn.Identity(), norm=BATCH)
    theirs = Reference(256, 64, groups=32, base_width=4)
    x = draw(2, 256, 5, 6)
    rename = lambda tensors: grouped_to_branches(renamed(tensors, BLOCK), 32)  # noqa: E731
    assert_same_training(ours, theirs, rename, lambda block: block(x), training=training)
    assert ours(x).shape == x.shape


@pytest.mark.system("2.3-RESNEXT")
def test_branches_with_stride_and_projection_equal_torchvisions() -> None:
    skip = Projection(32, 64, 2, BATCH)
    ours = ResNeXtBlock(32, 16, branches=8, branch_width=4, skip=skip, norm=BATCH, stride=2)
    downsample = nn.Sequential(nn.Conv2d(32, 64, 1, 2, bias=False), nn.BatchNorm2d(64))
    theirs = Reference(32, 16, 2, downsample, groups=8, base_width=16)
    rename = lambda tensors: grouped_to_branches(renamed(tensors, BLOCK), 8)  # noqa: E731
    x = draw(2, 32, 7, 6)
    assert_same_training(ours, theirs, rename, lambda block: block(x), training=True)


@pytest.mark.system("2.3-EQ-MID", "2.3-RESNEXT", "B2.9")
@pytest.mark.parametrize(("groups", "width_per_group"), [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4)])
def test_either_form_takes_the_weights_of_the_other(groups: int, width_per_group: int) -> None:
    grouped = Bottleneck(256, 64, skip=nn.Identity(), norm=BATCH, groups=groups, width_per_group=width_per_group)
    make = partial(ResNeXtBlock, 256, 64, branches=groups, branch_width=width_per_group, norm=BATCH)
    branches = make(skip=nn.Identity())
    randomise(grouped)
    state = grouped.state_dict()
    branches.load_state_dict(grouped_to_branches(state, groups))
    assert_equal_maps(branches, grouped, draw(1, 256, 4, 3))

    back = branches_to_grouped(branches.state_dict())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())


@pytest.mark.system("2.3-EQ-LAST")
def test_concatenating_before_the_last_1x1_gives_the_same() -> None:
    """Figure 3b of the paper: the form in between, which looks like Inception-ResNet."""
    block = ResNeXtBlock(32, 8, branches=4, branch_width=2, skip=nn.Identity(), norm=BATCH)
    randomise(block)
    first = [nn.Sequential(b.conv1, b.norm1, nn.ReLU(), b.conv2, b.norm2, nn.ReLU()) for b in block.branches.transforms]  # type: ignore[arg-type]
    last = nn.Conv2d(8, 32, 1, bias=False)
    last.weight = nn.Parameter(stack_inputs([b.conv3.weight for b in block.branches.transforms]))  # type: ignore[union-attr]
    branch = nn.Sequential(SplitTransformMerge(first, merge="concat"), last, block.norm3)
    assert_equal_maps(nn.Sequential(Residual(branch), nn.ReLU()), block, draw(2, 32, 5, 4))


def test_groups_that_do_not_divide_the_channels() -> None:
    state = Bottleneck(64, 16, skip=nn.Identity(), norm=BATCH).state_dict()
    with pytest.raises(ValueError, match=r"3 groups, but conv1\.weight has 16"):
        grouped_to_branches(state, 3)


# ----------------------------------------------------------------------------------------------------------------------
# Width


@pytest.mark.system("B2.7", "2.3-DSOLVE")
@pytest.mark.parametrize(
    ("groups", "width", "weights"),
    [(1, 64, 69_632), (2, 40, 69_760), (4, 24, 69_888), (8, 14, 71_456), (32, 4, 70_144)],
)
def test_weights_of_a_block(groups: int, width: int, weights: int) -> None:
    block = ResNeXtBlock(256, 64, branches=groups, branch_width=width, skip=nn.Identity(), norm=BATCH)
    counted = sum(m.weight.numel() for m in block.modules() if isinstance(m, nn.Conv2d))
    assert counted == block_weights(groups, width) == weights


@pytest.mark.system("B2.8", "2.3-DSOLVE")
@pytest.mark.parametrize(
    ("groups", "width", "rounded"),
    [(1, 64, 64), (2, 39.948, 40), (4, 23.932, 24), (8, 13.701, 14), (16, 7.509, 8), (32, 3.973, 4)],
)
def test_width_at_the_cost_of_the_bottleneck(groups: int, width: float, rounded: int) -> None:
    """G (9 d^2 + 8 C d) = 17 C^2, in full (C2.7)."""
    solved = equal_cost_width(groups)
    assert solved == pytest.approx(width, abs=5e-4)
    assert round(solved) == rounded
    assert groups * (9 * solved**2 + 512 * solved) == pytest.approx(69_632, rel=1e-12)
    assert equal_cost_width(groups, cost=69_632) == solved


@pytest.mark.system("2.3-DSOLVE")
@pytest.mark.parametrize("width", [32, 128])
def test_the_solution_grows_with_the_block(width: int) -> None:
    bottleneck = Bottleneck(4 * width, width, skip=nn.Identity(), norm=BATCH)
    cost = sum(m.weight.numel() for m in bottleneck.modules() if isinstance(m, nn.Conv2d))
    assert block_weights(8, equal_cost_width(8, width), width) == pytest.approx(cost, rel=1e-12)
    assert equal_cost_width(1, width) == pytest.approx(width)
