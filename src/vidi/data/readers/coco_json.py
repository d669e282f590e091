"""COCO json: boxes, masks (polygons, run lengths, pictures: mixed at will), keypoints, crowd regions.

One json per split holds `images`, `annotations` and `categories` (Lin et al. 2014, arXiv 1405.0312; cocodataset.org,
"Data format"). Ids become indices here: category ids may have gaps, the K labels are 0..K-1 in the order of the ids.
Boxes turn from x y w h to xyxy, clipped to their image; a segmentation without a box gets its envelope. Ids may be any
text, numbers may be written as text, and paths of another machine are followed by their last parts: remarks count them.
Keypoints are pixel indices in the file: half a pixel is added, so that they are continuous as boxes are. A
`person_keypoints` file beside an `instances` file is joined by annotation id.

    json -> categories -> images that exist -> annotations checked one by one -> flat arrays
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.elsewhere import MissingPictureError, found_elsewhere
from vidi.data.readers.flat import Names
from vidi.data.readers.image_files import MOVED, ImageFiles
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.loose_values import Id, LooseRows, number_of
from vidi.data.readers.mask_table import MaskTable, Segmentation, envelope, parse_segmentation
from vidi.data.readers.splits import (
    UNSPLIT,
    Build,
    Layout,
    Part,
    classes_of,
    part_members,
    split_called,
    split_folders,
    split_named,
    spoken_path,
)

NEEDS = "a json with 'images', 'annotations' and 'categories' for each split, and the images beside it"


class CocoJson(ImageSet):
    """The images and annotations of one COCO json file."""

    def __init__(
        self,
        annotations: Path,  # instances_train.json
        folders: Sequence[Path],  # where images may lie; the one that holds most of them is taken
        *,
        keypoints: Path | None = None,  # person_keypoints_train.json, joined by annotation id
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(annotations, on_fault)
        content = _read(annotations)
        loose = LooseRows(annotations, log)
        labels, self.categories = _categories(content, loose)
        numbers = tuple(identity for identity in labels if isinstance(identity, int))
        self.category_ids = numbers if len(numbers) == len(labels) else ()
        images, known = _images(content, folders, loose)
        things = _Things(labels, images, known, loose, (annotations.parent, annotations.parent.parent, *folders))
        for annotation in content["annotations"]:
            things.add(annotation)
        joined = LooseRows(keypoints, log) if keypoints else loose
        points = _Keypoints.of(_read(keypoints) if keypoints else content, things.image_of, joined)
        log.settle(len(images))
        super().__init__(annotations, log)
        member = part_members([image.name for image in images], part, classes_of(things.rows, len(images)))
        member = self._without_faulty(member, log)
        chosen = [image for image, inside in zip(images, member, strict=True) if inside]
        self._paths = Names([str(image.folder / image.name) for image in chosen])
        self._ids = _numeric_ids(images)[member]
        self._sizes = np.array([image.size for image in chosen], dtype=np.int64).reshape(-1, 2)
        self._boxes = BoxTable.pack(things.rows, member)
        self._masks = _mask_table(things.segmentations, self._boxes.order)
        self._points = points.table([things.ids[row] for row in self._boxes.order]) if points else None
        self.keypoint_names = points.names if points else ()
        self.kinds = frozenset({"image_id", "boxes", "labels", "crowd", "areas"})
        self.kinds |= {"masks"} if self._masks is not None else set()
        self.kinds |= {"keypoints", "visibility"} if points else set()

    def __len__(self) -> int:
        return len(self._ids)

    def path(self, index: int) -> Path:
        return Path(self._paths[index])

    def target(self, index: int) -> Target:
        size = (int(self._sizes[index, 0]), int(self._sizes[index, 1]))
        rows = self._boxes.rows(index)
        target: Target = {"image_id": torch.tensor(self._ids[index]), **self._boxes.target(index, size)}
        if self._masks is not None and "masks" in self.kinds:
            masks = self._masks.coded(rows, size)
            target["masks"] = masks if self.coded else tv_tensors.Mask(masks.dense())
        if self._points is not None:
            points = torch.tensor(self._points[rows])  # N J 3
            target["keypoints"] = tv_tensors.KeyPoints(points[..., :2], canvas_size=size)  # type: ignore[call-arg]
            target["visibility"] = points[..., 2].to(torch.uint8)
        return target


# ------------------------------------------------------------------------------------------------- the parts of a json


class _Image(NamedTuple):
    id: Id
    folder: Path
    name: str
    size: tuple[int, int]  # H, W


def _read(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    for name in ("images", "annotations", "categories"):
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path}: expected COCO json, an object with a list of objects named {name!r}")
    return content


def _numeric_ids(images: Sequence[_Image]) -> np.ndarray:
    """Return the ids of N images, int64; their numbers in the file where one is a text or does not fit."""
    if all(isinstance(image.id, int) and abs(image.id) < 2**63 for image in images):
        return np.array([image.id for image in images], dtype=np.int64)
    return np.arange(len(images))


def _categories(content: Mapping[str, Any], loose: LooseRows) -> tuple[dict[Id, int], tuple[str, ...]]:
    names: dict[Id, str] = {}
    for row, category in enumerate(content["categories"]):
        where, name = f"category {category.get('id')}", category.get("name")
        try:
            identity = loose.identity(category, "id", where)
            if not isinstance(name, str):
                raise ValueError(f"name is {name!r}, expected a text")
            if identity in names:
                raise ValueError("the id is used twice")
        except ValueError as error:
            loose.log.fault(loose.file, f"{where} (row {row + 1})", str(error))
            continue
        names[identity] = name
    ordered = sorted(names, key=lambda identity: (isinstance(identity, str), identity))
    return {identity: label for label, identity in enumerate(ordered)}, tuple(names[identity] for identity in ordered)


def _images(
    content: Mapping[str, Any], folders: Sequence[Path], loose: LooseRows
) -> tuple[list[_Image], frozenset[Id]]:
    """Check the image rows, and that their files exist; return the good ones and the ids of all."""
    names = [image["file_name"] for image in content["images"][:50] if isinstance(image.get("file_name"), str)]
    places = ImageFiles(folders, names)
    images: list[_Image] = []
    known: set[Id] = set()
    missing: list[str] = []
    moved: dict[Path, Id] = {}
    for row, image in enumerate(content["images"]):
        where = f"image {image['id']}" if image.get("id") is not None else f"image row {row + 1}"
        try:
            identity = loose.identity(image, "id", where)
            if identity in known:
                raise ValueError("the id is used twice")
            known.add(identity)
            name = image.get("file_name")
            if not isinstance(name, str) or not name:
                raise ValueError(f"file_name is {name!r}, expected the name of the image file")
            folder, name, is_moved = places.find(name)
            if is_moved:
                if moved.setdefault(folder / name, identity) != identity:
                    raise ValueError(f"{folder / name} is the file of image {moved[folder / name]} already")
                loose.log.tally(loose.file, where, MOVED)
            images.append(_Image(identity, folder, name, _size(image, folder / name, where, loose)))
        except (ValueError, FileNotFoundError) as error:
            loose.log.fault(loose.file, where, str(error))
            missing += [error.name] if isinstance(error, MissingPictureError) else []
    loose.log.remarks += found_elsewhere(loose.file, folders[-1], missing)
    return images, frozenset(known)


def _size(image: Mapping[str, Any], path: Path, where: str, loose: LooseRows) -> tuple[int, int]:
    """Return (H, W) of an image row; of the file itself where the row does not tell them, or tells zeros."""
    if not image.get("height") or not image.get("width"):
        loose.log.tally(loose.file, where, "image rows have no height and width, the files are asked for them")
        return files.image_size(path)
    height, width = loose.whole(image, "height", where), loose.whole(image, "width", where)
    if min(height, width) < 1:
        raise ValueError(f"height and width are {height} and {width}, expected numbers of pixels")
    return height, width


class _Things:
    """Rows, segmentations and ids of the annotations that passed every check."""

    def __init__(
        self,
        labels: Mapping[Id, int],
        images: Sequence[_Image],
        known: frozenset[Id],  # ids of all image rows: what belongs to a faulty one is no fault of its own
        loose: LooseRows,
        folders: Sequence[Path] = (),  # where pictures of masks may lie
    ) -> None:
        self._labels, self._known, self._loose, self._places = labels, known, loose, folders
        self._images = {image.id: (index, image) for index, image in enumerate(images)}
        self._seen: set[Id] = set()
        self.rows: list[BoxRow] = []
        self.segmentations: list[Segmentation | None] = []
        self.ids: list[Id] = []
        self.image_of: dict[Id, int] = {}  # annotation id -> index of its image

    def add(self, annotation: Mapping[str, Any]) -> None:
        """Check one annotation; keep it, or log why not."""
        loose, where = self._loose, f"annotation {annotation.get('id')}"
        index = None
        try:
            image_id = loose.identity(annotation, "image_id", where)
            if image_id not in self._images:
                if image_id in self._known:
                    return
                raise ValueError(f"there is no image {image_id}")
            index, image = self._images[image_id]
            identity = loose.identity(annotation, "id", where)
            if identity in self._seen:
                raise ValueError("the id is used twice")
            self._seen.add(identity)
            category_id = loose.identity(annotation, "category_id", where)
            if category_id not in self._labels:
                raise ValueError(f"there is no category {category_id} (image {image.name})")
            row, segmentation = self._thing(annotation, index, image, self._labels[category_id])
        except ValueError as error:
            loose.log.fault(loose.file, where, str(error), image=index)
            return
        self.rows.append(row)
        self.segmentations.append(segmentation)
        self.ids.append(identity)
        self.image_of[identity] = index

    def _thing(
        self, annotation: Mapping[str, Any], index: int, image: _Image, label: int
    ) -> tuple[BoxRow, Segmentation | None]:
        loose, where = self._loose, f"annotation {annotation['id']}"
        try:
            segmentation = annotation.get("segmentation") or None
            parsed = None if segmentation is None else parse_segmentation(segmentation, image.size, self._places)
            box, remark = clip_box(self._corners(annotation, parsed, image.size), image.size)
            crowd = loose.flag(annotation, "iscrowd", where)
            if annotation.get("area") is not None:
                area = loose.number(annotation, "area", where)
            elif parsed is not None:
                area = _area(parsed, image.size)
            else:
                area = (box[2] - box[0]) * (box[3] - box[1])
            if area < 0:
                raise ValueError(f"area is {area}, expected a number of pixels")
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"{error} (image {image.name})") from None
        if remark:
            loose.log.remark(loose.file, where, f"{remark} (image {image.name})")
        return BoxRow(index, box, label, crowd, area), parsed

    def _corners(
        self, annotation: Mapping[str, Any], segmentation: Segmentation | None, size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Return the box of an annotation as xyxy: `bbox`, or the envelope of its segmentation where it has none."""
        values, where = annotation.get("bbox"), f"annotation {annotation['id']}"
        if not values and segmentation is not None:
            self._loose.log.tally(self._loose.file, where, "annotations have no bbox, it is the envelope of their mask")
            return envelope(segmentation, size)
        if not isinstance(values, list) or len(values) != 4 or any(number_of(value)[0] is None for value in values):
            raise ValueError(f"bbox {values}: expected four finite numbers x y w h")
        x, y, width, height = (self._loose.number({"bbox": value}, "bbox", where) for value in values)
        return x, y, x + width, y + height


