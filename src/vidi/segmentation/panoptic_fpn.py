"""Panoptic FPN: the stuff that a branch beside Mask R-CNN's heads sees, and things laid over it (notes 5.3.1).

Kirillov, Girshick, He, Dollar 2019, "Panoptic Feature Pyramid Networks", arXiv 1901.02446, section 3 and figure 3;
the merging of Kirillov, He, Girshick, Rother, Dollar 2019, "Panoptic Segmentation", arXiv 1801.00868, section 5.

    pyramid   P2 .. P5, B D H/4 W/4 .. H/32 W/32
    stages    3x3 convolution, group norm, ReLU, twice as large: three times from P5, twice from P4, once from P3; P2
              has one without the enlargement: four maps B 128 H/4 W/4
    stuff     their sum, 1x1 to the stuff classes and "other" (all things are one class), four times as large
    criterion the losses of Mask R-CNN on the things of the maps; cross entropy of stuff and "other", half as much
    merging   instances, the surest first, on pixels that are still free, if enough of them are; then stuff on the rest,
              if there is enough of it: PanopticMap

Differs from the notes: stuff is not predicted by a network over merged maps, its stages are what brings the maps to one
size; the enlargement is bilinear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor, nn

from vidi.detection.targets import named_categories
from vidi.losses.classification import pixel_cross_entropy
from vidi.model import Losses, Step, Supervised, builder, with_defaults
from vidi.nn.normalization import Norm, norm_layer
from vidi.ops.label_maps import VOID
from vidi.ops.masks import boxes_of_masks
from vidi.ops.segments import segments_of
from vidi.preprocess import Batch, Placement
from vidi.results.categories import Categories, category_names
from vidi.results.panoptic_map import PanopticMap, Segment
from vidi.segmentation.mask_classification import thing_labels
from vidi.segmentation.mask_rcnn import (
    Features,
    MaskRCNN,
    MaskRCNNCriterion,
    MaskRCNNDecode,
    MaskRCNNOutputs,
    mask_rcnn,
    maskrcnn_resnet50_fpn,
)
from vidi.segmentation.selecting_rcnn import small_criterion, small_detector, small_preprocess
from vidi.segmentation.semantic import of_canvas

TO_CANVAS = 4  # pixels of the canvas for each of the summed maps
LEVELS = 4  # of the pyramid, P2 .. P5


class PanopticOutputs(NamedTuple):
    """What Mask R-CNN found, and the scores of stuff at every pixel of the canvas; "other" comes last."""

    boxes: Float[Tensor, "B N 4"]
    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]  # count the things
    valid: Bool[Tensor, "B N"]
    mask_logits: Float[Tensor, "B N h w"]
    stuff_logits: Float[Tensor, "B S H W"]


# ----------------------------------------------------------------------------------------------------------------------
# Network


class Stage(nn.Sequential):
    """A 3x3 convolution, group norm, ReLU, and mostly a bilinear enlargement to twice the size (section 3)."""

    def __init__(self, in_channels: int, channels: int, *, enlarges: bool):
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), norm_layer("group")(channels), nn.ReLU()
        )
        if enlarges:
            self.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        nn.init.kaiming_normal_(self[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]


class StuffBranch(nn.Module):
    """From a pyramid of strides 4, 8, 16, 32 ... to a score for each class of stuff, and "other", at every pixel.

    Args:
        in_channels: of the pyramid's maps.
        classes: of stuff; "other", what is a thing, comes after them.
        channels: of the stages.
        levels: of the pyramid.
    """

    def __init__(self, in_channels: int, classes: int, *, channels: int = 128, levels: int = 4):
        super().__init__()
        self.branches = nn.ModuleList()
        for level in range(levels):
            stages = [
                Stage(in_channels if row == 0 else channels, channels, enlarges=level > 0)
                for row in range(max(1, level))
            ]
            self.branches.append(nn.Sequential(*stages))
        self.predict = nn.Conv2d(channels, classes + 1, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, pyramid: Sequence[Float[Tensor, "B D _ _"]]) -> Float[Tensor, "B S H W"]:
        """Return the scores at the resolution of the images, the pyramid's finest map being a quarter of it.

        Raises:
            ValueError: for another number of maps, or sides that do not halve from map to map.
        """
        finest = pyramid[0].shape[2:]
        wanted = [(finest[0] >> level, finest[1] >> level) for level in range(len(self.branches))]
        sizes = [(level.shape[2], level.shape[3]) for level in pyramid]
        if sizes != wanted or any(side % 2 ** (len(wanted) - 1) for side in finest):
            raise ValueError(f"received maps of {sizes}, expected {len(wanted)} that halve from one to the next")
        maps = [branch(level) for branch, level in zip(self.branches, pyramid, strict=True)]  # B C H/4 W/4
        scores = self.predict(torch.stack(maps).sum(0))
        return F.interpolate(scores, scale_factor=TO_CANVAS, mode="bilinear", align_corners=False)


class PanopticFPN(nn.Module):
    """Mask R-CNN, and a branch for stuff on its pyramid."""

    def __init__(self, things: MaskRCNN, stuff: StuffBranch):
        super().__init__()
        self.things, self.stuff = things, stuff

    @property
    def backbone(self) -> nn.Module:
        """The network under both."""
        return self.things.backbone

    def stuff_stage(self, features: Features) -> Float[Tensor, "B S H W"]:
        """Return the scores of stuff, given the pyramid."""
        return self.stuff(features[:LEVELS])

    def forward(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None = None) -> PanopticOutputs:
        """Return the detections of an inference with their masks, and the scores of stuff."""
        features, found = self.things.found(images, mask)
        return PanopticOutputs(*self.things.masked(features, found), self.stuff_stage(features))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class Legend:
    """Which labels are things, which stuff: the rows of the detector's classes, and of the branch's."""

    things: tuple[int, ...]
    stuff: tuple[int, ...]

    @classmethod
    def of(cls, things: frozenset[int], count: int) -> "Legend":
        """Sort `count` labels."""
        return cls(tuple(sorted(things)), tuple(k for k in range(count) if k not in things))

    def rows(self, labels: tuple[int, ...], other: int) -> Int64[Tensor, " 256"]:
        """Return the row of each of 256 labels among `labels`, and `other` for all else."""
        table = torch.full((VOID + 1,), other)
        table[list(labels)] = torch.arange(len(labels))
        return table


@dataclass(frozen=True)
class PanopticFPNCriterion:
    """The losses of Mask R-CNN, and "stuff": the cross entropy of every pixel that has a class (section 4)."""

    things: MaskRCNNCriterion
    legend: Legend
    stuff_weight: float = 0.5

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        both: Any = network
        objects = replace(batch, targets=[self.objects(target) for target in batch.targets])
        losses, features = self.things.train(both.things, objects, step)
        logits = both.stuff_stage(features)
        with torch.autocast(batch.images.device.type, enabled=False):
            return losses | {"stuff": self.stuff_weight * self.of_pixels(logits.float(), batch, step)}

    def objects(self, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return boxes, labels, masks and crowds of the things on a target's maps."""
        segments = segments_of(target)
        rows = self.legend.rows(self.legend.things, -1).to(segments.labels.device)[segments.labels]
        panoptic = target["panoptic"].as_subclass(Tensor)
        masks = segments.masks(panoptic)[rows >= 0]
        crowd = segments.crowd[rows >= 0]
        return {"boxes": boxes_of_masks(masks), "labels": rows[rows >= 0], "masks": masks, "crowd": crowd}

    def of_pixels(self, logits: Float[Tensor, "B S H W"], batch: Batch, step: Step) -> Float[Tensor, ""]:
        """Return the mean cross entropy of the pixels that have a class; things are all "other"."""
        table = self.legend.rows(self.legend.stuff, logits.shape[1] - 1)
        table[VOID] = VOID
        wanted = table.to(logits.device, torch.uint8)[batch.maps("semantic").long()]  # B H W
        return pixel_cross_entropy(logits, wanted) / step.normaliser((wanted != VOID).sum())


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def merge_things_over_stuff(
    masks: Bool[Tensor, "N H W"],
    scores: Float[Tensor, " N"],
    labels: Int64[Tensor, " N"],
    stuff: Int64[Tensor, "H W"],
    *,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    least_stuff: int = 4096,
) -> tuple[Int32[Tensor, "H W"], list[Segment]]:
    """Lay instances over each other, the surest on top, and stuff below all of them.

    Args:
        masks: of the instances, which may overlap.
        scores: of the instances.
        labels: of the instances.
        stuff: the class of every pixel, a negative number where it is none of stuff.
        score_threshold: the least score of an instance.
        overlap_threshold: the largest share of an instance that surer ones may hide; one that loses more is left out.
        least_stuff: pixels that a class of stuff needs, once things lie over it.

    Returns:
        The map of segment ids, 0 where there is none, and the segments: things by falling score, then stuff by class,
        with a score of 1.
    """
    ids = torch.zeros(stuff.shape, dtype=torch.int32, device=stuff.device)
    segments: list[Segment] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        score, mask = float(scores[row]), masks[row]
        area, free = int(mask.sum()), mask & (ids == 0)
        if score < score_threshold or not area or area - int(free.sum()) > overlap_threshold * area:
            continue
        segments.append(Segment(len(segments) + 1, int(labels[row]), score, True))
        ids[free] = len(segments)
    for label in stuff.unique().tolist():
        rest = (stuff == label) & (ids == 0)
        if label >= 0 and int(rest.sum()) >= least_stuff:
            segments.append(Segment(len(segments) + 1, label, 1.0, False))
            ids[rest] = len(segments)
    return ids, segments


