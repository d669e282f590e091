"""What AlexNet costs over n proposals: crop by crop (R-CNN), or once over the image (Fast R-CNN); notes, table 4.1.

    R-CNN        n x convolutions of a 227 x 227 crop   + n x linear layers
    Fast R-CNN   1 x convolutions of the H x W image    + n x linear layers

A multiply-add is 2 FLOPs, a bias 1. The network is the notes': one tower of 96, 256, 384, 384 and 256 channels. What
Fast R-CNN saves is in the convolutions alone; with thousands of proposals its linear layers are the bottleneck.

Differs from the notes: their table does not say how large the image is; its 16,310 M are those of 604 x 604 pixels.
"""

from dataclasses import dataclass

CROP = (227, 227)

# channels in and out, kernel, stride, padding, whether a 3x3 pool of stride 2 follows
CONVOLUTIONS = (
    (3, 96, 11, 4, 0, True),
    (96, 256, 5, 1, 2, True),
    (256, 384, 3, 1, 1, False),
    (384, 384, 3, 1, 1, False),
    (384, 256, 3, 1, 1, True),
)
LINEAR = ((256 * 6 * 6, 4096), (4096, 4096), (4096, 1000))  # inputs, outputs


@dataclass(frozen=True)
class ProposalCosts:
    """FLOPs of both detectors for one image with n proposals."""

    proposals: int
    rcnn_convolutions: int
    fast_convolutions: int
    linear: int  # of either

    @property
    def rcnn(self) -> int:
        return self.rcnn_convolutions + self.linear

    @property
    def fast(self) -> int:
        return self.fast_convolutions + self.linear


def proposal_costs(size: tuple[int, int], proposals: int) -> ProposalCosts:
    """Return what n proposals of an image of size (H, W) cost.

    Raises:
        ValueError: if the number is negative, or the image too small for the network.
    """
    if proposals < 0:
        raise ValueError(f"received proposals={proposals}, expected at least 0")
    of_crops = proposals * convolution_flops(CROP)
    return ProposalCosts(proposals, of_crops, convolution_flops(size), proposals * linear_flops())


def crossover(size: tuple[int, int]) -> int:
    """Return the least number of proposals for which one pass over an image of size (H, W) is cheaper than crops."""
    return convolution_flops(size) // convolution_flops(CROP) + 1


def convolution_flops(size: tuple[int, int]) -> int:
    """Return the FLOPs of the five convolutions on an image of size (H, W)."""
    H, W = size
    total = 0
    for in_channels, out_channels, kernel, stride, padding, pooled in CONVOLUTIONS:
        H, W = ((side + 2 * padding - kernel) // stride + 1 for side in (H, W))
        if min(H, W) < 1:
            raise ValueError(f"received an image of {size[0]} x {size[1]} pixels, which is too small for the network")
        total += H * W * out_channels * (2 * in_channels * kernel**2 + 1)
        if pooled:
            H, W = ((side - 3) // 2 + 1 for side in (H, W))
    return total


def linear_flops() -> int:
    """Return the FLOPs of the three linear layers for one proposal."""
    return sum(outputs * (2 * inputs + 1) for inputs, outputs in LINEAR)
