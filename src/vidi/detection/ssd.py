"""SSD: boxes and classes at once, from the maps of several stages of one network.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", arXiv 1512.02325; notes 4.3.3 (CNN pyramid) and 4.3.4.

    images     B 3 300 300
    pyramid    VGG-16: conv4_3, fc7, then four more stages: maps of 38, 19, 10, 5, 3 and 1 cells a side
    heads      one 3x3 convolution a map for classes, one for boxes: K+1 logits (the last: background) and 4 deltas for
               each of the 4 or 6 default boxes of a cell, 8,732 in all
    criterion  default boxes to objects by IoU; cross entropy of positives and their 3 : 1 hardest negatives + smooth L1
    decode     softmax, the best 400 of each class, suppression within each class: Detections

Scales of the default boxes are the paper's for COCO (section 3.4), as in torchvision. Differs from the paper: no
patches are cut out of the images and no colours changed, and fc6 and fc7 start with random weights. A default box that
is the best of two objects takes the later one. An image without objects has no positives, hence no negatives either.
`ssd_tiny` puts the same heads on the stages of a narrow ResNet-18.
"""

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones import resnet, vgg
from vidi.backbones.trunk import Maps
from vidi.detection.candidates import Candidates
from vidi.detection.coco_outputs import COCO_IDS
from vidi.detection.hard_negatives import hard_negatives
from vidi.detection.targets import (
    DELTA_WEIGHTS,
    Objects,
    Positives,
    checked_objects,
    mostly_inside,
    named_outputs,
    with_category,
)
from vidi.losses.box import smooth_l1_loss
from vidi.model import Losses, Step, Supervised, builder, in_float32
from vidi.necks.image_pyramid import CnnPyramid
from vidi.nn.normalization import Norm
from vidi.ops.anchors import anchor_grid
from vidi.ops.boxes import Size, box_iou, clip_boxes_to_images, decode_boxes, encode_boxes
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

VGG_MEAN = (0.48235, 0.45882, 0.40784)  # of the weights that SSD begins with
VGG_STD = (1 / 255, 1 / 255, 1 / 255)


class SsdOutputs(NamedTuple):
    """What the heads say of each default box; rows run over levels, then y, then x, then the boxes of a cell."""

    class_logits: Float[Tensor, "B A C"]  # of K classes and, last, the background
    box_deltas: Float[Tensor, "B A 4"]  # dx, dy, dw, dh, times `DELTA_WEIGHTS`: see `encode_boxes`
    default_boxes: Float[Tensor, "A 4"]  # xyxy, pixels of the canvas


# ----------------------------------------------------------------------------------------------------------------------
# Network


class ScaledL2Norm(nn.Module):
    """Bring the channels of each position to length 1, then scale each (Liu, Rabinovich, Berg 2015, arXiv 1506.04579).

    The activations of conv4_3 are much larger than those of the later maps.
    """

    def __init__(self, channels: int, scale: float | int = 20):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return self.scale[:, None, None] * F.normalize(x)


