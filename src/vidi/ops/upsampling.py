"""Upsampling written to be read: by the nearest pixel, between pixels, and the kernel that does it as a convolution.

    nearest     y[j, i] = x[floor(j h / H), floor(i w / W)]
    bilinear    y[j, i] between the four pixels about (v, u); centres on centres (`align_corners=False`):
                v = (j + 1/2) h / H - 1/2;  corners on corners (True): v = j (h - 1) / (H - 1)
    tent        upsampling by f is a transposed convolution of stride f whose kernel of 2 f (or 2 f - 1) pixels a side
                is 1 - |i - c| / f, c its centre, times the same in y

Long et al. 2015, arXiv 1411.4038; notes 5.1.3, 5.1.4. `torch.nn.functional.interpolate` does the first two faster.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Size = tuple[int, int]


def nearest_upsampled(x: Float[Tensor, "B C h w"], size: Size) -> Float[Tensor, "B C H W"]:
    """Repeat pixels: each of the result takes the one that its own place, scaled down and rounded down, falls on."""
    (h, w), (H, W) = x.shape[2:], size
    rows, columns = torch.arange(H) * h // H, torch.arange(W) * w // W
    return x[:, :, rows][:, :, :, columns]


def bilinear_upsampled(
    x: Float[Tensor, "B C h w"], size: Size, *, align_corners: bool = False
) -> Float[Tensor, "B C H W"]:
    """Interpolate between the four pixels about each place; beyond the outer centres they are repeated.

    Args:
        x: maps.
        size: (H, W) of the result.
        align_corners: lay the centres of the corner pixels on each other, instead of the corners of the pictures.
    """
    rows, columns = (_mixture(old, new, align_corners).to(x) for old, new in zip(x.shape[2:], size, strict=True))
    return torch.einsum("bchw,jh,iw->bcji", x, rows, columns)


def _mixture(old: int, new: int, align_corners: bool) -> Float[Tensor, "new old"]:
    """Return the weight of each old pixel in each new one along a side."""
    places = torch.arange(new, dtype=torch.float64)
    places = places * (old - 1) / max(new - 1, 1) if align_corners else (places + 0.5) * old / new - 0.5
    places = places.clamp(0, old - 1)
    return (1 - (places[:, None] - torch.arange(old)).abs()).clamp(min=0)


def bilinear_rows(
    x: Callable[[slice], Float[Tensor, "C n w"]], old: int, size: Size, rows: slice
) -> Float[Tensor, "C m W"]:
    """Interpolate some rows of what `bilinear_upsampled` makes of large maps, each as if it were made alone.

    Args:
        x: gives the rows of the maps that it is asked for, which are no more than those between which the new ones lie.
        old: the rows that the maps have.
        size: (H, W) of the whole result.
        rows: of the result, from 0 to H.
    """
    places = torch.arange(rows.start, rows.stop, dtype=torch.float64)
    places = ((places + 0.5) * old / size[0] - 0.5).clamp(0, old - 1)
    above = places.long()
    below = (above + 1).clamp(max=old - 1)
    first = int(above[0])
    maps = x(slice(first, int(below[-1]) + 1))
    share = (places - above).to(maps)[:, None]
    above, below = ((part - first).to(maps.device) for part in (above, below))
    between = torch.lerp(maps.index_select(1, above), maps.index_select(1, below), share)  # C m w
    return F.interpolate(between[None], (len(places), size[1]), mode="bilinear", align_corners=False)[0]


def bilinear_kernel(size: int) -> Float[Tensor, "size size"]:
    """Return the tent of `size` pixels a side, which upsamples by ceil(size / 2), in float64.

    Raises:
        ValueError: if the size is below 1.
    """
    if size < 1:
        raise ValueError(f"received size={size}, expected at least 1")
    tent = 1 - (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs() / ((size + 1) // 2)
    return tent[:, None] * tent


def stamped_bilinear(
    x: Float[Tensor, "B C h w"], factor: int, *, kernel: int | None = None
) -> Float[Tensor, "B C H W"]:
    """Upsample by a fixed transposed convolution with the tent, unpadded: H = (h - 1) factor + kernel.

    Args:
        x: maps.
        factor: the stride.
        kernel: pixels a side, 2 factor (None) or 2 factor - 1: the even one puts a pixel's value between `factor`
            pixels, the odd one on one of them.
    """
    channels = x.shape[1]
    tent = bilinear_kernel(kernel or 2 * factor).to(x).expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x, tent, stride=factor, groups=channels)
