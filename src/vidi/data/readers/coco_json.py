"""COCO json: boxes, masks (polygons, both forms of run lengths), keypoints, crowd regions.

One json per split holds `images`, `annotations` and `categories` (Lin et al. 2014, arXiv 1405.0312; cocodataset.org,
"Data format"). Ids become indices here: category ids may have gaps, the K labels are 0..K-1 in the order of the ids.
Boxes turn from x y w h to xyxy, clipped to their image. Keypoints are pixel indices in the file: half a pixel is added,
so that they are continuous as boxes are. A `person_keypoints` file beside an `instances` file is joined by
annotation id.

    json -> categories -> images that exist -> annotations checked one by one -> flat arrays
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.box_table import BoxRow, BoxTable, clip_box
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.mask_table import MaskTable, Segmentation, parse_segmentation
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
        labels, self.categories = _categories(content, annotations, log)
        images = _images(content, annotations, folders, log)
        things = _Things(labels, images, frozenset(_ids(content["images"])), annotations, log)
        for annotation in content["annotations"]:
            things.add(annotation)
        points = _Keypoints.of(content, annotations, _read(keypoints) if keypoints else None, keypoints, log)
        log.settle(len(images))
        super().__init__(annotations, log)
        member = part_members([image.name for image in images], part, classes_of(things.rows, len(images)))
        chosen = [image for image, inside in zip(images, member, strict=True) if inside]
        self._paths = Names([str(image.folder / image.name) for image in chosen])
        self._ids = np.array([image.id for image in chosen], dtype=np.int64)
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
        if self._masks is not None:
            target["masks"] = tv_tensors.Mask(torch.from_numpy(self._masks.decode(rows, size)))
        if self._points is not None:
            points = torch.tensor(self._points[rows])  # N J 3
            target["keypoints"] = tv_tensors.KeyPoints(points[..., :2], canvas_size=size)  # type: ignore[call-arg]
            target["visibility"] = points[..., 2].to(torch.uint8)
        return target


# ------------------------------------------------------------------------------------------------- the parts of a json


class _Image(NamedTuple):
    id: int
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


def _ids(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return [row["id"] for row in rows if type(row.get("id")) is int]


def _categories(content: Mapping[str, Any], file: Path, log: FaultLog) -> tuple[dict[int, int], tuple[str, ...]]:
    names: dict[int, str] = {}
    for row, category in enumerate(content["categories"]):
        identity, name = category.get("id"), category.get("name")
        if type(identity) is not int or not isinstance(name, str):
            log.fault(file, f"category {row + 1}", f"expected an integer id and a name, got {category}")
        elif identity in names:
            log.fault(file, f"category {identity}", "the id is used twice")
        else:
            names[identity] = name
    ordered = sorted(names)
    return {identity: label for label, identity in enumerate(ordered)}, tuple(names[identity] for identity in ordered)


def _images(content: Mapping[str, Any], file: Path, folders: Sequence[Path], log: FaultLog) -> list[_Image]:
    """Check the image rows, and that their files exist."""
    folder = _best_folder(content["images"], folders)
    images: list[_Image] = []
    seen: set[int] = set()
    for row, image in enumerate(content["images"]):
        identity, name = image.get("id"), image.get("file_name")
        height, width = image.get("height"), image.get("width")
        where = f"image {identity}" if type(identity) is int else f"image row {row + 1}"
        if type(identity) is not int or not isinstance(name, str) or not name:
            log.fault(file, where, "expected an integer id and a file_name")
        elif identity in seen:
            log.fault(file, where, "the id is used twice")
        elif not (_is_number(height) and _is_number(width) and min(height, width) >= 1):
            log.fault(file, where, f"expected height and width in pixels, got {height} and {width}")
        elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            log.fault(file, where, f"the file name {name} leaves the folder")
        elif not (folder / name).is_file():
            log.fault(file, where, f"the image file {folder / name} is missing")
        else:
            images.append(_Image(identity, folder, name, (int(height), int(width))))
        if type(identity) is int:
            seen.add(identity)
    return images


def _best_folder(images: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> Path:
    names = [image["file_name"] for image in images[:50] if isinstance(image.get("file_name"), str)]
    return max(folders, key=lambda folder: sum((folder / name).is_file() for name in names))  # the first of equals


class _Things:
    """Rows, segmentations and ids of the annotations that passed every check."""

    def __init__(
        self,
        labels: Mapping[int, int],
        images: Sequence[_Image],
        known: frozenset[int],  # ids of all image rows: what belongs to a faulty one is no fault of its own
        file: Path,
        log: FaultLog,
    ) -> None:
        self._labels, self._known, self._file, self._log = labels, known, file, log
        self._images = {image.id: (index, image) for index, image in enumerate(images)}
        self._seen: set[int] = set()
        self.rows: list[BoxRow] = []
        self.segmentations: list[Segmentation | None] = []
        self.ids: list[int] = []

    def add(self, annotation: Mapping[str, Any]) -> None:
        """Check one annotation; keep it, or log why not."""
        identity = annotation.get("id")
        try:
            if type(identity) is not int:
                raise ValueError("expected an integer id")
            if identity in self._seen:
                raise ValueError("the id is used twice")
            self._seen.add(identity)
            image_id, category_id = _whole(annotation, "image_id"), _whole(annotation, "category_id")
            if image_id not in self._images:
                if image_id in self._known:
                    return
                raise ValueError(f"there is no image {image_id}")
            index, image = self._images[image_id]
            if category_id not in self._labels:
                raise ValueError(f"there is no category {category_id} (image {image.name})")
            row, segmentation = self._thing(annotation, index, image, self._labels[category_id])
        except ValueError as error:
            self._log.fault(self._file, f"annotation {identity}", str(error))
            return
        self.rows.append(row)
        self.segmentations.append(segmentation)
        self.ids.append(identity)

    def _thing(
        self, annotation: Mapping[str, Any], index: int, image: _Image, label: int
    ) -> tuple[BoxRow, Segmentation | None]:
        where = f"image {image.name}"
        values = annotation.get("bbox")
        if not isinstance(values, list) or len(values) != 4 or not all(_is_number(value) for value in values):
            raise ValueError(f"bbox {values}: expected four finite numbers x y w h ({where})")
        x, y, width, height = (float(value) for value in values)
        try:
            box, remark = clip_box((x, y, x + width, y + height), image.size)
            segmentation = annotation.get("segmentation") or None
            parsed = None if segmentation is None else parse_segmentation(segmentation, image.size)
        except ValueError as error:
            raise ValueError(f"{error} ({where})") from None
        if remark:
            self._log.remark(self._file, f"annotation {annotation['id']}", f"{remark} ({where})")
        crowd = annotation.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise ValueError(f"iscrowd is {crowd}, expected 0 or 1 ({where})")
        area = annotation.get("area")
        if area is None:
            area = _area(parsed, image.size) if parsed is not None else width * height
        if not _is_number(area) or area < 0:
            raise ValueError(f"area is {area}, expected a number of pixels ({where})")
        return BoxRow(index, box, label, bool(crowd), float(area)), parsed


def _area(segmentation: Segmentation, size: tuple[int, int]) -> float:
    return float(MaskTable([segmentation]).decode(slice(0, 1), size).sum())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if type(value) is not int:
        raise ValueError(f"{name} is {value!r}, expected an integer")
    return value


def _mask_table(segmentations: Sequence[Segmentation | None], order: np.ndarray) -> MaskTable | None:
    """Masks are given where every annotation has one."""
    present = [segmentation for segmentation in segmentations if segmentation is not None]
    if not present or len(present) < len(segmentations):
        return None
    return MaskTable([present[row] for row in order])


class _Keypoints:
    """Points of annotations by id; an annotation without points has J absent ones."""

    def __init__(self, names: tuple[str, ...], points: dict[int, np.ndarray]) -> None:
        self.names = names
        self._points = points

    @classmethod
    def of(
        cls,
        content: Mapping[str, Any],
        file: Path,
        joined: Mapping[str, Any] | None,
        joined_file: Path | None,
        log: FaultLog,
    ) -> "_Keypoints | None":
        """Read the points of a json, or of the one that is joined to it; None where no category has a skeleton."""
        source, file = (content, file) if joined is None or joined_file is None else (joined, joined_file)
        skeletons = [category["keypoints"] for category in source["categories"] if category.get("keypoints")]
        if not skeletons:
            return None
        names = tuple(str(name) for name in max(skeletons, key=len))
        points: dict[int, np.ndarray] = {}
        for annotation in source["annotations"]:
            if not annotation.get("keypoints"):
                continue
            try:
                points[_whole(annotation, "id")] = _parse_points(annotation["keypoints"], len(names))
            except ValueError as error:
                log.fault(file, f"annotation {annotation.get('id')}", str(error))
        return cls(names, points)

    def table(self, ids: Sequence[int]) -> np.ndarray:
        """Return x y visibility of the annotations with these ids, float32 N J 3."""
        absent = np.zeros((len(self.names), 3), dtype=np.float32)
        rows = [self._points.get(identity, absent) for identity in ids]
        return np.stack(rows) if rows else np.zeros((0, len(self.names), 3), dtype=np.float32)


def _parse_points(values: Any, number: int) -> np.ndarray:
    if not isinstance(values, list) or not all(_is_number(value) for value in values) or len(values) % 3:
        raise ValueError("keypoints: expected a list of finite numbers x y visibility ...")
    given = np.array(values, dtype=np.float64).reshape(-1, 3)
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
    reason = f"{', '.join(described + [path.name for path in alone.values()])} hold images, annotations and categories"
    return Layout(root, reason, sources)


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
