"""Errors of camera paths against NumPy, known motions, and SfMLearner's own formula."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.closeness import assert_close

from vidi.metrics.trajectory import (
    MotionEvaluator,
    align_similarity,
    ate_global_scaled,
    relative_pose_errors,
    snippet_ate_scaled,
    trajectory_numbers,
)
from vidi.ops.rigid import axis_angle_to_pose, inverse_pose


def path(frames: int = 12, seed: int = 0) -> torch.Tensor:
    """A walk: each frame moves and turns a little from the one before."""
    steps = 0.1 * torch.randn(frames, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    poses = [axis_angle_to_pose(steps[0])]
    for step in steps[1:]:
        poses.append(poses[-1] @ axis_angle_to_pose(step + steps.new_tensor([0, 0, 1.0, 0, 0, 0])))
    return torch.stack(poses)


def moved(poses: torch.Tensor, scale: float) -> torch.Tensor:
    """The same path, told in another world with another unit of length."""
    changed = poses.clone()
    changed[:, :3, 3] *= scale
    return axis_angle_to_pose(poses.new_tensor([3.0, -2, 5, 0.4, 1.0, -0.7])) @ changed


def test_a_path_in_another_world_and_unit_has_no_error():
    truth = path()
    numbers = trajectory_numbers(moved(truth, 0.2), truth)
    assert numbers.keys() == {"ate_5frame_scaled", "ate_global_scaled", "rpe_translation_scaled", "rpe_rotation"}
    assert max(numbers.values()) < 1e-7
    worse = trajectory_numbers(path(seed=1), truth)
    assert min(worse.values()) > 0.01


def sfmlearner_ate(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Written after kitti_eval/pose_evaluation_utils.py of the published code."""
    predicted = predicted + (truth[0] - predicted[0])
    scale = np.sum(truth * predicted) / np.sum(predicted**2)
    return float(np.sqrt(np.sum((predicted * scale - truth) ** 2)) / len(truth))


def test_the_error_of_pieces_is_that_of_sfmlearners_code():
    predicted, truth = path(seed=1), path()
    pieces = []
    for start in range(12 - 5 + 1):
        piece = []
        for poses in (predicted.numpy(), truth.numpy()):
            first = np.linalg.inv(poses[start])
            piece.append(np.array([(first @ poses[k])[:3, 3] for k in range(start, start + 5)]))
        pieces.append(sfmlearner_ate(*piece))
    assert trajectory_numbers(predicted, truth)["ate_5frame_scaled"] == pytest.approx(np.mean(pieces), rel=1e-10)
    own = snippet_ate_scaled(predicted[None, 2:5], truth[None, 2:5])  # of three frames
    short = [(torch.linalg.inv(p[2]) @ p[2:5])[:, :3, 3].numpy() for p in (predicted, truth)]
    assert float(own) == pytest.approx(sfmlearner_ate(*short), rel=1e-10)


def test_a_camera_that_is_said_to_stand_still_has_the_path_as_its_error():
    truth = torch.eye(4, dtype=torch.float64).expand(6, 4, 4).clone()
    truth[:, 0, 3] = torch.arange(6)
    still = torch.eye(4, dtype=torch.float64).expand(6, 4, 4)
    numbers = trajectory_numbers(still, truth)
    assert numbers["ate_5frame_scaled"] == pytest.approx(math.sqrt(0 + 1 + 4 + 9 + 16) / 5)
    assert numbers["ate_global_scaled"] == pytest.approx(np.std(np.arange(6)))
    assert numbers["rpe_translation_scaled"] == pytest.approx(1)
    assert numbers["rpe_rotation"] == 0
    assert align_similarity(still[:, :3, 3], truth[:, :3, 3]).scale == 0


def test_the_similarity_is_found_and_is_the_best():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    R = torch.from_numpy(Rotation.from_rotvec([0.3, -2.0, 1.0]).as_matrix())
    t = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    exact = align_similarity(x, 2.5 * x @ R.T + t)
    assert exact.scale == pytest.approx(2.5)
    assert_close(exact.rotation, R)
    assert_close(exact.translation, t)
    y = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    fitted = align_similarity(x, y)
    assert_close(fitted.rotation @ fitted.rotation.T, torch.eye(3, dtype=torch.float64))
    least = ate_global_scaled(x, y)
    for _ in range(200):  # nothing beside it is better
        step = 0.03 * torch.randn(7, generator=generator, dtype=torch.float64)
        turn = axis_angle_to_pose(torch.cat((step[:3], step[3:6])))
        other = (fitted.scale + step[6]) * x @ (turn[:3, :3] @ fitted.rotation).T + fitted.translation + turn[:3, 3]
        assert float((other - y).square().sum(1).mean().sqrt()) >= least - 1e-12


def test_a_mirrored_path_is_turned_not_mirrored():
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mirrored = x * torch.tensor([-1.0, 1, 1])
    similarity = align_similarity(x, mirrored)
    assert float(torch.linalg.det(similarity.rotation)) == pytest.approx(1)
    rotation = Rotation.align_vectors((mirrored - mirrored.mean(0)).numpy(), (x - x.mean(0)).numpy())[0]
    assert_close(similarity.rotation, rotation.as_matrix(), 1e-8)
    assert ate_global_scaled(x, mirrored) > 0.3


