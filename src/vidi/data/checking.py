"""What `vidi data check PATH` says: what was recognised, counts, sizes, boxes, every fault, and a contact sheet.

A reader finds the faults of annotations when it opens them; here every image is decoded besides, so that a truncated
file is found before an epoch is lost. Images with equal pixels are remarked; in two splits they are faults, as scores
would be too good.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F

from vidi import files
from vidi.data.box_rules import BoxCounts
from vidi.data.checking_views import camera_remarks, motion_line, motion_of, motion_remarks
from vidi.data.contact_sheet import contact_sheet
from vidi.data.faults import DataFaults, Fault, counted, folded, listing
from vidi.data.inspecting import threads
from vidi.data.readers.image_set import ImageSet, StoredValue, Target
from vidi.data.recognise import Recognition, recognise
from vidi.formats import is_image_name
from vidi.keys import resizing

SMALL, LARGE = 32.0**2, 96.0**2  # px: COCO's limits between small, medium and large things

Progress = Callable[[str, int, int], None]  # split, images done, images in all


@dataclass(frozen=True)
class ValueRow:
    """A value that the files of label maps hold."""

    value: str
    name: str
    is_void: bool
    share: float  # of all pixels
    pictures: int


@dataclass(frozen=True)
class SplitReport:
    """What one split holds."""

    images: int
    height: tuple[int, int, int] | None  # smallest, median, largest, px; None without a readable image
    width: tuple[int, int, int] | None
    classes: dict[str, int]  # images or boxes of each class
    pixel_shares: dict[str, float]  # of the pixels that are not ignored
    values: tuple[ValueRow, ...]  # what the files of label maps hold, before it becomes classes
    boxes: dict[str, int | float]  # statistics of the boxes; empty without
    masks: dict[str, int]  # how many masks or segments there are, and how many of them have no pixel; empty without
    motion: dict[str, Any] = field(default_factory=dict)  # of videos, see `vidi.data.checking_views.motion_of`


@dataclass(frozen=True)
class Report:
    """The findings about a data set."""

    path: str
    format: str
    reason: str
    kinds: tuple[str, ...]
    splits: dict[str, SplitReport]
    faults: tuple[Fault, ...]  # make rows unusable
    remarks: tuple[Fault, ...]  # odd, but repaired or harmless

    @property
    def is_clean(self) -> bool:
        """Whether nothing stands in the way of training."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `vidi.files.write_json` can write."""
        return asdict(self)

    def contact_sheets(self, count: int = 16) -> Iterator[tuple[str, PIL.Image.Image]]:
        """Draw `count` samples of each split with what their targets say."""
        recognition = recognise(self.path, format=self.format)
        for split in self.splits:
            yield split, contact_sheet(recognition.open(split, on_fault="drop"), count)

    def __str__(self) -> str:
        lines = [
            self.path,
            f"  recognised as {self.format}: {self.reason}",
            *([f"  gives {', '.join(self.kinds)}"] if self.kinds else []),
        ]
        for name, split in self.splits.items():
            lines += ["", f"{name}: {counted(split.images, 'image')}", *_split_lines(split)]
        for title, rows in (("fault", self.faults), ("remark", self.remarks)):
            lines += ["", counted(len(rows), title), *([listing(rows, shown=50)] if rows else [])]
        return "\n".join(lines)


def check_dataset(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    progress: Progress | None = None,
    size: tuple[int, int] | None = None,
) -> Report:
    """Read a whole data set and report what it holds and everything that is wrong with it.

    `size` (H, W) is that of a training, at which masks without a pixel are counted; None: that of the images.

    Raises FileNotFoundError and ValueError where nothing is recognised; faults of a recognised set are in the report.
    """
    recognition = recognise(path, format=format)
    findings = _Findings()
    splits: dict[str, SplitReport] = {}
    kinds: set[str] = set()
    for name in _distinct_splits(recognition):
        try:
            dataset = recognition.open(name, on_fault="drop")
        except DataFaults as error:
            findings.faults += error.faults
            findings.remarks += error.hints
            continue
        except ValueError as error:  # the annotations as a whole cannot be read
            findings.faults.append(Fault("", "", str(error)))
            continue
        findings.faults += dataset.faults
        findings.remarks += dataset.remarks
        kinds |= dataset.kinds
        splits[name] = _check_split(name, dataset.giving(dataset.kinds), findings, progress, size)
    findings.remarks += _untrained(str(Path(path)), splits)
    return Report(
        path=str(Path(path)),
        format=recognition.format,
        reason=recognition.reason,
        kinds=tuple(sorted(kinds)),
        splits=splits,
        faults=tuple(dict.fromkeys(findings.faults)),  # two parts of one file tell the same
        remarks=tuple(dict.fromkeys(findings.remarks)),
    )


@dataclass
class _Findings:
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)
    pixels: dict[bytes, "_Shown"] = field(default_factory=dict)  # digest of an image -> where it was first


