"""Images with captions in tar archives, as WebDataset has them: for sets of too many files.

    000000.tar    key.jpg key.txt    other.png other.json ...

What names have before their first dot belongs together: an image, and a text (`txt`) or an object with a "caption"
(`json`). Archives are not compressed: their headers are read once, and images from where they lie, in any order, so
that a run resumes as with files. Archives called train-*.tar, val-*.tar and test-*.tar are splits.
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from vidi import files, formats
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.captions_jsonl import CAPTION, first_of, texts_in
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members, split_named
from vidi.formats import is_hidden

NEEDS = "shards NAME.tar with files KEY.jpg and KEY.txt (or KEY.json with a caption), as WebDataset has them"
IMAGES = tuple(suffix.removeprefix(".") for suffix in formats.IMAGE_SUFFIXES)
Parts = Mapping[str, tuple[int, int]]
"""What a key has by the end of its name: the place of the first byte, and how many there are."""


class Stored(NamedTuple):
    """An image with one of its texts."""

    key: str
    shard: int
    offset: int
    size: int
    caption: str


class Shards(ImageSet):
    """The pairs of some archives; an image with several texts comes several times, with one `image_id`."""

    def __init__(self, root: Path, shards: Sequence[Path], *, part: Part = "all", on_fault: OnFault = "raise") -> None:
        log = FaultLog(root, on_fault)
        self._shards = tuple(shards)
        rows = [row for shard in range(len(shards)) for row in self._rows(shard, log)]
        log.settle(len(rows))
        super().__init__(root, log)
        names = list(dict.fromkeys(row.key for row in rows))
        member = dict(zip(names, part_members(names, part), strict=True))
        chosen = [row for row in rows if member[row.key]]
        self.kinds = frozenset({"image_id", "caption"})
        self._places = np.array([row[1:4] for row in chosen], dtype=np.int64).reshape(-1, 3)
        self._keys = Names([row.key for row in chosen])
        self._captions = Names([row.caption for row in chosen])
        numbers: dict[tuple[int, int], int] = {}
        self._numbers = np.array([numbers.setdefault(row[1:3], len(numbers)) for row in chosen], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._captions)

    def path(self, index: int) -> Path:
        return self._shards[int(self._places[index, 0])]

    def name(self, index: int) -> str:
        return f"{self.path(index)}, {self._keys[index]}"

    def image(self, index: int) -> tv_tensors.Image:
        _, offset, size = self._places[index].tolist()
        data = files.read_part(self.path(index), offset, size)
        return tv_tensors.Image(files.decode_image(self.name(index), data))

    def target(self, index: int) -> Target:
        target = {"image_id": torch.tensor(self._numbers[index]), "caption": self._captions[index]}
        return {kind: value for kind, value in target.items() if kind in self.kinds}

    def _rows(self, shard: int, log: FaultLog) -> Iterator[Stored]:
        path = self._shards[shard]
        try:
            keys = _by_key(path)
        except ValueError as error:
            log.unreadable(path, error)
            return
        for key, parts in keys.items():
            ends = [end for end in parts if end.lower() in IMAGES]
            if len(ends) != 1:
                log.fault(path, key, f"expected one image ({', '.join(IMAGES)}), got {', '.join(parts)}")
                continue
            try:
                texts = _texts_of(path, parts)
            except ValueError as error:
                log.fault(path, key, str(error))
                continue
            yield from (Stored(key, shard, *parts[ends[0]], text) for text in texts)


def _by_key(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Return what an archive holds, by key and by the end of the name."""
    keys: dict[str, dict[str, tuple[int, int]]] = {}
    for name, offset, size in files.tar_members(path):
        folder, _, last = name.rpartition("/")
        if not is_hidden(last):
            key, _, end = last.partition(".")
            keys.setdefault(f"{folder}/{key}" if folder else key, {})[end] = (offset, size)
    return keys


def _texts_of(path: Path, parts: Parts) -> list[str]:
    """Return the texts of a key; ValueError if it has none that can be used."""
    end = next((end for end in ("txt", "json") if end in parts), None)
    if end is None:
        raise ValueError(f"expected a text (txt, json), got {', '.join(parts)}")
    text = files.read_part(path, *parts[end]).decode()  # a UnicodeDecodeError is a ValueError
    if end == "txt":
        return texts_in(text.strip())
    row = json.loads(text)
    return texts_in(first_of(row, CAPTION) if isinstance(row, dict) else row)


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise an archive, or a folder of them, whose first one holds an image with a text."""
    found = [root] if root.suffix == ".tar" and root.is_file() else sorted(root.glob("*.tar"))
    if not found or not _has_pairs(found[0]):
        return None
    shards: dict[str, list[Path]] = {}
    for path in found:
        shards.setdefault(split_named(path.stem) or UNSPLIT, []).append(path)
    if UNSPLIT in shards and len(shards) > 1:
        raise ValueError(f"{root}: {shards[UNSPLIT][0].name} is named for no split, others are: name all or none")
    sources = {split: functools.partial(Shards, root, paths) for split, paths in shards.items()}
    where = f"{len(found)} tar archive{'s' if len(found) > 1 else ''}"
    return Layout(root, f"{where} with images and texts, as WebDataset has them", sources, stratified=False)


def _has_pairs(path: Path) -> bool:
    try:
        keys = _by_key(path)
    except ValueError:
        return False
    return any(
        {"txt", "json"} & parts.keys() and any(end.lower() in IMAGES for end in parts) for parts in keys.values()
    )
