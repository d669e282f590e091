"""What the values of label maps mean: one explicit table from what a file holds to classes, void ones among them.

A set's own table comes first, in its folder:

    classes.txt        `NAME` a line, counted from 0; `VALUE NAME`; or `R G B NAME` for maps painted in colours
    label_colors.txt   the same (CamVid, mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid; CVAT's exports)
    labelmap.txt       `NAME:R,G,B:PARTS:ACTIONS` (CVAT, "Segmentation mask")
    objectInfo150.txt  rows with the value first and its names last (ADE20K, github.com/CSAILVision/sceneparsing)

Equal names are one class. One called void, unlabelled or ignore becomes 255, as 255 itself where it has no row. Classes
are numbered 0..K-1 in the order of their values, of colours in the order of their rows. The table says how maps are
read: by the values of their pixels, which are indices where a picture has a palette, or by the colours that they show.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidi import files
from vidi.data.readers.image_set import StoredValue, class_lines, listed_classes
from vidi.ops.label_maps import VOID

UNKNOWN = 254
VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored", "ignore_label"})
TABLES = "classes.txt with lines `VALUE NAME`, or `R G B NAME` for maps painted in colours"
_COLOUR = re.compile(r"(\d+)[\s:,]+(\d+)[\s:,]+(\d+)[\s:,]+(\S.*)")


@dataclass(frozen=True)
class Legend:
    """The table of one set: names by value on disk, or by colour, 65536 R + 256 G + B, in the order of the classes."""

    rows: Mapping[int, str]
    void: frozenset[int] = frozenset()  # values that become VOID
    coloured: bool = False

    @classmethod
    def of(cls, rows: Mapping[int, str], *, coloured: bool = False) -> "Legend":
        """Return a table whose void values are known by their names."""
        return cls(rows, frozenset(value for value, name in rows.items() if name.lower() in VOID_NAMES), coloured)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(dict.fromkeys(name for value, name in self.rows.items() if value not in self.void))

    def stored(self, path: Path) -> np.ndarray:
        """Read what a file holds, int64 H W: values or colours. Raises ValueError with the file."""
        if self.coloured:
            red, green, blue = files.read_image(path).numpy().astype(np.int64)
            return red * 65536 + green * 256 + blue
        try:
            return files.read_label_map(path).numpy()
        except files.NotALabelMapError as error:
            raise ValueError(f"{error}; or a {TABLES}") from None

    def labels(self, path: Path) -> np.ndarray:
        """Read the classes of a label map, uint8 H W. Raises ValueError with the file and the unknown values."""
        stored = self.stored(path)
        keys, labels = self._table
        place = np.searchsorted(keys, stored).clip(max=len(keys) - 1) if self.coloured else stored
        mapped = labels[place]
        unknown = mapped == UNKNOWN
        if self.coloured:
            unknown |= keys[place] != stored
        if unknown.any():
            found, known = (self._said(v.tolist()) for v in (np.unique(stored[unknown]), keys[labels != UNKNOWN]))
            raise ValueError(f"{path}: unknown classes [{found}]; the values of this set are [{known}]")
        return mapped

    def counted(self, path: Path) -> dict[StoredValue, int]:
        """Count the pixels of each value that a label map holds."""
        stored = self.stored(path)
        if self.coloured:
            values, counts = np.unique(stored, return_counts=True)
        else:
            every = np.bincount(stored.reshape(-1))  # 8 bits: faster than sorting
            values, counts = np.flatnonzero(every), every[every > 0]
        return {self._named(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}

    @functools.cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Values in ascending order, and the class of each: VOID, or UNKNOWN where it has none."""
        classes = {name: label for label, name in enumerate(self.names)}
        labels = {value: VOID if value in self.void else classes[name] for value, name in self.rows.items()}
        if not self.coloured:
            labels = {**dict.fromkeys(range(256), UNKNOWN), VOID: VOID, **labels}
        keys = np.array(sorted(labels), dtype=np.int64)
        return keys, np.array([labels[key] for key in keys.tolist()], dtype=np.uint8)

    def _named(self, value: int) -> StoredValue:
        unnamed = "void" if value == VOID and not self.coloured else "unknown"
        is_void = value in self.void or (value not in self.rows and unnamed == "void")
        return StoredValue(value, self._said([value]), self.rows.get(value, unnamed), is_void)

    def _said(self, values: Iterable[int]) -> str:
        colours = ((v >> 16, v >> 8 & 255, v & 255) if self.coloured else (v,) for v in values)
        return ", ".join(" ".join(map(str, parts)) for parts in colours)


