"""Faster R-CNN: two stages on shared features, a region proposal network and Fast R-CNN's head.

Ren, He, Girshick, Sun 2015, arXiv 1506.01497; with a feature pyramid: Lin et al. 2017, arXiv 1612.03144, section 4.2;
second version: Li et al. 2021, arXiv 2111.11429; notes 4.3.2 and 4.3.3.

    images         B 3 H W
    features       P2..P6 of a feature pyramid, strides 4..64, B D h w each; or one map of stride 16
    first stage    objectness and deltas of the anchors of every level -> proposals B N 4, some slots empty
    second stage   each proposal's 7 x 7 of its level -> K+1 class logits and K x 4 deltas
    criterion      runs the second stage on 512 sampled proposals an image; four losses
    decode         softmax, boxes of the likely classes, suppression within each class: Detections

Differs from the notes: the level of a proposal is rounded down (with k0 = 4, a box of 224 pixels is pooled from P4, one
of 300 too). Differs from Ren et al.: trained in one go, not in four alternating steps. A feature pyramid keeps anchors
that cross the border in training (Lin et al., section 4.2); the detector of one map ignores them, as Ren et al. did.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.backbones.resnet import ResNet, trunk
from vidi.backbones.trunk import Backbone
from vidi.detection.anchors import AnchorStyle, LevelAnchors
from vidi.detection.coco_outputs import COCO_IDS
from vidi.detection.options import frozen_below
from vidi.detection.regions.fast_rcnn import (
    BoxPredictor,
    ConvolutionalHead,
    LinearHead,
    Pooling,
    RegionCriterion,
    RegionDecode,
    RegionPooling,
    RegionPredictions,
    Samples,
    TwoStageOutputs,
    background_of,
    rows_of_batch,
)
from vidi.detection.regions.region_proposals import (
    AnchorPredictions,
    Border,
    ProposalCriterion,
    ProposalHead,
    Proposals,
    ProposalSelection,
    Sampling,
    image_sizes,
)
from vidi.detection.targets import Objects, named_outputs
from vidi.model import Losses, Step, Supervised, builder, widened
from vidi.necks.feature_pyramid import FeaturePyramid
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, NormLayer, norm_layer
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import category_names


class FirstStage(NamedTuple):
    """Features of the images and what the region proposal network says of their anchors."""

    features: tuple[Float[Tensor, "B D _ _"], ...]
    predictions: AnchorPredictions


# ----------------------------------------------------------------------------------------------------------------------
# Network


class TwoStage(nn.Module):
    """What all detectors of two stages share; a sub-class says what the features are."""

    def __init__(
        self,
        anchors: LevelAnchors,
        proposal_head: ProposalHead,
        region_head: nn.Module,
        pooling: RegionPooling,
        selection: ProposalSelection,  # at prediction
    ):
        super().__init__()
        self.anchors, self.proposal_head, self.region_head = anchors, proposal_head, region_head
        self.pooling, self.selection = pooling, selection

    def features(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Return the maps that anchors lie on, finest first."""
        raise NotImplementedError

    def first_stage(self, images: Float[Tensor, "B 3 H W"]) -> FirstStage:
        """Return the features and the predictions for all anchors; a `ProposalSelection` makes proposals of them."""
        features = self.features(images)
        objectness, deltas = self.proposal_head(features)
        anchors = self.anchors.by_level(images.shape[2:], [level.shape[2:] for level in features])
        return FirstStage(features, AnchorPredictions(objectness, deltas, anchors))

    def second_stage(
        self, features: Sequence[Float[Tensor, "B D _ _"]], boxes: Float[Tensor, "R 4"], images: Int64[Tensor, " R"]
    ) -> RegionPredictions:
        """Return class logits and deltas of boxes in some images of the batch."""
        return self.region_head(self.pooling(features, boxes, images))

    def forward(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None = None) -> TwoStageOutputs:
        """Return the proposals of an inference, inside the images, and what the second stage says of them."""
        return self.both_stages(images, mask)[1]

    def both_stages(
        self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None
    ) -> tuple[tuple[Float[Tensor, "B D _ _"], ...], TwoStageOutputs]:
        """Return what `forward` returns, and before it the features: for heads that run on what was found."""
        first = self.first_stage(images)
        proposals: Proposals = self.selection(first.predictions, image_sizes(images, mask))
        boxes, rows = rows_of_batch(proposals.boxes)
        logits, deltas = self.second_stage(first.features, boxes, rows)
        B, N = proposals.valid.shape
        return first.features, TwoStageOutputs(
            proposals.boxes, proposals.valid, logits.unflatten(0, (B, N)), deltas.unflatten(0, (B, N))
        )


