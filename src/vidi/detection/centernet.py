"""CenterNet: objects as points, found as the peaks of a heatmap, without anchors or suppression.

Zhou, Wang, Kraehenbuehl 2019, "Objects as Points", arXiv 1904.07850; notes 4.3.5.

    images     B 3 H W
    backbone   ResNet to C5, then three up-convolutions: B D H/4 W/4
    heads      3x3 convolution, ReLU, 1x1 convolution: heat_logits B K h w, offsets B 2 h w, sizes B 2 h w
    criterion  Gaussians around the objects' cells; focal loss of all cells + L1 of offset and size at the cells
    decode     peaks of 3x3 cells, the best 100: centre R (cell + offset), size in pixels: Detections

Differs from the notes: R = 4 also multiplies the decoded centre, the boxes' loss is L1 (`box_loss="huber"` for theirs),
the heatmap takes the larger of two Gaussians, their deviation is a third of CornerNet's radius, and all sums are
divided by the number of objects. Differs from the published code: sizes are in pixels of the image, as in the paper,
not in cells; radii solve CornerNet's quadratics for its IoU of 0.3, where the code asks for 0.7 but leaves out the
divisor 2a, which gives nearly the same (0.27 against 0.23 of a square's side), and are not rounded; Gaussians are not
cut off at three deviations; the kernel that starts an up-convolution interpolates each channel by itself. Cells inside
a crowd are no negatives. `centernet_pose` and `centernet_3d` put further heads on the same network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from vidi.backbones.resnet import ResNet, trunk
from vidi.detection.coco_outputs import COCO_CLASSES
from vidi.detection.options import check_choice, frozen_below
from vidi.detection.targets import Objects, check_objects, named_categories, named_outputs, with_category
from vidi.losses.box import huber_loss, l1_loss
from vidi.losses.heatmap import penalty_reduced_focal_loss
from vidi.model import Losses, Step, Supervised, in_float32, of_family
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, NormLayer, norm_layer
from vidi.ops.boxes import box_area, clip_boxes, cxcywh_to_xyxy, xyxy_to_cxcywh
from vidi.ops.heatmaps import gaussian_radius, local_peaks, splat_gaussians
from vidi.ops.upsampling import bilinear_kernel
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

BoxLoss = Literal["l1", "huber"]

STRIDE = 4  # R: pixels of the canvas per cell
HEAT_BIAS = -2.19  # of the heatmap at the start: a probability of 0.1


class CenterOutputs(NamedTuple):
    """What the heads say of each cell of R x R pixels."""

    heat_logits: Float[Tensor, "B K h w"]  # of an object of the class having its centre there
    offsets: Float[Tensor, "B 2 h w"]  # x, y from the cell's top left to the centre, in cells
    sizes: Float[Tensor, "B 2 h w"]  # width and height, in pixels of the canvas


# ----------------------------------------------------------------------------------------------------------------------
# Network


class DeformableConv2d(nn.Conv2d):
    """A convolution that says where it samples and how much each sample counts (Zhu et al. 2019, arXiv 1811.11168).

    At the start it samples where a plain convolution does, and each sample counts a half.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        stride: int,
        *,
        padding: tuple[int, int],
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        place: dict[str, Any] = {"padding": padding, "dilation": dilation}
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=bias, **place)
        self.taps = kernel[0] * kernel[1]
        self.sampling = nn.Conv2d(in_channels, 3 * self.taps, kernel, stride, **place)
        nn.init.zeros_(self.sampling.weight)
        nn.init.zeros_(self.sampling.bias)  # type: ignore[arg-type]

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        shifts, shares = self.sampling(input).split((2 * self.taps, self.taps), 1)
        mask = shares.sigmoid()
        return deform_conv2d(input, shifts, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)  # type: ignore[arg-type]


class UpConvolution(nn.Module):
    """A 3x3 convolution, and a transposed one that starts as bilinear interpolation to twice the resolution."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: NormLayer, deformable: bool):
        super().__init__()
        conv = DeformableConv2d if deformable else nn.Conv2d
        self.conv = ConvNorm(in_channels, out_channels, 3, norm=norm, conv=conv)
        self.up = nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.norm = norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.up.weight.copy_(torch.eye(out_channels)[:, :, None, None] * bilinear_kernel(4))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D 2*H 2*W"]:
        return self.relu(self.norm(self.up(self.conv(x))))


def head(channels: int, hidden: int, numbers: int) -> nn.Sequential:
    """Return the layers that give each cell its numbers: a 3x3 convolution, ReLU, a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(hidden, numbers, 1)
    )


