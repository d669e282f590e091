"""Localisation of the one main object of an image: its class and its box from shared features.

Sermanet et al. 2014, "OverFeat", arXiv 1312.6229, section 4; notes 4.3.1.

    images       B 3 H W
    backbone     the last map, B C H/32 W/32
    class head   B K logits
    box head     B 4: left, top, right, bottom as shares of the canvas, from the flattened map, which knows positions
    criterion    cross entropy + lambda x mean squared error of the shares, against the image's largest object
    decode       the likeliest class and its box: Detections of one

Differs from the notes: boxes are shares of the canvas, so that lambda does not depend on the image size. Differs from
the paper: one box for all classes. Images without object are no samples of this problem and have no part in the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones import alexnet
from vidi.backbones.alexnet import FEATURE_SIZE, FlattenedHead
from vidi.backbones.classifier import GlobalAverageHead, MakeHead
from vidi.backbones.resnet import trunk
from vidi.backbones.trunk import Backbone
from vidi.detection.targets import Objects, check_objects, named_categories, named_outputs
from vidi.losses.localization import localization_losses
from vidi.model import Losses, Step, Supervised, builder, in_float32, of_family
from vidi.nn.normalization import Norm
from vidi.ops.boxes import box_area, xyxy_normalized_to_xyxy, xyxy_to_xyxy_normalized
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections


class LocalizerOutputs(NamedTuple):
    """What the two heads say of each image."""

    class_logits: Float[Tensor, "B K"]
    boxes: Float[Tensor, "B 4"]  # xyxy, pixels of the canvas; corners of an untrained head may be the wrong way round


class Localizer(nn.Module):
    """A backbone and two heads over its last map."""

    def __init__(self, backbone: Backbone, outputs: int, *, class_head: MakeHead, box_head: MakeHead):
        super().__init__()
        channels = backbone.channels[-1]
        self.backbone = backbone
        self.class_head = class_head(channels, outputs)
        self.box_head = box_head(channels, 4)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> LocalizerOutputs:
        features = self.backbone(images)[-1]  # B C h w
        shares = self.box_head(features)
        return LocalizerOutputs(self.class_head(features), xyxy_normalized_to_xyxy(shares, images.shape[2:]))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


def main_object(objects: Objects) -> tuple[Float[Tensor, "N 4"], Int64[Tensor, " N"]]:
    """Return box and label of the largest object, the first of equal ones; nothing (N = 0) if there is none."""
    if len(objects.boxes) == 0:
        return objects.boxes, objects.labels
    best = int(box_area(objects.boxes).argmax())
    return objects.boxes[best : best + 1], objects.labels[best : best + 1]


@dataclass(frozen=True)
class LocalizerCriterion:
    """`localization_losses` of the images that have an object, against the largest one."""

    named: tuple[int, ...]  # the outputs that have a category; labels count these
    box_weight: float  # lambda

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: LocalizerOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses "classification" and "box" of a batch whose targets hold boxes, labels and maybe crowd.

        Boxes or labels that are missing, a box without area and a label without category are a ValueError.
        """
        boxes, labels, rows = [], [], []
        for row, target in enumerate(batch.targets):
            objects = Objects.of(target, like=outputs.boxes)
            check_objects(objects.boxes, objects.labels, len(self.named))
            box, label = main_object(objects)
            boxes.append(box)
            labels.append(label)
            rows += [row] * len(box)
        canvas = batch.images.shape[2:]
        truths = xyxy_to_xyxy_normalized(torch.cat(boxes), canvas)  # R 4
        outputs_of_labels = torch.tensor(self.named, device=truths.device)[torch.cat(labels)]
        return localization_losses(
            outputs.class_logits[rows],
            outputs_of_labels,
            xyxy_to_xyxy_normalized(outputs.boxes[rows], canvas),
            truths,
            has_box=torch.ones_like(outputs_of_labels, dtype=torch.bool),
            box_weight=self.box_weight,
            count=step.normaliser(truths.new_tensor(len(rows))),
        )


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class LocalizerDecode:
    """One detection an image: the likeliest class, its probability, and the box with its corners in order."""

    categories: Categories  # of all outputs; those without a name are dropped after the softmax

    def __call__(self, outputs: LocalizerOutputs, placements: Sequence[Placement]) -> list[Detections]:
        named = list(named_outputs(self.categories))
        scores, labels = outputs.class_logits.softmax(1)[:, named].max(1, keepdim=True)  # B 1
        corners = outputs.boxes.unflatten(1, (2, 2)).sort(1).values.flatten(1)  # B 4
        names = named_categories(self.categories)
        return [
            Detections(placement.boxes_to_original(corners[row : row + 1]), scores[row], labels[row], names)
            for row, placement in enumerate(placements)
        ]


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def localizer_model(
    backbone: Backbone,
    categories: int | tuple[str | None, ...],
    size: tuple[int, int],
    *,
    class_head: MakeHead,
    box_head: MakeHead,
    box_weight: float,
) -> Supervised:
    """Put a localizer together; a ValueError for a negative weight."""
    if not box_weight >= 0:
        raise ValueError(f"received box_weight={box_weight}, expected a number that is not negative")
    names = category_names(categories)
    network = Localizer(backbone, len(names), class_head=class_head, box_head=box_head)
    criterion = LocalizerCriterion(named_outputs(names), box_weight)
    return Supervised(network, criterion, LocalizerDecode(names), Preprocess(exact=size))


