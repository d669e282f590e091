"""Boxes that cannot be meant, counted by hand."""

from typing import Any

import torch
from torchvision import tv_tensors

from vidi.data.box_rules import BoxCounts


def target(boxes: list[list[float]], size: tuple[int, int] = (40, 60), **more: Any) -> dict[str, Any]:
    rows = torch.tensor(boxes).reshape(-1, 4)
    frame = tv_tensors.BoundingBoxes(rows, format="XYXY", canvas_size=size)  # type: ignore[call-arg]
    return {"boxes": frame, **more}


def test_counts_of_one_image() -> None:
    boxes = [[0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 5, 6], [3, 3, 3.5, 20], [9, 9, 20, 10], [0, 0.5, 1, 1]]
    labels, crowd = torch.tensor([1, 1, 0, 1, 1, 1, 1]), torch.tensor([True, False, False, False, False, False, False])
    counts = BoxCounts.of(target(boxes, labels=labels, crowd=crowd))
    assert counts == BoxCounts(boxes=7, objects=6, fractions=1, slivers=2, repeated=1)
    assert BoxCounts.of(target(boxes)) == BoxCounts(boxes=7, objects=7, fractions=1, slivers=2, repeated=2)
    assert BoxCounts.of(target([])) == BoxCounts()
    assert BoxCounts.of({"label": torch.tensor(1)}) == BoxCounts()


def test_counts_add_up() -> None:
    assert BoxCounts(1, 2, 3, 4, 5) + BoxCounts(10, 20, 30, 40, 50) == BoxCounts(11, 22, 33, 44, 55)


def test_fractions_are_a_fault_where_no_box_is_larger() -> None:
    few = BoxCounts.of(target([[0.1, 0.2, 0.4, 0.6], [0, 0, 1, 1]]))
    assert few.are_fractions
    assert [str(fault) for fault in few.faults("a.json")] == [
        "a.json: all 2 boxes lie inside the first pixel of their picture, as fractions of it would; expected pixels"
    ]
    mixed = few + BoxCounts.of(target([[0.1, 0.2, 0.4, 1.5]]))
    assert (mixed.are_fractions, mixed.faults("a.json")) == (False, ())
    assert BoxCounts().faults("a.json") == ()
    assert BoxCounts.of(target([[0, 0, 1, 1]], size=(1, 60))).fractions == 0  # its pixels are no larger
    assert BoxCounts.of(target([[0, 0, 1, 1]], size=(2, 60))).are_fractions  # also where it is the only box


def test_remarks_count() -> None:
    counts = BoxCounts.of(target([[0, 0, 20, 20], [0, 0, 20, 20], [1, 1, 1.9, 9]], labels=torch.zeros(3)))
    assert [str(remark) for remark in counts.remarks("a.json")] == [
        "a.json: boxes less than a pixel wide or high, which augmentations drop: 1 of 3",
        "a.json: boxes that stand there before, with the same class and corners: 1 of 3",
    ]
    assert BoxCounts.of(target([[0, 0, 1, 1], [4, 4, 9, 9]])).remarks("a.json") == ()
