"""EfficientNet B0 to B7, and Lite0 to Lite4 for phones.

Tan & Le 2019 (arXiv 1905.11946), table 1; notes 2.7. Lite: github.com/tensorflow/tpu, official/efficientnet/lite.

    images   B 3 H W             224 x 224 for B0 to 600 x 600 for B7
    stem     B 32 H/2 W/2        3x3 convolution of stride 2, norm, SiLU
    stages   B 16 H/2 W/2, B 24 H/4 W/4, B 40 H/8 W/8, B 80 and B 112 H/16 W/16, B 192 and B 320 H/32 W/32
             MBConv blocks (vidi.backbones.inverted_residual); channels and depths of B0, the others multiply them
    head     B 1280 H/32 W/32    1x1 convolution, norm, SiLU; then global average, dropout, linear: B K

Lite leaves out squeeze-and-excitation, has ReLU6 for SiLU, and scales neither stem, head nor the depth of the first and
the last stage.

Differs from the notes: B0 was not searched for from MobileNet but in the space of MnasNet (MBConv blocks with
squeeze-and-excitation), for accuracy and multiply-adds together. Differs from the paper: the batch norms of B0 to B4
are torchvision's (eps 1e-5, momentum 0.1), unless `tensorflow=True` asks for those of the authors' code. Lite starts
with weights of the same distribution as B0. `stem="small"`, without the first two strides, is for images of 28 to 64
pixels.
"""

from dataclasses import dataclass, replace

from torch import nn

from vidi.backbones.classifier import GlobalAverageHead, image_preprocess, supervised_classifier
from vidi.backbones.inverted_residual import InvertedResidualTrunk, Stage
from vidi.backbones.scaling import EFFICIENTNET, CompoundConstants, round_channels, round_repeats
from vidi.backbones.trunk import Stem, initialise
from vidi.model import Supervised, builder, of_family
from vidi.nn.convolution import Activation, ConvNorm, SamePaddedConv2d
from vidi.nn.normalization import NormLayer, norm_layer
from vidi.preprocess import IMAGENET_MEAN, IMAGENET_STD

