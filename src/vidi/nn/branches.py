"""What the networks of the Inception line are made of: convolutions at any width, and branches side by side."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import NormLayer

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class ConvUnit:
    """Makes a convolution, its normalisation and a ReLU; channels are given as in the paper, for the full width."""

    norm: NormLayer | None  # None: a bias instead, as before batch normalisation
    width: int = 1
    full: int = 1

    def channels(self, count: int) -> int:
        """Return what a number of channels of the paper becomes; an image keeps its three."""
        return count if count == IMAGE_CHANNELS else count * self.width // self.full

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        *,
        padding: int | None = None,  # None: half the kernel
    ) -> nn.Module:
        channels = self.channels(in_channels), self.channels(out_channels)
        if self.norm is not None:
            return ConvNorm(*channels, kernel, stride, norm=self.norm, padding=padding)
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        half = (rows // 2, columns // 2)
        conv = nn.Conv2d(*channels, kernel, stride, padding=half if padding is None else padding)
        return nn.Sequential(conv, nn.ReLU(inplace=True))


class Branches(nn.ModuleList):
    """Several modules over one map, their outputs concatenated on the channels."""

    def __init__(self, *branches: nn.Module):
        super().__init__(branches)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return torch.cat([branch(x) for branch in self], 1)
