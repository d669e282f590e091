"""What every reader is: images with targets, indexed once, read on demand."""

import copy
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi import files, formats
from vidi.data.faults import Fault, FaultLog
from vidi.formats import files_below, is_hidden, is_image_name

Target = dict[str, Any]

LYING = ("boxes", "masks", "semantic", "panoptic", "right", "neighbours", "disparity", "disparity_right", "depth")
"""Keys of a target that lie on the picture and must be as large."""


class StoredValue(NamedTuple):
    """A value that the files of label maps hold."""

    order: int
    value: str  # as one says it: `11`, or `64 128 64` of a colour
    name: str
    is_void: bool


class ImageSet(Dataset, ABC):
    """A data set on disk by the sample contract: `dataset[i] -> (image, target)`.

    `kinds` names the keys that targets have, `category_ids` are the set's own numbers of its classes, if it has some.
    `faults` are the rows that were left out, `remarks` what was repaired; `left_out` counts the images of this set that
    are not given for a fault of theirs. Masks are pixels, or run lengths
    (`vidi.ops.masks.CodedMasks`) where they are to be moved with their picture first: `coded`.
    """

    categories: tuple[str, ...] = ()
    semantic_categories: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    baseline: float | None = None  # metres between the cameras of its stereo pairs, where it is one and known
    kinds: frozenset[str] = frozenset({"image_id"})
    category_ids: tuple[int, ...] = ()
    left_out: int = 0
    coded: bool = False

    def __init__(self, root: Path, log: FaultLog) -> None:
        self.root = root
        self.faults: tuple[Fault, ...] = tuple(log.faults)
        self.remarks: tuple[Fault, ...] = tuple(log.remarks)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def path(self, index: int) -> Path:
        """Return the file that holds image `index`."""

    def name(self, index: int) -> str:
        """Return where image `index` comes from, for messages."""
        return str(self.path(index))

    @abstractmethod
    def target(self, index: int) -> Target:
        """Return the target of image `index` without decoding its pixels."""

    @property
    def labels(self) -> Tensor:
        """The class of each image, int64, read without decoding one; absent where images have none."""
        if "label" not in self.kinds:
            raise AttributeError(f"{self.root} has no label for each image")
        return torch.stack([self.target(index)["label"] for index in range(len(self))])

    def stored_values(self, index: int) -> Mapping[StoredValue, int]:
        """Return how many pixels of each value the file of the label map of image `index` has; none without a table."""
        return {}

    def giving(self, kinds: Collection[str]) -> "ImageSet":
        """Return the same data set with only these keys in its targets, those that it has, and `image_id`.

        What is not asked for is not decoded, and masks stay coded: those of many objects of a large picture are painted
        when it has the size of the network.
        """
        narrowed = copy.copy(self)
        narrowed.kinds = self.kinds & {"image_id", *kinds}
        narrowed.coded = True
        return narrowed

    def image(self, index: int) -> tv_tensors.Image:
        """Decode image `index`: uint8 3 H W. Raises ValueError that names the file."""
        return tv_tensors.Image(files.read_image(self.path(index)))

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, Target]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of a data set of {len(self)}")
        index %= len(self)
        image, target = self.image(index), self.target(index)
        target = {kind: value for kind, value in target.items() if kind in self.kinds}
        for name in LYING:
            size = _canvas(target[name]) if name in target else tuple(image.shape[-2:])
            if size != tuple(image.shape[-2:]):
                (height, width), (high, wide) = image.shape[-2:], size
                raise ValueError(
                    f"{self.name(index)}: the image has {width} x {height} pixels, its {name} are for {wide} x {high}"
                )
        return image, target

    def _without_faulty(self, member: np.ndarray, log: FaultLog) -> np.ndarray:
        """Return which images of this set, bool, are given: those without a fault; count the others."""
        given = member & log.is_sound(len(member))
        self.left_out = int(member.sum() - given.sum())
        return given


def _canvas(annotation: Any) -> tuple[int, ...]:
    if isinstance(annotation, tv_tensors.BoundingBoxes):
        return tuple(annotation.canvas_size)
    return tuple(annotation.shape[-2:])


