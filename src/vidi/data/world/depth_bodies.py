"""Depth images of articulated bodies, as many as one likes (synthetic data of Shotton et al. 2011, section 2.1).

The picture of a sample is its depth image, float32 1 H W in metres, 0 where nothing is measured. Bodies of a split
are met in no other split; poses are drawn from the pose bank, or near poses that a classifier failed on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.world.bodies import FARTHEST, KINECT, LARGEST_TURN, NEAREST
from vidi.data.world.camera import intrinsics
from vidi.data.world.dataset import check_choices
from vidi.data.world.daylight import draw_daylight
from vidi.data.world.kinect import measured_depth
from vidi.data.world.names import CATEGORIES, JOINT_PAIRS, JOINTS, NO_PART, PART_PAIRS, PARTS, PERSON, SKELETON, SPLITS
from vidi.data.world.renderer import SMALLEST, Surfaces, cast_surfaces, check_size
from vidi.data.world.scene import Scene, assemble, make_person
from vidi.data.world.skeleton import draw_pose, vary_pose

BODIES = {"train": range(36), "val": range(36, 43), "test": range(43, 50)}
"""The bodies of each split, of the fifty persons of the world: statures from 1.5 to 1.95 m, slim to stout."""

Angles = Float64[np.ndarray, " 17"]


class Plan(NamedTuple):
    """What one sample shows."""

    body: int  # of the fifty
    place: Float64[np.ndarray, " 3"]  # x, z in metres, and the turn in radians
    pose: Angles


@dataclass(frozen=True, eq=False)
class DepthView:
    """One body as the camera sees it."""

    scene: Scene
    surfaces: Surfaces
    size: tuple[int, int]
    index: int

    @property
    def depth(self) -> Float32[np.ndarray, "H W"]:
        """The true depth in metres, 0 where there is none."""
        return np.where(self.surfaces.part < NO_PART, self.surfaces.depth, np.float32(0.0))


def _joints(seen: DepthView) -> Float32[np.ndarray, "1 14 3"]:
    to_camera = np.array((0.0, KINECT.height, 0.0))
    return (seen.scene.joints + to_camera).astype(np.float32)


def _mask(values: np.ndarray) -> tv_tensors.Mask:
    return tv_tensors.Mask(torch.from_numpy(values))


TRUTHS: Mapping[str, Callable[[DepthView], object]] = {
    "image_id": lambda seen: torch.tensor(seen.index),
    "parts": lambda seen: _mask(seen.surfaces.part),
    "depth": lambda seen: _mask(seen.depth),
    "depth_valid": lambda seen: _mask(seen.surfaces.part < NO_PART),
    "joints": lambda seen: torch.from_numpy(_joints(seen)),
    "intrinsics": lambda seen: torch.from_numpy(intrinsics(KINECT, seen.size).astype(np.float32)),
}


class DepthBodies(Dataset):
    """Depth images with body parts and joints; sample i depends on (seed, split, i), the size and the poses alone.

    A sample is (image, target): image float32 1 H W, depth in metres, 0 off the body; target a dict with `image_id`
    and the keys named in `targets`: `parts` (uint8 H W, len(parts) off the body), `joints` (float32 1 14 3, metres in
    the camera's frame), `intrinsics`, and the true `depth` and `depth_valid`.
    """

    categories: tuple[str, ...] = PARTS  # the classes of pixels
    kinds: frozenset[str] = frozenset(TRUTHS)
    joints: tuple[str, ...] = JOINTS
    skeleton: tuple[tuple[int, int], ...] = SKELETON
    joint_pairs: tuple[tuple[int, int], ...] = JOINT_PAIRS
    parts: tuple[str, ...] = PARTS
    part_pairs: tuple[tuple[int, int], ...] = PART_PAIRS

    def __init__(
        self,
        split: str = "train",
        *,
        count: int = 1000,
        size: tuple[int, int] = (240, 320),  # (H, W), sides from 32 to 512
        seed: int = 0,
        noise: bool = False,  # whether the depth is quantised and noisy as the sensor's
        targets: Sequence[str] = ("parts", "joints", "intrinsics"),
        first: int = 0,  # the number of the first sample
        near: Sequence[np.ndarray] = (),  # poses (17 angles, radians), of which varied copies follow behind the others
        copies: int = 8,  # of each of these poses, on bodies and at places of their own
    ) -> None:
        """Prepare the renderer; a name, size or number out of range is a ValueError."""
        check_choices("split", [split], SPLITS)
        check_choices("targets", targets, self.kinds)
        check_size(size)
        if min(count, seed, first) < 0 or copies < 1:
            numbers = f"{count}, {seed}, {first} and {copies}"
            raise ValueError(f"count, seed and first must not be negative and copies at least 1, got {numbers}")
        self.split, self.count, self.size, self.seed = split, count, (int(size[0]), int(size[1])), seed
        self.noise, self.first, self.near, self.copies = noise, first, tuple(near), copies
        self.targets = tuple(dict.fromkeys(("image_id", *targets)))
        # The kernels are compiled (or read from the cache) here, once, before loader workers fork.
        cast_surfaces(_scene_of(self._drawn(self._random(0, 0))), (SMALLEST, SMALLEST))

    def __len__(self) -> int:
        """Give the number of samples."""
        return self.count + self.copies * len(self.near)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        """Render sample `index` (an IndexError if there is none) with the targets asked for."""
        scene = _scene_of(self.plan(index))
        seen = DepthView(scene, cast_surfaces(scene, self.size), self.size, int(index) % len(self))
        depth = seen.depth
        if self.noise:
            depth = measured_depth(depth, self._random(seen.index, 1))
        return torch.from_numpy(depth)[None], {key: TRUTHS[key](seen) for key in self.targets}

    def plan(self, index: int) -> Plan:
        """Say what sample `index` shows; negative ones count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index = int(index) % len(self)
        if index < self.count:
            return self._drawn(self._random(self.first + index, 0))
        rng = self._random(index - self.count, 2)
        pose = vary_pose(self.near[(index - self.count) // self.copies], rng)
        return self._drawn(rng)._replace(pose=pose)

    def others(self, count: int, *, first: int) -> "DepthBodies":
        """Return samples first .. first + count - 1 of the same kind, whatever this data set holds."""
        return self._like(count=count, first=first, near=())

    def with_near(self, poses: Sequence[np.ndarray]) -> "DepthBodies":
        """Return the data set with varied copies of more poses behind the others."""
        return self._like(count=self.count, first=self.first, near=(*self.near, *poses))

    def _like(self, **changed: Any) -> "DepthBodies":
        same = {"size": self.size, "seed": self.seed, "noise": self.noise, "targets": self.targets}
        return DepthBodies(self.split, **same, copies=self.copies, **changed)

    def _random(self, number: int, use: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, SPLITS.index(self.split), number, 4, use))

    def _drawn(self, rng: np.random.Generator) -> Plan:
        body = int(rng.choice(BODIES[self.split]))
        z = rng.uniform(NEAREST, FARTHEST)
        turn = np.pi + rng.uniform(-LARGEST_TURN, LARGEST_TURN)
        return Plan(body, np.array((rng.uniform(-0.12, 0.12) * z, z, turn)), draw_pose(rng))


def _scene_of(plan: Plan) -> Scene:
    light, _ = draw_daylight(np.random.default_rng(0))
    number = plan.body * len(CATEGORIES) + PERSON
    scene = assemble([make_person(number, plan.place, plan.pose)], KINECT, light)
    return replace(scene, light=light._replace(has_ground=False, clouds=0.0))
