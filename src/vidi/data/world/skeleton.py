"""Jointed persons: a procedural pose bank, body shapes and forward kinematics (after Shotton et al. 2011, section 2).

pose (17 angles) + identity (stature, girth, clothes) -> 14 joints and 17 solids, feet on the ground (y = 0), facing
+z:

    pelvis -> trunk -> neck -> head
                    -> shoulder -> elbow -> wrist      (left, right)
           -> hip -> knee -> ankle                     (left, right)

Frames have x right, y down, z forward, so the person's right is +x. At rest every limb hangs down.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from vidi.data.world.build import dress
from vidi.data.world.identities import Identity
from vidi.data.world.names import JOINTS
from vidi.data.world.rotations import about_x, about_y, about_z
from vidi.data.world.solids import Solids, extents

# Angles in degrees: lean forward, sway to the right, turn of the head to the right;
# per arm: flexion forward, abduction outward, twist inward, elbow; per leg: flexion forward, abduction outward, knee.
# Columns: trunk (3) | left arm (4) | right arm (4) | left leg (3) | right leg (3).
POSES = {
    "stand": (2, 0, 0, 5, 8, 10, 12, 5, 8, 10, 12, 0, 3, 3, 0, 3, 3),
    "walk": (5, 0, 0, 28, 6, 10, 25, -24, 6, 10, 18, -20, 2, 20, 26, 2, 8),
    "run": (14, 0, 0, 48, 10, 15, 90, -42, 10, 15, 80, -28, 2, 65, 55, 2, 65),
    "wave": (0, 2, 10, 5, 10, 10, 12, 0, 115, -85, 55, 0, 4, 2, 0, 4, 2),
    "arms out": (0, 0, 0, 0, 88, 0, 6, 0, 88, 0, 6, 0, 8, 2, 0, 8, 2),
    "hands up": (-3, 0, 0, 5, 152, -60, 18, 5, 152, -60, 18, 0, 6, 2, 0, 6, 2),
    "reach": (8, 0, 0, 80, 4, 0, 10, 80, 4, 0, 10, 8, 3, 8, -8, 3, 8),
    "hands on hips": (0, 0, 0, -12, 42, 65, 88, -12, 42, 65, 88, 0, 8, 2, 0, 8, 2),
    "crouch": (38, 0, 0, 60, 8, 10, 35, 60, 8, 10, 35, 82, 12, 98, 82, 12, 98),
    "kick": (-8, 0, 0, 15, 50, 0, 20, -20, 55, 0, 20, 0, 4, 10, 68, 4, 12),
    "point": (0, 0, -15, 86, 12, 0, 4, 4, 8, 10, 12, 0, 4, 2, 4, 4, 4),
    "think": (4, 0, 8, 20, 10, 70, 80, 42, 6, 25, 128, 0, 3, 3, -4, 5, 6),
}
_BANK = np.array(tuple(POSES.values()), dtype=np.float64)
_JITTER = np.array((4, 4, 18, *(9,) * 8, *(5,) * 6), dtype=np.float64)
# Elbows and knees do not bend backwards.
_HINGES = (6, 10, 13, 16)

# Signs of the angles: flexions, hinges, lean of trunk and of head (half of it, back); abductions, sway; twists, turn.
_PITCHES = np.array((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 0.5))
_ROLLS, _YAWS = np.array((1.0, -1.0, 1.0, -1.0, 1.0)), np.array((1.0, -1.0, 1.0))

# The surface lies at most about this far in front of a joint, as a share of the stature.
_JOINT_DEPTH = np.array(
    (0.10, 0.10, *(0.08,) * 2, *(0.06,) * 2, *(0.06,) * 2, *(0.11,) * 2, *(0.08,) * 2, *(0.10,) * 2)
)


@dataclass(frozen=True, eq=False)
class Body:
    """One posed person that stands at the origin of its own frame."""

    joints: Float64[np.ndarray, "14 3"]  # metres
    reach: Float64[np.ndarray, " 14"]  # how far below the surface each joint may lie, metres
    solids: Solids
    low: Float64[np.ndarray, " 3"]  # corners of the box around the solids
    high: Float64[np.ndarray, " 3"]


def draw_pose(rng: np.random.Generator) -> Float64[np.ndarray, " 17"]:
    """Draw 17 angles in radians: two entries of the pose bank blended, mirrored half the time, with jitter."""
    first, second = rng.integers(len(_BANK), size=2)
    share = 0.5 * rng.random() ** 2
    angles = (1.0 - share) * _BANK[first] + share * _BANK[second] + _JITTER * rng.standard_normal(17).clip(-2, 2)
    return _settled(angles, rng)


def vary_pose(angles: Float64[np.ndarray, " 17"], rng: np.random.Generator) -> Float64[np.ndarray, " 17"]:
    """Draw a pose near another one, in radians: with the jitter of the pose bank, mirrored half the time."""
    return _settled(np.rad2deg(angles) + _JITTER * rng.standard_normal(17).clip(-2, 2), rng)


def _settled(angles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror angles in degrees half the time, bend no hinge backwards, and give them in radians."""
    if rng.random() < 0.5:
        angles = angles[[0, 1, 2, 7, 8, 9, 10, 3, 4, 5, 6, 14, 15, 16, 11, 12, 13]] * np.array((1, -1, -1, *(1,) * 14))
    angles[list(_HINGES)] = angles[list(_HINGES)].clip(min=0.0)
    return np.deg2rad(angles)


