"""The losses of depth that is learnt without depth: how alike a rebuilt view is, how smooth and how consistent a map.

Godard, Mac Aodha, Brostow 2017 (Monodepth, arXiv 1609.03677, section 3.3; notes 6.1.1) and Zhou, Brown, Snavely, Lowe
2017 (SfMLearner, arXiv 1704.07813, sections 3.1 and 3.3; notes 6.1.2). Half precision is computed in float32: SSIM is a
difference of nearly equal numbers.

    L_ap = mean(alpha (1 - SSIM) / 2 + (1 - alpha) |I - I~|)          alpha = 0.85
    L_ds = mean |d_x| exp(-|I_x|) + mean |d_y| exp(-|I_y|)
    L_lr = mean |d_left(x) - d_right(x - d_left)|, and the same from the right

Differs from the notes: differences of colours are averaged over the channels, as in Monodepth's code, not summed (their
L1 norm); `channels="sum"` sums them. The sign in L_lr is that of `vidi.ops.warp`. Differs from Monodepth's code: L_ds
has its second term, which that code computes and then leaves out.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.losses.reduction import full_precision
from vidi.ops.warp import Beyond, left_from_right, right_from_left

Border = Literal["valid", "reflect"]
"""Where a window is compared: only inside the picture (the map is smaller), or everywhere, with a mirrored border."""
Channels = Literal["mean", "sum"]
"""How differences of colours are put together."""

SHADE, CONTRAST = 0.01, 0.03  # Wang et al. 2004: C1 = (0.01 L)^2, C2 = (0.03 L)^2, L the range of values
BOX = 3  # side of Monodepth's window
GAUSSIAN, SIGMA = 11, 1.5  # side and deviation of the window of Wang et al.


def ssim_box(
    first: Float[Tensor, "B C H W"],
    second: Float[Tensor, "B C H W"],
    *,
    border: Border = "valid",
    value_range: float | int = 1.0,
) -> Float[Tensor, "B C h w"]:
    """Return the structural similarity of every window of 3 x 3 pixels, all of them equal (Monodepth), in [-1, 1].

    Args:
        first: picture.
        second: picture.
        border: "valid": h = H - 2; "reflect": h = H (Monodepth2's border).
        value_range: the largest value of a picture minus the smallest that it may have.

    Raises:
        ValueError: if the pictures differ in size or are smaller than the window, or `border` is neither of the two.
    """
    return _ssim(first, second, BOX, border, value_range, lambda maps: F.avg_pool2d(maps, BOX, stride=1))


def ssim_gaussian(
    first: Float[Tensor, "B C H W"],
    second: Float[Tensor, "B C H W"],
    *,
    border: Border = "valid",
    value_range: float | int = 1.0,
) -> Float[Tensor, "B C h w"]:
    """Return the structural similarity of every window of 11 x 11 pixels, weighted by a Gaussian (Wang et al. 2004).

    "valid": h = H - 10. Otherwise as `ssim_box`.
    """
    offsets = torch.arange(GAUSSIAN, dtype=torch.float64) - GAUSSIAN // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()

    def blur(maps: Tensor) -> Tensor:
        C = maps.shape[1]
        kernel = weights.to(maps).expand(C, 1, GAUSSIAN)
        return F.conv2d(F.conv2d(maps, kernel[..., None], groups=C), kernel[..., None, :], groups=C)

    return _ssim(first, second, GAUSSIAN, border, value_range, blur)


def _ssim(
    first: Tensor,
    second: Tensor,
    side: int,
    border: Border,
    value_range: float | int,
    blur: Callable[[Tensor], Tensor],
) -> Tensor:
    if first.shape != second.shape or min(first.shape[2:]) < side:
        given = f"pictures of {tuple(first.shape)} and {tuple(second.shape)}"
        raise ValueError(f"received {given}, expected one size of at least {side} x {side}")
    if border not in ("valid", "reflect"):
        raise ValueError(f"received border={border!r}, expected 'valid' or 'reflect'")
    with torch.autocast(first.device.type, enabled=False):
        x, y = full_precision(first), full_precision(second)
        if border == "reflect":
            x, y = (F.pad(maps, (side // 2,) * 4, mode="reflect") for maps in (x, y))
        mean_x, mean_y = blur(x), blur(y)
        variances = blur(x**2) - mean_x**2 + blur(y**2) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        c1, c2 = (SHADE * value_range) ** 2, (CONTRAST * value_range) ** 2
        shade = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        return shade * (2 * covariance + c2) / (variances + c2)


def appearance_loss(
    rebuilt: Float[Tensor, "B C H W"],
    picture: Float[Tensor, "B C H W"],
    *,
    alpha: float | int = 0.85,
    border: Border = "valid",
    channels: Channels = "mean",
) -> Float[Tensor, ""]:
    """Return how unlike a rebuilt view is: alpha (1 - SSIM) / 2, in [0, 1], + (1 - alpha) |difference|, averaged.

    Args:
        rebuilt: the view, values in [0, 1].
        picture: what it should be.
        alpha: the share of the SSIM of 3 x 3 pixels.
        border: of that SSIM. "valid": the two terms are averaged over H-2 x W-2 and H x W pixels (Monodepth).
        channels: whether colours are averaged or summed.

    Raises:
        ValueError: if `alpha` is not in [0, 1], or `channels` neither of the two; and as `ssim_box`.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"received alpha={alpha}, expected a number in [0, 1]")
    structure = ((1 - ssim_box(rebuilt, picture, border=border)) / 2).clamp(0, 1)
    difference = (full_precision(rebuilt) - full_precision(picture)).abs()
    return (
        alpha * _over_channels(structure, channels).mean() + (1 - alpha) * _over_channels(difference, channels).mean()
    )