class DefaultBoxes(nn.Module):
    """Boxes of several shapes at each cell of each level (section 2.2 of the paper).

    A level of scale s has squares of s and of the geometric mean of s and the next scale, and for each aspect ratio a
    one of s sqrt(a) x s / sqrt(a) and the upright one; sides are cut to the canvas.

    Args:
        scales: of the levels, in parts of the canvas, and one more: what would be the next.
        aspect_ratios: of each level, besides 1.
        strides: of each level, in pixels; None for a level whose cells divide the canvas evenly.

    Raises:
        ValueError: if the lengths do not fit.
    """

    def __init__(
        self,
        scales: Sequence[float | int],
        aspect_ratios: Sequence[Sequence[float | int]],
        strides: Sequence[int | None],
    ):
        super().__init__()
        if not len(scales) - 1 == len(aspect_ratios) == len(strides):
            received = f"{len(scales)} scales, {len(aspect_ratios)} rows of aspect ratios, {len(strides)} strides"
            raise ValueError(f"received {received}, expected one of each for every level, and one scale more")
        self.strides = tuple(strides)
        for level, ratios in enumerate(aspect_ratios):
            s, following = scales[level : level + 2]
            sides = [(s, s), (math.sqrt(s * following),) * 2]
            for ratio in ratios:
                w, h = s * math.sqrt(ratio), s / math.sqrt(ratio)
                sides += [(w, h), (h, w)]
            self.register_buffer(f"sides{level}", torch.tensor(sides).clamp(max=1), persistent=False)  # k 2

    @property
    def per_cell(self) -> tuple[int, ...]:
        """The number of boxes of a cell, k, of each level."""
        return tuple(len(sides) for sides in self._sides())

    def _sides(self) -> list[Tensor]:
        return [self.get_buffer(f"sides{level}") for level in range(len(self.strides))]

    def forward(self, canvas: Size, sizes: Sequence[Size]) -> Float[Tensor, "A 4"]:
        """Return the boxes of all levels, given the sizes (H, W) of the images and of each level."""
        H, W = canvas
        levels = []
        for sides, stride, (h, w) in zip(self._sides(), self.strides, sizes, strict=True):
            half = torch.stack((sides[:, 0] * W, sides[:, 1] * H), 1) / 2  # k 2
            step = (H // h, W // w) if stride is None else stride
            levels.append(anchor_grid(torch.cat((-half, half), 1), (h, w), step))
        return torch.cat(levels)


class Ssd(nn.Module):
    """A pyramid of maps, the heads of each, and the default boxes that they speak of."""

    def __init__(self, pyramid: CnnPyramid, default_boxes: DefaultBoxes, classes: int, *, rescale: bool = False):
        super().__init__()
        self.pyramid = pyramid
        self.rescale = ScaledL2Norm(pyramid.channels[0]) if rescale else nn.Identity()  # of the finest map
        self.default_boxes = default_boxes
        levels = list(zip(pyramid.channels, default_boxes.per_cell, strict=True))
        self.class_heads = nn.ModuleList(nn.Conv2d(c, k * (classes + 1), 3, padding=1) for c, k in levels)
        self.box_heads = nn.ModuleList(nn.Conv2d(c, k * 4, 3, padding=1) for c, k in levels)
        initialise(self.class_heads)
        initialise(self.box_heads)

    @property
    def backbone(self) -> nn.Module:
        """The network that the pyramid is built on: what has a learning rate and weights of its own."""
        return self.pyramid.backbone

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps that the heads look at, finest first."""
        finest, *coarser = self.pyramid(images)
        return self.rescale(finest), *coarser

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SsdOutputs:
        maps = self.features(images)
        boxes = self.default_boxes(images.shape[2:], [level.shape[2:] for level in maps])
        levels = list(zip(maps, self.class_heads, self.box_heads, self.default_boxes.per_cell, strict=True))
        logits = [rows(of_class(level), k) for level, of_class, _, k in levels]
        deltas = [rows(of_box(level), k) for level, _, of_box, k in levels]
        return SsdOutputs(torch.cat(logits, 1), torch.cat(deltas, 1), boxes)


def rows(numbers: Float[Tensor, "B kN h w"], per_cell: int) -> Float[Tensor, "B A N"]:
    """Turn a head's map into one row for each default box."""
    cells = numbers.permute(0, 2, 3, 1)  # B h w kN
    return cells.reshape(numbers.shape[0], -1, numbers.shape[1] // per_cell)


def initialise(network: nn.Module) -> None:
    """Draw convolutions evenly, with the deviation sqrt(2 / (fan-in + fan-out)) (Glorot & Bengio 2010); biases at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class MultiBoxCriterion:
    """Cross entropy of the positives and the hardest negatives, plus smooth L1 of the positives' deltas (equation 1).

    A default box is positive from an IoU of 0.5 with its best object; the best box of each object is positive whatever
    its IoU, and takes that object. All others are background, of which each image adds at most three times as many as
    it has positives, those of the largest loss. Both sums are divided by the number of positives of the batch, counted
    over all processes. Crowd boxes are never an object, and boxes that lie mostly in one no background.
    """

    named: tuple[int, ...]  # the outputs that have a category; labels count these
    positive_from: float = 0.5
    negatives: float = 3.0  # of an image, per positive
    negatives_nms: float | None = None  # IoU above which the easier of two negatives is dropped before they are ranked
    box_weight: float = 1.0  # alpha

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: SsdOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses "classification" and "box" of a batch whose targets hold boxes, labels and maybe crowd.

        Boxes or labels that are missing, a box without area and a label without category are a ValueError.
        """
        logits, deltas, default_boxes = outputs
        objects = checked_objects(batch.targets, len(self.named), like=default_boxes)
        matches = torch.stack([self.assign(default_boxes, o) for o in objects])  # B A, index within the image
        image, row, boxes, labels = Positives.of(matches, objects)  # P
        positive = matches >= 0
        count = step.normaliser(positive.sum().to(logits.dtype))

        classes = torch.full_like(matches, logits.shape[2] - 1)  # B A
        classes[image, row] = torch.tensor(self.named, device=labels.device)[labels]
        log_loss = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
        hardest = hard_negatives(
            log_loss,
            default_boxes.expand(len(objects), -1, -1),
            positive,
            matches == BACKGROUND,
            ratio=self.negatives,
            nms_threshold=self.negatives_nms,
        )
        targets = encode_boxes(boxes, default_boxes[row], weights=DELTA_WEIGHTS)  # P 4
        box_loss = smooth_l1_loss(deltas[image, row], targets, reduction="sum")
        return {
            "classification": log_loss[positive | hardest].sum() / count,
            "box": self.box_weight * box_loss / count,
        }

    def assign(self, default_boxes: Float[Tensor, "A 4"], objects: Objects) -> Int64[Tensor, " A"]:
        """Return for each default box the row of its object, BACKGROUND or IGNORED."""
        iou = box_iou(objects.boxes, default_boxes)  # M A
        matches = match_anchors(iou, low=self.positive_from, high=self.positive_from, allow_low_quality=False)
        if len(objects.boxes):
            overlap, best = iou.max(1)  # M
            own = torch.arange(len(best), device=best.device).where(overlap > 0, BACKGROUND)
            claimed = torch.full_like(matches, BACKGROUND).scatter_reduce(0, best, own, "amax")  # A
            matches = claimed.where(claimed >= 0, matches)
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(default_boxes, objects.crowd)] = IGNORED
        return matches


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class SsdDecode:
    """The best default boxes of each class, suppression within each class, the best of what is left (section 2.2)."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "nms_threshold", "detections_per_image")

    categories: Categories  # of all outputs but the background; those without a name are dropped after the softmax
    score_threshold: float = 0.01
    nms_threshold: float = 0.45
    detections_per_image: int = 200
    candidates_per_class: int = 400

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"received score_threshold={self.score_threshold}, expected a number in [0, 1]")

    def __call__(self, outputs: SsdOutputs, placements: Sequence[Placement]) -> list[Detections]:
        found = self.candidates(outputs, [placement.resized for placement in placements])
        best = found.best(threshold=self.nms_threshold, most=self.detections_per_image)
        return best.detections(placements, self.categories)

    def candidates(self, outputs: SsdOutputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        """Return the best of each class with a score above the threshold, clipped to images of these sizes (h, w)."""
        probabilities = outputs.class_logits.softmax(2)[..., :-1]
        probabilities = with_category(probabilities, named_outputs(self.categories))  # B A K
        K = probabilities.shape[2]
        best = probabilities.amax(2)  # B A
        best = best.where(best > self.score_threshold, 0)
        rows = best.topk(int((best > 0).sum(1).max())).indices  # B a: no other default box is likely to be anything
        scores = probabilities.gather(1, rows[..., None].expand(-1, -1, K)).transpose(1, 2)  # B K a
        scores = scores.where(scores > self.score_threshold, 0)
        scores, index = scores.topk(min(self.candidates_per_class, scores.shape[2]))  # B K n
        used = int((scores > 0).sum(2).max())  # scores fall along a row: what is cut off is not valid in any image
        scores, index = scores[..., :used].flatten(1), index[..., :used].flatten(1)  # B N
        rows = rows.gather(1, index)
        labels = torch.arange(K, device=rows.device).repeat_interleave(used).expand_as(rows)
        deltas = outputs.box_deltas.gather(1, rows[..., None].expand(-1, -1, 4))  # B N 4
        boxes = decode_boxes(deltas, outputs.default_boxes[rows], weights=DELTA_WEIGHTS)
        return Candidates(clip_boxes_to_images(boxes, boxes.new_tensor(sizes)), scores, labels, scores > 0)


# ----------------------------------------------------------------------------------------------------------------------
# Pyramids


@dataclass(frozen=True)
class Level:
    """A map of the pyramid: its default boxes, and how its stage makes it from the map before."""

    scale: float  # of the canvas
    aspect_ratios: tuple[float | int, ...]
    stride: int | None  # of the default boxes; None: the cells divide the canvas evenly
    inner: int = 0  # channels of the stage's 1x1 convolution, at full width
    outer: int = 0  # channels of its 3x3 convolution
    step: int = 1  # of the latter; one that does not stride has no padding


SSD300 = (  # figure 2 of the paper; scales of its section 3.4, aspect ratios of 3.1
    Level(0.07, (2,), 8),  # conv4_3
    Level(0.15, (2, 3), 16),  # fc7
    Level(0.33, (2, 3), 32, 256, 512, 2),  # conv8_2
    Level(0.51, (2, 3), 64, 128, 256, 2),  # conv9_2
    Level(0.69, (2,), None, 128, 256),  # conv10_2
    Level(0.87, (2,), None, 128, 256),  # conv11_2
)
END = 1.05  # the scale after the last
CONV4_3, CONV5_3 = 3, 4  # among the maps of VGG

WORLD = (Level(0.11, (2, 3), 8), Level(0.22, (2, 3), 16), Level(0.44, (2, 3), 32))  # 14, 28 and 56 of 128 pixels
WORLD_END = 0.88


def default_boxes_of(levels: Sequence[Level], end: float) -> DefaultBoxes:
    """Return the default boxes of levels; `end` is the scale after the last."""
    scales = [*(level.scale for level in levels), end]
    return DefaultBoxes(scales, [level.aspect_ratios for level in levels], [level.stride for level in levels])


def vgg_pyramid(levels: Sequence[Level], *, width: int, trained: int) -> CnnPyramid:
    """Return VGG-16 and what SSD puts on top of it: fc6 and fc7 as convolutions, and a stage for each further level.

    `trained` is the number of VGG's stages, counted from the last, that are trained.
    """
    stages = len(vgg.MULTIPLES)
    if trained not in range(stages + 1):
        raise ValueError(f"received trainable_backbone_layers={trained}, expected 0..{stages}")
    backbone = vgg.trunk("vgg16", width=width)
    pools = [index for index, layer in enumerate(backbone.layers) if isinstance(layer, nn.MaxPool2d)]
    backbone.layers[pools[2]].ceil_mode = True  # type: ignore[assignment]  # 75 -> 38 cells
    backbone.layers[: [0, *pools][stages - trained]].requires_grad_(False)

    channels = [16 * width, *(level.outer * width // vgg.FULL_WIDTH for level in levels[2:])]
    extra: list[nn.Module] = [
        nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),  # keeps the resolution; fc6 sees as far by its dilation
            nn.Conv2d(8 * width, channels[0], 3, padding=6, dilation=6),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[0], channels[0], 1),
            nn.ReLU(inplace=True),
        )
    ]
    for level, before, outer in zip(levels[2:], channels, channels[1:], strict=False):
        inner = level.inner * width // vgg.FULL_WIDTH
        extra.append(
            nn.Sequential(
                nn.Conv2d(before, inner, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(inner, outer, 3, level.step, padding=level.step - 1),
                nn.ReLU(inplace=True),
            )
        )
    for stage in extra:
        initialise(stage)
    strides = itertools.accumulate((level.step for level in levels[2:]), operator.mul, initial=16)
    return CnnPyramid(backbone, [CONV4_3], extra, channels=channels, strides=tuple(strides), top=CONV5_3)


def check_canvas(size: tuple[int, int], levels: Sequence[Level]) -> None:
    """Refuse images (H, W) that are too small for the last of the levels with a ValueError."""
    for side in size:
        cells = math.ceil(side // 2 // 2 / 2) // 2  # of fc7
        for level in levels[2:]:
            cells = math.ceil(cells / 2) if level.step == 2 else cells - 2
        if cells < 1:
            raise ValueError(f"received size={size}, expected larger images for {len(levels)} maps, or fewer maps")


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def ssd300_vgg16(
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS,
    width: int = vgg.FULL_WIDTH,
    maps: int = 6,
    trainable_backbone_layers: int = 5,
    size: tuple[int, int] = (300, 300),
    negatives_nms: float | None = None,
    score_threshold: float = 0.01,
    nms_threshold: float = 0.45,
    detections_per_image: int = 200,
) -> Supervised:
    """Build SSD300 with VGG-16: 35.6 M parameters, COCO AP 25.1 with torchvision's weights.

    Args:
        categories: the number of classes, or their names.
        width: channels of VGG's first stage; all others follow.
        maps: of the pyramid, from the finest on; fewer for small images.
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        size: (H, W) that every image is resized to.
        negatives_nms: IoU at which a negative stands for another, see `hard_negatives`: 0.7 in Shrivastava et al. 2016
            (1604.03540); None: the paper's none.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    if maps not in range(2, len(SSD300) + 1):
        raise ValueError(f"received maps={maps}, expected 2..{len(SSD300)}")
    levels = SSD300[:maps]
    check_canvas(size, levels)
    names = category_names(categories)
    pyramid = vgg_pyramid(levels, width=width, trained=trainable_backbone_layers)
    end = SSD300[maps].scale if maps < len(SSD300) else END
    network = Ssd(pyramid, default_boxes_of(levels, end), len(names), rescale=True)
    preprocess = Preprocess(exact=size, mean=VGG_MEAN, std=VGG_STD, antialias=False)
    decode = SsdDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, MultiBoxCriterion(named_outputs(names), negatives_nms=negatives_nms), decode, preprocess)


@builder
def ssd_tiny(
    *,
    categories: int | tuple[str | None, ...] = 5,
    width: int = 32,
    norm: Norm = "batch",
    size: tuple[int, int] = (128, 128),
    negatives_nms: float | None = None,
    score_threshold: float = 0.01,
    nms_threshold: float = 0.45,
    detections_per_image: int = 200,
) -> Supervised:
    """Build an SSD that a CPU trains in minutes on images of 128 pixels: the maps C3, C4, C5 of a narrow ResNet-18.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        norm: of the backbone: "batch", "frozen" or "group".
        size: (H, W) that every image is resized to.
        negatives_nms: IoU at which a negative stands for another, see `hard_negatives`: 0.7 in Shrivastava et al. 2016
            (1604.03540); None: the paper's none.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    backbone = resnet.trunk("resnet18", norm=norm, width=width)
    network = Ssd(CnnPyramid(backbone, [1, 2, 3]), default_boxes_of(WORLD, WORLD_END), len(names))
    decode = SsdDecode(names, score_threshold, nms_threshold, detections_per_image)
    criterion = MultiBoxCriterion(named_outputs(names), negatives_nms=negatives_nms)
    return Supervised(network, criterion, decode, Preprocess(exact=size))
