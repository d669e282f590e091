"""Depth as pictures: in grey, what is near is bright; in colours, of its inverse, above a bar that says which is which.

The inverse is what is drawn because it is what a picture tells: it halves where the distance doubles, and what is far
away, where depth is hardly known, takes little of the scale.
"""

import math

import numpy as np
import PIL.Image
import PIL.ImageDraw
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vidi.ops.drawing import NARROWEST, sheet_below, shortened
from vidi.ops.fonts import font_of
from vidi.ops.palette import INK

FARTHEST_GREY, NEAREST_GREY, NOTHING = 0.35, 0.95, 0.12
COLOURS = "magma"  # of matplotlib: equal steps look equal, also in grey
STRIPES = np.array([[90, 90, 95], [170, 170, 175]], np.uint8)  # where there is no depth: colours of no value


def depth_picture(depth: Float[Tensor, "1 H W"]) -> UInt8[Tensor, "3 H W"]:
    """Return depth (0 where nothing is measured) in grey, from the farthest to the nearest that is measured."""
    seen = depth > 0
    if not seen.any():
        return torch.full((3, *depth.shape[1:]), round(255 * NOTHING), dtype=torch.uint8)
    near, far = depth[seen].min(), depth[seen].max()
    share = (far - depth) / (far - near).clamp(min=1e-6)
    grey = torch.where(seen, FARTHEST_GREY + (NEAREST_GREY - FARTHEST_GREY) * share, NOTHING)
    return (255 * grey).round().to(torch.uint8).expand(3, -1, -1).contiguous()


def inverse_depth_picture(
    depth: Float[Tensor, "H W"], valid: Bool[Tensor, "H W"], limits: tuple[float, float]
) -> PIL.Image.Image:
    """Return the inverse of depth in colours, dark at the lower of the limits and bright at the upper one.

    Pixels without depth are striped.
    """
    H, W = depth.shape
    inverse = 1 / depth.where(valid, 1).numpy()
    stripe = max(2, max(H, W) // 100)
    striped = STRIPES[(np.add.outer(np.arange(H), np.arange(W)) // stripe) % 2]  # H W 3
    return PIL.Image.fromarray(np.where(valid.numpy()[..., None], _coloured(inverse, limits), striped))


def _coloured(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return colours, uint8 ... 3; those of equal limits are of the middle."""
    import matplotlib

    low, high = limits
    shares = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    return matplotlib.colormaps[COLOURS](shares.clip(0, 1), bytes=True)[..., :3]


LEAST = 1e-5
"""Share of the upper limit below which a number of a colour bar is written as 0."""


def with_colour_bar(
    picture: PIL.Image.Image, limits: tuple[float, float] | None, title: str, *, reciprocal: str, gaps: bool
) -> PIL.Image.Image:
    """Return the picture above the colours from the lower to the upper limit, with numbers.

    Args:
        picture: drawn by `inverse_depth_picture`.
        limits: those of the picture; None: it has no depth, and no bar.
        title: what the numbers are.
        reciprocal: unit of the depths that are written beside the numbers; "" where they have none.
        gaps: whether stripes are explained.
    """
    width = max(picture.width, NARROWEST)
    font = font_of(max(13, min(width // 34, 28)))
    gap, bar = round(0.6 * font.size), round(1.1 * font.size)
    line = sum(font.getmetrics())
    sheet = sheet_below(picture, width, 4 * gap + bar + 2 * line)
    pen, top, length = PIL.ImageDraw.Draw(sheet), picture.height + gap, width - 2 * gap
    text = "no depth" if limits is None else f"{title}; striped: no depth" if gaps else title
    pen.text((width / 2, top), shortened(text, font, length), fill=INK, font=font, anchor="ma")
    if limits is None:
        return sheet
    top += line + gap
    colours = _coloured(np.linspace(*limits, length), limits) if limits[1] > limits[0] else None
    if colours is None:
        colours = np.broadcast_to(_coloured(np.zeros(1), limits), (length, 3))
    sheet.paste(PIL.Image.fromarray(np.ascontiguousarray(np.broadcast_to(colours, (bar, length, 3)))), (gap, top))
    places = ((0.0, gap, "la"), (0.5, width // 2, "ma"), (1.0, width - gap, "ra"))
    for share, x, anchor in places:
        value = limits[0] + share * (limits[1] - limits[0])
        value = value if value > LEAST * limits[1] else 0.0
        beside = f" ({_short(1 / value)} {reciprocal})" if reciprocal and value > 0 else ""
        pen.text((x, top + bar + gap // 2), f"{_short(value)}{beside}", fill=INK, font=font, anchor=anchor)
    return sheet


def _short(value: float) -> str:
    """Return a number with three digits, without an exponent where it needs none."""
    if value <= 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}" if digits <= 6 else f"{value:.2e}"
