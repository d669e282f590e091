"""Any data set with boxes, written as COCO json: for other tools, and for an independent reading of our own.

The inverse of `readers.coco_json`: labels become the ids 1..K, boxes x y w h, masks compressed run lengths, keypoints
pixel indices (half a pixel is taken off).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pycocotools import mask as coco_mask

from vidi import files
from vidi.data.contact_sheet import Samples


def write_coco(dataset: Samples, folder: str | os.PathLike[str], split: str = "train") -> Path:
    """Write images (PNG) to FOLDER/images/SPLIT and annotations to FOLDER/instances_SPLIT.json, whose path is returned.

    Samples need `boxes`, `labels`, `crowd` and `areas`; `masks` and `keypoints` are written where they are given.
    Image ids are those of the samples. Raises ValueError where one comes twice.
    """
    categories: list[str] = [*getattr(dataset, "categories", [])]
    names: list[str] = [*getattr(dataset, "keypoint_names", [])]
    images: dict[int, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    joints = 0
    for index in range(len(dataset)):
        image, target = dataset[index]
        identity = int(target["image_id"])
        if identity in images:
            raise ValueError(f"image_id {identity} comes twice, again at sample {index}")
        name = f"{identity:08d}.png"
        files.write_image(Path(folder, "images", split, name), torch.as_tensor(image))
        images[identity] = {"id": identity, "file_name": name, "height": image.shape[-2], "width": image.shape[-1]}
        things = _annotations(target)
        annotations += [
            {"id": len(annotations) + row, "image_id": identity, **thing} for row, thing in enumerate(things, 1)
        ]
        joints = max(joints, target["keypoints"].shape[1] if "keypoints" in target else 0)
    skeleton = {"keypoints": names or [str(joint) for joint in range(joints)]} if joints else {}
    path = Path(folder, f"instances_{split}.json")
    files.write_json(
        path,
        {
            "images": list(images.values()),
            "annotations": annotations,
            "categories": [{"id": label, "name": name, **skeleton} for label, name in enumerate(categories, 1)],
        },
    )
    return path


def _annotations(target: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the things of one image, without ids."""
    boxes = torch.as_tensor(target["boxes"]).double()
    sides = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)  # xyxy -> x y w h
    columns = zip(
        sides.tolist(), target["labels"].tolist(), target["crowd"].tolist(), target["areas"].tolist(), strict=True
    )
    things: list[dict[str, Any]] = [
        {"bbox": box, "category_id": label + 1, "iscrowd": int(crowd), "area": area}
        for box, label, crowd, area in columns
    ]
    for thing, mask in zip(things, target.get("masks", ()), strict="masks" in target):
        run = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        thing["segmentation"] = {"size": list(mask.shape), "counts": cast(bytes, run["counts"]).decode("ascii")}
    if "keypoints" in target:
        seen = target["visibility"].double()  # N J
        points = torch.where(seen[..., None] > 0, torch.as_tensor(target["keypoints"]).double() - 0.5, 0.0)  # N J 2
        for thing, row in zip(things, torch.cat([points, seen[..., None]], dim=2).tolist(), strict=True):  # J 3
            thing["keypoints"] = [value for point in row for value in point]
            thing["num_keypoints"] = sum(point[2] > 0 for point in row)
    return things
