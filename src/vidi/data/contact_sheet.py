"""A page of small pictures with what their targets say drawn on them, as results draw it."""

from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from vidi.data.truths import truths
from vidi.ops.drawing import as_picture, legible
from vidi.ops.fonts import font_of


class Samples(Protocol):
    """Any data set by the sample contract."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, dict[str, Any]]: ...


def contact_sheet(dataset: Samples, count: int = 16, *, tile: int = 400, columns: int = 4) -> Image.Image:
    """Draw `count` samples, evenly spread over the data set, in tiles of `tile` px with their ground truth.

    A sample of which several things are known (objects, the class of each pixel) takes a tile for each. One that cannot
    be read becomes a grey tile with the reason.
    """
    if count < 1 or tile < 16 or columns < 1:
        raise ValueError(f"expected count, columns >= 1 and tile >= 16, got {count}, {columns}, {tile}")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)).tolist()
    side = tile - 4
    pictures = [ImageOps.contain(each, (side, side)) for index in chosen for each in _drawn(dataset, index, side)]
    rows = max(-(-len(pictures) // columns), 1)
    sheet = Image.new("RGB", (min(columns, max(len(pictures), 1)) * tile, rows * tile), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % columns * tile + 2, place // columns * tile + 2))
    return sheet


def _drawn(dataset: Samples, index: int, side: int) -> list[Image.Image]:
    """Return a picture for each thing that is known of a sample; the bare one where nothing is."""
    names, semantic_names = (tuple(getattr(dataset, key, ())) for key in ("categories", "semantic_categories"))
    try:
        image, target = dataset[index]
        drawn = [truth.draw(image) for truth in truths(target, names, semantic_names)]
    except (ValueError, OSError) as error:
        return [_failed(str(error), side)]
    return drawn or [legible(as_picture(image))]


def _failed(reason: str, side: int) -> Image.Image:
    picture = Image.new("RGB", (side, side), "grey")
    lines = [reason[start : start + 34] for start in range(0, min(len(reason), 340), 34)]
    ImageDraw.Draw(picture).multiline_text((6, 6), "\n".join(lines), fill="white", font=font_of(11))
    return picture
