"""The network of Monodepth: down with two convolutions a level or a ResNet, up with skips, disparities at four scales.

Godard, Mac Aodha, Brostow 2017 (arXiv 1609.03677), table 6 of its supplement; after DispNet (Mayer et al. 2016,
arXiv 1512.02134); notes 6.1.1.

    image     B C H W
    encoder   maps of stride 2, 4, 8 ...
    level     twice as large by repeating pixels, 3x3; beside it the map of the encoder of that size, and from the third
              level on the disparities of the one before; 3x3
    scales    3x3 to V maps at the last four levels, 0.3 sigmoid: B V H/8 W/8 .. B V H W, shares of the picture's width

Differs from the notes: pixels are repeated, not interpolated, before the convolution (`upsampling="bilinear"` is the
notes' form). Differs from the published code: a map is enlarged to the size of the one beside it, so that the sides of
a picture need not be multiples of 128. Its ResNet-50 has a projection in every shortcut, as in that code, and no norms;
ResNet-18 is the usual one, which can begin with weights for ImageNet.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import resnet
from vidi.backbones.resnet import ResNet
from vidi.backbones.scaling import round_channels
from vidi.backbones.trunk import Backbone, Maps
from vidi.nn.normalization import Norm

Encoder = Literal["vgg", "resnet50", "resnet18"]
Upsampling = Literal["nearest", "bilinear"]

LARGEST = 0.3  # share of the width that a disparity can reach
FIRST = 0.5 * LARGEST  # share of the width where disparities begin, in the middle of the sigmoid
FIRST_SCORES = 0.1  # of the size that other weights are drawn with, where disparities begin elsewhere
WIDTHS = (512, 512, 256, 128, 64, 32, 16)  # of the decoder, coarsest first
SCALES = 4
VGG_WIDTHS, VGG_KERNELS = (32, 64, 128, 256, 512, 512, 512), (7, 5, 3, 3, 3, 3, 3)
RESNET_WIDTHS, RESNET_BLOCKS = (64, 128, 256, 512), (3, 4, 6, 3)
GREY_MEAN, GREY_STD = 0.45, 0.225  # of ImageNet, all colours alike


class Disparities(NamedTuple):
    """Disparities in shares of the picture's width, finest first: of the left view and, if there are two, the right."""

    scale1: Float[Tensor, "B V H W"]
    scale2: Float[Tensor, "B V _ _"]
    scale4: Float[Tensor, "B V _ _"]
    scale8: Float[Tensor, "B V _ _"]


def unit(in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size at stride 1, and an ELU."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2), nn.ELU(inplace=True))


# ----------------------------------------------------------------------------------------------------------------------
# Encoders


class VggEncoder(Backbone):
    """Seven levels of two convolutions, the second with stride 2; strides 2 to 128."""

    strides = (2, 4, 8, 16, 32, 64, 128)

    def __init__(self, in_channels: int, width: float | int):
        super().__init__()
        self.channels = tuple(round_channels(channels * width) for channels in VGG_WIDTHS)
        pairs = pairwise((in_channels, *self.channels))
        self.levels = nn.ModuleList(
            nn.Sequential(unit(before, own, kernel), unit(own, own, kernel, stride=2))
            for (before, own), kernel in zip(pairs, VGG_KERNELS, strict=True)
        )

    def features(self, images: Float[Tensor, "B C H W"]) -> Maps:
        maps = []
        for level in self.levels:
            images = level(images)
            maps.append(images)
        return tuple(maps)


class ProjectedBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 to four times the channels, without norms; the shortcut is a 1x1."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(
            unit(in_channels, channels, 1),
            unit(channels, channels, 3, stride),
            nn.Conv2d(channels, 4 * channels, 1),
        )
        self.shortcut = nn.Conv2d(in_channels, 4 * channels, 1, stride)
        self.activation = nn.ELU(inplace=True)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.activation(self.branch(x) + self.shortcut(x))


class ResNetEncoder(Backbone):
    """The paper's ResNet-50: no norms, ELU, the last block of a stage strides; strides 2 to 64."""

    strides = (2, 4, 8, 16, 32, 64)

    def __init__(self, in_channels: int, width: float | int):
        super().__init__()
        inner = [round_channels(channels * width) for channels in RESNET_WIDTHS]
        stem = inner[0]
        self.channels = (stem, stem, *(4 * channels for channels in inner))
        self.stem = unit(in_channels, stem, 7, stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    ProjectedBottleneck(before if block == 0 else 4 * own, own, stride=2 if block == count - 1 else 1)
                    for block in range(count)
                )
            )
            for before, own, count in zip(self.channels[1:], inner, RESNET_BLOCKS, strict=False)
        )

    def features(self, images: Float[Tensor, "B C H W"]) -> Maps:
        maps = [self.stem(images)]
        maps.append(self.pool(maps[0]))
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps)


def encoder_of(name: Encoder, in_channels: int, *, width: float | int, norm: Norm) -> Backbone:
    """Return an encoder by its name.

    Raises:
        ValueError: for another name, or a ResNet-18 that would see two pictures at once.
    """
    if name == "vgg":
        return VggEncoder(in_channels, width)
    if name == "resnet50":
        return ResNetEncoder(in_channels, width)
    if name != "resnet18":
        raise ValueError(f"received encoder={name!r}, expected 'vgg', 'resnet50' or 'resnet18'")
    if in_channels != 3:
        raise ValueError("received encoder='resnet18' for two pictures at once, expected 'vgg' or 'resnet50'")
    return resnet.trunk(name, norm=norm, width=max(16, round_channels(64 * width)))


