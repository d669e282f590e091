"""SfMLearner: depth and the camera's motion, learnt together from videos without either.

Zhou, Brown, Snavely, Lowe 2017, arXiv 1704.07813; notes 6.1.2.

    target       B 3 H W -> inverse depth at four scales
    frames       target and neighbours -> poses T_neighbour_target, and which pixels the neighbours explain
    rebuilt      the target from each neighbour: p_neighbour ~ K T z K^-1 p_target
    losses       at each scale, summed over the neighbours: how far the rebuilt picture is off where it is explained,
                 0.2 of the cross-entropy with "explained"; 0.5 / stride of how much the inverse depth bends
    depth        of the finest scale, in an unknown unit: scaled by the medians where a truth is known

Differs from the notes: there, the pose is used "to project" only; the mask of what is explained, the smoothness and the
unknown unit are the paper's. Pictures are in [-1, 1], as in the published code.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.depth.estimator import Cameras, DepthEstimator, Estimate
from vidi.depth.frame_networks import DepthNetwork, InverseDepths, MotionNetwork
from vidi.keys import resizing
from vidi.losses.depth import explainability_loss, second_order_smoothness_loss
from vidi.model import Losses, Step, in_float32, of_family
from vidi.ops.rigid import euler_to_pose
from vidi.ops.warp import Beyond, inverse_warp
from vidi.preprocess import AnyBatch, Batch, Preprocess, unit_range
from vidi.results.depth_map import DepthMap

MEAN, STD = 0.5, 0.5


class FrameNetwork(nn.Module):
    """Both networks; alone, a picture goes through that of depth."""

    def __init__(self, depth: DepthNetwork, motion: MotionNetwork):
        super().__init__()
        self.depth, self.motion = depth, motion

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> InverseDepths:
        return self.depth(images)


class VideoOutputs(NamedTuple):
    """What training looks at, of both networks."""

    depths: tuple[Float[Tensor, "B 1 _ _"], ...]  # at four scales
    vectors: Float[Tensor, "B S 6"]
    explained: tuple[Float[Tensor, "B S 2 _ _"], ...]


@dataclass(frozen=True)
class VideoCriterion:
    """What a neighbour fails to explain of the target.

    Attributes:
        smoothness, explained: weights (section 4).
        normalized: whether the inverse depth is divided by its mean before it is smoothed (Wang et al. 2018, arXiv
            1712.00175): smoothness then draws the unknown unit nowhere, and weighs the same in all of them.
        beyond: what a neighbour is outside of itself. "zero", as in the published code, draws what it does not show, at
            a border of the picture, far away; "edge" leaves it to its surroundings.
    """

    smoothness: float = 0.5
    explained: float = 0.2
    normalized: bool = False
    beyond: Beyond = "zero"

    def __call__(self, network: Any, batch: Batch, step: Step) -> Losses:
        motion = network.motion(batch.images, frames_of(batch))
        return self.compare_views(VideoOutputs(tuple(network.depth(batch.images)), *motion), batch, step)

    @in_float32
    def compare_views(self, outputs: VideoOutputs, batch: Batch, step: Step) -> Losses:
        """Return "appearance" and "smoothness", and "explained" of a network that says what is.

        Raises:
            ValueError: if a target has no neighbours or no intrinsics.
        """
        batch.require("neighbours", "intrinsics")
        neighbours, cameras = frames_of(batch), torch.stack([target["intrinsics"] for target in batch.targets])
        poses = euler_to_pose(outputs.vectors)
        appearance = smoothness = explained = poses.new_zeros(())
        for number, inverse in enumerate(outputs.depths):
            size = inverse.shape[2:]
            target, *others = (scaled(maps, size) for maps in (batch.images, *neighbours.unbind(1)))
            seen = scaled(batch.mask[:, None].to(inverse), size)  # padding is not
            camera = resizing(batch.images.shape[2:], size).to(cameras) @ cameras
            smooth = inverse / inverse.mean((1, 2, 3), keepdim=True) if self.normalized else inverse
            smoothness = smoothness + second_order_smoothness_loss(smooth) / 2**number
            logits = outputs.explained[number] if outputs.explained else None
            for row, other in enumerate(others):
                rebuilt = inverse_warp(other, 1 / inverse, poses[:, row], camera, beyond=self.beyond).image
                off = (rebuilt - target).abs()
                if logits is not None:
                    off = off * logits[:, row].softmax(1)[:, 1:]
                    explained = explained + explainability_loss(logits[:, row])
                appearance = appearance + (off * seen).mean() / seen.mean()
        losses = {"appearance": appearance, "smoothness": self.smoothness * smoothness}
        return losses | ({"explained": self.explained * explained} if outputs.explained else {})


def frames_of(batch: Batch) -> Float[Tensor, "B S 3 H W"]:
    """Return the neighbours of a batch, normalised as its pictures are."""
    batch.require("neighbours")
    return (unit_range(batch.maps("neighbours")) - MEAN) / STD


def scaled(maps: Float[Tensor, "B C H W"], size: torch.Size) -> Float[Tensor, "B C h w"]:
    """Resize maps by bilinear interpolation."""
    return maps if maps.shape[2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


class VideoEstimator(DepthEstimator):
    """Depth of a picture; of a frame whose neighbours are known, the camera's motion to them as well."""

    network: FrameNetwork

    def results_of(self, outputs: Any, batch: AnyBatch) -> list[DepthMap]:
        results = super().results_of(outputs, batch)
        if not isinstance(batch, Batch) or not all("neighbours" in target for target in batch.targets or [{}]):
            return results
        poses = euler_to_pose(self.network.motion(batch.images, frames_of(batch)).vectors.float())
        return [replace(result, motions=own) for result, own in zip(results, poses, strict=True)]


