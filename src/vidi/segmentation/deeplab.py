"""DeepLab v2 and v3: over the map of a dilated ResNet, an atrous pyramid that looks at several scales of it at once.

v2: Chen et al. 2018, arXiv 1606.00915; v3: Chen et al. 2017, arXiv 1706.05587; notes 5.1.5, 5.A.

    image      B 3 H W
    C5         of stride 8 or 16
    v2         3x3 convolutions to K classes at rates 6, 12, 18, 24, summed
    v3         1x1, three 3x3 at rates 6, 12, 18 (at stride 16; doubled at 8), and the mean of the map: D channels each,
               side by side; 1x1 to D, 3x3, 1x1 to K classes
    upsampled  bilinearly to the image -> B K H W

Differs from the notes: v2 sums its branches (`fusion="concat"` is the notes' form).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.detection.options import frozen_below
from vidi.model import Predicts, Stage, Staged, Supervised, builder, of_family
from vidi.nn.convolution import ConvNorm, SeparableConv2d
from vidi.nn.normalization import Norm, NormLayer
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import category_names
from vidi.results.semantic_map import SemanticMap
from vidi.segmentation.dilated import DilatedSegmenter, OutputStride, dilated_trunk, with_auxiliary
from vidi.segmentation.semantic import VOC_CLASSES, segmenter

Fusion = Literal["sum", "concat"]

RATES = (6, 12, 18)  # of the 3x3 convolutions, for maps of stride 16

# ----------------------------------------------------------------------------------------------------------------------
# Heads


class ScorePyramid(nn.Module):
    """The atrous pyramid of v2: a convolution at each rate, summed as scores, or side by side and mixed."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        rates: Sequence[int] = (6, 12, 18, 24),
        fusion: Fusion = "sum",
        width: int = 256,
    ):
        super().__init__()
        if fusion not in ("sum", "concat"):
            raise ValueError(f"received fusion={fusion!r}, expected 'sum' or 'concat'")
        own = outputs if fusion == "sum" else width
        self.branches = nn.ModuleList(nn.Conv2d(channels, own, 3, padding=rate, dilation=rate) for rate in rates)
        self.mix = nn.Conv2d(len(rates) * width, outputs, 1) if fusion == "concat" else None

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B K h w"]:
        scores = [branch(x) for branch in self.branches]
        return torch.stack(scores).sum(0) if self.mix is None else self.mix(torch.cat(scores, 1))


def separable_unit(
    in_channels: int, out_channels: int, kernel: int, *, norm: NormLayer, dilation: int = 1
) -> nn.Sequential:
    """Return a 3x3 depth-wise and a 1x1 convolution without bias, a norm and a ReLU."""
    return nn.Sequential(
        SeparableConv2d(in_channels, out_channels, bias=False, dilation=dilation),
        norm(out_channels),
        nn.ReLU(inplace=True),
    )


