"""Image classification, whatever the backbone: head, network, loss, decoder.

    images    B 3 H W
    backbone  tuple of maps, the last B C h w
    head      B K                  global average pooling, one linear map (Lin et al. 2014, arXiv 1312.4400)
    decode    Classification       softmax over K, one result per image

A head is a module from the last map to scores, whose last layer, the only one that depends on the categories, is its
attribute `linear`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import Backbone, Maps
from vidi.losses.classification import cross_entropy
from vidi.model import Losses, Step, Supervised, in_float32, widened
from vidi.preprocess import IMAGENET_MEAN, IMAGENET_STD, Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.classification import Classification


class Logits(NamedTuple):
    """One score per class, before the softmax."""

    logits: Float[Tensor, "B K"]


class GlobalAverageHead(nn.Module):
    """Average a map over all positions, then classify it by one linear map (notes 2.1; Lin et al. 2014, section 3.2).

    A flattened head has a weight for every position of the map as well, and works for one image size only.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        before: nn.Module | None = None,  # on the map, such as MobileNetV2's 1x1 convolution; must give `channels`
        dropout: float = 0.0,  # of the averages
    ):
        super().__init__()
        self.before = nn.Identity() if before is None else before
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        return self.linear(self.dropout(self.before(x).mean((2, 3))))  # B C H W -> B C -> B K

    def parameters_saved(self, size: tuple[int, int]) -> int:
        """Count the parameters that flattening a map of size (H, W) would need beyond those of this head."""
        return (size[0] * size[1] - 1) * self.linear.weight.numel()


MakeHead = Callable[[int, int], nn.Module]
"""Makes a head from the channels of the last map and the number of outputs."""


class Classifier(nn.Module):
    """A backbone and a head over its last map."""

    def __init__(self, backbone: Backbone, outputs: int, head: MakeHead = GlobalAverageHead):
        super().__init__()
        self.backbone = backbone
        self.head = head(backbone.channels[-1], outputs)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the backbone's maps, finest first; the head does not run."""
        return self.backbone(images)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Logits:
        return Logits(self.head(self.backbone(images)[-1]))


@dataclass(frozen=True)
class ClassificationCriterion:
    """Softmax cross entropy against `label`: a class index, or a vector of probabilities as mixup makes."""

    smoothing: float = 0.0  # share of the target spread evenly over all classes, in [0, 1)

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Logits, batch: Batch, step: Step) -> Losses:
        """Return the mean cross entropy of a batch.

        Raises:
            ValueError: if an image has no `label`.
        """
        for index, target in enumerate(batch.targets):
            if "label" not in target:
                raise ValueError(f"image {index} of the batch has no 'label', its target holds {sorted(target)}")
        labels = torch.stack([target["label"] for target in batch.targets])  # B or B K
        return {"cross_entropy": cross_entropy(outputs.logits, labels, smoothing=self.smoothing)}


@dataclass(frozen=True)
class ClassificationDecode:
    """Logits to one `Classification` per image."""

    categories: Categories

    def __call__(self, outputs: Logits, placements: Sequence[Placement]) -> list[Classification]:
        probabilities = widened(outputs.logits).softmax(-1).cpu()  # B K
        return [Classification(row, self.categories) for row in probabilities]


def supervised_classifier(
    backbone: Backbone,
    categories: int | tuple[str | None, ...],
    preprocess: Preprocess,
    *,
    head: MakeHead = GlobalAverageHead,
    smoothing: float = 0.0,
) -> Supervised:
    """Put a backbone, a head, the loss and the decoder together.

    Args:
        backbone: from images to maps.
        categories: the number of classes or their names; None in the place of a name marks an unused output.
        preprocess: how an image becomes input.
        head: makes the head.
        smoothing: label smoothing, in [0, 1).
    """
    names = category_names(categories)
    network = Classifier(backbone, len(names), head)
    return Supervised(network, ClassificationCriterion(smoothing), ClassificationDecode(names), preprocess)


def image_preprocess(
    size: tuple[int, int] | None,
    *,
    shorter: int = 256,
    crop: int = 224,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Preprocess:
    """Return the usual preprocessing of an ImageNet evaluation, or an exact resizing to `size` (H, W) if it is given.

    Args:
        size: (H, W) that every image is resized to; None: see `shorter` and `crop`.
        shorter: the pixels that the shorter side gets.
        crop: the side of the square that is then cut out of the centre.
        interpolation, mean, std: see `Preprocess`.
    """
    if size is not None:
        return Preprocess(exact=size, interpolation=interpolation, mean=mean, std=std)
    return Preprocess(shorter=shorter, crop=(crop, crop), interpolation=interpolation, mean=mean, std=std)
