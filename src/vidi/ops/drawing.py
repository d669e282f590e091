"""Drawing on pictures: boxes, tags, masks, bars and legends that stay inside the picture and legible.

What draws on a picture changes it; `as_picture` gives a copy to draw on.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from vidi import files
from vidi.ops.fonts import Font, font_of, readable
from vidi.ops.palette import INK, PAPER, Colour, blended, class_colour, text_colour

Picture = PIL.Image.Image | Tensor | np.ndarray | str | Path
"""An image to draw on: PIL, tensor C H W (uint8, or float in [0, 1]), uint8 array H W 3, or a path."""

Box = Sequence[float | int]  # x0 y0 x1 y1
Area = tuple[int, int, int, int]  # x0 y0 x1 y1, whole pixels, ends exclusive

LEGIBLE = 480  # pixels that the longer side of a drawing has at least
NARROWEST = 240  # pixels of width that a strip of text needs


def as_picture(image: Picture) -> PIL.Image.Image:
    """Return a new RGB picture.

    Raises:
        ValueError: for tensors and arrays of another shape, arrays of another type, unreadable files.
    """
    if isinstance(image, str | Path):
        image = files.read_image(image)
    if isinstance(image, PIL.Image.Image):
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    if isinstance(image, Tensor):
        if image.ndim != 3:
            raise ValueError(f"received a tensor of shape {tuple(image.shape)}, expected (C, H, W)")
        pixels = image.detach().cpu()
        if pixels.is_floating_point():
            pixels = pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
        image = pixels.permute(1, 2, 0).numpy()  # H W C
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        raise ValueError(f"received {image.dtype} pixels of shape {image.shape}, expected uint8 with 1 or 3 channels")
    return PIL.Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))


def legible(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture, enlarged until its longer side has `LEGIBLE` pixels."""
    longer = max(picture.size)
    if longer >= LEGIBLE:
        return picture
    width, height = (max(1, round(side * LEGIBLE / longer)) for side in picture.size)
    return picture.resize((width, height), PIL.Image.Resampling.BICUBIC)


def line_width(picture: PIL.Image.Image) -> int:
    """Return the width in pixels of a line that is well seen on a picture."""
    return max(2, round(max(picture.size) / 320))


def shortened(text: str, font: Font, width: float | int) -> str:
    """Return the text on one line, cut with an ellipsis where it is wider than `width` pixels."""
    text = readable(text)
    if font.getlength(text) <= width:
        return text
    kept = next((n for n in range(len(text) - 1, 0, -1) if font.getlength(text[:n] + "…") <= width), 0)
    return text[:kept].rstrip() + "…" if kept else ""


def mask_picture(mask: Bool[Tensor, "H W"], size: tuple[int, int]) -> PIL.Image.Image:
    """Return a mask as a black and white picture of `size` (width, height)."""
    picture = PIL.Image.fromarray(mask.numpy().astype(np.uint8) * 255)
    if picture.size == size:
        return picture
    smooth = np.asarray(picture.resize(size, PIL.Image.Resampling.BILINEAR))
    return PIL.Image.fromarray((smooth >= 128).astype(np.uint8) * 255)


def tint(picture: PIL.Image.Image, mask: PIL.Image.Image, colour: Colour, share: float = 0.45) -> None:
    """Blend `share` (0..1) of a colour into the masked pixels, and draw their inner border in it."""
    inside = np.asarray(mask) > 0
    core = np.asarray(mask.filter(PIL.ImageFilter.MinFilter(3))) > 0
    weights = np.where(core, round(255 * share), np.where(inside, 255, 0)).astype(np.uint8)
    picture.paste(colour, (0, 0), PIL.Image.fromarray(weights))


def tint_classes(
    picture: PIL.Image.Image, classes: UInt8[Tensor, "H W"], colours: Mapping[int, Colour], share: float = 0.55
) -> None:
    """Blend `share` (0..1) of its class's colour into every pixel, and draw the borders between classes.

    Classes without a colour leave their pixels as they are.
    """
    labels = PIL.Image.fromarray(classes.numpy()).resize(picture.size, PIL.Image.Resampling.NEAREST)
    labels = np.asarray(labels)  # H W
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    table, weights = np.zeros((256, 3), dtype=np.uint8), np.zeros(256, dtype=np.uint8)
    for k, colour in colours.items():
        table[k], weights[k] = colour, round(255 * share)
    strength = np.where(border & (weights[labels] > 0), 255, weights[labels]).astype(np.uint8)
    picture.paste(PIL.Image.fromarray(table[labels]), (0, 0), PIL.Image.fromarray(strength))


