"""Class folders: one folder per class, its name the name of the class.

ROOT/train/CLASS/*.jpg beside ROOT/val/CLASS and ROOT/test/CLASS (ImageNet's layout), or ROOT/CLASS/*.jpg unsplit.
Pictures in sub-folders of a class belong to it. Labels are 0..K-1 in alphabetical order of the names of the training
classes. Folders that are called like splits or like the parts of other layouts (JPEGImages, masks) are no classes.

    folders -> names of their image files -> flat arrays
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vidi.data.faults import Fault, FaultLog, OnFault, counted, folded
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, stem_of
from vidi.data.readers.splits import (
    UNSPLIT,
    Layout,
    Part,
    part_members,
    remark_doubled,
    remark_outside,
    split_called,
    split_folders,
)
from vidi.formats import files_below, is_hidden, is_image_name

NEEDS = "ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, or ROOT/CLASS/*.jpg, for two classes or more"

# What other layouts call the folders that their pictures, maps and annotations lie in.
_PARTS = ("images", "img", "imgs", "labels", "masks", "annotations", "annot", "instances", "semantic")
_PARTS += ("jpegimages", "imagesets", "segmentationclass", "segmentationobject", "leftimg8bit", "gtfine")


class ClassFolders(ImageSet):
    """The images below the class folders of one split."""

    def __init__(
        self,
        root: Path,
        folders: Sequence[Path],  # each with a folder a class
        categories: tuple[str, ...],
        *,
        is_training: bool,  # whether each class has to have images here
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(root, on_fault)
        self.categories = categories
        self.kinds = frozenset({"image_id", "label"})
        names: list[str] = []
        labels: list[int] = []
        for folder in folders:
            for name in _folders(folder):
                if name not in categories:
                    log.fault(folder / name, "", f"unknown class; the training classes are {folded(categories)}")
                    continue
                inside = _image_names(folder / name, log)
                names += [(folder.relative_to(root) / name / file).as_posix() for file in inside]
                labels += [categories.index(name)] * len(inside)
        present = set(labels)
        for label, name in enumerate(categories):
            if label not in present:
                place = " and ".join(str(folder / name) for folder in folders)
                tell = log.fault if is_training else log.remark
                tell(place, "", "the class folder holds no images" if is_training else "the class has no images here")
        log.settle(len(names))
        super().__init__(root, log)
        member = part_members(names, part, [{label} for label in labels])
        self._names = Names([name for name, inside in zip(names, member, strict=True) if inside])
        self._labels = np.array(labels, dtype=np.int64)[member]

    def __len__(self) -> int:
        return len(self._names)

    def path(self, index: int) -> Path:
        return self.root / self._names[index]

    def target(self, index: int) -> Target:
        return {"image_id": torch.tensor(index), "label": torch.tensor(self._labels[index])}


def _image_names(folder: Path, log: FaultLog) -> list[str]:
    """Return the image files of a class in alphabetical order; what else lies there is remarked."""
    for name in files_below(folder, lambda name: not is_hidden(name) and not is_image_name(name)):
        log.remark(folder / name, "", "is no image file and is not used")
    return files_below(folder)


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise class folders: sub-folders that all hold images, below splits or not.

    Raises ValueError where folders that cannot be classes hold images, and nothing else was found in them.
    """
    if not root.is_dir():
        return None
    folders = split_folders(root)
    if any(_holds_classes(folder) for several in folders.values() for folder in several):
        splits = {split: tuple(f for f in several if _holds_classes(f, least=1)) for split, several in folders.items()}
        return _split_layout(root, {split: several for split, several in splits.items() if several})
    names = [name for name in _folders(root) if _content(root / name) != "nothing"]
    strange = _no_classes(names)
    if strange and all(_content(root / name) == "images" for name in names):
        several = counted(len(files_below(root)), "picture")
        raise ValueError(
            f"{root}: {several} without annotations that vidi knows; {', '.join(strange)} are "
            f"names of splits or of parts of a data set, not of classes. A data set of classes has {NEEDS}"
        )
    if strange or not _holds_classes(root):
        return None
    categories = tuple(_folders(root))
    reason = f"a folder of images for each of {len(categories)} classes ({folded(categories, 3)})"
    source = functools.partial(ClassFolders, root, (root,), categories, is_training=True)
    vehicles = (name for name in names if split_called(name))
    remarks = tuple(Fault(str(root / name), "", "is taken for a class, not for a split") for name in vehicles)
    remarks += remark_outside(root, (root / name for name in categories), "they lie outside the classes")
    return Layout(root, reason, {UNSPLIT: source}, remarks=remarks)


def _split_layout(root: Path, splits: dict[str, tuple[Path, ...]]) -> Layout:
    training = splits.get("train", next(iter(splits.values())))
    categories = _classes_in(training)
    sources = {
        split: functools.partial(ClassFolders, root, folders, categories, is_training=folders is training)
        for split, folders in splits.items()
    }
    apart = {
        split: functools.partial(ClassFolders, root, folders, _classes_in(folders), is_training=True)
        for split, folders in splits.items()
    }
    where = ", ".join(folder.name for folders in splits.values() for folder in folders)
    hold = "hold" if len(splits) > 1 else "holds"
    reason = f"{where} {hold} a folder of images for each of {len(categories)} classes"
    used = [folder / name for folders in splits.values() for folder in folders for name in _folders(folder)]
    remarks = remark_doubled(root, splits) + remark_outside(root, used, "they lie outside the classes of the splits")
    return Layout(root, reason, sources, remarks=remarks, apart=apart)


def _classes_in(folders: Sequence[Path]) -> tuple[str, ...]:
    return tuple(sorted({name for folder in folders for name in _folders(folder)}))


def _is_part(name: str) -> bool:
    return name.lower() in _PARTS or name.lower().endswith("annot")


def _no_classes(names: Sequence[str]) -> list[str]:
    """Return the names that are those of splits or parts; `train` alone among other things is a vehicle."""
    strange = [name for name in names if _is_part(name) or split_called(name)]
    return [] if [name.lower() for name in strange] == ["train"] and len(names) > 1 else strange


def _holds_classes(folder: Path, least: int = 2) -> bool:
    """Whether `least` sub-folders or more hold images, each other one is empty, and all can be classes."""
    names = _folders(folder)
    contents = [_content(folder / name) for name in names]
    return contents.count("images") >= least and set(contents) <= {"images", "nothing"} and not _no_classes(names)


def _content(folder: Path) -> str:
    """Tell what a folder holds: images, something else, or nothing.

    Images in its sub-folders count where nothing else lies beside those, and they are no splits or parts themselves.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.is_dir() and not is_hidden(entry.name)]
    if {"left", "right"} <= {stem_of(name).lower() for name in names}:  # a stereo pair, not a class
        return "something else"
    if any(is_image_name(name) for name in names):
        return "images"
    below = _folders(folder)
    if names or any(_is_part(name) or split_called(name) for name in below):
        return "something else"
    contents = {_content(folder / name) for name in below} - {"nothing"}
    return contents.pop() if len(contents) == 1 else "something else" if contents else "nothing"
