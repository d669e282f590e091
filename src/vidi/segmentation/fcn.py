"""FCN: a classifier turned into a network of convolutions, whose coarse scores are upsampled and refined by finer maps.

Long, Shelhamer, Darrell 2015, arXiv 1411.4038 (and 1605.06211); notes 5.1.3.

    image       B 3 H W
    pool3..5    B C_i at strides 8, 16, 32; over the last, fc6 and fc7 as convolutions of 7 x 7 and 1 x 1
    scores      1 x 1 to K classes, of stride 32 and, for FCN-16s and -8s, of the finer maps
    FCN-32s     scores of stride 32, upsampled 32 times
    FCN-16s     the same upsampled twice + scores of pool4, upsampled 16 times
    FCN-8s      that sum upsampled twice + scores of pool3, upsampled 8 times -> B K H W

Maps of different strides are laid upon each other by where their pixels lie in the image (`Grid`): with the authors'
border of 100 pixels and VGG-16 these are the offsets 5, 9 and 19, 27, 31 of their networks.

Differs from the notes: upsampling by two is learned, a transposed convolution that begins as bilinear interpolation;
the last one is fixed (`learned=False` fixes all). What FCN-8s takes from FCN-16s is its sum of scores, before that is
upsampled to the image.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import resnet, vgg
from vidi.backbones.trunk import Backbone, Maps
from vidi.detection.options import frozen_below
from vidi.model import Predicts, Stage, Staged, Supervised, builder, of_family, with_defaults
from vidi.nn.normalization import Norm
from vidi.ops.upsampling import bilinear_kernel, stamped_bilinear
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import category_names
from vidi.results.semantic_map import SemanticMap
from vidi.segmentation.semantic import VOC_CLASSES, SemanticOutputs, segmenter

# ----------------------------------------------------------------------------------------------------------------------
# Where maps lie


class Grid(NamedTuple):
    """Where the pixels of a map lie in the image, along each side: pixel i has its centre at start + stride * i."""

    stride: int
    start: float  # in pixels of the image, whose own pixel i has its centre at i

    def convolved(self, kernel: int, stride: int = 1, *, padding: int = 0) -> "Grid":
        """Return the grid of the output of a convolution or a pool."""
        return Grid(self.stride * stride, self.start + ((kernel - 1) / 2 - padding) * self.stride)

    def stamped(self, kernel: int, factor: int) -> "Grid":
        """Return the grid of the output of a transposed convolution of stride `factor`, without padding."""
        stride = self.stride // factor
        return Grid(stride, self.start - (kernel - 1) / 2 * stride)

    def cut(self, pixels: int) -> "Grid":
        """Return the grid of the map without so many of its first rows and columns."""
        return Grid(self.stride, self.start + pixels * self.stride)


def laid_upon(
    x: Float[Tensor, "B K _ _"], place: Grid, other: Float[Tensor, "B K _ _"], of_other: Grid
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K h w"], Grid]:
    """Cut two maps of one stride to what both cover; return them, and where their pixels lie then.

    Raises:
        ValueError: if their pixels do not lie on each other.
    """
    offset, rest = divmod(place.start - of_other.start, place.stride)
    if rest or place.stride != of_other.stride:
        raise ValueError(f"received maps with pixels at {place} and {of_other}, which do not lie on each other")
    offset = int(offset)
    x, other = x[..., max(-offset, 0) :, max(-offset, 0) :], other[..., max(offset, 0) :, max(offset, 0) :]
    h, w = min(x.shape[2], other.shape[2]), min(x.shape[3], other.shape[3])
    return x[..., :h, :w], other[..., :h, :w], of_other.cut(max(offset, 0))


# ----------------------------------------------------------------------------------------------------------------------
# Layers


class Doubling(nn.ConvTranspose2d):
    """A learned transposed convolution by 2 that begins as bilinear interpolation of each channel."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, 2, bias=False)
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = bilinear_kernel(kernel).to(self.weight)


