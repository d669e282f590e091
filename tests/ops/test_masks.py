"""Run-length masks against pycocotools' own area, box, overlap and decoding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from vidi.ops.masks import (
    Rle,
    boxes_of_masks,
    decode_masks,
    encode_masks,
    pack_runs,
    polygons_to_mask,
    polygons_to_rle,
    rle_areas,
    rle_boxes,
    rle_iou,
    segmentation_to_rle,
)


def random_masks(seed: int, count: int, size: tuple[int, int], share: float) -> torch.Tensor:
    """Draw masks: an upright half of speckle, a whole one, an empty one, then pure speckle."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, *size, generator=generator) < share
    if count > 2:
        masks[0, :, : size[1] // 2] = True
        masks[1] = True
        masks[2] = False
    return masks


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(st.integers(0, 2**31), st.integers(0, 6), st.integers(0, 6), sizes, st.floats(0, 1))
def test_areas_boxes_and_overlaps_equal_pycocotools(seed: int, n: int, m: int, size: tuple[int, int], share: float):
    first, second = random_masks(seed, n, size, share), random_masks(seed + 1, m, size, share)
    a, b = encode_masks(first), encode_masks(second)
    assert torch.equal(decode_masks(a, size), first)
    assert rle_areas(a).tolist() == first.flatten(1).sum(1).tolist()
    assert torch.equal(boxes_of_masks(first).double(), torch.from_numpy(rle_boxes(a)))
    if n:
        np.testing.assert_array_equal(rle_boxes(a)[:, :2], coco_mask.toBbox(a)[:, :2])  # pyright: ignore
        np.testing.assert_array_equal(np.diff(rle_boxes(a).reshape(n, 2, 2), axis=1)[:, 0], coco_mask.toBbox(a)[:, 2:])  # pyright: ignore
    crowd = np.arange(m) % 2 == 1
    ours = rle_iou(a, b, crowd)
    assert ours.shape == (n, m)
    if n and m:
        np.testing.assert_array_equal(ours, coco_mask.iou(a, b, crowd.tolist()))  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(rle_iou(pack_runs(a), pack_runs(b)), rle_iou(a, b))


def test_large_masks_need_several_characters_a_run():
    masks = torch.zeros(3, 700, 900, dtype=torch.bool)
    masks[0, 100:600, 50:800] = True
    masks[1, 300:, 400:] = True
    masks[2, ::7, ::5] = True
    rles = encode_masks(masks)
    assert rle_areas(rles).tolist() == masks.flatten(1).sum(1).tolist()
    np.testing.assert_array_equal(rle_iou(rles, rles), coco_mask.iou(rles, rles, [0, 0, 0]))  # pyright: ignore
    assert rle_boxes(rles)[1].tolist() == [400, 300, 900, 700]


def test_all_forms_of_a_segmentation():
    triangle = [[1.0, 1.0, 9.0, 1.0, 1.0, 9.0]]
    mask = polygons_to_mask(triangle, (12, 10))
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(triangle, 12, 10)))  # pyright: ignore
    np.testing.assert_array_equal(mask.numpy(), theirs)
    compressed = encode_masks(mask[None])[0]
    as_text = Rle(size=[12, 10], counts=bytes(compressed["counts"]).decode())  # pyright: ignore
    runs = np.diff(np.flatnonzero(np.diff(np.r_[2, mask.numpy().T.ravel(), 2]))).tolist()
    as_list = Rle(size=[12, 10], counts=runs)
    for form in (triangle, compressed, as_text, as_list):
        rle = segmentation_to_rle(form, (12, 10))
        assert torch.equal(decode_masks([rle], (12, 10))[0], mask)
        assert rle_areas([rle]) == mask.sum()
    assert rle_areas([as_list, as_text]).tolist() == [int(mask.sum())] * 2


def test_two_polygons_are_one_mask():
    left, right = [0.0, 0, 4, 0, 4, 4, 0, 4], [6.0, 0, 9, 0, 9, 4, 6, 4]
    both = polygons_to_mask([left, right], (6, 10))
    assert torch.equal(both, polygons_to_mask([left], (6, 10)) | polygons_to_mask([right], (6, 10)))