def inverse_depth(outputs: InverseDepths, cameras: Cameras) -> Estimate:
    """Return the finest inverse depth, whose unit is not known."""
    inverse = outputs.scale1[:, 0]
    return Estimate(inverse, torch.zeros(len(inverse), dtype=torch.bool, device=inverse.device), cameras.focals)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def sfm(
    name: str,
    *,
    neighbours: int = 2,
    masked: bool = True,
    width: float | int = 1.0,
    smoothness_weight: float = 0.5,
    explained_weight: float = 0.2,
    normalized: bool = False,
    beyond: Beyond = "zero",
    size: tuple[int, int] | None = None,
    shorter: int = 128,
    longest: int = 416,
) -> VideoEstimator:
    """Build a SfMLearner by its name.

    Args:
        neighbours: frames that the target is rebuilt from.
        masked: whether it says which pixels these explain.
        width: multiplies all channels.
        smoothness_weight, explained_weight: of the losses.
        normalized: whether the inverse depth is divided by its mean before it is smoothed.
        beyond: what a picture is outside of itself, for the losses: "zero" as in the published code, or "edge".
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
    """
    network = FrameNetwork(DepthNetwork(width=width), MotionNetwork(neighbours=neighbours, masked=masked, width=width))
    preprocess = Preprocess(shorter, longest, size, mean=(MEAN,) * 3, std=(STD,) * 3)
    criterion = VideoCriterion(smoothness_weight, explained_weight, normalized, beyond)
    return VideoEstimator(network, criterion, inverse_depth, preprocess)


sfm_learner = of_family(sfm, "sfm_learner", "34.2 M parameters, KITTI AbsRel 0.208 (paper, table 1)")
sfm_learner_tiny = of_family(
    sfm,
    "sfm_learner_tiny",
    "trains in minutes on a CPU on the world at 64 pixels",
    width=0.5,
    masked=False,
    smoothness_weight=0.03,
    normalized=True,
    beyond="edge",
    shorter=64,
    longest=128,
)
