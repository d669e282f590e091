"""Results on pictures as COCO writes annotations, so that other tools, and our own readers, can take them up.

    objects    predictions.json          boxes x y w h, scores; masks as run lengths, joints as COCO's keypoints
    segments   panoptic.json, panoptic/  a PNG for each picture whose colours R + 256 G + 65536 B are ids (0: none)
    classes    labels/, classes.txt      a PNG with a palette for each picture: class 0, 1, ..., 255 where there is none

Category ids count from 1; a category that no segment has is called stuff. The pictures are copied to images/, so that
the folder is a data set.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import PIL.Image

from vidi import files
from vidi.ops.label_maps import VOID
from vidi.ops.palette import class_colour
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap
from vidi.results.semantic_map import SemanticMap


class Saver:
    """Collects the results of one model and writes them to a folder.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories: dict[int, dict[str, Any]] = {}
        self.kind: type | None = None

    def add(self, path: Path, name: str, size: tuple[int, int], result: Any) -> None:
        """Take the result on a picture; maps are written at once.

        Args:
            path: of the picture.
            name: without suffix, of the files that are written for it; none of another picture.
            size: (H, W) of the picture.
            result: detections, a panoptic or a semantic map.

        Raises:
            ValueError: for another result.
        """
        ways: Mapping[type, Callable[..., None]] = {
            Detections: self._add_objects,
            PanopticMap: self._add_segments,
            SemanticMap: self._add_classes,
        }
        way = ways.get(type(result))
        if way is None:
            raise ValueError(f"a {type(result).__name__} has no form in COCO; expected objects, segments or classes")
        self.kind = type(result)
        self._name_categories(result.categories)
        number = len(self.images) + 1
        copy = Path(f"{name}{path.suffix}")
        files.copy(path, self.folder / "images" / copy)
        self.images.append({"id": number, "file_name": copy.as_posix(), "height": size[0], "width": size[1]})
        way(number, name, result)

    def write(self) -> list[Path]:
        """Write what names the pictures and the categories; return the paths of the files."""
        if self.kind is SemanticMap:
            path = self.folder / "classes.txt"
            named = sorted((number - 1, category["name"]) for number, category in self.categories.items())
            files.write_text(path, "".join(f"{value} {name}\n" for value, name in named))
            return [self.folder / "labels", path]
        path = self.folder / ("panoptic.json" if self.kind is PanopticMap else "predictions.json")
        categories = [self.categories[number] for number in sorted(self.categories)]
        files.write_json(path, {"images": self.images, "annotations": self.annotations, "categories": categories})
        return [self.folder / "panoptic", path] if self.kind is PanopticMap else [path]

    def _name_categories(self, categories: Categories) -> None:
        for label, name in enumerate(categories):
            if name is not None:
                self.categories.setdefault(label + 1, {"id": label + 1, "name": name})

    def _add_objects(self, image: int, name: str, found: Detections) -> None:
        masks, sides = found.coded_masks, found.boxes[:, 2:] - found.boxes[:, :2]
        areas = sides.prod(1).tolist() if masks is None else masks.areas().tolist()
        if found.skeleton is not None:
            wiring = {
                "keypoints": list(found.skeleton.joints),
                "skeleton": [[a + 1, b + 1] for a, b in found.skeleton.bones],
            }
            for category in self.categories.values():
                category |= wiring
        rows = found.to_coco(image, range(1, len(found.categories) + 1))
        for row, area in zip(rows, areas, strict=True):
            if "keypoints" in row:  # a truth says whether a joint is seen, not how surely
                row["keypoints"][2::3] = [2 if score > 0 else 0 for score in row["keypoints"][2::3]]
                row["num_keypoints"] = sum(map(bool, row["keypoints"][2::3]))
            self.annotations.append({"id": len(self.annotations) + 1, **row, "area": area, "iscrowd": 0})

    def _add_segments(self, image: int, name: str, found: PanopticMap) -> None:
        file = f"{name}.png"
        files.write_image(self.folder / "panoptic" / file, PIL.Image.fromarray(found.coloured_ids()))
        self.annotations.append(found.to_coco(image, file, range(1, len(found.categories) + 1)))
        for category in self.categories.values():
            category.setdefault("isthing", 0)
        for segment in found:
            self.categories[segment.label + 1]["isthing"] = int(segment.is_thing)

    def _add_classes(self, image: int, name: str, found: SemanticMap) -> None:
        picture = PIL.Image.fromarray(found.classes.numpy()).convert("P")
        picture.putpalette([value for label in range(VOID) for value in class_colour(label)] + [0, 0, 0])
        files.write_image(self.folder / "labels" / f"{name}.png", picture)
