"""AnyNet, the space of networks that RegNet was found in, and RegNetX and RegNetY.

Radosavovic et al. 2020 (arXiv 2003.13678), notes 2.8.

    images   B 3 H W
    stem     B 32 H/2 W/2       3x3 convolution of stride 2, norm, ReLU
    body     B w_i H/2^(i+1)    four stages of d_i bottleneck blocks; the first block of each has stride 2
             block: 1x1 to w_i / b_i channels, 3x3 in groups of g_i channels, (Y: squeeze-and-excitation), 1x1 to w_i
    head     B K                global average, linear (vidi.backbones.classifier)

AnyNet has 16 free numbers, (d_i, w_i, g_i, b_i) of four stages. RegNet has six: its widths are a straight line over the
blocks, u_j = w_0 + w_a j, rounded to powers of w_m (paper, equations 2 to 4), and g and b are the same everywhere.

Differs from the notes: g_i is not the number of groups but their *width*, channels per group; the number of groups is
w_i / b_i / g_i. Differs from the paper: a width in the middle between two multiples of g_i gets the larger, as in
torchvision, so that RegNetX-400MF, RegNetY-800MF and RegNetY-8GF are a little wider. `stem="small"`, without the first
two strides, is for images of 28 to 64 pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.near_zero_head import near_zero_head
from vidi.backbones.resnet import Projection
from vidi.backbones.scaling import round_channels
from vidi.backbones.trunk import Backbone, Maps, Stem, initialise
from vidi.model import Supervised, builder, of_family
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import NormLayer, norm_layer
from vidi.nn.squeeze_excitation import SqueezeExcitation

# ----------------------------------------------------------------------------------------------------------------------
# Network


class Stages(NamedTuple):
    """The numbers of each stage, as `AnyNet` takes them."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    bottlenecks: tuple[int, ...]


