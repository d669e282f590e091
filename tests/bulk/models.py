"""A model that needs no training: it tells by its mean colour what a picture shows, and where it lies."""

from typing import Any

import torch

from vidi.model import Predicts, builder
from vidi.preprocess import Batch, Preprocess
from vidi.results.classification import Classification
from vidi.results.detections import Detections

NAMES = ("red", "green", "blue")


class MeanColour(Predicts):
    """Gives the shares of three colours."""

    def __init__(self, preprocess: Preprocess, *, finds: bool):
        super().__init__()
        self.preprocess, self.finds = preprocess, finds
        self.register_buffer("weight", torch.ones(3))
        self.seen: list[int] = []  # pictures of each batch

    def predict_batch(self, batch: Batch) -> list[Any]:
        self.seen.append(len(batch.images))
        found = []
        for row, placement in enumerate(batch.placements):
            h, w = placement.resized
            picture = batch.images[row, :, :h, :w]
            if float(picture.max()) == 0:
                raise RuntimeError("a kernel that is larger than the picture")
            shares = picture.mean((1, 2)) / picture.mean((1, 2)).sum()
            box = placement.boxes_to_original(torch.tensor([[w / 4, h / 4, w / 2, h / 2]]))
            label = shares.argmax()[None]
            found.append(
                Detections(box, shares.max()[None], label, NAMES) if self.finds else Classification(shares, NAMES)
            )
        return found


@builder
def mean_colour(*, side: int | None = 16, finds: bool = False) -> MeanColour:
    """Build one that sees squares of a size, or pictures as they are."""
    size = None if side is None else (side, side)
    return MeanColour(Preprocess(exact=size, mean=(0.0,) * 3, std=(1.0,) * 3), finds=finds)
