"""Rigid motions as 4 x 4 matrices, and the six numbers that a network gives for one.

A pose T_b_a moves points of the frame a into the frame b: p_b = R p_a + t. Six numbers are (t_x, t_y, t_z) and three
angles in radians (Zhou et al. 2017, SfMLearner, arXiv 1704.07813; notes 6.1.2):

    axis-angle   R = exp([w]x): a turn by |w| about w (Rodrigues)
    Euler        R = R_x R_y R_z, the order of SfMLearner's code
"""

import torch
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_rotation(turns: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Return the rotation about each axis by as many radians as it is long.

    It is the matrix exponential, which is smooth where the angle is zero; Rodrigues' formula divides by it there.
    """
    x, y, z = turns.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1)
    return torch.linalg.matrix_exp(cross.unflatten(-1, (3, 3)))


def euler_to_rotation(angles: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Return R_x R_y R_z of the angles about x, y and z: z turns first.

    Differs from SfMLearner's code: angles beyond pi are not cut off, they turn on.
    """
    about_x, about_y, about_z = axis_angle_to_rotation(torch.diag_embed(angles)).unbind(-3)
    return about_x @ about_y @ about_z


def axis_angle_to_pose(vectors: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 4 4"]:
    """Return the rigid motions of (t_x, t_y, t_z) and an axis-angle."""
    return rigid(axis_angle_to_rotation(vectors[..., 3:]), vectors[..., :3])


def euler_to_pose(vectors: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 4 4"]:
    """Return the rigid motions of (t_x, t_y, t_z) and the angles about x, y and z."""
    return rigid(euler_to_rotation(vectors[..., 3:]), vectors[..., :3])


def rigid(rotation: Float[Tensor, "*B 3 3"], translation: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 4 4"]:
    """Return the matrices that turn, then shift."""
    last = rotation.new_tensor((0.0, 0.0, 0.0, 1.0)).expand(*rotation.shape[:-2], 1, 4)
    return torch.cat((torch.cat((rotation, translation[..., None]), -1), last), -2)


def inverse_pose(poses: Float[Tensor, "*B 4 4"]) -> Float[Tensor, "*B 4 4"]:
    """Return the inverse of rigid motions: T_a_b of T_b_a."""
    turned_back = poses[..., :3, :3].mT
    return rigid(turned_back, -(turned_back @ poses[..., :3, 3:])[..., 0])


def rotation_angle(rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B"]:
    """Return by how much rotations turn, in [0, pi].

    From the sine and the cosine both: the cosine alone (the trace) loses half the digits of a small angle.
    """
    skew = rotation - rotation.mT
    sine = torch.stack((skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]), -1).norm(dim=-1) / 2
    cosine = (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.atan2(sine, cosine)
