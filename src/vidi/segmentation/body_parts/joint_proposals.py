"""Joints from part probabilities, by local modes in space (Shotton et al. 2011, section 4; notes 5.1.1, phase 3).

    pixels P 2, depth -> points P 3 in space;  weights w = P(part) depth^2: the surface that a pixel covers
    each joint's part: modes of sum_i w_i exp(-|(x - x_i) / b|^2) -> pushed back from the surface to the joint

A centre of mass would do where the classifier never errs; a few pixels of a wrong limb draw it out of the body. Modes
do not move for them: they are modes of their own, with less confidence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from vidi.ops.mean_shift import mean_shift

BANDWIDTH = 0.065  # metres, the mean of those that the paper found for its parts
LEAST_PROBABILITY = 0.14  # of the pixels that count for a joint, likewise
PUSH_BACK = 0.039  # metres from the surface to the joint, likewise


class JointProposals(NamedTuple):
    """Where joints may be, by joint, the surest of each first."""

    joints: Int64[Tensor, " M"]  # number of the joint
    positions: Float[Tensor, "M 3"]  # metres in the camera's frame
    confidences: Float[Tensor, " M"]  # square metres of surface, weighted by the part's probability


def reproject(
    pixels: Int[Tensor, "P 2"], depth: Float[Tensor, " P"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "P 3"]:
    """Return the points in space that pixels (row, column) show, in metres in the camera's frame."""
    centres = torch.stack((pixels[:, 1] + 0.5, pixels[:, 0] + 0.5, torch.ones(len(pixels))), 1).to(depth.dtype)
    return depth[:, None] * (centres @ torch.linalg.inv(intrinsics.to(depth.dtype)).T)  # P 3


def propose_joints(
    probabilities: Float[Tensor, "P K"],
    points: Float[Tensor, "P 3"],
    focal: float,
    parts: Sequence[int],
    *,
    bandwidth: float = BANDWIDTH,
    least: float = LEAST_PROBABILITY,
    push_back: Float[Tensor, " J"] | None = None,
) -> JointProposals:
    """Find the modes of each joint's part, and push them back.

    Args:
        probabilities: of the parts, at the pixels of the body.
        points: what the pixels show, in space.
        focal: length in pixels: a pixel at depth d covers (d / focal)^2 square metres.
        parts: the part around each joint.
        bandwidth: of the density, metres.
        least: probability of the pixels that count.
        push_back: metres along the line of sight from the surface to each joint; None: the paper's mean.
    """
    joints, positions, confidences = [], [], []
    for joint, part in enumerate(parts):
        own = probabilities[:, part] > least
        weights = probabilities[own, part].double() * (points[own, 2].double() / focal) ** 2
        modes = mean_shift(points[own], bandwidth, weights=weights, starts="cells")
        back = PUSH_BACK if push_back is None else float(push_back[joint])
        order = modes.mass.argsort(descending=True, stable=True)
        centres = modes.centres[order]
        joints.append(torch.full((len(centres),), joint))
        positions.append(centres * (1 + back / centres.norm(dim=1, keepdim=True)))
        confidences.append(modes.mass[order])
    return JointProposals(torch.cat(joints), torch.cat(positions).to(points.dtype), torch.cat(confidences).float())


def surface_distances(
    proposals: JointProposals, joints: Float[Tensor, "J 3"], *, near: float = 0.25
) -> Float[Tensor, " J"]:
    """Return how far behind its surest mode each joint lies along the line of sight, metres; NaN without a mode near.

    Args:
        proposals: that were not pushed back.
        joints: where they are.
        near: metres across the line of sight within which a mode is of the joint.
    """
    distances = torch.full((len(joints),), torch.nan, dtype=joints.dtype)
    for joint in proposals.joints.unique().tolist():
        mode = proposals.positions[proposals.joints == joint][0].to(joints.dtype)
        along = mode / mode.norm()
        offset = joints[joint] - mode
        if (offset - (offset @ along) * along).norm() < near:
            distances[joint] = offset @ along
    return distances
