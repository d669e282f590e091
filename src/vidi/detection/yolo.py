"""YOLOv3: one-stage detection by a grid of cells on three scales, with objectness and one sigmoid per class.

Redmon & Farhadi 2018, "YOLOv3: An Incremental Improvement", arXiv 1804.02767; notes 4.3.4. Target and loss are those of
the authors' code (github.com/pjreddie/darknet, yolo_layer.c).

    images     B 3 H W, in [0, 1]
    backbone   DarkNet-53: maps of strides 8, 16, 32
    neck       coarsest first: convolutions, then upsampled and concatenated with the next finer map
    heads      one for each scale: k anchors x (4 + 1 + K) numbers at each of h x w cells
    outputs    class_logits B A K, objectness B A, box_deltas B A 4, anchors A 2, cells A 4
    criterion  objects to the best anchor of their cell; cross-entropies, and squared errors of log sizes
    decode     objectness x class, the best pairs, boxes, suppression within each class: Detections

Differs from the notes: the several scales are concatenated in the neck, not in DarkNet-53. Differs from the paper: what
is ignored are predicted boxes that overlap an object, as in the authors' code, not anchors (priors) that do. Differs
from the authors' code: objectness starts at 0.01 instead of 0.5, predicted sizes are bounded, and a canvas is filled up
at the bottom and the right, only to multiples of 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones.darknet import VARIANTS, DarkNet
from vidi.detection.candidates import Candidates
from vidi.detection.coco_outputs import COCO_CLASSES
from vidi.detection.targets import Objects, check_objects, mostly_inside, named_outputs, with_category
from vidi.losses.classification import binary_cross_entropy, multi_label_cross_entropy, prior_bias
from vidi.model import Losses, Step, Supervised, in_float32, of_family
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer
from vidi.ops.anchors import anchor_grid
from vidi.ops.boxes import MAXIMAL_LOG_SCALE, Size, box_iou, clip_boxes_to_images, cxcywh_to_xyxy, xyxy_to_cxcywh
from vidi.ops.matching import BACKGROUND, IGNORED
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

# width, height in pixels, smallest first: k-means of COCO's boxes at 416 pixels (section 2.3 of the paper)
COCO_ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
# the same of the world's boxes at 128 pixels: `vidi train anchor_kmeans world_scenes=200`
WORLD_ANCHORS = (12, 14, 12, 24, 20, 21, 15, 41, 22, 37, 29, 28, 29, 56, 41, 42, 51, 63)

SCALES = 3  # the last maps of the backbone
SLOPE = 0.1  # of the leaky ReLU where it is negative
PRIOR = 0.01  # objectness at the start


class YoloOutputs(NamedTuple):
    """What the heads say of each anchor; rows run over scales (finest first), y, x, then the anchors of a cell."""

    class_logits: Float[Tensor, "B A K"]
    objectness: Float[Tensor, "B A"]  # logits
    box_deltas: Float[Tensor, "B A 4"]  # logits of the centre's place in its cell, logarithms of sides over anchors
    anchors: Float[Tensor, "A 2"]  # width, height in pixels
    cells: Float[Tensor, "A 4"]  # of each row: xyxy, pixels of the canvas


def boxes_in_cells(
    box_deltas: Float[Tensor, "*B A 4"], anchors: Float[Tensor, "A 2"], cells: Float[Tensor, "A 4"]
) -> Float[Tensor, "*B A 4"]:
    """Return the predicted boxes, xyxy in pixels of the canvas (section 2.1 of the paper).

    The centre lies in its cell, at sigmoid(t); a side is its anchor times exp(t), up to 62.5 times of it.
    """
    centres = cells[:, :2] + (cells[:, 2:] - cells[:, :2]) * box_deltas[..., :2].sigmoid()
    sides = anchors * box_deltas[..., 2:].clamp(max=MAXIMAL_LOG_SCALE).exp()
    return cxcywh_to_xyxy(torch.cat((centres, sides), -1))


def box_targets(
    boxes: Float[Tensor, "P 4"], anchors: Float[Tensor, "P 2"], cells: Float[Tensor, "P 4"]
) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P 2"]]:
    """Return the places of the boxes' centres in their cells, in [0, 1], and the logarithms of sides over anchors."""
    centres, sides = xyxy_to_cxcywh(boxes).split(2, -1)
    places = (centres - cells[:, :2]) / (cells[:, 2:] - cells[:, :2])
    return places.clamp(0, 1), (sides / anchors).log()


# ----------------------------------------------------------------------------------------------------------------------
# Network


