"""Names in any script: each part of a text is drawn with a font that has its characters.

DejaVu Sans, which comes with matplotlib, has the scripts of Europe, Arabic and Hebrew. What it lacks is taken from the
fonts of the system, which are searched when a text first needs them. A character that no font has is written out, a
symbol by its name (`[raccoon]`), any other by its number (`\\u732b`), and a warning says once what to install.
Fonts of coloured bitmaps have one size only and are left out.

    text -> readable(text) -> runs of characters, a font for each -> one mask, or the font families of a figure
"""

import functools
import io
import math
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL.Image
import PIL.ImageFont

from vidi import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURED = ("CBDT", "sbix", "COLR", "SVG ")  # tables of fonts that are pictures
_BLANK = ("lastresort", "adobeblank", "notosanssymbols2blank")  # fonts that have every character, and draw none
_SLANTED = ("italic", "oblique", "bold", "black", "light", "thin", "mono", "condensed", "serif")
_JOINING = {"Cf", "Mn", "Mc", "Me"}  # marks that belong to the character before them


class Run(NamedTuple):
    """Characters that follow one another in a text, and the file of a font that has them."""

    text: str
    path: str


class Font(PIL.ImageFont.FreeTypeFont):
    """DejaVu Sans of a size in pixels, which hands on what it lacks to fonts that have it."""

    def __init__(self, size: int) -> None:
        super().__init__(default_path(), size)

    def getlength(self, text: str | bytes, *args: Any, **kwargs: Any) -> float:
        """Return the width of a text, px."""
        return math.fsum(_measured(run, self.size, *args, **kwargs) for run in runs(_as_text(text)))

    def getmask2(self, text: str | bytes, *args: Any, **kwargs: Any) -> Any:
        """Return the pixels of a text, and their offset from where it is anchored."""
        parts = runs(_as_text(text))
        if len(parts) == 1 and parts[0].path == default_path():
            return super().getmask2(parts[0].text, *args, **kwargs)
        names = ("mode", "direction", "features", "language", "stroke_width", "anchor", "ink", "start")
        options = {**dict(zip(names, args, strict=False)), **kwargs}
        anchor = options.pop("anchor", None) or "la"
        placed, x = [], 0.0
        for run in parts:
            mask, (left, top) = _font_file(run.path, self.size).getmask2(run.text, **options, anchor="ls")
            placed.append((mask, round(x) + left, top))
            x += _measured(run, self.size)
        placed = [part for part in placed if min(part[0].size) > 0]
        lefts, tops = [left for _, left, _ in placed] or [0], [top for _, _, top in placed] or [0]
        right = max((left + mask.size[0] for mask, left, _ in placed), default=0)
        bottom = max((top + mask.size[1] for mask, _, top in placed), default=0)
        sheet = PIL.Image.core.fill("L", (right - min(lefts), bottom - min(tops)))
        for mask, left, top in placed:
            at = (left - min(lefts), top - min(tops))
            sheet.paste(mask, (*at, at[0] + mask.size[0], at[1] + mask.size[1]))
        return sheet, self._offset(anchor, x, min(lefts), min(tops))

    def getbbox(self, text: str | bytes, *args: Any, **kwargs: Any) -> tuple[float, float, float, float]:
        """Return the corners x0 y0 x1 y1 of the room that a text takes, from where it is anchored."""
        mask, (left, top) = self.getmask2(text, *args, **kwargs)
        return float(left), float(top), float(left + mask.size[0]), float(top + mask.size[1])

    def _offset(self, anchor: str, width: float, left: int, top: int) -> tuple[int, int]:
        """Return the offset of pixels that begin at `left`, `top` of a text's origin on its line."""
        ascent, descent = self.getmetrics()
        x = {"l": 0.0, "m": width / 2, "r": width}[anchor[0]]
        y = {"a": ascent, "m": (ascent - descent) / 2, "s": 0, "d": -descent}[anchor[1]]
        return left - math.floor(x), top + math.floor(y)


@functools.lru_cache(maxsize=16)
def font_of(size: int) -> Font:
    """Return a font of a size in pixels that draws any script of which a font is on this machine."""
    return Font(size)


def letter(figure: "Figure") -> None:
    """Let every text of a figure of matplotlib be drawn with fonts that have its characters."""
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if [readable(label) for label in labels] != labels:
                axis.set_ticks(axis.get_ticklocs(), [readable(label) for label in labels])
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_text():
            text.set_text(readable(text.get_text()))
            text.set_parse_math("\\mathdefault" in text.get_text())  # a $ in a name is a dollar
            others = dict.fromkeys(_family(run.path) for run in runs(text.get_text()))
            families = [name for name in others if name not in text.get_fontfamily()]
            if families:
                text.set_fontfamily([*text.get_fontfamily(), *families])


# ------------------------------------------------------------------------------------------------- which font has it


