"""Drawn faces in rendered scenes, with boxes and landmarks: what a finder of faces learns from.

(seed, split, index) -> a scene of the world, one to three portraits of several sizes pasted on it, no two of them
                        over each other; every third picture is one portrait as a whole, every fourth is grey
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.portrait import (
    LANDMARKS,
    Identity,
    Nuisance,
    draw_identity,
    draw_nuisance,
    frame_of,
    landmarks,
    portrait,
)
from vidi.data.seeding import checked_index, sample_generator
from vidi.data.world.dataset import World

_LAYOUT, _FACE = range(10, 12)  # what a stream of random numbers draws
SMALLEST = 0.25
"""Side of the smallest portrait, as a share of the picture's shorter side."""
MOST = 3  # portraits in a picture
TRIES = 20  # at a place for a portrait that is free


class FaceScenes(Dataset[tuple[tv_tensors.Image, dict[str, Any]]]):
    """Pictures with faces; equal arguments give equal bits.

    A target has `boxes` (N 4, of heads), `labels` (N zeros), `keypoints` (N 5 2, see `vidi.data.portrait.LANDMARKS`)
    and `visibility`. No person is in two splits.

    Args:
        split: train, val or test.
        count: number of pictures.
        size: (H, W), sides from 32 to 512.
        seed: another seed gives other pictures.
        targets: keys of a target that are wanted beside `image_id`; None: all of `kinds`.

    Raises:
        ValueError: for an unknown split or key, a negative count or seed, or a side out of range.
    """

    categories = ("face",)
    keypoint_names = LANDMARKS
    kinds = frozenset({"image_id", "boxes", "labels", "keypoints", "visibility"})

    def __init__(
        self,
        split: str = "train",
        *,
        count: int = 1000,
        size: tuple[int, int] = (128, 128),
        seed: int = 0,
        targets: Sequence[str] | None = None,
    ):
        self.targets = self.kinds if targets is None else frozenset({"image_id", *targets})
        if unknown := self.targets - self.kinds:
            given = ", ".join(sorted(unknown))
            raise ValueError(f"received targets {given}, expected some of {', '.join(sorted(self.kinds))}")
        self.scenes = World(split, count=count, size=size, seed=seed, targets=())
        self.split, self.size, self.seed = split, self.scenes.size, seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        index = checked_index(index, len(self))
        layout = sample_generator(self.seed, self.split, _LAYOUT, index)
        whole, grey = layout.random() < 1 / 3, layout.random() < 1 / 4
        picture = self.scenes[index][0].as_subclass(Tensor).clone()
        places = [(0, 0, *self.size)] if whole else self._places(layout)
        boxes, points, seen = [], [], []
        for number, (top, left, h, w) in enumerate(places):
            random = sample_generator(self.seed, self.split, _FACE, index, number)
            person, nuisance = draw_identity(random), draw_nuisance(random)
            picture[:, top : top + h, left : left + w] = portrait(person, nuisance, (h, w), random)
            found, visible = landmarks(person, nuisance, (h, w))
            shift = torch.tensor([left, top], dtype=torch.float32)
            boxes.append(head_box(person, nuisance, (h, w)) + shift.repeat(2))
            points.append(found + shift)
            seen.append(visible)
        if grey:
            picture = picture.float().mean(0, keepdim=True).round().to(torch.uint8).expand(3, -1, -1).contiguous()
        target: dict[str, Any] = {
            "image_id": torch.tensor(index),
            "boxes": tv_tensors.BoundingBoxes(torch.stack(boxes), format="XYXY", canvas_size=self.size),  # type: ignore[call-overload]
            "labels": torch.zeros(len(boxes), dtype=torch.int64),
            "keypoints": tv_tensors.KeyPoints(torch.stack(points), canvas_size=self.size),  # type: ignore[call-arg]
            "visibility": torch.stack(seen),
        }
        return tv_tensors.Image(picture), {key: value for key, value in target.items() if key in self.targets}

    def _places(self, layout: np.random.Generator) -> list[tuple[int, int, int, int]]:
        """Draw where portraits lie: top, left, height, width; no two of them share a pixel."""
        H, W = self.size
        places: list[tuple[int, int, int, int]] = []
        wanted = int(layout.integers(1, MOST + 1))
        for _ in range(wanted * TRIES):
            share = SMALLEST * math.exp(layout.random() * math.log(0.9 / SMALLEST))
            side = round(share * min(H, W))
            top, left = int(layout.integers(0, H - side + 1)), int(layout.integers(0, W - side + 1))
            is_free = all(top + side <= y or y + h <= top or left + side <= x or x + w <= left for y, x, h, w in places)
            if is_free and len(places) < wanted:
                places.append((top, left, side, side))
        return places


def head_box(identity: Identity, nuisance: Nuisance, size: tuple[int, int]) -> Tensor:
    """Return the box xyxy around the outline of a head in a portrait of a size (H, W), clipped to that."""
    frame = frame_of(nuisance, size)
    cos, sin = math.cos(frame.roll), math.sin(frame.roll)
    across = frame.scale * math.hypot(cos, sin * identity.height)  # of a turned ellipse
    down = frame.scale * math.hypot(sin, cos * identity.height)
    x, y = frame.centre
    H, W = size
    return torch.tensor([max(x - across, 0.0), max(y - down, 0.0), min(x + across, float(W)), min(y + down, float(H))])
