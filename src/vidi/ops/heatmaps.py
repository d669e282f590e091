"""Heatmaps of points: how far a point may be off, Gaussians around points, and the peaks of a map.

Law & Deng 2018 (CornerNet, arXiv 1808.01244, section 3.2), Zhou et al. 2019 (CenterNet, arXiv 1904.07850, section 3);
notes 4.3.5. A cell is a pixel of the map, counted in whole numbers (x, y) from its top left.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def gaussian_radius(sizes: Float[Tensor, "N 2"], *, min_iou: float | int) -> Float[Tensor, " N"]:
    """Return how far both corners of a box may move so that the new box still has an IoU of `min_iou` with it.

    Each corner moves by up to the radius along x and y. The worst boxes are shifted (both corners move alike), shrunk
    or grown; the radius is the least of the three (Law & Deng 2018, figure 5), in the unit of `sizes` (w, h).

    Raises:
        ValueError: if `min_iou` is not strictly between 0 and 1.
    """
    if not 0 < min_iou < 1:
        raise ValueError(f"received min_iou={min_iou}, expected a number strictly between 0 and 1")
    area, half = sizes.prod(1), sizes.sum(1)
    # (w - r)(h - r) = 2 o / (1 + o) w h,   (w - 2 r)(h - 2 r) = o w h,   w h = o (w + 2 r)(h + 2 r)
    shifted = (half - (half**2 - 4 * area * (1 - min_iou) / (1 + min_iou)).sqrt()) / 2
    shrunk = (half - (half**2 - 4 * area * (1 - min_iou)).sqrt()) / 4
    grown = ((half**2 + 4 * area * (1 / min_iou - 1)).sqrt() - half) / 4
    return torch.minimum(torch.minimum(shifted, shrunk), grown)


def splat_gaussians(
    cells: Int64[Tensor, "N 2"], sigmas: Float[Tensor, " N"], channels: Int64[Tensor, " N"], shape: tuple[int, int, int]
) -> Float[Tensor, "K h w"]:
    """Return maps of `shape` (K, h, w) with a Gaussian around each cell (x, y) in its channel.

    A Gaussian is exactly 1 at its cell; where several meet, the largest counts. Deviations are in cells, and positive.
    """
    K, h, w = shape
    x, y = cells.unbind(1)
    spread = 2 * sigmas[:, None] ** 2  # N 1
    across = torch.exp(-((torch.arange(w, device=cells.device) - x[:, None]) ** 2) / spread)  # N w
    down = torch.exp(-((torch.arange(h, device=cells.device) - y[:, None]) ** 2) / spread)  # N h
    gaussians = down[:, :, None] * across[:, None]  # N h w
    index = channels[:, None, None].expand_as(gaussians)
    return sigmas.new_zeros(K, h, w).scatter_reduce(0, index, gaussians, "amax")


def local_peaks(maps: Float[Tensor, "B K h w"], *, window: int = 3) -> Bool[Tensor, "B K h w"]:
    """Say of each cell whether nothing in the square of `window` cells around it is larger; cells of -inf are none.

    Raises:
        ValueError: if `window` is not odd and positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"received window={window}, expected an odd positive number")
    highest = F.max_pool2d(maps, window, stride=1, padding=window // 2)
    return (maps == highest) & maps.isfinite()
