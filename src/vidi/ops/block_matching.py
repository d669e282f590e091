"""Block matching: the disparity of each pixel by comparing windows along the rows of a rectified pair.

The classical baseline of stereo (notes 6.0; Scharstein & Szeliski 2002, A Taxonomy and Evaluation of Dense Two-Frame
Stereo Correspondence Algorithms, IJCV 47). For each pixel of the left picture and each disparity d:

    left, right C H W -> cost of every pixel pair (x, x - d) -> summed over a window -> least cost -> parabola -> checks

    SAD      sum |l - r|, over the channels as well
    SSD      sum (l - r)^2
    census   in how many places of 5 x 5 the two differ in being darker than the middle (Zabih & Woodfill 1994); it does
             not mind when one camera is brighter than the other

A pixel is matched only inside the right picture: d <= x. Windows at the border repeat the edge pixels. The loops are
compiled (numba), and each window is a running sum, so that its size costs nothing. Bytes give exact whole numbers,
floats are summed in float64.

Differs from OpenCV's StereoBM: no prefilter and no threshold of texture; colour; a parabola for the part of a pixel (it
fits two lines of equal slope); pixels at the border are matched.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from vidi.ops.threads import share

Cost = Literal["sad", "ssd", "census"]
CENSUS_REACH = 2  # of 5 x 5 pixels
LARGEST_WINDOW = 99  # the square sums of colours in bytes stay below 2^31
PARALLEL_FROM = 2_000_000  # pixels times disparities, above which the threads that torch has share the rows


class StereoMatch(NamedTuple):
    """The disparity of the left picture."""

    disparity: Float32[Tensor, "H W"]  # pixels; 0 where not valid
    valid: Bool[Tensor, "H W"]


def block_matching(
    left: UInt8[Tensor, "C H W"] | Float[Tensor, "C H W"],
    right: UInt8[Tensor, "C H W"] | Float[Tensor, "C H W"],
    *,
    disparities: int = 64,
    window: int = 9,
    cost: Cost = "sad",
    subpixel: bool = True,
    uniqueness: float | int = 0.0,
    consistency: int | None = 1,
) -> StereoMatch:
    """Match the pixels of a rectified pair.

    Args:
        left: grey or in colour.
        right: of the same size and type.
        disparities: how many are tried: 0 to `disparities` - 1 pixels.
        window: side of the square that is compared, odd.
        cost: of a pair of pixels: "sad", "ssd" or "census".
        subpixel: whether to add the part of a pixel at which a parabola through the three costs around the least is
            lowest. It pulls towards whole disparities.
        uniqueness: by how much the next best disparity, beside those next to the best, must cost more than the best, as
            a share of it; else the pixel is not valid. 0: not asked.
        consistency: by how many pixels the disparity of a pixel may differ from that of its match in the right picture,
            matched the other way; else the pixel is not valid: the right picture does not show it. None: not asked.

    Raises:
        ValueError: if the pictures differ in size or type, have NaN or infinite values or no pixels, or if a number is
            out of its range.
    """
    from vidi.ops import block_matching_kernels

    _check(left, right, disparities, window, cost, uniqueness, consistency)
    if cost == "census":
        left, right = census(left), census(right)
    H, W = left.shape[1:]
    one, other = _padded(left, window // 2, 0), _padded(right, window // 2, disparities - 1)[..., ::-1]
    one, other = np.ascontiguousarray(one), np.ascontiguousarray(other)
    best, offsets = np.empty((H, W), np.int32), np.empty((H, W), np.float32)
    margins = np.empty((H if uniqueness > 0 else 0, W), np.float32)
    best_right = np.empty((0 if consistency is None else H, W), np.int32)

    def work(rows: np.ndarray) -> None:
        block_matching_kernels.match_rows(one, other, window, cost == "ssd", rows, best, offsets, margins, best_right)

    workers = torch.get_num_threads() if H * W * disparities >= PARALLEL_FROM else 1
    share(work, np.array_split(np.arange(H), workers))
    valid = np.ones((H, W), np.bool_)
    if uniqueness > 0:
        valid &= margins >= uniqueness
    if consistency is not None:
        matched = np.take_along_axis(best_right, np.arange(W) - best, 1)
        valid &= np.abs(matched - best) <= consistency
    disparity = best.astype(np.float32) + (offsets if subpixel else 0)
    disparity[~valid] = 0
    return StereoMatch(torch.from_numpy(disparity).to(left.device), torch.from_numpy(valid).to(left.device))


def census(image: UInt8[Tensor, "C H W"] | Float[Tensor, "C H W"]) -> UInt8[Tensor, "24 H W"]:
    """Return for each pixel which of the 24 around it are darker (1) or not (0); colours are added up.

    The sum of absolute differences of two of them is the Hamming distance of the census transforms.
    """
    grey = image.to(torch.float64).sum(0)  # H W
    H, W = grey.shape
    reach = CENSUS_REACH
    padded = F.pad(grey[None, None], (reach,) * 4, mode="replicate")[0, 0]
    around = padded.unfold(0, H, 1).unfold(1, W, 1).flatten(0, 1)  # 25 H W
    middle = len(around) // 2
    return (torch.cat((around[:middle], around[middle + 1 :])) < grey).to(torch.uint8)


def _padded(image: Tensor, reach: int, more: int) -> np.ndarray:
    """Return a picture with repeated edges, as whole numbers if it has bytes."""
    values = image.cpu().numpy()
    exact = values.astype(np.int32 if image.dtype == torch.uint8 else np.float64)
    return np.pad(exact, ((0, 0), (reach, reach), (reach + more, reach)), mode="edge")


def _check(
    left: Tensor,
    right: Tensor,
    disparities: int,
    window: int,
    cost: str,
    uniqueness: float,
    consistency: int | None,
) -> None:
    if left.shape != right.shape or left.dtype != right.dtype or left.numel() == 0:
        given = f"a left picture {tuple(left.shape)} of {left.dtype} and a right one {tuple(right.shape)}"
        raise ValueError(f"received {given} of {right.dtype}, expected equal sizes and types, and pixels")
    if left.is_floating_point() and not bool(left.isfinite().all() & right.isfinite().all()):
        raise ValueError("received pictures with NaN or infinite values, expected finite ones")
    if not 1 <= window <= LARGEST_WINDOW or window % 2 == 0:
        raise ValueError(f"received window={window}, expected an odd number from 1 to {LARGEST_WINDOW}")
    if disparities < 1:
        raise ValueError(f"received disparities={disparities}, expected at least 1")
    if cost not in get_args(Cost):
        raise ValueError(f"received cost={cost!r}, expected one of {', '.join(get_args(Cost))}")
    if not uniqueness >= 0 or (consistency is not None and consistency < 0):
        given = f"uniqueness={uniqueness} and consistency={consistency}"
        raise ValueError(f"received {given}, expected numbers that are not negative")