class RegNetBlock(nn.Module):
    """relu(F(x) + skip(x)) with F a 1x1, a grouped 3x3 and a 1x1 convolution (paper, figure 4)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        group_width: int,  # channels per group of the 3x3
        bottleneck: int,  # channels of the block per channel of the 3x3
        se_ratio: float | int | None,  # squeezed channels per channel of the input; None: no squeeze-and-excitation
        norm: NormLayer,
    ):
        super().__init__()
        inner = channels // bottleneck
        same = stride == 1 and in_channels == channels
        self.skip = nn.Identity() if same else Projection(in_channels, channels, stride, norm)
        self.conv1 = ConvNorm(in_channels, inner, norm=norm)
        self.conv2 = ConvNorm(inner, inner, 3, stride, norm=norm, groups=inner // group_width)
        self.se = SqueezeExcitation(inner, max(1, round(se_ratio * in_channels))) if se_ratio else nn.Identity()
        self.conv3 = ConvNorm(inner, channels, norm=norm, activation=nn.Identity)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        branch = self.conv3(self.se(self.conv2(self.conv1(x))))
        return F.relu(branch + self.skip(x), inplace=True)


class AnyNet(Backbone):
    """Stem and body of any network of the space: images to one map per stage, finest first; any number of stages.

    Attributes:
        channels: of each map.
        strides: pixels of the image per pixel of each map: 4, 8, 16, 32, or 1, 2, 4, 8 with the small stem.

    Raises:
        ValueError: if the lists are empty or of unequal length, a number is below 1, or a width is not a multiple of
            its bottleneck ratio and group width; `compatible_widths` makes it one.
    """

    def __init__(
        self,
        depths: Sequence[int],  # d_i: blocks of each stage
        widths: Sequence[int],  # w_i: channels of each stage
        group_widths: Sequence[int],  # g_i: channels per group of the 3x3 convolutions
        bottlenecks: Sequence[int],  # b_i: the 3x3 convolutions have w_i / b_i channels
        *,
        se_ratio: float | int | None = None,  # 0.25 in RegNetY; None: without squeeze-and-excitation
        stem: Stem = "imagenet",
        stem_width: int = 32,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ):
        super().__init__()
        numbers = Stages(tuple(depths), tuple(widths), tuple(group_widths), tuple(bottlenecks))
        _check(numbers)
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        norm = norm_layer("batch", eps=eps, momentum=momentum)
        imagenet = stem == "imagenet"
        self.stem = ConvNorm(3, stem_width, 3, 2 if imagenet else 1, norm=norm)
        stages: list[nn.Sequential] = []
        in_channels = stem_width
        for depth, width, group_width, bottleneck in zip(*numbers, strict=True):
            block = partial(RegNetBlock, group_width=group_width, bottleneck=bottleneck, se_ratio=se_ratio, norm=norm)
            stride = 2 if imagenet or stages else 1
            first = block(in_channels, width, stride=stride)
            stages.append(nn.Sequential(first, *(block(width, width, stride=1) for _ in range(1, depth))))
            in_channels = width
        self.stages = nn.ModuleList(stages)
        self.channels = numbers.widths
        self.strides = tuple((4 if imagenet else 1) * 2**index for index in range(len(stages)))
        initialise(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the map of each stage."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps[1:])


def _check(stages: Stages) -> None:
    if len({len(numbers) for numbers in stages}) != 1 or not all(numbers and min(numbers) > 0 for numbers in stages):
        raise ValueError(f"received {stages}, expected for every stage one number of each kind, at least 1")
    for _, width, group_width, bottleneck in zip(*stages, strict=True):
        if width % (bottleneck * group_width):
            raise ValueError(
                f"received a width of {width}, expected a multiple of {bottleneck} x {group_width}, the bottleneck "
                "ratio times the group width; see compatible_widths"
            )


# ----------------------------------------------------------------------------------------------------------------------
# From few numbers to many


def compatible_widths(
    widths: Sequence[int], group_widths: Sequence[int], bottlenecks: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Round the widths of stages so that each 3x3 convolution splits into whole groups.

    A group gets at most all inner channels; then w_i / b_i is rounded to the nearest multiple of g_i, or the one above
    if that would take away more than a tenth.

    Args:
        widths, group_widths, bottlenecks: w_i (at least b_i), g_i, b_i; see `AnyNet`.

    Returns:
        Widths and group widths.
    """
    inner = [width // bottleneck for width, bottleneck in zip(widths, bottlenecks, strict=True)]
    groups = tuple(min(pair) for pair in zip(group_widths, inner, strict=True))
    whole = [round_channels(width, group_width) for width, group_width in zip(inner, groups, strict=True)]
    return tuple(width * bottleneck for width, bottleneck in zip(whole, bottlenecks, strict=True)), groups


def regnet_stages(
    depth: int, w_0: int, w_a: float | int, w_m: float | int, group_width: int, bottleneck: int = 1
) -> Stages:
    """Return the stages of a RegNet: runs of equal width among quantised linear widths (paper, equations 2 to 4).

    Args:
        depth: blocks in all.
        w_0: width of the first block, a multiple of 8.
        w_a: slope of the widths, at least 0.
        w_m: widths become w_0 times a power of this, rounded to multiples of 8; above 1.
        group_width: channels per group.
        bottleneck: channels of a block per channel of its 3x3 convolution.

    Raises:
        ValueError: for numbers outside these ranges.
    """
    if min(depth, group_width, bottleneck) < 1 or w_0 < 8 or w_0 % 8 or w_a < 0 or w_m <= 1:
        raise ValueError(
            f"received depth={depth}, w_0={w_0}, w_a={w_a}, w_m={w_m}, group_width={group_width}, bottleneck="
            f"{bottleneck}; expected w_0 a multiple of 8, w_a >= 0, w_m > 1 and the others at least 1"
        )
    linear = [w_0 + w_a * index for index in range(depth)]  # u_j, equation 2
    powers = [round(math.log(width / w_0) / math.log(w_m)) for width in linear]  # s_j, equation 3
    quantised = [round(w_0 * w_m**power / 8) * 8 for power in powers]  # w_j, equation 4
    runs = [(width, len(list(run))) for width, run in groupby(quantised)]
    bottlenecks = (bottleneck,) * len(runs)
    widths, group_widths = compatible_widths([width for width, _ in runs], (group_width,) * len(runs), bottlenecks)
    return Stages(tuple(count for _, count in runs), widths, group_widths, bottlenecks)


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """The six numbers of a RegNet (the bottleneck ratio is 1 in all of them), and those of its norms."""

    depth: int
    w_0: int
    w_a: float
    w_m: float
    group_width: int
    se_ratio: float | None = None
    eps: float = 1e-5
    momentum: float = 0.1


VARIANTS: dict[str, Variant] = {
    # paper, section 5, with the digits of the authors' configurations
    "regnet_x_400mf": Variant(22, 24, 24.48, 2.54, 16),
    "regnet_x_800mf": Variant(16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": Variant(18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": Variant(25, 88, 26.31, 2.25, 48),
    "regnet_x_8gf": Variant(23, 80, 49.56, 2.88, 120),
    "regnet_x_16gf": Variant(22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": Variant(23, 320, 69.86, 2.0, 168),
    "regnet_y_400mf": Variant(16, 48, 27.89, 2.09, 8, 0.25),
    "regnet_y_800mf": Variant(14, 56, 38.84, 2.4, 16, 0.25),
    "regnet_y_1_6gf": Variant(27, 48, 20.71, 2.65, 24, 0.25),
    "regnet_y_3_2gf": Variant(21, 80, 42.63, 2.66, 24, 0.25),
    "regnet_y_8gf": Variant(17, 192, 76.82, 2.19, 56, 0.25),
    "regnet_y_16gf": Variant(18, 200, 106.23, 2.48, 112, 0.25),
    "regnet_y_32gf": Variant(20, 232, 115.89, 2.53, 232, 0.25),
    "regnet_y_128gf": Variant(27, 456, 160.83, 2.52, 264, 0.25),  # Singh et al. 2022 (arXiv 2201.08371)
}


def trunk(name: str, *, stem: Stem = "imagenet", width: float | int = 1.0) -> AnyNet:
    """Return a RegNet without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        width: multiplies the channels of all stages; 1 is the paper's.

    Raises:
        ValueError: for an unknown name or stem, or a width that is not positive.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    v = VARIANTS[name]
    stages = regnet_stages(v.depth, v.w_0, v.w_a, v.w_m, v.group_width)
    scaled = [round_channels(channels * width) for channels in stages.widths]
    widths, group_widths = compatible_widths(scaled, stages.group_widths, stages.bottlenecks)
    stages = stages._replace(widths=widths, group_widths=group_widths)
    return AnyNet(*stages, se_ratio=v.se_ratio, stem=stem, eps=v.eps, momentum=v.momentum)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def anynet(
    *,
    categories: int | tuple[str | None, ...] = 10,
    size: tuple[int, int] = (32, 32),
    depths: tuple[int, ...] = (1, 1, 2, 2),
    widths: tuple[int, ...] = (16, 32, 64, 128),
    group_widths: tuple[int, ...] = (8, 8, 8, 8),
    bottlenecks: tuple[int, ...] = (1, 1, 1, 1),
    se_ratio: float | int | None = None,
    stem: Stem = "small",
    stem_width: int = 32,
    smoothing: float | int = 0.0,
) -> Supervised:
    """Build any network of the space from the numbers of its stages, a small one for small images by default.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to.
        depths: blocks of each stage.
        widths: channels of each stage.
        group_widths: channels of a group in each stage.
        bottlenecks: channels of each stage over those of its 3x3 convolutions.
        se_ratio: channels of squeeze-and-excitation over those of a block's input; None: without.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        stem_width: channels of the stem.
        smoothing: of the labels, in [0, 1).
    """
    backbone = AnyNet(depths, widths, group_widths, bottlenecks, se_ratio=se_ratio, stem=stem, stem_width=stem_width)
    return supervised_classifier(backbone, categories, image_preprocess(size), head=near_zero_head, smoothing=smoothing)


def regnet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: float | int = 1.0,
    smoothing: float | int = 0.0,
) -> Supervised:
    """Build a RegNet by its name in `VARIANTS`.

    Scores on ImageNet are those of torchvision's first weights where nothing else is said.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: multiplies the channels of all stages; 1 is the paper's.
        smoothing: of the labels, in [0, 1).
    """
    backbone = trunk(name, stem=stem, width=width)
    return supervised_classifier(backbone, categories, image_preprocess(size), head=near_zero_head, smoothing=smoothing)


regnet_x_400mf = of_family(regnet, "regnet_x_400mf", "5.5 M parameters, ImageNet top-1 72.8 %")
regnet_x_800mf = of_family(regnet, "regnet_x_800mf", "7.3 M parameters, ImageNet top-1 75.2 %")
regnet_x_1_6gf = of_family(regnet, "regnet_x_1_6gf", "9.2 M parameters, ImageNet top-1 77.0 %")
regnet_x_3_2gf = of_family(regnet, "regnet_x_3_2gf", "15.3 M parameters, ImageNet top-1 78.4 %")
regnet_x_8gf = of_family(regnet, "regnet_x_8gf", "39.6 M parameters, ImageNet top-1 79.3 %")
regnet_x_16gf = of_family(regnet, "regnet_x_16gf", "54.3 M parameters, ImageNet top-1 80.1 %")
regnet_x_32gf = of_family(regnet, "regnet_x_32gf", "107.8 M parameters, ImageNet top-1 80.6 %")
regnet_y_400mf = of_family(regnet, "regnet_y_400mf", "4.3 M parameters, ImageNet top-1 74.0 %")
regnet_y_800mf = of_family(regnet, "regnet_y_800mf", "6.4 M parameters, ImageNet top-1 76.4 %")
regnet_y_1_6gf = of_family(regnet, "regnet_y_1_6gf", "11.2 M parameters, ImageNet top-1 78.0 %")
regnet_y_3_2gf = of_family(regnet, "regnet_y_3_2gf", "19.4 M parameters, ImageNet top-1 78.9 %")
regnet_y_8gf = of_family(regnet, "regnet_y_8gf", "39.4 M parameters, ImageNet top-1 80.0 %")
regnet_y_16gf = of_family(regnet, "regnet_y_16gf", "83.6 M parameters, ImageNet top-1 80.4 %")
regnet_y_32gf = of_family(regnet, "regnet_y_32gf", "145.0 M parameters, ImageNet top-1 80.9 %")
regnet_y_128gf = of_family(
    regnet, "regnet_y_128gf", "644.8 M parameters, ImageNet top-1 88.2 % at 384 pixels with SWAG's weights"
)
