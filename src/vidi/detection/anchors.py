"""The anchors of a detector's feature maps, as a module that moves with the network (Ren et al. 2015; notes 4.3.2)."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.detection.options import check_choice
from vidi.ops.anchors import anchor_grid, base_anchors
from vidi.ops.boxes import Size

AnchorStyle = Literal["paper", "torchvision"]

ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width


class LevelAnchors(nn.Module):
    """Boxes of some sizes and three aspect ratios at every cell of every level.

    The papers' are centred on their cells. torchvision's are centred on the cells' corners, with rounded corners, and
    spaced by the canvas divided by the map, rounded down.
    """

    base: Tensor

    def __init__(self, sizes: Sequence[Sequence[float | int]], strides: Sequence[int], style: AnchorStyle):
        super().__init__()
        check_choice("anchor_style", style, AnchorStyle)
        if len(sizes) != len(strides):
            raise ValueError(f"received {len(sizes)} anchor sizes, expected one for each of {len(strides)} levels")
        if len({len(of_level) for of_level in sizes}) > 1:
            raise ValueError(f"received the anchor sizes {sizes}, expected equally many on each level")
        self.as_torchvision = style == "torchvision"
        base = torch.stack([base_anchors(of_level, ASPECT_RATIOS, rounded=self.as_torchvision) for of_level in sizes])
        self.register_buffer("base", base, persistent=False)  # L k 4
        self.strides = tuple(strides)

    @property
    def per_cell(self) -> int:
        """The number of anchors of a cell, k."""
        return self.base.shape[1]

    def by_level(self, canvas: Size, sizes: Sequence[Size]) -> tuple[Float[Tensor, "_ 4"], ...]:
        """Return the anchors of each level, given the sizes (H, W) of the images and of each level."""
        strides = [(canvas[0] // h, canvas[1] // w) for h, w in sizes] if self.as_torchvision else self.strides
        centre = "corner" if self.as_torchvision else "cell"
        levels = zip(self.base.unbind(), sizes, strides, strict=True)
        return tuple(anchor_grid(base, size, stride, centre=centre) for base, size, stride in levels)
