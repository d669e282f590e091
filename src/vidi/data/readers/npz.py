"""Labelled images in one numpy archive: mnist.npz, cifar10.npz.

Arrays `train_images`, `train_labels`, `test_images`, `test_labels` (also `val_`), or `images` and `labels` alone;
images are uint8 N H W (grey, repeated to three channels) or N H W 3 RGB, labels whole numbers from 0. `class_names`
is optional.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members

NEEDS = "one .npz with train_images, train_labels, test_images, test_labels (or images, labels)"


class NpzImages(ImageSet):
    """The images and labels of one pair of arrays."""

    def __init__(
        self,
        path: Path,
        images: str,  # name of an array N H W or N H W 3, uint8
        labels: str,  # name of an array N of whole numbers
        *,
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(path, on_fault)
        arrays = files.read_npz(path)
        self._file = path
        self._images = _image_array(path, images, arrays[images])
        self.categories = _class_names(path, arrays)
        values = arrays[labels].reshape(-1)
        if values.dtype.kind not in "iu" or len(values) != len(self._images):
            raise ValueError(
                f"{path}: {labels} is {arrays[labels].dtype} {arrays[labels].shape}, "
                f"expected {len(self._images)} whole numbers, one for each of {images}"
            )
        wrong = (values < 0) | (values >= len(self.categories))
        for row in np.flatnonzero(wrong):
            choices = f"the set has {len(self.categories)} classes, 0..{len(self.categories) - 1}"
            log.fault(path, f"{labels}, row {row}", f"unknown class {values[row]}; {choices}", image=int(row))
        log.settle(len(values))
        super().__init__(path, log)
        classes = [() if bad else (int(value),) for value, bad in zip(values, wrong, strict=True)]
        member = part_members([str(row) for row in range(len(values))], part, classes)
        member = self._without_faulty(member, log)
        self._rows = np.flatnonzero(member)
        self._labels = values[member].astype(np.int64)
        self._images = self._images[member] if not member.all() else self._images
        self.kinds = frozenset({"image_id", "label"})

    def __len__(self) -> int:
        return len(self._rows)

    def path(self, index: int) -> Path:
        return self._file

    def name(self, index: int) -> str:
        return f"{self._file}, row {self._rows[index]}"

    def image(self, index: int) -> tv_tensors.Image:
        pixels = torch.tensor(self._images[index])  # H W or H W 3
        if pixels.ndim == 2:
            return tv_tensors.Image(pixels.expand(3, *pixels.shape).contiguous())
        return tv_tensors.Image(pixels.permute(2, 0, 1).contiguous())

    def target(self, index: int) -> Target:
        return {"image_id": torch.tensor(index), "label": torch.tensor(self._labels[index])}


def _image_array(path: Path, name: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)):
        raise ValueError(f"{path}: {name} is {images.dtype} {images.shape}, expected uint8 N H W or N H W 3")
    return images


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Return the names in the archive, or the numbers 0..largest of all its labels."""
    if "class_names" in arrays:
        return tuple(str(name) for name in arrays["class_names"])
    given = [
        values.reshape(-1) for name, values in arrays.items() if name.endswith("labels") and values.dtype.kind in "iu"
    ]
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *(values.astype(np.int64) for values in given)])
    largest = int(labels.max(initial=-1))
    if largest >= max(len(labels), 1):
        raise ValueError(f"{path}: labels up to {largest} for {len(labels)} images; give class_names if that is right")
    return tuple(str(label) for label in range(largest + 1))


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise an npz file, or the one in a folder that has splits (else the only one)."""
    candidates = [root] if root.suffix == ".npz" and root.is_file() else sorted(root.glob("*.npz"))
    pairs = {path: found for path in candidates if (found := _pairs(path))}
    split = {path: found for path, found in pairs.items() if UNSPLIT not in found}
    chosen = split or pairs
    if not chosen:
        return None
    if len(chosen) > 1:
        raise ValueError(f"{root}: several npz sets ({', '.join(path.name for path in chosen)}): name one of them")
    path, found = next(iter(chosen.items()))
    sources = {source: functools.partial(NpzImages, path, *pair) for source, pair in found.items()}
    others = [other.name for other in pairs if other != path]
    left = f" (not used: {', '.join(others)})" if others else ""
    return Layout(root, f"{path.name} has the arrays {', '.join(pair[0] for pair in found.values())}{left}", sources)


def _pairs(path: Path) -> dict[str, tuple[str, str]]:
    names = files.npz_names(path)
    pairs = {split: (f"{split}_images", f"{split}_labels") for split in ("train", "val", "test")}
    pairs = {split: pair for split, pair in pairs.items() if set(pair) <= names}
    return pairs or ({UNSPLIT: ("images", "labels")} if {"images", "labels"} <= names else {})
