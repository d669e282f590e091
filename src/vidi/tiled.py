"""Large pictures in tiles: each goes through a model's own preprocessing as if it were a picture, at full resolution.

picture     C H W       cut into squares that overlap
pixels      scores      a mean of the tiles, which count less towards their borders (nnU-Net, MONAI); the largest wins
objects     detections  moved into the picture, merged (SAHI); those that no tile holds whole come from a look at the
                        whole picture, made as small as a tile

Of the scores of pixels no more is kept than a row of tiles. Tiles of a model that changes no sizes begin at multiples
of its stride, so that it sees a pixel as in the whole picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as geometry

from vidi.keys import resizing, shifting
from vidi.ops.tiling import blending_weights, overlapping
from vidi.preprocess import Batch, Placement, Preprocess, Sample, in_batches
from vidi.results.detections import Detections
from vidi.results.merging import View, merge_views


@runtime_checkable
class DecodesPixels(Protocol):
    """A decoder whose results are the largest of some scores at each pixel."""

    def pixel_scores(self, outputs: Any, placements: Sequence[Placement]) -> Iterator[Float[Tensor, "K H W"]]:
        """Yield for each image its scores in the pixels of the original."""
        ...

    def of_classes(self, classes: UInt8[Tensor, "H W"]) -> Any:
        """Return the result, given the index of the largest score at each pixel."""
        ...


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut.

    Attributes:
        tile: pixels of a side.
        overlap: the share of a tile that the next one shows again.
    """

    tile: int
    overlap: float | int = 0.25

    def __post_init__(self) -> None:
        if self.tile < 1:
            raise ValueError(f"received tile={self.tile}, expected at least 1 pixel")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"received overlap={self.overlap}, expected a share of a tile, at least 0 and below 1")

    def grid(self, size: tuple[int, int], preprocess: Preprocess) -> "Grid":
        """Return the tiles of a picture of `size` (H, W)."""
        square = (self.tile, self.tile)
        phase = preprocess.stride if preprocess.resized(square) == square else 1
        rows, columns = (overlapping(side, self.tile, self.overlap, phase=phase) for side in size)
        return Grid(rows, columns)


@dataclass(frozen=True)
class Grid:
    """Where the tiles of a picture are: the first and the last + 1 pixel of each row and column of them."""

    rows: Sequence[tuple[int, int]]
    columns: Sequence[tuple[int, int]]

    def cut(self, image: Tensor, row: int) -> list[Tensor]:
        """Return one row of tiles."""
        top, bottom = self.rows[row]
        return [image[:, top:bottom, left:right] for left, right in self.columns]


def predict_in_tiles(model: Any, image: Tensor, tiling: Tiling, batch_size: int) -> Any:
    """Return the result of one picture; one that is no larger than a tile is predicted as ever.

    Args:
        model: that predicts, in evaluation.
        image: C H W, as the model reads it.
        tiling: how it is cut.
        batch_size: the most tiles that go through the network at once.

    Raises:
        ValueError: if the model takes no pictures, or its results are not of pixels or boxes.
    """
    if not isinstance(model.preprocess, Preprocess):
        raise ValueError(f"a {type(model).__name__} takes no pictures that could be cut into tiles")
    grid = tiling.grid((image.shape[-2], image.shape[-1]), model.preprocess)
    decode = getattr(model, "decode", None)
    if len(grid.rows) * len(grid.columns) == 1:
        (result,) = model.predict_batch(model.preprocess.collate([model.preprocess.place(image, {})]))
        return result
    if isinstance(decode, DecodesPixels):
        classes = torch.zeros(image.shape[-2:], dtype=torch.uint8)
        for top, scores in blended_scores(model, decode, image, grid, batch_size):
            classes[top : top + scores.shape[1]] = scores.argmax(0)
        return decode.of_classes(classes)
    return _objects(model, image, grid, tiling.tile, batch_size)


def blended_scores(
    model: Any, decode: DecodesPixels, image: Tensor, grid: Grid, batch_size: int
) -> Iterator[tuple[int, Float[Tensor, "K h W"]]]:
    """Yield the mean scores of the tiles of a picture from the top down: first row, rows that are done.

    Args:
        model: from a batch's inputs to what `decode` takes.
        decode: of the model.
        image: C H W, as the model reads it.
        grid: its tiles.
        batch_size: the most tiles that go through the network at once.
    """

    def run(batch: Batch) -> Iterator[Tensor]:
        return decode.pixel_scores(model(*batch.to(model.device).inputs), batch.placements)

    H, W = image.shape[-2:]
    of_rows, of_columns = blending_weights(grid.rows), blending_weights(grid.columns)
    unsettled = torch.zeros(0)  # K h W, the pixels of earlier rows of tiles that this row shows again
    for row, (top, bottom) in enumerate(grid.rows):
        total = torch.zeros(0)  # K h W of this row
        for column, scores in in_batches(model.preprocess, unlabelled(grid.cut(image, row)), batch_size, run):
            total = total if total.numel() else scores.new_zeros(len(scores), bottom - top, W)
            left, right = grid.columns[column]
            total[:, :, left:right].addcmul_(scores, (of_rows[row][:, None] * of_columns[column]).to(scores))
        if row:
            total[:, : unsettled.shape[1]] += unsettled
        settled = (grid.rows[row + 1][0] if row + 1 < len(grid.rows) else H) - top
        yield top, total[:, :settled]
        unsettled = total[:, settled:].clone()


def unlabelled(images: Sequence[Tensor]) -> list[Sample]:
    """Return images as samples of which nothing is known."""
    return [(image, {}) for image in images]


def _objects(model: Any, image: Tensor, grid: Grid, tile: int, batch_size: int) -> Detections:
    """Return the objects that the tiles of a picture show, and those that only the whole picture does."""
    size = (image.shape[-2], image.shape[-1])
    views = []
    for row, (top, bottom) in enumerate(grid.rows):
        found = dict(in_batches(model.preprocess, unlabelled(grid.cut(image, row)), batch_size, model.predict_batch))
        for column, (left, right) in enumerate(grid.columns):
            own = _flat(found[column]).moved(shifting(-top, -left), size)
            views.append(View((left, top, right, bottom), own))
    small = Preprocess(longest=tile).resized(size)
    shrunk = geometry.resize(image, list(small), antialias=True)
    ((_, overview),) = in_batches(model.preprocess, unlabelled([shrunk]), 1, model.predict_batch)
    seen = _flat(overview).moved(resizing(small, size), size)
    return merge_views(views, seen, size, coarseness=max(size) / max(small))


def _flat(result: Any) -> Detections:
    """Refuse results that cannot be moved."""
    if not isinstance(result, Detections) or result.boxes_3d is not None:
        kind = "boxes in space" if isinstance(result, Detections) else f"a {type(result).__name__}"
        expected = "the class of each pixel, or boxes with masks and joints"
        raise ValueError(f"{kind} cannot be put together from tiles, expected a model that finds {expected}")
    return result