def stem_of(name: str) -> str:
    """Return a name without its suffix, with its folders: `camera2/a.b.jpg` -> `camera2/a.b`."""
    return name.rpartition(".")[0]


def images_by_stem(folder: Path) -> dict[str, list[str]]:
    """Return the names of the image files below a folder by their stems; two of one stem differ in their suffix."""
    found: dict[str, list[str]] = {}
    for name in files_below(folder):
        found.setdefault(stem_of(name), []).append(name)
    return found


def several_of_a_stem(names: Sequence[str]) -> str:
    """Say why images that differ only in their suffix cannot be paired."""
    return f"{' and '.join(names)} differ only in their suffix: which of them is meant is unclear"


def class_lines(path: Path) -> list[str]:
    """Return the stripped lines of a list of classes, without empty ones at its end."""
    lines = [line.strip() for line in files.read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def listed_classes(folder: Path, name: str = "classes.txt") -> dict[int, str] | None:
    """Read classes.txt: one name a line, or `number name`; None where there is no such file.

    Raises ValueError with the line for an empty name and for a number that comes twice.
    """
    path = folder / name
    if not path.is_file():
        return None
    lines = class_lines(path)
    split = [re.fullmatch(r"(\d+)[\s:,]+(\S.*)", line) for line in lines]
    numbered = bool(lines) and all(split)
    classes: dict[int, str] = {}
    for line, (text, match) in enumerate(zip(lines, split, strict=True)):
        number, called = (int(match.group(1)), match.group(2)) if numbered and match else (line, text)
        if not called or number in classes:
            raise ValueError(f"{path}, line {line + 1}: expected a class name, each number once, got {text!r}")
        classes[number] = called
    return classes


class Given(NamedTuple):
    """The pictures that a user named, by themselves or by their folders, and what else those folders hold."""

    paths: list[Path]
    skipped: dict[str, int]  # how many files of each suffix, in alphabetical order


def image_paths(paths: Sequence[str | Path]) -> list[Path]:
    """Return image files from files and folders with their sub-folders, in order, as `given_pictures` finds them."""
    return given_pictures(paths).paths


def given_pictures(paths: Sequence[str | Path], *, drawn: Path | None = None) -> Given:
    """Return image files from files and folders with all their sub-folders, in order, and count the other files.

    What a folder gave that was named before is not taken again. Files in the folder `drawn` are not counted.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if a folder holds no image, or a path is a video, a camera, an address or an archive.
    """
    found: dict[Path, None] = {}  # in order
    skipped: Counter[str] = Counter()
    for path in map(Path, paths):
        if path.is_dir():
            names = files_below(path, lambda name: not is_hidden(name))
            inside = [path / name for name in names if is_image_name(name)]
            others = [path / name for name in names if not is_image_name(name)]
            if not inside:
                listed = ", ".join(formats.IMAGE_SUFFIXES)
                holds = f"; it holds {counted_suffixes(_suffixes(others))}" if others else ""
                raise ValueError(f"{path} holds no images ({listed}){holds}")
            found |= dict.fromkeys(inside)
            skipped += _suffixes(_outside(others, path, drawn))
        elif path.is_file():
            if told := formats.advice(path.name):
                raise ValueError(f"{path}: {told}")
            found[path] = None
        elif told := formats.advice_on_source(path.as_posix()):
            raise ValueError(f"{path}: {told}")
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return Given(list(found), dict(sorted(skipped.items())))


def _outside(paths: Sequence[Path], root: Path, folder: Path | None) -> Iterable[Path]:
    """Return the paths below `root` that do not lie in a folder, links followed."""
    if folder is None or not folder.resolve().is_relative_to(root.resolve()):
        return paths
    left = folder.resolve()
    return [path for path in paths if not path.resolve().is_relative_to(left)]


def _suffixes(paths: Iterable[Path]) -> "Counter[str]":
    return Counter(path.suffix.lower() or "without suffix" for path in paths)


def counted_suffixes(counts: Mapping[str, int]) -> str:
    """Say how many files of each suffix there are, with what helps with them: `3 .txt, 1 .heic (...)`."""
    told = ((f"{count} {suffix}", formats.advice(f"NAME{suffix}")) for suffix, count in sorted(counts.items()))
    return ", ".join(f"{number} ({way})" if way else number for number, way in told)