def heat_head(channels: int, hidden: int, numbers: int) -> nn.Sequential:
    """Return a head for heatmaps, which begin everywhere at a probability of 0.1."""
    layers = head(channels, hidden, numbers)
    nn.init.constant_(layers[-1].bias, HEAT_BIAS)  # type: ignore[arg-type]
    return layers


def residual_head(channels: int, hidden: int, numbers: int) -> nn.Sequential:
    """Return a head for coordinates and other measures, which begin near 0."""
    layers = head(channels, hidden, numbers)
    for module in layers:
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.001)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return layers


class CenterNet(nn.Module):
    """Backbone, up-convolutions to stride 4, three heads."""

    def __init__(
        self,
        backbone: ResNet,
        classes: int,
        *,
        channels: Sequence[int],  # of each up-convolution
        hidden: int,  # channels inside each head
        norm: NormLayer,
        deformable: bool,
    ):
        super().__init__()
        if min(channels, default=0) < 1 or backbone.strides[-1] != STRIDE * 2 ** len(channels):
            stride = backbone.strides[-1]
            raise ValueError(
                f"received channels={tuple(channels)}, expected one positive number for each doubling of the "
                f"resolution from stride {stride} to {STRIDE}"
            )
        self.backbone = backbone
        ends = (backbone.channels[-1], *channels)
        self.ups = nn.Sequential(*(UpConvolution(a, b, norm=norm, deformable=deformable) for a, b in pairwise(ends)))
        self.heat = heat_head(channels[-1], hidden, classes)
        self.offset, self.size = (residual_head(channels[-1], hidden, 2) for _ in range(2))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return the map of stride 4 that the heads look at."""
        return self.ups(self.backbone.features(images)[-1])

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> CenterOutputs:
        return self.objects(self.features(images))

    def objects(self, x: Float[Tensor, "B D h w"]) -> CenterOutputs:
        """Return what the three heads say of each cell."""
        return CenterOutputs(self.heat(x), self.offset(x), self.size(x))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class CenterTargets(NamedTuple):
    """What the outputs of a batch should be; M objects of all its images, row by row."""

    heat: Float[Tensor, "B K h w"]
    counted: Bool[Tensor, "B 1 h w"]  # False in crowds, where only cells of objects count
    images: Int64[Tensor, " M"]
    cells: Int64[Tensor, "M 2"]  # x, y
    offsets: Float[Tensor, "M 2"]  # in cells
    sizes: Float[Tensor, "M 2"]  # in pixels of the canvas


def center_targets(objects: Sequence[Objects], shape: tuple[int, int, int], *, min_iou: float | int) -> CenterTargets:
    """Return the targets of images with heatmaps of `shape` (K, h, w).

    The cell of an object is floor(p / R), p its centre; that of an object whose centre lies outside the canvas, the
    nearest. Its Gaussian has a third of `gaussian_radius` as its deviation.
    """
    _, h, w = shape
    heat, counted = [], []
    for own in objects:
        cells, _, sizes = placed(own.boxes, (h, w))
        heat.append(splat_gaussians(cells, deviations(sizes, min_iou=min_iou), own.labels, shape))
        counted.append(~cells_inside(own.crowd, (h, w)))
    boxes = torch.cat([own.boxes for own in objects])
    rows = [torch.full_like(own.labels, image) for image, own in enumerate(objects)]
    return CenterTargets(torch.stack(heat), torch.stack(counted)[:, None], torch.cat(rows), *placed(boxes, (h, w)))


def placed(
    boxes: Float[Tensor, "M 4"], size: tuple[int, int]
) -> tuple[Int64[Tensor, "M 2"], Float[Tensor, "M 2"], Float[Tensor, "M 2"]]:
    """Return cell and offset of each box's centre on a map of `size` (h, w), and the size of the box in pixels."""
    centres, sizes = xyxy_to_cxcywh(boxes).split(2, 1)
    return *cells_of(centres, size), sizes


def cells_of(points: Float[Tensor, "M 2"], size: tuple[int, int]) -> tuple[Int64[Tensor, "M 2"], Float[Tensor, "M 2"]]:
    """Return the cells of a map of `size` (h, w) that are nearest to points (x, y), and the offsets from there."""
    last = torch.tensor([size[1] - 1, size[0] - 1], device=points.device)
    cells = (points / STRIDE).floor().long().clamp(min=0).minimum(last)
    return cells, points / STRIDE - cells


def deviations(sizes: Float[Tensor, "M 2"], *, min_iou: float | int) -> Float[Tensor, " M"]:
    """Return the deviations in cells of the Gaussians of objects, given their sizes in pixels."""
    return gaussian_radius(sizes / STRIDE, min_iou=min_iou) / 3


