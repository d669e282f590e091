"""U-Net: down to a coarse map and up again, with the map of each level beside the one that comes from below.

Ronneberger, Fischer, Brox 2015, arXiv 1505.04597; notes 5.1.4.

    image    B 3 H W
    down     at each of five levels two 3x3 convolutions, then a max pool by two:  64, 128, 256, 512, 1024 channels
    up       a 2x2 transposed convolution by two to half the channels, the level's own map beside it, two convolutions
    scores   1x1 to K classes

`unet` is the paper's: convolutions without padding, 572 pixels in and 388 out, maps cut to the smaller one, and the
image mirrored beyond its border, whole or in overlapping tiles. The others pad, keep the size and have norms.

Differs from the paper: cross-entropy without the weights that keep touching cells apart; these need instances.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import initialise
from vidi.model import Supervised, builder, with_defaults
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, NormLayer, norm_layer
from vidi.ops.tiling import in_tiles
from vidi.preprocess import Preprocess
from vidi.results.categories import category_names
from vidi.segmentation.semantic import SemanticOutputs, segmenter

LEVELS = 5


def two_convolutions(in_channels: int, channels: int, norm: NormLayer | None) -> nn.Sequential:
    """Return two 3x3 convolutions with ReLU: unpadded ones with a bias, or, with a norm, padded ones."""
    if norm is not None:
        return nn.Sequential(ConvNorm(in_channels, channels, 3, norm=norm), ConvNorm(channels, channels, 3, norm=norm))
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3),
        nn.ReLU(inplace=True),
    )


def centre_of(x: Float[Tensor, "B C _ _"], like: Tensor) -> Float[Tensor, "B C h w"]:
    """Cut the centre out of a map, of the size of another."""
    top, left = (x.shape[2] - like.shape[2]) // 2, (x.shape[3] - like.shape[3]) // 2
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]


class UNet(nn.Module):
    """Five levels down and up."""

    def __init__(self, outputs: int, *, in_channels: int = 3, width: int = 64, norm: NormLayer | None = None):
        super().__init__()
        if width < 1:
            raise ValueError(f"received width={width}, expected at least 1 channel")
        channels = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            two_convolutions(before, own, norm)
            for before, own in zip([in_channels, *channels[:-1]], channels, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        upwards = channels[::-1]
        pairs = list(pairwise(upwards))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, own, 2, 2) for below, own in pairs)
        self.merge = nn.ModuleList(two_convolutions(2 * own, own, norm) for _, own in pairs)
        self.score = nn.Conv2d(width, outputs, 1)
        initialise(self)

    def forward(self, images: Float[Tensor, "B C H W"]) -> SemanticOutputs:
        x, maps = images, []
        for level, convolutions in enumerate(self.down):
            x = convolutions(x if level == 0 else self.pool(x))
            maps.append(x)
        for up, merge, own in zip(self.up, self.merge, maps[-2::-1], strict=True):
            x = up(x)
            x = merge(torch.cat((centre_of(own, x), x), 1))
        return SemanticOutputs(self.score(x))


STRIDE = 2 ** (LEVELS - 1)
MARGIN = (92, 96)  # pixels before and behind a tile of a multiple of 16 pixels: 384 need 572


class MirroredUNet(nn.Module):
    """The unpadded network on an image that is mirrored beyond its border, so that each of its pixels has a score.

    Args:
        unet: without padding.
        tile: pixels a side of the tiles in which an image is looked at, a multiple of 16; 0: the whole at once, as in
            training.

    Raises:
        ValueError: for another `tile`.
    """

    def __init__(self, unet: UNet, *, tile: int):
        super().__init__()
        if tile < 0 or tile % STRIDE:
            raise ValueError(f"received tile={tile}, expected a multiple of {STRIDE}, or 0 for the whole image")
        self.unet, self.tile = unet, tile

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SemanticOutputs:
        H, W = (-(-side // STRIDE) * STRIDE for side in images.shape[2:])
        size = (self.tile, self.tile) if self.tile and not self.training else (H, W)
        return SemanticOutputs(in_tiles(lambda window: self.unet(window).logits, images, size=size, margin=MARGIN))


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def unet(
    *,
    categories: int | tuple[str | None, ...] = 2,
    width: int = 64,
    tile: int = 384,
    size: tuple[int, int] | None = None,
    longest: int | None = None,
) -> Supervised:
    """Build the paper's U-Net, for pictures in colour: 31.0 M parameters.

    Args:
        categories: the number of classes, or their names.
        width: channels of the first level, 64 in the paper; fewer make the whole network narrower.
        tile: pixels a side of the tiles in which a picture is looked at, a multiple of 16; 384 need windows of the
            paper's 572; 0: the whole picture at once, as in training.
        size: (H, W) that every image is resized to; None: see `longest`.
        longest: pixels of the longer side; None keeps the picture's own.
    """
    names = category_names(categories)
    network = MirroredUNet(UNet(len(names), width=width), tile=tile)
    return segmenter(network, names, Preprocess(longest=longest, exact=size))


@builder
def unet_same(
    *,
    categories: int | tuple[str | None, ...] = 2,
    width: int = 64,
    norm: Norm = "batch",
    size: tuple[int, int] | None = None,
    longest: int | None = None,
) -> Supervised:
    """Build the U-Net of today: padded convolutions with norms, which keep the size.

    Args:
        categories: the number of classes, or their names.
        width: channels of the first level, 64 in the paper; fewer make the whole network narrower.
        norm: "batch", "frozen" or "group".
        size: (H, W) that every image is resized to; None: see `longest`.
        longest: pixels of the longer side; None keeps the picture's own.
    """
    names = category_names(categories)
    network = UNet(len(names), width=width, norm=norm_layer(norm))
    return segmenter(network, names, Preprocess(longest=longest, exact=size, stride=STRIDE))


unet_small = with_defaults(unet_same, "unet_small", "a quarter as wide, trains from random weights on a CPU", width=16)
unet_tiny = with_defaults(
    unet_same, "unet_tiny", "trains in minutes on a CPU on images of 128 pixels", categories=7, width=16, longest=128
)
