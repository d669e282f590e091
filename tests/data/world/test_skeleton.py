"""Posed persons: limbs keep their lengths, joints lie in the flesh, feet stand on the ground."""

import numpy as np
import pytest

from tests.closeness import EXACT
from vidi.data.world.identities import identity
from vidi.data.world.names import CATEGORIES, JOINT_PAIRS, JOINTS, PART_PAIRS, PARTS, PERSON
from vidi.data.world.skeleton import POSES, Body, draw_pose, pose_body
from vidi.data.world.solids import extents

PEOPLE = [identity(PERSON + len(CATEGORIES) * variant) for variant in (0, 13, 49)]


def bodies() -> list[Body]:
    rng = np.random.default_rng(0)
    return [pose_body(person, draw_pose(rng)) for person in PEOPLE for _ in range(20)]


def length(body: Body, first: str, second: str) -> float:
    return float(np.linalg.norm(body.joints[JOINTS.index(first)] - body.joints[JOINTS.index(second)]))


def test_bones_do_not_stretch():
    rng = np.random.default_rng(1)
    for person in PEOPLE:
        for _ in range(10):
            body = pose_body(person, draw_pose(rng))
            stature = 2 * person.half[1]
            for side in ("left", "right"):
                assert length(body, f"{side}_shoulder", f"{side}_elbow") == pytest.approx(0.165 * stature)
                assert length(body, f"{side}_knee", f"{side}_ankle") == pytest.approx(0.24 * stature)


def test_somebody_upright_is_as_tall_as_his_stature():
    for person in PEOPLE:
        body = pose_body(person, np.zeros(17))
        assert body.high[1] - body.low[1] == pytest.approx(2 * person.half[1], rel=0.04)
        assert body.joints[0, 1] < body.joints[1, 1] < body.joints[8, 1] < body.joints[10, 1] < body.joints[12, 1] < 0


def test_the_lowest_point_touches_the_ground_and_the_box_is_tight():
    for body in bodies():
        reach = extents(body.solids)
        assert (body.solids.centre[:, 1] + reach[:, 1]).max() == pytest.approx(0.0, abs=EXACT)
        np.testing.assert_allclose(body.low, (body.solids.centre - reach).min(0))
        np.testing.assert_allclose(body.high, (body.solids.centre + reach).max(0))


def test_joints_lie_inside_a_solid_of_their_own_part():
    for body in bodies():
        solids = body.solids
        for joint, name in enumerate(JOINTS):
            own = (solids.part == PARTS.index(name)).any(1)
            q = (
                np.einsum("pij,pi->pj", solids.rotation[own], body.joints[joint] - solids.centre[own])
                / solids.half[own]
            )
            q[:, 1] -= q[:, 1].clip(-solids.ratio[own], solids.ratio[own])
            assert (q**2).sum(1).min() <= 1.0 + 1e-9


def test_the_pose_bank_is_varied():
    assert len(POSES) >= 12
    joints = np.stack([pose_body(PEOPLE[0], np.deg2rad(np.array(pose, dtype=float))).joints for pose in POSES.values()])
    apart = np.abs(joints[:, None] - joints[None]).max((2, 3)) + np.eye(len(joints))
    assert apart.min() > 0.1


def test_mirror_pairs_are_left_and_right():
    for names, pairs in ((JOINTS, JOINT_PAIRS), (PARTS, PART_PAIRS)):
        assert {names[a].replace("left", "right") for a, _ in pairs} == {names[b] for _, b in pairs}
        assert 2 * len(pairs) == sum(name.startswith(("left", "right")) for name in names)
