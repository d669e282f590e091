"""YOLO text: one line `class cx cy w h` per box, as fractions of the image, in a file named like the image.

Redmon's darknet wrote it first. The labels of images/train/a.jpg are in labels/train/a.txt, those of train/images/a.jpg
in train/labels/a.txt, or beside the picture. A data.yaml, or train.txt and val.txt, say which pictures are which split;
else folders do. An image without a label file holds no things. Names come from that yaml, or from classes.txt,
*.names or _darknet.labels; without any of them the classes are called by their numbers. Other rows in use are read as
boxes: of an outline the envelope, of keypoints their box; a sixth value is a confidence, and left out.

    pictures of the split -> label file of each -> lines checked one by one -> flat arrays
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.elsewhere import found_elsewhere
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, several_of_a_stem, stem_of
from vidi.data.readers.places import Pictures
from vidi.data.readers.splits import Part, classes_of, part_members, spoken_path
from vidi.data.readers.yolo_yaml import whole_number
from vidi.formats import files_below

_SLACK = 1e-3  # of the image: rounding to a few digits is no overhang
_IMAGE_FOLDERS = ("images", "JPEGImages")  # darknet looks for the labels of both in `labels`

_REMARKS = {
    "outline": "rows are outlines, the box of each is its envelope",
    "confidence": "rows have a sixth value, a confidence, which is left out",
    "points": "rows have keypoints, of which only the box is read",
}


class YoloTxt(ImageSet):
    """The pictures of one split with their text files."""

    def __init__(
        self,
        root: Path,
        pictures: Pictures,
        categories: tuple[str, ...],
        *,
        points: tuple[int, int] | None = None,  # keypoints of each object, and numbers of each keypoint
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(root, on_fault, list(pictures.faults), list(pictures.remarks))
        self.categories = categories
        self.kinds = frozenset({"image_id", "boxes", "labels", "crowd", "areas"})
        labels = {path: label_file(path) for path in pictures.paths}
        _log_orphans(pictures.folders, {file for file in labels.values() if file}, log)
        paths = _unambiguous(labels, log)
        rows: list[BoxRow] = []
        for index, path in enumerate(paths):
            if file := labels[path]:
                rows += _boxes(file, index, len(categories), points, log)
        without = sum(labels[path] is None for path in paths)
        if without:
            log.remark(root, "", f"{without} of {len(paths)} pictures have no label file: taken as without objects")
        log.settle(len(paths))
        super().__init__(root, log)
        member = part_members([spoken_path(path, root) for path in paths], part, classes_of(rows, len(paths)))
        member = self._without_faulty(member, log)
        self._paths = Names([str(path) for path, inside in zip(paths, member, strict=True) if inside])
        self._boxes = BoxTable.pack(rows, member)  # as fractions: sizes are read with the images

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> Path:
        return Path(self._paths[index])

    def target(self, index: int) -> Target:
        size = files.image_size(self.path(index))
        return {"image_id": torch.tensor(index), **self._boxes.target(index, size, unit=size)}


# ----------------------------------------------------------------------------------------------------- files of labels


def label_folder(folder: Path) -> Path:
    """Return the folder of the labels of a folder of pictures: `labels` for `images`, where it is there."""
    for row in reversed(range(len(folder.parts))):
        if folder.parts[row] in _IMAGE_FOLDERS:
            swapped = Path(*folder.parts[:row], "labels", *folder.parts[row + 1 :])
            return swapped if swapped.is_dir() else folder
    return folder


def label_file(picture: Path) -> Path | None:
    """Return the label file of a picture: in the folder of the labels or beside it; None without."""
    beside = picture.with_suffix(".txt")
    there = label_folder(picture.parent) / beside.name
    return there if there.is_file() else beside if beside.is_file() else None


def label_names(folder: Path) -> list[str]:
    """Return the label files below a folder; `classes.txt` is none."""
    return files_below(folder, lambda name: name.lower().endswith(".txt") and name != "classes.txt")


def looks_like_labels(file: Path) -> bool:
    """Tell whether the first line of a text file that says anything is a row of numbers."""
    try:
        first = next((line for line in files.read_text(file).splitlines() if line.strip()), "")
        return len([float(word) for word in first.split()]) >= 5
    except ValueError:
        return False


def labels_in(file: Path) -> set[int]:
    """Return the numbers of the classes in a label file; lines that cannot be read have none."""
    found = set()
    for line in files.read_text(file).splitlines():
        try:
            found.add(whole_number(line.split()[0]))
        except (ValueError, IndexError, OverflowError):
            continue
    return found


def _log_orphans(folders: Sequence[Path], used: set[Path], log: FaultLog) -> None:
    """Log the label files below the folders that belong to no picture, and where such pictures are."""
    missing = []
    for folder in folders:
        place = label_folder(folder)
        for name in label_names(place):
            if place / name not in used and (place != folder or looks_like_labels(place / name)):
                log.fault(place / name, "", f"the image {folder / stem_of(name)} (.jpg, .png, ...) is missing")
                missing.append(stem_of(name))
    log.remarks += found_elsewhere(log.root, log.root, missing)


def _unambiguous(labels: dict[Path, Path | None], log: FaultLog) -> list[Path]:
    """Return the pictures but for those that share a label file, which are faults."""
    owners: dict[Path, list[Path]] = {}
    for path, file in labels.items():
        if file is not None:
            owners.setdefault(file, []).append(path)
    for file, several in owners.items():
        if len(several) > 1:
            log.fault(file, "", several_of_a_stem([path.name for path in several]))
    return [path for path, file in labels.items() if file is None or len(owners[file]) == 1]


# -------------------------------------------------------------------------------------------------------------- rows


def _boxes(path: Path, image: int, classes: int, points: tuple[int, int] | None, log: FaultLog) -> list[BoxRow]:
    rows = []
    try:
        lines = files.read_text(path).splitlines()
    except ValueError as error:
        log.unreadable(path, error, image=image)
        return []
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            label, box, kind = _parse_line(text, classes, points)
            box, remark = _clip(box)
        except ValueError as error:
            log.fault(path, f"line {line}", str(error), image=image)
            continue
        if kind:
            log.tally(log.root, f"{path}, line {line}", _REMARKS[kind])
        if remark:
            log.remark(path, f"line {line}", remark)
        rows.append(BoxRow(image, box, label, False, (box[2] - box[0]) * (box[3] - box[1])))
    return rows


def _parse_line(
    text: str, classes: int, points: tuple[int, int] | None
) -> tuple[int, tuple[float, float, float, float], str]:  # label, box xyxy, kind of the row
    words = text.split()
    try:
        label, values = whole_number(words[0]), [float(word) for word in words[1:]]
    except (ValueError, OverflowError):
        raise ValueError(f"{text.strip()!r}: expected a whole number and four numbers") from None
    if not 0 <= label < classes:
        raise ValueError(f"unknown class {label}; the set has {classes} classes, 0..{classes - 1}")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{text.strip()!r} is not finite")
    has_points = points is not None and len(values) == 4 + points[0] * points[1]
    if len(values) >= 6 and len(values) % 2 == 0 and not has_points:
        xs, ys = values[0::2], values[1::2]
        return label, (min(xs), min(ys), max(xs), max(ys)), "outline"
    has_confidence = len(values) == 5 and 0 <= values[4] <= 1
    if len(values) != 4 and not has_points and not has_confidence:
        raise ValueError(
            f"{len(words)} values, expected five: class cx cy w h (or a confidence from 0 to 1 after them, or an "
            "outline of three points or more: class x1 y1 x2 y2 x3 y3 ...)"
        )
    cx, cy, width, height = values[:4]
    kind = "points" if has_points else "confidence" if has_confidence else ""
    return label, (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), kind


def _clip(box: tuple[float, float, float, float]) -> tuple[tuple[float, float, float, float], str]:
    if max(abs(value) for value in box) > 3:
        raise ValueError(f"box {[round(value, 6) for value in box]} (x1 y1 x2 y2) is not in fractions of the image")
    clipped, _ = clip_box(box, (1, 1))
    overhang = max(abs(a - b) for a, b in zip(clipped, box, strict=True))
    return (
        clipped,
        f"box reaches {overhang:.3g} of the image over its border and is clipped" if overhang > _SLACK else "",
    )
