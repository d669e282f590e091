"""The network of Depth Pro: transformers over patches of an image at three scales, fused from coarse to fine.

Bochkovskii et al. 2024, arXiv 2410.02073, sections 3.1, 3.3 and C.1; `vidi.depth.depth_pro` says what goes through.
Names of sizes: the image has S x S pixels, a patch P x P with g x g tokens, S = 4 P.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import vit

OVERLAPS = (0.25, 0.5, 0.0)  # of neighbouring patches at full, half and quarter size
SCALES = 4  # the size of the image in patches


class DepthProOutput(NamedTuple):
    """What the network gives."""

    canonical: Float[Tensor, "B H W"]  # inverse depth times focal length over width, not below 0
    field_of_view: Float[Tensor, " B"]  # of the width, degrees


# ----------------------------------------------------------------------------------------------------------------------
# Patches


def overlapping_patches(images: Float[Tensor, "B C H W"], side: int, overlap: float) -> Float[Tensor, "N C P P"]:
    """Cut square images into squares that overlap by a share of their side; N = rows x columns x B, B the fastest."""
    stride = int(side * (1 - overlap))
    windows = images.unfold(2, side, stride).unfold(3, side, stride)  # B C n n P P
    return windows.permute(2, 3, 0, 1, 4, 5).flatten(0, 2)


def merged_patches(maps: Float[Tensor, "N D g g"], batch: int, overlap: float) -> Float[Tensor, "B D h w"]:
    """Put maps of overlapping patches together: of what two of them show, each keeps its half."""
    count = math.isqrt(len(maps) // batch)
    border = int(maps.shape[2] * overlap / 2)
    grid = maps.unflatten(0, (count, count, batch))  # n n B D g g

    def kept(position: int) -> slice:
        first, last = position == 0, position == count - 1
        return slice(0 if first else border, maps.shape[2] if last else maps.shape[2] - border)

    rows = [
        torch.cat([grid[row, column, :, :, kept(row), kept(column)] for column in range(count)], 3)
        for row in range(count)
    ]
    return torch.cat(rows, 2)


# ----------------------------------------------------------------------------------------------------------------------
# Network


class MultiScaleEncoder(nn.Module):
    """From an image to maps: of the whole, of its patches at a quarter, a half and full size, of earlier layers there.

    Args:
        patch_encoder: runs over patches; the image has four times its size.
        image_encoder: runs over the image at a quarter.
        hooks: the layers of the patch encoder, from 0, whose maps at full size are also given.
    """

    def __init__(
        self, patch_encoder: vit.VisionTransformer, image_encoder: vit.VisionTransformer, hooks: Sequence[int]
    ):
        super().__init__()
        self.patch_encoder = patch_encoder
        self.image_encoder = image_encoder
        self.hooks = tuple(hooks)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
        B, side = len(images), self.patch_encoder.size[0]
        scaled = [images, scaled_by(images, 0.5), scaled_by(images, 0.25)]
        cut = [overlapping_patches(image, side, overlap) for image, overlap in zip(scaled, OVERLAPS, strict=True)]
        last, *earlier = self.patch_encoder.tokens_of_layers(torch.cat(cut), self.hooks)
        of_scales = [
            merged_patches(self.patch_encoder.map_of(tokens), B, overlap)
            for tokens, overlap in zip(last.split([len(patches) for patches in cut]), OVERLAPS, strict=True)
        ]
        of_layers = [
            merged_patches(self.patch_encoder.map_of(tokens[: len(cut[0])]), B, OVERLAPS[0]) for tokens in earlier
        ]
        return [self.whole(scaled[2]), *reversed(of_scales), *of_layers]

    def coarse(self, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
        """Return the first two maps alone, both of the image at a quarter."""
        small = scaled_by(images, 0.25)
        return [self.whole(small), self.patch_encoder.map_of(self.patch_encoder.tokens(small))]

    def whole(self, small: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B D g g"]:
        return self.image_encoder.map_of(self.image_encoder.tokens(small))


def scaled_by(images: Tensor, ratio: float) -> Tensor:
    """Return smaller images, whose pixels are the means of the four that are nearest to their centres."""
    return F.interpolate(images, scale_factor=ratio, mode="bilinear", align_corners=False)


def enlarging(in_channels: int, channels: int, times: int) -> nn.Sequential:
    """Return a 1x1 convolution, and transposed ones that each double the size; none has a bias."""
    doubles = [nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False) for _ in range(times)]
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), *doubles)


class Neck(nn.Module):
    """Maps of one width, each twice as large as the one before.

    Args:
        whole: channels of the map of the whole image.
        patches: channels of all others.
        channels: that maps of the scales have while they are enlarged, coarse to fine.
        width: channels of the results.
        hooks: the number of maps of earlier layers.
    """

    def __init__(self, whole: int, patches: int, channels: Sequence[int], width: int, hooks: int):
        super().__init__()
        self.whole = nn.ConvTranspose2d(whole, channels[0], 2, stride=2)
        self.scales = nn.ModuleList(enlarging(patches, own, 1) for own in channels)
        self.layers = nn.ModuleList(enlarging(patches, width, 2 + row) for row in range(hooks))
        self.mix = nn.Conv2d(2 * channels[0], channels[0], 1)
        every = [*channels, *([width] * hooks)]
        self.project = nn.ModuleList(nn.Conv2d(own, width, 3, padding=1, bias=False) for own in every)
        if every[-1] == width:
            self.project[-1] = nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        whole, coarse, *finer = maps
        enlarged = [
            layer(values)
            for layer, values in zip([*self.scales[1:], *self.layers], finer, strict=True)  # type: ignore[misc]
        ]
        rest = [project(values) for project, values in zip(self.project[1:], enlarged, strict=True)]  # type: ignore[call-overload]
        return [self.coarsest(whole, coarse), *rest]

    def coarsest(self, whole: Tensor, coarse: Tensor) -> Float[Tensor, "B D h w"]:
        """Return the first map: of the whole image and of the patch that is the image at a quarter."""
        return self.project[0](self.mix(torch.cat((self.scales[0](coarse), self.whole(whole)), 1)))


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each behind a ReLU, added to what came in."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Add a map to the coarser ones, and double the size.

    Args:
        width: channels.
        first: whether there is nothing coarser.
        last: whether the size stays.
    """

    def __init__(self, width: int, *, first: bool = False, last: bool = False):
        super().__init__()
        self.own = nn.Identity() if first else ResidualUnit(width)
        self.both = ResidualUnit(width)
        self.enlarge = nn.Identity() if last else nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "B D h w"], coarser: Tensor | None = None) -> Float[Tensor, "B D H W"]:
        own = self.own(x)
        return self.project(self.enlarge(self.both(own if coarser is None else coarser + own)))


