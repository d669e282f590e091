"""Images beside label maps: semantic segmentation as CamVid and Cityscapes store it.

Layouts: `train` beside `trainannot` (CamVid, SegNet's copy); `leftImg8bit/train/CITY` beside `gtFine/train/CITY`
(Cityscapes, whose 34 ids become the 19 training classes); `images/train` beside `labels/train` (or `masks`,
`annotations`), with or without splits. Except for Cityscapes, classes.txt names the values; a class called void,
unlabelled or ignore becomes 255, as 255 itself, and the others are numbered 0..K-1 in the order of their values.
Without classes.txt the values that occur in the maps are the classes, called "class 0", "class 5", ...
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import Fault, FaultLog, OnFault
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, images_by_stem, listed_classes, several_of_a_stem
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members, remark_doubled, remark_outside, split_folders
from vidi.ops.label_maps import VOID

NEEDS = "train beside trainannot, images/train beside labels/train (png), or leftImg8bit beside gtFine"

UNKNOWN = 254
VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored", "ignore_label"})
_LABEL_FOLDERS = ("labels", "masks", "annotations", "annot")

# Cityscapes: label id -> the 19 classes that are trained and scored (cityscapesScripts, helpers/labels.py).
CITYSCAPES: dict[int, str] = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_CITYSCAPES_VOID = frozenset(range(34)).difference(CITYSCAPES)


@dataclass(frozen=True)
class Legend:
    """What the values of a label map mean."""

    classes: Mapping[int, str]  # value on disk -> name
    void: frozenset[int] = frozenset()  # values that become VOID

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.classes[value] for value in sorted(self.classes))

    def table(self) -> bytes:
        """Return the new value of each of the 256 on disk, UNKNOWN for those that mean nothing."""
        table = bytearray([UNKNOWN]) * 256
        for value in (*self.void, VOID):
            table[value] = VOID
        for label, value in enumerate(sorted(self.classes)):
            table[value] = label
        return bytes(table)


Folders = tuple[Path, Path]  # of images and of label maps


class Pair(NamedTuple):
    """All files of one stem: one image and one label map, where nothing is wrong."""

    images: Sequence[Path]
    maps: Sequence[Path]


class LabelPairs(ImageSet):
    """Images with one map of class labels each."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        legend: Legend,
        root: Path,
        *,
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(root, on_fault)
        known: list[tuple[Path, Path]] = []
        for images, maps in pairs:
            if not maps:
                log.fault(images[0], "", "the image has no label map")
            elif not images:
                log.fault(maps[0], "", "the label map has no image")
            elif len(images) > 1 or len(maps) > 1:
                several = images if len(images) > 1 else maps
                log.fault(several[0].parent, "", several_of_a_stem([path.name for path in several]))
            else:
                known.append((images[0], maps[0]))
        log.settle(len(known))
        super().__init__(root, log)
        member = part_members([image.relative_to(root).as_posix() for image, _ in known], part)
        chosen = [pair for pair, inside in zip(known, member, strict=True) if inside]
        self.semantic_categories = legend.names
        self.kinds = frozenset({"image_id", "semantic"})
        self._images = Names([str(image) for image, _ in chosen])
        self._maps = Names([str(labels) for _, labels in chosen])
        self._table = legend.table()

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> Path:
        return Path(self._images[index])

    def target(self, index: int) -> Target:
        if "semantic" not in self.kinds:
            return {"image_id": torch.tensor(index)}
        path = self._maps[index]
        labels = files.read_label_map(path)  # H W
        mapped = bytearray(labels.numpy().tobytes()).translate(self._table)
        if UNKNOWN in mapped:
            unknown = sorted({int(value) for value in labels.unique() if self._table[value] == UNKNOWN})
            known = [value for value, label in enumerate(self._table) if label != UNKNOWN]
            raise ValueError(f"{path}: unknown classes {unknown}; the values of this set are {known}")
        semantic = torch.frombuffer(mapped, dtype=torch.uint8).reshape(labels.shape)
        return {"image_id": torch.tensor(index), "semantic": tv_tensors.Mask(semantic)}


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise images beside label maps."""
    if (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        return _cityscapes(root)
    if not root.is_dir():
        return None
    name = next((name for name in _LABEL_FOLDERS if (root / name).is_dir()), "")
    folders = _beside(split_folders(root / "images"), lambda folder: root / name / folder.name)
    folders |= _beside(split_folders(root), lambda folder: root / f"{folder.name}annot")
    if not folders and name:
        folders = _beside({UNSPLIT: (root / "images",)}, lambda folder: root / name)
    if not folders:
        return None
    listed = listed_classes(root)
    legend = _legend_of_maps(root, folders) if listed is None else _legend(root, listed)
    remarks = remark_doubled(root, {split: [images for images, _ in pairs] for split, pairs in folders.items()})
    if listed is None:
        called = f"there is no classes.txt: the classes are {', '.join(legend.names)}"
        remarks += (Fault(str(root), "", f"{called}, after the values in the label maps"),)
    used = (folder for pairs in folders.values() for pair in pairs for folder in pair)
    remarks += remark_outside(root, used, "they have no label maps")
    sources = {
        split: functools.partial(LabelPairs, [pair for place in pairs for pair in _pairs(*place)], legend, root)
        for split, pairs in folders.items()
    }
    places = (place for pairs in folders.values() for place in pairs)
    described = ", ".join(f"{images.relative_to(root)} beside {maps.relative_to(root)}" for images, maps in places)
    named = "classes.txt" if listed is not None else "the label maps"
    reason = f"{described}; {len(legend.classes)} classes and {len(legend.void)} void in {named}"
    return Layout(root, reason, sources, remarks=remarks, stratified=False)


def _beside(splits: Mapping[str, Sequence[Path]], maps_of: Callable[[Path], Path]) -> dict[str, tuple[Folders, ...]]:
    """Return the folders of images, by split, that have a folder of label maps."""
    pairs = {split: tuple((folder, maps_of(folder)) for folder in folders) for split, folders in splits.items()}
    pairs = {split: tuple(p for p in several if all(map(images_by_stem, p))) for split, several in pairs.items()}
    return {split: several for split, several in pairs.items() if several}


def _legend(root: Path, listed: Mapping[int, str]) -> Legend:
    if len(listed) > UNKNOWN or max(listed, default=0) > 255:
        raise ValueError(f"{root / 'classes.txt'}: expected at most {UNKNOWN} classes with values 0..255")
    void = frozenset(value for value, label in listed.items() if label.lower() in VOID_NAMES)
    return Legend({value: label for value, label in listed.items() if value not in void}, void)


def _legend_of_maps(root: Path, folders: Mapping[str, Sequence[Folders]]) -> Legend:
    """Name the values that occur in the maps of all splits."""
    values: set[int] = set()
    for _, maps in (pair for pairs in folders.values() for pair in pairs):
        for name in (name for names in images_by_stem(maps).values() for name in names):
            values |= set(files.read_label_map(maps / name).unique().tolist())
    values.discard(VOID)
    if not 1 < len(values) <= UNKNOWN:
        raise ValueError(
            f"{root}: its label maps hold the values {', '.join(map(str, sorted(values)[:5])) or 'none'} besides "
            f"{VOID}, which is ignored: a classes.txt that names them is needed (lines `value name`; 255 may be one)"
        )
    return Legend({value: f"class {value}" for value in sorted(values)})


def _pairs(images: Path, maps: Path) -> list[Pair]:
    stored, labels = images_by_stem(images), images_by_stem(maps)
    return [
        Pair([images / name for name in stored.get(stem, ())], [maps / name for name in labels.get(stem, ())])
        for stem in sorted(stored.keys() | labels.keys())
    ]


def _cityscapes(root: Path) -> Layout:
    folders = split_folders(root / "leftImg8bit")
    sources = {}
    for split, several in folders.items():
        pairs: list[Pair] = []
        for image in (image for folder in several for image in sorted(folder.glob("*/*_leftImg8bit.png"))):
            name = image.name.replace("_leftImg8bit", "_gtFine_labelIds")
            labels = root / "gtFine" / image.parent.parent.name / image.parent.name / name
            pairs.append(Pair([image], [labels] if labels.is_file() else []))
        sources[split] = functools.partial(LabelPairs, pairs, Legend(CITYSCAPES, _CITYSCAPES_VOID), root)
    reason = "leftImg8bit beside gtFine, as Cityscapes; 34 ids become 19 classes"
    return Layout(root, reason, sources, remarks=remark_doubled(root, folders), stratified=False)