class Neck(nn.Module):
    """Top-down path: at each scale five convolutions, whose result joins the next finer map by concatenation."""

    def __init__(self, channels: Sequence[int], conv: partial[ConvNorm]):
        super().__init__()
        self.channels = tuple(C // 2 for C in channels)  # of its maps
        joined = [coarser // 2 for coarser in self.channels[1:]]  # channels that come from above
        self.reduce = nn.ModuleList(conv(2 * C, C) for C in joined)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(C + above, C // 2), *(conv(*sides) for sides in 2 * ((C // 2, C, 3), (C, C // 2))))
            for C, above in zip(channels, [*joined, 0], strict=True)
        )

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        """Return one map for each of the backbone's, finest first, with half as many channels."""
        results = [self.blocks[-1](maps[-1])]
        finer = list(zip(self.reduce, self.blocks, maps, strict=False))  # all scales but the coarsest
        for reduce, block, x in reversed(finer):
            above = F.interpolate(reduce(results[0]), x.shape[2:])  # B C h w, nearest
            results.insert(0, block(torch.cat((above, x), 1)))
        return tuple(results)


class Head(nn.Module):
    """A 3x3 convolution, and a 1x1 that gives each anchor of a cell its 4 + 1 + K numbers."""

    def __init__(self, channels: int, anchors: int, classes: int, conv: partial[ConvNorm]):
        super().__init__()
        self.numbers = 4 + 1 + classes
        self.widen = conv(channels, 2 * channels, 3)
        self.predict = nn.Conv2d(2 * channels, anchors * self.numbers, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        with torch.no_grad():
            bias = torch.zeros(anchors, self.numbers)
            bias[:, 4] = prior_bias(PRIOR)
            self.predict.bias.copy_(bias.flatten())  # type: ignore[union-attr]

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B _ N"]:
        x = self.predict(self.widen(x))  # B kN h w
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.numbers)  # B hwk N


class Grid(nn.Module):
    """The anchors and the cells of all scales."""

    sizes: Tensor

    def __init__(self, sizes: Sequence[float | int], strides: Sequence[int]):
        super().__init__()
        if not sizes or len(sizes) % (2 * len(strides)) or min(sizes) <= 0:
            expected = f"width and height, both positive, of equally many anchors for each of {len(strides)} scales"
            raise ValueError(f"received the anchors {tuple(sizes)}, expected {expected}")
        table = torch.tensor(sizes, dtype=torch.float32).view(len(strides), -1, 2)
        self.register_buffer("sizes", table, persistent=False)  # L k 2
        self.strides = tuple(strides)

    @property
    def per_cell(self) -> int:
        """The number of anchors of a cell, k."""
        return self.sizes.shape[1]

    def forward(self, maps: Sequence[Size]) -> tuple[Float[Tensor, "A 2"], Float[Tensor, "A 4"]]:
        """Return anchors and cells, given the size (h, w) of each scale's map."""
        anchors, cells = [], []
        for sizes, stride, (h, w) in zip(self.sizes, self.strides, maps, strict=True):
            cell = sizes.new_tensor([0, 0, stride, stride]).expand(self.per_cell, 4)
            cells.append(anchor_grid(cell, (h, w), stride, centre="corner"))  # hwk 4
            anchors.append(sizes.repeat(h * w, 1))  # hwk 2
        return torch.cat(anchors), torch.cat(cells)


class Yolo(nn.Module):
    """Backbone, neck, one head for each scale, and the grid."""

    def __init__(self, backbone: DarkNet, classes: int, anchors: Sequence[float | int]):
        super().__init__()
        channels = backbone.channels[-SCALES:]
        conv = partial(ConvNorm, norm=norm_layer("batch"), activation=partial(nn.LeakyReLU, SLOPE))
        self.grid = Grid(anchors, backbone.strides[-SCALES:])
        self.backbone = backbone
        self.neck = Neck(channels, conv)
        self.heads = nn.ModuleList(Head(C, self.grid.per_cell, classes, conv) for C in self.neck.channels)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> YoloOutputs:
        maps = self.neck(self.backbone.features(images)[-SCALES:])
        rows = torch.cat([head(x) for head, x in zip(self.heads, maps, strict=True)], 1)  # B A 4+1+K
        anchors, cells = self.grid([x.shape[2:] for x in maps])
        return YoloOutputs(rows[..., 5:], rows[..., 4], rows[..., :4], anchors, cells)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class YoloCriterion:
    """Objectness of all rows that are not ignored; classes and boxes of the positive ones (section 2 of the paper).

    An object belongs to one row: of the cells that its centre lies in, one on each scale, the anchor whose shape fits
    it best. That row is positive; any other is ignored if its predicted box overlaps an object by more than `ignore`,
    and background otherwise. Rows that predict boxes mostly inside a crowd are ignored too. Where two objects belong to
    one row, it learns the box of the later and the classes of both: K sigmoids exclude nothing.

    Objectness and classes are binary cross-entropies; so are the places of centres, whose targets lie within [0, 1], so
    that even the truth has a loss. Log sizes have half the squared error. Boxes weigh 2 - (their share of the canvas),
    small ones more. All are sums, divided by the number of images (the mean of all processes): the gradients are those
    of Darknet.
    """

    named: tuple[int, ...]  # the logits that a category has; labels count these
    ignore: float | int = 0.5  # 0.7 in the authors' configuration for COCO

    def __post_init__(self) -> None:
        if not 0 <= self.ignore <= 1:
            raise ValueError(f"received ignore={self.ignore}, expected an IoU in [0, 1]")

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: YoloOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses "objectness", "classification", "box" of a batch with boxes, labels and maybe crowd.

        Boxes or labels that are missing, a box without area and a label without category are a ValueError.
        """
        logits = with_category(outputs.class_logits, self.named)
        objects = [Objects.of(target, like=outputs.anchors) for target in batch.targets]
        labels, boxes = torch.cat([o.labels for o in objects]), torch.cat([o.boxes for o in objects])
        check_objects(boxes, labels, logits.shape[-1])

        predicted = boxes_in_cells(outputs.box_deltas.detach(), outputs.anchors, outputs.cells)  # B A 4
        rows = [best_rows(o.boxes, outputs.anchors, outputs.cells) for o in objects]  # M each
        parts = zip(predicted, objects, rows, strict=True)
        matches = torch.stack([self.assign(*part) for part in parts])  # B A, index within the image
        image, row = (matches >= 0).nonzero(as_tuple=True)  # P positives
        counts = torch.tensor([len(o.boxes) for o in objects], device=matches.device)  # B
        truth = (counts.cumsum(0) - counts)[image] + matches[image, row]  # P, index within the batch

        owners = torch.arange(len(objects), device=matches.device).repeat_interleave(counts)  # image of each object
        classes = torch.zeros_like(logits, dtype=torch.bool)  # B A K; all zero is background
        classes[owners, torch.cat(rows), labels] = True
        entropies = binary_cross_entropy(outputs.objectness, matches >= 0, reduction="none")  # B A
        anchors, cells = outputs.anchors[row], outputs.cells[row]
        box = self.box_terms(outputs.box_deltas[image, row], boxes[truth], anchors, cells, batch.images.shape[2:])
        images = step.mean(box.new_tensor(len(objects)))
        return {
            "objectness": (entropies * (matches != IGNORED)).sum() / images,
            "classification": multi_label_cross_entropy(logits[image, row], classes[image, row], reduction="sum")
            / images,
            "box": box.sum() / images,
        }

    def assign(
        self, predicted: Float[Tensor, "A 4"], objects: Objects, rows: Int64[Tensor, " M"]
    ) -> Int64[Tensor, " A"]:
        """Return for each row its object, BACKGROUND or IGNORED, given the row that each object belongs to."""
        matches = torch.full_like(predicted[:, 0], BACKGROUND, dtype=torch.int64)  # A
        if len(objects.boxes):
            matches[box_iou(objects.boxes, predicted).amax(0) > self.ignore] = IGNORED
        if len(objects.crowd):
            matches[mostly_inside(predicted, objects.crowd)] = IGNORED
        order = torch.arange(len(rows), device=rows.device)
        return matches.scatter_reduce(0, rows, order, "amax")  # the later object, whatever the order of writing

    def box_terms(
        self,
        box_deltas: Float[Tensor, "P 4"],
        boxes: Float[Tensor, "P 4"],
        anchors: Float[Tensor, "P 2"],
        cells: Float[Tensor, "P 4"],
        canvas: Size,
    ) -> Float[Tensor, " P"]:
        """Return the box loss of each positive row."""
        places, log_sides = box_targets(boxes, anchors, cells)
        place = binary_cross_entropy(box_deltas[:, :2], places, reduction="none").sum(-1)
        side = 0.5 * (box_deltas[:, 2:] - log_sides).square().sum(-1)
        share = (boxes[:, 2:] - boxes[:, :2]).prod(-1) / (canvas[0] * canvas[1])
        return (2 - share) * (place + side)


def best_rows(
    boxes: Float[Tensor, "M 4"], anchors: Float[Tensor, "A 2"], cells: Float[Tensor, "A 4"]
) -> Int64[Tensor, " M"]:
    """Return for each object the row whose cell holds its centre and whose anchor has the largest IoU with its shape.

    Of anchors that fit equally well it is the first. A centre off the canvas counts for the nearest cell.
    """
    centres, sides = xyxy_to_cxcywh(boxes).split(2, -1)
    last = cells[:, 2:].amax(0) - 0.5  # within the last cell
    centres = centres.clamp(min=0).minimum(last)[:, None]  # M 1 2
    holds = ((centres >= cells[:, :2]) & (centres < cells[:, 2:])).all(-1)  # M A
    first, second = (torch.cat((torch.zeros_like(value), value), -1) for value in (sides, anchors))
    return box_iou(first, second).masked_fill(~holds, -1).argmax(1)


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class YoloDecode:
    """The best (row, class) pairs by objectness x class, their boxes, suppression within each class.

    The thresholds are those that the authors' code scores COCO with.
    """

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "nms_threshold", "detections_per_image")

    categories: Categories  # of all logits; those without a name are dropped
    score_threshold: float | int = 0.005
    nms_threshold: float | int = 0.45
    detections_per_image: int = 100
    candidates_per_image: int = 1000

    def __call__(self, outputs: YoloOutputs, placements: Sequence[Placement]) -> list[Detections]:
        found = self.candidates(outputs, [placement.resized for placement in placements])
        best = found.best(threshold=self.nms_threshold, most=self.detections_per_image)
        return best.detections(placements, self.categories)

    def candidates(self, outputs: YoloOutputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        """Return the best pairs with a score above the threshold, the best first, clipped to images of (h, w)."""
        logits = with_category(outputs.class_logits, named_outputs(self.categories))
        scores = (outputs.objectness.sigmoid()[..., None] * logits.sigmoid()).flatten(1)  # B AK
        scores, pair = scores.topk(min(self.candidates_per_image, scores.shape[1]))  # B N
        row = pair.div(logits.shape[2], rounding_mode="floor")
        boxes = boxes_in_cells(outputs.box_deltas, outputs.anchors, outputs.cells)  # B A 4
        boxes = boxes.gather(1, row[..., None].expand(-1, -1, 4))  # B N 4
        boxes = clip_boxes_to_images(boxes, boxes.new_tensor(sizes))
        inside = (boxes[..., 2:] > boxes[..., :2]).all(-1)  # some of it; the rest lies on the padding of the canvas
        return Candidates(boxes, scores, pair % logits.shape[2], inside & (scores > self.score_threshold))


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def yolo_preprocess(size: tuple[int, int] | None, longest: int) -> Preprocess:
    """Return what the authors' networks take: pixels in [0, 1] on a canvas of whole coarsest cells."""
    return Preprocess(
        longest=longest, exact=size, stride=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), antialias=False
    )


BLOCKS = {"yolov3": VARIANTS["darknet53"].blocks, "yolov3_small": (1, 1, 2, 2, 1)}
"""Residual blocks of each stage of the backbone."""


def yolo(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_CLASSES,
    anchors: tuple[float | int, ...] = COCO_ANCHORS,
    width: int = 32,
    ignore: float | int = 0.5,
    size: tuple[int, int] | None = None,
    longest: int = 416,
    score_threshold: float | int = 0.005,
    nms_threshold: float | int = 0.45,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a YOLOv3 by its name in `BLOCKS`.

    Args:
        categories: the number of classes, or their names.
        anchors: width and height of each, in pixels of the canvas, smallest first; equally many for strides 8, 16, 32.
            `anchor_kmeans` finds them in a data set.
        width: channels of the backbone's stem; less makes the whole network narrower.
        ignore: IoU with an object above which a prediction that is not positive has no loss.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    network = Yolo(DarkNet(BLOCKS[name], width=width), len(names), anchors)
    decode = YoloDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, YoloCriterion(named_outputs(names), ignore), decode, yolo_preprocess(size, longest))


yolov3 = of_family(yolo, "yolov3", "the paper's, 61.9 M parameters, COCO AP50 55.3 at 416 pixels (paper, figure 3)")
yolov3_small = of_family(
    yolo,
    "yolov3_small",
    "trains in minutes on a CPU on images of 128 pixels: narrow, and of 1, 1, 2, 2, 1 blocks",
    categories=5,
    anchors=WORLD_ANCHORS,
    width=8,
    longest=128,
)