class InverseDepthHead(nn.Sequential):
    """From the fused map to canonical inverse depth of twice its size."""

    def __init__(self, width: int, hidden: int = 32):
        super().__init__(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ConvTranspose2d(width // 2, width // 2, 2, stride=2),
            nn.Conv2d(width // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
            nn.ReLU(),
        )


class FieldOfView(nn.Module):
    """The field of view of the width, from the image at a quarter and the coarsest map of a depth network.

    Args:
        encoder: of its own.
        width: channels of that map.
    """

    def __init__(self, encoder: vit.VisionTransformer, width: int):
        super().__init__()
        self.encoder = encoder
        self.narrow = nn.Linear(encoder.channels[0], width // 2)
        self.halve = nn.Conv2d(width, width // 2, 3, stride=2, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(width // 2, width // 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 4, width // 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 8, 1, encoder.grid[0] // 4),
        )

    def forward(self, images: Float[Tensor, "B 3 S S"], coarsest: Float[Tensor, "B D h w"]) -> Float[Tensor, " B"]:
        tokens = self.narrow(self.encoder.tokens(scaled_by(images, 0.25)))
        return self.head(self.encoder.map_of(tokens) + F.relu(self.halve(coarsest))).flatten()  # B 1 1 1 -> B


class DepthProNetwork(nn.Module):
    """The canonical inverse depth of square images, and their field of view from features that it does not change."""

    def __init__(self, backbone: MultiScaleEncoder, neck: Neck, width: int, field_of_view: FieldOfView):
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        levels = len(neck.project)
        self.fusions = nn.ModuleList(Fusion(width, first=row == 0, last=row == levels - 1) for row in range(levels))
        self.head = InverseDepthHead(width)
        self.field_of_view = field_of_view

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> DepthProOutput:
        maps = self.neck(self.backbone(images))
        return DepthProOutput(self.canonical_of(maps), self.field_of_view(images, maps[0].detach()))

    def canonical(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B S S"]:
        """Return canonical inverse depth alone."""
        return self.canonical_of(self.neck(self.backbone(images)))

    def canonical_of(self, maps: Sequence[Tensor]) -> Float[Tensor, "B S S"]:
        x = None
        for fusion, values in zip(self.fusions, maps, strict=True):
            x = fusion(values, x)
        return self.head(x)[:, 0]

    def view(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, " B"]:
        """Return the field of view alone; everything before its own layers is left as it is."""
        with torch.no_grad():
            coarsest = self.neck.coarsest(*self.backbone.coarse(images))
        return self.field_of_view(images, coarsest)


USUAL_VIEW = 60.0
"""Degrees that the field of view starts with: from 0 its bias would take as many steps as it is wide."""

USUAL_INVERSE = 0.2
"""Canonical inverse depth that all pixels nearly start with: the last ReLU never recovers from 0 everywhere."""


def initialise(network: DepthProNetwork) -> None:
    """Draw the weights of convolutions but the transformers' so that features keep their size; the paper says nothing.

    As the package transformers draws them, features and first steps are so large that the last ReLU ends at 0.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and "embedding" not in name:
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for last, usual in ((network.head[4], USUAL_INVERSE), (network.field_of_view.head[-1], USUAL_VIEW)):
        output = cast(nn.Conv2d, last)
        nn.init.normal_(output.weight, std=1e-3)
        nn.init.constant_(cast(Tensor, output.bias), usual)
