"""Coded masks: their strings are COCO's, and what they show of a moved picture is what torchvision moves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as geometry

from vidi.keys import resizing, shifting
from vidi.ops.masks import CodedMasks, Rle, as_strings, encode_masks, has_pixels, pack_runs

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def draw(seed: int, count: int, size: tuple[int, int], share: float = 0.5) -> Tensor:
    masks = torch.rand(count, *size, generator=torch.Generator().manual_seed(seed)) < share
    masks[:1] = True
    masks[1:2] = False
    return masks


@given(st.integers(0, 2**31), st.integers(0, 4), sizes, st.floats(0, 1))
def test_strings_are_pycocotools(seed: int, count: int, size: tuple[int, int], share: float) -> None:
    masks = draw(seed, count, size, share)
    expected = [coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"] for mask in masks]
    coded = CodedMasks.of(masks)
    assert list(coded.runs) == expected
    runs = pack_runs([Rle(size=size, counts=text) for text in expected])
    assert as_strings(runs.intervals, runs.offsets, size) == expected
    assert coded.shape == tuple(masks.shape)
    assert torch.equal(coded.dense().view(torch.uint8), masks.view(torch.uint8))  # the bytes of true and false
    assert coded.areas().tolist() == masks.flatten(1).sum(1).tolist()
    assert [rle["counts"] for rle in coded.rles()] == expected


def test_long_runs_need_several_characters() -> None:
    masks = torch.zeros(2, 700, 900, dtype=torch.bool)
    masks[0, 100:600, 50:800] = True
    masks[0, :, 850:870] = True
    masks[1, -1, -1] = True
    runs = pack_runs(encode_masks(masks))
    texts = as_strings(runs.intervals, runs.offsets, (700, 900))
    assert texts == [rle["counts"] for rle in encode_masks(masks)]
    assert torch.equal(CodedMasks(texts, (700, 900)).dense(), masks)


def test_rows_are_chosen_as_in_a_tensor() -> None:
    masks = draw(0, 5, (6, 7))
    coded = CodedMasks.of(masks)
    assert torch.equal(coded[3], masks[3])
    assert torch.equal(coded[torch.tensor(-1)], masks[-1])
    assert torch.equal(torch.stack(list(coded)), masks)
    for rows in (slice(1, 4), torch.tensor([4, 0, 4]), masks.flatten(1).any(1), torch.zeros(5, dtype=torch.bool)):
        chosen = coded[rows]
        assert isinstance(chosen, CodedMasks)
        assert torch.equal(chosen.dense(), masks[rows])
    with pytest.raises(IndexError):
        coded[5]


def test_masks_with_a_pixel_are_told_apart_in_either_form() -> None:
    masks = torch.zeros(3, 4, 5, dtype=torch.bool)
    masks[0] = True
    masks[2, 3, 4] = True
    assert has_pixels(masks).tolist() == has_pixels(CodedMasks.of(masks)).tolist() == [True, False, True]


@pytest.mark.parametrize("size", [(6, 7), (12, 14), (3, 5), (31, 8), (1, 1), (200, 140)])
def test_a_resized_picture_shows_the_pixel_whose_centre_is_nearest(size: tuple[int, int]) -> None:
    masks = draw(1, 4, (12, 14))
    expected = geometry.resize(tv_tensors.Mask(masks), list(size), interpolation=InterpolationMode.NEAREST_EXACT)
    moved = CodedMasks.of(masks).moved(resizing((12, 14), size), size)
    assert moved.shape == (4, *size)
    assert torch.equal(moved.dense(), expected.as_subclass(Tensor))
    assert moved.areas().tolist() == expected.flatten(1).sum(1).tolist()
    assert moved.settled().runs == CodedMasks.of(expected.as_subclass(Tensor)).runs
    assert moved.rles() == encode_masks(expected)
    assert moved[1:].shape == (3, *size)
    assert torch.equal(moved[2], expected[2].as_subclass(Tensor))


def test_large_reductions_keep_their_phase() -> None:
    """A factor whose inverse is no number of the machine must not put centres into the pixels before."""
    masks = draw(2, 3, (60, 42))
    for size in ((10, 7), (20, 14), (12, 6)):
        expected = geometry.resize(tv_tensors.Mask(masks), list(size), interpolation=InterpolationMode.NEAREST_EXACT)
        assert torch.equal(CodedMasks.of(masks).moved(resizing((60, 42), size), size).dense(), expected)


def test_crops_mirrors_and_quarter_turns_in_a_row() -> None:
    masks = draw(3, 4, (8, 5))
    moved = CodedMasks.of(masks)
    expected: Tensor = masks
    for movement, size, change in (
        (torch.tensor([[-1.0, 0, 5], [0, 1, 0], [0, 0, 1]]), (8, 5), lambda x: x.flip(2)),
        (torch.tensor([[1.0, 0, 0], [0, -1, 8], [0, 0, 1]]), (8, 5), lambda x: x.flip(1)),
        (torch.tensor([[0.0, 1, 0], [-1, 0, 5], [0, 0, 1]]), (5, 8), lambda x: torch.rot90(x, 1, (1, 2))),
        (shifting(1, 2), (4, 5), lambda x: x[:, 1:5, 2:7]),
        (torch.tensor([[0.0, -1, 4], [1, 0, 0], [0, 0, 1]]), (5, 4), lambda x: torch.rot90(x, -1, (1, 2))),
        (shifting(-2, -1), (9, 6), lambda x: torch.nn.functional.pad(x, (1, 1, 2, 2))),
    ):
        moved, expected = moved.moved(movement, size), change(expected)
        assert torch.equal(moved.dense(), expected), movement
        assert moved.areas().tolist() == expected.flatten(1).sum(1).tolist()
        assert moved.settled().runs == CodedMasks.of(expected).runs


def test_a_picture_that_has_left_shows_nothing() -> None:
    coded = CodedMasks.of(torch.ones(2, 4, 4, dtype=torch.bool))
    for top, left in ((9, 0), (-9, 0), (0, 9), (0, -9)):
        moved = coded.moved(shifting(top, left), (4, 4))
        assert not moved.dense().any()
        assert moved.areas().tolist() == [0, 0]
        assert not moved.settled().dense().any()


def test_what_cannot_be_followed_is_refused() -> None:
    coded = CodedMasks.of(draw(0, 1, (4, 4)))
    with pytest.raises(ValueError, match="turns or shears"):
        coded.moved(torch.tensor([[1.0, 0.1, 0], [0, 1, 0], [0, 0, 1]]), (4, 4))
    with pytest.raises(ValueError, match=r"size \(4, 4\), expected \(H, W\) = \(5, 4\)"):
        CodedMasks.of_rles(coded.rles(), (5, 4))
