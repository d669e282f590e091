"""A model whose results anybody can tell from the picture: it finds the red and the blue pixels."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from vidi.model import Predicts
from vidi.ops.skeletons import Skeleton
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.detections import Detections

NAMES = ("red", "blue")
SCORES = (0.9, 0.4)
BONE = Skeleton(("left_end", "right_end"), ((0, 1),))


class Finder(Predicts):
    """Finds one thing of each colour: a box about its pixels, them as a mask, and its two ends as joints."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.register_buffer("nothing", torch.zeros(1))
        self.batches: list[int] = []
        self.eval()

    @property
    def categories(self) -> tuple[str, ...]:
        return NAMES

    def predict_batch(self, batch: Batch) -> list[Any]:
        self.batches.append(len(batch.images))
        return [_found(image, placement) for image, placement in zip(batch.images, batch.placements, strict=True)]


def _found(image: Tensor, placement: Placement) -> Detections:
    H, W = placement.original
    pixels = image[:, :H, :W]
    masks = [pixels[own] - torch.stack([pixels[k] for k in range(3) if k != own]).amax(0) > 0.5 for own in (0, 2)]
    labels = [label for label, mask in enumerate(masks) if mask.any()]
    boxes, joints = [], []
    for label in labels:
        rows, columns = masks[label].nonzero().T
        x0, y0, x1, y1 = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
        boxes.append([x0, y0, x1, y1])
        joints.append([[x0, (y0 + y1) / 2, 1.0], [x1, (y0 + y1) / 2, 1.0]])
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([SCORES[label] for label in labels]),
        labels=torch.tensor(labels, dtype=torch.int64),
        categories=NAMES,
        masks=torch.stack([masks[label] for label in labels]) if labels else torch.zeros(0, H, W).bool(),
        keypoints=torch.tensor(joints, dtype=torch.float32).reshape(-1, 2, 3),
        skeleton=BONE,
    )


def picture(size: tuple[int, int] = (60, 80), **boxes: Sequence[int]) -> PIL.Image.Image:
    """Return a grey picture of a size (H, W) with boxes (xyxy) of colours by name."""
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    pixels = np.full((*size, 3), 128, dtype=np.uint8)
    for name, (x0, y0, x1, y1) in boxes.items():
        pixels[y0:y1, x0:x1] = colours[name]
    return PIL.Image.fromarray(pixels)


def coded(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a file of a picture."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
