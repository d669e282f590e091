"""Inception-v3: large convolutions taken apart into small ones, and into rows and columns.

Szegedy et al. 2016 (arXiv 1512.00567), notes 2.2.2 (factorised convolutions) and 8.1 (Inception score, FID).

    images   B 3 299 299        or any other size from 75 pixels on
    stem     B 192 71 71        five convolutions, a max-pool of stride 2 in between; another one behind them
    stages   B 288 35 35 (three A), B 768 17 17 (reduction, four B), B 2048 8 8 (reduction, two C)
             A: 5x5, and 5x5 as two 3x3; B: 7x7 as 1x7 and 7x1; C: 3x3 as 1x3 beside 3x1
    head     B K                global average of 2048 features, dropout, linear
    auxiliary head              one more classifier on the last B: B K, for training only

Most convolutions of the stem and the reductions are not padded: a map of stride s is a few pixels smaller than H / s.

Differs from the paper: the blocks are those of the published weights, where the table of the paper is imprecise; 5x5
convolutions in A stay whole. The network that FID and Inception score are computed with is another one,
`inception_v3_fid`: an earlier training of 2015 with 1008 outputs, whose average pools leave out the pixels beyond the
border and whose last C has a max-pool in the place of the average. `stem="small"`, without the first stride and the
first pool, is for images of 28 to 75 pixels.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import GlobalAverageHead, image_preprocess, supervised_classifier
from vidi.backbones.googlenet import TappedBackbone, auxiliary_classifier, equal_windows
from vidi.backbones.trunk import Maps, Stem
from vidi.model import Supervised, builder
from vidi.nn.branches import IMAGE_CHANNELS, Branches, ConvUnit
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Preprocess

Normalisation = Literal["batch", "frozen"]

FULL_WIDTH = 32  # channels of the first convolution
AUXILIARY_WEIGHT = 0.4  # of TensorFlow's recipe (slim); the paper gives none
MEAN = STD = (0.5, 0.5, 0.5)  # to [-1, 1]


class InceptionStem(nn.Module):
    """Bring images of 299 pixels to 35: five convolutions and two max-pools (paper, table 1)."""

    def __init__(self, unit: ConvUnit, stem: Stem):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        imagenet = stem == "imagenet"
        self.conv1a = unit(IMAGE_CHANNELS, 32, 3, 2 if imagenet else 1, padding=0)
        self.conv2a = unit(32, 32, 3, padding=0)
        self.conv2b = unit(32, 64, 3)
        self.pool1 = nn.MaxPool2d(3, stride=2) if imagenet else nn.Identity()
        self.conv3b = unit(64, 80)
        self.conv4a = unit(80, 192, 3, padding=0)
        self.pool2 = nn.MaxPool2d(3, stride=2)

    def convolved(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Return the map of stride 4, before the last pool."""
        x = self.pool1(self.conv2b(self.conv2a(self.conv1a(images))))
        return self.conv4a(self.conv3b(x))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return self.pool2(self.convolved(images))


# ----------------------------------------------------------------------------------------------------------------------
# Blocks; "same" pools over 3x3 pixels with stride 1


class InceptionA(Branches):
    """1x1; 5x5; 5x5 as two 3x3; pool (paper, figure 5)."""

    def __init__(self, in_channels: int, pooled: int, *, unit: ConvUnit, same: nn.Module):
        super().__init__(
            unit(in_channels, 64),
            nn.Sequential(unit(in_channels, 48), unit(48, 64, 5)),
            nn.Sequential(unit(in_channels, 64), unit(64, 96, 3), unit(96, 96, 3)),
            nn.Sequential(same, unit(in_channels, pooled)),
        )


class ReductionA(Branches):
    """Halve the size: 3x3; two 3x3; max-pool (paper, figure 10)."""

    def __init__(self, in_channels: int, *, unit: ConvUnit):
        super().__init__(
            unit(in_channels, 384, 3, 2, padding=0),
            nn.Sequential(unit(in_channels, 64), unit(64, 96, 3), unit(96, 96, 3, 2, padding=0)),
            nn.MaxPool2d(3, stride=2),
        )


class InceptionB(Branches):
    """1x1; 7x7 as 1x7 and 7x1; two such 7x7; pool (paper, figure 6)."""

    def __init__(self, in_channels: int, inner: int, *, unit: ConvUnit, same: nn.Module):
        super().__init__(
            unit(in_channels, 192),
            nn.Sequential(unit(in_channels, inner), unit(inner, inner, (1, 7)), unit(inner, 192, (7, 1))),
            nn.Sequential(
                unit(in_channels, inner),
                unit(inner, inner, (7, 1)),
                unit(inner, inner, (1, 7)),
                unit(inner, inner, (7, 1)),
                unit(inner, 192, (1, 7)),
            ),
            nn.Sequential(same, unit(in_channels, 192)),
        )


