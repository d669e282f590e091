"""Stereo by one network: both pictures in, the disparity of the left one out; learnt from disparity or from pictures.

Mayer et al. 2016 (DispNet, arXiv 1512.02134) and Xie, Girshick, Farhadi 2016 (Deep3D, arXiv 1604.03650: learning by the
other picture); notes 6.1.1.

    left, right   B 3 H W each, side by side as channels
    disparity     at four scales, by the network of Monodepth: shares of the width
    losses        "disparity": at each scale, enlarged to the picture, how many pixels it is off where there is a match;
                  "pictures": what the left picture lacks that is rebuilt from the right one, as in Monodepth

Differs from the notes: they rebuild the right picture by the left one's disparity, whose holes have no value; here the
left one is sampled from the right. Differs from DispNet: its encoder's sizes, and losses at the size of the picture.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.depth.disparity_network import Disparities, DisparityNetwork
from vidi.depth.estimator import Cameras, Estimate, StereoEstimator, estimate_of_disparity
from vidi.depth.monodepth import AS_THEY_ARE, StereoCriterion
from vidi.model import Criterion, Losses, Step, in_float32, of_family
from vidi.preprocess import Batch

LearnsFrom = Literal["disparity", "pictures"]


class PairNetwork(DisparityNetwork):
    """The disparity of the left picture of a pair."""

    def forward(self, left: Float[Tensor, "B 3 H W"], right: Float[Tensor, "B 3 H W"]) -> Disparities:
        return self.scales(torch.cat((left, right), 1))


@dataclass(frozen=True)
class DisparityCriterion:
    """Pixels that disparities are off, as a mean over those that have a match."""

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Disparities, batch: Batch, step: Step) -> Losses:
        """Return "disparity".

        Raises:
            ValueError: if a target has no disparity.
        """
        batch.require("disparity", "disparity_valid")
        truth, valid = batch.maps("disparity"), batch.maps("disparity_valid").bool()
        count = step.normaliser(valid.sum())
        total = outputs.scale1.new_zeros(())
        for maps in outputs:
            whole = F.interpolate(maps, size=truth.shape[1:], mode="bilinear", align_corners=False)[:, 0]
            total = total + ((whole * truth.shape[2] - truth).abs() * valid).sum() / count
        return {"disparity": total / len(outputs)}


def left_disparity(outputs: Disparities, cameras: Cameras) -> Estimate:
    """Return depth by the finest disparity."""
    left = outputs.scale1[:, 0]
    return estimate_of_disparity(left * left.shape[2], cameras)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def stereo_cnn(
    name: str,
    *,
    learns_from: LearnsFrom = "disparity",
    encoder: Literal["vgg", "resnet50"] = "vgg",
    width: float | int = 1.0,
    size: tuple[int, int] | None = None,
    shorter: int = 256,
    longest: int = 512,
) -> StereoEstimator:
    """Build a network of stereo by its name.

    Args:
        learns_from: "disparity", or "pictures": without any truth.
        encoder: "vgg" or "resnet50" of Monodepth.
        width: multiplies all channels.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
    """
    criteria: dict[str, Criterion] = {"disparity": DisparityCriterion(), "pictures": StereoCriterion()}
    if learns_from not in criteria:
        raise ValueError(f"received learns_from={learns_from!r}, expected 'disparity' or 'pictures'")
    network = PairNetwork(encoder, in_channels=6, views=1, width=width)
    preprocess = replace(AS_THEY_ARE, shorter=shorter, longest=longest, exact=size, paired=True)
    return StereoEstimator(network, criteria[learns_from], left_disparity, preprocess)


stereo_vgg = of_family(stereo_cnn, "stereo_vgg", "31.6 M parameters")
stereo_tiny = of_family(
    stereo_cnn,
    "stereo_tiny",
    "trains in minutes on a CPU on the world at 128 pixels",
    width=0.5,
    shorter=128,
    longest=256,
)
