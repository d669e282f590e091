"""Convolutions whose weights differ from place to place (Taigman et al. 2014, section 3.1; Sun et al. 2014, section 2).

An aligned face has its eyes always in one place: what is looked for there may differ from what is looked for at the
chin. Regions of `share` x `share` places may have weights in common; where one region is the whole map, this is an
ordinary convolution.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LocallyConnected2d(nn.Module):
    """A convolution without padding that has weights of its own in each region of a map of one size.

    Args:
        in_channels, out_channels: C, D.
        kernel: its side.
        size: (H, W) of the maps that come in.
        stride: from a place to the next.
        share: side of the regions, in places.

    Raises:
        ValueError: if the map is smaller than the kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        size: tuple[int, int],
        *,
        stride: int = 1,
        share: int = 1,
    ):
        super().__init__()
        if min(size) < kernel:
            raise ValueError(f"received maps of {size[0]} x {size[1]}, expected at least the kernel, {kernel}")
        self.kernel, self.stride, self.share = kernel, stride, share
        self.size = ((size[0] - kernel) // stride + 1, (size[1] - kernel) // stride + 1)
        regions = [math.ceil(side / share) for side in self.size]
        bound = 1 / math.sqrt(in_channels * kernel**2)  # as of torch's convolutions
        self.weight = nn.Parameter(torch.empty(*regions, out_channels, in_channels * kernel**2))  # R S D C k k
        self.bias = nn.Parameter(torch.empty(*regions, out_channels))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        patches = F.unfold(x, self.kernel, stride=self.stride)  # B Ckk hw
        weight, bias = self._by_place(self.weight), self._by_place(self.bias)
        y = torch.einsum("bkp,pdk->bdp", patches, weight) + bias.T  # B D hw
        return y.unflatten(2, self.size)

    def _by_place(self, of_regions: Tensor) -> Tensor:
        """Return what each place has: hw ..."""
        for axis, side in enumerate(self.size if self.share > 1 else ()):
            of_regions = of_regions.repeat_interleave(self.share, axis).narrow(axis, 0, side)
        return of_regions.flatten(0, 1)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, kernel={self.kernel}, stride={self.stride}, share={self.share}"
