"""EfficientDet D0 to D7: an EfficientNet, a BiFPN and two heads that share convolutions but not norms.

Tan, Pang, Le 2020, "EfficientDet: Scalable and Efficient Object Detection", arXiv 1911.09070; notes 4.A.

    images     B 3 H W
    backbone   EfficientNet: C3, C4, C5
    neck       BiFPN (vidi.necks.bifpn): P3..P7, strides 8..128, each B D h w
    heads      separable convolutions, shared by the levels, with norms of each level's own; 9 anchors a cell
    outputs    class_logits B A K, box_deltas B A 4, anchors A 4, levels A: as RetinaNet's
    criterion  anchors to objects by IoU; focal loss of all anchors and classes + Huber loss of the positive ones' boxes
    decode     the best 5,000 (anchor, class) of all levels together, suppression within each class: Detections

Differs from the paper, as the published code: the loss is divided by one more than the number of positive anchors, the
boxes' by four times that. Differs from the published code: an object that no anchor touches claims none, a coordinate
that is exactly right in the anchor trains as well, and no box becomes more than 62.5 times its anchor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones.efficientnet import LITE_MEAN, LITE_STD, STOCHASTIC_DEPTH, trunk
from vidi.backbones.inverted_residual import InvertedResidualTrunk
from vidi.detection.coco_outputs import COCO_IDS
from vidi.detection.efficientdet_scaling import VARIANTS
from vidi.detection.options import check_choice
from vidi.detection.retinanet import RetinaDecode, RetinaOutputs
from vidi.detection.targets import Objects, Positives, checked_objects, mostly_inside, named_outputs, with_category
from vidi.losses.box import huber_loss
from vidi.losses.classification import focal_loss, prior_bias
from vidi.model import Losses, Step, Supervised, builder, in_float32, of_family
from vidi.necks.bifpn import BiFPN, Fusion, Style
from vidi.necks.feature_pyramid import Extra
from vidi.necks.nas_fpn import NASFPN
from vidi.necks.path_aggregation import PathAggregation
from vidi.nn.convolution import SeparableConv2d
from vidi.nn.normalization import norm_layer
from vidi.ops.anchors import anchor_grid, octave_sizes
from vidi.ops.boxes import Size, box_iou, encode_boxes, scale_boxes
from vidi.ops.matching import BACKGROUND, IGNORED
from vidi.preprocess import IMAGENET_MEAN, IMAGENET_STD, Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

Neck = Literal["bifpn", "panet", "nas_fpn"]

OCTAVES = 3  # anchor sizes of a level, 2^(1/3) apart
ASPECTS = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))  # of anchors: width and height, nearly of one area
PER_CELL = OCTAVES * len(ASPECTS)
PRIOR = 0.01  # probability of each class at the start


# ----------------------------------------------------------------------------------------------------------------------
# Network


class Anchors(nn.Module):
    """Nine boxes per cell, centred on it: three sizes within an octave (outer) times three aspect ratios (inner).

    Cells are as large as the canvas divided by the map, which is not a power of two where a level was rounded up.
    """

    base: Tensor

    def __init__(self, scale: float | int):
        super().__init__()
        sides = octave_sizes(scale, count=OCTAVES)
        corners = [[-w * side / 2, -h * side / 2, w * side / 2, h * side / 2] for side in sides for w, h in ASPECTS]
        self.register_buffer("base", torch.tensor(corners), persistent=False)  # k 4, in cells

    def forward(self, canvas: Size, sizes: Sequence[Size]) -> tuple[Float[Tensor, "A 4"], Int64[Tensor, " A"]]:
        """Return the anchors of all levels and each one's level, given the sizes of the images and of each level."""
        boxes = [scale_boxes(anchor_grid(self.base, size, 1), size, canvas) for size in sizes]
        levels = [self.base.new_full((len(own),), level, dtype=torch.int64) for level, own in enumerate(boxes)]
        return torch.cat(boxes), torch.cat(levels)


