"""Class folders: one folder per class, its name the name of the class.

ROOT/train/CLASS/*.jpg beside ROOT/val/CLASS and ROOT/test/CLASS (ImageNet's layout), or ROOT/CLASS/*.jpg unsplit.
Labels are 0..K-1 in alphabetical order of the names of the training classes.

    folders -> names of their image files -> flat arrays
"""

import functools
import itertools
import os
from pathlib import Path

import numpy as np
import torch

from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, is_image_name
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members, split_folders

NEEDS = "ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, or ROOT/CLASS/*.jpg, for two classes or more"


class ClassFolders(ImageSet):
    """The images below the class folders of one folder."""

    def __init__(
        self,
        folder: Path,
        categories: tuple[str, ...],
        *,
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(folder, on_fault)
        self.categories = categories
        self.kinds = frozenset({"image_id", "label"})
        names: list[str] = []
        labels: list[int] = []
        for name in _folders(folder):
            if name not in categories:
                log.fault(folder / name, "", f"unknown class; the training classes are {', '.join(categories)}")
                continue
            inside = _image_names(folder / name, log)
            if not inside:
                log.fault(folder / name, "", "the class folder holds no images")
            member = part_members([f"{name}/{file}" for file in inside], part)  # each class is divided by itself
            names += [f"{name}/{file}" for file, chosen in zip(inside, member, strict=True) if chosen]
            labels += [categories.index(name)] * int(member.sum())
        log.settle(len(names))
        super().__init__(folder, log)
        self._names = Names(names)
        self._labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def path(self, index: int) -> Path:
        return self.root / self._names[index]

    def target(self, index: int) -> Target:
        return {"image_id": torch.tensor(index), "label": torch.tensor(self._labels[index])}


def _image_names(folder: Path, log: FaultLog) -> list[str]:
    """Return the image files of a class in alphabetical order; what else lies there is remarked."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        if not is_image_name(name):
            log.remark(folder / name, "", "is no image file and is not used")
    return [name for name in names if is_image_name(name)]


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise class folders: sub-folders that all hold images, below splits or not."""
    if not root.is_dir():
        return None
    splits = {split: folder for split, folder in split_folders(root).items() if _holds_classes(folder)}
    if splits:
        categories = tuple(_folders(splits.get("train", next(iter(splits.values())))))
        sources = {split: functools.partial(ClassFolders, folder, categories) for split, folder in splits.items()}
        where = ", ".join(folder.name for folder in splits.values())
        return Layout(root, f"{where} hold a folder of images for each of {len(categories)} classes", sources)
    if not _holds_classes(root):
        return None
    categories = tuple(_folders(root))
    reason = f"a folder of images for each of {len(categories)} classes ({', '.join(categories[:3])}, ...)"
    return Layout(root, reason, {UNSPLIT: functools.partial(ClassFolders, root, categories)})


def _holds_classes(folder: Path) -> bool:
    """Whether two sub-folders or more hold images, and each other one is empty."""
    contents = [_content(folder / name) for name in _folders(folder)]
    return contents.count("images") > 1 and set(contents) <= {"images", "nothing"}


def _content(folder: Path) -> str:
    """Tell what a folder holds by its first files: images, something else, or nothing."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in itertools.islice(entries, 100)]
    stems = {name.rpartition(".")[0].lower() for name in names}
    if {"left", "right"} <= stems:  # a stereo pair, not a class
        return "something else"
    if any(is_image_name(name) for name in names):
        return "images"
    return "something else" if names else "nothing"
