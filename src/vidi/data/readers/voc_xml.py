"""Pascal VOC: one xml per image with named boxes, lists of image stems per split.

Everingham et al. 2010; the development kit's layout is JPEGImages, Annotations, ImageSets/Main. Where there are no
lists, folders called train, val and test are the splits, with pictures and xml side by side or in folders of their
own. VOC's own numbers are pixel indices from 1, most other writers of this format use continuous coordinates: the
default takes them as they are, `offset=1` subtracts 1 from xmin and ymin. `difficult` things become `crowd`: no
training target, ignored in scoring. Without classes.txt, the classes are the names found in all xml files, in
alphabetical order (that of VOC itself).

    stems of the split -> xml, without DTD and entities -> boxes checked one by one -> flat arrays
"""

import functools
import re
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
from vidi.data.readers.elsewhere import found_elsewhere
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target, images_by_stem, listed_classes, several_of_a_stem, stem_of
from vidi.data.readers.listings import Listing, listed_stems
from vidi.data.readers.splits import (
    Part,
    classes_of,
    part_members,
    remark_unused,
)
from vidi.formats import files_below, is_hidden


@dataclass(frozen=True)
class VocFolders:
    """A folder of pictures and the folder of their xml files, which may be the same one."""

    images: Path
    annotations: Path

    @functools.cached_property
    def stems(self) -> list[str]:
        """The names of the xml files without suffix, with their folders."""
        return [stem_of(name) for name in files_below(self.annotations, is_xml)]


@dataclass(frozen=True)
class Classes:
    """The class names of a whole set, not of one split."""

    root: Path
    folders: tuple[VocFolders, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Those of classes.txt, or all in the xml files."""
        listed = listed_classes(self.root)
        if listed is not None:
            return tuple(listed.values())
        names: set[str] = set()
        for path in (place.annotations / f"{stem}.xml" for place in self.folders for stem in place.stems):
            try:
                tree = parse_xml(path)
            except ValueError:  # a fault of the split that lists it
                continue
            names.update(_text(thing, "name") for thing in tree.iter("object"))
        return tuple(sorted(names - {""}))


class VocXml(ImageSet):
    """The images of one split; without a listing, those of all xml files."""

    def __init__(
        self,
        root: Path,
        folders: Sequence[VocFolders],
        classes: Classes,
        listing: Listing | None = None,
        *,
        offset: int = 0,  # 1 where the file counts pixels from 1, as VOC's own
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(root, on_fault)
        self.categories = classes.names
        self.kinds = frozenset({"image_id", "boxes", "labels", "crowd", "areas"})
        labels = {name: label for label, name in enumerate(self.categories)}
        names: list[str] = []
        sizes: list[tuple[int, int]] = []
        rows: list[BoxRow] = []
        missing: list[str] = []
        for place in folders:
            stored = images_by_stem(place.images)
            stems = place.stems if listing is None else listed_stems(listing, {*place.stems, *stored}, log)
            chosen: dict[str, str] = {}
            for stem in stems:
                path = place.annotations / f"{stem}.xml"
                if stem not in stored:
                    log.fault(path, "", f"the image {place.images / stem} (.jpg, .png, ...) is missing")
                    missing.append(stem)
                    continue
                try:
                    tree = parse_xml(path)
                    chosen[stem] = name = _image_of(tree, stored[stem])
                    size = _size(tree) or files.image_size(place.images / name)
                except (ValueError, FileNotFoundError) as error:
                    log.unreadable(path, error)
                    continue
                rows += _boxes(tree, path, len(names), size, labels, offset, log)
                names.append(str(place.images / name))
                sizes.append(size)
            if listing is None:
                alone = (name for stem in stored.keys() - set(stems) for name in stored[stem])
                others = (name for stem, one in chosen.items() for name in stored[stem] if name != one)
                log.remarks += remark_unused(place.images, [*alone, *others], "they have no xml")
        log.remarks += found_elsewhere(root, root, missing)
        log.settle(len(names))
        super().__init__(root, log)
        member = part_members([Path(n).relative_to(root).as_posix() for n in names], part, classes_of(rows, len(names)))
        member = self._without_faulty(member, log)
        self._paths = Names([name for name, inside in zip(names, member, strict=True) if inside])
        self._sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)[member]
        self._boxes = BoxTable.pack(rows, member)

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> Path:
        return Path(self._paths[index])

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


def is_xml(name: str) -> bool:
    return not is_hidden(name) and name.endswith(".xml")


def _image_of(tree: Element, names: Sequence[str]) -> str:
    """Return the image that an xml file is about: the only one of its stem, or the one that it names."""
    if len(names) == 1:
        return names[0]
    stated = re.split(r"[/\\]", _text(tree, "filename"))[-1]
    chosen = [name for name in names if name.rpartition("/")[2] == stated]
    if len(chosen) != 1:
        raise ValueError(several_of_a_stem(names))
    return chosen[0]


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
            log.fault(path, where, str(error), image=image)
            continue
        if remark:
            log.remark(path, where, remark)
        rows.append(BoxRow(image, box, labels[name], crowd, (box[2] - box[0]) * (box[3] - box[1])))
    return rows
