"""Monodepth: depth from one picture, learnt from stereo pairs without depth, with and without left-right consistency.

Godard, Mac Aodha, Brostow 2017, arXiv 1609.03677; notes 6.1.1.

    left       B 3 H W, alone -> disparities of the left view and the right view at four scales, shares of the width
    rebuilt    the left picture from the right one and the left disparity, and the other way round
    losses     at each scale: appearance of the rebuilt pictures, 0.1 / stride times the smoothness of the disparities,
               and how well these agree
    depth      of the left disparity: focal length times baseline / disparity

Without left-right there is one disparity, and one picture to rebuild; `rebuilds="right"` is the naive flow of the
notes, which rebuilds the right picture by a disparity that is then not the left view's.

Differs from the notes: signs are those of `vidi.ops.warp`. Differs from the published code: the smoothness has its
vertical term, which that code computes and leaves out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.depth.disparity_network import FIRST, Disparities, DisparityNetwork, Encoder, Upsampling
from vidi.depth.estimator import Cameras, DepthEstimator, Estimate, estimate_of_disparity
from vidi.losses.depth import appearance_loss, edge_aware_smoothness_loss, left_right_loss
from vidi.model import Losses, Step, in_float32, of_family
from vidi.ops.warp import Beyond, Warped, left_from_right, right_from_left
from vidi.preprocess import Batch, Preprocess, unit_range

Rebuilds = Literal["left", "right"]
AS_THEY_ARE = Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3)  # pictures in [0, 1]


class Pair(NamedTuple):
    """Both pictures of a stereo pair at one scale, in [0, 1], and the disparities there in pixels."""

    left: Float[Tensor, "B 3 h w"]
    right: Float[Tensor, "B 3 h w"]
    disparities: Float[Tensor, "B V h w"]
    stride: int


@dataclass(frozen=True)
class StereoCriterion:
    """What rebuilt pictures lack, how rough disparities are and how they contradict each other.

    Attributes:
        alpha: share of the structural similarity in the appearance.
        appearance, smoothness, consistency: weights (section 3.3 of the paper).
        rebuilds: the picture that one disparity rebuilds.
        beyond: what the other picture and its disparity are outside of themselves. "zero", as in the published code,
            draws what has no match, at a border of the picture, towards no disparity; "edge" leaves it to its
            surroundings.
    """

    alpha: float = 0.85
    appearance: float = 1.0
    smoothness: float = 0.1
    consistency: float = 1.0
    rebuilds: Rebuilds = "left"
    beyond: Beyond = "zero"

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Disparities, batch: Batch, step: Step) -> Losses:
        """Return "appearance" and "smoothness", and "consistency" of two views.

        Raises:
            ValueError: if a target has no right picture.
        """
        losses: dict[str, Tensor] = {}
        for pair, share in pairs_at_scales(outputs, batch):
            for name, value in self._at_one_scale(pair).items():
                losses[name] = losses.get(name, 0) + share * value
        return losses

    def _unlike(self, rebuilt: Warped, picture: Tensor) -> Tensor:
        return appearance_loss(rebuilt.image, picture, alpha=self.alpha)

    def _at_one_scale(self, pair: Pair) -> Losses:
        left, right = pair.disparities[:, :1], pair.disparities[:, -1:]
        width, smooth = pair.disparities.shape[3], self.smoothness / pair.stride
        if pair.disparities.shape[1] == 1:
            to_left = self.rebuilds == "left"
            picture, other = (pair.left, pair.right) if to_left else (pair.right, pair.left)
            rebuild = left_from_right if to_left else right_from_left
            return {
                "appearance": self.appearance * self._unlike(rebuild(other, left, beyond=self.beyond), picture),
                "smoothness": smooth * edge_aware_smoothness_loss(left / width, pair.left),
            }
        return {
            "appearance": self.appearance
            * (
                self._unlike(left_from_right(pair.right, left, beyond=self.beyond), pair.left)
                + self._unlike(right_from_left(pair.left, right, beyond=self.beyond), pair.right)
            ),
            "smoothness": smooth
            * (
                edge_aware_smoothness_loss(left / width, pair.left)
                + edge_aware_smoothness_loss(right / width, pair.right)
            ),
            "consistency": self.consistency * left_right_loss(left, right, beyond=self.beyond) / width,
        }


def pairs_at_scales(outputs: Disparities, batch: Batch) -> Iterator[tuple[Pair, float]]:
    """Yield pairs at each scale and the share of the batch's pictures that they are.

    They are all pictures at once, but where sizes differ, each without its padding.
    """
    batch.require("right")
    canvas, right = batch.images.shape[2:], unit_range(batch.maps("right"))
    count = len(batch.images)
    sizes = {canvas} if batch.mask.all() else [placement.resized for placement in batch.placements]
    for row, (h, w) in enumerate(sizes):
        rows = slice(None) if len(sizes) == 1 else slice(row, row + 1)
        pictures = batch.images[rows, :, :h, :w], right[rows, :, :h, :w]
        for number, shares in enumerate(outputs):
            size = [-(-side // 2**number) for side in (h, w)]
            left_small, right_small = (F.interpolate(maps, size=size, mode="area") for maps in pictures)
            disparities = shares[rows, :, : size[0], : size[1]] * shares.shape[3]
            yield Pair(left_small, right_small, disparities, 2**number), len(left_small) / count


@dataclass(frozen=True)
class LeftDisparity:
    """Depth by the left disparity.

    Attributes:
        baseline: metres between the cameras that the network was trained with; None: not known.
    """

    baseline: float | None = None

    def __call__(self, outputs: Disparities, cameras: Cameras) -> Estimate:
        left = outputs.scale1[:, 0]
        baseline = math.nan if self.baseline is None else self.baseline
        known = cameras._replace(baselines=torch.full_like(cameras.focals, baseline))
        return estimate_of_disparity(left * left.shape[2], known)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def monodepth(
    name: str,
    *,
    baseline: float | None = None,
    encoder: Encoder = "vgg",
    width: float | int = 1.0,
    left_right: bool = True,
    rebuilds: Rebuilds = "left",
    upsampling: Upsampling = "nearest",
    averaged: bool = False,
    beyond: Beyond = "zero",
    first: float = FIRST,
    alpha: float = 0.85,
    appearance_weight: float = 1.0,
    smoothness_weight: float = 0.1,
    consistency_weight: float = 1.0,
    size: tuple[int, int] | None = None,
    shorter: int = 256,
    longest: int = 512,
) -> DepthEstimator:
    """Build a Monodepth by its name.

    Args:
        baseline: metres between the cameras of the pairs that it is trained with; None: depth has no known unit.
        encoder: "vgg" or "resnet50" of the paper, or "resnet18" as for ImageNet.
        width: multiplies all channels.
        left_right: whether both disparities are found, and compared.
        rebuilds: without `left_right`, the picture that is rebuilt.
        upsampling: "nearest", or "bilinear" as in the notes.
        averaged: whether a prediction is averaged with that for the mirrored picture.
        beyond: what a picture is outside of itself, for the losses: "zero" as in the published code, or "edge".
        first: share of the width that disparities begin at; the published network's begin in the middle of its sigmoid,
            from where far pixels stay in minima of the appearance.
        alpha: share of the structural similarity in the appearance.
        appearance_weight, smoothness_weight, consistency_weight: of the losses.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
    """
    if rebuilds not in ("left", "right"):
        raise ValueError(f"received rebuilds={rebuilds!r}, expected 'left' or 'right'")
    network = DisparityNetwork(
        encoder, views=2 if left_right else 1, width=width, upsampling=upsampling, averaged=averaged, first=first
    )
    criterion = StereoCriterion(alpha, appearance_weight, smoothness_weight, consistency_weight, rebuilds, beyond)
    preprocess = replace(AS_THEY_ARE, shorter=shorter, longest=longest, exact=size)
    return DepthEstimator(network, criterion, LeftDisparity(baseline), preprocess)


monodepth_vgg = of_family(monodepth, "monodepth_vgg", "31.6 M parameters, KITTI AbsRel 0.148 (paper, table 1)")
monodepth_resnet50 = of_family(
    monodepth, "monodepth_resnet50", "58.5 M parameters; the paper's ResNet without norms", encoder="resnet50"
)
monodepth_resnet18 = of_family(
    monodepth, "monodepth_resnet18", "14.3 M parameters; can begin with weights for ImageNet", encoder="resnet18"
)
monodepth_tiny = of_family(
    monodepth,
    "monodepth_tiny",
    "trains in minutes on a CPU on the world at 128 pixels",
    width=0.5,
    beyond="edge",
    first=0.03,
    shorter=128,
    longest=256,
)
