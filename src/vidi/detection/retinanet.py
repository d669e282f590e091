"""RetinaNet: one-stage detection, trained on all anchors with the focal loss.

Lin, Goyal, Girshick, He, Dollar 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002; notes 4.3.4.

    images     B 3 H W
    backbone   ResNet: C3, C4, C5
    pyramid    P3..P7, strides 8..128, each B D h w (P2 would give too many anchors)
    heads      class tower and box tower, shared by the levels: K logits and 4 deltas for each of h x w x 9 anchors
    outputs    class_logits B A K, box_deltas B A 4, anchors A 4, levels A
    criterion  anchors to objects by IoU; focal loss of all anchors and classes + box loss of the positive ones
    decode     the best 1,000 (anchor, class) of each level, boxes, suppression within each class: Detections

Differs from the notes: the loss is divided by the number of positive anchors, and the box loss is smooth L1, not the
squared error of R-CNN. alpha = 0.25 gives the *positives* the smaller weight, because gamma = 2 already silences the
easy negatives. Starting at the prior p is approximate: the logit is b + w.x with a variance of 0.01^2 |x|^2, and
E[sigmoid(b + w.x)] is near sigmoid(b) = p only as this is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones.resnet import ResNet, trunk
from vidi.detection.anchors import AnchorStyle, LevelAnchors
from vidi.detection.candidates import Candidates
from vidi.detection.coco_outputs import COCO_IDS_FROM_ZERO
from vidi.detection.options import check_choice, frozen_below
from vidi.detection.targets import Objects, Positives, checked_objects, mostly_inside, named_outputs, with_category
from vidi.losses.box import generalized_iou_loss, l1_loss, smooth_l1_loss
from vidi.losses.classification import focal_loss, prior_bias
from vidi.model import Losses, Step, Supervised, in_float32, of_family
from vidi.necks.feature_pyramid import Extra, FeaturePyramid
from vidi.necks.nas_fpn import NASFPN
from vidi.nn.normalization import Norm
from vidi.ops.anchors import octave_sizes
from vidi.ops.boxes import Size, box_iou, clip_boxes_to_images, decode_boxes, encode_boxes
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

BoxLoss = Literal["smooth_l1", "l1", "giou"]
Normalise = Literal["batch", "image"]

OCTAVES = 3  # anchor sizes a level, 2^(1/3) apart
GROUP = 8  # channels that are normalised together: torchvision's 32 groups of 256 channels
PRIOR = 0.01  # probability of each class at the start


class RetinaOutputs(NamedTuple):
    """What the heads say of each anchor; rows run over levels, then y, then x, then the anchors of a cell."""

    class_logits: Float[Tensor, "B A K"]
    box_deltas: Float[Tensor, "B A 4"]  # dx, dy, dw, dh: see `encode_boxes`
    anchors: Float[Tensor, "A 4"]  # xyxy, pixels of the canvas
    levels: Int64[Tensor, " A"]  # of the pyramid, 0 the finest


# ----------------------------------------------------------------------------------------------------------------------
# Network


class Head(nn.Module):
    """A tower of 3x3 convolutions that the levels share, and one more that gives each anchor its numbers (figure 3)."""

    def __init__(
        self,
        channels: int,
        anchors: int,  # per cell
        numbers: int,  # per anchor
        *,
        depth: int = 4,
        group_norm: bool = False,  # before each ReLU
        bias: float = 0.0,  # of the last convolution at the start
    ):
        super().__init__()
        self.numbers = numbers
        self.tower = nn.Sequential(*(self._layer(channels, group_norm) for _ in range(depth)))
        self.predict = nn.Conv2d(channels, anchors * numbers, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(self.predict.bias, bias)  # type: ignore[arg-type]

    @staticmethod
    def _layer(channels: int, group_norm: bool) -> nn.Sequential:
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=not group_norm)
        norm = [nn.GroupNorm(channels // GROUP, channels)] if group_norm else []
        return nn.Sequential(conv, *norm, nn.ReLU(inplace=True))

    def forward(self, levels: Sequence[Float[Tensor, "B D _ _"]]) -> Float[Tensor, "B A N"]:
        maps = [self.predict(self.tower(level)) for level in levels]  # B aN h w
        rows = [m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, self.numbers) for m in maps]  # B hwa N
        return torch.cat(rows, 1)


class Anchors(LevelAnchors):
    """Nine boxes per cell: three sizes within an octave times three aspect ratios (section 4 of the paper).

    torchvision's sizes are truncated to whole pixels; see `LevelAnchors` for its other differences.
    """

    def __init__(self, sizes: Sequence[float | int], strides: Sequence[int], style: AnchorStyle):
        truncated = style == "torchvision"
        octaves = [octave_sizes(size, count=OCTAVES, truncated=truncated) for size in sizes]
        super().__init__(octaves, strides, style)

    def forward(self, canvas: Size, sizes: Sequence[Size]) -> tuple[Float[Tensor, "A 4"], Int64[Tensor, " A"]]:
        """Return the anchors of all levels and each one's level, given the sizes of the images and of each level."""
        rows = [h * w * self.per_cell for h, w in sizes]
        levels = [self.base.new_full((count,), level, dtype=torch.int64) for level, count in enumerate(rows)]
        return torch.cat(self.by_level(canvas, sizes)), torch.cat(levels)