class FixedDoubling(nn.Module):
    """Bilinear interpolation by 2."""

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K H W"]:
        return stamped_bilinear(x, 2, kernel=self.kernel)


def linear_to_convolution(linear: nn.Linear, size: tuple[int, int]) -> nn.Conv2d:
    """Return the convolution with a kernel of `size` that does on every window what a layer does on a flattened map.

    Its weights are the layer's, reshaped (Long et al. 2015, section 3.1).

    Raises:
        ValueError: if the layer's inputs are not so many pixels times a number of channels.
    """
    channels, rest = divmod(linear.in_features, size[0] * size[1])
    if rest:
        raise ValueError(f"received {linear.in_features} inputs, expected a multiple of {size[0]} x {size[1]}")
    like = {"dtype": linear.weight.dtype, "device": linear.weight.device}
    conv = nn.Conv2d(channels, linear.out_features, size, bias=linear.bias is not None, **like)
    with torch.no_grad():
        conv.weight.copy_(linear.weight.view_as(conv.weight))
        if conv.bias is not None and linear.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv


# ----------------------------------------------------------------------------------------------------------------------
# Encoders


BORDER = 100  # pixels of zeros about the image in the authors' networks, so that fc6 fits into pool5 of any image


class VggEncoder(nn.Module):
    """VGG's maps after its pools 3, 4, 5; over the last, fc6 and fc7 as convolutions.

    Its pools lie between the pixels of the map before: upsampling by f has a kernel of 2 f.
    """

    def __init__(self, backbone: vgg.Vgg, *, hidden: int, dropout: float, border: int):
        super().__init__()
        convolutions = [layer for layer in backbone.layers if isinstance(layer, nn.Conv2d)]
        convolutions[0].padding = (border, border)
        for layer in backbone.layers:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True  # as in Caffe
        self.backbone = backbone
        padding = 0 if border >= BORDER else 3
        self.head = nn.Sequential(
            nn.Conv2d(backbone.channels[-1], hidden, 7, padding=padding),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.channels = (backbone.channels[2], backbone.channels[3], hidden)
        pools = [Grid(1, 0.0).convolved(3, padding=border)]
        for _ in range(5):
            pools.append(pools[-1].convolved(2, 2))
        self.grids = (pools[3], pools[4], pools[5].convolved(7, padding=padding))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        maps = self.backbone.features(images)
        pool3, pool4 = (F.max_pool2d(maps[stage], 2, ceil_mode=True) for stage in (2, 3))
        return pool3, pool4, self.head(maps[-1])

    def tent(self, factor: int) -> int:
        """Return the side of the kernel that upsamples by a factor."""
        return 2 * factor


class ResNetEncoder(nn.Module):
    """C3, C4, C5 of a ResNet.

    Its strides keep every second pixel in its place: upsampling by f has a kernel of 2 f - 1.
    """

    def __init__(self, backbone: resnet.ResNet):
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.channels[1:]
        self.grids = tuple(Grid(stride, 0.0) for stride in backbone.strides[1:])

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        return self.backbone.features(images)[1:]

    def tent(self, factor: int) -> int:
        """Return the side of the kernel that upsamples by a factor."""
        return 2 * factor - 1


# ----------------------------------------------------------------------------------------------------------------------
# Network


class FCN(nn.Module):
    """Scores of the coarsest map, to which those of finer maps are added on the way up to the image.

    Args:
        encoder: from images to three maps, finest first.
        scores: 1x1 convolutions of the maps that are used, coarsest first: one for FCN-32s, two for -16s, 3 for -8s.
        doublings: by which sums of scores come to the next finer map, one fewer.
    """

    def __init__(self, encoder: VggEncoder | ResNetEncoder, scores: nn.ModuleList, doublings: nn.ModuleList):
        super().__init__()
        self.encoder, self.scores, self.doublings = encoder, scores, doublings

    @property
    def backbone(self) -> Backbone:
        return self.encoder.backbone

    def coarser(self, skips: int) -> "FCN":
        """Return the network of fewer skips that shares all its layers with this one."""
        return FCN(self.encoder, self.scores[: skips + 1], self.doublings[:skips])

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SemanticOutputs:
        maps, grids = self.encoder(images)[::-1], self.encoder.grids[::-1]  # coarsest first
        x, grid = self.scores[0](maps[0]), grids[0]
        for level, doubling in enumerate(self.doublings, 1):
            place = grid.stamped(self.encoder.tent(2), 2)
            x, finer, grid = laid_upon(doubling(x), place, self.scores[level](maps[level]), grids[level])
            x = x + finer
        whole, kernel = images[:, :1].expand(-1, x.shape[1], -1, -1), self.encoder.tent(grid.stride)
        x = stamped_bilinear(x, grid.stride, kernel=kernel)
        x, _, _ = laid_upon(x, grid.stamped(kernel, grid.stride), whole, Grid(1, 0.0))
        return SemanticOutputs(x)


def fcn_network(encoder: VggEncoder | ResNetEncoder, outputs: int, *, skips: int, learned: bool) -> FCN:
    """Put the network together; scores begin at 0 (Long et al. 2015, section 4.3)."""
    scores = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in encoder.channels[::-1][: skips + 1])
    for parameter in scores.parameters():
        nn.init.zeros_(parameter)
    kernel = encoder.tent(2)
    doublings = nn.ModuleList(Doubling(outputs, kernel) if learned else FixedDoubling(kernel) for _ in range(skips))
    return FCN(encoder, scores, doublings)


