"""Backward mapping against torch's sampling, finite differences, and the world's other views."""

import math

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from tests.closeness import assert_close
from vidi.data.world.dataset import World
from vidi.ops.rigid import axis_angle_to_pose
from vidi.ops.stereo import depth_to_disparity
from vidi.ops.warp import (
    back_project,
    inverse_warp,
    left_from_right,
    move_points,
    project,
    right_from_left,
    row_by_grid_sample,
    sample_pixels,
)

ALL = ("right", "disparity", "disparity_valid", "disparity_right", "disparity_right_valid", "depth", "depth_valid")
MOVING = ("neighbours", "poses", "occluded", "intrinsics")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def camera(focal: float = 20.0, size: tuple[int, int] = (6, 9)) -> torch.Tensor:
    H, W = size
    return torch.tensor([[[focal, 0, W / 2], [0, 1.1 * focal, H / 2 - 1], [0, 0, 1]]], dtype=torch.float64)


@pytest.mark.system("6.1.1-BWDWARP")
@pytest.mark.parametrize(("beyond", "padding"), [("edge", "border"), ("zero", "zeros")])
def test_samples_are_bilinear_and_points_are_pixels(beyond, padding):
    maps, points = draw(2, 3, 6, 9), draw(2, 4, 5, 2, seed=1) * torch.tensor([13.0, 10.0]) - 2
    received = sample_pixels(maps, points, beyond=beyond)
    grid = (points - 0.5) / torch.tensor([8.0, 5.0]) * 2 - 1  # the corners' centres are -1 and 1
    assert_close(received.image, F.grid_sample(maps, grid, padding_mode=padding, align_corners=True))
    x, y = points.unbind(-1)
    assert torch.equal(received.inside[:, 0], (x >= 0) & (x < 9) & (y >= 0) & (y < 6))
    centre = torch.tensor([4.5, 2.5], dtype=torch.float64).expand(2, 1, 1, 2)
    assert_close(sample_pixels(maps, centre, beyond=beyond).image[..., 0, 0], maps[:, :, 2, 4])


@pytest.mark.system("6.1.1-BWDWARP")
@pytest.mark.parametrize("beyond", ["edge", "zero"])
@pytest.mark.parametrize(("warp", "sign"), [(left_from_right, -1), (right_from_left, 1)])
def test_the_compiled_warp_is_torchs_sampling_with_its_gradients(warp, sign, beyond):
    source, disparity = draw(2, 3, 4, 11).requires_grad_(), (draw(2, 1, 4, 11, seed=1) * 14 - 3).requires_grad_()
    weights = draw(2, 3, 4, 11, seed=2)
    columns = torch.arange(11, dtype=torch.float64) + 0.5 + sign * disparity
    results = []
    for image in (warp(source, disparity, beyond=beyond).image, row_by_grid_sample(source, columns, beyond=beyond)):
        results.append([image.detach(), *torch.autograd.grad((image * weights).sum(), (source, disparity))])
    for one, other in zip(*results, strict=True):
        assert_close(one, other)
    inside = warp(source, disparity, beyond=beyond).inside
    assert torch.equal(inside, (columns >= 0) & (columns < 11))
    assert 0.3 < inside.double().mean() < 0.9


@pytest.mark.system("6.1.1-BWDWARP")
@pytest.mark.parametrize("beyond", ["edge", "zero"])
def test_the_gradients_of_the_warp_are_finite_differences(beyond):
    source, disparity = draw(1, 2, 3, 7).requires_grad_(), (draw(1, 1, 3, 7, seed=1) * 9 - 2).requires_grad_()
    for warp in (left_from_right, right_from_left):
        assert torch.autograd.gradcheck(lambda s, d, w=warp: w(s, d, beyond=beyond).image, (source, disparity))


@pytest.mark.system("6.1.1-BWDWARP", "B6.2")
def test_the_left_picture_is_found_to_the_left_in_the_right_one():
    """B6.2, with the sign of C6.1: the point at u_L = 100 with d = 20 is at u_R = 80; u + d would read 120."""
    right = torch.arange(200.0).expand(1, 1, 1, 200)
    disparity = torch.full((1, 1, 1, 200), 20.0)
    assert float(left_from_right(right, disparity).image[..., 100]) == 80
    assert float(right_from_left(right, disparity).image[..., 100]) == 120
    assert left_from_right(right, disparity).inside.flatten().tolist() == [False] * 20 + [True] * 180


def test_the_edge_has_no_gradient_and_zero_falls_off_within_a_pixel():
    source = torch.tensor([2.0, 4.0, 8.0]).reshape(1, 1, 1, 3)
    disparity = torch.tensor([0.25, 1.0, -0.75]).reshape(1, 1, 1, 3).requires_grad_()
    edge = left_from_right(source, disparity).image
    assert edge.flatten().tolist() == [2, 2, 8]
    (slope,) = torch.autograd.grad(edge.sum(), disparity)
    assert slope.flatten().tolist() == [0, 0, 0]
    zero = left_from_right(source, disparity, beyond="zero").image
    assert zero.flatten().tolist() == [1.5, 2, 2]
    (slope,) = torch.autograd.grad(zero.sum(), disparity)
    assert slope.flatten().tolist() == [-2, -2, 8]


