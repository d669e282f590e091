"""When two results count as the same, and what is compared."""

from typing import Any, NamedTuple

import pytest
import torch
from torchvision import tv_tensors

from vidi.exported.gate import VERIFIED, Difference, _parts_apart, apart, batches_of, results_apart
from vidi.exported.graph import Form, in_a_row
from vidi.ops.masks import CodedMasks
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap, Segment

BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 0, 40, 10]])


def found(boxes: Any = BOXES, scores: Any = (0.9, 0.5), labels: Any = (0, 1)) -> Detections:
    return Detections(boxes, torch.tensor(scores), torch.tensor(labels, dtype=torch.long), ("cat", "dog"))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (found(), 0.0),
        (found(scores=(0.9, 0.515)), 0.0),
        (found(scores=(0.9, 0.53)), 0.5),
        (found(labels=(0, 0)), 0.5),
        (found(boxes=BOXES + torch.tensor([[0.0, 0, 0, 0], [0, 0, 2.3, 0]])), 0.5),
        (found(boxes=BOXES + torch.tensor([[0.0, 0, 0, 0], [0, 0, 2.2, 0]])), 0.0),
        (found(BOXES[:1], (0.9,), (0,)), 1 / 3),
        (found(BOXES[:0], (), ()), 1.0),
    ],
)
def test_objects_are_paired_by_class_box_and_score(other: Detections, expected: float) -> None:
    """An IoU of 20 / 22.2 is above 0.9, one of 20 / 22.3 below."""
    assert results_apart(found(), other) == pytest.approx(expected)
    assert results_apart(other, found()) == pytest.approx(expected)


@pytest.mark.parametrize(("times", "expected"), [(1.0, 0.0), (1.09, 0.0), (1.11, 0.5)])
def test_boxes_in_space_are_compared_by_their_largest_number(times: float, expected: float) -> None:
    """A tenth of it, no more."""
    spaces = torch.tensor([[1.0, 2, 10, 4, 1.5, 1.6, 0.3], [0.5, 1, 8, 4, 1.5, 1.6, 0.1]])
    moved = spaces * torch.tensor([[1.0], [times]])
    rest = BOXES, torch.tensor([0.9, 0.5]), torch.tensor([0, 1]), ("cat", "dog")
    one, other = (Detections(*rest, boxes_3d=boxes, intrinsics=torch.eye(3)) for boxes in (spaces, moved))
    assert results_apart(one, other) == expected


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (0.09, 0.0), (0.11, 1.0)])
def test_boxes_without_area_are_paired_by_their_corners(shift: float, expected: float) -> None:
    line = torch.tensor([[5.0, 0, 5, 10], [20, 7, 40, 7]])
    assert results_apart(found(line), found(line + shift)) == expected


def test_masks_and_joints_are_compared_too() -> None:
    square = torch.zeros(2, 10, 40, dtype=torch.bool)
    square[0, :, :10] = square[1, :, 20:] = True
    half = square.clone()
    half[1, :5] = False
    joints = torch.tensor([[[1.0, 2, 1]], [[3, 4, 1]]])
    moved = joints + torch.tensor([[[0.0, 0, 0]], [[9, 0, 0]]])

    def with_parts(masks: Any, keypoints: Any) -> Detections:
        parts = {"masks": masks, "keypoints": keypoints}
        return Detections(BOXES, torch.tensor([0.9, 0.5]), torch.tensor([0, 1]), ("cat", "dog"), **parts)

    whole = with_parts(square, joints)
    assert isinstance(whole.coded_masks, CodedMasks)
    assert results_apart(whole, with_parts(square, joints)) == 0
    assert results_apart(whole, with_parts(half, joints)) == 0.5
    assert results_apart(whole, with_parts(square, moved)) == 0.5
    for shift, expected in (([1.9, 0, 0], 0), ([2.1, 0, 0], 0.5), ([0, -2.1, 0], 0.5), ([0, 0, 5.0], 0)):
        apart_by = joints + torch.tensor([[[0.0, 0, 0]], [shift]])  # a tenth of the longer side is 2
        assert results_apart(whole, with_parts(square, apart_by)) == expected


def test_small_objects_have_joints_within_a_tenth_of_a_pixel() -> None:
    def with_joint(x: float) -> Detections:
        box, joint = torch.tensor([[0.0, 0, 0.5, 0.5]]), torch.tensor([[[x, 0.0, 1]]])
        return Detections(box, torch.tensor([0.9]), torch.tensor([0]), ("cat",), keypoints=joint)

    assert results_apart(with_joint(0.0), with_joint(0.09)) == 0
    assert results_apart(with_joint(0.0), with_joint(0.11)) == 1


