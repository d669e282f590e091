"""Predicting on as many pictures as there are: what one process does of it, and what is left when it is killed.

    listing -> own share, less what is done -> workers read batches -> network -> results -> rows -> parts
                                                    all done: files of all rows, by the process that ends last

Nothing is shared by the processes but the folder: which pictures are whose, and which are done, is read off the listing
and the parts. So there may be other processes at a resumption, on one machine or on several that see one folder. No
more is held than the pieces in the making, and 64 bits of each picture.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import PIL.Image
import torch

from vidi import files
from vidi.bulk.forms import Form, Save, form_of, head_of
from vidi.bulk.parts import Facts, Parts, Row, merged
from vidi.bulk.reading import DRAWN, Blocks, Entry, Read, Reader
from vidi.bulk.sources import CAMERA, VIDEO, Listing
from vidi.bulk.videos import canvas_for, join_pieces, write_piece
from vidi.catalog.listed import UsageError
from vidi.embedding.fingerprint import fingerprint
from vidi.model import Predicts, evaluating
from vidi.nn.inference import fuse_for_inference
from vidi.ops.drawing import as_picture, legible
from vidi.preprocess import Preprocess
from vidi.results.result import settle

FAILURES = 64
"""Pictures in a row on which the network fails, from which on it is not the pictures' fault."""


@dataclass(frozen=True)
class Asked:
    """How is predicted, and what becomes of it.

    Attributes:
        save: the form of results.
        batch_size: the most pictures that go through the network at once.
        workers: processes that read beside it.
        known: what the model's `samples` takes besides, such as the focal length.
        tile, overlap: as for `model.predict`.
        reduced: decode JPEGs more than twice as large as needed at a reduced scale.
        draw: also draw results on pictures and videos.
        every: of the frames of a video only each so-manieth.
        part: pictures that are written together: what a kill may cost each worker.
    """

    save: Save
    batch_size: int = 16
    workers: int = 0
    known: Mapping[str, Any] = field(default_factory=dict)
    tile: int | None = None
    overlap: float | int = 0.25
    reduced: bool = False
    draw: bool = False
    every: int = 1
    part: int = 256


class Hears(Protocol):
    """Hears of a long prediction."""

    def __call__(self, done: int, total: int, error: str | None = None, /) -> None: ...


class Outcome(NamedTuple):
    """What one process did.

    Attributes:
        before: of its share, entries that were done before.
        pictures: that have a row now, and had none before; frames of videos among them.
        broken: of those, how many could not be read.
        left: entries of all processes that are not done.
        saved: what was written when all was done.
    """

    before: int
    pictures: int
    broken: int
    left: int
    saved: list[Path]


def predict_many(
    model: Predicts,
    listing: Listing,
    out: Path,
    asked: Asked,
    *,
    process: int = 0,
    processes: int = 1,
    hears: Hears = lambda done, total, error=None, /: None,
) -> Outcome:
    """Predict on what is listed and not done, and write the files of all results when nothing is left.

    A KeyboardInterrupt leaves parts of all that was predicted; what a camera showed by then is complete.

    Args:
        model: on the device on which it is to run.
        listing: of all processes.
        out: the folder of the results; its parts say what is done.
        asked: how.
        process, processes: which of how many this is.
        hears: after each batch, how many entries of this process are done, and of each error.

    Raises:
        UsageError: if the folder holds other results, another process works as this one, or what is asked does not go
            together.
        ValueError: for results without such a form.
    """
    folder = out / asked.save
    form = form_of(asked.save, folder, listing)
    reader = _reader(model, asked)
    _check_settings(folder / "settings.json", model, asked)
    parts = Parts(folder / "parts", process)
    with parts.held():
        done, facts = parts.done()
        own = listing.share(process, processes)
        todo = own[~np.isin(listing.keys[own], done)]
        job = _Job(model, form, parts, asked, out, listing, facts)
        blocks = Blocks(listing, todo, done, reader, asked.batch_size)
        try:
            job.run(blocks.loader(asked.workers), len(todo), hears)
        except KeyboardInterrupt:
            if not (listing.kinds[todo] == CAMERA).any():
                raise
        done, facts = parts.done()
        left = int((~np.isin(listing.keys, done) & (listing.kinds != CAMERA)).sum())
        saved = [] if left else [*form.write(parts.rows, facts), *_joined(parts.folder / "drawn", out)]
    return Outcome(len(own) - len(todo), job.pictures, job.broken, left, saved)


