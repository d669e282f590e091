"""Warping, triangulation and smoothness against kornia.

kornia counts pixel centres by whole numbers and samples with `align_corners=True`: the same points, half a pixel less.
Its source is the picture that is sampled and its destination the frame that has the depth: our source and target.
"""

import kornia
import pytest
import torch

from tests.closeness import NUMBERS, OUTPUTS, assert_close
from vidi.losses.depth import edge_aware_smoothness_loss
from vidi.ops.rigid import axis_angle_to_pose
from vidi.ops.stereo import disparity_to_depth
from vidi.ops.warp import inverse_warp, left_from_right


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.system("6.1.2-WARP")
def test_a_frame_is_warped_as_by_warp_frame_depth_with_its_gradients():
    source, depth = draw(2, 3, 8, 11).requires_grad_(), (2 + draw(2, 1, 8, 11, seed=1)).requires_grad_()
    six = (0.1 * draw(2, 6, seed=2)).requires_grad_()
    K = torch.tensor([[12.0, 0, 5.5], [0, 13, 4], [0, 0, 1]], dtype=torch.float64).expand(2, 3, 3)
    whole = K.clone()
    whole[:, :2, 2] -= 0.5
    poses = axis_angle_to_pose(six)
    results = []
    for image in (
        inverse_warp(source, depth, poses, K, beyond="zero").image,
        kornia.geometry.depth.warp_frame_depth(source, depth, poses, whole),
    ):
        gradients = torch.autograd.grad(image.square().sum(), (source, depth, six), retain_graph=True)
        results.append((image.detach(), *gradients))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, OUTPUTS)


@pytest.mark.system("6.1.1-BWDWARP")
def test_a_picture_is_warped_by_disparity_as_by_remap():
    right, disparity = draw(2, 3, 5, 11), 6 * draw(2, 1, 5, 11, seed=1)
    columns = torch.arange(11, dtype=torch.float64) - disparity[:, 0]
    rows = torch.arange(5, dtype=torch.float64)[:, None].expand_as(columns)
    theirs = kornia.geometry.transform.remap(right, columns, rows, align_corners=True)
    assert_close(left_from_right(right, disparity, beyond="zero").image, theirs, OUTPUTS)


@pytest.mark.system("6.0-TRIANG")
def test_depth_is_that_of_depth_from_disparity():
    disparity = 1 + 30 * draw(2, 1, 4, 5)
    theirs = kornia.geometry.depth.depth_from_disparity(disparity, baseline=0.54, focal=721.0)
    assert_close(disparity_to_depth(disparity, focal=721.0, baseline=0.54).values, theirs, 2e-8)  # it adds 1e-8 to d


@pytest.mark.system("6.1.1-LDS")
def test_smoothness_is_that_of_inverse_depth_with_the_means_over_channels_and_pixels():
    depth, picture = draw(2, 1, 6, 7), draw(2, 3, 6, 7, seed=1)
    assert_close(
        edge_aware_smoothness_loss(depth, picture), kornia.losses.inverse_depth_smoothness_loss(depth, picture), NUMBERS
    )