class RetinaNet(nn.Module):
    """Backbone, feature pyramid, two heads that its levels share, and the anchors."""

    def __init__(
        self,
        backbone: ResNet,
        pyramid: FeaturePyramid | NASFPN,
        anchors: Anchors,
        class_head: Head,
        box_head: Head,
    ):
        super().__init__()
        self.backbone, self.pyramid = backbone, pyramid
        self.anchors = anchors
        self.class_head, self.box_head = class_head, box_head

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RetinaOutputs:
        _, *features = self.backbone.features(images)  # C3, C4, C5
        levels = self.pyramid(tuple(features))  # B D h w each
        anchors, level_of_anchor = self.anchors(images.shape[2:], [level.shape[2:] for level in levels])
        return RetinaOutputs(self.class_head(levels), self.box_head(levels), anchors, level_of_anchor)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class RetinaCriterion:
    """Focal loss of all anchors that are not ignored, plus the box loss of the positive ones (section 3 of the paper).

    An anchor is positive from an IoU of 0.5 with its best object, background below 0.4 with all of them, and ignored in
    between; the best anchors of an object are positive whatever their IoU. Crowd boxes are never an object: anchors
    that lie mostly in one and are not positive are ignored.

    With `normalise="batch"` (the paper) the sums over the batch are divided by its number of positives, counted over
    all processes; with "image" (torchvision) each image's by its own, then averaged.
    """

    named: tuple[int, ...]  # the logits that a category has; labels count these
    box_loss: BoxLoss = "smooth_l1"
    normalise: Normalise = "batch"
    alpha: float = 0.25  # weight of positives; 1 - alpha that of negatives
    gamma: float = 2.0  # focusing; 0 is cross entropy
    box_weight: float = 1.0  # lambda of the notes
    low: float = 0.4
    high: float = 0.5

    def __post_init__(self) -> None:
        check_choice("box_loss", self.box_loss, BoxLoss)
        check_choice("normalise", self.normalise, Normalise)

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
        box = self.box_terms(outputs.box_deltas[image, anchor], outputs.anchors[anchor], boxes)  # P
        class_sums = (focal * (matches != IGNORED)).sum(1)  # B
        box_sums = box.new_zeros(len(objects)).index_add(0, image, box)  # B
        positives = (matches >= 0).sum(1).to(focal.dtype)  # B
        return {
            "classification": self.normalised(class_sums, positives, step),
            "box": self.box_weight * self.normalised(box_sums, positives, step),
        }

    def assign(self, anchors: Float[Tensor, "A 4"], objects: Objects) -> Int64[Tensor, " A"]:
        """Return for each anchor the row of its object, BACKGROUND or IGNORED."""
        iou = box_iou(objects.boxes, anchors)  # M A
        matches = match_anchors(iou, low=self.low, high=self.high, allow_low_quality=True)
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(anchors, objects.crowd)] = IGNORED
        return matches

    def box_terms(
        self, deltas: Float[Tensor, "P 4"], anchors: Float[Tensor, "P 4"], boxes: Float[Tensor, "P 4"]
    ) -> Float[Tensor, " P"]:
        """Return the box loss of each positive anchor: on the deltas, or on the boxes that they give."""
        if self.box_loss == "giou":
            return generalized_iou_loss(decode_boxes(deltas, anchors), boxes, reduction="none")
        of_deltas = smooth_l1_loss if self.box_loss == "smooth_l1" else l1_loss
        return of_deltas(deltas, encode_boxes(boxes, anchors), reduction="none").sum(-1)

    def normalised(self, sums: Float[Tensor, " B"], positives: Float[Tensor, " B"], step: Step) -> Float[Tensor, ""]:
        """Divide the images' sums by numbers of positives; nothing is divided where there is none."""
        if self.normalise == "image":
            return (sums / positives.clamp(min=1)).mean()
        return sums.sum() / step.normaliser(positives.sum())


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class RetinaDecode:
    """The best (anchor, class) pairs of each level, their boxes, suppression within each class (section 4.1)."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "nms_threshold", "detections_per_image")

    categories: Categories  # of all logits; those without a name are dropped
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    candidates_per_level: int = 1000

    def __call__(self, outputs: RetinaOutputs, placements: Sequence[Placement]) -> list[Detections]:
        found = self.candidates(outputs, [placement.resized for placement in placements])
        best = found.best(threshold=self.nms_threshold, most=self.detections_per_image)
        return best.detections(placements, self.categories)

    def candidates(self, outputs: RetinaOutputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        """Return the candidates of all levels, clipped to images of these sizes (h, w)."""
        logits = with_category(outputs.class_logits, named_outputs(self.categories))
        rows = outputs.levels.bincount().tolist()
        parts = zip(logits.split(rows, 1), outputs.box_deltas.split(rows, 1), outputs.anchors.split(rows), strict=True)
        own_sizes = outputs.anchors.new_tensor(sizes)  # B 2
        levels = [self.best_of_level(*part, own_sizes) for part in parts]
        return Candidates(*(torch.cat(column, 1) for column in zip(*levels, strict=True)))

    def best_of_level(
        self,
        logits: Float[Tensor, "B A K"],
        deltas: Float[Tensor, "B A 4"],
        anchors: Float[Tensor, "A 4"],
        sizes: Float[Tensor, "B 2"],
    ) -> Candidates:
        """Return the best pairs of one level with a score above the threshold.

        The best n pairs lie in the n anchors whose best class is best, so that most logits are looked at only once.
        """
        K = logits.shape[2]
        anchor = logits.amax(2).topk(min(self.candidates_per_level, logits.shape[1])).indices  # B n
        pairs = logits.gather(1, anchor[..., None].expand(-1, -1, K)).flatten(1)  # B nK
        best, pair = pairs.topk(min(self.candidates_per_level, pairs.shape[1]))  # B N
        scores = best.sigmoid()
        valid = scores > self.score_threshold
        used = int(valid.sum(1).max())  # scores fall along a row, so that what is cut off is not valid in any image
        scores, valid, pair = scores[:, :used], valid[:, :used], pair[:, :used]
        anchor = anchor.gather(1, pair.div(K, rounding_mode="floor"))  # B N
        boxes = decode_boxes(deltas.gather(1, anchor[..., None].expand(-1, -1, 4)), anchors[anchor])  # B N 4
        boxes = clip_boxes_to_images(boxes, sizes)
        return Candidates(boxes, scores, pair % K, valid)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def retina_network(
    backbone: ResNet,
    outputs: int,  # logits per anchor
    channels: int,  # of the pyramid and the heads
    depth: int,  # 3x3 convolutions of each tower
    anchor_sizes: Sequence[float | int],  # of each level, finest first: the smallest of the three
    anchor_style: AnchorStyle,
    extra: Extra,  # where P6 and P7 come from
    *,
    group_norm: bool = False,  # in the towers
) -> RetinaNet:
    """Put the network together; a ValueError if there are not as many anchor sizes as levels."""
    pyramid = FeaturePyramid(backbone.channels[1:], channels, extra=extra)
    anchors = Anchors(anchor_sizes, pyramid.strides(backbone.strides[1:]), anchor_style)
    shapes = anchors.per_cell
    class_head = Head(channels, shapes, outputs, depth=depth, group_norm=group_norm, bias=prior_bias(PRIOR))
    box_head = Head(channels, shapes, 4, depth=depth, group_norm=group_norm)
    return RetinaNet(backbone, pyramid, anchors, class_head, box_head)


PUBLISHED: dict[str, tuple[Extra, bool]] = {
    "retinanet_resnet50_fpn": ("p6p7_from_p5", False),
    "retinanet_resnet50_fpn_v2": ("p6p7_from_c5", True),
}
"""Where P6 and P7 come from, and whether the towers have group norm."""


def retinanet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS_FROM_ZERO,
    channels: int = 256,
    head_depth: int = 4,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    anchor_style: AnchorStyle = "paper",
    norm: Norm = "batch",
    norm_eps: float = 1e-5,
    trainable_backbone_layers: int = 5,
    box_loss: BoxLoss = "smooth_l1",
    normalise: Normalise = "batch",
    alpha: float | int = 0.25,
    gamma: float | int = 2.0,
    box_weight: float | int = 1.0,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a RetinaNet with ResNet-50 by its name in `PUBLISHED`.

    torchvision's weights need `anchor_style="torchvision"`, those of the first version also `norm="frozen"` and
    `norm_eps=0.0`. They were trained with `normalise="image"`, the first version's with `box_loss="l1"`.

    Args:
        categories: the number of classes, or their names.
        channels: of the pyramid and the heads.
        head_depth: convolutions of each head before the one that predicts.
        anchor_sizes: of each level, finest first: the smallest of its three.
        anchor_style: "paper", or "torchvision" for its weights: see `LevelAnchors`.
        norm: of the backbone: "batch", "frozen" or "group".
        norm_eps: of these norms.
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        box_loss: of positive anchors: "smooth_l1", "l1" or "giou".
        normalise: divide by the positives of the "batch" (the paper), or each "image"'s losses by its own
            (torchvision).
        alpha: weight of positives in the focal loss; 1 - alpha that of negatives.
        gamma: focusing; 0 is cross entropy.
        box_weight: of the box loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = frozen_below(trunk("resnet50", norm=norm, eps=norm_eps), trainable_backbone_layers)
    extra, group_norm = PUBLISHED[name]
    network = retina_network(
        backbone, len(names), channels, head_depth, anchor_sizes, anchor_style, extra, group_norm=group_norm
    )
    criterion = RetinaCriterion(named_outputs(names), box_loss, normalise, alpha, gamma, box_weight)
    decode = RetinaDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, criterion, decode, Preprocess(shorter, longest, size, stride=32, antialias=False))


retinanet_resnet50_fpn = of_family(
    retinanet, "retinanet_resnet50_fpn", "the paper's, 34.0 M parameters, COCO AP 36.4 with torchvision's weights"
)
retinanet_resnet50_fpn_v2 = of_family(
    retinanet,
    "retinanet_resnet50_fpn_v2",
    "torchvision's improved one (arXiv 1912.02424), 38.2 M parameters, COCO AP 41.5 with its weights",
    box_loss="giou",
)

NARROW: dict[str, Extra] = {"retinanet_resnet18_fpn": "p6p7_from_c5", "retinanet_tiny": "none"}
"""Where the levels above the backbone's come from."""