def edge_aware_smoothness_loss(
    disparity: Float[Tensor, "B 1 H W"], picture: Float[Tensor, "B C H W"], *, channels: Channels = "mean"
) -> Float[Tensor, ""]:
    """Return the mean step of a disparity (or inverse depth) from pixel to pixel, less where the picture has one.

    A step across counts exp(-|step of the picture|), so does one down; the two means are added. The loss has the unit
    of the disparity: Monodepth takes shares of the picture's width.

    Raises:
        ValueError: if the sizes differ, or `channels` is neither "mean" nor "sum".
    """
    if disparity.shape[2:] != picture.shape[2:]:
        given = f"maps of {tuple(disparity.shape[2:])} and a picture of {tuple(picture.shape[2:])}"
        raise ValueError(f"received {given}, expected one size")
    maps, colours = full_precision(disparity), full_precision(picture)
    steps = []
    for axis in (3, 2):
        weights = torch.exp(-_over_channels(colours.diff(dim=axis).abs(), channels))
        steps.append((maps.diff(dim=axis).abs() * weights).mean())
    return torch.stack(steps).sum()


def left_right_loss(
    left: Float[Tensor, "B 1 H W"], right: Float[Tensor, "B 1 H W"], *, beyond: Beyond = "edge"
) -> Float[Tensor, ""]:
    """Return by how many pixels the disparities of both views differ where they show the same point.

    The mean over the left view, whose pixel x is compared with x - d_left of the right one, plus that over the right
    view (x + d_right). Monodepth measures in shares of the width: divide by it.

    Args:
        left: disparity of the left view, in pixels.
        right: disparity of the right view.
        beyond: what the other disparity is outside of its picture; Monodepth's code: "zero".
    """
    left, right = full_precision(left), full_precision(right)
    seen_left = left_from_right(right, left, beyond=beyond).image
    seen_right = right_from_left(left, right, beyond=beyond).image
    return (left - seen_left).abs().mean() + (right - seen_right).abs().mean()


def second_order_smoothness_loss(maps: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """Return how much a map bends: the means of its four second differences, added (SfMLearner; a plane costs nothing).

    The four are along x twice, x then y, y then x, and y twice; the picture must have 3 x 3 pixels.
    """
    slopes = [full_precision(maps).diff(dim=axis) for axis in (3, 2)]
    return torch.stack([slope.diff(dim=axis).abs().mean() for slope in slopes for axis in (3, 2)]).sum()


def explainability_loss(logits: Float[Tensor, "*B 2 H W"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of every pixel with "explained", the second of two classes (SfMLearner).

    It keeps the network from explaining nothing, which would cost no appearance loss. The weight of a pixel is
    softmax(logits)[1].
    """
    return -full_precision(logits).log_softmax(-3).select(-3, 1).mean()


def scale_invariant_log_loss(
    difference: Float[Tensor, "B H W"], valid: Bool[Tensor, "B H W"], *, forgiven: float | int = 0.5
) -> Float[Tensor, ""]:
    """Return mean d^2 - forgiven (mean d)^2 over the valid pixels of each picture, averaged over the pictures.

    Eigen et al. 2014, equation 4. Pictures without a valid pixel count nothing.

    Args:
        difference: d = log(prediction) - log(truth).
        valid: where there is a truth.
        forgiven: the paper's lambda; 0: the squared error, 1: what is left when every picture is scaled at its best.
    """
    own = full_precision(difference).where(valid, 0)
    count = valid.sum((1, 2)).clamp(min=1)
    losses = (own**2).sum((1, 2)) / count - forgiven * (own.sum((1, 2)) / count) ** 2
    return losses.sum() / valid.any(2).any(1).sum().clamp(min=1)


def _over_channels(differences: Tensor, channels: Channels) -> Tensor:
    if channels == "mean":
        return differences.mean(1, keepdim=True)
    if channels == "sum":
        return differences.sum(1, keepdim=True)
    raise ValueError(f"received channels={channels!r}, expected 'mean' or 'sum'")
