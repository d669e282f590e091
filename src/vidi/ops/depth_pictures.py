"""Depth images as grey pictures: what is near is bright, what has no depth is dark."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

FARTHEST_GREY, NEAREST_GREY, NOTHING = 0.35, 0.95, 0.12


def depth_picture(depth: Float[Tensor, "1 H W"]) -> UInt8[Tensor, "3 H W"]:
    """Return depth (0 where nothing is measured) in grey, from the farthest to the nearest that is measured."""
    seen = depth > 0
    if not seen.any():
        return torch.full((3, *depth.shape[1:]), round(255 * NOTHING), dtype=torch.uint8)
    near, far = depth[seen].min(), depth[seen].max()
    share = (far - depth) / (far - near).clamp(min=1e-6)
    grey = torch.where(seen, FARTHEST_GREY + (NEAREST_GREY - FARTHEST_GREY) * share, NOTHING)
    return (255 * grey).round().to(torch.uint8).expand(3, -1, -1).contiguous()
