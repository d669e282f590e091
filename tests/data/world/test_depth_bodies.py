"""Depth images of bodies without end: what a sample holds, on what it depends, and poses near given ones."""

import numpy as np
import pytest
import torch

from tests.closeness import assert_close
from vidi.data.world.depth_bodies import BODIES, DepthBodies
from vidi.data.world.identities import identity
from vidi.data.world.kinect import NOISE, STEP, measured_depth
from vidi.data.world.skeleton import vary_pose

SIZE = (60, 80)
EVERY = ("parts", "depth", "depth_valid", "joints", "intrinsics")


def bodies(count: int = 10, **arguments) -> DepthBodies:
    return DepthBodies(count=count, **{"size": SIZE, "targets": EVERY, **arguments})


@pytest.mark.system("5.1.1-SYNTH")
def test_a_sample_is_a_depth_image_with_parts_and_joints():
    image, target = bodies()[3]
    assert image.shape == (1, *SIZE)
    assert image.dtype == torch.float32
    on = target["parts"].as_subclass(torch.Tensor) < len(DepthBodies.parts)
    assert torch.equal(on, target["depth_valid"].as_subclass(torch.Tensor))
    assert torch.equal(image[0] > 0, on)
    assert torch.equal(image[0], target["depth"].as_subclass(torch.Tensor))
    assert 1.5 < image[0][on].min() < image.max() < 5
    assert target["joints"].shape == (1, 14, 3)
    assert target["image_id"] == 3
    assert set(target) == {"image_id", *EVERY} == DepthBodies.kinds


@pytest.mark.system("5.1.1-SYNTH")
def test_the_virtual_camera_is_the_kinects():
    dataset = DepthBodies(count=1)
    image, target = dataset[0]
    assert image.shape == (1, 240, 320)
    assert_close(target["intrinsics"], torch.tensor([[292.5, 0, 160], [0, 292.5, 120], [0, 0, 1]]))
    pixels = target["joints"][0] @ target["intrinsics"].T
    columns, rows = (pixels[:, :2] / pixels[:, 2:]).T
    on = (image[0] > 0).nonzero()
    assert rows.min() > on[:, 0].min() - 2
    assert rows.max() < on[:, 0].max() + 2
    assert columns.min() > on[:, 1].min() - 2
    assert columns.max() < on[:, 1].max() + 2


@pytest.mark.system("5.1.1-SYNTH")
def test_bodies_and_poses_vary_and_those_of_a_split_are_in_no_other():
    plans = [bodies(60).plan(k) for k in range(60)]
    assert len({plan.body for plan in plans}) > 20
    assert np.stack([plan.pose for plan in plans]).std(0).min() > 0.02
    assert max(abs(plan.place[2] - np.pi) for plan in plans) > 1.0
    assert {plan.body for plan in plans} <= set(BODIES["train"])
    assert {bodies(40, split="test").plan(k).body for k in range(40)} <= set(BODIES["test"])
    assert sorted(body for own in BODIES.values() for body in own) == list(range(50))
    people = [identity(5 * body + 4) for body in range(50)]
    assert min(p.half[1] for p in people) < 0.8 < 0.9 < max(p.half[1] for p in people)
    assert max(p.girth for p in people) > 1.2


@pytest.mark.system("5.1.1-SYNTH")
def test_a_sample_is_a_function_of_seed_split_and_index_alone():
    (one, a), (two, b) = bodies(10, noise=True)[7], bodies(30, noise=True)[7]
    assert torch.equal(one, two)
    assert torch.equal(a["joints"], b["joints"])
    for other in (bodies(seed=1), bodies(split="val"), bodies(first=1)):
        assert not torch.equal(bodies()[7][0], other[7][0])
    assert torch.equal(bodies()[7][0], bodies(first=4)[3][0])
    assert torch.equal(bodies()[-1][0], bodies()[9][0])
    with pytest.raises(IndexError, match="sample 10 of 10"):
        bodies()[10]


@pytest.mark.system("5.1.1-HARDPOSE", "5.1.1-SYNTH")
def test_more_samples_come_of_other_draws_or_near_given_poses():
    base = bodies(5)
    others = base.others(4, first=5)
    assert len(others) == 4
    assert torch.equal(others[0][0], bodies(6)[5][0])
    poses = [bodies(50).plan(k).pose for k in (30, 40)]
    more = bodies(5, copies=3).with_near(poses)
    assert len(more) == 5 + 2 * 3
    assert torch.equal(more[4][0], base[4][0])
    for index in range(5, 11):
        pose, own = more.plan(index).pose, poses[(index - 5) // 3]
        assert min(np.abs(pose - mirrored(own)).max() for mirrored in (np.asarray, in_a_mirror)) < np.deg2rad(36.5)
    assert len({more.plan(index).place[1] for index in range(5, 11)}) == 6
    again = more.with_near(poses[:1])
    assert len(again) == 5 + 9
    assert torch.equal(again[10][0], more[10][0])


def in_a_mirror(pose: np.ndarray) -> np.ndarray:
    swapped = pose[[0, 1, 2, 7, 8, 9, 10, 3, 4, 5, 6, 14, 15, 16, 11, 12, 13]].copy()
    swapped[1:3] *= -1
    return swapped


@pytest.mark.system("5.1.1-HARDPOSE")
def test_varied_poses_bend_no_hinge_backwards_and_are_mirrored_half_the_time():
    pose = np.zeros(17)
    pose[3] = 1.5  # the left arm forward
    varied = np.stack([vary_pose(pose, np.random.default_rng(seed)) for seed in range(200)])
    assert varied[:, [6, 10, 13, 16]].min() == 0
    left = np.abs(varied[:, 3] - 1.5) < 0.4
    assert 70 < left.sum() < 130
    assert (np.abs(varied[~left, 7] - 1.5) < 0.4).all()


@pytest.mark.system("5.1.1-SYNTH")
def test_the_sensor_measures_in_steps_that_grow_with_the_square_of_the_depth():
    rng = np.random.default_rng(0)
    for away in (1.0, 2.0, 4.0):
        measured = measured_depth(np.full((200, 200), away, np.float32), rng).astype(np.float64)
        steps = np.diff(np.unique(measured))
        assert np.median(steps) == pytest.approx(STEP * away**2, rel=0.05)
        spread = np.sqrt(NOISE**2 + STEP**2 / 12) * away**2
        assert measured.std() == pytest.approx(spread, rel=0.1)
        assert measured.mean() == pytest.approx(away, rel=0.01)
    assert pytest.approx(0.07, abs=0.002) == STEP * 5.0**2
    assert not measured_depth(np.zeros((3, 3), np.float32), rng).any()
    exact, noisy = bodies()[0][0], bodies(noise=True)[0][0]
    assert torch.equal(exact > 0, noisy > 0)
    assert 0 < (exact - noisy).abs().max() < 0.3


@pytest.mark.parametrize(
    "arguments",
    [{"split": "x"}, {"targets": ["right"]}, {"size": (16, 64)}, {"count": -1}, {"copies": 0}, {"first": -1}],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"choices|sides|negative"):
        DepthBodies(**{"count": 1, **arguments})
