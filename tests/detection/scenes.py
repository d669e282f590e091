"""What the tests of detectors look at: objects in awkward places, targets and batches of them, random boxes.

Numbers are float64, which slow loops are compared in; networks in float32 get pictures of their own.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors

from vidi.detection.targets import Objects
from vidi.preprocess import Batch, MaskedBatch, Placement

K = 3
SIZE = (64, 96)  # H, W of the canvas
BOXES: dict[str, list[list[float]]] = {
    "none": [],
    "one": [[20, 10, 52, 40]],
    "at the border": [[0, 0, 30, 30], [66, 34, 96, 64]],
    "of one pixel": [[40, 40, 41, 41], [0, 0, 1, 1], [95, 63, 96, 64]],
    "around everything": [[0, 0, 96, 64]],
    "long": [[0, 20, 96, 44], [10, 0, 16, 64]],
    "twice the same": [[20, 10, 52, 40], [20, 10, 52, 40]],
    "in one cell": [[20, 10, 52, 40], [21, 11, 53, 41]],
    "on a corner of cells": [[16, 16, 48, 48]],
}
OFF_CANVAS = [[90.0, 50, 140, 90]]  # with its centre
Target = dict[str, Tensor]


def target(boxes: object, labels: Sequence[int] | Tensor | None = None, crowd: Sequence[bool] | None = None) -> Target:
    """Return boxes (xyxy), labels (0, 1, 2, 0 ... by default) and which of them are crowds (none)."""
    rows = torch.as_tensor(boxes, dtype=torch.float64).view(-1, 4)
    return {
        "boxes": rows,
        "labels": torch.arange(len(rows)) % K if labels is None else torch.as_tensor(labels, dtype=torch.int64),
        "crowd": torch.zeros(len(rows), dtype=torch.bool) if crowd is None else torch.tensor(crowd),
    }


def targets_of_every_kind(sizes: Sequence[tuple[int, int]]) -> list[Target]:
    """Return a target for each picture (H, W): no object, one, two of which one is a crowd, and again.

    They have what every task asks for: a class of the picture, joints, boxes in space, segments (the boxes, on ground).
    """
    targets = []
    for row, size in enumerate(sizes):
        count = row % 3
        boxes = torch.tensor([[4.0, 4.0, 30.0 - row, 28.0 + row], [0.0, 10.0, 12.0, 33.0]])[:count]
        joints = torch.tensor([[9.0, 9], [6, 20], [20, 21]]).repeat(count, 1, 1)  # x, y
        segments = torch.full(size, count + 1, dtype=torch.int32)
        for number, (x0, y0, x1, y1) in enumerate(boxes.int().tolist(), 1):
            segments[y0:y1, x0:x1] = number
        classes = torch.tensor([0, *[1, 2][:count], 0], dtype=torch.uint8)[segments.long()]
        targets.append(
            {
                "label": torch.tensor(count),
                "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),  # type: ignore[call-overload]
                "labels": torch.tensor([1, 2])[:count],
                "crowd": torch.tensor([False, True])[:count],
                "keypoints": tv_tensors.KeyPoints(joints, canvas_size=size),  # type: ignore[call-arg]
                "visibility": torch.full(joints.shape[:2], 2, dtype=torch.uint8),
                "masks": tv_tensors.Mask(segments[None] == torch.arange(1, count + 1)[:, None, None]),
                "panoptic": tv_tensors.Mask(segments),
                "semantic": tv_tensors.Mask(classes),
                "boxes_3d": torch.tensor([[0.3, 0.2, 5.0, 1, 2, 0.5, 0.4]]).repeat(count, 1),
            }
        )
    return targets


def objects(boxes: Sequence[Sequence[float]], labels: Sequence[int], crowd: Sequence[Sequence[float]] = ()) -> Objects:
    """Return what a target tells a criterion: objects, and regions that are crowds."""
    rows, regions = (torch.tensor(b, dtype=torch.float64).view(-1, 4) for b in (boxes, crowd))
    return Objects(rows, torch.tensor(labels, dtype=torch.int64), regions)


def batch_of(
    targets: Sequence[Mapping[str, Tensor]],
    size: tuple[int, int] = SIZE,
    *,
    images: Tensor | None = None,
    masked: bool = False,
) -> Batch:
    """Return a batch of images that fill their canvas: those given, or black ones of `size` (H, W).

    Networks that are told what is padding want it `masked`.
    """
    if images is None:
        images = torch.zeros(len(targets), 3, *size, dtype=torch.float64)
    H, W = images.shape[2:]
    mask = torch.ones(len(targets), H, W, dtype=torch.bool)
    kind = MaskedBatch if masked else Batch
    return kind(images, mask, [Placement((H, W), (H, W))] * len(targets), targets)


def boxes_of(count: int, seed: int = 0, *, size: tuple[int, int] = SIZE, least: float = 5, most: float = 25) -> Tensor:
    """Return random boxes, N 4, inside of a canvas of `size` (H, W), with sides from `least` to `most` pixels."""
    generator = torch.Generator().manual_seed(seed)
    sides = least + (most - least) * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * (torch.tensor(size).flip(0) - sides)
    return torch.cat((corner, corner + sides), 1)