def test_runs_of_no_length_join_their_neighbours():
    rle = segmentation_to_rle({"size": [4, 4], "counts": [2, 3, 0, 4, 7]}, (4, 4))
    runs = pack_runs([rle])
    assert runs.intervals.tolist() == [[2, 9]]
    assert runs.areas.tolist() == [7]


def test_foreground_runs_of_no_length_are_none():
    rle = segmentation_to_rle({"size": [4, 4], "counts": [2, 0, 3, 4, 7]}, (4, 4))
    assert pack_runs([rle]).intervals.tolist() == [[5, 9]]


def test_masks_with_one_run_in_each_column_of_their_box_are_known():
    masks = torch.zeros(6, 5, 6, dtype=torch.bool)
    masks[0, 1:4, 2:5] = True  # a rectangle
    masks[1, :, 2:4] = True  # full columns are one run
    masks[2, 1, 1] = masks[2, 3, 1] = True  # two in a column
    masks[3, 2, 1] = masks[3, 2, 3] = True  # a column between without one
    masks[4, :2, 3] = masks[4, 3:, 4] = True
    assert pack_runs(encode_masks(masks)).by_column.tolist() == [True, False, False, False, True, True]


def test_boxes_share_their_overlap_or_nothing():
    from vidi.ops.mask_kernels import box_area_shared

    box = np.array([1, 2, 6, 9])
    for other, area in (
        ([3, 4, 9, 7], 9),
        ([0, 0, 2, 20], 7),
        ([6, 2, 8, 9], 0),
        ([7, 10, 9, 12], 0),
        ([2, 3, 4, 5], 4),
    ):
        assert box_area_shared(box, np.array(other)) == area


def test_masks_touching_the_next_column_span_its_height():
    mask = torch.zeros(1, 5, 4, dtype=torch.bool)
    mask[0, 4, 1] = mask[0, 0, 2] = True  # one run of two pixels
    assert rle_boxes(encode_masks(mask)).tolist() == [[1, 0, 3, 5]]


def test_wrong_masks_are_refused_with_reasons():
    square = encode_masks(torch.ones(1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask 0 has size \(4, 4\), expected \(H, W\) = \(4, 5\)"):
        decode_masks(square, (4, 5))
    with pytest.raises(ValueError, match="different sizes"):
        rle_iou(square, encode_masks(torch.ones(1, 4, 5, dtype=torch.bool)))
    with pytest.raises(ValueError, match=r"expected \(H, W\) = \(5, 5\)"):
        segmentation_to_rle(square[0], (5, 5))
    with pytest.raises(ValueError, match="at least three corners"):
        polygons_to_rle([[0.0, 0, 1, 1]], (4, 4))
    with pytest.raises(ValueError, match="not finite"):
        polygons_to_rle([[0.0, 0, 1, 1, float("nan"), 3]], (4, 4))
    with pytest.raises(ValueError, match="at least one polygon"):
        polygons_to_rle([], (4, 4))
    with pytest.raises(TypeError, match="received str"):
        segmentation_to_rle("0" * 8, (4, 4))
    for counts in (b"0\x7f", b"0P", b"0o1", b"0" + b"o" * 12):
        with pytest.raises(ValueError, match="mask 1: run lengths are malformed"):
            pack_runs([square[0], Rle(size=[4, 4], counts=counts)])
    with pytest.raises(ValueError, match=r"2\^31"):
        pack_runs([Rle(size=[2**16, 2**15], counts=b"0")])


def test_no_masks_at_all():
    nothing = torch.zeros(0, 4, 5, dtype=torch.bool)
    assert encode_masks(nothing) == []
    assert decode_masks([], (4, 5)).shape == (0, 4, 5)
    assert boxes_of_masks(nothing).shape == (0, 4)
    assert rle_boxes([]).shape == (0, 4)
    assert rle_iou([], encode_masks(torch.ones(2, 4, 5, dtype=torch.bool))).shape == (0, 2)