class Head(nn.Module):
    """A tower of separable convolutions that the levels share, and one more that gives each anchor its numbers.

    Each level has norms of its own: levels differ in their statistics, not in what an object looks like.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        numbers: int,  # per anchor
        *,
        depth: int,
        style: Style,
        bias: float = 0.0,  # of the last convolution at the start
    ):
        super().__init__()
        self.numbers = numbers
        self.convs = nn.ModuleList([SeparableConv2d(channels, channels, bias=style.bias) for _ in range(depth)])
        norms = [nn.ModuleList([style.norm(channels) for _ in range(levels)]) for _ in range(depth)]
        self.norms = nn.ModuleList(norms)
        self.activation = style.activation()
        self.predict = SeparableConv2d(channels, PER_CELL * numbers, bias=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")  # N(0, 1 / fan-in)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(self.predict.pointwise.bias, bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Float[Tensor, "B D _ _"]]) -> Float[Tensor, "B A N"]:
        rows = []
        for level, x in enumerate(levels):
            for conv, norms in zip(self.convs, self.norms, strict=True):
                x = self.activation(norms[level](conv(x)))  # type: ignore[index]
            x = self.predict(x).permute(0, 2, 3, 1)  # B h w kN
            rows.append(x.reshape(x.shape[0], -1, self.numbers))  # B hwk N
        return torch.cat(rows, 1)


class EfficientDet(nn.Module):
    """Backbone, neck, two heads that its levels share, and the anchors."""

    def __init__(
        self, backbone: InvertedResidualTrunk, neck: nn.Module, anchors: Anchors, class_head: Head, box_head: Head
    ):
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.anchors = anchors
        self.class_head, self.box_head = class_head, box_head

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RetinaOutputs:
        _, *features = self.backbone.features(images)  # C3, C4, C5
        levels = self.neck(features)  # B D h w each
        anchors, level_of_anchor = self.anchors(images.shape[2:], [level.shape[2:] for level in levels])
        return RetinaOutputs(self.class_head(levels), self.box_head(levels), anchors, level_of_anchor)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class EfficientDetCriterion:
    """Focal loss of all anchors, plus 50 times the Huber loss of the positive ones' boxes (section 5.1).

    An anchor is positive from an IoU of 0.5 with its best object, and background below; the best anchor of an object is
    positive whatever its IoU. Crowd boxes are never an object: anchors that lie mostly in one and are not positive are
    ignored. Sums over the global batch are divided by one more than its number of positives.
    """

    named: tuple[int, ...]  # the logits that have a category; labels count these
    alpha: float = 0.25  # weight of positives; 1 - alpha that of negatives
    gamma: float = 1.5  # focusing
    delta: float = 0.1  # residual at which the boxes' loss becomes linear
    box_weight: float = 50.0
    positive_iou: float = 0.5

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: RetinaOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses "classification" and "box" of a batch whose targets hold boxes, labels and maybe crowd.

        Boxes or labels that are missing, a box without area and a label without category are a ValueError.
        """
        logits = with_category(outputs.class_logits, self.named)
        objects = checked_objects(batch.targets, logits.shape[-1], like=outputs.anchors)
        matches = torch.stack([self.assign(outputs.anchors, o) for o in objects])  # B A, index within the image
        image, anchor, boxes, labels = Positives.of(matches, objects)  # P

        positive = torch.zeros_like(logits, dtype=torch.bool)  # B A K
        positive[image, anchor, labels] = True
        focal = focal_loss(logits, positive, gamma=self.gamma, alpha=self.alpha, reduction="none").sum(-1)  # B A
        wanted = encode_boxes(boxes, outputs.anchors[anchor])  # P 4
        huber = huber_loss(outputs.box_deltas[image, anchor], wanted, delta=self.delta, reduction="sum")
        count = step.mean(logits.new_tensor(len(image))) + step.share
        return {
            "classification": (focal * (matches != IGNORED)).sum() / count,
            "box": self.box_weight * huber / (4 * count),
        }

    def assign(self, anchors: Float[Tensor, "A 4"], objects: Objects) -> Int64[Tensor, " A"]:
        """Return for each anchor the row of its object, BACKGROUND or IGNORED.

        An anchor that is best for several objects takes the first of them.
        """
        matches = torch.full_like(anchors[:, 0], BACKGROUND, dtype=torch.int64)
        M = len(objects.boxes)
        if M:
            iou = box_iou(objects.boxes, anchors)  # M A
            overlap, truth = iou.max(0)  # A
            matches = truth.where(overlap >= self.positive_iou, BACKGROUND)
            best, claimed = iou.max(1)  # M
            rows = torch.arange(M, device=matches.device).where(best > 0, M)
            claims = torch.full_like(matches, M).scatter_reduce(0, claimed, rows, "amin")  # A
            matches = claims.where(claims < M, matches)
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(anchors, objects.crowd)] = IGNORED
        return matches


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class EfficientDetDecode:
    """RetinaNet's decoder on the best (anchor, class) pairs of all levels together, without a threshold."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold",)

    categories: Categories  # of all logits; those without a name are dropped
    score_threshold: float = 0.0
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    candidates: int = 5000

    def __call__(self, outputs: RetinaOutputs, placements: Sequence[Placement]) -> list[Detections]:
        decode = RetinaDecode(
            self.categories, self.score_threshold, self.nms_threshold, self.detections_per_image, self.candidates
        )
        return decode(outputs._replace(levels=torch.zeros_like(outputs.levels)), placements)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def neck_of(
    neck: Neck, in_channels: Sequence[int], channels: int, levels: int, repeats: int, style: Style
) -> BiFPN | PathAggregation | NASFPN:
    """Return a neck by name; NAS-FPN has five levels, PANet at most two more than maps come in and no repeats."""
    check_choice("neck", neck, Neck)
    if neck == "nas_fpn":
        return NASFPN(in_channels, channels, levels=levels, repeats=repeats, norm=style.norm)
    if neck == "panet":
        extra: dict[int, Extra] = {0: "none", 1: "pool", 2: "p6p7_from_c5"}
        more = levels - len(in_channels)
        if more not in extra:
            raise ValueError(f"received levels={levels}, expected {len(in_channels)} to {len(in_channels) + 2}")
        return PathAggregation(in_channels, channels, extra=extra[more])
    return BiFPN(in_channels, channels, levels=levels, repeats=repeats, style=style)


def efficientdet_model(
    backbone: InvertedResidualTrunk,
    neck: BiFPN | PathAggregation | NASFPN,
    style: Style,  # of the heads
    categories: int | tuple[str | None, ...],
    *,
    head_depth: int,
    anchor_scale: float | int,
    score_threshold: float | int,
    shorter: int | None = None,
    longest: int | None = None,
    size: tuple[int, int] | None = None,
    lite: bool = False,  # whether pixels go to [-1, 1]
) -> Supervised:
    """Put a detector together; its canvas is a multiple of the coarsest level's stride."""
    names = category_names(categories)
    strides = neck.strides(backbone.strides[1:])
    head = partial(Head, neck.channels, len(strides), depth=head_depth, style=style)
    class_head, box_head = head(len(names), bias=prior_bias(PRIOR)), head(4)
    network = EfficientDet(backbone, neck, Anchors(anchor_scale), class_head, box_head)
    criterion = EfficientDetCriterion(named_outputs(names))
    mean, std = (LITE_MEAN, LITE_STD) if lite else (IMAGENET_MEAN, IMAGENET_STD)
    preprocess = Preprocess(shorter, longest, size, stride=strides[-1], mean=mean, std=std)
    return Supervised(network, criterion, EfficientDetDecode(names, score_threshold), preprocess)