def test_relative_errors_are_those_of_the_motions_over_a_gap():
    predicted, truth = path(seed=1), path()
    for gap in (1, 3):
        shifts, turns = [], []
        for k in range(12 - gap):
            own, real = (np.linalg.inv(p[k].numpy()) @ p[k + gap].numpy() for p in (predicted, truth))
            error = np.linalg.inv(real) @ own
            shifts.append(np.sum(error[:3, 3] ** 2))
            turns.append(Rotation.from_matrix(error[:3, :3]).magnitude() ** 2)
        received = relative_pose_errors(predicted, truth, gap=gap)
        assert received.translation == pytest.approx(np.sqrt(np.mean(shifts)), rel=1e-10)
        assert received.rotation == pytest.approx(np.sqrt(np.mean(turns)), rel=1e-10)
    scale = align_similarity(predicted[:, :3, 3], truth[:, :3, 3]).scale
    scaled = predicted.clone()
    scaled[:, :3, 3] *= scale
    numbers = trajectory_numbers(predicted, truth)
    assert numbers["rpe_translation_scaled"] == pytest.approx(
        relative_pose_errors(scaled, truth).translation, rel=1e-10
    )
    assert numbers["rpe_rotation"] == pytest.approx(relative_pose_errors(predicted, truth).rotation, rel=1e-10)
    assert numbers["ate_global_scaled"] == pytest.approx(ate_global_scaled(predicted[:, :3, 3], truth[:, :3, 3]))


def test_paths_that_cannot_be_compared_are_refused():
    with pytest.raises(Exception, match=r"4 frames|parameter"):
        trajectory_numbers(path(4), path(4))
    for gap in (0, 5):
        with pytest.raises(ValueError, match=f"gap={gap}"):
            relative_pose_errors(path(5), path(5), gap=gap)
    with pytest.raises(ValueError, match="0 and 0 positions"):
        align_similarity(torch.zeros(0, 3), torch.zeros(0, 3))
    assert relative_pose_errors(path(5), path(5), gap=4).translation < 1e-12


# ----------------------------------------------------------------------------------------------------------------------
# Motions to the frames beside


def motions(poses: torch.Tensor) -> torch.Tensor:
    """T_neighbour_frame of all frames but the first and the last."""
    return torch.stack([inverse_pose(poses[:-2]) @ poses[1:-1], inverse_pose(poses[2:]) @ poses[1:-1]], 1)


def judged(predicted: torch.Tensor, truth: torch.Tensor) -> MotionEvaluator:
    evaluator = MotionEvaluator()
    for own, true in zip(predicted, truth, strict=True):
        evaluator.update(own, true.float())  # as data sets give them
    return evaluator


def test_motions_between_frames_of_one_video_add_up_to_its_path():
    truth, other = path(), path(seed=1)
    evaluator = judged(motions(other), motions(truth))
    ((found, true),) = evaluator.paths()
    assert_close(found, inverse_pose(other[:1]) @ other, 1e-9)
    assert_close(true, inverse_pose(truth[:1]) @ truth, 1e-5)
    numbers, expected = evaluator.compute(), trajectory_numbers(other, truth)
    assert {name: numbers[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_a_second_video_is_a_path_of_its_own_and_four_frames_are_none():
    videos = path(9), path(4, seed=1), path(7, seed=2)
    joined = torch.cat([motions(video) for video in videos])
    assert [len(true) for _, true in judged(joined, joined).paths()] == [9, 7]


def test_a_frame_between_two_is_a_piece_of_three():
    """By SfMLearner's formula in the frame of the first camera; the rotation's error is that of each motion."""
    truth, other = motions(path(3)), motions(path(3, seed=1))
    numbers = judged(other, truth).compute()
    places = []
    for poses in (other, truth):
        before, _, behind = torch.linalg.inv(poses[0, 0]), torch.eye(4), torch.linalg.inv(poses[0, 1])
        first = torch.linalg.inv(before)
        places.append(torch.stack([first @ before, first, first @ behind])[:, :3, 3].numpy())
    assert numbers["ate_3frame_scaled"] == pytest.approx(sfmlearner_ate(*places), rel=1e-6)
    assert numbers["ate_3frame_still"] == pytest.approx(float(np.linalg.norm(places[1])) / 3, rel=1e-6)
    turns = [
        Rotation.from_matrix((torch.linalg.inv(t) @ o)[:3, :3].numpy()) for o, t in zip(other[0], truth[0], strict=True)
    ]
    angles = [turn.magnitude() for turn in turns]
    assert numbers["rotation_error"] == pytest.approx(math.sqrt(np.mean(np.square(angles))), rel=1e-6)
    still = [Rotation.from_matrix(pose[:3, :3].numpy()).magnitude() for pose in truth[0]]
    assert numbers["rotation_still"] == pytest.approx(math.sqrt(np.mean(np.square(still))), rel=1e-5)
    assert "ate_5frame_scaled" not in numbers


def test_a_camera_that_stands_still_is_as_far_off_as_its_path_is_long():
    truth = motions(path())
    numbers = judged(torch.eye(4).double().expand_as(truth), truth).compute()
    assert numbers["ate_3frame_scaled"] == pytest.approx(numbers["ate_3frame_still"])
    assert numbers["rotation_error"] == pytest.approx(numbers["rotation_still"])


def test_no_motion_cannot_be_scored():
    with pytest.raises(ValueError, match="no motions to score"):
        MotionEvaluator().compute()
