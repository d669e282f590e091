"""The losses of Depth Pro: errors of inverse depth, and of its first and second derivatives at several scales.

Bochkovskii et al. 2024, arXiv 2410.02073, section 3.2, and Ranftl et al. 2020 (MiDaS, arXiv 1907.01341, equations 6 and
7). All are linear in d = C - C^, the difference of a found and a true map, so they take that; each is averaged over the
pixels of a picture that have a truth, then over the pictures that have such a pixel.

    MAE, MSE   mean |d|, mean d^2
    SSI-       of maps that are normalised by median and mean deviation: their scales and shifts do not count
    L_{*,p,M}  mean over M scales of mean |grad_* d|^p           each scale half the size of the one before
    MAGE       Scharr, p = 1, M = 6        MALE   Laplace, p = 1, M = 6        MSGE   Scharr, p = 2, M = 6

The paper leaves open how maps are blurred before they are halved: here a pixel is the mean of four. It leaves open the
kernels' factors: Scharr's give the slope per pixel, (3 10 3)/16 across (-1 0 1)/2, and Laplace's the sum of the two
second differences, 4 neighbours. |grad|^p is |x|^p + |y|^p. A derivative counts where all nine pixels have a truth, and
a pixel of a smaller map has one where all four had; a scale at which none is left does not count.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.losses.reduction import full_precision

Derivative = Literal["scharr", "laplace"]

SMALLEST = 1e-6  # mean deviation that a map is divided by

_SLOPE = torch.outer(torch.tensor([3.0, 10.0, 3.0]) / 16, torch.tensor([-1.0, 0.0, 1.0]) / 2)
KERNELS: dict[Derivative, Tensor] = {
    "scharr": torch.stack((_SLOPE, _SLOPE.T)),
    "laplace": torch.tensor([[[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]]),
}


def mean_error(
    difference: Float[Tensor, "B H W"], valid: Bool[Tensor, "B H W"], *, power: Literal[1, 2] = 1
) -> Float[Tensor, ""]:
    """Return the mean difference of the valid pixels, absolute (MAE) or squared (MSE).

    Args:
        difference: found minus true values.
        valid: where there is a truth that counts.
        power: of the absolute differences.
    """
    own = full_precision(difference).where(valid, 0)
    return _over_pictures((own.abs() ** power).sum((1, 2)), valid.sum((1, 2)))


def without_worst(
    difference: Float[Tensor, "B H W"], valid: Bool[Tensor, "B H W"], *, share: float = 0.2
) -> Bool[Tensor, "B H W"]:
    """Return the valid pixels of each picture without that share of them whose absolute difference is largest.

    Where measured depth is off by much, it is rather the measurement that errs.

    Raises:
        ValueError: if `share` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"received share={share}, expected a number in [0, 1)")
    errors = full_precision(difference.detach()).abs().where(valid, torch.inf).flatten(1)
    count = valid.sum((1, 2))
    kept = count - (count * share).floor().long()
    largest = errors.sort(1).values.gather(1, (kept - 1).clamp(min=0)[:, None])
    return valid & (errors <= largest).unflatten(1, valid.shape[1:])


def normalised_map(maps: Float[Tensor, "B H W"], valid: Bool[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    """Return maps minus their median over the valid pixels, divided by the mean deviation from it there.

    What is left does not change with the scale and the shift of a map; 0 where it is not valid.
    """
    own = full_precision(maps)
    middle = own.where(valid, torch.nan).flatten(1).nanmedian(1).values.nan_to_num()
    centred = (own - middle[:, None, None]).where(valid, 0)
    deviation = centred.abs().sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
    return centred / deviation.clamp(min=SMALLEST)[:, None, None]


def derivative_error(
    difference: Float[Tensor, "B H W"],
    valid: Bool[Tensor, "B H W"],
    *,
    derivative: Derivative,
    power: Literal[1, 2],
    scales: int = 6,
) -> Float[Tensor, ""]:
    """Return how much the derivatives of two maps differ, L_{*,p,M}: MAGE, MALE and MSGE by their arguments.

    Args:
        difference: found minus true values.
        valid: where there is a truth.
        derivative: "scharr", the slopes along x and y, or "laplace".
        power: of the absolute differences.
        scales: M; those at which a map has fewer than 3 x 3 pixels are left out.
    """
    own = full_precision(difference).where(valid, 0)[:, None]  # B 1 H W
    mask = valid[:, None].to(own)
    kernels = KERNELS[derivative].to(own)[:, None]  # k 1 3 3
    sums, counts = own.new_zeros(len(own)), own.new_zeros(len(own))
    for _ in range(scales):
        if min(own.shape[2:]) < 3:
            break
        known = -F.max_pool2d(-mask, 3, stride=1)  # 1 where all nine are
        errors = (F.conv2d(own, kernels).abs() ** power).sum(1, keepdim=True) * known
        count = known.sum((1, 2, 3))
        sums = sums + errors.sum((1, 2, 3)) / count.clamp(min=1)
        counts = counts + (count > 0)
        own, mask = F.avg_pool2d(own, 2), -F.max_pool2d(-mask, 2)
        own = own * mask
    return _over_pictures(sums, counts)


def _over_pictures(sums: Float[Tensor, " B"], counts: Tensor) -> Float[Tensor, ""]:
    """Average over pictures what each has as a mean; without a picture that has one it is 0."""
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