class Pyramid(nn.Module):
    """The atrous pyramid of v3: what a pixel sees at several rates, and of the whole map."""

    def __init__(
        self,
        channels: int,
        width: int = 256,
        *,
        rates: Sequence[int],
        norm: NormLayer,
        dropout: float,
        separable: bool = False,
    ):
        super().__init__()
        convolution = separable_unit if separable else ConvNorm
        self.point = ConvNorm(channels, width, 1, norm=norm)
        self.dilated = nn.ModuleList(convolution(channels, width, 3, norm=norm, dilation=rate) for rate in rates)
        self.whole = ConvNorm(channels, width, 1, norm=norm)
        self.project = ConvNorm((len(rates) + 2) * width, width, 1, norm=norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h w"]:
        mean = self._of_the_whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        seen = [self.point(x), *(branch(x) for branch in self.dilated), mean]
        return self.dropout(self.project(torch.cat(seen, 1)))

    def _of_the_whole(self, mean: Float[Tensor, "B C 1 1"]) -> Float[Tensor, "B D 1 1"]:
        """One vector has no variance: in a training batch of one image its norm is that of evaluation."""
        norm = self.whole.norm
        if not (self.training and len(mean) == 1 and isinstance(norm, nn.BatchNorm2d)):
            return self.whole(mean)
        x = self.whole.conv(mean)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return self.whole.activation(x)


class PyramidHead(nn.Sequential):
    """The head of v3: the pyramid, one more convolution, scores."""

    def __init__(
        self, channels: int, outputs: int, *, width: int = 256, rates: Sequence[int], norm: NormLayer, dropout: float
    ):
        super().__init__(
            Pyramid(channels, width, rates=rates, norm=norm, dropout=dropout),
            ConvNorm(width, width, 3, norm=norm),
            nn.Conv2d(width, outputs, 1),
        )


def rates_at(stride: int) -> tuple[int, ...]:
    """Return the rates for maps of a stride: they look equally far in the image."""
    return tuple(rate * 16 // stride for rate in RATES)


# ----------------------------------------------------------------------------------------------------------------------
# Two phases


class FixedStatistics(nn.Module):
    """A network whose batch norms keep the statistics that they have, also while it is trained."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    @property
    def backbone(self) -> nn.Module:
        return self.network.get_submodule("backbone")

    def train(self, mode: bool = True) -> "FixedStatistics":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Any:
        return self.network(images)


def sharing_weights(network: nn.Module, owner: nn.Module) -> nn.Module:
    """Give a network the very parameters and buffers of another of the same layers, which may stride otherwise."""
    for (name, module), (other_name, other) in zip(network.named_modules(), owner.named_modules(), strict=True):
        if name != other_name or type(module) is not type(other):
            raise ValueError(f"received networks of other layers: {name} and {other_name}")
        module._parameters, module._buffers = other._parameters, other._buffers
    return network


class Curriculum(Staged, Predicts):
    """DeepLab v3 trained at stride 16 first, then at stride 8 with the statistics of its norms fixed (section 4.1)."""

    def __init__(self, coarse: Supervised, fine: Supervised):
        super().__init__()
        self.parts = nn.ModuleDict({"network": coarse.network})
        self.fine = (sharing_weights(fine.network, coarse.network),)  # a tuple: its weights are those of the parts
        self.criterion, self.decode, self.preprocess = coarse.criterion, coarse.decode, coarse.preprocess

    def stages(self) -> list[Stage]:
        """Return the trainings at strides 16 and 8, of the same weights."""
        networks = {"stride16": self.parts["network"], "stride8": FixedStatistics(self.fine[0])}
        return [
            Stage(name, Supervised(network, self.criterion, self.decode, self.preprocess))
            for name, network in networks.items()
        ]

    def predict_batch(self, batch: Batch) -> list[SemanticMap]:
        network = self.fine[0].eval()
        return self.decode(network(batch.to(self.device).images), batch.placements)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def deeplabv2_resnet101(
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    fusion: Fusion = "sum",
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    size: tuple[int, int] | None = None,
    shorter: int = 520,
) -> Supervised:
    """Build DeepLab v2 with ResNet-101 at stride 8, without the random field.

    The paper's has a VOC 2012 mIoU of 76.35 after COCO, at several scales (table 4).


    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        fusion: of the branches: "sum" of their scores (the paper), or "concat" and a 1x1 convolution (the notes).
        norm: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        size: (H, W) that every image is resized to; None: its shorter side to `shorter`, the aspect ratio kept.
        shorter: pixels of the shorter side.
    """
    names = category_names(categories)
    backbone = frozen_below(dilated_trunk("resnet101", 8, norm=norm, width=width), trainable_backbone_layers)
    network = DilatedSegmenter(backbone, ScorePyramid(backbone.channels[-1], len(names), fusion=fusion))
    return segmenter(network, names, Preprocess(shorter=shorter, exact=size))


def deeplabv3(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    channels: int = 256,
    stride: OutputStride = 8,
    multi_grid: tuple[int, ...] = (1, 1, 1),
    dropout: float = 0.5,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    auxiliary: bool = True,
    size: tuple[int, int] | None = None,
    shorter: int = 520,
) -> Supervised:
    """Build a DeepLab v3 by its name.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        channels: of each branch of the pyramid, and behind it.
        stride: of the last map, 8 or 16; the pyramid's rates follow.
        multi_grid: factors of the dilation of the last stage's blocks, (1, 2, 4) in the paper's best.
        dropout: behind the pyramid.
        norm: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        auxiliary: whether training also has a head over C4, as torchvision's.
        size: (H, W) that every image is resized to; None: its shorter side to `shorter`, the aspect ratio kept.
        shorter: pixels of the shorter side.
    """
    names = category_names(categories)
    trunk = dilated_trunk(name.removeprefix("deeplabv3_"), stride, norm=norm, width=width, multi_grid=multi_grid)
    head = partial(PyramidHead, width=channels, rates=rates_at(stride), dropout=dropout)
    network = with_auxiliary(
        frozen_below(trunk, trainable_backbone_layers), head, len(names), norm, auxiliary=auxiliary
    )
    return segmenter(network, names, Preprocess(shorter=shorter, exact=size))


deeplabv3_resnet50 = of_family(
    deeplabv3, "deeplabv3_resnet50", "42.0 M parameters, mIoU 66.4 on VOC's classes in COCO with torchvision's weights"
)
deeplabv3_resnet101 = of_family(
    deeplabv3, "deeplabv3_resnet101", "61.0 M parameters, mIoU 67.4 on VOC's classes in COCO with torchvision's weights"
)
deeplabv3_resnet18 = of_family(
    deeplabv3,
    "deeplabv3_resnet18",
    "for small data, without the head over C4",
    stride=16,
    auxiliary=False,
)


@builder
def deeplabv3_curriculum_resnet50(
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    channels: int = 256,
    multi_grid: tuple[int, ...] = (1, 2, 4),
    dropout: float = 0.5,
    size: tuple[int, int] | None = None,
    shorter: int = 520,
) -> Curriculum:
    """Build DeepLab v3 with ResNet-50 as the paper trains it: at stride 16, then at stride 8.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        channels: of each branch of the pyramid, and behind it.
        multi_grid: factors of the dilation of the last stage's blocks.
        dropout: behind the pyramid.
        size: (H, W) that every image is resized to; None: its shorter side to `shorter`, the aspect ratio kept.
        shorter: pixels of the shorter side.
    """
    coarse, fine = (
        deeplabv3(
            "deeplabv3_resnet50",
            categories=categories,
            width=width,
            channels=channels,
            stride=stride,
            multi_grid=multi_grid,
            dropout=dropout,
            auxiliary=False,
            size=size,
            shorter=shorter,
        )
        for stride in (16, 8)
    )
    return Curriculum(coarse, fine)
