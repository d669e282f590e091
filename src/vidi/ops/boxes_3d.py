"""Boxes in space: their corners, their picture in a camera, and the angle at which a camera sees them.

A 3-D box is seven numbers: the centre x, y, z in metres in the camera's frame (right, down, forward), the size along
the thing's own right, down and forward, and the yaw in radians, which turns forward towards right; yaw 0 faces away
from the camera. A camera is its matrix in pixels, 3 x 3.

The observation angle alpha = yaw - atan2(x, z) is what a picture shows: a thing that turns with the ray on which it is
seen looks the same (Mousavian et al. 2017, arXiv 1612.00496).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

EDGES = tuple((corner, corner | axis) for corner in range(8) for axis in (1, 2, 4) if not corner & axis)
"""The twelve pairs of corners that an edge connects."""

FRONT = (4, 5, 7, 6)
"""The corners of the forward face, in the order of a walk around it."""


def wrap_angles(angles: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return equal angles in [-pi, pi)."""
    return (angles + math.pi).remainder(2 * math.pi) - math.pi


def box_3d_corners(boxes_3d: Float[Tensor, "N 7"]) -> Float[Tensor, "N 8 3"]:
    """Return the corners of 3-D boxes in metres; bits 1, 2, 4 of a row: at the right, lower, forward end."""
    ends = [[corner & 1, corner >> 1 & 1, corner >> 2 & 1] for corner in range(8)]
    right, down, forward = ((boxes_3d.new_tensor(ends) - 0.5) * boxes_3d[:, None, 3:6]).unbind(2)  # N 8 each
    cosine, sine = boxes_3d[:, 6:].cos(), boxes_3d[:, 6:].sin()  # N 1
    turned = torch.stack((cosine * right + sine * forward, down, cosine * forward - sine * right), 2)
    return boxes_3d[:, None, :3] + turned


def project_points(points: Float[Tensor, "*N 3"], intrinsics: Float[Tensor, "3 3"]) -> Float[Tensor, "*N 2"]:
    """Return where a camera sees points of its frame, in pixels; of points before it (z > 0) only."""
    pixels = points @ intrinsics.to(points.dtype).T
    return pixels[..., :2] / pixels[..., 2:]


def lift_points(
    pixels: Float[Tensor, "*N 2"], depths: Float[Tensor, "*N"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "*N 3"]:
    """Return the points of the camera's frame that are seen at pixels, `depths` metres in front of the camera."""
    rays = torch.cat((pixels, torch.ones_like(pixels[..., :1])), -1) @ intrinsics.to(pixels.dtype).inverse().T
    return rays * (depths / rays[..., 2])[..., None]


def ray_angles(centres: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N"]:
    """Return the angles of the rays to points of the camera's frame, seen from above; positive to the right."""
    return torch.atan2(centres[..., 0], centres[..., 2])


def observation_angles(boxes_3d: Float[Tensor, "N 7"]) -> Float[Tensor, " N"]:
    """Return the angles in [-pi, pi) at which the camera sees boxes: their yaw against the ray to their centre."""
    return wrap_angles(boxes_3d[:, 6] - ray_angles(boxes_3d[:, :3]))


def lift_boxes(
    pixels: Float[Tensor, "N 2"],
    depths: Float[Tensor, " N"],
    sizes: Float[Tensor, "N 3"],
    alphas: Float[Tensor, " N"],
    intrinsics: Float[Tensor, "3 3"],
) -> Float[Tensor, "N 7"]:
    """Return the 3-D boxes whose centres a camera sees at pixels, in a depth, at observation angles."""
    centres = lift_points(pixels, depths, intrinsics)
    yaws = wrap_angles(alphas + ray_angles(centres))
    return torch.cat((centres, sizes, yaws[:, None]), 1)


def mirror_boxes_3d(boxes_3d: Float[Tensor, "N 7"]) -> Float[Tensor, "N 7"]:
    """Return the boxes that a camera sees in a mirrored picture: x and yaw change their sign."""
    signs = boxes_3d.new_tensor([-1.0, 1, 1, 1, 1, 1, -1])
    mirrored = boxes_3d * signs
    return torch.cat((mirrored[:, :6], wrap_angles(mirrored[:, 6:])), 1)
