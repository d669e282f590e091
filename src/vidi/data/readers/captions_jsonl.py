"""Images with captions: a text file with a JSON object a line.

    {"image": "photos/1.jpg", "caption": "two cats on a sofa"}

The image is a path from the folder of the file, under "image", "file_name", "filepath" or "path"; the text is under
"caption", "captions", "text" or "label", one text or a list of several, each of which makes a pair with the image. A
line without an image has an "id", and the images of that number lie in numpy archives beside it, with arrays `images`
(uint8 N H W 3) and `ids`. Files called train.jsonl, val.jsonl and test.jsonl are splits.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from vidi import files
from vidi.data.captions import spelt_token
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.splits import UNSPLIT, Layout, Part, part_members, split_named

NEEDS = 'a .jsonl with lines {"image": path, "caption": text}, or train.jsonl, val.jsonl, test.jsonl'
IMAGE = ("image", "file_name", "filepath", "path")
CAPTION = ("caption", "captions", "text", "label")


class Archive(NamedTuple):
    """Numbered images in one file."""

    path: Path
    images: np.ndarray  # uint8 N H W 3
    rows: Mapping[int, int]  # by id


class Pair(NamedTuple):
    """An image, as its file or as an archive and a row of it, and a text."""

    image: str
    archive: int  # -1: a file
    row: int
    caption: str


class CaptionedImages(ImageSet):
    """Pairs of an image and a text; an image with several texts comes several times, with one `image_id`."""

    def __init__(self, path: Path, *, part: Part = "all", on_fault: OnFault = "raise") -> None:
        log = FaultLog(path.parent, on_fault)
        self._archives = tuple(_archives(path.parent))
        pairs = [pair for line, row in _lines(path, log) for pair in self._pairs(path, line, row, log)]
        log.settle(len(pairs))
        super().__init__(path.parent, log)
        names = list(dict.fromkeys(pair.image for pair in pairs))  # all texts of an image are in one split
        member = dict(zip(names, part_members(names, part), strict=True))
        chosen = [pair for pair in pairs if member[pair.image]]
        self.kinds = frozenset({"image_id", "caption"})
        self._images = Names([pair.image for pair in chosen])
        self._places = np.array([(pair.archive, pair.row) for pair in chosen], dtype=np.int64).reshape(-1, 2)
        self._captions = Names([pair.caption for pair in chosen])
        numbers: dict[tuple[str, int], int] = {}
        self._numbers = np.array([numbers.setdefault(pair[:2], len(numbers)) for pair in chosen], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._captions)

    def path(self, index: int) -> Path:
        archive = int(self._places[index, 0])
        return self._archives[archive].path if archive >= 0 else self.root / self._images[index]

    def name(self, index: int) -> str:
        row = int(self._places[index, 1])
        return f"{self.path(index)}, row {row}" if row >= 0 else str(self.path(index))

    def image(self, index: int) -> tv_tensors.Image:
        archive, row = self._places[index].tolist()
        if archive < 0:
            return super().image(index)
        return tv_tensors.Image(torch.tensor(self._archives[archive].images[row]).permute(2, 0, 1).contiguous())

    def target(self, index: int) -> Target:
        target = {"image_id": torch.tensor(self._numbers[index]), "caption": self._captions[index]}
        return {kind: value for kind, value in target.items() if kind in self.kinds}

    def _pairs(self, path: Path, line: int, row: Mapping[str, Any], log: FaultLog) -> Iterator[Pair]:
        """Yield the pairs of a line, and log what is wrong with it."""
        where = f"line {line}"
        try:
            captions = texts_in(first_of(row, CAPTION))
        except ValueError as error:
            log.fault(path, where, str(error))
            return
        places = self._images_of(row)
        if not places:
            log.fault(path, where, f"expected a file under {' or '.join(IMAGE)}, or an id that an archive has")
        for image, archive, number in places:
            if archive < 0 and not (path.parent / image).is_file():
                log.fault(path, where, f"there is no image {image}")
            else:
                yield from (Pair(image, archive, number, caption) for caption in captions)

    def _images_of(self, row: Mapping[str, Any]) -> list[tuple[str, int, int]]:
        """Return the images of a line: a name that splits go by, an archive or -1, and a row of that."""
        image, number = first_of(row, IMAGE), row.get("id")
        if isinstance(image, str) and image:
            return [(image, -1, -1)]
        if not isinstance(number, int):
            return []
        found = enumerate(archive.rows.get(number) for archive in self._archives)
        return [(str(number), place, at) for place, at in found if at is not None]


def first_of(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return what an object has under the first of some keys that it has; None without any."""
    return next((row[key] for key in keys if key in row), None)


def texts_in(given: Any) -> list[str]:
    """Return the texts of an image, one or several; ValueError for what is none, or spells a special token."""
    captions = given if isinstance(given, list) else [given]
    if not captions or not all(isinstance(caption, str) for caption in captions):
        raise ValueError(f"expected a text under {' or '.join(CAPTION)}, got {given!r}")
    token = next(filter(None, map(spelt_token, captions)), None)
    if token is not None:
        raise ValueError(f"the text spells the special token {token}")
    return captions


def _lines(path: Path, log: FaultLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with the numbers of their lines, from 1; log lines that are none."""
    for number, line in enumerate(files.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            log.fault(path, f"line {number}", f"is no JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            log.fault(path, f"line {number}", f"expected a JSON object, got {line[:60]}")


def _archives(folder: Path) -> Iterator[Archive]:
    """Yield the numpy archives of a folder that hold numbered images.

    Raises:
        ValueError: if their arrays do not fit each other.
    """
    for path in sorted(folder.glob("*.npz")):
        if {"images", "ids"} <= files.npz_names(path):
            arrays = files.read_npz(path)
            images, ids = arrays["images"], arrays["ids"]
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(ids) != len(images):
                received = f"images of {images.dtype} {images.shape} and {len(ids)} ids"
                raise ValueError(f"{path}: {received}, expected uint8 N H W 3 and N")
            yield Archive(path, images, {int(number): row for row, number in enumerate(ids)})


# ------------------------------------------------------------------------------------------------------- recognition


def find_layout(root: Path) -> Layout | None:
    """Recognise a .jsonl of captions, or a folder with one, or with one for each split."""
    candidates = [root] if root.suffix == ".jsonl" and root.is_file() else sorted(root.glob("*.jsonl"))
    found = [path for path in candidates if _has_captions(path)]
    if not found:
        return None
    splits: dict[str, Path] = {}
    for path in found if root.is_dir() else ():
        split = split_named(path.stem)
        if split is not None:
            if split in splits:
                raise ValueError(f"{root}: {splits[split].name} and {path.name} are both {split}: name one of them")
            splits[split] = path
    if not splits and len(found) > 1:
        raise ValueError(f"{root}: several files of captions ({', '.join(p.name for p in found)}): name one of them")
    chosen = splits or {UNSPLIT: found[0]}
    sources = {split: functools.partial(CaptionedImages, path) for split, path in chosen.items()}
    where = ", ".join(path.name for path in chosen.values())
    return Layout(root, f"{where} {'has' if len(chosen) == 1 else 'have'} captions", sources, stratified=False)


def _has_captions(path: Path) -> bool:
    """Tell by its first line whether a file is one of captions."""
    line = next(filter(str.strip, files.read_text(path).split("\n")), "")
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and first_of(row, CAPTION) is not None and first_of(row, (*IMAGE, "id")) is not None