def narrow_retinanet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS_FROM_ZERO,
    width: int = 64,
    channels: int = 256,
    head_depth: int = 4,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    norm: Norm = "batch",
    box_loss: BoxLoss = "smooth_l1",
    alpha: float | int = 0.25,
    gamma: float | int = 2.0,
    box_weight: float | int = 1.0,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a RetinaNet with ResNet-18 and group norm in the towers by its name in `NARROW`.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        channels: of the pyramid and the heads.
        head_depth: convolutions of each head before the one that predicts.
        anchor_sizes: of each level, finest first: the smallest of its three.
        norm: of the backbone: "batch", "frozen" or "group".
        box_loss: of positive anchors: "smooth_l1", "l1" or "giou".
        alpha: weight of positives in the focal loss; 1 - alpha that of negatives.
        gamma: focusing; 0 is cross entropy.
        box_weight: of the box loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = trunk("resnet18", norm=norm, width=width)
    network = retina_network(
        backbone, len(names), channels, head_depth, anchor_sizes, "paper", NARROW[name], group_norm=True
    )
    criterion = RetinaCriterion(named_outputs(names), box_loss, "batch", alpha, gamma, box_weight)
    decode = RetinaDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, criterion, decode, Preprocess(shorter, longest, size, stride=32))


retinanet_resnet18_fpn = of_family(
    narrow_retinanet, "retinanet_resnet18_fpn", "trains from random weights on small data"
)
retinanet_tiny = of_family(
    narrow_retinanet,
    "retinanet_tiny",
    "trains in minutes on a CPU on images of 128 pixels: narrow, and of the levels P3 to P5",
    categories=5,
    width=32,
    channels=64,
    head_depth=2,
    anchor_sizes=(14, 28, 56),
    box_loss="giou",
    shorter=128,
    longest=256,
)