def _area(segmentation: Segmentation, size: tuple[int, int]) -> float:
    return float(MaskTable([segmentation]).coded(slice(0, 1), size).areas()[0])


def _mask_table(segmentations: Sequence[Segmentation | None], order: np.ndarray) -> MaskTable | None:
    """Masks are given where every annotation has one."""
    present = [segmentation for segmentation in segmentations if segmentation is not None]
    if not present or len(present) < len(segmentations):
        return None
    return MaskTable([present[row] for row in order])


class _Keypoints:
    """Points of annotations by id; an annotation without points has J absent ones."""

    def __init__(self, names: tuple[str, ...], points: dict[Id, np.ndarray]) -> None:
        self.names = names
        self._points = points

    @classmethod
    def of(
        cls,
        source: Mapping[str, Any],  # the json of the boxes, or the one that is joined to it
        image_of: Mapping[Id, int],  # annotation id -> index of its image
        loose: LooseRows,  # of the source's file
    ) -> "_Keypoints | None":
        """Read the points of a json; None where no category has a skeleton."""
        skeletons = [category["keypoints"] for category in source["categories"] if category.get("keypoints")]
        if not skeletons:
            return None
        names = tuple(str(name) for name in max(skeletons, key=len))
        points: dict[Id, np.ndarray] = {}
        for annotation in source["annotations"]:
            if not annotation.get("keypoints"):
                continue
            where, identity = f"annotation {annotation.get('id')}", None
            try:
                identity = loose.identity(annotation, "id", where)
                points[identity] = _parse_points(annotation["keypoints"], len(names))
            except ValueError as error:
                image = None if identity is None else image_of.get(identity)
                loose.log.fault(loose.file, where, str(error), image=image)
        return cls(names, points)

    def table(self, ids: Sequence[Id]) -> np.ndarray:
        """Return x y visibility of the annotations with these ids, float32 N J 3."""
        absent = np.zeros((len(self.names), 3), dtype=np.float32)
        rows = [self._points.get(identity, absent) for identity in ids]
        return np.stack(rows) if rows else np.zeros((0, len(self.names), 3), dtype=np.float32)