class CoarseToFine(Staged, Predicts):
    """FCN-8s that is trained as FCN-32s first, then as FCN-16s, then as itself (Long et al. 2015, section 4.3)."""

    def __init__(self, finest: Supervised):
        super().__init__()
        self.parts = nn.ModuleDict({"network": finest.network})
        self.criterion, self.decode, self.preprocess = finest.criterion, finest.decode, finest.preprocess

    def stages(self) -> list[Stage]:
        """Return the trainings of stride 32, 16 and 8, of one network."""
        network: Any = self.parts["network"]
        return [
            Stage(name, Supervised(network.coarser(skips), self.criterion, self.decode, self.preprocess))
            for name, skips in (("stride32", 0), ("stride16", 1), ("stride8", 2))
        ]

    def predict_batch(self, batch: Batch) -> list[SemanticMap]:
        return self.decode(self.parts["network"](batch.to(self.device).images), batch.placements)


# ----------------------------------------------------------------------------------------------------------------------
# Builders

SKIPS = {
    "fcn32_vgg16": 0,
    "fcn16_vgg16": 1,
    "fcn8_vgg16": 2,
    "fcn32_resnet50": 0,
    "fcn16_resnet50": 1,
    "fcn8_resnet50": 2,
}
"""Finer maps whose scores are added."""


def fcn_vgg(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = vgg.FULL_WIDTH,
    hidden: int = 4096,
    dropout: float = 0.5,
    border: int = BORDER,
    learned: bool = True,
    size: tuple[int, int] | None = None,
    longest: int = 500,
) -> Supervised:
    """Build an FCN over VGG-16 by its name in `SKIPS`.

    Args:
        categories: the number of classes, or their names.
        width: channels of the first stage, 64 in the paper; fewer make the whole network narrower.
        hidden: channels of fc6 and fc7.
        dropout: share of their numbers that is dropped.
        border: pixels of zeros about the image, 100 in the authors' networks; with fewer, fc6 is padded by 3 instead.
        learned: whether upsampling by two is learned, or stays bilinear interpolation.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
    """
    encoder = VggEncoder(vgg.trunk("vgg16", width=width), hidden=hidden, dropout=dropout, border=border)
    for layer in encoder.head:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return fcn_model(encoder, categories, SKIPS[name], learned, Preprocess(longest=longest, exact=size))


