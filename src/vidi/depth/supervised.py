"""Depth from one picture, learnt from measured depth: what self-supervised systems are compared with.

Eigen, Puhrsch, Fergus 2014, arXiv 1406.2283; notes 6.1.

    image    B 3 H W -> inverse depth at four scales, by the network of Monodepth
    losses   at each scale, enlarged to the picture: mean d^2 - 0.5 (mean d)^2 over the pixels with a depth, d the
             difference of the logarithms
    depth    in metres, of the finest scale

Differs from the paper: its two networks of 2014 are one encoder and decoder; the loss is that of its equation 4.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidi.depth.disparity_network import LARGEST, Disparities, DisparityNetwork, Encoder
from vidi.depth.estimator import Cameras, DepthEstimator, Estimate
from vidi.depth.monodepth import AS_THEY_ARE
from vidi.losses.depth import scale_invariant_log_loss
from vidi.model import Losses, Step, in_float32, of_family
from vidi.preprocess import Batch


@dataclass(frozen=True)
class DepthCriterion:
    """How far the logarithm of the depth is off, half of what all pixels share forgiven.

    Attributes:
        read_out: of the system.
        forgiven: the share of the common error that does not count (lambda).
    """

    read_out: "MetricDepth"
    forgiven: float = 0.5

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Disparities, batch: Batch, step: Step) -> Losses:
        """Return "depth".

        Raises:
            ValueError: if a target has no depth.
        """
        batch.require("depth", "depth_valid")
        depth, valid = batch.maps("depth"), batch.maps("depth_valid").bool()
        total = outputs.scale1.new_zeros(())
        for maps in outputs:
            whole = F.interpolate(maps, size=depth.shape[1:], mode="bilinear", align_corners=False)[:, 0]
            difference = -self.read_out.inverse(whole).log() - depth.log()
            total = total + scale_invariant_log_loss(difference, valid, forgiven=self.forgiven)
        return {"depth": total / len(outputs)}


@dataclass(frozen=True)
class MetricDepth:
    """The finest map as inverse depth in 1/m.

    Attributes:
        nearest: metres of the largest output.
    """

    nearest: float = 0.5

    def inverse(self, maps: Tensor) -> Tensor:
        """Return outputs in 1/m."""
        return maps / (LARGEST * self.nearest)

    def __call__(self, outputs: Disparities, cameras: Cameras) -> Estimate:
        inverse = self.inverse(outputs.scale1[:, 0])
        return Estimate(inverse, torch.ones(len(inverse), dtype=torch.bool, device=inverse.device), cameras.focals)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def depth_cnn(
    name: str,
    *,
    encoder: Encoder = "resnet18",
    width: float | int = 1.0,
    nearest: float | int = 0.5,
    forgiven: float = 0.5,
    size: tuple[int, int] | None = None,
    shorter: int = 256,
    longest: int = 512,
) -> DepthEstimator:
    """Build a network of depth by its name.

    Args:
        encoder: "vgg", "resnet50" without norms, or "resnet18" as for ImageNet.
        width: multiplies all channels.
        nearest: metres, the least depth that it can give.
        forgiven: the share of the error common to all pixels that the loss leaves out.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
    """
    if nearest <= 0:
        raise ValueError(f"received nearest={nearest}, expected a positive number of metres")
    read_out = MetricDepth(float(nearest))
    preprocess = replace(AS_THEY_ARE, shorter=shorter, longest=longest, exact=size)
    network = DisparityNetwork(encoder, views=1, width=width)
    return DepthEstimator(network, DepthCriterion(read_out, forgiven), read_out, preprocess)


depth_resnet18 = of_family(depth_cnn, "depth_resnet18", "14.3 M parameters; can begin with weights for ImageNet")
depth_tiny = of_family(
    depth_cnn,
    "depth_tiny",
    "trains in minutes on a CPU on the world at 128 pixels",
    encoder="vgg",
    width=0.5,
    shorter=128,
    longest=256,
)