def test_the_left_and_the_upper_edge_belong_to_the_picture_and_the_others_do_not():
    maps, half = draw(1, 1, 3, 4), torch.full((1, 1, 3, 4), 0.5, dtype=torch.float64)
    points = torch.tensor([[0, 1], [4, 1], [1, 0], [1, 3]], dtype=torch.float64)[None, None]
    assert sample_pixels(maps, points).inside.flatten().tolist() == [True, False, True, False]
    assert left_from_right(maps, half).inside.all()
    assert right_from_left(maps, half).inside[0, 0, 0].tolist() == [True, True, True, False]


def test_disparities_that_are_no_numbers_read_no_memory():
    disparity = torch.tensor([math.nan, math.inf, -math.inf, 0.0]).reshape(1, 1, 1, 4)
    for beyond in ("edge", "zero"):
        warped = left_from_right(torch.ones(1, 1, 1, 4), disparity, beyond=beyond)
        assert warped.inside.flatten().tolist() == [False, False, False, True]
        assert float(warped.image[..., 3]) == 1


def test_half_precision_is_warped_in_float32():
    source, disparity = draw(1, 1, 3, 8), 2 * draw(1, 1, 3, 8, seed=1)
    half = left_from_right(source.bfloat16(), disparity.bfloat16()).image
    assert half.dtype == torch.float32
    assert torch.equal(half, left_from_right(source.bfloat16().float(), disparity.bfloat16().float()).image)


def test_the_warp_can_be_exported():
    class Warp(torch.nn.Module):
        def forward(self, right: torch.Tensor, disparity: torch.Tensor) -> torch.Tensor:
            return left_from_right(right, disparity).image

    inputs = draw(1, 2, 4, 9).float(), (3 * draw(1, 1, 4, 9, seed=1)).float()
    exported = torch.export.export(Warp(), inputs).module()
    assert_close(exported(*inputs), left_from_right(*inputs).image, 1e-5)


def test_points_are_projected_to_the_pixels_that_they_come_from():
    depth, K = 1 + draw(2, 1, 6, 9), camera().expand(2, -1, -1)
    points = back_project(depth, K)
    assert torch.equal(points[:, 2:], depth)
    pixels, in_front = project(points, K)
    assert_close(pixels[1, 2, 3], [3.5, 2.5])
    assert_close(pixels[0, 5, 8], [8.5, 5.5])
    assert in_front.all()
    x = (4 + 0.5 - 4.5) / 20 * float(depth[0, 0, 1, 4])
    y = (1 + 0.5 - 2.0) / 22 * float(depth[0, 0, 1, 4])
    assert_close(points[0, :2, 1, 4], [x, y])
    pose = axis_angle_to_pose(draw(2, 6, seed=3))
    moved = move_points(points, pose)
    homogeneous = torch.cat((points, torch.ones_like(depth)), 1)
    assert_close(moved, torch.einsum("bij,bjhw->bihw", pose, homogeneous)[:, :3])


@pytest.mark.system("6.1.2-WARP", "B6.6")
def test_no_motion_samples_every_pixel_where_it_is():
    """B6.6, first half."""
    source = draw(2, 3, 6, 9)
    warped = inverse_warp(source, 1 + draw(2, 1, 6, 9, seed=1), torch.eye(4).expand(2, 4, 4), camera().expand(2, 3, 3))
    assert_close(warped.image, source)
    assert warped.inside.all()


@pytest.mark.system("6.1.2-WARP", "B6.6")
def test_a_shift_along_x_is_a_disparity():
    """B6.6, second half: x_source - x_target = f t / z."""
    source, depth = draw(1, 3, 6, 9), 2 + draw(1, 1, 6, 9, seed=1)
    pose = torch.eye(4, dtype=torch.float64)[None].clone()
    pose[:, 0, 3] = -0.25
    warped = inverse_warp(source, depth, pose, camera())
    expected = left_from_right(source, depth_to_disparity(depth, focal=20.0, baseline=0.25).values)
    assert_close(warped.image, expected.image)
    assert torch.equal(warped.inside, expected.inside)


