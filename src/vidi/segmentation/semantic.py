"""What semantic segmenters share: scores of every pixel, their cross-entropy, and the class of each pixel.

outputs    logits B K H W of the canvas; some have a second set of logits, from a shallower map, in training
criterion  cross-entropy over the pixels that are not void, those of the second set times a weight
decode     logits resized to the original, the largest of the named classes at each pixel: SemanticMap; in strips of
           rows, since those of 150 classes at the pixels of a photo of 12 megapixels are 7 GB
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vidi.detection.targets import named_categories, named_outputs, with_category
from vidi.losses.classification import pixel_cross_entropy
from vidi.model import Losses, Step, Supervised, in_float32
from vidi.ops.blocks import row_blocks
from vidi.ops.label_maps import VOID
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.semantic_map import SemanticMap

VOC_CLASSES = 21  # with the background, class 0


class SemanticOutputs(NamedTuple):
    """The scores of every pixel of the canvas."""

    logits: Float[Tensor, "B K H W"]


class AuxiliaryOutputs(NamedTuple):
    """The scores of every pixel of the canvas, and those of a shallower map, which only training uses."""

    logits: Float[Tensor, "B K H W"]
    auxiliary: Float[Tensor, "B K H W"]


def upsampled(maps: Float[Tensor, "B K h w"], like: Tensor) -> Float[Tensor, "B K H W"]:
    """Resize maps to the size of others by bilinear interpolation between pixel centres."""
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class PixelCriterion:
    """Mean cross-entropy over the pixels that are not void.

    Attributes:
        outputs: of the network that labels count: those with a name.
        auxiliary_weight: of the second set of logits, where there is one.
    """

    outputs: tuple[int, ...]
    auxiliary_weight: float = 0.5

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: SemanticOutputs | AuxiliaryOutputs, batch: Batch, step: Step) -> Losses:
        """Return "pixels", and "auxiliary" where there is a second set of logits.

        Raises:
            ValueError: if a target has no label map, or one with a label that is neither a class nor void.
        """
        batch.require("semantic")
        labels = batch.maps("semantic")  # B H W
        classes = torch.full((VOID + 1,), VOID, dtype=torch.uint8, device=labels.device)
        classes[: len(self.outputs)] = torch.tensor(self.outputs, dtype=torch.uint8, device=labels.device)
        beyond = (labels != VOID) & (labels >= len(self.outputs))
        if beyond.any():
            wrong = int(labels[beyond][0])
            raise ValueError(f"received a pixel with the label {wrong}, expected 0..{len(self.outputs) - 1} or {VOID}")
        truth = classes[labels.long()]
        count = step.normaliser((truth != VOID).sum())
        losses = {"pixels": pixel_cross_entropy(outputs.logits, truth) / count}
        if isinstance(outputs, AuxiliaryOutputs):
            losses["auxiliary"] = self.auxiliary_weight * pixel_cross_entropy(outputs.auxiliary, truth) / count
        return losses


class PixelScores(NamedTuple):
    """The scores of classes in the pixels of an original, which are made for the rows that are asked for."""

    of_rows: Callable[[slice], Float[Tensor, "K m W"]]
    size: tuple[int, int]  # H, W of the original
    depth: int  # numbers that making them takes for each pixel

    def whole(self) -> Float[Tensor, "K H W"]:
        """Return the scores of all rows."""
        return self.of_rows(slice(0, self.size[0]))

    def largest(self) -> UInt8[Tensor, "H W"]:
        """Return which class has the largest score at each pixel, found in strips of rows."""
        H, W = self.size
        return torch.cat([self.of_rows(rows).argmax(0).to(torch.uint8) for rows in row_blocks(H, W * self.depth)])


def of_canvas(logits: Float[Tensor, "K h w"], placement: Placement) -> PixelScores:
    """Return the scores that logits on the canvas are in the pixels of the original."""
    return PixelScores(
        lambda rows: placement.rows_to_original(lambda own: logits[:, own], rows), placement.original, len(logits)
    )


@dataclass(frozen=True)
class ByPixelScores(ABC):
    """The class of each pixel of the original with the largest score."""

    categories: Categories

    @abstractmethod
    def scores(self, outputs: Any, placements: Sequence[Placement]) -> Iterator[PixelScores]:
        """Yield for each image the scores of the named classes."""

    def pixel_scores(self, outputs: Any, placements: Sequence[Placement]) -> Iterator[Float[Tensor, "K H W"]]:
        """Yield for each image the scores of the named classes in the pixels of the original."""
        return (scores.whole() for scores in self.scores(outputs, placements))

    def of_classes(self, classes: UInt8[Tensor, "H W"]) -> SemanticMap:
        """Return the result, given which named class each pixel has."""
        return SemanticMap(classes, named_categories(self.categories))

    def __call__(self, outputs: Any, placements: Sequence[Placement]) -> list[SemanticMap]:
        return [self.of_classes(scores.largest()) for scores in self.scores(outputs, placements)]


@dataclass(frozen=True)
class SemanticDecode(ByPixelScores):
    """The likeliest named class of each pixel of the original."""

    def scores(
        self, outputs: SemanticOutputs | AuxiliaryOutputs, placements: Sequence[Placement]
    ) -> Iterator[PixelScores]:
        named = with_category(outputs.logits, named_outputs(self.categories), dim=1)
        return (of_canvas(logits, placement) for logits, placement in zip(named, placements, strict=True))


def segmenter(
    network: nn.Module, categories: Categories, preprocess: Preprocess, *, auxiliary_weight: float = 0.5
) -> Supervised:
    """Put a network of semantic segmentation together with its criterion and its decoder."""
    names = category_names(categories)
    return Supervised(
        network, PixelCriterion(named_outputs(names), auxiliary_weight), SemanticDecode(names), preprocess
    )