class _Shown(NamedTuple):
    """Where an image is."""

    name: str
    path: Path
    split: str


@dataclass
class _Counts:
    sizes: list[tuple[int, int]] = field(default_factory=list)
    classes: Counter[int] = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    values: Counter[StoredValue] = field(default_factory=Counter)  # pixels
    pictures: Counter[StoredValue] = field(default_factory=Counter)
    areas: list[np.ndarray] = field(default_factory=list)
    boxes: BoxCounts = field(default_factory=BoxCounts)
    crowd: int = 0
    masks: int = 0
    empty: int = 0  # masks without a pixel

    def __iadd__(self, other: "_Counts") -> "_Counts":
        self.sizes += other.sizes
        self.classes.update(other.classes)
        self.pixels += other.pixels
        self.values.update(other.values)
        self.pictures.update(other.pictures)
        self.areas += other.areas
        self.boxes += other.boxes
        self.crowd += other.crowd
        self.masks += other.masks
        self.empty += other.empty
        return self


def _distinct_splits(recognition: Recognition) -> list[str]:
    """Return the splits that share no image with one another."""
    used = {split.source for split in recognition.splits.values() if split.part != "all"}
    chosen: dict[tuple[str, str], str] = {}
    for name, split in sorted(recognition.splits.items(), key=lambda item: item[1].note != ""):  # own ones first
        if split.part != "all" or split.source not in used:
            chosen.setdefault((split.source, split.part), name)
    return [name for name in recognition.splits if name in chosen.values()]


def _untrained(path: str, splits: dict[str, SplitReport]) -> Iterator[Fault]:
    """Yield a remark for each class that another split shows and the training does not."""
    shown = {split: {**report.classes, **report.pixel_shares} for split, report in splits.items()}
    for split, classes in shown.items():
        for name, count in classes.items():
            if count and "train" in shown and not shown["train"].get(name):
                yield Fault(path, f"class {name!r}", f"is shown in {split} and not in train, where it could be learnt")


def _check_split(
    name: str, dataset: ImageSet, findings: _Findings, progress: Progress | None, size: tuple[int, int] | None
) -> SplitReport:
    counts = _Counts()
    with ThreadPoolExecutor(threads()) as pool:
        looked = pool.map(lambda index: _look(dataset, index, size), range(len(dataset)))
        for index, seen in enumerate(looked):
            counts += seen.counts
            if seen.error is not None:
                findings.faults.append(Fault.of(dataset.name(index), seen.error))
            else:
                _compare(findings, seen.digest, _Shown(dataset.name(index), dataset.path(index), name))
            if progress is not None:
                progress(name, index + 1, len(dataset))
    findings.faults += counts.boxes.faults(str(dataset.root))
    findings.remarks += counts.boxes.remarks(f"{dataset.root} ({name})")
    if counts.empty:
        at = "" if size is None else f" at {size[1]} x {size[0]} pixels"
        says = f"{counts.empty} of {counts.masks} masks have no pixel{at}: they train no mask"
        findings.remarks.append(Fault(f"{dataset.root} ({name})", "", says))
    motion = motion_of(dataset)
    findings.remarks += [*camera_remarks(dataset), *motion_remarks(f"{dataset.root} ({name})", motion)]
    return replace(_summary(len(dataset), dataset, counts), motion=motion)


class _Seen(NamedTuple):
    """What was found when an image was opened."""

    counts: _Counts
    digest: bytes  # of its size and pixels
    error: ValueError | OSError | None = None


def _look(dataset: ImageSet, index: int, size: tuple[int, int] | None) -> _Seen:
    counts = _Counts()
    try:
        stored = dataset.stored_values(index)
        counts.values.update(stored)
        counts.pictures.update(stored.keys())
        image, target = dataset[index]
    except (ValueError, OSError) as error:
        return _Seen(counts, b"", error)
    _count(counts, image, target, size)
    return _Seen(counts, _digest(image))


def _count(counts: _Counts, image: torch.Tensor, target: Target, size: tuple[int, int] | None) -> None:
    counts.sizes.append((image.shape[-2], image.shape[-1]))
    if "label" in target:
        counts.classes[int(target["label"])] += 1
    if "labels" in target:
        counts.classes.update(target["labels"].tolist())
        counts.areas.append(target["areas"].numpy())
        counts.crowd += int(target["crowd"].sum())
        counts.boxes += BoxCounts.of(target)
    if "masks" in target:
        masks, shown = target["masks"], (image.shape[-2], image.shape[-1])
        moved = masks if size is None else masks.moved(resizing(shown, size), size)
        counts.masks += len(masks)
        counts.empty += int((moved.areas() == 0).sum())
    elif "panoptic" in target:
        segments = target["panoptic"].as_subclass(torch.Tensor)[None, None].float()
        there = left = _segments(segments)
        if size is not None:
            left = _segments(F.interpolate(segments, size, mode="nearest-exact"))
        counts.masks += there
        counts.empty += there - left
    if "semantic" in target:
        counts.pixels += np.bincount(target["semantic"].numpy().reshape(-1), minlength=256)