def cells_inside(regions: Float[Tensor, "N 4"], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Say of each cell of a map of `size` (h, w) whether its centre lies in one of the regions."""
    y, x = ((torch.arange(side, device=regions.device) + 0.5) * STRIDE for side in size)
    x1, y1, x2, y2 = regions[:, :, None].unbind(1)  # N 1 each
    columns, lines = (x1 <= x) & (x < x2), (y1 <= y) & (y < y2)  # N w, N h
    return (lines[:, :, None] & columns[:, None]).any(0)


@dataclass(frozen=True)
class CenterCriterion:
    """Penalty-reduced focal loss of the heatmap, L1 of offset and size at the cells of the objects (section 3).

    All three sums over the batch are divided by its number of objects, counted over all processes. Crowd boxes are
    never an object.
    """

    named: tuple[int, ...]  # the heatmaps that have a category; labels count these
    box_loss: BoxLoss = "l1"
    gamma: float = 2.0  # focusing
    beta: float = 4.0  # how much less the cells beside an object cost
    offset_weight: float = 1.0
    size_weight: float = 0.1
    min_iou: float = 0.3  # of the boxes that a radius allows, see `gaussian_radius`

    def __post_init__(self) -> None:
        check_choice("box_loss", self.box_loss, BoxLoss)

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: CenterOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses "heatmap", "offset" and "size" of a batch whose targets hold boxes, labels and maybe crowd.

        Boxes or labels that are missing, a box without area and a label without category are a ValueError.
        """
        logits = with_category(outputs.heat_logits, self.named, dim=1)
        objects = [Objects.of(target, like=logits) for target in batch.targets]
        for own in objects:
            check_objects(own.boxes, own.labels, logits.shape[1])
        _, K, h, w = logits.shape
        targets = center_targets(objects, (K, h, w), min_iou=self.min_iou)
        count = step.normaliser(logits.new_tensor(len(targets.images)))

        heat = penalty_reduced_focal_loss(logits, targets.heat, gamma=self.gamma, beta=self.beta, reduction="none")
        heat = heat * (targets.counted | (targets.heat == 1))  # B K h w
        x, y = targets.cells.unbind(1)
        residual = l1_loss if self.box_loss == "l1" else huber_loss
        offset = residual(outputs.offsets[targets.images, :, y, x], targets.offsets, reduction="sum")
        size = residual(outputs.sizes[targets.images, :, y, x], targets.sizes, reduction="sum")
        return {
            "heatmap": heat.sum() / count,
            "offset": self.offset_weight * offset / count,
            "size": self.size_weight * size / count,
        }


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


class Peaks(NamedTuple):
    """The best peaks of each image, the surest first; what is not valid means nothing."""

    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]
    cells: Int64[Tensor, "B N 2"]  # x, y
    valid: Bool[Tensor, "B N"]