def half_resolution_on(backbone: Backbone, images: Float[Tensor, "B C H W"]) -> Maps:
    """Return the maps of an encoder from half the resolution on; a usual ResNet's first one is that of its stem."""
    if not isinstance(backbone, ResNet):
        return backbone.features(images)
    stem = backbone.stem
    first = F.relu(stem.norm(stem.conv((images - GREY_MEAN) / GREY_STD)))
    maps = [stem.pool(first)]
    for stage in (backbone.stage1, backbone.stage2, backbone.stage3, backbone.stage4):
        maps.append(stage(maps[-1]))
    return (first, *maps[1:])


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


class Level(nn.Module):
    """Twice as large, the encoder's map and the coarser disparities beside it, and disparities of its own."""

    def __init__(self, below: int, channels: int, beside: int, *, coarser: int, outputs: int, upsampling: Upsampling):
        super().__init__()
        self.upsampling = upsampling
        self.up = unit(below, channels)
        self.merge = unit(channels + beside + coarser, channels)
        self.score = nn.Conv2d(channels, outputs, 3, padding=1) if outputs else None

    def forward(
        self, x: Float[Tensor, "B C h w"], beside: Sequence[Tensor], size: torch.Size
    ) -> tuple[Float[Tensor, "B D H W"], Float[Tensor, "B V H W"] | None]:
        """Return the map of this level, and the disparities that it scores, if it does."""
        align = None if self.upsampling == "nearest" else False
        x = self.up(F.interpolate(x, size=size, mode=self.upsampling, align_corners=align))
        x = self.merge(torch.cat((x, *beside), 1))
        return x, None if self.score is None else LARGEST * torch.sigmoid(self.score(x))


class DisparityNetwork(nn.Module):
    """Encoder and decoder with `views` disparities at four scales.

    With `averaged` the left disparity of an evaluation is a mean with that of the mirrored picture (section 4.2: post-
    processing), but at the borders, where the one of the two counts whose view is not cut off. Disparities begin near
    `first`, a share of the width.

    Raises:
        ValueError: for another encoder or upsampling, or a first disparity outside of the sigmoid.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        in_channels: int = 3,
        views: int = 2,
        width: float | int = 1.0,
        upsampling: Upsampling = "nearest",
        norm: Norm = "batch",
        averaged: bool = False,
        first: float = FIRST,
    ):
        super().__init__()
        self.averaged = averaged
        if upsampling not in ("nearest", "bilinear"):
            raise ValueError(f"received upsampling={upsampling!r}, expected 'nearest' or 'bilinear'")
        if not 0 < first < LARGEST:
            raise ValueError(f"received first={first}, expected a share of the width above 0 and below {LARGEST}")
        self.backbone = encoder_of(encoder, in_channels, width=width, norm=norm)
        channels = (0, *_half_and_coarser(self.backbone))  # beside the levels, finest first
        own = [round_channels(wide * width) for wide in WIDTHS[-len(channels) + 1 :]]
        below = [channels[-1], *own[:-1]]
        numbers = range(len(own) - 1, -1, -1)  # of the levels, coarsest first
        self.levels = nn.ModuleList(
            Level(
                before,
                wide,
                channels[number],
                coarser=views if number < SCALES - 1 else 0,
                outputs=views if number < SCALES else 0,
                upsampling=upsampling,
            )
            for number, before, wide in zip(numbers, below, own, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not isinstance(self.backbone, ResNet):
                nn.init.xavier_uniform_(module.weight)
        if first != FIRST:
            self._begin_at(first)

    def _begin_at(self, share: float) -> None:
        """Let all disparities be near a share of the width at first, far from which no minimum holds them back."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, Level) and module.score is not None:
                    module.score.weight.mul_(FIRST_SCORES)
                    nn.init.constant_(module.score.bias, math.log(share / (LARGEST - share)))  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "B C H W"]) -> Disparities:
        found = self.scales(images)
        if not self.averaged or self.training:
            return found
        mirrored = self.scales(images.flip(3)).scale1[:, :1].flip(3)
        left = mean_with_mirrored(found.scale1[:, :1], mirrored)
        return found._replace(scale1=torch.cat((left, found.scale1[:, 1:]), 1))

    def scales(self, images: Float[Tensor, "B C H W"]) -> Disparities:
        """Return the disparities of one look at the images."""
        *skips, x = half_resolution_on(self.backbone, images)
        sizes = [images.shape[2:], *(skip.shape[2:] for skip in skips)]
        scales: list[Tensor] = []  # coarsest first
        for number, level in zip(range(len(skips), -1, -1), self.levels, strict=True):
            beside = skips[number - 1 : number] if number else []
            if scales:
                beside = [*beside, F.interpolate(scales[-1], size=sizes[number], mode="nearest")]
            x, own = level(x, beside, sizes[number])
            if own is not None:
                scales.append(own)
        return Disparities(*scales[::-1])


def _half_and_coarser(backbone: Backbone) -> tuple[int, ...]:
    """Return the channels of the maps that `half_resolution_on` gives."""
    if not isinstance(backbone, ResNet):
        return backbone.channels
    return (backbone.stem.conv.out_channels, *backbone.channels)


BORDER, RAMP = 0.05, 0.05  # shares of the width: where one disparity counts alone, and until where it fades out


def mean_with_mirrored(
    straight: Float[Tensor, "B 1 H W"], mirrored: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 1 H W"]:
    """Return the mean of two disparities; at the left border the mirrored one counts, at the right the straight one.

    What stands at the left border of the left picture is beyond that of the right one, so that no match taught it.
    """
    place = torch.linspace(0, 1, straight.shape[3], dtype=straight.dtype, device=straight.device)
    at_left = 1 - ((place - BORDER) / RAMP).clamp(0, 1)
    at_right = at_left.flip(0)
    return at_right * straight + at_left * mirrored + (1 - at_left - at_right) * (straight + mirrored) / 2