def _segments(numbers: torch.Tensor) -> int:
    """Return how many segments a map has: those of numbers above 0, of which there are no more than objects."""
    return int((np.bincount(numbers.numpy().reshape(-1).astype(np.int64))[1:] > 0).sum())


def _digest(image: torch.Tensor) -> bytes:
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())  # as decoders give them: no copy
    return hashlib.blake2b(pixels.reshape(-1).data, digest_size=16, key=str(tuple(image.shape)).encode()).digest()


def _compare(findings: _Findings, digest: bytes, shown: _Shown) -> None:
    """Note where an image is, or that it was somewhere before: a fault where that is another split."""
    first = findings.pixels.setdefault(digest, shown)
    apart = first.split != shown.split
    if first.name == shown.name and not apart:  # itself, or another caption of it
        return
    place, before = f"{shown.name} ({shown.split})", f"{first.name} ({first.split})"
    listed, so = (findings.faults, ": scores are too good") if apart else (findings.remarks, "")
    if shown.name == first.name:
        listed.append(Fault(place, "", f"stands in {first.split} too{so}"))
    else:
        are_files = shown.path != first.path and is_image_name(shown.path.name)  # not rows of an archive
        is_copy = are_files and files.read_bytes(shown.path) == files.read_bytes(first.path)
        same = "is the same file as" if is_copy else "has the same pixels as"
        listed.append(Fault(place, "", f"{same} {before}{so}"))


def _summary(images: int, dataset: ImageSet, counts: _Counts) -> SplitReport:
    shares = counts.pixels[: len(dataset.semantic_categories)]
    total = int(shares.sum())
    heights, widths = zip(*counts.sizes, strict=True) if counts.sizes else ((), ())
    return SplitReport(
        images=images,
        height=_range(heights),
        width=_range(widths),
        classes={name: counts.classes[label] for label, name in enumerate(dataset.categories)},
        pixel_shares={
            name: float(share) / total for name, share in zip(dataset.semantic_categories, shares, strict=True) if total
        },
        values=tuple(
            ValueRow(stored.value, stored.name, stored.is_void, pixels / counts.values.total(), counts.pictures[stored])
            for stored, pixels in sorted(counts.values.items())
        ),
        boxes=_box_statistics(counts),
        masks={"count": counts.masks, "without_a_pixel": counts.empty} if {"masks", "panoptic"} & dataset.kinds else {},
    )


def _range(values: tuple[int, ...]) -> tuple[int, int, int] | None:
    return (min(values), sorted(values)[len(values) // 2], max(values)) if values else None


def _box_statistics(counts: _Counts) -> dict[str, int | float]:
    if not counts.areas:
        return {}
    areas = np.concatenate(counts.areas)
    per_image = [len(rows) for rows in counts.areas]
    small, large = int((areas < SMALL).sum()), int((areas > LARGE).sum())
    statistics: dict[str, int | float] = {
        "count": len(areas),
        "crowd": counts.crowd,
        "mean_per_image": float(np.mean(per_image)),
        "most_in_an_image": max(per_image),
        "images_without": per_image.count(0),
        "small": small,
        "medium": len(areas) - small - large,
        "large": large,
    }
    if len(areas):
        for percent in (5, 50, 95):
            statistics[f"root_area_{percent}_percent"] = float(np.sqrt(np.percentile(areas, percent)))
    return statistics


def _split_lines(split: SplitReport) -> list[str]:
    lines = []
    if split.height and split.width:
        low, middle, high = (f"{w} x {h}" for w, h in zip(split.width, split.height, strict=True))
        lines.append(f"  width x height: smallest {low}, median {middle}, largest {high}")
    if split.boxes:
        named = (f"{name.replace('_', ' ')} {value:g}" for name, value in split.boxes.items())
        lines.append(f"  boxes: {', '.join(named)}")
    if split.masks:
        lines.append(
            "  masks: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in split.masks.items())
        )
    if split.motion:
        lines.append(f"  motion: {motion_line(split.motion)}")
    if split.classes:
        lines.append(f"  classes: {folded([f'{name} {count}' for name, count in split.classes.items()])}")
    if split.values:
        lines.append("  values of the label maps: value, name, share of all pixels, pictures")
        wide, long = (max(len(getattr(row, key)) for row in split.values) for key in ("value", "name"))
        lines += [
            f"    {row.value:>{wide}}  {row.name:<{long}}  {row.share:.4f}  {row.pictures}{'  ignored' * row.is_void}"
            for row in split.values
        ]
    if split.pixel_shares:
        lines.append(f"  pixels: {folded([f'{name} {share:.3f}' for name, share in split.pixel_shares.items()])}")
    return lines
