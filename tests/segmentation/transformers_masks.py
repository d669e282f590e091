"""What the tests of MaskFormer and Mask2Former against transformers share: positions, targets, and their layers."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from vidi.nn.positional import sinusoids_2d
from vidi.preprocess import Batch, Placement
from vidi.segmentation.mask_classification import MaskOutputs

CLASSES = 4
CANVAS = (64, 96)
SIZES = [(64, 96), (50, 70), (64, 40)]  # of the images on it


class OurPositions(nn.Module):
    """Ours in the place of the reference's, in its layout B D H W: in float32 in every precision, as the authors'."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, shape: Sequence[int], device: Any, dtype: Any, mask: Any = None) -> Tensor:
        everywhere = torch.ones(shape[0], *shape[2:], dtype=torch.bool)
        return sinusoids_2d(everywhere, self.width).permute(0, 3, 1, 2).to(dtype)


def panoptic_target(size: tuple[int, int], seed: int, *, empty: bool = False) -> dict[str, Tensor]:
    """Three things (the first a crowd), two kinds of stuff and a void corner; or nothing but void."""
    generator = torch.Generator().manual_seed(seed)
    H, W = size
    ids = torch.full(size, 4, dtype=torch.int32)
    ids[H // 2 :] = 5
    for row, label in enumerate((1, 2, 3)):
        y, x = (int(torch.randint(side // 2, (), generator=generator)) for side in size)
        ids[y : y + H // 3, x : x + W // 3] = label if row else 1
    ids[:5, :7] = 0
    semantic = torch.tensor([255, 0, 1, 0, 2, 3], dtype=torch.uint8)[ids.long()]
    if empty:
        ids, semantic = torch.zeros_like(ids), torch.full_like(semantic, 255)
    return {"panoptic": ids, "semantic": semantic, "crowd": torch.tensor([True, False, False])}


def targets() -> list[dict[str, Tensor]]:
    return [panoptic_target(size, seed, empty=seed == 1) for seed, size in enumerate(SIZES)]


def batch_of(images: Tensor) -> Batch:
    mask = torch.zeros(3, *CANVAS, dtype=torch.bool)
    for row, (h, w) in enumerate(SIZES):
        mask[row, :h, :w] = True
    return Batch(images, mask, [Placement(size, size) for size in SIZES], targets())


def their_targets(dtype: torch.dtype = torch.float64) -> dict[str, list[Tensor]]:
    """Masks on the canvas and classes of all segments that are no crowd, as transformers wants them."""
    masks, classes = [], []
    for target, (h, w) in zip(targets(), SIZES, strict=True):
        own = [number for number in target["panoptic"].unique().tolist() if number > 1]
        rows = torch.zeros(len(own), *CANVAS, dtype=dtype)
        for row, number in enumerate(own):
            rows[row, :h, :w] = (target["panoptic"] == number).to(dtype)
        masks.append(rows)
        classes.append(torch.tensor([int(target["semantic"][target["panoptic"] == n][0]) for n in own]).long())
    return {"mask_labels": masks, "class_labels": classes}


def assert_layers(outputs: MaskOutputs, expected: Any, compare: Any) -> None:
    """Compare what all layers say with transformers' outputs, whose last layer stands apart."""
    logits, masks = outputs.layers()
    layers = [*expected.auxiliary_logits, SimpleNamespace(**expected)]
    assert len(layers) == logits.shape[1]
    for row, layer in enumerate(layers):
        theirs = layer if isinstance(layer, dict) else vars(layer)
        compare(logits[:, row], theirs["class_queries_logits"])
        compare(masks[:, row], theirs["masks_queries_logits"])
