"""Background removal: the person, the room behind, what floats before, and what is no depth."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from vidi.data.world.depth_bodies import DepthBodies
from vidi.data.world.kinect import measured_depth
from vidi.segmentation.body_parts.background import BACKGROUND, person_mask, remove_background

SIZE = (120, 160)
KINECT_HEIGHT = 0.95


def empty_room(camera: torch.Tensor) -> torch.Tensor:
    """A floor, a wall 4.4 m away, and a cupboard before it."""
    H, W = SIZE
    y = (torch.arange(H) + 0.5 - camera[1, 2]) / camera[1, 1]
    floor = torch.where(y > 0, KINECT_HEIGHT / y.clamp(min=1e-6), 1e6)[:, None].expand(H, W)
    room = floor.clamp(max=4.4).clone()
    room[30:90, 130:158] = room[30:90, 130:158].clamp(max=3.0)
    return room


def scenes(count: int = 6, noise: bool = False):
    for image, target in (
        DepthBodies(count=count, size=SIZE, targets=("parts", "intrinsics"))[k] for k in range(count)
    ):
        person = target["parts"].as_subclass(torch.Tensor) < len(DepthBodies.parts)
        room = empty_room(target["intrinsics"])
        whole = torch.where(person & (image[0] < room + 0.05), image[0], room)
        if noise:
            whole, room = (
                torch.from_numpy(measured_depth(d.numpy(), np.random.default_rng(seed)))
                for seed, d in enumerate((whole, room))
            )
        yield whole, room, person


@pytest.mark.system("5.1.1-BGREMOVE")
@pytest.mark.parametrize("noise", [False, True])
def test_the_person_is_told_from_the_room(noise):
    for whole, room, person in scenes(noise=noise):
        mask = person_mask(whole, room=room)
        overlap = (mask & person).sum() / (mask | person).sum()
        assert overlap > 0.9  # the soles are as far away as the floor
        removed = remove_background(whole, mask)
        assert (removed[~mask] == BACKGROUND).all()
        assert torch.equal(removed[mask], whole[mask])
        assert 1000 * whole.max() < BACKGROUND


@pytest.mark.system("5.1.1-BGREMOVE")
def test_without_an_empty_room_reach_and_jumps_decide():
    depth = torch.full((40, 40), 6.0)
    depth[5:35, 15:25] = 2.5
    depth[10:14, 2:6] = 2.0  # a thing beside
    depth[12:14, 27:30] = 2.3  # another, which nearly touches: two pixels lie between
    depth[20:25, 18:22] = 2.0  # a hand before the body
    depth[28:33, 24] = 3.0  # a leg behind
    depth[0:3] = 0.0
    depth[5:7, 30:40] = 0.3
    mask = person_mask(depth)
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[5:35, 15:25] = True
    assert torch.equal(mask, expected)
    assert not person_mask(depth, limb=0.4)[20:25, 18:22].any()
    depth[20:25, 18:22] = 3.2  # a hole in the body, and the room behind it
    assert not person_mask(depth)[20:25, 18:22].any()
    assert person_mask(depth, jump=1.0)[20:25, 18:22].all()
    assert not person_mask(depth, farthest=2.2)[30, 20]
    assert person_mask(depth, nearest=0.2, farthest=2.2)[11, 3] or person_mask(depth, nearest=0.2, farthest=2.2)[5, 35]


@pytest.mark.system("5.1.1-BGREMOVE")
def test_slopes_are_one_surface():
    depth = torch.linspace(1.0, 4.0, 60)[:, None].expand(60, 20)
    assert person_mask(depth).all()
    steps = depth.clone()
    steps[30:] += 0.2
    assert person_mask(steps).sum() == 30 * 20


def test_nobody_is_nowhere():
    assert not person_mask(torch.zeros(8, 8)).any()
    assert not person_mask(torch.full((8, 8), 7.0)).any()
    room = torch.full((8, 8), 2.0)
    assert not person_mask(0.99 * room, room=room).any()
    assert person_mask(0.97 * room, room=room).all()
    assert person_mask(room, room=torch.zeros(8, 8)).all()  # where nothing is known of the room


def test_what_is_no_depth_is_refused():
    with pytest.raises(ValueError, match="negative or missing"):
        person_mask(torch.full((4, 4), -1.0))
    with pytest.raises(ValueError, match="negative or missing"):
        person_mask(torch.full((4, 4), torch.nan))
    with pytest.raises((ValueError, TypeCheckError), match="room"):  # the tests' hook comes first
        person_mask(torch.ones(4, 4), room=torch.ones(4, 5))
