"""A text that belongs to a picture, to be drawn below it."""

import textwrap
from dataclasses import dataclass
from typing import Any

import PIL.Image
import PIL.ImageDraw

from vidi.ops.drawing import NARROWEST, Picture, as_picture, legible, sheet_below
from vidi.ops.fonts import font_of
from vidi.ops.palette import INK
from vidi.results.result import Result


@dataclass(frozen=True, repr=False)
class Caption(Result):
    """What is said of a picture."""

    text: str

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture above the text, in as many lines as it needs."""
        return with_text(image, self.text)

    def to_dict(self) -> dict[str, Any]:
        """Return the text as a plain value."""
        return {"caption": self.text}

    def __str__(self) -> str:
        return self.text


def with_text(image: Picture, text: str) -> PIL.Image.Image:
    """Return a picture above a text, in as many lines as that needs, at most ten."""
    picture = legible(as_picture(image))
    width = max(picture.width, NARROWEST)
    font = font_of(max(14, width // 24))
    letters = max(8, int(width / font.getlength("n")))
    lines = textwrap.wrap(text, letters, max_lines=10, placeholder="…")
    height = sum(font.getmetrics())
    sheet = sheet_below(picture, width, height * len(lines) + round(0.5 * font.size))
    pen = PIL.ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        pen.text((0.25 * font.size, picture.height + row * height), line, fill=INK, font=font)
    return sheet
