"""Spatial pyramid pooling: maps of any size to vectors of one length.

He et al. 2014, arXiv 1406.4729; notes 5.A. At each level a map is cut into k x k bins, whose maxima are put in a row;
bin i of n pixels goes from floor(i n / k) to ceil((i + 1) n / k).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

LEVELS = (1, 2, 3, 6)  # 50 bins


def spatial_pyramid_pool(x: Float[Tensor, "B C H W"], levels: Sequence[int] = LEVELS) -> Float[Tensor, "B CN"]:
    """Return the maxima of all bins of all levels: for each level, each channel's k x k bins row by row.

    Raises:
        ValueError: if there is no level, one is below 1, or the maps have no pixel.
    """
    if not levels or min(levels) < 1 or not x.shape[2] * x.shape[3]:
        received = f"levels {tuple(levels)} and maps of {tuple(x.shape[2:])}"
        raise ValueError(f"received {received}, expected at least 1 of each")
    return torch.cat([_pooled(x, level).flatten(1) for level in levels], 1)


def _pooled(x: Float[Tensor, "B C H W"], level: int) -> Float[Tensor, "B C k k"]:
    rows, columns = (_bins(side, level) for side in x.shape[2:])
    bands = torch.stack([x[:, :, top:bottom].amax(2) for top, bottom in rows], 2)  # B C k W
    return torch.stack([bands[..., left:right].amax(3) for left, right in columns], 3)


def _bins(side: int, count: int) -> list[tuple[int, int]]:
    """Return where each bin of a side begins and ends."""
    return [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]
