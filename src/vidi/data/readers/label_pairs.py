"""Images beside label maps: semantic segmentation as CamVid and Cityscapes store it.

Layouts: `train` beside `trainannot` (CamVid, SegNet's copy); `leftImg8bit/train/CITY` beside `gtFine/train/CITY`
(Cityscapes, whose 34 ids become the 19 training classes); `images/train` beside `labels/train` (or `masks`,
`annotations`), with or without splits. Except for Cityscapes, classes.txt names the values; a class called void,
unlabelled or ignore becomes 255, as 255 itself, and the others are numbered 0..K-1 in the order of their values.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, images_by_stem, listed_classes
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members, split_folders

NEEDS = "train beside trainannot, images/train beside labels/train (png) with classes.txt, or leftImg8bit beside gtFine"

IGNORED = 255
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
    void: frozenset[int] = frozenset()  # values that become 255

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.classes[value] for value in sorted(self.classes))

    def table(self) -> bytes:
        """Return the new value of each of the 256 on disk, UNKNOWN for those that mean nothing."""
        table = bytearray([UNKNOWN]) * 256
        for value in (*self.void, IGNORED):
            table[value] = IGNORED
        for label, value in enumerate(sorted(self.classes)):
            table[value] = label
        return bytes(table)


Pair = tuple[Path | None, Path | None]  # image and label map; None where one is missing


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
        known = [(image, labels) for image, labels in pairs if image is not None and labels is not None]
        for image, labels in pairs:
            if labels is None:
                log.fault(image or "", "", "the image has no label map")
            elif image is None:
                log.fault(labels, "", "the label map has no image")
        log.settle(len(known))
        super().__init__(root, log)
        member = part_members([image.name for image, _ in known], part)
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
    pairs = {split: (folder, root / name / folder.name) for split, folder in split_folders(root / "images").items()}
    pairs |= {split: (folder, root / f"{folder.name}annot") for split, folder in split_folders(root).items()}
    folders = {split: pair for split, pair in pairs.items() if images_by_stem(pair[1])}
    if not folders and name and images_by_stem(root / "images") and images_by_stem(root / name):
        folders = {UNSPLIT: (root / "images", root / name)}
    if not folders:
        return None
    listed = listed_classes(root)
    if listed is None:
        raise ValueError(f"{root}: label maps need {root / 'classes.txt'}, a class name a line (or `value name`)")
    void = frozenset(value for value, label in listed.items() if label.lower() in VOID_NAMES)
    if len(listed) > UNKNOWN or max(listed, default=0) > 255:
        raise ValueError(f"{root / 'classes.txt'}: expected at most {UNKNOWN} classes with values 0..255")
    legend = Legend({value: label for value, label in listed.items() if value not in void}, void)
    sources = {split: functools.partial(LabelPairs, _pairs(*pair), legend, pair[0]) for split, pair in folders.items()}
    described = ", ".join(
        f"{images.relative_to(root)} beside {maps.relative_to(root)}" for images, maps in folders.values()
    )
    return Layout(root, f"{described}; {len(legend.classes)} classes and {len(void)} void in classes.txt", sources)


def _pairs(images: Path, maps: Path) -> list[Pair]:
    stored, labels = images_by_stem(images), images_by_stem(maps)
    return [
        (images / stored[stem] if stem in stored else None, maps / labels[stem] if stem in labels else None)
        for stem in sorted(stored.keys() | labels.keys())
    ]


def _cityscapes(root: Path) -> Layout:
    sources = {}
    for split, folder in split_folders(root / "leftImg8bit").items():
        pairs: list[Pair] = []
        for image in sorted(folder.glob("*/*_leftImg8bit.png")):
            name = image.name.replace("_leftImg8bit", "_gtFine_labelIds")
            labels = root / "gtFine" / folder.name / image.parent.name / name
            pairs.append((image, labels if labels.is_file() else None))
        sources[split] = functools.partial(LabelPairs, pairs, Legend(CITYSCAPES, _CITYSCAPES_VOID), folder)
    return Layout(root, "leftImg8bit beside gtFine, as Cityscapes; 34 ids become 19 classes", sources)
