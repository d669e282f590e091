"""One view moved onto another by depth and pose: the same points are there, in the same colours."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.closeness import assert_close
from vidi.data.world.camera import BASELINE, right_pose
from vidi.data.world.other_views import OTHER_VIEW_TRUTHS
from vidi.data.world.renderer import cast_surfaces
from vidi.data.world.scene import draw_motions, make_scene
from vidi.data.world.truth import VIEW_TRUTHS, Observation

MOST_BAD = 0.005  # share of the pixels that may disagree, at edges
SIZES = [(128, 128), (96, 160), (192, 192)]


def project(depth: np.ndarray, matrix: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Column, row and depth in the other view of every pixel centre (H W 3)."""
    height, width = depth.shape
    j, i = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack((j, i, np.ones_like(j)), -1) @ np.linalg.inv(matrix).T
    points = rays * np.where(np.isfinite(depth), depth, 1.0)[..., None] @ pose[:3, :3].T + pose[:3, 3]
    pixels = points @ matrix.T
    return np.concatenate((pixels[..., :2] / pixels[..., 2:], points[..., 2:]), -1)


def taps(picture: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four pixels of a picture (H W C) around each place, and their bilinear mixture."""
    height, width = picture.shape[:2]
    x, y = where[..., 0] - 0.5, where[..., 1] - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = x - left, y - top
    rows, columns = (np.clip(top + d, 0, height - 1) for d in (0, 1)), [np.clip(left + d, 0, width - 1) for d in (0, 1)]
    four = np.stack([picture[row, column] for row in rows for column in columns])
    weights = np.stack(((1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v))
    return four, (weights[..., None] * four).sum(0)


def share_of_wrong_depths(where: np.ndarray, other_depth: np.ndarray, visible: np.ndarray, focal: float) -> float:
    """Give the share of visible points at whose place the other view has another depth.

    Inverse depth is linear in the picture on planes: its bilinear mixture, or else one of the four pixels around, has
    to agree within 2 percent, or a tenth of a pixel of disparity (on the last rows before the horizon).
    """
    inverse = np.where(np.isfinite(other_depth), 1.0 / other_depth, 0.0)
    four, mixed = taps(inverse[..., None], where[visible])
    own = 1.0 / where[visible][:, 2:]
    error = np.minimum(np.abs(four - own).min(0), np.abs(mixed - own))
    return float((error > 0.02 * own + 0.1 / (focal * BASELINE)).mean())


def colour_errors(image: np.ndarray, other: np.ndarray, where: np.ndarray, visible: np.ndarray) -> tuple[float, float]:
    """Share of colours outside the range of the four pixels around the place, and mean error of their mixture."""
    colours = image.transpose(1, 2, 0)[visible] / 255.0
    four, mixed = taps(other.transpose(1, 2, 0) / 255.0, where[visible])
    outside = np.maximum(four.min(0) - colours, colours - four.max(0)).max(-1)
    return float((outside > 0.06).mean()), float(np.abs(mixed - colours).mean())


@pytest.mark.system("0-DATA-STEREO")
@pytest.mark.parametrize("size", SIZES)
def test_depth_and_pose_move_a_frame_onto_its_neighbours(size):
    wrong, wrong_colours, mean_errors, hidden = [], [], [], []
    for index in range(10):
        seen = Observation(make_scene(2, "train", index), size)
        occluded = np.asarray(OTHER_VIEW_TRUTHS["occluded"](seen))
        images, poses = np.asarray(OTHER_VIEW_TRUTHS["neighbours"](seen)), np.asarray(OTHER_VIEW_TRUTHS["poses"](seen))
        for neighbour in range(2):
            pose = poses[neighbour].astype(np.float64)
            where = project(seen.view.depth, seen.matrix, pose)
            visible = np.isfinite(seen.view.depth) & ~occluded[neighbour]
            other = cast_surfaces(seen.scene, size, seen.motions[neighbour]).depth
            wrong.append(share_of_wrong_depths(where, other, visible, seen.matrix[0, 0]))
            bad, mean = colour_errors(seen.view.image, images[neighbour], where, visible)
            wrong_colours.append(bad)
            mean_errors.append(mean)
            hidden.append(occluded[neighbour].mean())
    assert np.mean(wrong) < MOST_BAD
    assert np.mean(wrong_colours) < MOST_BAD
    assert np.mean(mean_errors) < 0.02
    assert 0.02 < np.mean(hidden) < 0.4


@pytest.mark.parametrize("size", SIZES)
def test_what_is_called_occluded_is_behind_something_or_outside(size):
    wrong = []
    for index in range(8):
        seen = Observation(make_scene(2, "train", index), size)
        occluded = np.asarray(OTHER_VIEW_TRUTHS["occluded"](seen))[1]
        where = project(seen.view.depth, seen.matrix, seen.motions[1])
        inside = (where[..., 0] >= 0) & (where[..., 0] < size[1]) & (where[..., 1] >= 0) & (where[..., 1] < size[0])
        other = cast_surfaces(seen.scene, size, seen.motions[1]).depth
        behind = occluded & inside & np.isfinite(seen.view.depth)
        four, _ = taps(other[..., None], where[behind])
        wrong.append((four.min(0)[:, 0] > where[behind][:, 2] - 0.01).sum() / occluded.size)
    assert np.mean(wrong) < MOST_BAD


@pytest.mark.system("0-DATA-STEREO")
@pytest.mark.parametrize("size", SIZES)
def test_disparity_is_baseline_times_focal_over_depth_and_moves_left_onto_right(size):
    for index in range(10):
        seen = Observation(make_scene(2, "test", index), size)
        truth = {key: np.asarray(OTHER_VIEW_TRUTHS[key](seen)) for key in OTHER_VIEW_TRUTHS}
        matrix, depth = np.asarray(VIEW_TRUTHS["intrinsics"](seen)), seen.view.depth
        known = np.isfinite(depth)
        np.testing.assert_allclose(truth["disparity"][known], 0.25 * matrix[0, 0] / depth[known], rtol=1e-6)
        assert not truth["disparity"][~known].any()
        assert not truth["disparity_valid"][~known].any()

        j, i = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
        valid, moved = truth["disparity_valid"], np.stack((j - truth["disparity"], i), -1)
        assert (moved[valid][:, 0] >= 0).all()
        assert valid.mean() > 0.25
        bad, mean = colour_errors(seen.view.image, truth["right"], moved, valid)
        assert bad < 2 * MOST_BAD
        assert mean < 0.02
        assert consistency(truth["disparity"], truth["disparity_right"], moved, valid) < MOST_BAD

        valid, back = truth["disparity_right_valid"], np.stack((j + truth["disparity_right"], i), -1)
        assert consistency(truth["disparity_right"], truth["disparity"], back, valid) < MOST_BAD


def consistency(disparity: np.ndarray, other: np.ndarray, moved: np.ndarray, valid: np.ndarray) -> float:
    """Share of the valid pixels at whose place in the other view none of the pixels around has their disparity."""
    four, mixed = taps(other[..., None], moved[valid])
    own = disparity[valid][:, None]
    error = np.minimum(np.abs(four - own).min(0), np.abs(mixed - own))
    return float((error > 0.02 * own + 0.1).mean())


def test_the_right_camera_stands_a_baseline_to_the_right():
    point_at_left = np.array((0.0, 0.0, 4.0, 1.0))
    np.testing.assert_allclose(right_pose() @ point_at_left, (-0.25, 0.0, 4.0, 1.0))


def test_neighbours_are_the_frames_before_and_after():
    for index in range(10):
        motions = draw_motions(make_scene(0, "train", index))
        centres = [-motion[:3, :3].T @ motion[:3, 3] for motion in motions]
        assert centres[0][2] < -0.1 < 0.1 < centres[1][2]
        for motion in motions:
            assert_close(motion[:3, :3] @ motion[:3, :3].T, np.eye(3))
            turned = np.rad2deg(Rotation.from_matrix(motion[:3, :3]).magnitude())
            assert 0.01 < turned < np.linalg.norm((0.5, 0.15, 0.15)) + 1e-6