@builder
def localizer_alexnet(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    stem: alexnet.Stem = "imagenet",
    width: int = alexnet.FULL_WIDTH,
    hidden: int = 4096,
    box_weight: float = 20.0,
    size: tuple[int, int] = (227, 227),
) -> Supervised:
    """Build a localizer over AlexNet, each head with two hidden layers over its 6 x 6 features (notes, figure 4.6).

    Args:
        categories: the number of classes, or their names.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: of AlexNet, 64 for the paper's 96 first channels; fewer (at least 8) make all layers narrower.
        hidden: units of each of the two hidden layers of a head.
        box_weight: lambda, of the boxes' squared error in shares of the canvas.
        size: (H, W) that every image is resized to; nothing is cut off, as the object could be there.
    """
    head = partial(FlattenedHead, size=FEATURE_SIZE, hidden=hidden)
    heads: dict[str, Any] = {"class_head": head, "box_head": head}
    return localizer_model(
        alexnet.trunk("alexnet_ungrouped", stem=stem, width=width), categories, size, **heads, box_weight=box_weight
    )


BOX_MAPS = {"localizer_resnet18": (7, 7), "localizer_tiny": (4, 4)}  # H, W


def localizer(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    width: int = 64,
    hidden: int = 512,
    norm: Norm = "batch",
    box_weight: float = 20.0,
    size: tuple[int, int] = (224, 224),
) -> Supervised:
    """Build a localizer over ResNet-18 by its name in `BOX_MAPS`.

    The class comes from averaged features, the box from the flattened map.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        hidden: units of each of the two hidden layers of the box head.
        norm: of the backbone: "batch", "frozen" or "group".
        box_weight: lambda, of the boxes' squared error in shares of the canvas.
        size: (H, W) that every image is resized to; nothing is cut off, as the object could be there.
    """
    box_head = partial(FlattenedHead, size=BOX_MAPS[name], hidden=hidden, dropout=(0.0, 0.0, 0.0))
    heads: dict[str, Any] = {"class_head": GlobalAverageHead, "box_head": box_head}
    return localizer_model(trunk("resnet18", norm=norm, width=width), categories, size, **heads, box_weight=box_weight)


localizer_resnet18 = of_family(localizer, "localizer_resnet18", "the box from a 7 x 7 map")
localizer_tiny = of_family(
    localizer,
    "localizer_tiny",
    "narrow, the box from a 4 x 4 map; a CPU trains it in minutes on images of 128 pixels",
    categories=5,
    width=16,
    hidden=128,
    size=(128, 128),
)
