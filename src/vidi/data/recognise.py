"""What a path holds: recognised by its content, opened as a data set.

Each reader says what it needs and looks for it; the first that finds it wins, the most particular ones ask first. The
reason is kept, to be printed: a data set that is silently taken for another one costs days.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vidi.data.faults import DataFaults, OnFault, check_choice, counted, folded
from vidi.data.readers import (
    captions_jsonl,
    class_folders,
    coco_json,
    coco_panoptic,
    label_layout,
    npz,
    sequences,
    shards,
    stereo_folders,
    voc_layout,
    yolo_layout,
)
from vidi.data.readers.image_set import ImageSet
from vidi.data.readers.selection import with_classes_apart
from vidi.data.readers.splits import Layout, Part, Split, assign_splits
from vidi.data.readers.vocabulary import by_name
from vidi.data.unrecognised import refuse_broken_json, refuse_known


class Reader(NamedTuple):
    """How one on-disk format is found, and what it needs to be."""

    find_layout: Callable[[Path], Layout | None]
    needs: str
    gives: frozenset[str]  # keys that targets may have


VIEWS = frozenset(
    {"right", "disparity", "disparity_valid", "depth", "depth_valid", "neighbours", "poses", "intrinsics"}
)
BOXES = frozenset({"boxes", "labels", "crowd", "areas"})
READERS: dict[str, Reader] = {
    "captions_jsonl": Reader(captions_jsonl.find_layout, captions_jsonl.NEEDS, frozenset({"caption"})),
    "npz": Reader(npz.find_layout, npz.NEEDS, frozenset({"label"})),
    "shards": Reader(shards.find_layout, shards.NEEDS, frozenset({"caption"})),
    "coco_panoptic": Reader(coco_panoptic.find_layout, coco_panoptic.NEEDS, BOXES | {"panoptic", "semantic"}),
    "coco_json": Reader(coco_json.find_layout, coco_json.NEEDS, BOXES | {"masks", "keypoints", "visibility"}),
    "voc_xml": Reader(voc_layout.find_layout, voc_layout.NEEDS, BOXES),
    "yolo_txt": Reader(yolo_layout.find_layout, yolo_layout.NEEDS, BOXES),
    "kitti_odometry": Reader(sequences.find_odometry, sequences.NEEDS_ODOMETRY, VIEWS),
    "kitti_raw": Reader(sequences.find_raw, sequences.NEEDS_RAW, VIEWS),
    "stereo_folders": Reader(stereo_folders.find_layout, stereo_folders.NEEDS, VIEWS),
    "sequences": Reader(sequences.find_layout, sequences.NEEDS, VIEWS),
    "label_pairs": Reader(label_layout.find_layout, label_layout.NEEDS, frozenset({"semantic"})),
    "class_folders": Reader(class_folders.find_layout, class_folders.NEEDS, frozenset({"label"})),
}


@dataclass(frozen=True)
class Recognition:
    """A data set that was recognised; `splits` can be opened."""

    format: str
    root: Path
    reason: str
    splits: Mapping[str, Split]
    layout: Layout
    apart: bool = False  # whether the splits have classes of their own

    def open(self, split: str, *, on_fault: OnFault = "raise") -> ImageSet:
        """Index one split, with the classes of the training, or its own where they are apart.

        Raises DataFaults with all its faults, if not dropped.
        """
        check_choice(on_fault)
        if split not in self.splits:
            raise ValueError(f"{self.root}: there is no split {split!r}; choose from {', '.join(self.splits)}")
        source = self.splits[split]
        sources = (self.layout.apart if self.apart else None) or self.layout.sources
        dataset = sources[source.source](part="all" if self.apart else source.part, on_fault="drop")
        dataset.remarks = (*self.layout.remarks, *dataset.remarks)
        training = self.layout.training_classes
        if self.apart:
            dataset = self._with_classes_apart(dataset, source.part)
        else:
            dataset = by_name(dataset, dataset.categories if training is None else training())
        if dataset.faults and (on_fault == "raise" or len(dataset) == 0):
            raise DataFaults(self.root, dataset.faults, dataset.remarks)
        return dataset

    def _with_classes_apart(self, dataset: ImageSet, part: Part) -> ImageSet:
        if "label" not in dataset.kinds:
            return dataset  # whoever asks for labels says that there are none
        try:
            return with_classes_apart(dataset, part)
        except ValueError as error:
            raise ValueError(f"{self.root}: {error}") from None


def recognise(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    needs: Collection[str] = (),
    apart: bool = False,
) -> Recognition:
    """Tell by its content which data set lies at a path; `format` (a key of READERS) asks that reader alone.

    Of a set with annotations of several kinds (VOC has boxes and label maps) those are read that may give the keys
    which a task needs, and the first where none may. `apart` gives `val` classes of its own, with all their
    images, where the set has no such split itself.

    Raises FileNotFoundError for a path that does not exist, and ValueError that lists what was seen and what each
    format needs.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or folder")
    if format is not None and format not in READERS:
        raise ValueError(f"unknown format {format!r}; choose from {', '.join(READERS)}")
    asked = READERS if format is None else {format: READERS[format]}
    found: tuple[str, Layout] | None = None
    for name, reader in asked.items():
        if name == "class_folders":  # any folder of folders may be that
            if found is not None:
                break
            if format is None:
                refuse_broken_json(root)
        layout = reader.find_layout(root)
        if layout is not None and reader.gives.issuperset(needs):
            found = name, layout
            break
        found = found or (None if layout is None else (name, layout))
    if found is not None:
        name, layout = found
        splits = assign_splits(layout.sources, stratified=layout.stratified, apart=apart)
        own = ", ".join(split for split in splits if not splits[split].note)
        notes = [f"splits of its own: {own}"] if own else []
        notes += [split.note for split in splits.values() if split.note]
        return Recognition(name, root, "; ".join([layout.reason, *notes]), splits, layout, apart)
    if format is None:
        refuse_known(root)
    wanted = "\n".join(f"  {name}: {reader.needs}" for name, reader in asked.items())
    raise ValueError(
        f"{root}: not a data set that vidi knows. It holds {seen(root)}. A data set needs one of\n{wanted}"
    )


def open_dataset(
    path: str | os.PathLike[str],
    split: str,
    *,
    format: str | None = None,
    needs: Collection[str] = (),
    apart: bool = False,
    on_fault: OnFault = "raise",
) -> ImageSet:
    """Open one split (train, val, test; `all` of an unsplit set) of the data set at a path, as `recognise` tells it."""
    return recognise(path, format=format, needs=needs, apart=apart).open(split, on_fault=on_fault)


def seen(root: Path) -> str:
    """Describe a folder in a line: its sub-folders and its files by suffix."""
    if root.is_file():
        return f"one file of {counted(root.stat().st_size, 'byte')}"
    entries = sorted(root.iterdir())
    folders = [entry.name for entry in entries if entry.is_dir()]
    suffixes = Counter(entry.suffix.lower() or "without suffix" for entry in entries if not entry.is_dir())
    parts = [f"{counted(count, 'file')} {suffix}" for suffix, count in suffixes.most_common(8)]
    if folders:
        parts.insert(0, f"{counted(len(folders), 'folder')} ({folded(folders)})")
    return ", ".join(parts) or "nothing: the folder is empty"