def _reader(model: Predicts, asked: Asked) -> Reader:
    """Say how pictures are read for a model."""
    kept = model.preprocess
    is_plain = type(model).samples is Predicts.samples and type(model).read is Predicts.read
    if asked.reduced:
        against = "tiles" if asked.tile is not None else "drawn pictures" if asked.draw else None
        if against is not None:
            raise UsageError(f"pictures are decoded at a reduced scale for small canvases, not for {against}")
        if not (is_plain and isinstance(kept, Preprocess)) or kept.paired or kept.aligned:
            raise UsageError(f"a {type(model).__name__} reads pictures in its own way, not at a reduced scale")
    samples = None if is_plain else functools.partial(model.samples, **asked.known)
    tiled = asked.tile is not None
    part = min(asked.part, DRAWN) if asked.draw else asked.part
    return Reader(kept, samples, asked.reduced, asked.draw or tiled, not tiled, asked.every, part)


def _check_settings(path: Path, model: Predicts, asked: Asked) -> None:
    """Note what results in a folder are of; UsageError if it holds results of something else."""
    options = {"tile": asked.tile, "overlap": asked.overlap, "reduced": asked.reduced, "every": asked.every}
    settings = {"model": fingerprint(model), "threshold": model.shown_from, **options, **asked.known}
    if not path.is_file():
        files.write_json(path, settings)
    before = files.read_json(path)
    differing = [key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key)]
    if differing:
        told = "; ".join(f"{key} {before.get(key)}, not {settings.get(key)}" for key in sorted(differing))
        raise UsageError(f"{path.parent} holds results by other settings ({told}); expected another folder")


