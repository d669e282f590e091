"""A page of small pictures with what their targets say drawn on them."""

import colorsys
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from vidi.ops.label_maps import VOID

GOLDEN = 0.61803398875  # turns of hue between classes: neighbours differ most


class Samples(Protocol):
    """Any data set by the sample contract."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, dict[str, Any]]: ...


def contact_sheet(dataset: Samples, count: int = 16, *, tile: int = 240, columns: int = 4) -> Image.Image:
    """Draw `count` samples, evenly spread over the data set, in tiles of `tile` px with their ground truth.

    A sample that cannot be read becomes a grey tile with the reason.
    """
    if count < 1 or tile < 16 or columns < 1:
        raise ValueError(f"expected count, columns >= 1 and tile >= 16, got {count}, {columns}, {tile}")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)).tolist()
    rows = max(-(-len(chosen) // columns), 1)
    sheet = Image.new("RGB", (min(columns, max(len(chosen), 1)) * tile, rows * tile), "white")
    for place, index in enumerate(chosen):
        try:
            picture = _draw(dataset, index, tile - 4)
        except (ValueError, OSError) as error:
            picture = _failed(str(error), tile - 4)
        sheet.paste(picture, (place % columns * tile + 2, place // columns * tile + 2))
    return sheet


def label_colour(label: int) -> tuple[int, int, int]:
    """Return an RGB colour, 0..255, that differs from those of neighbouring labels."""
    red, green, blue = colorsys.hsv_to_rgb((label * GOLDEN) % 1.0, 0.85, 1.0 - 0.3 * (label // 7 % 2))
    return round(255 * red), round(255 * green), round(255 * blue)


def _draw(dataset: Samples, index: int, side: int) -> Image.Image:
    image, target = dataset[index]
    height, width = image.shape[-2:]
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    resample = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size, resample)
    if "semantic" in target:
        picture = _tint(picture, target["semantic"].numpy())
    labels = target["labels"].tolist() if "labels" in target else []
    for mask, label in zip(target.get("masks", ()), labels, strict=False):
        picture = _tint(picture, np.where(mask.numpy(), label, VOID).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    names: list[str] = [*getattr(dataset, "categories", [])]
    font = ImageFont.load_default(size=11)
    boxes = (target["boxes"] * scale).tolist() if "boxes" in target else []
    for box, label in zip(boxes, labels, strict=True):
        pen.rectangle(box, outline=label_colour(label), width=2)
        _write(pen, (box[0] + 2, max(box[1] - 12, 0.0)), names[label] if label < len(names) else str(label), font)
    for points, visible in zip(target.get("keypoints", ()), target.get("visibility", ()), strict=True):
        for x, y in (points[visible > 0] * scale).tolist():
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill="yellow", outline="black")
    if "label" in target:
        label = int(target["label"])
        _write(pen, (3.0, 2.0), names[label] if label < len(names) else str(label), font)
    return picture


def _tint(picture: Image.Image, labels: np.ndarray) -> Image.Image:
    """Mix the colours of labels half into a picture."""
    colours = np.array([label_colour(label) for label in range(256)], dtype=np.uint8)
    resized = np.array(Image.fromarray(labels).resize(picture.size, Image.Resampling.NEAREST))
    pixels = np.array(picture)
    mixed = (pixels.astype(np.uint16) + colours[resized]) // 2
    return Image.fromarray(np.where((resized == VOID)[..., None], pixels, mixed).astype(np.uint8))


def _write(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, font: Any) -> None:
    pen.rectangle(pen.textbbox(corner, text, font=font), fill="black")
    pen.text(corner, text, fill="white", font=font)


def _failed(reason: str, side: int) -> Image.Image:
    picture = Image.new("RGB", (side, side), "grey")
    lines = [reason[start : start + 34] for start in range(0, min(len(reason), 340), 34)]
    ImageDraw.Draw(picture).multiline_text((6, 6), "\n".join(lines), fill="white", font=ImageFont.load_default(size=11))
    return picture
