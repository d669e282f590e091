"""The world as a data set: samples by index, rendered when asked for, with those ground truths that are asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.world.camera import BASELINE
from vidi.data.world.caption import find_facts, soil_caption, write_caption
from vidi.data.world.names import (
    CATEGORIES,
    JOINT_PAIRS,
    JOINTS,
    PART_PAIRS,
    PARTS,
    SEMANTIC_CATEGORIES,
    SKELETON,
    SPLITS,
)
from vidi.data.world.other_views import OTHER_VIEW_TRUTHS
from vidi.data.world.renderer import SMALLEST, check_size
from vidi.data.world.scene import Scene, make_scene
from vidi.data.world.truth import VIEW_TRUTHS, Observation, image

TRUTHS: Mapping[str, Callable[[Observation], object]] = {**VIEW_TRUTHS, **OTHER_VIEW_TRUTHS}
KINDS = frozenset((*TRUTHS, "caption"))


def check_choices(what: str, names: Sequence[str], choices: Sequence[str] | frozenset[str]) -> None:
    """Raise a ValueError that lists the choices if a name is not among them."""
    unknown = sorted(set(names) - set(choices))
    if unknown:
        ordered = sorted(choices) if isinstance(choices, frozenset) else choices
        raise ValueError(f"unknown {what} {', '.join(map(repr, unknown))}; choices are {', '.join(ordered)}")


class World(Dataset):
    """Rendered scenes with every ground truth; sample i is a function of (seed, split, i), the size and the targets.

    A sample is (image, target): image uint8 3 H W, target a dict with `image_id` and the keys named in `targets`.
    Row i of boxes, labels, masks, keypoints, boxes_3d and identity is one visible thing. Segment ids of `panoptic`:
    row + 1 for things, then ground, then sky; `semantic` tells the category. `parts` is len(parts) off the persons,
    whose left and right are their own. Keypoints of things without joints are absent (visibility 0). Neighbours are
    the previous and the next frame; beyond the keys of every data set there is `occluded` (bool S H W): pixels of the
    image that neighbour s does not show.
    """

    categories: tuple[str, ...] = CATEGORIES
    semantic_categories: tuple[str, ...] = SEMANTIC_CATEGORIES
    kinds: frozenset[str] = KINDS
    joints: tuple[str, ...] = JOINTS
    skeleton: tuple[tuple[int, int], ...] = SKELETON
    joint_pairs: tuple[tuple[int, int], ...] = JOINT_PAIRS
    parts: tuple[str, ...] = PARTS
    part_pairs: tuple[tuple[int, int], ...] = PART_PAIRS
    baseline: float = BASELINE  # metres between the cameras of the stereo pair

    def __init__(
        self,
        split: str = "train",
        *,
        count: int = 1000,
        size: tuple[int, int] = (128, 128),  # (H, W), sides from 32 to 512
        seed: int = 0,
        targets: Sequence[str] = ("label", "boxes", "labels", "masks"),
        caption_noise: float = 0.0,  # share of the captions that are soiled like alternative texts of the web
    ) -> None:
        """Prepare the scenes and the renderer; a name, size or number out of range is a ValueError."""
        check_choices("split", [split], SPLITS)
        check_choices("targets", targets, KINDS)
        check_size(size)
        if count < 0 or seed < 0 or not 0.0 <= caption_noise <= 1.0:
            raise ValueError(
                "count and seed must not be negative and caption_noise must be in [0, 1], "
                f"got {count}, {seed} and {caption_noise}"
            )
        self.split, self.count, self.size, self.seed = split, count, (int(size[0]), int(size[1])), seed
        self.targets = tuple(dict.fromkeys(("image_id", *targets)))
        self.caption_noise = caption_noise
        # The kernels are compiled (or read from the cache) here, once, before loader workers fork.
        self._observe(Observation(make_scene(0, SPLITS[0], 0), (SMALLEST, SMALLEST)))

    def __len__(self) -> int:
        """Give the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        """Render sample `index` (an IndexError if there is none) with the targets asked for."""
        return self._observe(Observation(self.scene(index), self.size))

    def scene(self, index: int) -> Scene:
        """Give the scene behind sample `index`; negative ones count from the end."""
        if not -self.count <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        return make_scene(self.seed, self.split, int(index) % self.count)

    def _observe(self, seen: Observation) -> tuple[tv_tensors.Image, dict[str, Any]]:
        target = {key: self._caption(seen) if key == "caption" else TRUTHS[key](seen) for key in self.targets}
        return image(seen.view.image), target

    def _caption(self, seen: Observation) -> str:
        caption, scene = write_caption(find_facts(seen)), seen.scene
        rng = np.random.default_rng((scene.seed, SPLITS.index(scene.split), scene.index, 1))
        return soil_caption(caption, rng) if rng.random() < self.caption_noise else caption
