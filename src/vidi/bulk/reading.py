"""From stored pictures to batches, in loader workers beside the network.

    listing, entries to do  -> blocks of neighbours, a video is one   `Blocks`, shared out to the workers
    block                   -> decoded, placed                        `Reader`
                            -> batches of equal canvas                `Read`, the last one of a piece says so

A piece is what becomes a part on the disk: a block, or so many frames of a video. All batches of a piece come from one
worker, and hold nothing of another piece; so a worker keeps no more pictures than some batches, and a resumed run makes
the batches that the killed one would have made.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vidi import files
from vidi.bulk.sources import ARCHIVE, CAMERA, MEMBER, PICTURE, VIDEO, Listing, frame_key, key_of
from vidi.bulk.videos import Frame, frames_of
from vidi.data.loading import prepare_worker
from vidi.keys import typed
from vidi.model import identity
from vidi.preprocess import Placement, Prepares, Preprocess, Sample

DRAWN = 32
"""The most pictures of a part where they are kept to be drawn on."""

WAITING = 4
"""Batches of pictures that wait in a worker for others of their canvas."""

OF_CAMERA = 10.0
"""Seconds after which what a camera showed is a part."""


@dataclass(frozen=True)
class Entry:
    """A picture on its way, and where it comes from."""

    source: str
    name: str  # of files that are written for it, without suffix
    key: int
    index: int  # of the listing
    frame: int | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None  # H, W; None for what could not be read
    error: str | None = None
    image: Tensor | None = None  # 3 H W, where it is asked for
    target: Mapping[str, Any] = field(default_factory=dict)  # what is known of it besides, where it is asked for


class Read(NamedTuple):
    """Some entries of a piece: with a batch of all of them, or without."""

    piece: tuple[int, int]  # the block, and the number of the piece in it
    entries: list[Entry]
    batch: Any | None
    ends: bool  # whether the piece is complete
    also_done: tuple[int, ...] = ()  # keys without a row


@dataclass(frozen=True)
class Reader:
    """How an entry is read.

    Attributes:
        preprocess: of the model.
        samples: from what the model's `predict` takes to samples; None: pictures of which nothing else is known.
        reduced: whether large JPEGs are decoded at a reduced scale.
        keeps: whether pictures are handed on as they were read: to be drawn on, or cut into tiles.
        places: whether they are placed on a canvas.
        every: of the frames of a video only each so-manieth.
        piece: how many pictures make a part.
    """

    preprocess: Prepares
    samples: Callable[[Any], Iterator[Sample]] | None = None
    reduced: bool = False
    keeps: bool = False
    places: bool = True
    every: int = 1
    piece: int = 256

    def picture(self, listing: Listing, index: int) -> tuple[Sample, Any]:
        """Read a picture, and place it; ValueError or OSError for what cannot be."""
        source, kind = listing.sources[index], int(listing.kinds[index])
        if kind == ARCHIVE:
            files.tar_members(source)
            raise ValueError(f"{source}: could not be read before")
        if kind == PICTURE and self.samples is not None:
            (sample,) = self.samples([Path(source)])
            return sample, self.placed(sample)
        number, offset, size = listing.places[index].tolist()
        data = files.read_part(listing.archives[number], offset, size) if kind == MEMBER else files.read_bytes(source)
        if self.reduced and isinstance(self.preprocess, Preprocess):
            pixels, whole = files.decode_reduced(source, data, self.preprocess.resized)
            return (pixels, {}), placed_as(self.preprocess, pixels, whole)
        return self.of_pixels(files.decode_image(source, data))

    def of_pixels(self, pixels: Tensor) -> tuple[Sample, Any]:
        """Place a picture that is decoded."""
        sample: Sample = (pixels, {})
        if self.samples is not None:
            (sample,) = self.samples([pixels])
        return sample, self.placed(sample)

    def placed(self, sample: Sample) -> Any:
        """Place a sample; None where none is to be placed."""
        image, known = sample
        return self.preprocess.place(image, typed(known, image.shape[-2:])) if self.places else None


def placed_as(preprocess: Preprocess, pixels: Tensor, whole: tuple[int, int]) -> tuple[Tensor, Any, Placement]:
    """Place a picture that was decoded at a reduced scale where the whole one, of a size (H, W), would be placed."""
    exact = replace(preprocess, exact=preprocess.resized(whole), shorter=None, longest=None)
    image, target, placement = exact.place(pixels, {})
    return image, target, replace(placement, original=whole)


@dataclass(frozen=True, eq=False)
class Blocks(IterableDataset[Read]):
    """What one process has to do, shared out to its workers block by block.

    Args:
        listing: of all there is.
        todo: the entries of this process that are not done.
        done: the keys of all that is done, in rising order, for the frames of videos.
        reader: how they are read.
        batch_size: the most pictures of a batch.
    """

    listing: Listing
    todo: Int64[np.ndarray, " N"]
    done: UInt64[np.ndarray, " D"]
    reader: Reader
    batch_size: int = 16

    def blocks(self) -> list[Int64[np.ndarray, " n"]]:
        """Return the entries of each block."""
        kinds = self.listing.kinds[self.todo]
        still = self.todo[(kinds != VIDEO) & (kinds != CAMERA)]
        moving = self.todo[(kinds == VIDEO) | (kinds == CAMERA)]
        size = self.reader.piece
        return [still[start : start + size] for start in range(0, len(still), size)] + [*moving[:, None]]

    def loader(self, workers: int) -> DataLoader[Read]:
        """Return what reads them in so many processes beside this one, at most one a block."""
        workers = min(workers, len(self.blocks()))
        return DataLoader(
            self,
            batch_size=None,
            collate_fn=identity,  # what torch does without turns tuples into lists
            num_workers=workers,
            worker_init_fn=prepare_worker if workers else None,
            in_order=workers == 0,
        )

    def __iter__(self) -> Iterator[Read]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        blocks = self.blocks()
        for number in range(first, len(blocks), step):
            entries = blocks[number]
            if self.listing.kinds[entries[0]] in (VIDEO, CAMERA):
                yield from self._video(number, int(entries[0]))
            else:
                yield from self._pictures(number, entries)

    def _pictures(self, block: int, entries: Int64[np.ndarray, " n"]) -> Iterator[Read]:
        gathering = _Gathering((block, 0), self.reader, self.batch_size)
        listing = self.listing
        for index in entries.tolist():
            entry = Entry(listing.sources[index], listing.name(index), int(listing.keys[index]), index)
            yield from gathering.take(entry, lambda index=index: self.reader.picture(listing, index))
        yield from gathering.end()

    def _video(self, block: int, index: int) -> Iterator[Read]:
        """Yield the frames of a video that are not done, in pieces; what breaks off ends with an error."""
        source, name = self.listing.sources[index], self.listing.name(index)
        is_camera = bool(self.listing.kinds[index] == CAMERA)
        video = int(self.listing.keys[index])
        if is_camera:  # each time it shows something else
            source = f"{source} {time.strftime('%Y-%m-%dT%H:%M:%S')}"
            name, video = source.replace(":", "").lstrip("/").replace(" ", "/"), key_of(source)
        pieces, begun, number = 0, time.monotonic(), 0
        gathering = _Gathering((block, pieces), self.reader, self.batch_size)
        try:
            for frame in frames_of(self.listing.sources[index], camera=is_camera, every=self.reader.every):
                key, number = frame_key(video, frame.number), frame.number + 1
                if self._is_done(key):
                    continue
                entry = Entry(source, f"{name}/{frame.number:06d}", key, index, frame.number, round(frame.seconds, 6))
                yield from gathering.take(entry, lambda frame=frame: self._of_frame(frame))
                if gathering.count >= self.reader.piece or (is_camera and time.monotonic() - begun > OF_CAMERA):
                    yield from gathering.end()
                    pieces, begun = pieces + 1, time.monotonic()
                    gathering = _Gathering((block, pieces), self.reader, self.batch_size)
        except ValueError as error:
            broken = Entry(source, f"{name}/{number:06d}", frame_key(video, number), index, number, error=str(error))
            gathering.ready.append(broken)
        yield from gathering.end(also_done=(video,))

    def _of_frame(self, frame: Frame) -> tuple[Sample, Any]:
        return self.reader.of_pixels(frame.pixels)

    def _is_done(self, key: int) -> bool:
        place = int(np.searchsorted(self.done, np.uint64(key)))
        return place < len(self.done) and int(self.done[place]) == key


class _Gathering:
    """The batches of a piece in the making."""

    def __init__(self, piece: tuple[int, int], reader: Reader, batch_size: int):
        self.piece, self.reader, self.batch_size = piece, reader, batch_size
        self.waiting: dict[tuple[int, ...], list[tuple[Entry, Any]]] = {}
        self.ready: list[Entry] = []  # without a place on a canvas: broken, or to be cut into tiles
        self.count = 0

    def take(self, entry: Entry, read: Callable[[], tuple[Sample, Any]]) -> Iterator[Read]:
        """Read an entry, and yield what has become full by it."""
        self.count += 1
        try:
            (image, target), placed = read()
        except (ValueError, OSError) as error:
            self.ready.append(replace(entry, error=str(error)))
            return
        size = (image.shape[-2], image.shape[-1])
        if isinstance(placed, tuple) and isinstance(placed[2], Placement):
            size = placed[2].original
        entry = replace(entry, size=size)
        if self.reader.keeps:
            entry = replace(entry, image=image, target=target)
        if placed is None:
            yield Read(self.piece, [entry], None, ends=False)
            return
        canvas = tuple(placed[0].shape)
        self.waiting.setdefault(canvas, []).append((entry, placed))
        if len(self.waiting[canvas]) == self.batch_size:
            yield self._batch(canvas)
        elif sum(map(len, self.waiting.values())) >= WAITING * self.batch_size:
            yield self._batch(max(self.waiting, key=lambda shape: len(self.waiting[shape])))

    def end(self, also_done: tuple[int, ...] = ()) -> Iterator[Read]:
        """Yield what is left."""
        for canvas in list(self.waiting):
            yield self._batch(canvas)
        yield Read(self.piece, self.ready, None, True, also_done)

    def _batch(self, canvas: tuple[int, ...]) -> Read:
        entries, placed = zip(*self.waiting.pop(canvas), strict=True)
        return Read(self.piece, list(entries), self.reader.preprocess.collate(list(placed)), ends=False)
