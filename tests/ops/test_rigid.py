"""Rotations against SciPy, and their derivatives where the angle is zero."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.closeness import assert_close
from vidi.data.world.rotations import about_x, about_y, about_z
from vidi.ops.rigid import (
    axis_angle_to_pose,
    axis_angle_to_rotation,
    euler_to_pose,
    euler_to_rotation,
    inverse_pose,
    rotation_angle,
)


def vectors(count: int = 20, size: int = 3) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_axis_angles_are_scipys():
    turns = torch.cat((vectors(), 1e-9 * vectors(), torch.zeros(1, 3, dtype=torch.float64), 3 * vectors()))
    assert_close(axis_angle_to_rotation(turns), torch.from_numpy(Rotation.from_rotvec(turns.numpy()).as_matrix()))


def test_euler_angles_turn_about_z_then_y_then_x():
    angles = vectors()
    expected = Rotation.from_euler("XYZ", angles.numpy()).as_matrix()
    assert_close(euler_to_rotation(angles), torch.from_numpy(expected))
    x, y, z = angles[0].tolist()
    assert_close(euler_to_rotation(angles[0]), about_x(x) @ about_y(y) @ about_z(z))


@pytest.mark.parametrize("rotate", [axis_angle_to_rotation, euler_to_rotation])
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0])
def test_rotations_have_their_derivatives_at_angle_zero_too(rotate, scale):
    turns = (scale * vectors(2)).requires_grad_()
    assert torch.autograd.gradcheck(rotate, (turns,), atol=1e-7)
    (slope,) = torch.autograd.grad(rotate(turns)[0, 2, 1], turns)  # of R_zy, by the turn about x
    assert scale > 1e-3 or slope[0].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-7)


@pytest.mark.parametrize(
    ("convert", "rotate"), [(axis_angle_to_pose, axis_angle_to_rotation), (euler_to_pose, euler_to_rotation)]
)
def test_six_numbers_are_a_shift_and_a_turn(convert, rotate):
    six = vectors(6, 6).reshape(2, 3, 6)
    poses = convert(six)
    assert poses.shape == (2, 3, 4, 4)
    assert torch.equal(poses[..., :3, 3], six[..., :3])
    assert torch.equal(poses[..., :3, :3], rotate(six[..., 3:]))
    assert torch.equal(poses[..., 3, :], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).expand(2, 3, 4))
    assert_close(inverse_pose(poses) @ poses, torch.eye(4, dtype=torch.float64).expand(2, 3, 4, 4))


def test_the_angle_of_a_rotation_is_the_length_of_its_axis_angle():
    for angle in (0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-7, np.pi):
        axis = vectors(1)[0]
        rotation = axis_angle_to_rotation(angle * axis / axis.norm())
        assert float(rotation_angle(rotation)) == pytest.approx(angle, rel=1e-7, abs=1e-15)