def _parse_points(values: Any, number: int) -> np.ndarray:
    numbers = [number_of(value)[0] for value in values] if isinstance(values, list) else [None]
    if None in numbers or len(numbers) % 3:
        raise ValueError("keypoints: expected a list of finite numbers x y visibility ...")
    given = np.array(numbers, dtype=np.float64).reshape(-1, 3)
    if len(given) > number:
        raise ValueError(f"{len(given)} keypoints, expected at most {number}")
    if not np.isin(given[:, 2], (0, 1, 2)).all():
        raise ValueError("keypoints: a visibility other than 0, 1 and 2")
    points = np.zeros((number, 3), dtype=np.float32)
    points[: len(given)] = given
    points[:, :2] += 0.5  # an index of a pixel to its centre
    points[points[:, 2] == 0] = 0
    return points


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise COCO json in a folder, or one json file."""
    candidates = [root] if root.is_file() else _json_files(root)
    plain: dict[str, Path] = {}
    skeletal: dict[str, Path] = {}
    for path in candidates:
        found = files.find_bytes(
            path, (b'"images"', b'"annotations"', b'"categories"', b'"keypoints"', b'"segments_info"')
        )
        if not {b'"images"', b'"annotations"', b'"categories"'} <= found or b'"segments_info"' in found:
            continue
        kind = skeletal if b'"keypoints"' in found else plain
        folder = "" if path.parent == root else path.parent.name  # the set's own name speaks of no split
        source = split_named(path.stem) or split_called(folder) or UNSPLIT
        if source in kind:
            both = f"{spoken_path(kind[source], root)} and {spoken_path(path, root)}"
            raise ValueError(f"{root}: two COCO files for {source}, {both}: name one of them")
        kind[source] = path
    if not plain and not skeletal:
        return None
    sources = {source: _builder(root, path, skeletal.get(source)) for source, path in plain.items()}
    alone = {source: path for source, path in skeletal.items() if source not in plain}
    sources |= {source: _builder(root, path, None) for source, path in alone.items()}
    described = [
        f"{path.name}" + (f" with {skeletal[source].name}" if source in skeletal else "")
        for source, path in plain.items()
    ]
    described += [path.name for path in alone.values()]
    reason = f"{', '.join(described)} {'hold' if len(described) > 1 else 'holds'} images, annotations and categories"
    training = plain.get("train") or skeletal.get("train")
    return Layout(
        root, reason, sources, training_classes=functools.partial(_class_names, training) if training else None
    )


def _class_names(path: Path) -> tuple[str, ...]:
    """Return the class names of a json, in the order of their labels, without parsing its annotations."""
    text = files.read_text(path)
    places = [match.end() - 1 for match in re.finditer(r'"categories"\s*:\s*\[', text)]
    try:
        (place,) = places  # one match in COCO json is the key: a quote inside a text would be escaped
        rows, _ = json.JSONDecoder().raw_decode(text, place)
    except ValueError:
        rows = _read(path)["categories"]
    rows = [row for row in rows if isinstance(row, dict)]
    return _categories({"categories": rows}, LooseRows(path, FaultLog(path, "drop")))[1]


def _json_files(root: Path) -> list[Path]:
    splits = [*split_folders(root).values(), *split_folders(root / "annotations").values()]
    folders = [root, root / "annotations", *(folder for several in splits for folder in several)]
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))]


def _builder(root: Path, annotations: Path, keypoints: Path | None) -> Build:
    base = annotations.parent if root.is_file() else root
    above = base.parent if base.name == "annotations" else base
    tag = annotations.stem.rsplit("_", 1)[-1]  # instances_val2017 -> val2017
    places = [
        above / "images" / tag,
        above / tag,
        above / "images",
        annotations.parent / "images",
        annotations.parent,
        above,
    ]

    def build(*, part: Part, on_fault: OnFault) -> ImageSet:
        return CocoJson(annotations, places, keypoints=keypoints, part=part, on_fault=on_fault)

    return build
