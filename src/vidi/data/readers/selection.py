"""A part of a data set that was opened: some of its images, with labels numbered anew where that is asked for."""

import copy
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors

from vidi.data.faults import Fault
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.splits import Part, classes_apart


class Selection(ImageSet):
    """Images `rows` of a data set; what is left out of it and why is added to what it says itself."""

    def __init__(
        self,
        dataset: ImageSet,
        rows: np.ndarray,  # int64
        *,
        faults: Iterable[Fault] = (),
        remarks: Iterable[Fault] = (),
        categories: tuple[str, ...] | None = None,  # with `labels`
        labels: np.ndarray | None = None,  # new label of each class of the data set, int64
    ) -> None:
        self.root = dataset.root
        self.faults = (*dataset.faults, *faults)
        self.remarks = (*dataset.remarks, *remarks)
        self.left_out = dataset.left_out + len(dataset) - len(rows)
        self.categories = dataset.categories if categories is None else categories
        self.category_ids = _renumbered(dataset.category_ids, len(self.categories), labels)
        self.semantic_categories = dataset.semantic_categories
        self.keypoint_names = dataset.keypoint_names
        self.baseline = dataset.baseline
        self.kinds = dataset.kinds
        self._dataset, self._rows = dataset, rows
        self._labels = None if labels is None else torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._rows)

    def path(self, index: int) -> Path:
        return self._dataset.path(int(self._rows[index]))

    def name(self, index: int) -> str:
        return self._dataset.name(int(self._rows[index]))

    def image(self, index: int) -> tv_tensors.Image:
        return self._dataset.image(int(self._rows[index]))

    def target(self, index: int) -> Target:
        target = self._dataset.target(int(self._rows[index]))
        if self._labels is None:
            return target
        return target | {kind: self._labels[target[kind]] for kind in ("label", "labels") if kind in target}

    def giving(self, kinds: Collection[str]) -> "Selection":
        narrowed = copy.copy(self)
        narrowed.kinds = self.kinds & {"image_id", *kinds}
        narrowed.coded, narrowed._dataset = True, self._dataset.giving(kinds)
        return narrowed


def _renumbered(ids: tuple[int, ...], classes: int, labels: np.ndarray | None) -> tuple[int, ...]:
    """Return a data set's own numbers of the new classes; none where one of them has no number in it."""
    if labels is None or not ids:
        return ids
    own = {int(label): identity for label, identity in reversed(list(zip(labels, ids, strict=True)))}
    return tuple(own[label] for label in range(classes)) if set(range(classes)) <= own.keys() else ()


def with_classes_apart(dataset: ImageSet, part: Part) -> ImageSet:
    """Return the images of a part of the classes of a set whose images have a label each, numbered anew.

    Raises:
        ValueError: if there are too few classes.
    """
    if part == "all":
        return dataset
    own = dataset.labels.numpy()
    member = classes_apart(dataset.categories, np.bincount(own, minlength=len(dataset.categories)).tolist(), part)
    labels = np.where(member, member.cumsum() - 1, -1)
    rows = np.flatnonzero(member[own])
    names = tuple(name for name, inside in zip(dataset.categories, member, strict=True) if inside)
    chosen = Selection(dataset, rows, categories=names, labels=labels)
    chosen.left_out = dataset.left_out  # the others are no faults
    return chosen