@dataclass(frozen=True)
class PanopticFPNDecode:
    """Detections with masks, and the best stuff of each pixel, merged in the pixels of the original."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "overlap_threshold", "least_stuff")

    categories: Categories  # all of them
    things: MaskRCNNDecode
    legend: Legend
    score_threshold: float = 0.5
    overlap_threshold: float = 0.5
    least_stuff: int = 4096

    def __call__(self, outputs: PanopticOutputs, placements: Sequence[Placement]) -> list[PanopticMap]:
        results = []
        found = self.things(MaskRCNNOutputs(*outputs[:5]), placements)
        of_things, of_stuff = torch.tensor(self.legend.things), torch.tensor([*self.legend.stuff, -1])
        for logits, own, placement in zip(outputs.stuff_logits, found, placements, strict=True):
            best = of_canvas(logits, placement).largest().long().cpu()
            masks = own.masks if isinstance(own.masks, Tensor) else torch.zeros(0, *placement.original).bool()
            ids, segments = merge_things_over_stuff(
                masks,
                own.scores,
                of_things[own.labels],
                of_stuff[best],
                score_threshold=self.score_threshold,
                overlap_threshold=self.overlap_threshold,
                least_stuff=self.least_stuff,
            )
            results.append(PanopticMap(ids, tuple(segments), self.categories))
        return results


# ----------------------------------------------------------------------------------------------------------------------
# Builders

LEAST_SCORE = 0.05  # of a detection that suppression looks at


def sorted_names(categories: int | tuple[str | None, ...], things: int | tuple[str, ...]) -> tuple[Categories, Legend]:
    """Return the names of the categories that have one, and which of them are things."""
    names = named_categories(category_names(categories))
    return names, Legend.of(thing_labels(things, names), len(names))


def panoptic_fpn(
    of_things: Supervised,
    names: Categories,
    legend: Legend,
    stuff_channels: int,
    stuff_weight: float,
    thresholds: tuple[float, float, int],  # of a thing's score, of what others hide of it, of the pixels of stuff
) -> Supervised:
    """Put the branch for stuff beside a Mask R-CNN of the things."""
    parts: Any = of_things
    branch = StuffBranch(parts.network.pyramid.channels, len(legend.stuff), channels=stuff_channels)
    return Supervised(
        PanopticFPN(parts.network, branch),
        PanopticFPNCriterion(parts.criterion, legend, stuff_weight),
        PanopticFPNDecode(names, parts.decode, legend, *thresholds),
        of_things.preprocess,
    )


@builder
def panoptic_fpn_resnet50(
    *,
    categories: int | tuple[str | None, ...] = 133,
    things: int | tuple[str, ...] = 80,
    channels: int = 256,
    hidden: int = 1024,
    mask_channels: int = 256,
    mask_depth: int = 4,
    stuff_channels: int = 128,
    stuff_weight: float | int = 0.5,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    box_beta: float = 1.0,
    proposals: int = 1000,
    sampled: int = 512,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    least_stuff: int = 4096,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a Panoptic FPN with ResNet-50: 46.0 M parameters, COCO PQ 39.4 in detectron2's shortest training.

    detectron2's, panoptic_fpn_R_50_1x, has frozen norms and trains the last three stages of the backbone.

    Args:
        categories: the number of classes, or their names.
        things: which of them are things: their names, or the number of the first ones that are.
        channels: of the pyramid.
        hidden: units of the linear layers of the second stage.
        mask_channels: of the convolutions of the mask head.
        mask_depth: 3x3 convolutions of the mask head.
        stuff_channels: of the stages of the stuff branch, a multiple of 32.
        stuff_weight: of the loss of stuff.
        anchor_sizes: of each level, finest first.
        norm: of the backbone: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        box_beta: knee of the second stage's smooth L1 loss.
        proposals: of an image at prediction.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least score of a thing.
        overlap_threshold: the largest share of a thing that surer ones may hide.
        least_stuff: pixels of the original that a class of stuff needs.
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names, legend = sorted_names(categories, things)
    of_things = maskrcnn_resnet50_fpn(
        categories=tuple(names[label] for label in legend.things),
        channels=channels,
        hidden=hidden,
        mask_channels=mask_channels,
        mask_depth=mask_depth,
        anchor_sizes=anchor_sizes,
        norm=norm,
        trainable_backbone_layers=trainable_backbone_layers,
        box_beta=box_beta,
        proposals=proposals,
        sampled=sampled,
        size=size,
        shorter=shorter,
        longest=longest,
        score_threshold=min(LEAST_SCORE, score_threshold),
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
    )
    thresholds = score_threshold, overlap_threshold, least_stuff
    return panoptic_fpn(of_things, names, legend, stuff_channels, stuff_weight, thresholds)


@builder
def panoptic_fpn_resnet18(
    *,
    categories: int | tuple[str | None, ...] = 133,
    things: int | tuple[str, ...] = 80,
    width: float | int = 1.0,
    norm: Norm = "batch",
    channels: int = 128,
    hidden: int = 512,
    mask_channels: int = 128,
    mask_depth: int = 4,
    stuff_channels: int = 128,
    stuff_weight: float | int = 0.5,
    anchor_sizes: tuple[float | int, ...] = (32, 64, 128, 256, 512),
    canonical_size: float | int = 224,
    proposals: int = 300,
    sampled: int = 256,
    size: tuple[int, int] | None = None,
    shorter: int = 320,
    longest: int = 512,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    least_stuff: int = 4096,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a Panoptic FPN with ResNet-18, and norms in pyramid and second stage.

    Args:
        categories: the number of classes, or their names.
        things: which of them are things: their names, or the number of the first ones that are.
        width: multiplies all channels of the backbone.
        norm: of backbone, pyramid and second stage: "batch", "frozen" or "group".
        channels: of the pyramid.
        hidden: units of the linear layer of the second stage.
        mask_channels: of the convolutions of the mask head.
        mask_depth: 3x3 convolutions of the mask head.
        stuff_channels: of the stages of the stuff branch, a multiple of 32.
        stuff_weight: of the loss of stuff.
        anchor_sizes: of each level, finest first.
        canonical_size: side of a box that is pooled from the level of stride 16.
        proposals: of an image at prediction; twice as many in training.
        sampled: proposals of an image that train the second stage.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least score of a thing.
        overlap_threshold: the largest share of a thing that surer ones may hide.
        least_stuff: pixels of the original that a class of stuff needs.
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names, legend = sorted_names(categories, things)
    detector = small_detector(
        "resnet18",
        len(legend.things),
        width=width,
        norm=norm,
        channels=channels,
        hidden=hidden,
        anchor_sizes=anchor_sizes,
        canonical_size=canonical_size,
        proposals=proposals,
    )
    of_things = tuple(names[label] for label in legend.things)
    model = mask_rcnn(
        detector,
        of_things,
        small_criterion(of_things, proposals=proposals, sampled=sampled),
        small_preprocess("resnet18", size, shorter, longest),
        mask_channels=mask_channels,
        mask_depth=mask_depth,
        mask_loss="sigmoid",
        pasting="exact",
        score_threshold=min(LEAST_SCORE, score_threshold),
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
    )
    thresholds = score_threshold, overlap_threshold, least_stuff
    return panoptic_fpn(model, names, legend, stuff_channels, stuff_weight, thresholds)


panoptic_fpn_tiny = with_defaults(
    panoptic_fpn_resnet18,
    "panoptic_fpn_tiny",
    "trains in minutes on a CPU on the world at 128 pixels",
    categories=7,
    things=5,
    width=0.5,
    channels=64,
    hidden=128,
    mask_channels=64,
    mask_depth=2,
    stuff_channels=64,
    anchor_sizes=(8, 16, 32, 64, 128),
    canonical_size=112,
    proposals=100,
    sampled=64,
    shorter=128,
    longest=256,
    least_stuff=64,
)
