"""Results on pictures as COCO writes annotations, so that other tools, and our own readers, can take them up.

    objects    predictions.json          boxes x y w h, scores; masks as run lengths, joints as COCO's keypoints
    segments   panoptic.json, panoptic/  a PNG for each picture whose colours R + 256 G + 65536 B are ids (0: none)
    classes    labels/, classes.txt      a PNG with a palette for each picture: class 0, 1, ..., 255 where there is none

Category ids count from 1; a category that no segment has is called stuff. With the pictures in images/ the folder is a
data set. Nothing here holds more than one result: rows are written as they come.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import PIL.Image

from vidi import files
from vidi.ops.label_maps import VOID
from vidi.ops.palette import class_colour
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap
from vidi.results.semantic_map import SemanticMap

Kind = Literal["objects", "segments", "classes"]
"""What a result is to COCO."""


def kind_of(result: Any) -> Kind:
    """Return what a result is to COCO; ValueError for what has no form in it."""
    kinds: Mapping[type, Kind] = {Detections: "objects", PanopticMap: "segments", SemanticMap: "classes"}
    if type(result) not in kinds:
        raise ValueError(f"a {type(result).__name__} has no form in COCO; expected objects, segments or classes")
    return kinds[type(result)]


def categories_of(result: Any) -> dict[str, dict[str, Any]]:
    """Return the categories that a result speaks of, by their ids as text; of segments, which of them are things."""
    named = {str(label + 1): {"id": label + 1, "name": name} for label, name in _named(result.categories)}
    if isinstance(result, Detections) and result.skeleton is not None:
        bones = [[a + 1, b + 1] for a, b in result.skeleton.bones]
        return {
            key: {**row, "keypoints": list(result.skeleton.joints), "skeleton": bones} for key, row in named.items()
        }
    if isinstance(result, PanopticMap):
        things = {segment.label + 1 for segment in result if segment.is_thing}
        return {key: {**row, "isthing": int(row["id"] in things)} for key, row in named.items()}
    return named


def _named(categories: Categories) -> Iterator[tuple[int, str]]:
    return ((label, name) for label, name in enumerate(categories) if name is not None)


def annotations_of(folder: Path, name: str, result: Any) -> list[dict[str, Any]]:
    """Return COCO's annotations of a result, less the ids of picture and annotation; write its map, if it is one.

    Args:
        folder: of the data set that is written.
        name: without suffix, of the file of a map; none of another picture.
        result: detections, a panoptic or a semantic map.

    Raises:
        ValueError: for another result.
    """
    kind = kind_of(result)
    if kind == "objects":
        return list(_objects(result))
    if kind == "segments":
        files.write_image(folder / "panoptic" / f"{name}.png", PIL.Image.fromarray(result.coloured_ids()))
        row = result.to_coco(0, f"{name}.png", range(1, len(result.categories) + 1))
        return [{key: value for key, value in row.items() if key != "image_id"}]
    picture = PIL.Image.fromarray(result.classes.numpy()).convert("P")
    picture.putpalette([value for label in range(VOID) for value in class_colour(label)] + [0, 0, 0])
    files.write_image(folder / "labels" / f"{name}.png", picture)
    return []


def _objects(found: Detections) -> Iterator[dict[str, Any]]:
    masks, sides = found.coded_masks, found.boxes[:, 2:] - found.boxes[:, :2]
    areas = sides.prod(1).tolist() if masks is None else masks.areas().tolist()
    for row, area in zip(found.to_coco(0, range(1, len(found.categories) + 1)), areas, strict=True):
        del row["image_id"]
        if "keypoints" in row:  # a truth says whether a joint is seen, not how surely
            row["keypoints"][2::3] = [2 if score > 0 else 0 for score in row["keypoints"][2::3]]
            row["num_keypoints"] = sum(map(bool, row["keypoints"][2::3]))
        yield {**row, "area": area, "iscrowd": 0}


def write_index(
    folder: Path,
    kind: Kind,
    images: Iterable[Mapping[str, Any]],
    annotations: Iterable[tuple[int, Mapping[str, Any]]],
    categories: Iterable[Mapping[str, Any]],
) -> list[Path]:
    """Write what names the pictures and the categories, row by row; return the paths of files and folders.

    Args:
        folder: of the data set.
        kind: of the results.
        images: with ids.
        annotations: with the id of their picture.
        categories: in the order of their ids.
    """
    if kind == "classes":
        path = folder / "classes.txt"
        files.write_text(path, "".join(f"{category['id'] - 1} {category['name']}\n" for category in categories))
        return [folder / "labels", path]
    path = folder / ("panoptic.json" if kind == "segments" else "predictions.json")
    numbers = itertools.count(1)
    own = (({} if kind == "segments" else {"id": next(numbers)}) | {"image_id": k} | {**row} for k, row in annotations)

    def write(handle: BinaryIO) -> None:
        for opening, name, rows in (
            ("{", "images", images),
            (",\n", "annotations", own),
            (",\n", "categories", categories),
        ):
            handle.write(f'{opening}"{name}": ['.encode())
            for number, row in enumerate(rows):
                handle.write(f"{',' if number else ''}\n{json.dumps(row, allow_nan=False)}".encode())
            handle.write(b"\n]")
        handle.write(b"}\n")

    files.write_atomic(path, write)
    return [folder / "panoptic", path] if kind == "segments" else [path]
