"""Depth comparison features: slow loops, the invariance to depth, and what is beyond the body."""

import math

import numpy as np
import pytest
import torch

from tests.closeness import EXACT, FLOAT32, assert_close
from vidi.segmentation.body_parts.background import BACKGROUND
from vidi.segmentation.body_parts.depth_features import depth_features, draw_offsets, image_offset


def slow_feature(depth, row, column, u, v, focal=1.0):
    """Equation 1, one pixel and one feature."""
    height, width = depth.shape
    scale = np.float32(focal) / np.float32(depth[row, column])

    def at(offset):
        x = column + 0.5 + np.float32(offset[0]) * scale
        y = row + 0.5 + np.float32(offset[1]) * scale
        inside = 0 <= x < width and 0 <= y < height
        return np.float32(depth[math.floor(y), math.floor(x)]) if inside else np.float32(BACKGROUND)

    return at(u) - at(v)


def picture(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    depth = random.uniform(1, 4, (17, 23)).astype(np.float32)
    depth[random.random(depth.shape) < 0.3] = BACKGROUND
    return depth


@pytest.mark.system("5.1.1-FEATURE")
@pytest.mark.parametrize("focal", [1.0, 20.0])
def test_features_of_all_pixels_and_offsets_are_those_of_slow_loops(focal):
    depth = picture()
    pixels = np.argwhere(depth < BACKGROUND)
    random = np.random.default_rng(1)
    offsets = random.normal(scale=15 / focal, size=(40, 2, 2)).astype(np.float32)
    offsets[:10, 1] = 0
    found = depth_features(torch.from_numpy(depth), torch.from_numpy(pixels), torch.from_numpy(offsets), focal=focal)
    assert found.shape == (len(pixels), 40)
    for p, (row, column) in enumerate(pixels):
        for f, (u, v) in enumerate(offsets):
            assert found[p, f] == slow_feature(depth, row, column, u, v, focal)


@pytest.mark.system("5.1.1-FEATURE")
def test_the_background_and_what_is_outside_are_large_and_positive():
    depth = torch.full((5, 5), BACKGROUND)
    depth[2, 2], depth[2, 3] = 2.0, 3.0
    pixel = torch.tensor([[2, 2]])
    offsets = torch.tensor(
        [[[2.0, 0], [0, 0]], [[0, 2.0], [0, 0]], [[40.0, 0], [0, 0]], [[0, 0], [0, -40.0]], [[-9.0, 9], [9, 9]]]
    )
    right, below, outside, above, both = depth_features(depth, pixel, offsets)[0].tolist()
    assert right == 1.0  # a metre farther away: x is the column, to the right
    assert below == outside == BACKGROUND - 2.0 > 1000
    assert above == 2.0 - BACKGROUND
    assert both == 0.0


@pytest.mark.system("B5.13", "5.1.1-DEPTHINV")
def test_twenty_pixel_metres_are_ten_pixels_at_two_metres_and_five_at_four():
    assert image_offset(20 / 500, 500.0, 2.0) == pytest.approx(10, rel=EXACT)
    assert image_offset(20 / 500, 500.0, 4.0) == pytest.approx(5, rel=EXACT)
    for away, pixels in ((2.0, 10), (4.0, 5)):
        depth = torch.full((3, 30), away)
        depth[1, 12 + pixels] = away + 0.25
        features = depth_features(depth, torch.tensor([[1, 12]]), torch.tensor([[[20.0, 0], [0, 0]]]))
        assert features.item() == 0.25  # the same point of the body, the same feature


def corner(away: float, focal: float) -> np.ndarray:
    """A step of 0.3 m, 0.5 m wide and 0.4 m to the right of the middle, before a wall, at any distance."""
    x = (np.arange(400) + 0.5 - 200) / focal
    depth = np.full((5, 400), away)
    depth[:, (x * away > 0.4) & (x * away < 0.9)] -= 0.3
    return depth


@pytest.mark.system("5.1.1-DEPTHINV")
def test_features_are_the_same_at_any_distance_and_resolution_but_for_those_that_do_not_divide():
    offsets = torch.tensor([[[x, 0.0], [0.0, 0.0]] for x in (0.1, 0.3, 0.5, 0.65, 0.8, 1.0)])
    expected = torch.tensor([0, 0, -0.3, -0.3, -0.3, 0])
    middle = torch.tensor([[2, 200]])
    for away in (1.5, 2.5, 4.0):
        for focal in (200.0, 260.0):
            depth = torch.from_numpy(corner(away, focal)).float()
            found = depth_features(depth, middle, offsets, focal=focal)[0]
            assert_close(found, expected, FLOAT32)
    near, far = (torch.from_numpy(corner(away, 260.0)).float() for away in (1.5, 4.0))
    fixed = torch.tensor([[[0.65 * 260, 0], [0, 0]]])
    undivided = [depth_features(d, middle, fixed * d[2, 200] / 2)[0] for d in (near, far)]  # 84 pixels at both
    assert abs(float(undivided[0] - undivided[1])) > 0.2


@pytest.mark.system("5.1.1-FEATURE")
def test_candidates_are_short_and_long_and_every_second_compares_with_the_pixel_itself():
    offsets = draw_offsets(4000, 0.5, torch.Generator().manual_seed(0))
    length = offsets.norm(dim=2)
    assert not offsets[::2, 1].any()
    drawn = torch.cat((length[:, 0], length[1::2, 1]))
    assert 0.01 * 0.99 < drawn.min() < 0.011
    assert 0.49 < drawn.max() <= 0.5001
    assert float((drawn < 0.5 * 0.02**0.5).float().mean()) == pytest.approx(0.5, abs=0.03)
    angles = torch.atan2(offsets[:, 0, 1], offsets[:, 0, 0])
    assert float(angles.mean()) == pytest.approx(0, abs=0.1)
    assert (angles.histc(4, -math.pi, math.pi) > 900).all()
    assert torch.equal(offsets, draw_offsets(4000, 0.5, torch.Generator().manual_seed(0)))


def test_pixels_that_cannot_be_are_refused():
    depth, offsets = torch.ones(4, 4), torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match=r"\[4, 0\].*inside of \(4, 4\)"):
        depth_features(depth, torch.tensor([[0, 0], [4, 0]]), offsets)
    depth[1, 1] = 0
    with pytest.raises(ValueError, match="depth 0"):
        depth_features(depth, torch.tensor([[1, 1]]), offsets)