@dataclass(frozen=True)
class CenterDecode:
    """The peaks of the heatmaps, the best of all classes together, each with offset and size of its cell (section 3).

    Nothing is suppressed but cells beside a higher one. Boxes are clipped to the image; what has no area there is none.
    """

    options: ClassVar[tuple[str, ...]] = ("score_threshold",)

    categories: Categories  # of all heatmaps; those without a name are dropped
    score_threshold: float = 0.0
    detections_per_image: int = 100
    window: int = 3  # cells among which a peak is the highest

    def __call__(self, outputs: CenterOutputs, placements: Sequence[Placement]) -> list[Detections]:
        peaks = self.peaks(outputs.heat_logits, [placement.resized for placement in placements])
        _, boxes = boxes_at(outputs, peaks.cells)
        return [self.found(peaks, boxes, image, placement)[0] for image, placement in enumerate(placements)]

    def found(
        self, peaks: Peaks, boxes: Float[Tensor, "B N 4"], image: int, placement: Placement
    ) -> tuple[Detections, Bool[Tensor, " N"]]:
        """Return the detections of one image of a batch, and which of its peaks they are, in the same order."""
        own = clip_boxes(boxes[image], placement.resized)
        kept = peaks.valid[image] & (box_area(own) > 0)
        original = placement.boxes_to_original(own[kept])
        names = named_categories(self.categories)
        return Detections(original, peaks.scores[image, kept], peaks.labels[image, kept], names), kept

    def peaks(self, heat_logits: Float[Tensor, "B K h w"], sizes: Sequence[tuple[int, int]]) -> Peaks:
        """Return the peaks inside images of these sizes (h, w), which may share a canvas."""
        logits = inside_images(with_category(heat_logits, named_outputs(self.categories), dim=1), sizes)
        _, K, h, w = logits.shape
        ranked = logits.where(local_peaks(logits, window=self.window), -torch.inf).flatten(1)
        best, index = ranked.topk(min(self.detections_per_image, K * h * w))  # B N
        scores = best.sigmoid()
        cells = torch.stack((index % w, index // w % h), 2)
        return Peaks(scores, index // (h * w), cells, best.isfinite() & (scores > self.score_threshold))


def inside_images(logits: Float[Tensor, "B K h w"], sizes: Sequence[tuple[int, int]]) -> Float[Tensor, "B K h w"]:
    """Put cells that hold no pixel of an image to -inf; images of these sizes (h, w) share a canvas."""
    _, _, h, w = logits.shape
    limits = -(-torch.tensor(sizes, device=logits.device) // STRIDE)  # B 2
    y, x = (torch.arange(side, device=logits.device) for side in (h, w))
    inside = (y < limits[:, :1])[:, None, :, None] & (x < limits[:, 1:])[:, None, None]  # B 1 h w
    return logits.where(inside, -torch.inf)


def boxes_at(
    outputs: CenterOutputs, cells: Int64[Tensor, "B N 2"]
) -> tuple[Float[Tensor, "B N 2"], Float[Tensor, "B N 4"]]:
    """Return the centres and the boxes of the objects at cells, in pixels of the canvas."""
    centres = STRIDE * (cells + at_cells(outputs.offsets, cells))
    sizes = at_cells(outputs.sizes, cells).clamp(min=0)
    return centres, cxcywh_to_xyxy(torch.cat((centres, sizes), 2))


def at_cells(maps: Float[Tensor, "B C h w"], cells: Int64[Tensor, "B N 2"]) -> Float[Tensor, "B N C"]:
    """Return the numbers that maps hold at cells (x, y)."""
    index = cells[..., 1] * maps.shape[3] + cells[..., 0]  # B N
    return maps.flatten(2).gather(2, index[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def centernet_model(
    backbone: ResNet,
    categories: int | tuple[str | None, ...],
    preprocess: Preprocess,
    *,
    channels: tuple[int, ...],
    hidden: int,
    deformable: bool,
    norm: Norm,
    box_loss: BoxLoss,
    score_threshold: float,
) -> Supervised:
    """Put the system together."""
    names = category_names(categories)
    network = CenterNet(
        backbone, len(names), channels=channels, hidden=hidden, norm=norm_layer(norm), deformable=deformable
    )
    criterion = CenterCriterion(named_outputs(names), box_loss)
    return Supervised(network, criterion, CenterDecode(names, score_threshold), preprocess)


BACKBONES = {"centernet_resnet18": "resnet18", "centernet_resnet50": "resnet50", "centernet_tiny": "resnet18"}


def centernet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_CLASSES,
    width: int = 64,
    dilated: tuple[bool, bool, bool] = (False, False, False),
    channels: tuple[int, ...] = (256, 128, 64),
    hidden: int = 64,
    deformable: bool = True,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    box_loss: BoxLoss = "l1",
    size: tuple[int, int] | None = None,
    shorter: int | None = None,
    longest: int = 512,
    score_threshold: float = 0.0,
) -> Supervised:
    """Build a detector by its name in `BACKBONES`.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        dilated: whether stages 2, 3, 4 of the backbone keep the resolution and dilate instead.
        channels: of each up-convolution, the last also what the heads look at.
        hidden: channels inside each head.
        deformable: whether the 3x3 convolutions before the up-convolutions are.
        norm: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        box_loss: of offsets and sizes: "l1", or "huber" as in the notes.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most; without `shorter` the
            longer one gets them.
        score_threshold: the least that is returned, in [0, 1].
    """
    backbone = frozen_below(trunk(BACKBONES[name], norm=norm, width=width, dilated=dilated), trainable_backbone_layers)
    return centernet_model(
        backbone,
        categories,
        Preprocess(shorter, longest, size, stride=32),
        channels=channels,
        hidden=hidden,
        deformable=deformable,
        norm=norm,
        box_loss=box_loss,
        score_threshold=score_threshold,
    )


centernet_resnet18 = of_family(centernet, "centernet_resnet18", "the paper's, whose own weights have a COCO AP of 28.1")
centernet_resnet50 = of_family(centernet, "centernet_resnet50", "between the two ResNets of the paper (18 and 101)")
centernet_tiny = of_family(
    centernet,
    "centernet_tiny",
    "trains in minutes on a CPU on images of 128 pixels: narrow, without deformable layers, small objects at stride 8",
    categories=5,
    width=16,
    dilated=(False, True, True),
    channels=(64,),
    hidden=32,
    deformable=False,
    shorter=128,
    longest=256,
)
