"""Batches of pictures that say whom they show."""

import torch
from torch import Tensor

from vidi.preprocess import Batch, Placement


def batch_of(images: Tensor, labels: Tensor) -> Batch:
    """Return a batch of images B 3 H W with the label of each."""
    size = (images.shape[2], images.shape[3])
    masks = torch.ones(len(images), *size, dtype=torch.bool)
    placements = [Placement(size, size)] * len(images)
    return Batch(images, masks, placements, [{"label": label} for label in labels])
