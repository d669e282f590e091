"""What AlexNet costs over n proposals: crop by crop (R-CNN), or once over the image (Fast R-CNN); notes, table 4.1.

    R-CNN        n x convolutions of a 227 x 227 crop   + n x linear layers
    Fast R-CNN   1 x convolutions of the H x W image    + n x linear layers

A multiply-add is 2 FLOPs, a bias 1. The network is the notes': one tower of 96, 256, 384, 384 and 256 channels. What
Fast R-CNN saves is in the convolutions alone; with thousands of proposals its linear layers are the bottleneck.

Differs from the notes: their table does not say how large the image is; its 16,310 M are those of 604 x 604 pixels.
"""

from dataclasses import dataclass

import torch
from torch import nn

from vidi.backbones.alexnet import FEATURE_SIZE, FlattenedHead, trunk
from vidi.nn.cost import CostReport, count_call, count_cost

CROP = (227, 227)
CLASSES = 1000
SMALLEST = 67  # pixels of a side from which on the last pool has an output


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
    if min(size) < SMALLEST:
        expected = f"sides of at least {SMALLEST}: it is too small for the network"
        raise ValueError(f"received an image of {size[0]} x {size[1]} pixels, expected {expected}")
    with torch.device("meta"):
        network = trunk("alexnet_ungrouped")
        return _flops_with_biases(network, count_cost(network, size))


def linear_flops() -> int:
    """Return the FLOPs of the three linear layers for one proposal."""
    with torch.device("meta"):
        trunk_channels = trunk("alexnet_ungrouped").channels[-1]
        head = FlattenedHead(trunk_channels, CLASSES, size=FEATURE_SIZE)
        return _flops_with_biases(head, count_call(head, torch.empty(1, trunk_channels, *FEATURE_SIZE)))


def _flops_with_biases(network: nn.Module, report: CostReport) -> int:
    """Add one operation for each output of a layer, as many as its products divided by the length of their sums."""
    total = report.flops
    for row in report.modules:
        layer = network.get_submodule(row.name)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            total += row.macs // layer.weight[0].numel()
    return total
