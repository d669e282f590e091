"""Inverted residual blocks, and the trunk of stages of them that MobileNetV2 and EfficientNet share.

Sandler et al. 2018 (arXiv 1801.04381), section 3.3 and table 1; Tan et al. 2019 (MnasNet, 1807.11626); notes 2.5.

    x        B C H W
    expand   B tC H W          1x1 convolution, norm, activation; left out where t = 1
    depth    B tC H/s W/s      k x k convolution of each channel by itself, norm, activation
    gate     B tC H/s W/s      squeeze-and-excitation (MnasNet's MBConv); left out in MobileNetV2
    project  B D H/s W/s       1x1 convolution, norm and no activation: the "linear bottleneck"

Depth-wise and point-wise convolution together are a depth-wise separable convolution: 1 / D + 1 / k^2 of the cost of a
full one.

Differs from the notes: the projection goes to the stage's channels D, not back to those of the input; x is added only
where s = 1 and D = C.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vidi.backbones.trunk import Backbone, Maps, Stem, initialise
from vidi.nn.convolution import Activation, ConvNorm
from vidi.nn.normalization import NormLayer
from vidi.nn.squeeze_excitation import SqueezeExcitation


class InvertedResidual(nn.Module):
    """project(gate(depth(expand(x)))) + x, without the sum where the shape changes."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        expansion: int | float,  # t: channels of the depth-wise convolution per channel of the input
        norm: NormLayer,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,  # of the depth-wise convolution
        squeezed: int | None = None,  # channels inside squeeze-and-excitation; None: without
        drop: float | int = 0.0,  # probability of leaving out the branch of an image in training
        activation: Activation = nn.ReLU6,
        conv: Callable[..., nn.Conv2d] = nn.Conv2d,  # of the depth-wise convolution
    ):
        super().__init__()
        inner = round(in_channels * expansion)
        self.expand = (
            nn.Identity() if inner == in_channels else ConvNorm(in_channels, inner, norm=norm, activation=activation)
        )
        self.depthwise = ConvNorm(
            inner, inner, kernel, stride, norm=norm, activation=activation, groups=inner, dilation=dilation, conv=conv
        )
        self.se = nn.Identity() if squeezed is None else SqueezeExcitation(inner, squeezed, activation)
        self.project = ConvNorm(inner, channels, norm=norm, activation=nn.Identity)
        self.adds = stride == 1 and in_channels == channels
        self.drop = StochasticDepth(drop, "row")  # draws from torch's global generator

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        branch = self.project(self.se(self.depthwise(self.expand(x))))
        return self.drop(branch) + x if self.adds else branch


class Stage(NamedTuple):
    """A row of a table of stages: `repeats` blocks, of which the first has the stride."""

    expansion: int  # t
    channels: int  # c
    repeats: int  # n
    stride: int  # s
    kernel: int = 3  # k


class InvertedResidualTrunk(Backbone):
    """Stem and stages: images to the last map of each resolution, finest first, without those at half resolution.

    With the small stem, the stem and the first stage that has a stride keep the resolution: strides 1, 2, 4, 8. Stages
    that would go below the coarsest resolution keep it; the blocks behind their first one dilate instead.

    Raises:
        ValueError: for another stem.
    """

    def __init__(
        self,
        stem_width: int,
        stages: Sequence[Stage],
        *,
        norm: NormLayer,
        activation: Activation,
        stem: Stem = "imagenet",
        coarsest: int = 32,  # the largest stride of a map
        se_ratio: float | int | None = None,  # squeezed channels per channel of a block's input
        drop: float | int = 0.0,  # grows from 0 at the first block to this behind the last (Huang et al. 2016, eq. 4)
        conv: Callable[..., nn.Conv2d] = nn.Conv2d,  # of the stem and the depth-wise convolutions
    ):
        super().__init__()
        strides = _strides(stages, stem)
        self.stem = ConvNorm(3, stem_width, 3, strides[0], norm=norm, activation=activation, conv=conv)
        total, index, in_channels = sum(stage.repeats for stage in stages), 0, stem_width
        built: list[nn.Sequential] = []
        reached, dilation = [strides[0]], 1
        for stage, first_stride in zip(stages, strides[1:], strict=True):
            blocks: list[nn.Module] = []
            dilates = reached[-1] * first_stride > coarsest
            reached.append(reached[-1] * (1 if dilates else first_stride))
            for stride in (1 if dilates else first_stride, *[1] * (stage.repeats - 1)):
                squeezed = None if se_ratio is None else max(1, int(in_channels * se_ratio))
                blocks.append(
                    InvertedResidual(
                        in_channels,
                        stage.channels,
                        expansion=stage.expansion,
                        norm=norm,
                        kernel=stage.kernel,
                        stride=stride,
                        dilation=dilation,
                        squeezed=squeezed,
                        drop=drop * index / total,
                        activation=activation,
                        conv=conv,
                    )
                )
                in_channels = stage.channels
                index += 1
                if dilates and len(blocks) == 1:
                    dilation *= first_stride
            built.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(built)
        self.ends = _last_of_each_resolution(stages)
        self.channels = tuple(stages[end].channels for end in self.ends)
        self.strides = tuple(reached[end + 1] for end in self.ends)
        initialise(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the last map of each resolution."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps[end + 1] for end in self.ends)


def _strides(stages: Sequence[Stage], stem: Stem) -> list[int]:
    """Return the strides of the stem and of each stage."""
    if stem not in ("imagenet", "small"):
        raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
    strides = [2, *(stage.stride for stage in stages)]
    left_out = 0 if stem == "imagenet" else 2
    for index in [index for index, stride in enumerate(strides) if stride > 1][:left_out]:
        strides[index] = 1
    return strides


def _last_of_each_resolution(stages: Sequence[Stage]) -> tuple[int, ...]:
    """Return which stages are followed by one with a stride, or by none; not before a quarter of the resolution."""
    reduction = [math.prod(stage.stride for stage in stages[: index + 1]) for index in range(len(stages))]
    follows = [*(stage.stride for stage in stages[1:]), 2]
    return tuple(index for index, stride in enumerate(follows) if stride > 1 and reduction[index] > 1)
