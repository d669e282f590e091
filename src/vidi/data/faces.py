"""Generated faces of people who do not exist: identities to recognise, whatever pose, light, crop and expression do.

    (seed, split, person) -> Identity;  (seed, split, person, picture) -> Nuisance;  both -> portrait, uint8 3 H W

The people of the three splits are different ones, as in the verification protocols of section 7.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.portrait import LANDMARKS, Identity, Nuisance, draw_identity, draw_nuisance, landmarks, portrait
from vidi.data.seeding import checked_index, sample_generator, split_number
from vidi.data.world.names import SPLITS

_PERSON, _PICTURE = range(2)  # what a stream of random numbers draws


class Faces(Dataset[tuple[tv_tensors.Image, dict[str, Tensor]]]):
    """Pictures of generated people, person by person; equal arguments give equal bits.

    A target has `label` (the person's place in `categories`), `identity` (1: a number that no person of another split
    has), `keypoints` (1 5 2: eyes, nose, mouth corners) with `visibility`.

    Args:
        split: train, val or test; no person is in two of them.
        identities: number of people.
        pictures: number of pictures of each.
        size: (H, W) in pixels; 64 x 64 shows every feature.
        seed: another seed gives other people.
        nuisance: how much the pictures of one person differ; 0 gives equal frontal portraits, 1 turns up to 0.6 rad.
        targets: keys of a target that are wanted beside `image_id`; None: all of `kinds`.
        keeps: whether a picture is drawn once and kept: of 64 x 64 it takes 12 KiB.

    Raises:
        ValueError: for an unknown split or key, or fewer than one person or picture.
    """

    kinds = frozenset({"image_id", "label", "identity", "keypoints", "visibility"})
    keypoint_names = LANDMARKS

    def __init__(
        self,
        split: str = "train",
        *,
        identities: int = 100,
        pictures: int = 10,
        size: tuple[int, int] = (64, 64),
        seed: int = 0,
        nuisance: float = 1.0,
        targets: Sequence[str] | None = None,
        keeps: bool = False,
    ):
        split_number(split)
        self.targets = self.kinds if targets is None else frozenset({"image_id", *targets})
        if self.targets - self.kinds:
            unknown = ", ".join(sorted(self.targets - self.kinds))
            raise ValueError(f"received targets {unknown}, expected some of {', '.join(sorted(self.kinds))}")
        if identities < 1 or pictures < 1:
            raise ValueError(f"received {identities} identities with {pictures} pictures each, expected 1 or more")
        self.split, self.identities, self.pictures = split, identities, pictures
        self.size, self.seed, self.nuisance = size, seed, nuisance
        self._kept: dict[int, Tensor] | None = {} if keeps else None
        self.categories = tuple(f"person {number}" for number in range(identities))
        self.labels = torch.arange(identities).repeat_interleave(pictures)  # of all samples, for pairs and galleries

    def __len__(self) -> int:
        return self.identities * self.pictures

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
        index = checked_index(index, len(self))
        person, picture = divmod(index, self.pictures)
        target: dict[str, Tensor] = {
            "image_id": torch.tensor(index),
            "label": torch.tensor(person),
            "identity": torch.tensor([person * len(SPLITS) + split_number(self.split)]),
        }
        if not self.targets.isdisjoint(("keypoints", "visibility")):
            points, visibility = landmarks(self.identity_of(person), self.nuisance_of(person, picture), self.size)
            target["keypoints"] = tv_tensors.KeyPoints(points[None], canvas_size=self.size)  # type: ignore[call-arg]
            target["visibility"] = visibility[None]  # 1 5
        return self._portrait(index), {key: value for key, value in target.items() if key in self.targets}

    def _portrait(self, index: int) -> tv_tensors.Image:
        if self._kept is not None and index in self._kept:
            return tv_tensors.Image(self._kept[index].clone())
        person, picture = divmod(index, self.pictures)
        random = sample_generator(self.seed, self.split, _PICTURE, person, picture)
        nuisance = draw_nuisance(random, self.nuisance)
        drawn = portrait(self.identity_of(person), nuisance, self.size, random)
        if self._kept is not None:
            self._kept[index] = drawn.clone()
        return tv_tensors.Image(drawn)

    def identity_of(self, person: int) -> Identity:
        """Return what stays the same in every picture of a person."""
        return draw_identity(sample_generator(self.seed, self.split, _PERSON, person))

    def nuisance_of(self, person: int, picture: int) -> Nuisance:
        """Return the circumstances of one picture."""
        return draw_nuisance(sample_generator(self.seed, self.split, _PICTURE, person, picture), self.nuisance)


class KnownFaces(Dataset[tuple[tv_tensors.Image, dict[str, Tensor]]]):
    """Some of the pictures of each of some people; another part has other pictures of the same people.

    Args:
        faces: every picture of them.
        first, last: the pictures of each person that are in it: from the first up to before the last.
    """

    kinds = Faces.kinds

    def __init__(self, faces: Faces, first: int, last: int):
        self.faces, self.first, self.count = faces, first, last - first
        self.categories = faces.categories
        self.labels = torch.arange(faces.identities).repeat_interleave(self.count)

    def __len__(self) -> int:
        return self.faces.identities * self.count

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
        person, picture = divmod(checked_index(index, len(self)), self.count)
        image, target = self.faces[person * self.faces.pictures + self.first + picture]
        return image, {**target, "image_id": torch.tensor(index)}
