"""Pascal VOC: one xml per image with named boxes, lists of image stems per split.

Everingham et al. 2010; the development kit's layout is JPEGImages, Annotations, ImageSets/Main. VOC's own numbers are
pixel indices from 1, most other writers of this format use continuous coordinates: the default takes them as they are,
`offset=1` subtracts 1 from xmin and ymin. `difficult` things become `crowd`: no training target, ignored in scoring.
Without classes.txt, the classes are the names found in all xml files, in alphabetical order (that of VOC itself).

    stems of the split -> xml, without DTD and entities -> boxes checked one by one -> flat arrays
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
import torch

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, images_by_stem, listed_classes
from vidi.data.readers.splits import UNSPLIT, Build, Layout, Part, part_members

NEEDS = "folders Annotations (xml) and JPEGImages, with ImageSets/Main/{train,val,test}.txt if it is split"

_ANNOTATION_FOLDERS = ("Annotations", "annotations", "annotations_voc")
_IMAGE_FOLDERS = ("JPEGImages", "images")
_LIST_FOLDERS = ("ImageSets/Main", "splits")


@dataclass(frozen=True)
class VocFolders:
    """Where the parts of a VOC data set lie."""

    root: Path
    images: Path
    annotations: Path
    lists: Path | None  # holds train.txt, val.txt, test.txt

    @functools.cached_property
    def categories(self) -> tuple[str, ...]:
        """The class names of the whole set, not of one split."""
        listed = listed_classes(self.root)
        if listed is not None:
            return tuple(listed.values())
        names: set[str] = set()
        for path in sorted(self.annotations.glob("*.xml")):
            try:
                tree = parse_xml(path)
            except ValueError:  # a fault of the split that lists it
                continue
            names.update(_text(thing, "name") for thing in tree.iter("object"))
        return tuple(sorted(names - {""}))


class VocXml(ImageSet):
    """The images of one split; `split` names its list of stems, None takes every xml."""

    def __init__(
        self,
        folders: VocFolders,
        split: str | None = None,
        *,
        offset: int = 0,  # 1 where the file counts pixels from 1, as VOC's own
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(folders.root, on_fault)
        self.categories = folders.categories
        self.kinds = frozenset({"image_id", "boxes", "labels", "crowd", "areas"})
        labels = {name: label for label, name in enumerate(self.categories)}
        stored = images_by_stem(folders.images)
        names: list[str] = []
        sizes: list[tuple[int, int]] = []
        rows: list[BoxRow] = []
        for stem in _stems(folders, split, log):
            path = folders.annotations / f"{stem}.xml"
            if stem not in stored:
                log.fault(path, "", f"the image {folders.images / stem} (.jpg, .png, ...) is missing")
                continue
            try:
                tree = parse_xml(path)
                size = _size(tree) or files.image_size(folders.images / stored[stem])
            except (ValueError, FileNotFoundError) as error:
                log.unreadable(path, error)
                continue
            rows += _boxes(tree, path, len(names), size, labels, offset, log)
            names.append(stored[stem])
            sizes.append(size)
        log.settle(len(names))
        super().__init__(folders.root, log)
        member = part_members(names, part)
        self._folder = folders.images
        self._names = Names([name for name, inside in zip(names, member, strict=True) if inside])
        self._sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)[member]
        self._boxes = BoxTable.pack(rows, member)

    def __len__(self) -> int:
        return len(self._names)

    def path(self, index: int) -> Path:
        return self._folder / self._names[index]

    def target(self, index: int) -> Target:
        size = (int(self._sizes[index, 0]), int(self._sizes[index, 1]))
        return {"image_id": torch.tensor(index), **self._boxes.target(index, size)}


# --------------------------------------------------------------------------------------------------- the parts of a set


def parse_xml(path: Path) -> Element:
    """Parse an xml file; each element's attribute `line` tells where it begins.

    Raises ValueError with the line for malformed text, and for a document type declaration: entities can blow up to
    gigabytes or name other files.
    """
    parser, builder = expat.ParserCreate(), TreeBuilder()

    def refuse(*_: object) -> None:
        raise ValueError(f"{path}, line {parser.CurrentLineNumber}: document type declarations are refused")

    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        tag, {**attributes, "line": str(parser.CurrentLineNumber)}
    )
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(files.read_bytes(path), True)
    except expat.ExpatError as error:
        raise ValueError(f"{path}, line {error.lineno}: {expat.ErrorString(error.code)}") from None
    return builder.close()


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _number(element: Element, tag: str) -> float:
    text = _text(element, tag)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{tag} is {text!r}, expected a number") from None


def _stems(folders: VocFolders, split: str | None, log: FaultLog) -> list[str]:
    """Read the stems of a split, without repetitions."""
    if split is None or folders.lists is None:
        return sorted(path.stem for path in folders.annotations.glob("*.xml"))
    path, seen = folders.lists / f"{split}.txt", {}
    for line, text in enumerate(files.read_text(path).splitlines(), start=1):
        stem = (text.split() or [""])[0]
        if not stem:
            continue
        if stem in seen:
            log.fault(path, f"line {line}", f"{stem} stands in line {seen[stem]} already")
        elif "/" in stem or "\\" in stem:
            log.fault(path, f"line {line}", f"{stem} is not a plain file name")
        else:
            seen[stem] = line
    return list(seen)


def _size(tree: Element) -> tuple[int, int] | None:
    """Return (H, W) if the file states them; some writers leave zeros."""
    size = tree.find("size")
    if size is None:
        return None
    try:
        height, width = int(_number(size, "height")), int(_number(size, "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _boxes(
    tree: Element,
    path: Path,
    image: int,
    size: tuple[int, int],
    labels: dict[str, int],
    offset: int,
    log: FaultLog,
) -> list[BoxRow]:
    rows = []
    for thing in tree.iter("object"):
        where = f"line {thing.get('line')}"
        try:
            name, frame = _text(thing, "name"), thing.find("bndbox")
            if name not in labels:
                raise ValueError(f"unknown class {name!r}; choose from {', '.join(labels)}")
            if frame is None:
                raise ValueError("the object has no bndbox")
            x1, y1, x2, y2 = (_number(frame, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
            box, remark = clip_box((x1 - offset, y1 - offset, x2, y2), size)
            crowd = _text(thing, "difficult") not in ("", "0")
        except ValueError as error:
            log.fault(path, where, str(error))
            continue
        if remark:
            log.remark(path, where, remark)
        rows.append(BoxRow(image, box, labels[name], crowd, (box[2] - box[0]) * (box[3] - box[1])))
    return rows


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise a VOC data set, also one folder below (VOCdevkit/VOC2007)."""
    found = [folders for folders in map(_folders, _places(root)) if folders is not None]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{root}: several VOC sets ({', '.join(str(f.root) for f in found)}): name one of them")
    folders = found[0]
    lists = folders.lists
    splits = [split for split in ("train", "val", "test") if lists and (lists / f"{split}.txt").is_file()]
    sources = {split: _builder(folders, split) for split in splits} or {UNSPLIT: _builder(folders, None)}
    spoken = f"{folders.annotations.name} holds VOC xml for {folders.images.name}"
    return Layout(root, f"{spoken}, split by {lists.name}" if lists and splits else spoken, sources)


def _places(root: Path) -> Sequence[Path]:
    if not root.is_dir():
        return ()
    return [root, *sorted(path for path in [*root.glob("VOC*"), *root.glob("VOCdevkit/VOC*")] if path.is_dir())]


def _folders(root: Path) -> VocFolders | None:
    annotations = next((root / name for name in _ANNOTATION_FOLDERS if any((root / name).glob("*.xml"))), None)
    images = next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), None)
    if annotations is None and any(root.glob("*.xml")) and images_by_stem(root):
        annotations = images = root
    if annotations is None or images is None:
        return None
    return VocFolders(root, images, annotations, next((root / n for n in _LIST_FOLDERS if (root / n).is_dir()), None))


def _builder(folders: VocFolders, split: str | None) -> Build:
    return functools.partial(VocXml, folders, split)
