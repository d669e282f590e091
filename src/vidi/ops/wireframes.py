"""Drawing lines that stand for bodies: skeletons, and boxes in space."""

from collections.abc import Sequence

import PIL.Image
import PIL.ImageDraw

from vidi.ops.boxes_3d import EDGES, FRONT
from vidi.ops.drawing import line_width
from vidi.ops.palette import Colour, blended, text_colour

Point = tuple[float, float]


def draw_skeleton(
    picture: PIL.Image.Image, joints: Sequence[Point | None], bones: Sequence[tuple[int, int]], colour: Colour
) -> None:
    """Draw the bones between joints, and a dot at each; joints that are None are left out with their bones."""
    pen = PIL.ImageDraw.Draw(picture)
    width, contrast = line_width(picture), text_colour(colour)
    lines = [(joints[a], joints[b]) for a, b in bones]
    for paint, extent in ((blended(contrast, colour, 0.6), width + 2), (colour, width)):
        for start, end in lines:
            if start is not None and end is not None:
                pen.line((*start, *end), fill=paint, width=extent)
    for joint in joints:
        if joint is not None:
            (x, y), radius = joint, 1.2 * width
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=contrast)


def draw_box_3d(picture: PIL.Image.Image, corners: Sequence[Point], colour: Colour) -> None:
    """Draw the edges of a box in space, given its projected corners in the order of `box_3d_corners`.

    The forward face is crossed out, so that one sees where the thing is heading.
    """
    pen = PIL.ImageDraw.Draw(picture)
    width, contrast = line_width(picture), blended(text_colour(colour), colour, 0.6)
    a, b, c, d = FRONT
    crossed = ((a, c), (b, d))
    for paint, extent in ((contrast, width + 2), (colour, width)):
        for start, end in EDGES:
            pen.line((*corners[start], *corners[end]), fill=paint, width=extent)
    for start, end in crossed:
        pen.line((*corners[start], *corners[end]), fill=colour, width=max(1, width // 2))
