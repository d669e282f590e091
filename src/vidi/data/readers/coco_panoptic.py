"""COCO panoptic: a json of segments, and a PNG for each image whose colours are the ids of its segments.

Kirillov et al. 2019, arXiv 1801.00868; cocodataset.org, "Data format", panoptic: a pixel's id is R + 256 G + 65536 B, 0
is void. Categories with `isthing` come first here, in the order of their ids, then stuff; `categories` are the things,
`semantic_categories` all of them. Things become objects, with the boxes of the json, in its order; the ids of a map are
numbered anew: 1 .. N are the rows of the objects, stuff follows.

    json -> categories -> images and PNGs that exist -> segments checked one by one -> flat arrays
    PNG  -> ids -> checked against the segments of the json: the same ids, the same areas

What disagrees is a fault of its image, found when its PNG is read.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.flat import Names, Ragged
from vidi.data.readers.image_files import ImageFiles
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.loose_values import Id, LooseRows
from vidi.data.readers.splits import (
    UNSPLIT,
    Build,
    Layout,
    Part,
    classes_of,
    part_members,
    split_called,
    split_named,
    spoken_path,
)
from vidi.ops.label_maps import VOID

NEEDS = "a json with 'images', 'annotations' with 'segments_info', and 'categories', its PNGs in a folder of its name"

SHOWN = 5  # ids that a message names


class Legend(NamedTuple):
    """What the category ids of a json mean."""

    labels: Mapping[Id, int]  # category id -> label
    names: tuple[str, ...]  # things, then stuff
    things: int  # how many of them are


class Segment(NamedTuple):
    """One row of `segments_info`."""

    id: int
    label: int
    crowd: bool
    area: int


class CocoPanoptic(ImageSet):
    """The images and segments of one json file of COCO's panoptic format."""

    def __init__(
        self,
        annotations: Path,  # panoptic_train2017.json
        folders: Sequence[Path],  # where images may lie; the one that holds most of them is taken
        maps: Sequence[Path],  # the same of the PNGs
        *,
        training: Path | None = None,  # the json of the training, whose categories must be the same
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(annotations, on_fault)
        content, loose = _read(annotations), LooseRows(annotations, log)
        legend = _legend(content, loose)
        if training is not None and training != annotations:
            _check_same(annotations, legend, training)
        rows = _Rows(content, folders, maps, legend, loose)
        log.settle(len(rows.images))
        super().__init__(annotations, log)
        boxes = [box for image in rows.boxes for box in image]
        member = part_members([name.name for name in rows.images], part, classes_of(boxes, len(rows.images)))
        member = self._without_faulty(member, log)
        chosen = np.flatnonzero(member).tolist()
        self.semantic_categories = legend.names
        self.categories = legend.names[: legend.things]
        self.kinds = frozenset({"image_id", "panoptic", "semantic", "boxes", "labels", "crowd", "areas"})
        self._things = legend.things
        self._paths = Names([str(rows.images[row]) for row in chosen])
        self._maps = Names([str(rows.maps[row]) for row in chosen])
        self._ids = np.array([rows.ids[row] for row in chosen], dtype=np.int64)
        self._segments = Ragged.pack([rows.segments[row] for row in chosen], np.int64, (4,))
        self._boxes = BoxTable.pack(boxes, member)

    def __len__(self) -> int:
        return len(self._ids)

    def path(self, index: int) -> Path:
        return Path(self._paths[index])

    def target(self, index: int) -> Target:
        target: Target = {"image_id": torch.tensor(self._ids[index])}
        if {"panoptic", "semantic"} & self.kinds:
            segments = self._segments[index]  # S 4: things first
            ids = _coloured_ids(Path(self._maps[index]))
            panoptic, semantic = _numbered(self._maps[index], ids, segments)
            target |= {"panoptic": tv_tensors.Mask(panoptic), "semantic": tv_tensors.Mask(semantic)}
            size = (panoptic.shape[0], panoptic.shape[1])
        else:
            size = files.image_size(self.path(index))
        return target | self._boxes.target(index, size)


# ------------------------------------------------------------------------------------------------- the parts of a json


def _read(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    for name in ("images", "annotations", "categories"):
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path}: expected COCO panoptic json, an object with a list of objects named {name!r}")
    return content


def _legend(content: Mapping[str, Any], loose: LooseRows) -> Legend:
    kinds: dict[bool, dict[Id, str]] = {True: {}, False: {}}
    for row, category in enumerate(content["categories"]):
        where, name = f"category {category.get('id')}", category.get("name")
        try:
            identity = loose.identity(category, "id", where)
            if not isinstance(name, str):
                raise ValueError(f"name is {name!r}, expected a text")
            if identity in kinds[True] or identity in kinds[False]:
                raise ValueError("the id is used twice")
            if "isthing" not in category:
                raise ValueError("isthing is missing, expected 1 for things and 0 for stuff")
            kinds[loose.flag(category, "isthing", where)][identity] = name
        except ValueError as error:
            loose.log.fault(loose.file, f"{where} (row {row + 1})", str(error))
    ordered = [
        identity
        for is_thing in (True, False)
        for identity in sorted(kinds[is_thing], key=lambda value: (isinstance(value, str), value))
    ]
    if len(ordered) >= VOID:
        raise ValueError(f"{loose.file}: {len(ordered)} categories, expected fewer than {VOID}")
    names = kinds[True] | kinds[False]
    labels = {identity: label for label, identity in enumerate(ordered)}
    return Legend(labels, tuple(names[identity] for identity in ordered), len(kinds[True]))


def _check_same(annotations: Path, legend: Legend, training: Path) -> None:
    """Refuse a split whose classes are not those of the training, in the same order."""
    other = _legend(_read(training), LooseRows(training, FaultLog(training, "drop")))
    if (legend.names, legend.things) != (other.names, other.things):
        differing = sorted({*legend.names} ^ {*other.names}) or ["their order, or which are things"]
        raise ValueError(f"{annotations}: its categories are not those of {training}: {', '.join(differing[:SHOWN])}")


class _Rows:
    """Images with their PNG, segments (things first) and boxes of things, that passed every check."""

    def __init__(
        self,
        content: Mapping[str, Any],
        folders: Sequence[Path],
        maps: Sequence[Path],
        legend: Legend,
        loose: LooseRows,
    ) -> None:
        self._legend, self._loose = legend, loose
        self.images: list[Path] = []
        self.maps: list[Path] = []
        self.ids: list[int] = []
        self.segments: list[list[Segment]] = []
        self.boxes: list[list[BoxRow]] = []
        annotations = self._by_image(content)
        places = ImageFiles(folders, _file_names(content["images"]))
        of_maps = ImageFiles(maps, _file_names(content["annotations"]))
        seen: set[Id] = set()
        for row, image in enumerate(content["images"]):
            where = f"image {image['id']}" if image.get("id") is not None else f"image row {row + 1}"
            try:
                identity = loose.identity(image, "id", where)
                if identity in seen:
                    raise ValueError("the id is used twice")
                seen.add(identity)
                if identity not in annotations:
                    raise ValueError("there is no annotation for it")
                path, png = _place(image, places), _place(annotations[identity], of_maps)
            except (ValueError, FileNotFoundError) as error:
                loose.log.fault(loose.file, where, str(error))
                continue
            number = len(self.images)
            self.images.append(path)
            self.maps.append(png)
            self.ids.append(identity if isinstance(identity, int) and abs(identity) < 2**63 else row)
            self._add_segments(annotations[identity], number, path)
        for identity in annotations.keys() - seen:
            loose.log.fault(loose.file, f"annotation of image {identity}", "there is no such image")

    def _by_image(self, content: Mapping[str, Any]) -> dict[Id, Mapping[str, Any]]:
        found: dict[Id, Mapping[str, Any]] = {}
        for row, annotation in enumerate(content["annotations"]):
            where = f"annotation {row + 1} ({annotation.get('file_name')})"
            try:
                identity = self._loose.identity(annotation, "image_id", where)
                if identity in found:
                    raise ValueError(f"image {identity} has an annotation already")
                rows = annotation.get("segments_info")
                if not isinstance(rows, list) or not all(isinstance(segment, dict) for segment in rows):
                    raise ValueError("segments_info is no list of objects")
            except ValueError as error:
                self._loose.log.fault(self._loose.file, where, str(error))
                continue
            found[identity] = annotation
        return found

    def _add_segments(self, annotation: Mapping[str, Any], number: int, path: Path) -> None:
        """Check the segments of an image; a fault of one is a fault of the image."""
        size = files.image_size(path)
        things: list[Segment] = []
        stuff: list[Segment] = []
        boxes: list[BoxRow] = []
        seen: set[int] = set()
        for row in annotation["segments_info"]:
            where = f"segment {row.get('id')} of {path.name}"
            try:
                segment = self._segment(row, where)
                if segment.id in seen:
                    raise ValueError("the id is used twice in this image")
                seen.add(segment.id)
                if segment.label >= self._legend.things:
                    stuff.append(segment)
                    continue
                box, remark = clip_box(self._corners(row, where), size)
                if remark:
                    self._loose.log.remark(self._loose.file, where, remark)
                things.append(segment)
                boxes.append(BoxRow(number, box, segment.label, segment.crowd, segment.area))
            except ValueError as error:
                self._loose.log.fault(self._loose.file, where, str(error), image=number)
        self.segments.append([*things, *stuff])
        self.boxes.append(boxes)

    def _segment(self, row: Mapping[str, Any], where: str) -> Segment:
        loose = self._loose
        number = loose.whole(row, "id", where)
        if not 0 < number < 2**24:
            raise ValueError(f"id is {number}, expected 1..{2**24 - 1}, the colours of a PNG")
        category = loose.identity(row, "category_id", where)
        if category not in self._legend.labels:
            raise ValueError(f"there is no category {category}")
        area = loose.whole(row, "area", where)
        return Segment(number, self._legend.labels[category], loose.flag(row, "iscrowd", where), area)

    def _corners(self, row: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
        values = row.get("bbox")
        if not isinstance(values, list) or len(values) != 4:
            raise ValueError(f"bbox {values}: expected four finite numbers x y w h")
        x, y, width, height = (self._loose.number({"bbox": value}, "bbox", where) for value in values)
        return x, y, x + width, y + height


def _file_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["file_name"] for row in rows[:50] if isinstance(row.get("file_name"), str)]


def _place(row: Mapping[str, Any], places: ImageFiles) -> Path:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"file_name is {name!r}, expected the name of a file")
    folder, found, _ = places.find(name)
    return folder / found