class ReductionB(Branches):
    """Halve the size: 3x3; 7x7 as 1x7 and 7x1, then 3x3; max-pool."""

    def __init__(self, in_channels: int, *, unit: ConvUnit):
        super().__init__(
            nn.Sequential(unit(in_channels, 192), unit(192, 320, 3, 2, padding=0)),
            nn.Sequential(
                unit(in_channels, 192),
                unit(192, 192, (1, 7)),
                unit(192, 192, (7, 1)),
                unit(192, 192, 3, 2, padding=0),
            ),
            nn.MaxPool2d(3, stride=2),
        )


class InceptionC(Branches):
    """1x1; 1x3 beside 3x1; 3x3, then 1x3 beside 3x1; pool (paper, figure 7)."""

    def __init__(self, in_channels: int, *, unit: ConvUnit, same: nn.Module):
        super().__init__(
            unit(in_channels, 320),
            nn.Sequential(unit(in_channels, 384), Branches(unit(384, 384, (1, 3)), unit(384, 384, (3, 1)))),
            nn.Sequential(
                unit(in_channels, 448),
                unit(448, 384, 3),
                Branches(unit(384, 384, (1, 3)), unit(384, 384, (3, 1))),
            ),
            nn.Sequential(same, unit(in_channels, 192)),
        )


# ----------------------------------------------------------------------------------------------------------------------
# Network


@dataclass(frozen=True)
class Variant:
    """What tells the network of ImageNet from that of FID, and the numbers of both."""

    counts_border: bool  # average pools count the zeros beyond the border
    last_pool: Literal["average", "max"]  # in the last C
    eps: float = 1e-3
    momentum: float = 0.1
    std: float = 0.1  # of the initial weights
    std_auxiliary: float = 0.001  # and of the auxiliary head's last layer


VARIANTS: dict[str, Variant] = {
    "inception_v3": Variant(counts_border=True, last_pool="average"),
    "inception_v3_fid": Variant(counts_border=False, last_pool="max"),
}


class InceptionV3(TappedBackbone):
    """Images to four maps, finest first: of the stem's last convolution, and of the last A, B and C."""

    def __init__(self, variant: Variant, *, unit: ConvUnit, stem: Stem = "imagenet"):
        super().__init__()
        average = partial(nn.AvgPool2d, 3, stride=1, padding=1, count_include_pad=variant.counts_border)
        last = average() if variant.last_pool == "average" else nn.MaxPool2d(3, stride=1, padding=1)
        self.stem = InceptionStem(unit, stem)
        self.mixed_5b = InceptionA(192, 32, unit=unit, same=average())
        self.mixed_5c = InceptionA(256, 64, unit=unit, same=average())
        self.mixed_5d = InceptionA(288, 64, unit=unit, same=average())
        self.mixed_6a = ReductionA(288, unit=unit)
        self.mixed_6b = InceptionB(768, 128, unit=unit, same=average())
        self.mixed_6c = InceptionB(768, 160, unit=unit, same=average())
        self.mixed_6d = InceptionB(768, 160, unit=unit, same=average())
        self.mixed_6e = InceptionB(768, 192, unit=unit, same=average())
        self.mixed_7a = ReductionB(768, unit=unit)
        self.mixed_7b = InceptionC(1280, unit=unit, same=average())
        self.mixed_7c = InceptionC(2048, unit=unit, same=last)
        self.channels = tuple(unit.channels(count) for count in (192, 288, 768, 2048))
        self.strides = (4, 8, 16, 32) if stem == "imagenet" else (1, 2, 4, 8)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the four maps."""
        stem = self.stem.convolved(images)
        fine = self.mixed_5d(self.mixed_5c(self.mixed_5b(self.stem.pool2(stem))))
        middle = self.mixed_6e(self.mixed_6d(self.mixed_6c(self.mixed_6b(self.mixed_6a(fine)))))
        coarse = self.mixed_7c(self.mixed_7b(self.mixed_7a(middle)))
        return stem, fine, middle, coarse

    def features_and_taps(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Maps, Maps]:
        """Return the four maps, and the one for the auxiliary head."""
        maps = self.features(images)
        return maps, maps[2:3]

    def pool_features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Return the averages of the last map: the 2048 features of an image (FID, precision and recall)."""
        return self.features(images)[-1].mean((2, 3))


