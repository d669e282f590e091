"""Errors of boxes in space by hand, and scores of data sets that are right, wrong or empty."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vidi.metrics.boxes_3d import Box3dEvaluator, pair_errors
from vidi.ops.boxes_3d import lift_boxes, observation_angles, project_points
from vidi.results.detections import Detections

CAMERA = torch.tensor([[120.0, 0.0, 64.0], [0.0, 120.0, 50.0], [0.0, 0.0, 1.0]])
SPACE = torch.tensor([[0.5, 0.2, 4.0, 1.0, 1.5, 0.5, 0.3], [-1.0, 0.1, 6.0, 0.6, 0.6, 0.6, -3.0]])
PLANE = torch.tensor([[70.0, 40.0, 100.0, 80.0], [30.0, 40.0, 60.0, 70.0]])


def target(**more: Any) -> dict[str, Tensor]:
    return {"boxes": PLANE, "labels": torch.tensor([0, 1]), "boxes_3d": SPACE, "intrinsics": CAMERA, **more}


def found(space: Tensor = SPACE, plane: Tensor = PLANE, labels: tuple[int, ...] = (0, 1), **more: Any) -> Detections:
    scores = more.pop("scores", torch.linspace(0.9, 0.5, len(plane)))
    return Detections(
        plane, scores, torch.tensor(labels, dtype=torch.int64), ("a", "b"), boxes_3d=space, intrinsics=CAMERA, **more
    )


def scored(detections: Detections, truth: dict[str, Tensor]) -> dict[str, float]:
    evaluator = Box3dEvaluator(2)
    evaluator.update([detections], [truth])
    return evaluator.compute().numbers()


@pytest.mark.system("4.3.5-CT3DMETRIC")
def test_errors_by_hand() -> None:
    """1 m too far of 4 m; 1.2 for 1.0 wide; 3.1 against -3.1 is only 2 pi - 6.2 apart."""
    truth = torch.tensor([[0.0, 0.0, 4.0, 1.0, 2.0, 1.0, 3.1]])
    errors = pair_errors(torch.tensor([[9.0, 9.0, 5.0, 1.2, 2.0, 0.5, -3.1]]), truth)
    assert errors.depth.item() == pytest.approx(1.0)
    assert errors.relative_depth.item() == pytest.approx(0.25)
    assert errors.size.item() == pytest.approx(1 - 1.0 * 2 * 0.5 / (1.2 * 2 * 0.5 + 1 * 2 * 1 - 1.0 * 2 * 0.5))
    assert errors.side.item() == pytest.approx((0.2 + 0.0 + 0.5) / 3)
    assert errors.orientation.item() == pytest.approx(2 * math.pi - 6.2, abs=1e-5)


@pytest.mark.system("4.3.5-CT3DMETRIC")
def test_what_is_right_has_no_error() -> None:
    scores = scored(found(), target())
    for name in ("score", "ap", "aos", "matched"):
        assert scores.pop(name) == pytest.approx(1, abs=1e-5), name
    assert all(error == pytest.approx(0, abs=1e-5) for error in scores.values())


@pytest.mark.system("4.3.5-CT3DMETRIC")
def test_errors_are_of_matched_pairs_only() -> None:
    """The second is in another place of the picture, the third has another class, the fourth came too late."""
    shift = torch.tensor([0.0, 0.0, 1.0, 0.3, 0.0, 0.0, 0.5])
    rows = torch.tensor([0, 1, 0, 0])
    plane = PLANE[rows] + torch.tensor([0.0, 25, 0, 1])[:, None]
    scores = scored(found(SPACE[rows] + shift, plane, (0, 1, 1, 0)), target())
    assert scores["matched"] == 0.5
    assert scores["depth_error"] == pytest.approx(1, abs=1e-5)
    assert scores["relative_depth_error"] == pytest.approx(0.25, abs=1e-5)
    assert scores["side_error"] == pytest.approx(0.1, abs=1e-5)
    assert scores["orientation_error"] == pytest.approx(0.5, abs=1e-5)
    assert scores["ap"] == pytest.approx(0.5)  # all of the first class, none of the second
    assert scores["aos"] == pytest.approx(0.5 * (1 + math.cos(0.5)) / 2, abs=1e-5)
    left = (1 - 0.25) + (1 - scores["size_error"]) + (1 - 0.5)
    assert scores["score"] == pytest.approx((0.5 + left / 3) / 2, abs=1e-5)


def test_orientation_similarity_by_slow_loops() -> None:
    """Kitti's definition: at each of 11 recalls the best mean similarity of all detections down to a score."""
    generator = torch.Generator().manual_seed(0)
    evaluator = Box3dEvaluator(1)
    rows = []
    for _ in range(12):
        yaws = 6 * torch.rand(2, generator=generator) - 3
        hit = bool(torch.rand((), generator=generator) < 0.6)
        score = float(torch.rand((), generator=generator))
        space = SPACE[:1].repeat(2, 1)
        space[:, 6] = yaws
        plane = PLANE[:1] if hit else PLANE[:1] + 60
        detections = Detections(
            plane, torch.tensor([score]), torch.tensor([0]), ("a",), boxes_3d=space[:1], intrinsics=CAMERA
        )
        truth = {"boxes": PLANE[:1], "labels": torch.tensor([0]), "boxes_3d": space[1:]}
        evaluator.update([detections], [truth])
        rows.append((score, hit, (1 + math.cos(float(yaws[0] - yaws[1]))) / 2 if hit else 0.0))
    rows.sort(reverse=True)
    levels = []
    for level in range(11):
        best = 0.0
        for n in range(1, len(rows) + 1):
            if sum(hit for _, hit, _ in rows[:n]) / 12 >= level / 10:
                best = max(best, sum(similar for *_, similar in rows[:n]) / n)
        levels.append(best)
    assert evaluator.compute().aos == pytest.approx(sum(levels) / 11, abs=1e-6)