class FasterRCNN(TwoStage):
    """Two stages on a feature pyramid: proposals from every level, regions from the level of their size."""

    def __init__(self, backbone: Backbone, pyramid: FeaturePyramid, *parts: Any):
        super().__init__(*parts)
        self.backbone, self.pyramid = backbone, pyramid

    def features(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Return the levels of the pyramid; it takes as many of the backbone's maps as it has lateral convolutions."""
        maps = self.backbone.features(images)
        return self.pyramid(maps[len(maps) - len(self.pyramid.lateral) :])


class SingleMapFasterRCNN(TwoStage):
    """Two stages on C4, the map of stride 16; C5's blocks run on each region ("C4", He et al. 2016, appendix A)."""

    def __init__(self, backbone: ResNet, *parts: Any):
        super().__init__(*parts)
        self.backbone = backbone

    def features(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Return C4 alone."""
        backbone = self.backbone
        return (backbone.stage3(backbone.stage2(backbone.stage1(backbone.stem(images)))),)

    def second_stage(
        self, features: Sequence[Float[Tensor, "B D _ _"]], boxes: Float[Tensor, "R 4"], images: Int64[Tensor, " R"]
    ) -> RegionPredictions:
        """Return class logits and deltas of boxes, from the average of C5 over each region."""
        regions = self.backbone.stage4(self.pooling(features, boxes, images))  # R D h w
        return self.region_head(regions.mean((2, 3)))


class NormedPyramid(FeaturePyramid):
    """A feature pyramid whose convolutions have a norm instead of a bias (Li et al. 2021)."""

    def __init__(self, in_channels: Sequence[int], channels: int, *, norm: NormLayer):
        super().__init__(in_channels, channels, extra="pool")
        self.lateral = nn.ModuleList(
            [ConvNorm(count, channels, 1, norm=norm, activation=nn.Identity) for count in in_channels]
        )
        self.smooth = nn.ModuleList(
            [ConvNorm(channels, channels, 3, norm=norm, activation=nn.Identity) for _ in in_channels]
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class Trained(NamedTuple):
    """What a training step made of both stages: for the losses of heads that run on the same proposals."""

    losses: Losses
    features: tuple[Float[Tensor, "B D _ _"], ...]
    samples: Samples


@dataclass(frozen=True)
class FasterCriterion:
    """The losses of both stages; the second runs on sampled proposals of the first, which get no gradient from it."""

    anchors: ProposalCriterion
    regions: RegionCriterion
    selection: ProposalSelection  # in training: more proposals than at prediction

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.train(network, batch, step).losses

    def train(self, network: nn.Module, batch: Batch, step: Step) -> Trained:
        """Run both stages as training needs them."""
        detector: Any = network
        first: FirstStage = detector.first_stage(batch.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            predictions = AnchorPredictions(*widened(tuple(first.predictions)))
            like = predictions.anchors[0]
            sizes = like.new_tensor([placement.resized for placement in batch.placements])  # B 2
            objects = [Objects.of(target, like=like) for target in batch.targets]
            proposals = self.selection(predictions, sizes)
            boxes = [own[valid] for own, valid in zip(proposals.boxes, proposals.valid, strict=True)]
            samples = self.regions.sample(boxes, objects, background_of(detector.region_head), step.generator)
            losses = self.anchors(predictions, objects, sizes, step)
        second = detector.second_stage(first.features, samples.boxes, samples.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            losses |= self.regions(RegionPredictions(*widened(tuple(second))), samples, step)
        return Trained(losses, first.features, samples)


# ----------------------------------------------------------------------------------------------------------------------
# Builders

TRAINING_PROPOSALS = 2000  # of an image, before and after suppression


def pyramid_network(
    backbone: Backbone,
    pyramid: FeaturePyramid,
    region_head: nn.Module,
    anchor_sizes: Sequence[float | int],  # one of each level, finest first
    anchor_style: AnchorStyle,
    *,
    proposals: int,
    depth: int = 1,  # convolutions of the proposal head
    two_way: bool = False,
    aligned: bool = True,
    canonical_size: float | int = 224,
) -> FasterRCNN:
    """Put the network together; a ValueError if there are not as many anchor sizes as levels."""
    pooled = backbone.strides[len(backbone.strides) - len(pyramid.lateral) :]
    anchors = LevelAnchors([(size,) for size in anchor_sizes], pyramid.strides(pooled), anchor_style)
    head = ProposalHead(pyramid.channels, anchors.per_cell, depth=depth, two_way=two_way)
    pooling = RegionPooling(pooled, aligned=aligned, canonical_size=canonical_size)
    return FasterRCNN(backbone, pyramid, anchors, head, region_head, pooling, ProposalSelection(proposals, proposals))


@builder
def fasterrcnn_resnet50_fpn(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    channels: int = 256,
    hidden: int = 1024,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    anchor_style: AnchorStyle = "paper",
    aligned: bool = True,
    two_way: bool = False,
    norm: Norm = "batch",
    norm_eps: float = 1e-5,
    trainable_backbone_layers: int = 5,
    border: Border = "keep",
    sampling: Sampling = "paper",
    box_beta: float = 1.0,
    proposals: int = 1000,
    sampled: int = 512,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build Faster R-CNN with ResNet-50 and a feature pyramid: 41.8 M parameters, COCO AP 37.0.

    That is with torchvision's weights, which need `anchor_style="torchvision"`, `aligned=False`, `norm="frozen"` and
    `norm_eps=0.0`, and were trained with `box_beta=1 / 9`.

    Args:
        categories: the number of classes, or their names.
        channels: of the pyramid.
        hidden: units of the linear layers of the second stage.
        anchor_sizes: of each level, finest first.
        anchor_style: "paper", or "torchvision" for its weights: see `LevelAnchors`.
        aligned: whether regions are pooled at their exact place; False as torchvision's weights were trained.
        two_way: objectness as a softmax over two logits instead of one sigmoid.
        norm: of the backbone: "batch", "frozen" or "group".
        norm_eps: of these norms.
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        border: whether anchors that cross the image's border train: "keep" or "ignore".
        sampling: of anchors: at most half of them positive ("paper"), or all positive ones ("notes").
        box_beta: knee of the second stage's smooth L1 loss, 1 in Girshick 2015, 1/9 in torchvision.
        proposals: of an image at prediction.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = frozen_below(trunk("resnet50", norm=norm, eps=norm_eps), trainable_backbone_layers)
    network = pyramid_network(
        backbone,
        FeaturePyramid(backbone.channels, channels, extra="pool"),
        LinearHead(channels, len(names), hidden=hidden),
        anchor_sizes,
        anchor_style,
        proposals=proposals,
        two_way=two_way,
        aligned=aligned,
    )
    criterion = FasterCriterion(
        ProposalCriterion(border, sampling),
        RegionCriterion(named_outputs(names), sampled, beta=box_beta),
        ProposalSelection(TRAINING_PROPOSALS, TRAINING_PROPOSALS),
    )
    decode = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(
        network, criterion, decode, Preprocess(shorter, longest, size, stride=32, antialias=False, masked=True)
    )


@builder
def fasterrcnn_resnet50_fpn_v2(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    channels: int = 256,
    hidden: int = 1024,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    anchor_style: AnchorStyle = "paper",
    aligned: bool = True,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    border: Border = "keep",
    sampling: Sampling = "paper",
    box_beta: float = 1.0,
    proposals: int = 1000,
    sampled: int = 512,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build torchvision's improved Faster R-CNN: 43.7 M parameters, COCO AP 46.7 with its weights.

    Two convolutions in the proposal head, four in the second stage, norms in them and in the pyramid (arXiv
    2111.11429). The weights need `anchor_style="torchvision"` and `aligned=False`, and were trained with
    `box_beta=1 / 9`.

    Args:
        categories: the number of classes, or their names.
        channels: of the pyramid.
        hidden: units of the linear layer of the second stage.
        anchor_sizes: of each level, finest first.
        anchor_style: "paper", or "torchvision" for its weights: see `LevelAnchors`.
        aligned: whether regions are pooled at their exact place; False as torchvision's weights were trained.
        norm: of backbone, pyramid and second stage: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        border: whether anchors that cross the image's border train: "keep" or "ignore".
        sampling: of anchors: at most half of them positive ("paper"), or all positive ones ("notes").
        box_beta: knee of the second stage's smooth L1 loss, 1 in Girshick 2015, 1/9 in torchvision.
        proposals: of an image at prediction.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = frozen_below(trunk("resnet50", norm=norm), trainable_backbone_layers)
    network = pyramid_network(
        backbone,
        NormedPyramid(backbone.channels, channels, norm=norm_layer(norm)),
        ConvolutionalHead(channels, len(names), norm=norm_layer(norm), hidden=hidden),
        anchor_sizes,
        anchor_style,
        proposals=proposals,
        depth=2,
        aligned=aligned,
    )
    criterion = FasterCriterion(
        ProposalCriterion(border, sampling),
        RegionCriterion(named_outputs(names), sampled, beta=box_beta),
        ProposalSelection(TRAINING_PROPOSALS, TRAINING_PROPOSALS),
    )
    decode = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(
        network, criterion, decode, Preprocess(shorter, longest, size, stride=32, antialias=False, masked=True)
    )


@builder
def fasterrcnn_resnet50(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    width: int = 64,
    anchor_sizes: tuple[float | int, ...] = (128, 256, 512),
    anchor_style: AnchorStyle = "paper",
    proposal_channels: int = 512,
    two_way: bool = True,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    border: Border = "ignore",
    sampling: Sampling = "paper",
    pooling: Pooling = "max",
    proposals: int = 300,
    sampled: int = 128,
    size: tuple[int, int] | None = None,
    shorter: int = 600,
    longest: int = 1000,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.3,
    detections_per_image: int = 100,
) -> Supervised:
    """Build the paper's Faster R-CNN, without a feature pyramid, over ResNet-50: proposals and regions from C4.

    Regions of 14 x 14 go through C5's blocks, as in He et al. 2016 (arXiv 1512.03385, appendix A).

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        anchor_sizes: of the one map.
        anchor_style: "paper", or "torchvision" for its weights: see `LevelAnchors`.
        proposal_channels: of the proposal head's 3x3 convolution.
        two_way: objectness as a softmax over two logits instead of one sigmoid.
        norm: of the backbone: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        border: whether anchors that cross the image's border train: "keep" or "ignore".
        sampling: of anchors: at most half of them positive ("paper"), or all positive ones ("notes").
        pooling: of regions: "max" (RoI pooling) or "align" (RoI align).
        proposals: of an image at prediction.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = frozen_below(trunk("resnet50", norm=norm, width=width), trainable_backbone_layers)
    anchors = LevelAnchors([anchor_sizes], (backbone.strides[2],), anchor_style)
    network = SingleMapFasterRCNN(
        backbone,
        anchors,
        ProposalHead(backbone.channels[2], anchors.per_cell, width=proposal_channels, two_way=two_way),
        BoxPredictor(backbone.channels[3], len(names)),
        RegionPooling((backbone.strides[2],), (14, 14), pooling),
        ProposalSelection(20 * proposals, proposals),
    )
    criterion = FasterCriterion(
        ProposalCriterion(border, sampling),
        RegionCriterion(named_outputs(names), sampled),
        ProposalSelection(6 * TRAINING_PROPOSALS, TRAINING_PROPOSALS),
    )
    decode = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, criterion, decode, Preprocess(shorter, longest, size, stride=32, masked=True))


@builder
def fasterrcnn_resnet18_fpn(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    width: int = 64,
    channels: int = 256,
    hidden: int = 1024,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    norm: Norm = "batch",
    border: Border = "keep",
    sampling: Sampling = "paper",
    proposals: int = 300,
    sampled: int = 256,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a Faster R-CNN with ResNet-18, and norms in pyramid and second stage, which trains from random weights.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        channels: of the pyramid.
        hidden: units of the linear layer of the second stage.
        anchor_sizes: of each level, finest first.
        norm: of backbone, pyramid and second stage: "batch", "frozen" or "group".
        border: whether anchors that cross the image's border train: "keep" or "ignore".
        sampling: of anchors: at most half of them positive ("paper"), or all positive ones ("notes").
        proposals: of an image at prediction.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = trunk("resnet18", norm=norm, width=width)
    network = pyramid_network(
        backbone,
        NormedPyramid(backbone.channels, channels, norm=norm_layer(norm)),
        ConvolutionalHead(channels, len(names), norm=norm_layer(norm), depth=1, hidden=hidden),
        anchor_sizes,
        "paper",
        proposals=proposals,
    )
    criterion = FasterCriterion(
        ProposalCriterion(border, sampling),
        RegionCriterion(named_outputs(names), sampled),
        ProposalSelection(TRAINING_PROPOSALS, TRAINING_PROPOSALS),
    )
    decode = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, criterion, decode, Preprocess(shorter, longest, size, stride=32, masked=True))


@builder
def fasterrcnn_tiny(
    *,
    categories: int | tuple[str | None, ...] = 5,
    width: int = 32,
    channels: int = 64,
    hidden: int = 128,
    anchor_sizes: tuple[float | int, ...] = (12, 24, 48, 96),
    norm: Norm = "batch",
    proposals: int = 100,
    sampled: int = 64,
    size: tuple[int, int] | None = None,
    shorter: int = 128,
    longest: int = 256,
    score_threshold: float = 0.05,
) -> Supervised:
    """Build a Faster R-CNN that a CPU trains in minutes on images of 128 pixels: narrow, of the levels P2 to P5.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        channels: of the pyramid.
        hidden: units of the linear layers of the second stage.
        anchor_sizes: of each level, finest first.
        norm: of the backbone: "batch", "frozen" or "group".
        proposals: of an image at prediction.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
    """
    names = category_names(categories)
    backbone = trunk("resnet18", norm=norm, width=width)
    network = pyramid_network(
        backbone,
        FeaturePyramid(backbone.channels, channels),
        LinearHead(channels, len(names), hidden=hidden),
        anchor_sizes,
        "paper",
        proposals=proposals,
        canonical_size=112,  # objects of 56 pixels are pooled from the map of stride 8
    )
    criterion = FasterCriterion(
        ProposalCriterion(count=64),
        RegionCriterion(named_outputs(names), sampled),
        ProposalSelection(2 * proposals, 2 * proposals),
    )
    return Supervised(
        network,
        criterion,
        RegionDecode(names, score_threshold),
        Preprocess(shorter, longest, size, stride=32, masked=True),
    )
