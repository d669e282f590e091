"""A gallery on disk: what is in it as JSON, and its rows in files that are called by the digest of their content.

    gallery.json           model, width, metric, threshold, names by number, segments in order (file, rows)
    DIGEST.safetensors     vectors n D, identities n, keys n 32      of the rows of one segment

Rows that are new or lost somebody go into files of new names, then `gallery.json` is replaced, then files that it does
not name are deleted: a process that is killed leaves the old gallery or the new one. Who was removed is in no file.
Renaming writes the JSON only; adding, besides, the last segment and new ones. No pictures are kept.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidi import files
from vidi.embedding.gallery_rows import KEY_BYTES, Rows
from vidi.ops.neighbours import METRICS

FORMAT = 1
MANIFEST = "gallery.json"


@dataclass(frozen=True)
class GalleryRecord:
    """What the JSON says besides the rows."""

    model: str
    width: int
    metric: str
    threshold: float | None
    names: dict[int, str]


def write_gallery(folder: str | Path, record: GalleryRecord, rows: Rows, *, known: str | None) -> str:
    """Write what of a gallery is not in its folder yet, and return the text of its JSON.

    Args:
        folder: for this gallery alone.
        record: what is known of it.
        rows: their segments learn the names of their files.
        known: the text of the JSON as it was last read or written; None: there is none.

    Raises:
        FileExistsError: if there is a gallery, and none is known.
        ValueError: if the JSON is another than the known one.
    """
    path = Path(folder) / MANIFEST
    there = files.read_text(path) if path.is_file() else None
    if known is None and there is not None:
        raise FileExistsError(f"{folder} already holds a gallery; open it, or choose another folder")
    if there != known:
        raise ValueError(f"{folder}: the gallery was changed since it was opened; open it again")
    for segment, start, end in rows.ranges():
        if segment.file is None:
            tensors = {
                "vectors": rows.vectors[start:end],
                "identities": rows.identities[start:end],
                "keys": rows.keys(start, end),
            }
            digest = content_digest(tensors)
            files.write_tensors(_segment_path(folder, digest), tensors)
            segment.file = digest
    value = {
        "vidi_gallery": FORMAT,
        "model": record.model,
        "width": record.width,
        "metric": record.metric,
        "threshold": record.threshold,
        "names": {str(number): name for number, name in record.names.items()},
        "segments": [{"file": segment.file, "rows": segment.rows} for segment in rows.segments],
    }
    files.write_json(path, value)
    _delete_others(Path(folder), {str(segment.file) for segment in rows.segments})
    return files.read_text(path)


def read_gallery(folder: str | Path) -> tuple[GalleryRecord, Rows, str]:
    """Read a gallery: what is known of it, its rows, and the text of its JSON.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a file is missing, cut short, or not what it was when it was written.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no gallery here (there is no {MANIFEST})")
    text = files.read_text(path)
    record, segments = _parsed(path, text)
    rows = Rows(record.width)
    for file, count in segments:
        found = _read_segment(_segment_path(folder, file), file, count, record)
        rows.add_segment(file, found["vectors"], found["identities"], found["keys"])
    if len(rows) != sum(count for _, count in segments):
        raise ValueError(f"{path}: damaged: some pictures are in it twice")
    absent = sorted(set(record.names) - set(rows.identities.tolist()))
    if absent:
        raise ValueError(f"{path}: damaged: {record.names[absent[0]]!r} has no vector")
    return record, rows, text


def _parsed(path: Path, text: str) -> tuple[GalleryRecord, list[tuple[str, int]]]:
    try:
        value: Any = json.loads(text)
        version = value["vidi_gallery"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: damaged, or not the JSON of a gallery") from None
    if version != FORMAT:
        raise ValueError(
            f"{path}: a gallery of format {version!r}, expected {FORMAT}: another version of vidi wrote it"
        )
    try:
        names = {int(number): str(name) for number, name in value["names"].items()}
        threshold = None if value["threshold"] is None else float(value["threshold"])
        record = GalleryRecord(str(value["model"]), int(value["width"]), str(value["metric"]), threshold, names)
        segments = [(str(entry["file"]), int(entry["rows"])) for entry in value["segments"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged: {type(error).__name__} {error}") from None
    if record.metric not in METRICS or len(set(names.values())) < len(names) or min(names, default=0) < 0:
        raise ValueError(f"{path}: damaged: an unknown metric, or a name twice")
    if not all(_is_digest(file) for file, _ in segments):
        raise ValueError(f"{path}: damaged: a segment is not called by a digest")
    return record, segments


def _read_segment(path: Path, digest: str, count: int, record: GalleryRecord) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path}: missing; {MANIFEST} names it")
    found = files.read_tensors(path)
    expected = {
        "vectors": ((count, record.width), torch.float32),
        "identities": ((count,), torch.int64),
        "keys": ((count, KEY_BYTES), torch.uint8),
    }
    if {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in found.items()} != expected:
        raise ValueError(f"{path}: damaged: expected {count} rows of {record.width} numbers")
    if content_digest(found) != digest:
        raise ValueError(f"{path}: damaged: its content is not what its name says")
    if not set(found["identities"].tolist()) <= set(record.names):
        raise ValueError(f"{path}: damaged: it has rows of nobody that {MANIFEST} names")
    return found


def content_digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} ".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _segment_path(folder: str | Path, digest: str) -> Path:
    return Path(folder) / f"{digest}.safetensors"


def _is_digest(name: str) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", name) is not None


def _delete_others(folder: Path, kept: set[str]) -> None:
    """Delete segments that the JSON does not name, and what killed writers left."""
    files.remove_temporaries(folder)
    for path in folder.glob("*.safetensors"):
        if _is_digest(path.stem) and path.stem not in kept:
            path.unlink()
