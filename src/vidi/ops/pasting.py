"""Pasting: small masks of probabilities, each of its box, become masks of the whole picture.

He et al. 2017, Mask R-CNN, arXiv 1703.06870, section 3: the m x m mask is resized to the box and cut at 0.5. Between
the centres of its cells the probability is bilinear, and beyond the outer ones it falls to 0 half a cell outside the
box. Pixels are looked at inside the box only, and become run lengths at once.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vidi.ops.masks import CodedMasks, as_strings


def paste_masks(
    masks: Float[Tensor, "N m n"],
    boxes: Float[Tensor, "N 4"],
    size: tuple[int, int],
    *,
    threshold: float | int = 0.5,
    rounded: bool = False,
) -> CodedMasks:
    """Return masks in a picture of `size` (H, W): the pixels with a probability of at least `threshold`.

    Args:
        masks: probabilities, in [0, 1].
        boxes: xyxy, pixels of the picture.
        size: of the picture.
        threshold: above 0.
        rounded: whether corners are cut off to whole pixels first and both are inside the box, as in torchvision's
            `paste_masks_in_image`; else a pixel has the probability of its centre.

    Raises:
        ValueError: if the threshold is not in (0, 1], or a box is not finite.
    """
    from vidi.ops.pasting_kernels import paste

    if not 0 < threshold <= 1:
        raise ValueError(f"received threshold={threshold}, expected a number in (0, 1]")
    if not boxes.isfinite().all():
        raise ValueError("received boxes that are not finite")
    H, W = size
    N, m, n = masks.shape
    places = boxes.detach().cpu().double().numpy()
    origins, scales = _placed(places, np.array([n, m]), rounded=rounded)
    ends = origins + np.array([n + 2, m + 2]) / scales
    limits = np.array([W, H])
    first = np.floor(origins).clip(0, limits).astype(np.int64)  # N 2: x, y
    last = np.ceil(ends).clip(first, limits).astype(np.int64)
    ranges = np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], 1)
    columns = int((last - first)[:, 0].sum())
    intervals = np.empty((columns * (m // 2 + 2), 2), np.int32)
    offsets = np.zeros(N + 1, np.int64)
    probabilities = np.ascontiguousarray(masks.detach().cpu().double().numpy())
    paste(probabilities, origins, scales, ranges, H, float(threshold), intervals, offsets)
    return CodedMasks(as_strings(intervals[: offsets[-1]], offsets, size), size)


def _placed(
    boxes: Float64[np.ndarray, "N 4"], cells: Int64[np.ndarray, " 2"], *, rounded: bool
) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, "N 2"]]:
    """Return the upper left corner of the mask with its ring of one cell, and the cells for a pixel, along x and y.

    A box without width or height is made very narrow: no centre of a pixel lies in it.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    if not rounded:
        sides = np.maximum(sides, 1e-6)
        return boxes[:, :2] - sides / cells, cells / sides
    middle, half = (boxes[:, 2:] + boxes[:, :2]) * 0.5, sides * 0.5 * ((cells + 2) / cells)
    first, last = np.trunc(middle - half), np.trunc(middle + half)
    return first, (cells + 2) / np.maximum(last - first + 1, 1)