def fcn_model(
    encoder: VggEncoder | ResNetEncoder,
    categories: int | tuple[str | None, ...],
    skips: int,
    learned: bool,
    preprocess: Preprocess,
) -> Supervised:
    """Put network, criterion, decoder and preprocessing together."""
    names = category_names(categories)
    return segmenter(fcn_network(encoder, len(names), skips=skips, learned=learned), names, preprocess)


fcn32_vgg16 = of_family(fcn_vgg, "fcn32_vgg16", "FCN-32s, VOC 2011 mIoU 59.4 (paper, table 2)")
fcn16_vgg16 = of_family(fcn_vgg, "fcn16_vgg16", "FCN-16s, VOC 2011 mIoU 62.4 (paper, table 2)")
fcn8_vgg16 = of_family(fcn_vgg, "fcn8_vgg16", "FCN-8s, 134.4 M parameters, VOC 2011 mIoU 62.7 (paper, table 2)")


def fcn_resnet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    learned: bool = True,
    size: tuple[int, int] | None = None,
    longest: int = 500,
) -> Supervised:
    """Build an FCN over ResNet-50 by its name in `SKIPS`.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        norm: of the backbone: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        learned: whether upsampling by two is learned, or stays bilinear interpolation.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
    """
    backbone = frozen_below(resnet.trunk("resnet50", norm=norm, width=width), trainable_backbone_layers)
    preprocess = Preprocess(longest=longest, exact=size, stride=32)
    return fcn_model(ResNetEncoder(backbone), categories, SKIPS[name], learned, preprocess)


fcn32_resnet50 = of_family(fcn_resnet, "fcn32_resnet50", "scores of stride 32 alone")
fcn16_resnet50 = of_family(fcn_resnet, "fcn16_resnet50", "scores of strides 32 and 16")
fcn8_resnet50 = of_family(fcn_resnet, "fcn8_resnet50", "scores of strides 32, 16 and 8")


@builder
def fcn8_resnet18(
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    norm: Norm = "batch",
    learned: bool = True,
    size: tuple[int, int] | None = None,
    longest: int = 500,
) -> Supervised:
    """Build an FCN-8s over ResNet-18, which trains from random weights on small data.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        norm: of the backbone: "batch", "frozen" or "group".
        learned: whether upsampling by two is learned, or stays bilinear interpolation.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
    """
    encoder = ResNetEncoder(resnet.trunk("resnet18", norm=norm, width=width))
    return fcn_model(encoder, categories, 2, learned, Preprocess(longest=longest, exact=size, stride=32))


fcn8_tiny = with_defaults(
    fcn8_resnet18,
    "fcn8_tiny",
    "trains in minutes on a CPU on images of 128 pixels",
    categories=7,
    width=16,
    longest=128,
)


@builder
def fcn8_coarse_to_fine_vgg16(
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = vgg.FULL_WIDTH,
    hidden: int = 4096,
    dropout: float = 0.5,
    border: int = BORDER,
    size: tuple[int, int] | None = None,
    longest: int = 500,
) -> CoarseToFine:
    """Build an FCN-8s over VGG-16 that is trained in three stages, from coarse to fine.

    Args:
        categories: the number of classes, or their names.
        width: channels of the first stage, 64 in the paper; fewer make the whole network narrower.
        hidden: channels of fc6 and fc7.
        dropout: share of their numbers that is dropped.
        border: pixels of zeros about the image, 100 in the authors' networks; with fewer, fc6 is padded by 3 instead.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
    """
    finest: Any = fcn8_vgg16(
        categories=categories,
        width=width,
        hidden=hidden,
        dropout=dropout,
        border=border,
        size=size,
        longest=longest,
    )
    return CoarseToFine(finest)


@builder
def fcn8_coarse_to_fine_tiny(
    *,
    categories: int | tuple[str | None, ...] = 7,
    width: int = 16,
    size: tuple[int, int] | None = None,
    longest: int = 128,
) -> CoarseToFine:
    """Build `fcn8_tiny`, trained in three stages, from coarse to fine.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
    """
    finest: Any = fcn8_tiny(categories=categories, width=width, size=size, longest=longest)
    return CoarseToFine(finest)