def own_legend(root: Path) -> tuple[str, Legend] | None:
    """Read the table that lies in a folder, with the name of its file; None where there is none.

    Raises ValueError with the file and the line.
    """
    readers = {
        "classes.txt": _read_classes,
        "label_colors.txt": _read_classes,
        "labelmap.txt": _read_labelmap,
        "objectInfo150.txt": _read_object_info,
    }
    path = next((root / name for name in readers if (root / name).is_file()), None)
    if path is None:
        return None
    legend = readers[path.name](path)
    if not legend.names:
        raise ValueError(f"{path}: names no class, expected at least one that is not void")
    if len(legend.names) > UNKNOWN or (not legend.coloured and max(legend.rows, default=0) > 255):
        raise ValueError(f"{path}: expected at most {UNKNOWN} classes with values 0..255")
    return path.name, legend


def _read_classes(path: Path) -> Legend:
    found = [_COLOUR.fullmatch(line) for line in class_lines(path)]
    if not all(found):
        listed = listed_classes(path.parent, path.name) or {}
        return Legend.of(dict(sorted(listed.items())))
    return _coloured(path, ((line, (*match.groups(),)) for line, match in enumerate(found, start=1) if match))


def _read_labelmap(path: Path) -> Legend:
    lines = [(line, text) for line, text in enumerate(class_lines(path), start=1) if not text.startswith("#")]
    found = [(line, re.fullmatch(r"([^:]+):(\d+),(\d+),(\d+):[^:]*:[^:]*", text)) for line, text in lines]
    wrong = next((line for line, match in found if match is None), None)
    if wrong is not None:
        raise ValueError(f"{path}, line {wrong}: expected NAME:R,G,B:PARTS:ACTIONS")
    return _coloured(path, ((line, (*match.group(2, 3, 4), match.group(1))) for line, match in found if match))


def _coloured(path: Path, rows: Iterable[tuple[int, tuple[str, ...]]]) -> Legend:
    """Return the table of rows `(line, (R, G, B, name))`."""
    names: dict[int, str] = {}
    for line, (*parts, name) in rows:
        red, green, blue = map(int, parts)
        colour = red * 65536 + green * 256 + blue
        if max(red, green, blue) > 255 or colour in names:
            raise ValueError(f"{path}, line {line}: expected a colour of 0..255 each, once, got {red} {green} {blue}")
        names[colour] = name.strip()
    return Legend.of(names, coloured=True)


def _read_object_info(path: Path) -> Legend:
    """Read ADE20K's list: of the names of a class, which commas part, the first."""
    rows = {0: ADE20K.rows[0]}
    for line, text in enumerate(class_lines(path)[1:], start=2):
        number, *_, names = text.split("\t") if "\t" in text else ("", "")
        name = names.split(",")[0].strip()
        if not number.strip().isdigit() or not name or int(number) in rows:
            expected = "expected columns of number, ..., names, each number once"
            raise ValueError(f"{path}, line {line}: {expected}, got {text!r}")
        rows[int(number)] = name
    return Legend(dict(sorted(rows.items())), ADE20K.void)


# ------------------------------------------------------------------------------------------------------- known sets

# github.com/mcordts/cityscapesScripts, helpers/labels.py: all ids; of them 19 are trained and scored.
_CITYSCAPES_IDS = (
    "unlabeled",
    "ego vehicle",
    "rectification border",
    "out of roi",
    "static",
    "dynamic",
    "ground",
    "road",
    "sidewalk",
    "parking",
    "rail track",
    "building",
    "wall",
    "fence",
    "guard rail",
    "bridge",
    "tunnel",
    "pole",
    "polegroup",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "caravan",
    "trailer",
    "train",
    "motorcycle",
    "bicycle",
)
CITYSCAPES = Legend(
    dict(enumerate(_CITYSCAPES_IDS)),
    frozenset({*range(7), 9, 10, 14, 15, 16, 18, 29, 30}),
)
CITYSCAPES_TRAIN_IDS = Legend(dict(enumerate(CITYSCAPES.names)))

# Zhou et al. 2017, the benchmark's annotations: 0 is "other objects", which are not scored; 1..150 are the classes.
ADE20K = Legend({0: "other", **{value: f"class {value}" for value in range(1, 151)}}, frozenset({0}))

# Everingham et al. 2010, the development kit's order; the borders of objects are 255.
VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
VOC = Legend(dict(enumerate(VOC_CLASSES)))
