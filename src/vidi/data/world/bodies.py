"""Depth images of articulated bodies, to learn body parts from (synthetic data of Shotton et al. 2011, section 2).

One person of varied build, in a pose of the pose bank, before a camera with the intrinsics of the first Kinect;
nothing else has a depth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.world.camera import Camera
from vidi.data.world.dataset import check_choices
from vidi.data.world.daylight import draw_daylight
from vidi.data.world.identities import IDENTITIES
from vidi.data.world.names import CATEGORIES, JOINT_PAIRS, JOINTS, PART_PAIRS, PARTS, PERSON, SKELETON, SPLITS
from vidi.data.world.renderer import SMALLEST, check_size
from vidi.data.world.scene import Scene, assemble, make_person
from vidi.data.world.skeleton import draw_pose
from vidi.data.world.truth import VIEW_TRUTHS, Observation, image

# Focal length 585 pixels at 640 x 480; the sensor stands at the height of a low shelf.
KINECT = Camera(focal=585.0 / 480.0, shift=0.0, height=0.95)
NEAREST, FARTHEST = 2.7, 3.9  # metres
LARGEST_TURN = 1.3  # radians away from facing the camera

_SHARED = (
    "image_id",
    "boxes",
    "masks",
    "keypoints",
    "visibility",
    "parts",
    "depth",
    "depth_valid",
    "intrinsics",
    "identity",
)
TRUTHS: Mapping[str, Callable[[Observation], object]] = {
    **{key: VIEW_TRUTHS[key] for key in _SHARED},
    "joints": lambda seen: torch.from_numpy(seen.joints.astype(np.float32)),
}


def make_body_scene(seed: int, split: str, index: int) -> Scene:
    """Make a scene of one person, a function of the arguments alone; an unknown split is a ValueError."""
    check_choices("split", [split], SPLITS)
    rng = np.random.default_rng((seed, SPLITS.index(split), index, 2))
    light, _ = draw_daylight(rng)
    number = int(rng.integers(IDENTITIES // len(CATEGORIES))) * len(CATEGORIES) + PERSON
    z = rng.uniform(NEAREST, FARTHEST)
    place = np.array((rng.uniform(-0.12, 0.12) * z, z, np.pi + rng.uniform(-LARGEST_TURN, LARGEST_TURN)))
    scene = assemble([make_person(number, place, draw_pose(rng))], KINECT, light._replace(has_ground=False, clouds=0.0))
    return replace(scene, seed=seed, split=split, index=index)


class Bodies(Dataset):
    """Depth images of one person each, with body parts and joints; sample i depends on (seed, split, i) and size alone.

    A sample is (image, target): image uint8 3 H W (colours, for looking at), target a dict with `image_id` and the
    keys named in `targets`: those of the world for one person, and `joints` (float32 1 14 3), metres in the camera's
    frame. The background has no depth.
    """

    categories: tuple[str, ...] = ("person",)
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
        targets: Sequence[str] = ("depth", "depth_valid", "parts", "joints"),
    ) -> None:
        """Prepare the scenes and the renderer; a name, size or number out of range is a ValueError."""
        check_choices("split", [split], SPLITS)
        check_choices("targets", targets, self.kinds)
        check_size(size)
        if count < 0 or seed < 0:
            raise ValueError(f"count and seed must not be negative, got {count} and {seed}")
        self.split, self.count, self.size, self.seed = split, count, (int(size[0]), int(size[1])), seed
        self.targets = tuple(dict.fromkeys(("image_id", *targets)))
        self._observe(Observation(make_body_scene(0, SPLITS[0], 0), (SMALLEST, SMALLEST)))

    def __len__(self) -> int:
        """Give the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        """Render sample `index` (an IndexError if there is none) with the targets asked for."""
        if not -self.count <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        return self._observe(Observation(make_body_scene(self.seed, self.split, int(index) % self.count), self.size))

    def _observe(self, seen: Observation) -> tuple[tv_tensors.Image, dict[str, Any]]:
        return image(seen.view.image), {key: TRUTHS[key](seen) for key in self.targets}
