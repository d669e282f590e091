"""Data sets of a few small pictures, written where a test wants them, and numbers that train on them in a second."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from vidi.data.digits import digits

SMALL_CLASSIFIER = ("resnet18", "size=16,16", "width=16", "stem=small", "epochs=2", "batch_size=8", "log_every=2")
SMALL_DETECTOR = ("retinanet_tiny", "size=64,64", "channels=16", "width=16", "epochs=1", "batch_size=8")
COLOURS = {"green": 1, "red": 0}


def write_picture(path: Path, size: tuple[int, int] = (24, 24), colour: int = 0, seed: int = 0) -> Path:
    """Write noise of size (H, W) in which one channel is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    pixels[..., colour] = 255
    PIL.Image.fromarray(pixels).save(path)
    return path


def cut_in_half(path: Path) -> Path:
    """Truncate a file, as an interrupted download does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def write_classes(folder: Path, count: int = 12) -> Path:
    """Write class folders `green` and `red`."""
    for name, colour in COLOURS.items():
        for row in range(count):
            write_picture(folder / name / f"{name}{row}.jpg", colour=colour, seed=row)
    return folder


def coco(count: int = 10) -> dict[str, Any]:
    """Return the content of a COCO json: a box a picture."""
    size = {"height": 48, "width": 48}
    return {
        "images": [{"id": row, "file_name": f"{row}.jpg", **size} for row in range(count)],
        "annotations": [
            {"id": row, "image_id": row, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
            for row in range(count)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }


def write_coco(folder: Path, content: dict[str, Any], name: str = "instances.json") -> Path:
    """Write a COCO json and the pictures that it names."""
    for row, image in enumerate(content["images"]):
        write_picture(folder / "images" / image["file_name"], (48, 48), seed=row)
    (folder / name).write_text(json.dumps(content))
    return folder


def write_digits(path: Path, train: int | None = None) -> Path:
    """Write the shipped digits as an npz; `train` of them to train on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split in ("train", "val", "test"):
        images, labels = digits(split)
        count = train if split == "train" else None
        arrays[f"{split}_images"] = (images[:count, 0] * 255).round().byte().numpy()
        arrays[f"{split}_labels"] = labels[:count].numpy()
    np.savez(path, **arrays)
    return path
