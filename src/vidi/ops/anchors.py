"""Anchors: reference boxes of several sizes and shapes at each cell of a feature map (Ren et al. 2015, section 3.1.1).

Rows run over levels, then y, then x, then the shapes of one cell: the order of a head's output `B (HWA) ...`.
Anchors depend only on the sizes of the feature maps, so one tensor serves a whole batch.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.ops.boxes import Side, Size

Centre = Literal["cell", "corner"]
"""Where in its cell an anchor is centred: in the middle, or on the upper left corner (torchvision)."""


def octave_sizes(size: float | int, *, count: int = 3, truncated: bool = False) -> tuple[float, ...]:
    """Return `count` sizes that divide the octave above `size` evenly: size * 2^(i / count).

    RetinaNet takes three a level (Lin et al. 2017b, section 4); `truncated` cuts them to whole pixels, as torchvision.
    """
    sizes = (size * 2.0 ** (i / count) for i in range(count))
    return tuple(float(int(s)) if truncated else s for s in sizes)


def base_anchors(
    sizes: Sequence[float | int] = (128, 256, 512),
    aspect_ratios: Sequence[float | int] = (0.5, 1, 2),
    *,
    rounded: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "A 4"]:
    """Return one anchor for each aspect ratio (outer) and size (inner), centred on the origin, in pixels.

    A size is the square root of the area, an aspect ratio height / width; the defaults are those of Ren et al. 2015.
    `rounded` moves corners to whole pixels, as torchvision does.

    Raises:
        ValueError: if a size or an aspect ratio is not positive, or there is none.
    """
    for name, values in (("sizes", sizes), ("aspect ratios", aspect_ratios)):
        if not values or min(values) <= 0:
            raise ValueError(f"received the {name} {tuple(values)}, expected at least one and all positive")
    side = torch.as_tensor(sizes, dtype=dtype)
    root = torch.as_tensor(aspect_ratios, dtype=dtype).sqrt()
    w = ((1 / root)[:, None] * side).flatten()  # A
    h = (root[:, None] * side).flatten()  # A
    anchors = torch.stack((-w, -h, w, h), -1) / 2
    return anchors.round() if rounded else anchors


def anchor_grid(
    base: Float[Tensor, "A 4"],
    feature_size: Size,
    stride: Side | tuple[Side, Side],
    *,
    centre: Centre = "cell",
) -> Float[Tensor, "N 4"]:
    """Repeat the base anchors at each cell of one feature map: N = H * W * A boxes.

    `feature_size` is (H, W) in cells, `stride` the pixels per cell, one number or (vertical, horizontal). With
    `centre="cell"` an anchor lies around the middle of its cell, with "corner" around the cell's upper left corner.

    Raises:
        ValueError: if `centre` is neither.
    """
    if centre not in ("cell", "corner"):
        raise ValueError(f"received centre={centre!r}, expected 'cell' or 'corner'")
    H, W = feature_size
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    offset = 0.5 if centre == "cell" else 0.0
    y = (torch.arange(H, dtype=base.dtype, device=base.device) + offset) * stride_y
    x = (torch.arange(W, dtype=base.dtype, device=base.device) + offset) * stride_x
    y, x = torch.meshgrid(y, x, indexing="ij")  # H W
    centres = torch.stack((x, y, x, y), -1)  # H W 4
    return (centres[:, :, None] + base).flatten(0, 2)  # HWA 4


def anchor_pyramid(
    bases: Sequence[Float[Tensor, "_ 4"]],
    feature_sizes: Sequence[Size],
    strides: Sequence[Side | tuple[Side, Side]],
    *,
    centre: Centre = "cell",
) -> Float[Tensor, "N 4"]:
    """Return the anchors of all levels of a feature pyramid, level after level.

    torchvision's strides are the size of the padded images floor-divided by that of the feature map, which is not the
    nominal stride where a level was rounded up (a 13-cell map of an 800-pixel canvas has 61, not 64).

    Raises:
        ValueError: if bases, feature sizes and strides are not equally many.
    """
    if not len(bases) == len(feature_sizes) == len(strides):
        received = f"{len(bases)} bases, {len(feature_sizes)} feature sizes and {len(strides)} strides"
        raise ValueError(f"received {received}, expected one of each per level")
    levels = zip(bases, feature_sizes, strides, strict=True)
    return torch.cat([anchor_grid(base, size, stride, centre=centre) for base, size, stride in levels])