def test_other_results_are_compared_part_by_part() -> None:
    names = ("cat", "dog")
    one = Classification(torch.tensor([0.75, 0.25]), names)
    assert results_apart(one, Classification(torch.tensor([0.75, 0.25]), names)) == 0
    assert results_apart(one, Classification(torch.tensor([0.6, 0.4]), names)) == pytest.approx(0.15 / 0.75)
    assert _parts_apart(torch.ones(2), None) == _parts_apart(None, torch.ones(2)) == 1
    ids = torch.ones(2, 5, dtype=torch.int32)
    other = ids.clone()
    other[0, 0] = 0
    segment = Segment(1, 0, 0.9, True)
    assert results_apart(PanopticMap(ids, (segment,), names), PanopticMap(ids, (segment,), names)) == 0
    assert results_apart(PanopticMap(ids, (segment,), names), PanopticMap(other, (segment,), names)) == 0.1
    assert results_apart(PanopticMap(ids, (segment,), names), PanopticMap(0 * ids, (), names)) == 1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [1.0, -3.0], 0.25),
        ([torch.inf, 2.0], [torch.inf, 2.0], 0.0),
        ([torch.inf, 2.0], [3.0, 2.0], 1.0),
        ([torch.nan, 2.0], [torch.nan, 2.0], 0.0),
        ([torch.nan, 2.0], [2.0, 2.0], 1.0),
        ([0.0, 0.0], [0.0, 1e-15], 1e-3),
        ([], [], 0.0),
        ([1.0], [1.0, 2.0], 1.0),
    ],
)
def test_outputs_are_compared_with_their_largest(one: list[float], other: list[float], expected: float) -> None:
    assert apart([torch.tensor(one)], [torch.tensor(other)]) == pytest.approx(expected)


def test_whole_numbers_are_the_same_or_not() -> None:
    assert apart([torch.tensor([1, 2, 3, 4])], [torch.tensor([1, 2, 3, 9])]) == 0.25


def test_results_decide_where_there_are_any_and_outputs_elsewhere() -> None:
    assert Difference(outputs=1.0, results=1e-3, seen=True).verdict() == VERIFIED == "verified"
    assert Difference(outputs=1.1e-5, results=2e-3, seen=True).verdict() == "differs: results by 0.002"
    assert Difference(outputs=1e-5, results=0.5, seen=True).verdict() == VERIFIED
    assert Difference(outputs=2e-3, results=0.0, seen=False).verdict() == "differs: outputs by 0.002"
    assert Difference(outputs=2e-3, results=0.0, seen=False).verdict(1e-2) == VERIFIED


def test_photos_are_seen_in_two_sizes_and_two_batch_sizes() -> None:
    photo = torch.arange(3 * 8 * 16).view(3, 8, 16)
    whole, parts = batches_of([(photo, {"right": photo + 1, "focal": 3.0})])
    assert [len(whole), len(parts)] == [1, 3]
    assert (whole[0][0] == photo).all()
    part = photo[:, 2:, 2:]
    for (seen, target), flip in zip(parts, ([], [2], [1, 2]), strict=True):
        assert (seen == part.flip(flip)).all()
        assert (target["right"] == (part + 1).flip(flip)).all()
        assert target["focal"] == 3.0

    (_, (part, *_)) = batches_of([(photo, {"right": tv_tensors.Image(photo)})])
    assert isinstance(part[1]["right"], tv_tensors.Image)  # as which it is resized with its left picture


def test_a_form_takes_outputs_apart_and_puts_them_together() -> None:
    class Outputs(NamedTuple):
        levels: tuple[torch.Tensor, ...]
        score: torch.Tensor

    outputs = Outputs((torch.zeros(1), torch.ones(2)), torch.ones(3))
    form = Form.of(outputs)
    assert form.names == ["levels.0", "levels.1", "score"]
    again = form.put_together(in_a_row(outputs), Outputs)
    assert again.levels[1] is outputs.levels[1]
    assert again.score is outputs.score
    with pytest.raises(ValueError, match="received outputs of Tensor, expected a NamedTuple"):
        Form.of(torch.ones(3))
    with pytest.raises(ValueError, match="received score of NoneType, expected a tensor or a tuple"):
        Form.of(Outputs((torch.zeros(1),), None))  # type: ignore[arg-type]
