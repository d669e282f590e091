"""Triangulation and forward mapping against the notes' numbers and slow loops."""

import math

import pytest
import torch

from tests.closeness import assert_close
from vidi.ops.stereo import depth_to_disparity, disparity_to_depth, splat_left, splat_right


@pytest.mark.system("6.0-TRIANG", "B6.1")
def test_thirty_pixels_of_a_car_camera_are_thirteen_metres():
    """B6.1."""
    z = disparity_to_depth(torch.full((1, 1, 1, 1), 30.0, dtype=torch.float64), focal=721, baseline=0.54)
    assert float(z.values) == pytest.approx(12.978, abs=5e-4)
    assert bool(z.valid)
    assert (
        float(disparity_to_depth(torch.ones(1, 1, 1, 1), focal=0.5, baseline=0.5).values) == 0.25
    )  # shares, not pixels


@pytest.mark.system("6.0-TRIANG")
def test_depth_and_disparity_are_each_others_inverse_and_what_has_none_is_not_valid():
    generator = torch.Generator().manual_seed(0)
    disparity = torch.rand(2, 1, 3, 4, generator=generator, dtype=torch.float64) * 60 + 0.1
    disparity[0, 0, 0] = torch.tensor([0.0, -3.0, math.nan, math.inf], dtype=torch.float64)
    focal = torch.tensor([700.0, 350.0], dtype=torch.float64)
    depth = disparity_to_depth(disparity, focal=focal, baseline=0.25)
    assert depth.valid.sum() == 24 - 4
    assert not depth.valid[0, 0, 0].any()
    assert (depth.values[0, 0, 0] == 0).all()
    for b in range(2):
        known = depth.valid[b]
        assert_close(depth.values[b][known], 0.25 * float(focal[b]) / disparity[b][known])
    back = depth_to_disparity(depth.values, focal=focal, baseline=0.25)
    assert torch.equal(back.valid, depth.valid)
    assert_close(back.values[depth.valid], disparity[depth.valid])


def test_the_gradient_of_depth_is_finite_where_there_is_none():
    disparity = torch.tensor([0.0, 4.0], dtype=torch.float64).reshape(1, 1, 1, 2).requires_grad_()
    disparity_to_depth(disparity, focal=2.0, baseline=1.0).values.sum().backward()
    assert disparity.grad is not None
    assert_close(disparity.grad.flatten(), [0.0, -2 / 16])


@pytest.mark.parametrize(
    ("focal", "baseline"), [(0.0, 0.5), (-700.0, 0.5), (700.0, 0.0), (math.nan, 1.0), (-7.0, -1.0)]
)
@pytest.mark.parametrize("convert", [disparity_to_depth, depth_to_disparity])
def test_a_camera_that_cannot_be_is_refused(convert, focal, baseline):
    with pytest.raises(ValueError, match="expected positive finite numbers"):
        convert(torch.ones(1, 1, 2, 2), focal=focal, baseline=baseline)


def slow_splat(image: torch.Tensor, disparity: torch.Tensor, valid: torch.Tensor, sign: int) -> list[torch.Tensor]:
    """Move one pixel after the other; of those that meet, the one with the largest disparity stays, else the first."""
    H, W = image.shape[1:]
    moved, holes = torch.zeros_like(image), torch.ones(H, W, dtype=torch.bool)
    collisions, nearest = torch.zeros(H, W, dtype=torch.bool), torch.full((H, W), -math.inf)
    for y in range(H):
        for x in range(W):
            d = float(disparity[y, x])
            if not valid[y, x] or not math.isfinite(d):
                continue
            goal = math.floor(x + 0.5 + sign * d)
            if not 0 <= goal < W:
                continue
            collisions[y, goal] = not holes[y, goal]
            if holes[y, goal] or d > nearest[y, goal]:
                moved[:, y, goal], nearest[y, goal] = image[:, y, x], d
            holes[y, goal] = False
    return [moved, holes[None], collisions[None]]


@pytest.mark.system("6.1.1-FWDWARP")
@pytest.mark.parametrize(("splat", "sign"), [(splat_right, -1), (splat_left, 1)])
def test_forward_mapping_is_that_of_slow_loops(splat, sign):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 2, 5, 17, generator=generator, dtype=torch.float64)
    disparity = (torch.rand(3, 1, 5, 17, generator=generator) * 6).double()
    disparity[1] = disparity[1].round()  # many are equal
    disparity[2, 0, 0, :2] = torch.tensor([math.nan, math.inf])
    valid = torch.rand(3, 1, 5, 17, generator=generator) < 0.8
    for given in (valid, None):
        received = splat(image, disparity, given)
        for b in range(3):
            known = torch.ones(5, 17, dtype=torch.bool) if given is None else given[b, 0]
            for one, other in zip(received, slow_splat(image[b], disparity[b, 0], known, sign), strict=True):
                assert torch.equal(one[b], other)
    assert received.collisions.any()
    assert received.holes.any()


@pytest.mark.system("6.1.1-FWDWARP", "B6.3")
def test_a_near_square_hides_what_is_behind_it_and_uncovers_a_hole():
    """B6.3: forward mapping leaves holes, even with a perfect disparity."""
    left = torch.arange(8.0).reshape(1, 1, 1, 8)
    disparity = torch.tensor([0.0, 0, 0, 0, 2, 2, 0, 0]).reshape(1, 1, 1, 8)
    image, holes, collisions = splat_right(left, disparity)
    assert image.flatten().tolist() == [0, 1, 4, 5, 0, 0, 6, 7]
    assert holes.flatten().nonzero().flatten().tolist() == [4, 5]
    assert collisions.flatten().nonzero().flatten().tolist() == [2, 3]


def test_a_pixel_of_the_picture_has_a_gradient_if_it_is_seen():
    left = torch.arange(6.0).reshape(1, 1, 1, 6).requires_grad_()
    splat_right(left, torch.tensor([0.0, 0, 0, 2, 0, 9]).reshape(1, 1, 1, 6)).image.sum().backward()
    assert left.grad is not None
    assert left.grad.flatten().tolist() == [1, 0, 1, 1, 1, 0]
