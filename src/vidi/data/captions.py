"""Texts that belong to pictures: what a tokenizer does not take, and what the captions of a data set are."""

import html
from collections.abc import Iterator
from typing import Any

SPECIAL = ("<start_of_text>", "<end_of_text>")
REFUSED = (*SPECIAL, "<|startoftext|>", "<|endoftext|>")  # the names of open_clip, and those of CLIP's first release


def unescaped(text: str) -> str:
    """Return a text with its html entities as characters, also those that were escaped twice."""
    return html.unescape(html.unescape(text))


def spelt_token(text: str) -> str | None:
    """Return the special token that a text spells, in capitals, small letters or html entities; None without one."""
    plain = unescaped(text).lower()
    return next((token for token in REFUSED if token in plain), None)


def captions_of(dataset: Any, most: int) -> Iterator[str]:
    """Yield the captions of a data set, at most so many; no picture is decoded where the set can do without."""
    narrowed = dataset.giving(("caption",)) if hasattr(dataset, "giving") else dataset
    target = getattr(narrowed, "target", None) or (lambda index: narrowed[index][1])
    for index in range(min(len(narrowed), most)):
        yield target(index)["caption"]
