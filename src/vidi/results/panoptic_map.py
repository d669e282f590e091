"""What a panoptic segmenter gives: the segment of every pixel, and what each segment is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from vidi.ops.drawing import Area, Picture, as_picture, draw_tag, legible, tint_classes, with_legend
from vidi.ops.masks import boxes_of_masks
from vidi.ops.palette import class_colour
from vidi.results.categories import Categories
from vidi.results.result import (
    BELOW,
    SHOWN_FROM,
    Result,
    check_finite,
    check_labels,
    check_size,
    nothing_above,
    nothing_found,
    settle,
)

MOST_DRAWN = 255


class Segment(NamedTuple):
    """One thing, or one kind of stuff."""

    id: int  # in the map, from 1
    label: int
    score: float
    is_thing: bool


@dataclass(frozen=True, eq=False, repr=False)
class PanopticMap(Result):
    """The segment of every pixel of one image; 0 where there is none."""

    ids: Int32[Tensor, "H W"]
    segments: tuple[Segment, ...]
    categories: Categories
    fallen: Mapping[str, int] = field(default_factory=dict)  # why -> queries that became no segment
    threshold: float = SHOWN_FROM  # of the segments that are shown

    def __post_init__(self) -> None:
        settle(self, ids=self.ids.detach().cpu())
        known = [segment.id for segment in self.segments]
        if len(set(known)) < len(known) or any(number < 1 for number in known):
            raise ValueError(f"received segments with the ids {known}, expected different numbers from 1")
        unknown = sorted(set(self.ids.unique().tolist()) - {0, *known})
        if unknown:
            raise ValueError(f"received a map with the ids {unknown[:5]}, which no segment has")
        check_labels(torch.tensor([segment.label for segment in self.segments], dtype=torch.int64), self.categories)
        check_finite(scores=torch.tensor([segment.score for segment in self.segments]))

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def name(self, segment: Segment) -> str:
        """Return what a segment is called."""
        return self.categories[segment.label] or f"unnamed {segment.label}"

    def areas(self) -> dict[int, int]:
        """Return the pixels of each segment by its id."""
        counts = torch.bincount(self.ids.flatten().long(), minlength=max((s.id for s in self), default=0) + 1)
        return {segment.id: int(counts[segment.id]) for segment in self}

    def __getitem__(self, row: int) -> Segment:
        """Return a segment."""
        return self.segments[row]

    def above(self, threshold: float | None = None) -> "PanopticMap":
        """Return the map of the segments with a score of at least `threshold`; the others have fallen."""
        least = self.threshold if threshold is None else threshold
        kept = tuple(segment for segment in self if segment.score >= least)
        if len(kept) == len(self):
            return self
        ids = torch.where(torch.isin(self.ids, torch.tensor([s.id for s in kept], dtype=torch.int32)), self.ids, 0)
        fallen = {**self.fallen, BELOW: self.fallen.get(BELOW, 0) + len(self) - len(kept)}
        above = replace(self, ids=ids, segments=kept, fallen=fallen)
        settle(above, picture=self.picture)
        return above

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture tinted by segment, things with their names, above a legend of the stuff.

        Raises:
            ValueError: if the map is not as large as the image.
        """
        original = as_picture(image)
        check_size("ids", self.ids, original)
        picture = legible(original)
        areas = self.areas()
        largest = sorted(self.above(threshold), key=lambda segment: -areas[segment.id])[:MOST_DRAWN]
        rows = torch.full(self.ids.shape, MOST_DRAWN, dtype=torch.uint8)
        for row, segment in enumerate(largest):
            rows[self.ids == segment.id] = row
        tint_classes(picture, rows, {row: class_colour(segment.label) for row, segment in enumerate(largest)})
        things = [segment for segment in largest if segment.is_thing]
        masks = torch.stack([self.ids == s.id for s in things]) if things else torch.zeros(0, *self.ids.shape).bool()
        scale = torch.tensor([picture.width / original.width, picture.height / original.height] * 2)
        tags: list[Area] = []
        for segment, box in zip(things, (boxes_of_masks(masks) * scale).tolist(), strict=True):
            text = self.name(segment) if segment.score == 1 else f"{self.name(segment)} {segment.score:.2f}"
            tag = draw_tag(picture, tuple(box), text, class_colour(segment.label), tags, optional=True)
            tags += [] if tag is None else [tag]
        stuff = {s.label: (class_colour(s.label), self.name(s)) for s in largest if not s.is_thing}
        return with_legend(picture, list(stuff.values()))

    def maps(self) -> dict[str, Tensor]:
        """Return the id of the segment of every pixel, 0 where there is none."""
        return {"ids": self.ids}

    def to_dict(self) -> dict[str, Any]:
        """Return the size of the map and a record of each segment, as plain values."""
        areas = self.areas()
        records = [
            {"id": s.id, "label": s.label, "name": self.name(s), "score": s.score, "is_thing": s.is_thing}
            | {"area": areas[s.id]}
            for s in self
        ]
        return {"size": list(self.ids.shape), "segments": records, "fallen": dict(self.fallen)}

    def to_coco(self, image_id: int, file_name: str, category_ids: Sequence[int]) -> dict[str, Any]:
        """Return the annotation of COCO's panoptic format whose PNG is `coloured_ids`, under `file_name`.

        Args:
            image_id: the image's id in the data set.
            file_name: of the PNG.
            category_ids: the data set's category id of each class index.
        """
        if len(category_ids) != len(self.categories):
            raise ValueError(f"{len(category_ids)} category ids for {len(self.categories)} categories")
        areas, records = self.areas(), []
        for segment in self:
            x0, y0, x1, y1 = (int(side) for side in boxes_of_masks((self.ids == segment.id)[None])[0])
            records.append(
                {
                    "id": segment.id,
                    "category_id": category_ids[segment.label],
                    "area": areas[segment.id],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                }
            )
        return {"image_id": image_id, "file_name": file_name, "segments_info": records}

    def coloured_ids(self) -> UInt8[np.ndarray, "H W 3"]:
        """Return the ids as COCO's PNGs hold them: R + 256 G + 65536 B."""
        ids = self.ids.numpy()
        return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)

    def __str__(self) -> str:
        if not self.segments:
            return nothing_found("segments", self.fallen)
        above = self.above()
        if not above.segments:
            return nothing_above(self.threshold, max(segment.score for segment in self))
        counts: dict[str, int] = {}
        for segment in above:
            counts[self.name(segment)] = counts.get(self.name(segment), 0) + 1
        return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())
