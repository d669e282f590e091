"""Pairs of images and texts out of web pages: the alternative texts of `<img>` (notes 7.3).

    page    -> (source, alt) of each image     `images_of`
    filters -> what may be a caption            `kept`

Jia et al. 2021, 2102.05918 (ALIGN), section 3, drop little: images that are small or of odd shape, texts that stand at
many images, and those that are too short or too long; Radford et al. 2021 besides keep what a list of queries names.
Here a text is kept by its own words and by how often it comes; pixels are looked at by whoever has fetched them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin

from vidi.data.captions import spelt_token

FILE_NAME = re.compile(r"\S*\.(jpe?g|png|gif|webp|bmp|tiff?|svg)", re.IGNORECASE)
CAMERA_NAME = re.compile(r"(img|dsc|dscn|p|pict|image|photo|screenshot)?[\s_-]*\d{3,}", re.IGNORECASE)
ADDRESS = re.compile(r"(https?://|www\.)\S+", re.IGNORECASE)
LETTER = re.compile(r"[^\W\d_]")
NOTHING = frozenset({"image", "img", "photo", "picture", "logo", "icon", "banner", "thumbnail", "spacer", "avatar"})


class AltText(NamedTuple):
    """An image of a page, and what stands for it where it cannot be seen."""

    source: str
    alt: str
    size: tuple[int, int] | None = None  # (H, W) in pixels, where the page says both


@dataclass(frozen=True)
class AltFilter:
    """What an alternative text must be to be a caption.

    Attributes:
        words: least and most words.
        letters: most characters.
        smallest: least pixels of the shorter side, where the page tells the size.
        aspect: most of the longer side over the shorter one, where the page tells the size.
        repeated: most images with the same text; more are decoration.
    """

    words: tuple[int, int] = (3, 20)
    letters: int = 300
    smallest: int = 64
    aspect: float = 3.0
    repeated: int = 10

    def refusal(self, pair: AltText) -> str | None:
        """Return why a pair is not kept by itself; None if it is."""
        plain = ADDRESS.sub(" ", FILE_NAME.sub(" ", pair.alt))
        words = [word for word in plain.split() if LETTER.search(word)]
        if not words or CAMERA_NAME.fullmatch(plain.strip()) or {word.lower() for word in words} <= NOTHING:
            return "says nothing"
        if not self.words[0] <= len(words) <= self.words[1] or len(pair.alt) > self.letters:
            return "is too short or too long"
        if spelt_token(pair.alt) is not None:
            return "spells a special token"
        if pair.source.startswith("data:") or not pair.source:
            return "has no file of its own"
        if pair.size is not None and (min(pair.size) < self.smallest or max(pair.size) > self.aspect * min(pair.size)):
            return "is small or of odd shape"
        return None


def images_of(page: str, base: str = "") -> Iterator[AltText]:
    """Yield the images of a page that have an alternative text, in order; addresses are made absolute.

    Args:
        page: HTML, also such as browsers only just understand.
        base: the address of the page; a `<base href>` in it wins.
    """
    reader = _Reader(base)
    reader.feed(page)
    reader.close()
    yield from reader.found


def kept(pairs: Iterable[AltText], rule: AltFilter | None = None) -> list[AltText]:
    """Return the pairs that may train, each image and text once, in order; `rule` is the default filter if None."""
    rule = rule or AltFilter()
    distinct = list(dict.fromkeys(pairs))
    times = Counter(pair.alt.lower() for pair in distinct)
    return [pair for pair in distinct if rule.refusal(pair) is None and times[pair.alt.lower()] <= rule.repeated]


class _Reader(HTMLParser):
    """Collects images; entities of attributes are resolved by the parser."""

    def __init__(self, base: str):
        super().__init__()
        self.base = base
        self.found: list[AltText] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in reversed(attrs)}  # of an attribute given twice the first counts
        if tag == "base" and given.get("href"):
            self.base = urljoin(self.base, given["href"])
        alt = " ".join(given.get("alt", "").split())
        if tag == "img" and alt:
            source = given.get("src", "").strip()
            sides = [given.get(side, "").removesuffix("px") for side in ("height", "width")]
            size = (int(sides[0]), int(sides[1])) if all(side.isascii() and side.isdigit() for side in sides) else None
            self.found.append(AltText(urljoin(self.base, source) if source else "", alt, size))