def efficientdet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    size: tuple[int, int] | None = None,
    width: float | int = 1.0,
    channels: int | None = None,
    tensorflow: bool = False,
    drop: float | int = STOCHASTIC_DEPTH,
    score_threshold: float | int = 0.0,
) -> Supervised:
    """Build a detector of the family by its name in `VARIANTS`.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the longer side gets the paper's resolution.
        width: multiplies the channels of the backbone.
        channels: of the BiFPN and the heads; None: the published ones.
        tensorflow: pad as the authors' networks do and have their biases, which weights converted from them need.
        drop: probability with which stochastic depth leaves out the backbone's last branch in training.
        score_threshold: of what is returned; the published scores are without one.
    """
    variant = VARIANTS[name]
    scale = variant.scale
    style = Style(fusion=variant.fusion, bias=tensorflow, same_padding=tensorflow)
    backbone = trunk(variant.backbone, width=width, tensorflow=tensorflow, drop=drop)
    neck = BiFPN(backbone.channels[1:], channels or scale.channels, repeats=scale.repeats, style=style)
    return efficientdet_model(
        backbone,
        neck,
        style,
        categories,
        head_depth=scale.head_depth,
        anchor_scale=variant.anchor_scale,
        score_threshold=score_threshold,
        longest=scale.resolution,
        size=size,
    )


