"""What Mask R-CNN and Keypoint R-CNN share: a Faster R-CNN that selects its detections itself, and small ones of them.

He, Gkioxari, Dollar, Girshick 2017, "Mask R-CNN", arXiv 1703.06870, section 3: in training a further head runs on the
positive sampled proposals, at prediction on the best detections that suppression leaves.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.backbones import efficientnet, resnet
from vidi.backbones.efficientnet import LITE_MEAN, LITE_STD
from vidi.backbones.trunk import Backbone
from vidi.detection.candidates import Candidates
from vidi.detection.regions.fast_rcnn import (
    ConvolutionalHead,
    RegionCriterion,
    RegionDecode,
    RegionPooling,
    TwoStageOutputs,
)
from vidi.detection.regions.faster_rcnn import FasterCriterion, FasterRCNN, NormedPyramid, pyramid_network
from vidi.detection.regions.region_proposals import ProposalCriterion, ProposalSelection, image_sizes
from vidi.detection.targets import named_outputs
from vidi.model import widened
from vidi.nn.normalization import Norm, norm_layer
from vidi.preprocess import Preprocess
from vidi.results.categories import Categories

REGION = (14, 14)  # cells of a region that heads of masks and joints look at


class SelectingRCNN(FasterRCNN):
    """Faster R-CNN that selects its detections itself, because a further head runs on them."""

    def __init__(self, detector: FasterRCNN, select: RegionDecode):
        parts = detector.anchors, detector.proposal_head, detector.region_head, detector.pooling, detector.selection
        super().__init__(detector.backbone, detector.pyramid, *parts)
        self.select = select
        self.further_pooling: RegionPooling = replace(detector.pooling, size=REGION)

    def found(
        self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None
    ) -> tuple[tuple[Float[Tensor, "B D _ _"], ...], Candidates]:
        """Return the features and the detections of an inference, in as many slots for each image."""
        features, outputs = self.both_stages(images, mask)
        with torch.autocast(images.device.type, enabled=False):
            found = self.select.find(TwoStageOutputs(*widened(tuple(outputs))), image_sizes(images, mask))
        return features, found


def small_detector(
    name: str,
    classes: int,
    *,
    width: float | int,
    norm: Norm,
    channels: int,
    hidden: int,
    anchor_sizes: Sequence[float | int],
    canonical_size: float | int,
    proposals: int,
) -> FasterRCNN:
    """Return a Faster R-CNN with norms in pyramid and second stage; the backbone is the middle of the name."""
    backbone: Backbone
    if "resnet18" in name:
        backbone = resnet.trunk("resnet18", norm=norm, width=round(64 * width))
    else:
        backbone = efficientnet.trunk("efficientnet_lite0", width=width, tensorflow=True, drop=0.0)
    return pyramid_network(
        backbone,
        NormedPyramid(backbone.channels, channels, norm=norm_layer(norm)),
        ConvolutionalHead(channels, classes, norm=norm_layer(norm), depth=1, hidden=hidden),
        anchor_sizes,
        "paper",
        proposals=proposals,
        canonical_size=canonical_size,
    )


def small_preprocess(name: str, size: tuple[int, int] | None, shorter: int, longest: int) -> Preprocess:
    """Return the preprocessing that the backbone in a name was trained with."""
    preprocess = Preprocess(shorter, longest, size, stride=32, masked=True)
    return preprocess if "resnet18" in name else replace(preprocess, mean=LITE_MEAN, std=LITE_STD)


def small_criterion(names: Categories, *, proposals: int, sampled: int) -> FasterCriterion:
    """Return the losses of a small detector: twice as many proposals as at prediction are looked at."""
    return FasterCriterion(
        ProposalCriterion(),
        RegionCriterion(named_outputs(names), sampled),
        ProposalSelection(2 * proposals, 2 * proposals),
    )
