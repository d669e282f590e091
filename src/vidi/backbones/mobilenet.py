"""MobileNetV2: inverted residual blocks with linear bottlenecks.

Sandler et al. 2018 (arXiv 1801.04381), table 2; notes 2.5, table 2.1.

    images   B 3 H W
    stem     B 32 H/2 W/2        3x3 convolution of stride 2, norm, ReLU6
    stages   B 16 H/2 W/2, B 24 H/4 W/4, B 32 H/8 W/8, B 64 and B 96 H/16 W/16, B 160 and B 320 H/32 W/32
    head     B 1280 H/32 W/32    1x1 convolution, norm, ReLU6
             B K                 global average, dropout, linear

Differs from the paper: dropout of 0.2 before the linear layer, which its training code has. `stem="small"`, without the
first two strides, is for images of 28 to 64 pixels.
"""

from functools import partial

from torch import nn

from vidi.backbones.classifier import GlobalAverageHead, image_preprocess, supervised_classifier
from vidi.backbones.inverted_residual import InvertedResidualTrunk, Stage
from vidi.backbones.near_zero_head import near_zero_head
from vidi.backbones.scaling import round_channels
from vidi.backbones.trunk import Stem, initialise
from vidi.model import Supervised, builder
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer

STEM_WIDTH = 32
HEAD_WIDTH = 1280
STAGES = (  # t, c, n, s
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
NORM = norm_layer("batch", eps=1e-5, momentum=0.1)


def trunk(*, stem: Stem = "imagenet", width: float | int = 1.0, coarsest: int = 32) -> InvertedResidualTrunk:
    """Return MobileNetV2 without its head, for other systems to build on.

    Args:
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        width: multiplies all channels, which are then rounded to multiples of 8.
        coarsest: the largest stride of a map; stages that would go below it dilate.

    Raises:
        ValueError: for another stem, or a width that is not positive.
    """
    stages = [stage._replace(channels=round_channels(stage.channels * width)) for stage in STAGES]
    return InvertedResidualTrunk(
        round_channels(STEM_WIDTH * width), stages, norm=NORM, activation=nn.ReLU6, stem=stem, coarsest=coarsest
    )


def wide_head(channels: int, outputs: int, *, width: float | int, dropout: float | int) -> GlobalAverageHead:
    """Return the head: 1280 channels, or more if the network is widened, but never fewer (paper, section 5)."""
    features = round_channels(HEAD_WIDTH * max(1.0, width))
    before = ConvNorm(channels, features, norm=NORM, activation=nn.ReLU6)
    initialise(before)
    return near_zero_head(features, outputs, before=before, dropout=dropout)


@builder
def mobilenet_v2(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: float | int = 1.0,
    dropout: float | int = 0.2,
    smoothing: float | int = 0.0,
) -> Supervised:
    """Build MobileNetV2: 3.5 M parameters, ImageNet top-1 71.9 % with torchvision's first weights.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: multiplies all channels, which are then rounded to multiples of 8.
        dropout: of the averages.
        smoothing: of the labels, in [0, 1).
    """
    head = partial(wide_head, width=width, dropout=dropout)
    backbone = trunk(stem=stem, width=width)
    return supervised_classifier(backbone, categories, image_preprocess(size), head=head, smoothing=smoothing)
