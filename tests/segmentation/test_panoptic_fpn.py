"""The stuff branch of Panoptic FPN and its merging, recomputed step by step."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import EXACT, assert_close
from tests.parity.networks import randomise
from vidi.segmentation.panoptic_fpn import StuffBranch, merge_things_over_stuff


def pyramid() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    return [torch.randn(2, 8, *size, dtype=torch.float64, generator=generator) for size in sizes]


@pytest.mark.system("5.3.1-PANFPN")
def test_the_stuff_branch_is_the_sum_of_enlarged_maps() -> None:
    """Convolution, group norm of 32 groups, ReLU, bilinear x2: 3, 2, 1 times; P2 once without; 1x1; x4."""
    branch: Any = StuffBranch(8, 5, channels=32).double()
    randomise(branch)
    found = branch(pyramid())
    total = torch.zeros(2, 32, 16, 24, dtype=torch.float64)
    for level, (x, stages) in enumerate(zip(pyramid(), branch.branches, strict=True)):
        assert len(stages) == (1, 1, 2, 3)[level]
        for stage in stages:
            convolution, norm = stage[0], stage[1]
            assert convolution.bias is None
            assert (norm.num_groups, norm.eps) == (32, 1e-5)
            x = F.relu(F.group_norm(F.conv2d(x, convolution.weight, padding=1), 32, norm.weight, norm.bias))
            if level > 0:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    scores = (
        torch.einsum("sc,bchw->bshw", branch.predict.weight[:, :, 0, 0], total) + branch.predict.bias[:, None, None]
    )
    assert_close(found, F.interpolate(scores, (64, 96), mode="bilinear", align_corners=False), EXACT)
    assert found.shape == (2, 6, 64, 96)  # five classes and "other"


@pytest.mark.system("5.3.1-PANFPN")
def test_the_papers_branch_has_128_channels() -> None:
    branch = StuffBranch(256, 53)
    convolutions = [
        module for module in branch.modules() if isinstance(module, nn.Conv2d) and module.kernel_size[0] == 3
    ]
    assert {module.out_channels for module in convolutions} == {128}
    assert len(convolutions) == 7
    assert branch.predict.out_channels == 54


def test_maps_that_do_not_halve_are_refused() -> None:
    branch = StuffBranch(8, 5, channels=32).double()
    with pytest.raises(ValueError, match="expected 4 that halve from one to the next"):
        branch(pyramid()[:3])
    with pytest.raises(ValueError, match="expected 4 that halve"):
        branch([F.pad(level, (0, 1)) for level in pyramid()])


def slow(
    masks: np.ndarray, scores: np.ndarray, labels: np.ndarray, stuff: np.ndarray, least: int
) -> tuple[np.ndarray, list[tuple[int, bool]]]:
    """Pixel by pixel, after detectron2's description of the heuristic."""
    H, W = stuff.shape
    ids, kinds = np.zeros((H, W), int), []
    for row in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
        if scores[row] < 0.5:
            continue
        pixels = [(y, x) for y in range(H) for x in range(W) if masks[row, y, x]]
        free = [(y, x) for y, x in pixels if ids[y, x] == 0]
        if not pixels or (len(pixels) - len(free)) / len(pixels) > 0.5:
            continue
        kinds.append((int(labels[row]), True))
        for y, x in free:
            ids[y, x] = len(kinds)
    for label in sorted(set(stuff.ravel().tolist())):
        rest = [(y, x) for y in range(H) for x in range(W) if stuff[y, x] == label and ids[y, x] == 0]
        if label < 0 or len(rest) < least:
            continue
        kinds.append((label, False))
        for y, x in rest:
            ids[y, x] = len(kinds)
    return ids, kinds


@pytest.mark.system("5.3.1-MERGE")
@pytest.mark.parametrize("seed", range(5))
def test_merging_equals_slow_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = np.zeros((8, 20, 24), bool)
    for mask in masks[:-1]:
        y, x, h, w = generator.integers(0, (14, 16, 12, 14))
        mask[y : y + h + 2, x : x + w + 2] = True
    scores, labels = generator.random(8), generator.integers(0, 4, 8)
    stuff = np.repeat(np.repeat(generator.integers(-1, 3, (4, 4)), 5, 0), 6, 1)
    expected, kinds = slow(masks, scores, labels, stuff, 30)
    ids, segments = merge_things_over_stuff(
        *(torch.from_numpy(value) for value in (masks, scores, labels, stuff)), least_stuff=30
    )
    assert np.array_equal(ids.numpy(), expected)
    assert [(s.label, s.is_thing) for s in segments] == kinds
    assert [s.id for s in segments] == list(range(1, len(kinds) + 1))


@pytest.mark.system("5.3.1-MERGE", "B5.16")
def test_things_override_stuff_and_the_surest_thing_others() -> None:
    masks = torch.tensor([[[1, 1, 1, 0, 0, 0]], [[0, 0, 1, 1, 0, 0]], [[1, 1, 0, 0, 0, 0]]], dtype=torch.bool)
    scores, labels = torch.tensor([0.7, 0.9, 0.6]), torch.tensor([0, 1, 2])
    stuff = torch.tensor([[5, 5, 5, 5, 5, -1]])
    ids, segments = merge_things_over_stuff(masks, scores, labels, stuff, least_stuff=1)
    assert ids.tolist() == [[2, 2, 1, 1, 3, 0]]  # the third thing is hidden by the first
    assert [(s.label, s.is_thing, round(s.score, 2)) for s in segments] == [
        (1, True, 0.9),
        (0, True, 0.7),
        (5, False, 1),
    ]
    half = torch.tensor([[[1, 1, 0, 0, 0, 0]], [[0, 1, 1, 0, 0, 0]]], dtype=torch.bool)
    ids, _ = merge_things_over_stuff(half, torch.tensor([0.9, 0.5]), labels[:2], stuff, least_stuff=3)
    assert ids.tolist() == [[1, 1, 2, 0, 0, 0]]  # half of it is left, and 0.5 is enough; two pixels of stuff are not
    ids, segments = merge_things_over_stuff(masks[:0], scores[:0], labels[:0], stuff, least_stuff=5)
    assert ids.tolist() == [[1, 1, 1, 1, 1, 0]]


@pytest.mark.system("5.3.1-MERGE")
def test_thresholds_are_the_authors() -> None:
    """detectron2: 0.5 of the score, 0.5 of the overlap, 4,096 pixels of stuff."""
    stuff = torch.zeros(64, 64, dtype=torch.int64)
    nothing = torch.zeros(0, 64, 64, dtype=torch.bool), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert len(merge_things_over_stuff(*nothing, stuff)[1]) == 1
    stuff[0, 0] = -1
    assert not merge_things_over_stuff(*nothing, stuff)[1]
