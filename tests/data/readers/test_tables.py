"""Flat storage, box rules and run lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.flat import Names, Ragged
from vidi.data.readers.mask_table import MaskTable, parse_segmentation, run_lengths


def test_ragged_rows_and_names_come_back():
    rows = [[1.5, 2], [], [3]]
    ragged = Ragged.pack(rows, np.float32)
    assert [row.tolist() for row in (ragged[0], ragged[1], ragged[2])] == rows
    assert ragged[0].base is ragged.values
    assert len(Ragged.pack([], np.float32, (4,))) == 0
    assert Ragged.pack([[[1, 2, 3, 4]], []], np.int64, (4,))[1].shape == (0, 4)
    names = Names(["a/ü.jpg", "", "b\udcff.png"])  # the last is no UTF-8: file systems allow it
    assert [names[index] for index in range(len(names))] == ["a/ü.jpg", "", "b\udcff.png"]


def test_boxes_are_sorted_by_image_and_selected():
    rows = [
        BoxRow(image, (0.0, 0.0, float(row + 1), 1.0), row, False, 1.0) for row, image in enumerate([2, 0, 1, 0, 2])
    ]
    table = BoxTable.pack(rows, np.array([True, True, True, True]))
    assert [table.target(image, (9, 9))["labels"].tolist() for image in range(4)] == [[1, 3], [2], [0, 4], []]
    selected = BoxTable.pack(rows, np.array([True, False, True]))
    assert [selected.target(image, (9, 9))["labels"].tolist() for image in range(2)] == [[1, 3], [0, 4]]
    assert selected.order.tolist() == [1, 3, 0, 4]
    assert selected.boxes[:, 2].tolist() == [2, 4, 1, 5]
    assert BoxTable.pack([], np.array([True])).target(0, (9, 9))["boxes"].shape == (0, 4)


def test_boxes_in_fractions_of_the_image():
    table = BoxTable.pack([BoxRow(0, (0.25, 0.5, 0.5, 1.0), 0, False, 0.125)], np.array([True]))
    target = table.target(0, (10, 40), (10, 40))
    assert target["boxes"].tolist() == [[10, 5, 20, 10]]
    assert target["boxes"].canvas_size == (10, 40)
    assert target["areas"].tolist() == [50]
    plain = table.target(0, (10, 40))
    assert (plain["boxes"].tolist(), plain["areas"].tolist()) == ([[0.25, 0.5, 0.5, 1]], [0.125])


def test_box_rules():
    assert clip_box((1.0, 2.0, 3.0, 4.0), (10, 20)) == ((1.0, 2.0, 3.0, 4.0), "")
    assert clip_box((-1.0, 0.0, 20.5, 10.0), (10, 20)) == ((0.0, 0.0, 20.0, 10.0), "")
    clipped, remark = clip_box((-1.5, 0.0, 20.5, 12.0), (10, 20))
    assert clipped == (0.0, 0.0, 20.0, 10.0)
    assert "reaches 2 px over the border" in remark
    for box, message in [
        ((3.0, 2.0, 3.0, 4.0), "no size"),
        ((3.0, 5.0, 4.0, 4.0), "no size"),
        ((3.0, 4.0, 4.0, 4.0), "no size"),
        ((20.0, 0.0, 25.0, 5.0), "outside the image of 20 x 10"),
        ((-5.0, 0.0, 0.0, 5.0), "outside"),
        ((0.0, 0.0, float("inf"), 5.0), "not finite"),
        ((float("nan"), 0.0, 1.0, 5.0), "not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            clip_box(box, (10, 20))


@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40), density=st.floats(0, 1))
def test_run_lengths_are_those_that_pycocotools_wrote(seed, height, width, density):
    mask = np.random.default_rng(seed).random((height, width)) < density
    run = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert isinstance(run, bytes)
    lengths = run_lengths(run)
    painted = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T
    assert np.array_equal(painted, mask)
    segmentation = parse_segmentation({"size": [height, width], "counts": run.decode()}, (height, width))
    assert np.array_equal(MaskTable([segmentation]).coded(slice(0, 1), (height, width))[0], mask)


def test_large_run_lengths():
    mask = np.zeros((2000, 3000), dtype=np.uint8, order="F")
    mask[:, 1500:] = 1
    run = coco_mask.encode(mask)["counts"]
    assert isinstance(run, bytes)
    assert run_lengths(run).tolist() == [3_000_000, 3_000_000]


@pytest.mark.parametrize("run", [b"", b"P", b"\x10", b"~", b"PPPPPPPPPP0"])
def test_malformed_run_lengths(run):
    with pytest.raises(ValueError, match="malformed"):
        run_lengths(run)
