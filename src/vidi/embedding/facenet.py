"""FaceNet: an Inception network whose vectors are trained to lie as identities do, by triplets (notes 7.2.2).

    images    B 3 224 224
    stem      B 192 28 28         GoogLeNet's, see `vidi.backbones.googlenet`
    3a to 3c  B 640 14 14         inception modules; behind the fourth branch's pool a 1x1 convolution, or none
    4a to 4e  B 1024 7 7
    5a, 5b    B 1024 7 7
    head      B 128               average over all positions, one linear map, divided by its length
    loss      triplets            for all pairs of one identity, each with one semi-hard negative that is drawn

Schroff, Kalenichenko, Philbin 2015 (arXiv 1503.03832), NN2 of table 2: 7.5 M parameters. Six of its pools take the
root of the summed squares of a window instead of its maximum.

Differs from the notes: trained on a private set of 100 to 200 million pictures of about 8 million people, and tested on
LFW (C7.6). Differs from the paper: batch normalisation, unless `norm="response"`; batches of 16 people with
4 pictures each where those of the paper hold 1,800.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import GlobalAverageHead
from vidi.backbones.googlenet import FULL_WIDTH, GoogLeNetStem, Normalisation, initialise, unit_of, variant_of
from vidi.backbones.trunk import Backbone, Maps
from vidi.embedding.criterion import DrawnTripletCriterion
from vidi.embedding.vectors import EmbeddingModel, EmbeddingNetwork
from vidi.losses.triplets import MARGIN
from vidi.model import builder
from vidi.nn.branches import Branches, ConvUnit
from vidi.nn.pooling import L2Pool2d
from vidi.preprocess import Preprocess

Pool = Literal["max", "l2"]


@dataclass(frozen=True)
class Row:
    """A row of the paper's table 2: channels inside an inception module."""

    one: int  # 1x1; 0: no such branch
    reduce3: int  # 1x1 before the 3x3
    three: int
    reduce5: int  # 1x1 before the 5x5
    five: int
    pool: Pool
    project: int  # 1x1 behind the pool; 0: the map as it is pooled
    stride: int = 1

    def out(self, in_channels: int) -> int:
        """Return the channels that the module gives."""
        return self.one + self.three + self.five + (self.project or in_channels)


MODULES: dict[str, Row] = {  # table 2
    "3a": Row(64, 96, 128, 16, 32, "max", 32),
    "3b": Row(64, 96, 128, 32, 64, "l2", 64),
    "3c": Row(0, 128, 256, 32, 64, "max", 0, stride=2),
    "4a": Row(256, 96, 192, 32, 64, "l2", 128),
    "4b": Row(224, 112, 224, 32, 64, "l2", 128),
    "4c": Row(192, 128, 256, 32, 64, "l2", 128),
    "4d": Row(160, 144, 288, 32, 64, "l2", 128),
    "4e": Row(0, 160, 256, 64, 128, "max", 0, stride=2),
    "5a": Row(384, 192, 384, 48, 128, "l2", 128),
    "5b": Row(384, 192, 384, 48, 128, "max", 128),
}
STEM_CHANNELS = 192
DIMENSIONS = 128
SIZE = 224


class Module(Branches):
    """One row: 1x1; 1x1 and 3x3; 1x1 and 5x5; pool and 1x1; a row of stride 2 halves the map in all of them."""

    def __init__(self, in_channels: int, row: Row, *, unit: ConvUnit):
        super().__init__(*_branches(in_channels, row, unit))


def _branches(in_channels: int, row: Row, unit: ConvUnit) -> Iterator[nn.Module]:
    if row.one:
        yield unit(in_channels, row.one)
    for kernel, reduced, channels in ((3, row.reduce3, row.three), (5, row.reduce5, row.five)):
        yield nn.Sequential(unit(in_channels, reduced), unit(reduced, channels, kernel, row.stride))
    pool = nn.MaxPool2d(3, row.stride, padding=1) if row.pool == "max" else L2Pool2d(3, row.stride, padding=1)
    yield nn.Sequential(pool, unit(in_channels, row.project)) if row.project else pool


class NN2(Backbone):
    """Images to three maps, finest first: of modules 3b, 4d and 5b."""

    strides = (8, 16, 32)

    def __init__(self, unit: ConvUnit):
        super().__init__()
        self.stem = GoogLeNetStem(unit, "imagenet")
        counts = [STEM_CHANNELS]
        for row in MODULES.values():
            counts.append(row.out(counts[-1]))
        for (name, row), (in_channels, _) in zip(MODULES.items(), pairwise(counts), strict=True):
            self.add_module(f"inception{name}", Module(in_channels, row, unit=unit))
        given = dict(zip(MODULES, counts[1:], strict=True))
        self.channels = tuple(unit.channels(given[name]) for name in ("3b", "4d", "5b"))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the three maps."""
        x, maps = self.stem(images), []
        for name, following in pairwise([*MODULES, ""]):
            x = self.get_submodule(f"inception{name}")(x)
            if not following or MODULES[following].stride > 1:
                maps.append(x)
        return tuple(maps)


@builder
def facenet(
    *,
    size: tuple[int, int] = (SIZE, SIZE),
    width: int = FULL_WIDTH,
    dimensions: int = DIMENSIONS,
    norm: Normalisation = "batch",
    margin: float = MARGIN,
    kind: str = "semi_hard",
    aligned: bool = False,
) -> EmbeddingModel:
    """Build FaceNet's NN2: 7.5 M parameters.

    Args:
        size: (H, W) that every image is resized to.
        width: channels of the first convolution, 64 in the paper; fewer (at least 8) make the whole network narrower.
        dimensions: D, of the vectors.
        norm: "batch", "frozen", or the paper's "response": biases, and two response norms in the stem.
        margin: of the triplets, in squared distance.
        kind: of the triplets that negatives are drawn of: "semi_hard", "hard", "violating" or "all".
        aligned: turn faces upright by five keypoints: those of the data set, or what `face_landmarks_tiny` finds.
    """
    backbone = NN2(unit_of("paper", norm, width))
    network = EmbeddingNetwork(backbone, GlobalAverageHead(backbone.channels[-1], dimensions), normalize=True)
    initialise(network, variant_of("paper"))
    criterion = DrawnTripletCriterion(margin=margin, kind=kind)
    return EmbeddingModel(network, criterion, Preprocess(exact=size, aligned=aligned))