class AuxiliaryHead(nn.Module):
    """Classify the map of the last B: average pool, 1x1, 5x5, global average, linear (paper, figure 8).

    The pool is 5x5 with stride 3, of which 17 pixels have 5; smaller maps are cut into 5x5 equal windows.
    """

    def __init__(self, outputs: int, *, unit: ConvUnit):
        super().__init__()
        self.conv0 = unit(768, 128)
        self.conv1 = unit(128, 768, 5, padding=0)
        self.linear = nn.Linear(unit.channels(768), outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        pooled = F.avg_pool2d(x, 5, stride=3) if min(x.shape[2:]) >= 17 else equal_windows(x, 5)
        return self.linear(self.conv1(self.conv0(pooled)).mean((2, 3)))


def unit_of(norm: Normalisation, width: int, *, eps: float, momentum: float) -> ConvUnit:
    """Return what makes the convolutions of a network whose first convolution has `width` channels, 32 in the paper.

    Raises:
        ValueError: for another norm, or a width below 8, with which layers get few channels or none.
    """
    if norm not in ("batch", "frozen"):
        raise ValueError(f"received norm={norm!r}, expected 'batch' or 'frozen'")
    if width < 8:
        raise ValueError(f"received width={width}, expected at least 8")
    return ConvUnit(norm_layer(norm, eps=eps, momentum=momentum), width, FULL_WIDTH)


def initialise(network: nn.Module, variant: Variant) -> None:
    """Draw weights from normal distributions; the auxiliary head's last layer has its own deviation."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=variant.std)
    for module in network.modules():
        if isinstance(module, AuxiliaryHead):
            nn.init.normal_(module.linear.weight, std=variant.std_auxiliary)


def trunk(
    name: str = "inception_v3",
    *,
    norm: Normalisation = "batch",
    stem: Stem = "imagenet",
    width: int = FULL_WIDTH,
) -> InceptionV3:
    """Return a network without its heads, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        norm: "batch" or "frozen".
        stem: "imagenet", or "small" for images of 28 to 75 pixels (strides 1, 2, 4, 8).
        width: channels of the first convolution; fewer (at least 8) make the whole network narrower.

    Raises:
        ValueError: for another name, norm or stem, or a width below 8.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    unit = unit_of(norm, width, eps=variant.eps, momentum=variant.momentum)
    network = InceptionV3(variant, unit=unit, stem=stem)
    initialise(network, variant)
    return network


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def inception_v3(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Normalisation = "batch",
    width: int = FULL_WIDTH,
    auxiliary: bool = True,
    dropout: float = 0.5,
    smoothing: float = 0.0,
) -> Supervised:
    """Build Inception-v3: 23.8 M parameters, 27.2 M with its auxiliary head, ImageNet top-1 77.3 %.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 342, then the central 299 x 299.
        stem: "imagenet", or "small" for images of 28 to 75 pixels.
        norm: "batch" or "frozen".
        width: channels of the first convolution, 32 in the paper; fewer (at least 8) make the whole network narrower.
        auxiliary: train one more classifier on the last B, with a weight of 0.4.
        dropout: of the averages before the last layer.
        smoothing: of the labels, in [0, 1); the paper has 0.1.
    """
    variant = VARIANTS["inception_v3"]
    unit = unit_of(norm, width, eps=variant.eps, momentum=variant.momentum)
    backbone = InceptionV3(variant, unit=unit, stem=stem)
    preprocess = image_preprocess(size, shorter=342, crop=299, mean=MEAN, std=STD)
    head = partial(GlobalAverageHead, dropout=dropout)

    def auxiliary_heads(outputs: int) -> list[nn.Module]:
        return [AuxiliaryHead(outputs, unit=unit)]

    put_together = supervised_classifier
    if auxiliary:
        put_together = partial(auxiliary_classifier, auxiliary=auxiliary_heads, weight=AUXILIARY_WEIGHT)
    model = put_together(backbone, categories, preprocess, head=head, smoothing=smoothing)
    initialise(model.network, variant)
    return model


@builder
def inception_v3_fid(
    *,
    categories: int | tuple[str | None, ...] = 1008,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Normalisation = "batch",
    width: int = FULL_WIDTH,
    smoothing: float = 0.0,
) -> Supervised:
    """Build the Inception-v3 of FID and Inception score: 23.9 M parameters, images of exactly 299 x 299 pixels.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: 299 x 299.
        stem: "imagenet", or "small" for images of 28 to 75 pixels.
        norm: "batch" or "frozen".
        width: channels of the first convolution, 32 in the paper; fewer (at least 8) make the whole network narrower.
        smoothing: of the labels, in [0, 1).
    """
    backbone = trunk("inception_v3_fid", norm=norm, stem=stem, width=width)
    preprocess = Preprocess(exact=(299, 299) if size is None else size, mean=MEAN, std=STD, antialias=False)
    return supervised_classifier(backbone, categories, preprocess, smoothing=smoothing)