def draw_box(picture: PIL.Image.Image, box: Box, colour: Colour) -> None:
    """Draw a rectangle in a colour, with a thin border of contrast around it."""
    x0, y0, x1, y1 = (round(side) for side in box)
    x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)
    pen = PIL.ImageDraw.Draw(picture)
    contrast = blended(text_colour(colour), colour, 0.6)
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=contrast)
    pen.rectangle((x0, y0, x1, y1), outline=colour, width=line_width(picture))


def draw_tag(
    picture: PIL.Image.Image, box: Box, text: str, colour: Colour, taken: Sequence[Area], *, optional: bool = False
) -> Area | None:
    """Write a text on a filled tag at a box, inside the picture and off the areas `taken` by the tags before it.

    Returns:
        The tag's area; None if it is optional and either twice as large as the box, or would hide more than a
        quarter of its size of other tags.
    """
    font = font_of(max(12, round(max(picture.size) / 40)))
    padding = line_width(picture)
    text = shortened(text, font, picture.width - 2 * padding)
    size = (math.ceil(font.getlength(text)) + 2 * padding, sum(font.getmetrics()) + padding)
    places = _tag_places(box, size, picture.size)
    hidden = [sum(_overlap(place, other) for other in taken) for place in places]
    best = hidden.index(min(hidden))
    area, box_area = size[0] * size[1], (box[2] - box[0]) * (box[3] - box[1])
    if optional and (area > 2 * box_area or hidden[best] > area / 4):
        return None
    x0, y0, x1, y1 = places[best]
    pen = PIL.ImageDraw.Draw(picture)
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    pen.text((x0 + padding, y0 + padding // 2), text, fill=text_colour(colour), font=font)
    return places[best]


def _tag_places(box: Box, size: tuple[int, int], limits: tuple[int, int]) -> list[Area]:
    """Return areas of `size` for a box's tag, the best first: above, below, in the top, in the bottom of the box.

    They are pushed into a picture with sides `limits`; those that need no push come first.
    """
    x0, y0, x1, y1 = (round(side) for side in box)
    width, height = size
    wanted = [(x, y) for y in (y0 - height, y1, y0, y1 - height) for x in (x0, x1 - width)]
    places = [(max(0, min(x, limits[0] - width)), max(0, min(y, limits[1] - height))) for x, y in wanted]
    pushes = [abs(x - left) + abs(y - top) for (x, y), (left, top) in zip(wanted, places, strict=True)]
    order = sorted(range(len(places)), key=lambda n: pushes[n] > 0)
    return [(places[n][0], places[n][1], places[n][0] + width, places[n][1] + height) for n in order]


def _overlap(a: Area, b: Area) -> int:
    """Return the number of common pixels."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def sheet_below(picture: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
    """Return a white sheet with the picture at its top and `height` free pixel rows below."""
    sheet = PIL.Image.new("RGB", (width, picture.height + height), PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    return sheet


def draw_bar(sheet: PIL.Image.Image, area: Area, k: int, name: str, score: float, *, font: Font) -> None:
    """Draw one class's probability as a bar with its name and number on it."""
    x0, y0, x1, y1 = area
    pen = PIL.ImageDraw.Draw(sheet)
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=blended(INK, PAPER, 0.06))
    length = round((x1 - x0) * min(max(score, 0.0), 1.0))
    if length > 0:
        pen.rectangle((x0, y0, x0 + length - 1, y1 - 1), fill=blended(class_colour(k), PAPER, 0.5))
    number, padding, middle = f"{score:.2f}", round(0.5 * font.size), (y0 + y1) / 2
    room = x1 - x0 - 3 * padding - font.getlength(number)
    pen.text((x0 + padding, middle), shortened(name, font, room), fill=INK, font=font, anchor="lm")
    pen.text((x1 - padding, middle), number, fill=INK, font=font, anchor="rm")


def with_legend(picture: PIL.Image.Image, entries: Sequence[tuple[Colour, str]]) -> PIL.Image.Image:
    """Return the picture above colour patches with names, in as many rows as they need."""
    width = max(picture.width, NARROWEST)
    font = font_of(max(13, width // 34))
    gap, patch = round(0.6 * font.size), round(1.1 * font.size)
    row = patch + gap
    x, y, placed = gap, gap, []
    for colour, text in entries:
        text = shortened(text, font, width - 3 * gap - patch)
        length = patch + gap // 2 + math.ceil(font.getlength(text))
        if x > gap and x + length + gap > width:
            x, y = gap, y + row
        placed.append((x, y, colour, text))
        x += length + 2 * gap
    sheet = sheet_below(picture, width, y + row if placed else 0)
    pen = PIL.ImageDraw.Draw(sheet)
    for x, y, colour, text in placed:
        y += picture.height
        pen.rectangle((x, y, x + patch - 1, y + patch - 1), fill=colour)
        pen.text((x + patch + gap // 2, y + patch / 2), text, fill=INK, font=font, anchor="lm")
    return sheet