@pytest.mark.system("6.1.2-WARP")
def test_the_source_may_have_its_own_camera():
    depth, pose = 2 + draw(1, 1, 6, 9), axis_angle_to_pose(0.1 * draw(1, 6, seed=1))
    K, other = camera(), camera(31.0)
    columns = torch.arange(9, dtype=torch.float64).expand(6, 9) + 0.5
    rows = (torch.arange(6, dtype=torch.float64) + 0.5)[:, None].expand(6, 9)
    places = torch.stack((columns, rows))[None]  # a picture that says where it was sampled
    warped = inverse_warp(places, depth, pose, K, source_intrinsics=other)
    for i in range(6):
        for j in range(9):
            point = float(depth[0, 0, i, j]) * torch.linalg.solve(K[0], K.new_tensor([j + 0.5, i + 0.5, 1]))
            x, y, z = other[0] @ (pose[0, :3, :3] @ point + pose[0, :3, 3])
            expected = [min(max(float(x / z), 0.5), 8.5), min(max(float(y / z), 0.5), 5.5)]
            assert_close(warped.image[0, :, i, j], expected)
    assert 0.1 < warped.inside.double().mean() < 1


@pytest.mark.system("6.1.2-WARP")
def test_points_behind_the_camera_are_not_inside_and_have_a_gradient_of_zero():
    source, depth = draw(1, 3, 6, 9), torch.full((1, 1, 6, 9), 2.0, dtype=torch.float64)
    depth[..., 3:] = 0.5
    pose = torch.eye(4, dtype=torch.float64)[None].clone()
    pose[:, 2, 3] = -0.5  # half a metre forward: the near points are in the plane of the camera
    depth.requires_grad_()
    warped = inverse_warp(source, depth, pose, camera())
    assert not warped.inside[..., 3:].any()
    assert warped.inside[..., 1:5, 1:3].all()
    (slope,) = torch.autograd.grad(warped.image.sum(), depth)
    assert slope.isfinite().all()
    assert (slope[..., 3:] == 0).all()
    assert (slope[..., 2:4, 1:3] != 0).any()


@pytest.mark.system("6.1.2-WARP")
def test_the_gradients_of_the_inverse_warp_are_finite_differences():
    source, depth = draw(1, 2, 6, 9).requires_grad_(), (2 + draw(1, 1, 6, 9, seed=1)).requires_grad_()
    six = (0.05 * draw(1, 6, seed=2) + 0.013).requires_grad_()

    def warp(source: torch.Tensor, depth: torch.Tensor, six: torch.Tensor) -> torch.Tensor:
        return inverse_warp(source, depth, axis_angle_to_pose(six), camera()).image

    assert torch.autograd.gradcheck(warp, (source, depth, six), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("fault", [0.0, math.nan, math.inf])
def test_a_camera_without_inverse_is_refused(fault):
    K = camera()
    K[:, 0, 0] = fault
    with pytest.raises(ValueError, match="expected finite ones that have an inverse"):
        inverse_warp(draw(1, 1, 6, 9), draw(1, 1, 6, 9) + 1, torch.eye(4)[None], K)


def test_an_unknown_border_is_refused():
    with pytest.raises((ValueError, TypeCheckError), match="edge"):  # the tests' hook comes first
        left_from_right(draw(1, 1, 2, 2), draw(1, 1, 2, 2), beyond="wrap")  # type: ignore[arg-type]


def seen(index: int) -> dict[str, torch.Tensor]:
    image, target = World(size=(128, 128), seed=3, targets=(*ALL, *MOVING))[index]
    plain = {name: torch.as_tensor(value).as_subclass(torch.Tensor) for name, value in target.items()}
    return plain | {"image": image.as_subclass(torch.Tensor)}


def away_from(hidden: torch.Tensor) -> torch.Tensor:
    """Pixels with none of the hidden ones within two pixels; B 1 H W."""
    return F.max_pool2d(hidden.double(), 5, 1, 2) == 0


@pytest.mark.system("6.1.1-BWDWARP", "6.1.2-WARP")
def test_the_worlds_views_are_rebuilt_from_each_other_by_true_disparity_and_by_depth_and_pose():
    worst = {"left": 0.0, "right": 0.0, "frames": 0.0}
    for index in range(4):
        truth = seen(index)
        left, right = (truth[name][None].double() / 255 for name in ("image", "right"))
        pairs = (("left", left_from_right, left, right, ""), ("right", right_from_left, right, left, "_right"))
        for name, warp, picture, source, side in pairs:
            warped = warp(source, truth[f"disparity{side}"][None, None].double())
            valid = truth[f"disparity{side}_valid"][None, None].bool()
            assert warped.inside[valid].all()
            error = (warped.image - picture).abs().mean(1, keepdim=True)[away_from(~valid)].mean()
            worst[name] = max(worst[name], float(error))
        depth_valid = truth["depth_valid"].bool()
        depth = truth["depth"].double().where(depth_valid, 1)
        for frame, pose, occluded in zip(truth["neighbours"], truth["poses"], truth["occluded"], strict=True):
            warped = inverse_warp(
                frame[None].double() / 255, depth[None, None], pose[None].double(), truth["intrinsics"][None].double()
            )
            visible = (depth_valid & ~occluded.bool())[None, None]
            assert warped.inside[visible].all()
            error = (warped.image - left).abs().mean(1, keepdim=True)[away_from(~visible)].mean()
            worst["frames"] = max(worst["frames"], float(error))
    assert max(worst.values()) < 2 / 255, worst
