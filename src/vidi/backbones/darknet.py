"""DarkNet-53, the classifier under YOLOv3.

Redmon & Farhadi 2018 (arXiv 1804.02767), table 1; notes 4.3.4.

    images   B 3 H W
    stem     B 32 H W            3x3 convolution, norm, leaky ReLU
    stages   B 64 H/2 W/2, B 128 H/4 W/4, B 256 H/8 W/8, B 512 H/16 W/16, B 1024 H/32 W/32
             3x3 convolution of stride 2, then 1, 2, 8, 8, 4 blocks x + F(x), F a 1x1 to half the channels and a 3x3
    head     B K                 global average, linear

53 layers have weights: 1 + 5 + 2 (1 + 2 + 8 + 8 + 4) + 1, and they are built in the order of the authors' files
(vidi.weights.darknet_files). YOLOv3 takes the maps of strides 8, 16 and 32.

Differs from the notes: the concatenation of several scales is the neck of YOLOv3, no part of this network. Differs from
the authors' code: eps is added to the variance, not to the deviation. `stem="small"`, without the first two strides, is
for images of 28 to 64 pixels.
"""

from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.near_zero_head import near_zero_head
from vidi.backbones.trunk import Backbone, Maps, Stem, initialise
from vidi.model import Supervised, builder
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer


class DarkBlock(nn.Module):
    """x + F(x) with F a 1x1 convolution to half the channels and a 3x3 back; nothing follows the sum."""

    def __init__(self, channels: int, conv: partial[ConvNorm]):
        super().__init__()
        self.conv1 = conv(channels, channels // 2)
        self.conv2 = conv(channels // 2, channels, 3)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.conv2(self.conv1(x))


class DarkNet(Backbone):
    """Images to one map per stage, finest first.

    Attributes:
        channels: of each map.
        strides: pixels of the image per pixel of each map: 2, 4, 8, ..., or 1, 1, 2, ... with the small stem.

    Raises:
        ValueError: for another stem, or a width below 1.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],  # of each stage
        *,
        width: int = 32,  # channels of the stem; each stage doubles them
        stem: Stem = "imagenet",
        slope: float | int = 0.1,  # of the leaky ReLU where it is negative
        eps: float = 1e-5,
        momentum: float = 0.1,
    ):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        if width < 1:
            raise ValueError(f"received width={width}, expected at least 1")
        norm = norm_layer("batch", eps=eps, momentum=momentum)
        conv = partial(ConvNorm, norm=norm, activation=partial(nn.LeakyReLU, slope, inplace=True))
        unstrided = 2 if stem == "small" else 0
        self.stem = conv(3, width, 3)
        self.channels = tuple(width * 2**index for index in range(1, len(blocks) + 1))
        self.strides = tuple(2 ** max(0, index - unstrided) for index in range(1, len(blocks) + 1))
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv(channels // 2, channels, 3, 1 if index < unstrided else 2),
                *(DarkBlock(channels, conv) for _ in range(count)),
            )
            for index, (channels, count) in enumerate(zip(self.channels, blocks, strict=True))
        )
        initialise(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the map of each stage."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps[1:])


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """What tells the networks of the family apart."""

    blocks: tuple[int, ...]
    slope: float = 0.1  # 0.01 in timm's weights
    eps: float = 1e-5
    momentum: float = 0.1


VARIANTS: dict[str, Variant] = {"darknet53": Variant((1, 2, 8, 8, 4))}


def trunk(
    name: str = "darknet53", *, stem: Stem = "imagenet", width: int = 32, slope: float | int | None = None
) -> DarkNet:
    """Return a network of the family without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 1, 2, 4, 8).
        width: channels of the stem, 32 in the paper; less makes the whole network narrower.
        slope: of the leaky ReLU; the variant's if None.

    Raises:
        ValueError: for an unknown name or stem, or a width below 1.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    return DarkNet(
        variant.blocks,
        width=width,
        stem=stem,
        slope=variant.slope if slope is None else slope,
        eps=variant.eps,
        momentum=variant.momentum,
    )


@builder
def darknet53(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: int = 32,
    slope: float | int = 0.1,
    smoothing: float | int = 0.0,
) -> Supervised:
    """Build DarkNet-53: 41.6 M parameters, ImageNet top-1 77.2 % (paper, table 2).

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 256 x 256.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: channels of the stem, 32 in the paper; less makes the whole network narrower.
        slope: of the leaky ReLU.
        smoothing: of the labels, in [0, 1).
    """
    # the authors' networks take pixels in [0, 1]
    preprocess = image_preprocess(size, shorter=256, crop=256, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    backbone = trunk(stem=stem, width=width, slope=slope)
    return supervised_classifier(backbone, categories, preprocess, head=near_zero_head, smoothing=smoothing)
