"""YOLO text: one line `class cx cy w h` per box, as fractions of the image, in a file named like the image.

Redmon's darknet wrote it first. Images lie in images/train and labels in labels/train (or train/images and
train/labels). An image without a label file holds no things. Names come from classes.txt, or from `names` in a yaml
beside the folders; without either the classes are called by their numbers.

    images of the split -> label file of the same stem -> lines checked one by one -> flat arrays
"""

import functools
import math
import re
from pathlib import Path

import torch

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, images_by_stem, listed_classes
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members, split_folders

NEEDS = (
    "images/{train,val} beside labels/{train,val} (or train/images beside train/labels) with lines `class cx cy w h`"
)

_SLACK = 1e-3  # of the image: rounding to a few digits is no overhang


class YoloTxt(ImageSet):
    """The images of one folder with the text files of another."""

    def __init__(
        self,
        images: Path,
        labels: Path,
        categories: tuple[str, ...],
        *,
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(labels, on_fault)
        self.categories = categories
        self.kinds = frozenset({"image_id", "boxes", "labels", "crowd", "areas"})
        stored = images_by_stem(images)
        rows: list[BoxRow] = []
        written = {path.stem: path for path in sorted(labels.glob("*.txt")) if path.stem != "classes"}
        for stem in sorted(written.keys() - stored.keys()):
            log.fault(written[stem], "", f"the image {images / stem} (.jpg, .png, ...) is missing")
        for index, stem in enumerate(stored):
            if stem in written:
                rows += _boxes(written[stem], index, len(categories), log)
        log.settle(len(stored))
        super().__init__(labels, log)
        member = part_members(list(stored.values()), part)
        self._folder = images
        self._names = Names([name for name, inside in zip(stored.values(), member, strict=True) if inside])
        self._boxes = BoxTable.pack(rows, member)  # as fractions: sizes are read with the images

    def __len__(self) -> int:
        return len(self._names)

    def path(self, index: int) -> Path:
        return self._folder / self._names[index]

    def target(self, index: int) -> Target:
        size = files.image_size(self.path(index))
        return {"image_id": torch.tensor(index), **self._boxes.target(index, size, unit=size)}


def _boxes(path: Path, image: int, classes: int, log: FaultLog) -> list[BoxRow]:
    rows = []
    try:
        lines = files.read_text(path).splitlines()
    except ValueError as error:
        log.unreadable(path, error)
        return []
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            label, box = _parse_line(text, classes)
            box, remark = _clip(box)
        except ValueError as error:
            log.fault(path, f"line {line}", str(error))
            continue
        if remark:
            log.remark(path, f"line {line}", remark)
        rows.append(BoxRow(image, box, label, False, (box[2] - box[0]) * (box[3] - box[1])))
    return rows


def _parse_line(text: str, classes: int) -> tuple[int, tuple[float, float, float, float]]:
    words = text.split()
    if len(words) != 5:
        raise ValueError(f"{len(words)} values, expected five: class cx cy w h (outlines and points are not read)")
    try:
        label, (cx, cy, width, height) = int(words[0]), (float(word) for word in words[1:])
    except ValueError:
        raise ValueError(f"{text.strip()!r}: expected an integer and four numbers") from None
    if not 0 <= label < classes:
        raise ValueError(f"unknown class {label}; the set has {classes} classes, 0..{classes - 1}")
    return label, (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)


def _clip(box: tuple[float, float, float, float]) -> tuple[tuple[float, float, float, float], str]:
    if all(math.isfinite(value) for value in box) and max(abs(value) for value in box) > 3:
        raise ValueError(f"box {[round(value, 6) for value in box]} (x1 y1 x2 y2) is not in fractions of the image")
    clipped, _ = clip_box(box, (1, 1))
    overhang = max(abs(a - b) for a, b in zip(clipped, box, strict=True))
    return (
        clipped,
        f"box reaches {overhang:.3g} of the image over its border and is clipped" if overhang > _SLACK else "",
    )


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise YOLO text by label files that stand beside images."""
    if not root.is_dir():
        return None
    pairs = {split: (folder, root / "labels" / folder.name) for split, folder in split_folders(root / "images").items()}
    pairs |= {split: (folder / "images", folder / "labels") for split, folder in split_folders(root).items()}
    pairs = {split: pair for split, pair in pairs.items() if _has_labels(pair[1])}
    if not pairs and (root / "images").is_dir() and _has_labels(root / "labels"):
        pairs = {UNSPLIT: (root / "images", root / "labels")}
    if not pairs:
        return None
    categories, origin = _categories(root, [labels for _, labels in pairs.values()])
    sources = {split: functools.partial(YoloTxt, *pair, categories) for split, pair in pairs.items()}
    folders = ", ".join(str(labels.relative_to(root)) for _, labels in pairs.values())
    return Layout(root, f"{folders} hold YOLO text; class names from {origin}", sources)


def _has_labels(folder: Path) -> bool:
    return folder.is_dir() and any(path.stem != "classes" for path in folder.glob("*.txt"))


def _categories(root: Path, folders: list[Path]) -> tuple[tuple[str, ...], str]:
    for place in (root, *folders):
        listed = listed_classes(place)
        if listed is not None:
            return tuple(listed.values()), str(Path(place.relative_to(root), "classes.txt"))
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        names = yaml_names(files.read_text(path))
        if names is not None:
            return names, path.name
    largest = -1
    for path in (path for folder in folders for path in folder.glob("*.txt")):
        firsts = re.findall(r"^\s*(\d+)\s", files.read_text(path), flags=re.MULTILINE)
        largest = max([largest, *map(int, firsts)])
    if largest >= 10_000:
        raise ValueError(f"{root}: class numbers up to {largest}; a classes.txt with the names is needed")
    return tuple(str(label) for label in range(largest + 1)), "the numbers in the label files"


def yaml_names(text: str) -> tuple[str, ...] | None:
    """Return the class names of a YOLO yaml: `names: [a, b]`, or a block of `- a` or `0: a` lines; None without.

    Reads this one key of the format, not YAML in general. Raises ValueError for a key that it cannot read.
    """
    start = re.search(r"^names:[ \t]*", text, flags=re.MULTILINE)
    if start is None:
        return None
    rest = text[start.end() :]
    if rest.startswith(("[", "{")):
        end = rest.find("]" if rest[0] == "[" else "}")
        entries = [entry for entry in re.split(r",|\n", rest[1:end]) if entry.strip()] if end > 0 else []
    else:
        block = re.match(r"(?:[ \t]*(?:#.*)?\n|[ \t]*-[ \t].*(?:\n|$)|[ \t]+\d+[ \t]*:.*(?:\n|$))*", rest)
        lines = block.group().splitlines() if block else []
        entries = [
            re.sub(r"^-\s+", "", line.strip()) for line in lines if line.strip() and not line.strip().startswith("#")
        ]
    numbered = [re.fullmatch(r"\s*(\d+)\s*:\s*(.*)", entry) for entry in entries]
    if entries and all(numbered):
        pairs = sorted((int(match.group(1)), match.group(2)) for match in numbered if match)
        if [number for number, _ in pairs] != list(range(len(pairs))):
            raise ValueError(f"names: expected the numbers 0..{len(pairs) - 1}, each once")
        entries = [name for _, name in pairs]
    names = tuple(re.sub(r"\s+#.*$", "", entry).strip().strip("'\"") for entry in entries)
    if not names or not all(names):
        raise ValueError("names: expected a list of class names")
    return names
