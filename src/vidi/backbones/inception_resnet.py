"""Inception-ResNet-v2: inception modules as the branches of residual blocks.

Szegedy et al. 2017 (arXiv 1602.07261), notes 2.2.2.

    images   B 3 299 299        or any other size from 75 pixels on
    stem     B 192 35 35        that of Inception-v3
    stages   B 320 35 35 (a wide inception module, 10 A), B 1088 17 17 (reduction, 20 B),
             B 2080 8 8 (reduction, 10 C), B 1536 8 8 (1x1 convolution)
    blocks   relu(x + scale * linear(branches(x)))      linear: a 1x1 convolution to the width of x, no activation
    head     B K                global average, dropout, linear

Differs from the notes: the network is Inception-ResNet-v2, there is none of a v4; B has two paths, 1x1 and 1x1, 1x7,
7x1. The notes leave out the stem, C and the reductions. Differs from the paper: stem, first module and widths are those
of the published network (TensorFlow's slim, timm), not of figure 3; the last C has scale 1 and no ReLU. As in
Inception-v3, maps of stride s are a few pixels smaller than H / s.
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import GlobalAverageHead, image_preprocess, supervised_classifier
from vidi.backbones.inception_v3 import FULL_WIDTH, MEAN, STD, InceptionStem, Normalisation, unit_of
from vidi.backbones.trunk import Backbone, Maps, Stem
from vidi.model import Supervised, builder
from vidi.nn.branches import Branches, ConvUnit

# ----------------------------------------------------------------------------------------------------------------------
# Residual blocks


class ScaledResidual(nn.Module):
    """relu(x + scale * linear(branches(x))) (paper, section 3.3 and figure 20).

    Unscaled, residuals of more than a thousand channels make the network die early in training: only zeros come out.
    """

    def __init__(self, branches: nn.Module, joined: int, channels: int, *, scale: float, relu: bool = True):
        super().__init__()
        self.branches = branches
        self.linear = nn.Conv2d(joined, channels, 1)  # its bias stands in for a norm
        self.scale = scale
        self.relu = relu

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        total = x + self.scale * self.linear(self.branches(x))
        return F.relu(total, inplace=True) if self.relu else total


class InceptionResNetA(ScaledResidual):
    """1x1; 1x1, 3x3; 1x1 and two 3x3, which are a factorised 5x5 (paper, figure 16; block35)."""

    def __init__(self, unit: ConvUnit, scale: float):
        branches = Branches(
            unit(320, 32),
            nn.Sequential(unit(320, 32), unit(32, 32, 3)),
            nn.Sequential(unit(320, 32), unit(32, 48, 3), unit(48, 64, 3)),
        )
        super().__init__(branches, unit.channels(128), unit.channels(320), scale=scale)


class InceptionResNetB(ScaledResidual):
    """1x1; 1x1, 1x7, 7x1, which are a factorised 7x7 (paper, figure 17; block17)."""

    def __init__(self, unit: ConvUnit, scale: float):
        branches = Branches(
            unit(1088, 192),
            nn.Sequential(unit(1088, 128), unit(128, 160, (1, 7)), unit(160, 192, (7, 1))),
        )
        super().__init__(branches, unit.channels(384), unit.channels(1088), scale=scale)


class InceptionResNetC(ScaledResidual):
    """1x1; 1x1, 1x3, 3x1, which are a factorised 3x3 (paper, figure 19; block8)."""

    def __init__(self, unit: ConvUnit, scale: float, *, relu: bool = True):
        branches = Branches(
            unit(2080, 192),
            nn.Sequential(unit(2080, 192), unit(192, 224, (1, 3)), unit(224, 256, (3, 1))),
        )
        super().__init__(branches, unit.channels(448), unit.channels(2080), scale=scale, relu=relu)


# ----------------------------------------------------------------------------------------------------------------------
# What stands between them


class FirstModule(Branches):
    """1x1; 5x5; two 3x3; average pool: 192 channels to 320 (mixed_5b)."""

    def __init__(self, unit: ConvUnit):
        super().__init__(
            unit(192, 96),
            nn.Sequential(unit(192, 48), unit(48, 64, 5)),
            nn.Sequential(unit(192, 64), unit(64, 96, 3), unit(96, 96, 3)),
            nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), unit(192, 64)),
        )


class ReductionA(Branches):
    """Halve the size: 3x3; two 3x3; max-pool: 320 channels to 1088 (paper, figure 7; mixed_6a)."""

    def __init__(self, unit: ConvUnit):
        super().__init__(
            unit(320, 384, 3, 2, padding=0),
            nn.Sequential(unit(320, 256), unit(256, 256, 3), unit(256, 384, 3, 2, padding=0)),
            nn.MaxPool2d(3, stride=2),
        )


class ReductionB(Branches):
    """Halve the size: 3x3; 3x3; two 3x3; max-pool: 1088 channels to 2080 (paper, figure 18; mixed_7a)."""

    def __init__(self, unit: ConvUnit):
        super().__init__(
            nn.Sequential(unit(1088, 256), unit(256, 384, 3, 2, padding=0)),
            nn.Sequential(unit(1088, 256), unit(256, 288, 3, 2, padding=0)),
            nn.Sequential(unit(1088, 256), unit(256, 288, 3), unit(288, 320, 3, 2, padding=0)),
            nn.MaxPool2d(3, stride=2),
        )


# ----------------------------------------------------------------------------------------------------------------------
# Network


@dataclass(frozen=True)
class Variant:
    """The numbers of a network of the family."""

    blocks: tuple[int, int, int]  # of A, B, C
    scales: tuple[float, float, float]  # of their residuals
    eps: float = 1e-3
    momentum: float = 0.1


VARIANTS: dict[str, Variant] = {
    "inception_resnet_v2": Variant(blocks=(10, 20, 10), scales=(0.17, 0.10, 0.20)),
}


class InceptionResNetV2(Backbone):
    """Images to four maps, finest first: of the stem's last convolution, of the last A and B, and the 1x1 after C."""

    def __init__(
        self,
        blocks: tuple[int, int, int],
        scales: tuple[float, float, float],
        *,
        unit: ConvUnit,
        stem: Stem = "imagenet",
    ):
        super().__init__()
        if min(blocks) < 1:
            raise ValueError(f"received blocks={blocks}, expected at least one of A, B and C")
        a, b, c = blocks
        self.stem = InceptionStem(unit, stem)
        self.mixed_5b = FirstModule(unit)
        self.stage_a = nn.Sequential(*(InceptionResNetA(unit, scales[0]) for _ in range(a)))
        self.mixed_6a = ReductionA(unit)
        self.stage_b = nn.Sequential(*(InceptionResNetB(unit, scales[1]) for _ in range(b)))
        self.mixed_7a = ReductionB(unit)
        self.stage_c = nn.Sequential(*(InceptionResNetC(unit, scales[2]) for _ in range(c - 1)))
        # the last block is neither scaled nor rectified: a convolution with its own norm follows
        self.last_c = InceptionResNetC(unit, 1.0, relu=False)
        self.conv_7b = unit(2080, 1536)
        self.channels = tuple(unit.channels(count) for count in (192, 320, 1088, 1536))
        self.strides = (4, 8, 16, 32) if stem == "imagenet" else (1, 2, 4, 8)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the four maps."""
        stem = self.stem.convolved(images)
        fine = self.stage_a(self.mixed_5b(self.stem.pool2(stem)))
        middle = self.stage_b(self.mixed_6a(fine))
        coarse = self.conv_7b(self.last_c(self.stage_c(self.mixed_7a(middle))))
        return stem, fine, middle, coarse


def trunk(
    name: str = "inception_resnet_v2",
    *,
    blocks: tuple[int, int, int] | None = None,
    norm: Normalisation = "batch",
    stem: Stem = "imagenet",
    width: int = FULL_WIDTH,
) -> InceptionResNetV2:
    """Return a network of the family without its head, for other systems to build on; torch's own initial weights.

    Args:
        name: a key of `VARIANTS`.
        blocks: of A, B and C; the variant's if None.
        norm: "batch" or "frozen".
        stem: "imagenet", or "small" for images of 28 to 75 pixels (strides 1, 2, 4, 8).
        width: channels of the first convolution, 32 in the paper; fewer (at least 8) make the whole network narrower.

    Raises:
        ValueError: for another name, norm or stem, a width below 8, or a stage without blocks.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    unit = unit_of(norm, width, eps=variant.eps, momentum=variant.momentum)
    return InceptionResNetV2(variant.blocks if blocks is None else blocks, variant.scales, unit=unit, stem=stem)


# ----------------------------------------------------------------------------------------------------------------------
# Builder


@builder
def inception_resnet_v2(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    blocks: tuple[int, int, int] | None = None,
    norm: Normalisation = "batch",
    width: int = FULL_WIDTH,
    dropout: float = 0.2,
    smoothing: float = 0.0,
) -> Supervised:
    """Build Inception-ResNet-v2: 55.8 M parameters, ImageNet top-1 80.5 % with the weights of TensorFlow.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 333, then the central 299 x 299.
        stem: "imagenet", or "small" for images of 28 to 75 pixels.
        blocks: of A, B and C; None: the paper's.
        norm: "batch" or "frozen".
        width: channels of the first convolution, 32 in the paper; fewer (at least 8) make the whole network narrower.
        dropout: of the averages before the last layer.
        smoothing: of the labels, in [0, 1).
    """
    backbone = trunk("inception_resnet_v2", blocks=blocks, norm=norm, stem=stem, width=width)
    preprocess = image_preprocess(size, shorter=333, crop=299, interpolation="bicubic", mean=MEAN, std=STD)
    head = partial(GlobalAverageHead, dropout=dropout)
    return supervised_classifier(backbone, categories, preprocess, head=head, smoothing=smoothing)