STEM_WIDTH = 32
HEAD_WIDTH = 1280
STAGES = (  # of B0: t, c, n, s, k
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
SE_RATIO = 0.25  # of the channels of a block's input
STOCHASTIC_DEPTH = 0.2
CROP_PADDING = 32  # the evaluated square has this many pixels less than the resized image's shorter side
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3


@dataclass(frozen=True)
class Variant:
    """What tells the networks of the family apart."""

    width: float | int  # multiplies channels
    depth: float | int  # multiplies repeats
    resolution: int  # side of the images
    dropout: float
    eps: float = 1e-5
    momentum: float = 0.1
    lite: bool = False


VARIANTS: dict[str, Variant] = {
    # multipliers of the authors' code, norms of torchvision and, for Lite, of timm
    "efficientnet_b0": Variant(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Variant(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Variant(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Variant(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Variant(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Variant(1.6, 2.2, 456, 0.4, eps=1e-3, momentum=0.01),
    "efficientnet_b6": Variant(1.8, 2.6, 528, 0.5, eps=1e-3, momentum=0.01),
    "efficientnet_b7": Variant(2.0, 3.1, 600, 0.5, eps=1e-3, momentum=0.01),
    "efficientnet_lite0": Variant(1.0, 1.0, 224, 0.2, lite=True),
    "efficientnet_lite1": Variant(1.0, 1.1, 240, 0.2, lite=True),
    "efficientnet_lite2": Variant(1.1, 1.2, 260, 0.3, lite=True),
    "efficientnet_lite3": Variant(1.2, 1.4, 280, 0.3, lite=True),
    "efficientnet_lite4": Variant(1.4, 1.8, 300, 0.3, lite=True),
}
TENSORFLOW_EPS = 1e-3  # of the norms of all variants in the authors' code
TENSORFLOW_MOMENTUM = 0.01


def scaled_stages(variant: Variant) -> list[Stage]:
    """Return the stages of B0 with channels and repeats multiplied; Lite leaves the repeats of first and last."""
    last = len(STAGES) - 1
    fixed = (0, last) if variant.lite else ()
    return [
        stage._replace(
            channels=round_channels(stage.channels * variant.width),
            repeats=stage.repeats if index in fixed else round_repeats(stage.repeats * variant.depth),
        )
        for index, stage in enumerate(STAGES)
    ]


def trunk(
    name: str,
    *,
    stem: Stem = "imagenet",
    width: float | int = 1.0,
    tensorflow: bool = False,
    drop: float | int = STOCHASTIC_DEPTH,
    coarsest: int = 32,
) -> InvertedResidualTrunk:
    """Return a network of the family without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        width: multiplies all channels once more; 1 is the paper's.
        tensorflow: pad and normalise as the authors' code does, which weights converted from it need.
        drop: probability with which stochastic depth leaves out the last branch of an image in training; earlier ones
            linearly less.
        coarsest: the largest stride of a map; stages that would go below it dilate.

    Raises:
        ValueError: for an unknown name or stem, or a width that is not positive.
    """
    return trunk_of(_variant(name, width), stem=stem, tensorflow=tensorflow, drop=drop, coarsest=coarsest)


def trunk_of(
    variant: Variant, *, stem: Stem, tensorflow: bool, drop: float | int, coarsest: int = 32
) -> InvertedResidualTrunk:
    """Return the network of a variant without its head; see `trunk`."""
    return InvertedResidualTrunk(
        STEM_WIDTH if variant.lite else round_channels(STEM_WIDTH * variant.width),
        scaled_stages(variant),
        norm=_norm(variant, tensorflow),
        activation=_activation(variant),
        stem=stem,
        coarsest=coarsest,
        se_ratio=None if variant.lite else SE_RATIO,
        drop=drop,
        conv=SamePaddedConv2d if tensorflow else nn.Conv2d,
    )


def classifier_of(
    variant: Variant,
    categories: int | tuple[str | None, ...],
    size: tuple[int, int] | None,
    stem: Stem,
    tensorflow: bool,
    drop: float | int,
    dropout: float | int | None,
    smoothing: float | int,
) -> Supervised:
    """Return the classifier of a variant; see the builders."""
    backbone = trunk_of(variant, stem=stem, tensorflow=tensorflow, drop=drop)
    features = HEAD_WIDTH if variant.lite else round_channels(HEAD_WIDTH * variant.width)

    def head(channels: int, outputs: int) -> GlobalAverageHead:
        before = ConvNorm(channels, features, norm=_norm(variant, tensorflow), activation=_activation(variant))
        initialise(before)
        rate = variant.dropout if dropout is None else dropout
        made = GlobalAverageHead(features, outputs, before=before, dropout=rate)
        nn.init.uniform_(made.linear.weight, -(outputs**-0.5), outputs**-0.5)
        nn.init.zeros_(made.linear.bias)
        return made

    # Lite takes pixels to [-1, 1], so that a phone need not know the statistics of ImageNet
    mean, std = (LITE_MEAN, LITE_STD) if variant.lite else (IMAGENET_MEAN, IMAGENET_STD)
    crop = variant.resolution
    preprocess = image_preprocess(
        size, shorter=crop + CROP_PADDING, crop=crop, interpolation="bicubic", mean=mean, std=std
    )
    return supervised_classifier(backbone, categories, preprocess, head=head, smoothing=smoothing)


def _variant(name: str, width: float | int) -> Variant:
    """Return a variant whose channels are multiplied once more."""
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    return replace(VARIANTS[name], width=VARIANTS[name].width * width)


def _norm(variant: Variant, tensorflow: bool) -> NormLayer:
    if tensorflow:
        return norm_layer("batch", eps=TENSORFLOW_EPS, momentum=TENSORFLOW_MOMENTUM)
    return norm_layer("batch", eps=variant.eps, momentum=variant.momentum)


def _activation(variant: Variant) -> Activation:
    return nn.ReLU6 if variant.lite else nn.SiLU


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def efficientnet_compound(
    *,
    phi: float | int = 1.0,
    alpha: float | int = EFFICIENTNET.alpha,
    beta: float | int = EFFICIENTNET.beta,
    gamma: float | int = EFFICIENTNET.gamma,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: float | int = 1.0,
    tensorflow: bool = False,
    drop: float | int = STOCHASTIC_DEPTH,
    dropout: float | int | None = None,
    smoothing: float | int = 0.0,
) -> Supervised:
    """Build B0 scaled by the paper's rule, equation 3: depth alpha^phi, width beta^phi, resolution gamma^phi.

    Args:
        phi: how far B0 is scaled; 0 leaves it.
        alpha, beta, gamma: bases of depth, width and resolution.
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the resolution of the paper, cut out of the centre.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: multiplies all channels once more; 1 is the paper's.
        tensorflow: pad and normalise as the authors' code does, which weights converted from it need.
        drop: probability with which stochastic depth leaves out the last branch of an image in training; earlier ones
            linearly less.
        dropout: of the averages; None: the paper's.
        smoothing: of the labels, in [0, 1).
    """
    baseline, by = VARIANTS["efficientnet_b0"], CompoundConstants(alpha, beta, gamma).multipliers(phi)
    variant = replace(baseline, depth=by.depth, width=by.width * width, resolution=by.side(baseline.resolution))
    return classifier_of(variant, categories, size, stem, tensorflow, drop, dropout, smoothing)


def efficientnet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: float | int = 1.0,
    tensorflow: bool = False,
    drop: float | int = STOCHASTIC_DEPTH,
    dropout: float | int | None = None,
    smoothing: float | int = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `VARIANTS`.

    Scores on ImageNet are those of torchvision's first weights; of Lite, those of the authors' table.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the resolution of the paper, cut out of the centre.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: multiplies all channels once more; 1 is the paper's.
        tensorflow: pad and normalise as the authors' code does, which weights converted from it need.
        drop: probability with which stochastic depth leaves out the last branch of an image in training; earlier ones
            linearly less.
        dropout: of the averages; None: the paper's.
        smoothing: of the labels, in [0, 1).
    """
    return classifier_of(_variant(name, width), categories, size, stem, tensorflow, drop, dropout, smoothing)


efficientnet_b0 = of_family(efficientnet, "efficientnet_b0", "5.3 M parameters, ImageNet top-1 77.7 %")
efficientnet_b1 = of_family(efficientnet, "efficientnet_b1", "7.8 M parameters, ImageNet top-1 78.6 %")
efficientnet_b2 = of_family(efficientnet, "efficientnet_b2", "9.1 M parameters, ImageNet top-1 80.6 %")
efficientnet_b3 = of_family(efficientnet, "efficientnet_b3", "12.2 M parameters, ImageNet top-1 82.0 %")
efficientnet_b4 = of_family(efficientnet, "efficientnet_b4", "19.3 M parameters, ImageNet top-1 83.4 %")
efficientnet_b5 = of_family(efficientnet, "efficientnet_b5", "30.4 M parameters, ImageNet top-1 83.4 %")
efficientnet_b6 = of_family(efficientnet, "efficientnet_b6", "43.0 M parameters, ImageNet top-1 84.0 %")
efficientnet_b7 = of_family(efficientnet, "efficientnet_b7", "66.3 M parameters, ImageNet top-1 84.1 %")
efficientnet_lite0 = of_family(
    efficientnet, "efficientnet_lite0", "4.7 M parameters, ImageNet top-1 75.1 %", tensorflow=True
)
efficientnet_lite1 = of_family(
    efficientnet, "efficientnet_lite1", "5.4 M parameters, ImageNet top-1 76.7 %", tensorflow=True
)
efficientnet_lite2 = of_family(
    efficientnet, "efficientnet_lite2", "6.1 M parameters, ImageNet top-1 77.6 %", tensorflow=True
)
efficientnet_lite3 = of_family(
    efficientnet, "efficientnet_lite3", "8.2 M parameters, ImageNet top-1 79.8 %", tensorflow=True
)
efficientnet_lite4 = of_family(
    efficientnet, "efficientnet_lite4", "13.0 M parameters, ImageNet top-1 81.5 %", tensorflow=True
)
