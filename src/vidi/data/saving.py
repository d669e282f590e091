"""Results on pictures as COCO writes annotations, so that other tools, and our own readers, can take them up.

    objects    predictions.json          boxes x y w h, scores; masks as run lengths, joints as COCO's keypoints
    segments   panoptic.json, panoptic/  a PNG for each picture whose colours R + 256 G + 65536 B are ids (0: none)
    classes    labels/, classes.txt      a PNG with a palette for each picture: class 0, 1, ..., 255 where there is none

Category ids count from 1. The pictures are copied to images/, so that the folder is a data set.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from vidi import files
from vidi.data.coco_export import annotations_of
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
        content = files.read_bytes(path)
        files.write_atomic(self.folder / "images" / copy, lambda handle: handle.write(content))
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
        masks, joints = found.coded_masks, found.keypoints
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        areas = sides.prod(1) if masks is None else torch.from_numpy(masks.areas()).double()
        target: dict[str, Any] = {
            "boxes": found.boxes,
            "labels": found.labels,
            "crowd": torch.zeros(len(found), dtype=torch.bool),
            "areas": areas,
        }
        target |= {} if masks is None else {"masks": masks}
        if joints is not None:
            target |= {"keypoints": joints[..., :2], "visibility": 2 * (joints[..., 2] > 0)}
            names = found.skeleton.joints if found.skeleton else tuple(map(str, range(joints.shape[1])))
            bones = found.skeleton.bones if found.skeleton else ()
            for category in self.categories.values():
                category |= {"keypoints": list(names), "skeleton": [[a + 1, b + 1] for a, b in bones]}
        for thing, score in zip(annotations_of(target), found.scores.tolist(), strict=True):
            self.annotations.append({"id": len(self.annotations) + 1, "image_id": image, "score": score, **thing})

    def _add_segments(self, image: int, name: str, found: PanopticMap) -> None:
        ids = found.ids.numpy()
        file = f"{name}.png"
        colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], 2).astype(np.uint8)
        files.write_image(self.folder / "panoptic" / file, PIL.Image.fromarray(colours))
        rows = []
        for segment in found:
            ys, xs = (ids == segment.id).nonzero()
            if not len(ys):
                continue
            box = [int(xs.min()), int(ys.min()), int(xs.max() - xs.min() + 1), int(ys.max() - ys.min() + 1)]
            rows.append(
                {
                    "id": segment.id,
                    "category_id": segment.label + 1,
                    "area": len(ys),
                    "bbox": box,
                    "iscrowd": 0,
                    "score": segment.score,
                }
            )
        for category in self.categories.values():
            category.setdefault("isthing", 0)
        for segment in found:
            self.categories[segment.label + 1]["isthing"] = int(segment.is_thing)
        self.annotations.append({"image_id": image, "file_name": file, "segments_info": rows})

    def _add_classes(self, image: int, name: str, found: SemanticMap) -> None:
        picture = PIL.Image.fromarray(found.classes.numpy()).convert("P")
        picture.putpalette([value for label in range(VOID) for value in class_colour(label)] + [0, 0, 0])
        files.write_image(self.folder / "labels" / f"{name}.png", picture)
