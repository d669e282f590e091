"""How far one picture is from another."""

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(found: Float[Tensor, "C H W"], expected: Float[Tensor, "C H W"]) -> Float[Tensor, ""]:
    """Return the peak signal-to-noise ratio of pictures in [0, 1] in decibels: -10 log10 of the mean squared error."""
    return -10 * torch.log10((found - expected).square().mean())