@functools.lru_cache(maxsize=4096)
def runs(text: str) -> tuple[Run, ...]:
    """Divide a text among fonts: as few as have all its characters, the default one for what it knows.

    A text of which a single font has every character is one run, so that its script is joined and ordered as it should.
    """
    text = readable(text)
    chosen = [font_with(character) or default_path() for character in text]
    for path in dict.fromkeys(chosen):
        if all(_belongs(character, path) for character in text):
            return (Run(text, path),)
    parts: list[Run] = []
    for character, path in zip(text, chosen, strict=True):
        if parts and (_belongs(character, parts[-1].path) or unicodedata.category(character) in _JOINING):
            parts[-1] = Run(parts[-1].text + character, parts[-1].path)
        else:
            parts.append(Run(character, path))
    return tuple(parts)


def _belongs(character: str, path: str) -> bool:
    return ord(character) in characters_of(path) or unicodedata.category(character) == "Cf"


@functools.lru_cache(maxsize=4096)
def readable(text: str) -> str:
    """Return the text on one line, with the characters that no font on this machine has written out."""
    kept = ("" if "\ufe00" <= character <= "\ufe0f" else character for character in text)  # variants of symbols
    return "".join(_written(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c) for c in kept if c)


def _written(character: str) -> str:
    if unicodedata.category(character) == "Cf" or font_with(character) is not None:
        return character
    name = unicodedata.name(character, "")
    is_symbol = unicodedata.category(character)[0] == "S" and name
    escaped = f"[{name.lower()}]" if is_symbol else character.encode("unicode_escape").decode()
    _warn_once(character, name or "a character without a name", escaped)
    return escaped


_warned: set[str] = set()  # of a process: the first character without a font


def _warn_once(character: str, name: str, escaped: str) -> None:
    if _warned:
        return
    _warned.add(character)
    script = name.partition(" ")[0]
    if script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"):
        font, package = "Noto Sans CJK", "fonts-noto-cjk"
    elif unicodedata.category(character)[0] == "S":
        font, package = "Symbola", "fonts-symbola"
    else:
        font, package = "Noto Sans", "fonts-noto-core"
    warnings.warn(
        f"no font on this machine has {character!r} ({name}), it is written {escaped}; a font such as {font} has it "
        f"(Debian and Ubuntu: apt install {package})",
        stacklevel=2,
    )


@functools.lru_cache(maxsize=65536)
def font_with(character: str) -> str | None:
    """Return the file of the first font that has a character: the default one, then those of the system."""
    if ord(character) in characters_of(default_path()):
        return default_path()
    script = unicodedata.name(character, "").partition(" ")[0].lower()
    paths = sorted(system_fonts(), key=lambda path: _rank(path, script))
    return next((path for path in paths if ord(character) in characters_of(path)), None)


def _rank(path: str, script: str) -> tuple[bool, bool, int, str]:
    """Return what sorts fonts: those named for the script first, plain and upright ones before others."""
    name = Path(path).stem.lower()
    return not (script and script in name), "noto" not in name, sum(word in name for word in _SLANTED), path


@functools.lru_cache(maxsize=1)
def system_fonts() -> tuple[str, ...]:
    """Return the files of the fonts on this machine, where fontconfig and the system keep them."""
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(findSystemFonts()))


@functools.cache
def characters_of(path: str) -> frozenset[int]:
    """Return the code points that a font file has outlines of; none of a file that cannot be read."""
    from fontTools.ttLib import TTFont

    if Path(path).stem.lower().replace("-", "").startswith(_BLANK):
        return frozenset()
    try:
        with TTFont(io.BytesIO(files.read_bytes(path)), fontNumber=0, lazy=True) as font:
            if any(table in font for table in COLOURED):
                return frozenset()
            return frozenset(font.getBestCmap() or {})
    except Exception:  # fonts of a system may be of any kind, and damaged: another one is taken
        return frozenset()


@functools.lru_cache(maxsize=1)
def default_path() -> str:
    """Return the file of DejaVu Sans."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


# ------------------------------------------------------------------------------------------------------ one font file


@functools.lru_cache(maxsize=64)
def _font_file(path: str, size: float | int) -> PIL.ImageFont.FreeTypeFont:
    return PIL.ImageFont.truetype(path, size)


def _measured(run: Run, size: float | int, *args: Any, **kwargs: Any) -> float:
    return _font_file(run.path, size).getlength(run.text, *args, **kwargs)


def _as_text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("latin-1")


@functools.lru_cache(maxsize=64)
def _family(path: str) -> str:
    """Return the family of a font file, known to matplotlib from now on."""
    from matplotlib.font_manager import FontProperties, fontManager

    if path not in {font.fname for font in fontManager.ttflist}:
        fontManager.addfont(path)
    return FontProperties(fname=path).get_name()