class _Piece:
    """Rows that become a part together."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Row]] = []
        self.facts = Facts()
        self.video: tuple[str, int] | None = None  # its name and its first frame here
        self.drawn: list[tuple[float, PIL.Image.Image]] = []


class _Job:
    """The work of one process."""

    def __init__(
        self, model: Predicts, form: Form, parts: Parts, asked: Asked, out: Path, listing: Listing, facts: Facts
    ):
        self.model, self.form, self.parts, self.asked, self.out, self.listing = model, form, parts, asked, out, listing
        self.canvases: dict[str, Any] = dict(facts.get("canvas", {}))
        self.pieces: dict[tuple[int, int], _Piece] = {}
        self.complete: dict[tuple[int, int], tuple[int, ...]] = {}  # pieces that are to be written, and keys besides
        self.pictures, self.broken, self.failures, self.finished = 0, 0, 0, 0

    def run(self, reads: Any, total: int, hears: Hears) -> None:
        """Predict on all that is read."""
        network = fuse_for_inference(self.model) if self.model.by_one_network else self.model
        try:
            with evaluating(network), torch.no_grad():
                for read in reads:
                    self._take(network, read, lambda error: hears(self.finished, total, error))
                    hears(self.finished, total)
        except KeyboardInterrupt:
            self.complete = dict.fromkeys(self.pieces, ()) | self.complete
            self._commit()
            raise
        self._commit()

    def _take(self, network: Predicts, read: Read, tell: Callable[[str], None]) -> None:
        piece = self.pieces.setdefault(read.piece, _Piece())
        rows, found, drawn = [], [], []
        for entry, result in zip(read.entries, self._results(network, read), strict=True):
            if isinstance(result, Exception):
                self.broken += 1
                told = str(result) if entry.source in str(result) else f"{entry.source}: {result}"
                tell(told)
                rows.append((entry.key, head_of(entry) | {"error": told}))
                continue
            shown = result
            if hasattr(result, "above"):
                settle(result, threshold=self.model.shown_from)
                shown = result.above()
            rows.append((entry.key, head_of(entry) | self.form.row(entry, shown)))
            found.append(shown)
            if self.asked.draw:
                drawn += self._draw(entry, result, piece)
        piece.facts = merged(piece.facts, self.form.facts(found))
        piece.drawn += drawn
        piece.rows.extend(rows)  # keys and rows in one step: an interrupt finds both or none
        self.pictures += len(rows)
        if read.ends:
            self.complete[read.piece] = read.also_done
        if self.failures == 0:  # else it may be none of the pictures' fault, and they be done again
            self._commit()
        is_video = self.listing.kinds[read.entries[0].index] in (VIDEO, CAMERA) if read.entries else False
        self.finished += len(read.also_done) + (0 if is_video else len(rows))

    def _results(self, network: Predicts, read: Read) -> Sequence[Any]:
        """Return a result, or an error, for each entry."""
        if read.batch is None:
            return [ValueError(e.error) if e.error is not None else self._tiled(network, e) for e in read.entries]
        try:
            found = network.predict_batch(read.batch)
        except (ValueError, RuntimeError) as error:
            self._note_failure(error)
            if len(read.entries) == 1:
                return [error]
            alone = (
                read._replace(entries=[entry], batch=read.batch.only(row)) for row, entry in enumerate(read.entries)
            )
            return [result for single in alone for result in self._results(network, single)]
        self.failures = 0
        return found

    def _tiled(self, network: Predicts, entry: Entry) -> Any:
        try:
            (result,) = network.predict_samples(
                [(entry.image, entry.target)],  # type: ignore[list-item]  # kept by the reader
                batch_size=self.asked.batch_size,
                tile=self.asked.tile,
                overlap=self.asked.overlap,
            )
        except (ValueError, RuntimeError) as error:
            self._note_failure(error)
            return error
        self.failures = 0
        return result

    def _note_failure(self, error: Exception) -> None:
        """Raise an error that is none of a picture's."""
        self.failures += 1
        if isinstance(error, torch.OutOfMemoryError) or self.failures > FAILURES:
            raise error

    def _draw(self, entry: Entry, result: Any, piece: _Piece) -> list[tuple[float, PIL.Image.Image]]:
        """Write a picture with its result, or return it as a frame of a video."""
        picture = result.draw(entry.image)
        if entry.frame is None:
            suffix = Path(entry.source).suffix
            kept = suffix if suffix.lower() in files.WRITTEN_SUFFIXES else ".png"
            named = entry.name.endswith(kept) and self.listing.doubled[entry.index]
            target = self.out / (entry.name + kept * (not named))
            files.write_image(target, picture)
            if hasattr(result, "write_files"):
                result.write_files(target.with_suffix(""), entry.image)
            return []
        name = entry.name.rpartition("/")[0]
        shown = legible(as_picture(entry.image))  # type: ignore[arg-type]  # kept by the reader
        self.canvases.setdefault(name, list(canvas_for(picture, (shown.height, shown.width))))
        piece.video = piece.video or (name, entry.frame)
        return [(entry.seconds or 0.0, picture)]

    def _commit(self) -> None:
        """Write the pieces that are complete as parts."""
        while self.complete:
            number, also_done = self.complete.popitem()
            piece = self.pieces.pop(number)  # before it is written: an interrupt must not write it twice
            if piece.video is not None:
                name, first = piece.video
                canvas = self.canvases[name]
                write_piece(self.parts.folder / "drawn" / name / f"{first:09d}.mkv", piece.drawn, tuple(canvas))
                piece.facts = merged(piece.facts, {"canvas": {name: canvas}})
            if piece.rows or also_done:
                keys = [key for key, _ in piece.rows]
                self.parts.add([row for _, row in piece.rows], [*keys, *also_done], piece.facts)


def _joined(pieces: Path, out: Path) -> list[Path]:
    """Write each drawn video from its pieces; return the paths."""
    videos = []
    for folder in sorted({piece.parent for piece in pieces.rglob("*.mkv")}):
        path = out / f"{folder.relative_to(pieces).as_posix()}.mp4"
        join_pieces(sorted(folder.glob("*.mkv")), path)
        videos.append(path)
    return videos


def usual_workers(processes: int = 1) -> int:
    """Return how many processes read beside the network by default: half of the cores, of which it has the others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // processes // 2))
