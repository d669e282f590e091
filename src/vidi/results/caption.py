"""A text that belongs to a picture, to be drawn below it."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
import PIL.ImageDraw

from vidi.ops.drawing import NARROWEST, Picture, as_picture, legible, sheet_below
from vidi.ops.fonts import Font, font_of
from vidi.ops.palette import INK
from vidi.results.result import Result

MOST_LINES = 10


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
    lines = broken(text, font, width - 0.5 * font.size)
    height = sum(font.getmetrics())
    sheet = sheet_below(picture, width, height * len(lines) + round(0.5 * font.size))
    pen = PIL.ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        pen.text((0.25 * font.size, picture.height + row * height), line, fill=INK, font=font)
    return sheet


def broken(text: str, font: Font, width: float | int) -> list[str]:
    """Return the lines of a text, of at most so many pixels: broken between words, and in one that is longer."""
    lines = [""] if text.strip() else []
    for word in text.split():
        joined = f"{lines[-1]} {word}".lstrip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:  # scripts without spaces are one word
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], lines[MOST_LINES - 1][:-1] + "…"]