def test_the_camera_of_the_picture_counts() -> None:
    """What the picture shows stays: a camera of twice the focal length sees a thing half as far to the side."""
    other = CAMERA * torch.tensor([[2.0], [2.0], [1.0]])
    other[:2, 2] = CAMERA[:2, 2]
    moved = found().with_camera(other)
    assert moved.boxes_3d is not None
    torch.testing.assert_close(moved.boxes_3d[:, :2], SPACE[:, :2] / 2)
    torch.testing.assert_close(moved.boxes_3d[:, 2:6], SPACE[:, 2:6])
    torch.testing.assert_close(observation_angles(moved.boxes_3d), observation_angles(SPACE))
    scores = scored(moved, target())
    assert scores["orientation_error"] == pytest.approx(0, abs=1e-5)


def test_lifting_what_is_seen_gives_the_boxes_back() -> None:
    pixels = project_points(SPACE[:, :3], CAMERA)
    lifted = lift_boxes(pixels, SPACE[:, 2], SPACE[:, 3:6], observation_angles(SPACE), CAMERA)
    torch.testing.assert_close(lifted, SPACE)


def test_crowds_are_no_truths_and_what_lies_on_them_is_not_false() -> None:
    truth = target(crowd=torch.tensor([False, True]))
    evaluator = Box3dEvaluator(2)
    evaluator.update([found(labels=(0, 1)), found(labels=(0, 1))], [truth, target(crowd=torch.tensor([False, False]))])
    scores = evaluator.compute()
    assert scores.ap == 1
    assert scores.matched == 1


@pytest.mark.parametrize(("width", "matched"), [(20.0, 1.0), (19.8, 0.0), (20.2, 1.0)])
def test_pairs_overlap_by_half_at_least(width: float, matched: float) -> None:
    """A box of 20 x 40 pixels inside of one of 40 x 40 has an IoU of exactly 0.5 in the picture."""
    plane = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    narrow = torch.tensor([[0.0, 0.0, width, 40.0]])
    truth = {"boxes": plane, "labels": torch.tensor([0]), "boxes_3d": SPACE[:1], "intrinsics": CAMERA}
    assert scored(found(SPACE[:1], narrow, (0,)), truth)["matched"] == matched


@pytest.mark.parametrize(("width", "ap"), [(20.0, 1.0), (19.8, 0.5)])
def test_what_lies_in_a_crowd_by_half_is_not_false(width: float, ap: float) -> None:
    boxes = torch.tensor([[60.0, 0.0, 100.0, 40.0], [0.0, 0.0, 40.0, 40.0]])
    seen = torch.tensor([[0.0, 0.0, width, 40.0], [60.0, 0.0, 100.0, 40.0]])
    truth = {"boxes": boxes, "labels": torch.tensor([0, 0]), "boxes_3d": SPACE, "crowd": torch.tensor([False, True])}
    assert scored(found(SPACE, seen, (0, 0)), truth)["ap"] == pytest.approx(ap)


@pytest.mark.parametrize("plane", [PLANE[:0], PLANE + 50])
def test_nothing_matched(plane: Tensor) -> None:
    scores = scored(found(SPACE[: len(plane)], plane, (0, 1)[: len(plane)]), target())
    assert (scores["score"], scores["ap"], scores["aos"], scores["matched"]) == (0, 0, 0, 0)
    assert scores["depth_error"] == scores["orientation_error"] == -1


def test_what_cannot_be_scored_is_refused() -> None:
    evaluator = Box3dEvaluator(2)
    plain = Detections(PLANE, torch.ones(2), torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match="prediction without boxes_3d"):
        evaluator.update([plain], [target()])
    with pytest.raises(ValueError, match="expected boxes_3d"):
        evaluator.update([found()], [{"boxes": PLANE, "labels": torch.tensor([0, 1])}])


def test_without_objects_nothing_is_defined() -> None:
    empty = {"boxes": PLANE[:0], "labels": torch.zeros(0, dtype=torch.int64), "boxes_3d": SPACE[:0]}
    assert set(scored(found(), empty).values()) == {-1.0}