efficientdet_d0 = of_family(efficientdet, "efficientdet_d0", "3.9 M parameters")
efficientdet_d1 = of_family(efficientdet, "efficientdet_d1", "6.6 M parameters")
efficientdet_d2 = of_family(efficientdet, "efficientdet_d2", "8.1 M parameters")
efficientdet_d3 = of_family(efficientdet, "efficientdet_d3", "12.0 M parameters")
efficientdet_d4 = of_family(efficientdet, "efficientdet_d4", "20.7 M parameters")
efficientdet_d5 = of_family(efficientdet, "efficientdet_d5", "33.6 M parameters")
efficientdet_d6 = of_family(efficientdet, "efficientdet_d6", "51.8 M parameters")
efficientdet_d7 = of_family(efficientdet, "efficientdet_d7", "51.8 M parameters")


@builder
def efficientdet_lite0(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    size: tuple[int, int] | None = None,
    longest: int = 384,
    width: float | int = 1.0,
    channels: int = 64,
    repeats: int = 3,
    head_depth: int = 3,
    fusion: Fusion = "fast",
    anchor_scale: float | int = 4.0,
    bias: bool = False,
    tensorflow: bool = True,
    drop: float | int = STOCHASTIC_DEPTH,
    score_threshold: float | int = 0.0,
) -> Supervised:
    """Build EfficientDet-Lite0 as in effdet, for phones and for training on a CPU: 3.2 M parameters.

    Its backbone takes the ImageNet weights of `efficientnet_lite0`, of which only timm's own need `tensorflow=False`.
    The published detector has plain sums, anchors of 3 cells, biases before norms, and 320 pixels.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        longest: pixels of the longer side.
        width: multiplies the channels of the backbone.
        channels: of the neck and the heads.
        repeats: of the neck: how many of its cells follow each other.
        head_depth: convolutions of each head before the one that predicts.
        fusion: how the neck weighs maps: "fast", "softmax" or "sum" (not at all).
        anchor_scale: side of the smallest anchor of a level, in cells.
        bias: whether 1x1 convolutions before norms have one.
        tensorflow: pad and normalise in the backbone as the authors' code does.
        drop: probability with which stochastic depth leaves out the backbone's last branch in training.
        score_threshold: the least that is returned, in [0, 1].
    """
    style = Style(activation=nn.ReLU6, fusion=fusion, bias=bias, same_padding=True)
    backbone = trunk("efficientnet_lite0", width=width, tensorflow=tensorflow, drop=drop)
    neck = BiFPN(backbone.channels[1:], channels, repeats=repeats, style=style)
    return efficientdet_model(
        backbone,
        neck,
        style,
        categories,
        head_depth=head_depth,
        anchor_scale=anchor_scale,
        score_threshold=score_threshold,
        longest=longest,
        size=size,
        lite=True,
    )


@builder
def efficientdet_tiny(
    *,
    categories: int | tuple[str | None, ...] = 5,
    width: float | int = 0.5,
    channels: int = 48,
    repeats: int = 2,
    head_depth: int = 2,
    levels: int = 3,
    neck: Neck = "bifpn",
    fusion: Fusion = "fast",
    anchor_scale: float | int = 2.0,
    size: tuple[int, int] | None = None,
    shorter: int = 128,
    longest: int = 256,
    score_threshold: float | int = 0.05,
) -> Supervised:
    """Build an EfficientDet that a CPU trains in minutes on images of 128 pixels: narrow, and of the levels P3 to P5.

    Its norms follow the newest batches ten times as fast as the published ones, as a short training needs.

    Args:
        categories: the number of classes, or their names.
        width: multiplies the channels of the backbone.
        channels: of the neck and the heads.
        repeats: of the neck: how many of its cells follow each other.
        head_depth: convolutions of each head before the one that predicts.
        levels: of the neck, from stride 8 on.
        neck: "bifpn", "panet" or "nas_fpn".
        fusion: how the neck weighs maps: "fast", "softmax" or "sum" (not at all).
        anchor_scale: side of the smallest anchor of a level, in cells.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
    """
    style = Style(norm=norm_layer("batch", eps=1e-3, momentum=0.1), fusion=fusion)
    backbone = trunk("efficientnet_lite0", width=width, drop=0.0)
    return efficientdet_model(
        backbone,
        neck_of(neck, backbone.channels[1:], channels, levels, repeats, style),
        style,
        categories,
        head_depth=head_depth,
        anchor_scale=anchor_scale,
        score_threshold=score_threshold,
        shorter=shorter,
        longest=longest,
        size=size,
    )