def pose_body(person: Identity, angles: Float64[np.ndarray, " 17"]) -> Body:
    """Pose a person (an identity of category person) by the 17 angles of the pose bank, in radians."""
    stature = 2.0 * person.half[1]
    trunk, head, limbs = _frames(angles)
    joints = _joints(trunk, head, limbs)
    centre, rotation = _flesh(joints, trunk, head, limbs)
    solids = dress(person)._replace(centre=centre * stature, rotation=rotation)
    reach = extents(solids)
    floor = (solids.centre[:, 1] + reach[:, 1]).max()
    solids.centre[:, 1] -= floor
    joints *= stature
    joints[:, 1] -= floor
    low, high = (solids.centre - reach).min(0), (solids.centre + reach).max(0)
    depth = _JOINT_DEPTH * stature * person.girth
    return Body(joints=joints, reach=depth, solids=solids, low=low, high=high)


def _frames(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the rotations to the body's frame of trunk, head and 8 limbs.

    Limbs: the upper and then the lower of left arm, right arm, left leg and right leg.
    """
    # Left and right arm, left and right leg; thighs do not twist, and knees bend the other way than elbows.
    pitch = about_x(angles[[3, 7, 11, 14, 6, 10, 13, 16, 0, 0]] * _PITCHES)
    roll, yaw = about_z(angles[[4, 8, 12, 15, 1]] * _ROLLS), about_y(angles[[5, 9, 2]] * _YAWS)
    trunk = roll[4] @ pitch[8]
    upper = roll[:4] @ pitch[:4]
    upper[:2] = trunk @ upper[:2] @ yaw[:2]
    return trunk, trunk @ yaw[2] @ pitch[9], np.concatenate((upper, upper @ pitch[4:8]))


def _joints(trunk: np.ndarray, head: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """Joints for stature 1, the pelvis at the origin."""
    joints = np.zeros((len(JOINTS), 3))
    joints[1] = trunk @ (0.0, -0.315, 0.0)
    joints[0] = joints[1] + head @ (0.0, -0.096, 0.008)
    joints[2:4] = ((-0.103, -0.285, 0.0), (0.103, -0.285, 0.0)) @ trunk.T
    joints[8:10] = (-0.052, 0.0, 0.0), (0.052, 0.0, 0.0)
    joints[4:6] = joints[2:4] + 0.165 * limbs[0:2, :, 1]
    joints[6:8] = joints[4:6] + 0.150 * limbs[4:6, :, 1]
    joints[10:12] = joints[8:10] + 0.245 * limbs[2:4, :, 1]
    joints[12:14] = joints[10:12] + 0.240 * limbs[6:8, :, 1]
    return joints


def _flesh(joints: np.ndarray, trunk: np.ndarray, head: np.ndarray, limbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give centres and rotations of the 17 solids, for stature 1."""
    across = about_z(-0.5 * np.pi)  # a solid whose y axis runs from left to right
    rotation = np.concatenate((np.stack((head, trunk, trunk, trunk @ across, across)), limbs, limbs[4:]))
    centre = np.zeros((17, 3))
    centre[0] = joints[0]
    centre[1] = joints[1] - 0.015 * trunk[:, 1]
    centre[2] = trunk @ (0.0, -0.145, 0.0)
    centre[3] = trunk @ (0.0, -0.272, 0.0)
    centre[5:13] = 0.5 * (joints[[2, 3, 8, 9, 4, 5, 10, 11]] + joints[[4, 5, 10, 11, 6, 7, 12, 13]])
    centre[13:15] = joints[6:8] + 0.035 * limbs[4:6, :, 1]
    centre[15:17] = joints[12:14] + 0.018 * limbs[6:8, :, 1] + 0.038 * limbs[6:8, :, 2]
    return centre, rotation
