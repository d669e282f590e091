"""Keypoint R-CNN: Mask R-CNN's network with masks of one pixel, the place of each joint.

He, Gkioxari, Dollar, Girshick 2017, "Mask R-CNN", arXiv 1703.06870, section 5; notes 5.2.1.

    images          B 3 H W
    two stages      Faster R-CNN's features, proposals, classes and boxes; what suppression leaves: B N boxes
    keypoint head   each box's 14 x 14 by RoIAlign -> eight 3x3, twice as large, twice again: B N J 56 x 56
    criterion       Faster R-CNN's losses; softmax cross entropy over the 56 x 56 places of each joint that is labelled
                    and lies inside a positive sampled proposal
    decode          the largest of a map that is resized to its box: Detections with joints

Differs from torchvision: the score of a joint is the sigmoid of its logit, so that it lies in [0, 1]. Which categories
have joints is said by name (`jointed`), where the paper detects persons only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.backbones import resnet
from vidi.data.world.names import CATEGORIES, JOINTS, SKELETON
from vidi.detection.anchors import AnchorStyle
from vidi.detection.candidates import Candidates
from vidi.detection.options import frozen_below
from vidi.detection.regions.fast_rcnn import LinearHead, RegionCriterion, RegionDecode, Samples, rows_of_batch
from vidi.detection.regions.faster_rcnn import TRAINING_PROPOSALS, FasterCriterion, FasterRCNN, pyramid_network
from vidi.detection.regions.region_proposals import Border, ProposalCriterion, ProposalSelection, Sampling
from vidi.detection.targets import Joints, joints_of, labels_with_joints, named_categories, named_outputs
from vidi.model import Losses, Step, Supervised, builder, widened, with_defaults
from vidi.necks.feature_pyramid import FeaturePyramid
from vidi.nn.normalization import Norm
from vidi.ops.skeletons import COCO_SKELETON, Skeleton
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections
from vidi.segmentation.selecting_rcnn import SelectingRCNN, small_criterion, small_detector, small_preprocess

Bones = tuple[tuple[int, int], ...]


class KeypointOutputs(NamedTuple):
    """What was found, the surest first, and where its joints are; slots that are not valid mean nothing."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas, inside the image
    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]  # count the outputs that have a category
    valid: Bool[Tensor, "B N"]
    joint_logits: Float[Tensor, "B N J h w"]  # of the places inside the box


# ----------------------------------------------------------------------------------------------------------------------
# Network


class KeypointHead(nn.Module):
    """Convolutions over the region, a transposed one to a map of each joint, which is doubled once more (section 5)."""

    def __init__(self, channels: int, joints: int, *, width: int = 512, depth: int = 8):
        super().__init__()
        convs = [nn.Conv2d(channels if layer == 0 else width, width, 3, padding=1) for layer in range(depth)]
        self.tower = nn.Sequential(*(nn.Sequential(conv, nn.ReLU(inplace=True)) for conv in convs))
        self.up = nn.ConvTranspose2d(width if depth else channels, joints, 4, 2, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, regions: Float[Tensor, "R D h w"]) -> Float[Tensor, "R J H W"]:
        return F.interpolate(self.up(self.tower(regions)), scale_factor=2.0, mode="bilinear", align_corners=False)


class KeypointRCNN(SelectingRCNN):
    """Faster R-CNN with a keypoint head."""

    def __init__(self, detector: FasterRCNN, select: RegionDecode, keypoint_head: KeypointHead):
        super().__init__(detector, select)
        self.keypoint_head = keypoint_head

    def keypoint_stage(
        self, features: Sequence[Float[Tensor, "B D _ _"]], boxes: Float[Tensor, "R 4"], images: Int64[Tensor, " R"]
    ) -> Float[Tensor, "R J h w"]:
        """Return the logits of the places of each joint inside some boxes."""
        return self.keypoint_head(self.further_pooling(features, boxes, images))

    def forward(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None = None) -> KeypointOutputs:
        """Return the detections of an inference, with the places of their joints."""
        features, found = self.found(images, mask)
        logits = self.keypoint_stage(features, *rows_of_batch(found.boxes))
        return KeypointOutputs(*found, logits.unflatten(0, (-1, found.valid.shape[1])))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