# ------------------------------------------------------------------------------------------------------ from the PNG


def _coloured_ids(path: Path) -> np.ndarray:
    """Return the ids that the colours of a PNG are, int64 H W."""
    red, green, blue = files.read_image(path).numpy().astype(np.int64)
    return red + 256 * green + 65536 * blue


def _numbered(path: str, ids: np.ndarray, segments: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maps of segments, numbered by their rows, and of classes; ValueError where PNG and json disagree."""
    known = np.unique(np.array([0, *segments[:, 0]], dtype=np.int64))
    rows = np.searchsorted(known, ids).clip(max=len(known) - 1)  # H W
    areas = np.bincount(rows[known[rows] == ids], minlength=len(known))
    unknown = np.unique(ids[known[rows] != ids])
    missing = np.setdiff1d(segments[:, 0], known[areas > 0])
    for what, numbers in (("holds ids that the json does not know", unknown), ("lacks ids of the json", missing)):
        if len(numbers):
            raise ValueError(f"{path}: the PNG {what}: {', '.join(map(str, numbers[:SHOWN].tolist()))}")
    place = np.searchsorted(known, segments[:, 0])
    wrong = np.flatnonzero(areas[place] != segments[:, 3])
    if len(wrong):
        row = int(wrong[0])
        counted, said = int(areas[place[row]]), int(segments[row, 3])
        raise ValueError(f"{path}: segment {segments[row, 0]} has {counted} pixels in the PNG, {said} in the json")
    numbers, labels = np.zeros(len(known), np.int32), np.full(len(known), VOID, np.uint8)
    numbers[place] = np.arange(1, len(segments) + 1)
    labels[place] = segments[:, 1]
    return torch.from_numpy(numbers[rows]), torch.from_numpy(labels[rows])


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise COCO panoptic in a folder, or one json file."""
    places = [root] if root.is_file() else [*root.glob("*.json"), *(root / "annotations").glob("*.json")]
    found: dict[str, Path] = {}
    words = (b'"images"', b'"annotations"', b'"categories"', b'"segments_info"')
    for path in sorted(places):
        if files.find_bytes(path, words) != set(words):
            continue
        source = split_named(path.stem) or split_called(path.parent.name) or UNSPLIT
        if source in found:
            both = f"{spoken_path(found[source], root)} and {spoken_path(path, root)}"
            raise ValueError(f"{root}: two panoptic files for {source}, {both}: name one of them")
        found[source] = path
    if not found:
        return None
    training = found.get("train")
    sources = {source: _builder(root, path, training) for source, path in found.items()}
    names = ", ".join(path.name for path in found.values())
    return Layout(root, f"{names} hold images, annotations with segments_info and categories", sources)


def _builder(root: Path, annotations: Path, training: Path | None) -> Build:
    base = annotations.parent if root.is_file() else root
    above = base.parent if base.name == "annotations" else base
    tag = annotations.stem.rsplit("_", 1)[-1]  # panoptic_val2017 -> val2017
    images = [above / "images" / tag, above / tag, above / "images", annotations.parent, above]
    maps = [annotations.with_suffix(""), above / annotations.stem, above / "annotations" / annotations.stem]
    return functools.partial(CocoPanoptic, annotations, images, maps, training=training)