def joint_places(
    points: Float[Tensor, "R J 2"], boxes: Float[Tensor, "R 4"], size: tuple[int, int]
) -> tuple[Int64[Tensor, "R J"], Bool[Tensor, "R J"]]:
    """Return the cell of h x w, row by row, in which each joint of a box lies, and whether it lies in one.

    The right and the lower edge of the box belong to the last cells.
    """
    cells = points.new_tensor([size[1], size[0]])
    corner, other = boxes[:, None, :2], boxes[:, None, 2:]  # R 1 2
    place = ((points - corner) / (other - corner) * cells).floor()  # R J 2
    place = torch.where(points == other, cells - 1, place)
    inside = ((place >= 0) & (place < cells)).all(2)
    x, y = place.where(inside[..., None], 0).long().unbind(2)
    return y * size[1] + x, inside


@dataclass(frozen=True)
class KeypointCriterion:
    """Faster R-CNN's losses, and "keypoint": the mean cross entropy of the places of joints.

    Those that are labelled and lie inside a positive sampled proposal count; their number is that of the batch, over
    all processes.
    """

    detector: FasterCriterion

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        detector: Any = network
        losses, features, samples = self.detector.train(network, batch, step)
        samples = Samples(*(column[samples.objects >= 0] for column in samples))
        joints = detector.keypoint_head.up.out_channels
        bodies = [joints_of(target, like=samples.boxes, joints=joints) for target in batch.targets]
        logits = detector.keypoint_stage(features, samples.boxes, samples.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            return losses | self.of_samples(widened(logits), samples, bodies, step)

    def of_samples(
        self, logits: Float[Tensor, "R J h w"], samples: Samples, bodies: Sequence[Joints], step: Step
    ) -> Losses:
        """Return the loss of positive samples, given the joints of each image's objects."""
        first = torch.tensor([0, *(len(body.points) for body in bodies[:-1])], device=logits.device).cumsum(0)  # B
        rows = first[samples.images] + samples.objects
        points = torch.cat([body.points for body in bodies])[rows]  # R J 2
        labelled = torch.cat([body.labelled for body in bodies])[rows]
        places, inside = joint_places(points, samples.boxes, (logits.shape[2], logits.shape[3]))
        counted = labelled & inside
        count = step.normaliser(counted.sum().to(logits.dtype))
        loss = F.cross_entropy(logits.flatten(2)[counted], places[counted], reduction="sum")
        return {"keypoint": loss / count}


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def joints_in_boxes(
    logits: Float[Tensor, "N J h w"], boxes: Float[Tensor, "N 4"]
) -> tuple[Float[Tensor, "N J 2"], Float[Tensor, "N J"]]:
    """Return where the logits of each joint are largest, x and y, and how large (the published code's decoding).

    The map is resized bicubically to the whole pixels that cover the box; the joint lies at the centre of a pixel.
    """
    points, largest = boxes.new_zeros(*logits.shape[:2], 2), boxes.new_zeros(logits.shape[:2])
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    for row, (maps, (w, h)) in enumerate(zip(logits, sides.ceil().long().tolist(), strict=True)):
        resized = F.interpolate(maps[:, None], (h, w), mode="bicubic", align_corners=False)[:, 0]
        largest[row], index = resized.flatten(1).max(1)
        place = torch.stack((index % w, index // w), 1) + 0.5
        points[row] = boxes[row, :2] + place * sides[row] / place.new_tensor([w, h])
    return points, largest


@dataclass(frozen=True)
class KeypointDecode:
    """Detections, each with its joints; the score of a joint is the sigmoid of its logit, 0 for other categories."""

    categories: Categories  # of all outputs but the background
    skeleton: Skeleton
    jointed: tuple[int, ...]  # labels of the categories that have joints

    def __call__(self, outputs: KeypointOutputs, placements: Sequence[Placement]) -> list[Detections]:
        results = []
        found = Candidates(*outputs[:4]).detections(placements, self.categories)
        for row, (own, placement) in enumerate(zip(found, placements, strict=True)):
            valid = outputs.valid[row]
            points, logits = joints_in_boxes(outputs.joint_logits[row, valid], outputs.boxes[row, valid])
            has_joints = torch.isin(own.labels, own.labels.new_tensor(self.jointed))
            scores = logits.sigmoid().cpu() * has_joints[:, None]
            keypoints = torch.cat((placement.points_to_original(points).cpu(), scores[..., None]), 2)
            results.append(replace(own, keypoints=keypoints, skeleton=self.skeleton))
        return results


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def keypoint_rcnn(
    detector: FasterRCNN,
    names: Categories,
    criterion: FasterCriterion,
    preprocess: Preprocess,
    *,
    jointed: tuple[str, ...],
    skeleton: Skeleton,
    keypoint_channels: int,
    keypoint_depth: int,
    score_threshold: float,
    nms_threshold: float,
    detections_per_image: int,
) -> Supervised:
    """Put the system together around a detector."""
    head = KeypointHead(detector.pyramid.channels, len(skeleton.joints), width=keypoint_channels, depth=keypoint_depth)
    select = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    decode = KeypointDecode(names, skeleton, labels_with_joints(named_categories(names), jointed))
    return Supervised(KeypointRCNN(detector, select, head), KeypointCriterion(criterion), decode, preprocess)


@builder
def keypointrcnn_resnet50_fpn(
    *,
    categories: int | tuple[str | None, ...] = ("person",),
    jointed: tuple[str, ...] = ("person",),
    joints: tuple[str, ...] = COCO_SKELETON.joints,
    bones: Bones = COCO_SKELETON.bones,
    channels: int = 256,
    hidden: int = 1024,
    keypoint_channels: int = 512,
    keypoint_depth: int = 8,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    anchor_style: AnchorStyle = "paper",
    aligned: bool = True,
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
    """Build Keypoint R-CNN with ResNet-50 and a feature pyramid: 59.1 M parameters, COCO keypoint AP 65.0.

    That is with torchvision's weights, which need `anchor_style="torchvision"`, `aligned=False`, `norm="frozen"` and
    `norm_eps=0.0`, and were trained with `box_beta=1 / 9`.

    Args:
        categories: the number of classes, or their names.
        jointed: the categories that have joints, all of them if none is named.
        joints: their names.
        bones: pairs of joints that are connected in drawings.
        channels: of the pyramid.
        hidden: units of the linear layers of the second stage.
        keypoint_channels: of the convolutions of the keypoint head.
        keypoint_depth: 3x3 convolutions of the keypoint head.
        anchor_sizes: of each level, finest first.
        anchor_style: "paper", or "torchvision" for its weights: see `LevelAnchors`.
        aligned: whether regions are pooled at their exact place; False as torchvision's weights were trained.
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
    return keypoint_rcnn(
        detector,
        names,
        criterion,
        Preprocess(shorter, longest, size, stride=32, antialias=False, masked=True),
        jointed=jointed,
        skeleton=Skeleton(joints, bones),
        keypoint_channels=keypoint_channels,
        keypoint_depth=keypoint_depth,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
    )


@builder
def keypointrcnn_resnet18_fpn(
    *,
    categories: int | tuple[str | None, ...] = ("person",),
    jointed: tuple[str, ...] = ("person",),
    joints: tuple[str, ...] = COCO_SKELETON.joints,
    bones: Bones = COCO_SKELETON.bones,
    width: float | int = 1.0,
    norm: Norm = "batch",
    channels: int = 128,
    hidden: int = 512,
    keypoint_channels: int = 256,
    keypoint_depth: int = 4,
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
    """Build a small Keypoint R-CNN with ResNet-18, and norms in pyramid and second stage.

    Args:
        categories: the number of classes, or their names.
        jointed: the categories that have joints, all of them if none is named.
        joints: their names.
        bones: pairs of joints that are connected in drawings.
        width: multiplies all channels of the backbone.
        norm: of backbone, pyramid and second stage: "batch", "frozen" or "group".
        channels: of the pyramid.
        hidden: units of the linear layer of the second stage.
        keypoint_channels: of the convolutions of the keypoint head.
        keypoint_depth: 3x3 convolutions of the keypoint head.
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
        "keypointrcnn_resnet18_fpn",
        len(names),
        width=width,
        norm=norm,
        channels=channels,
        hidden=hidden,
        anchor_sizes=anchor_sizes,
        canonical_size=canonical_size,
        proposals=proposals,
    )
    return keypoint_rcnn(
        detector,
        names,
        small_criterion(names, proposals=proposals, sampled=sampled),
        small_preprocess("keypointrcnn_resnet18_fpn", size, shorter, longest),
        jointed=jointed,
        skeleton=Skeleton(joints, bones),
        keypoint_channels=keypoint_channels,
        keypoint_depth=keypoint_depth,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
    )


keypointrcnn_tiny = with_defaults(
    keypointrcnn_resnet18_fpn,
    "keypointrcnn_tiny",
    "trains in minutes on a CPU on the world's persons at 128 pixels",
    categories=CATEGORIES,
    joints=JOINTS,
    bones=SKELETON,
    width=0.5,
    channels=64,
    hidden=128,
    keypoint_channels=64,
    keypoint_depth=2,
    anchor_sizes=(8, 16, 32, 64, 128),
    canonical_size=112,
    proposals=100,
    sampled=64,
    shorter=128,
    longest=256,
)
