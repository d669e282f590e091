"""A space of networks of MBConv stages, as tokens, and the networks themselves.

Tan et al. 2019, "MnasNet" (arXiv 1807.11626), section 4.1; notes 2.7.

    tokens   T                five decisions for each stage: kernel, expansion, squeeze-and-excitation, depth, width
    stages   decode(tokens)   what was decided; encode() is the way back
    images   B 3 H W
    stem     B C H/2 W/2      3x3 convolution of stride 2, norm, ReLU6
    body     B w_i h w        stages of inverted residual blocks (vidi.backbones.inverted_residual)
    head     B K              global average, linear (vidi.backbones.classifier)

Differs from the paper: every operation is an MBConv, and a stage always has its skip connections; depths and widths are
listed, not offsets from MobileNetV2's. EfficientNet-B0 was found in this kind of space, for accuracy and cost together,
not derived from MobileNet by a controller alone as the notes have it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import supervised_classifier
from vidi.backbones.inverted_residual import InvertedResidual
from vidi.backbones.trunk import Backbone, Maps, initialise
from vidi.model import Supervised, builder
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Preprocess

Tokens = tuple[int, ...]
"""Which option was taken, decision after decision."""


class SearchedStage(NamedTuple):
    """What is decided for one stage, and its stride, which is not."""

    kernel: int
    expansion: int
    se_ratio: float  # squeezed channels per channel of a block's input; 0: no squeeze-and-excitation
    repeats: int  # blocks, of which the first has the stride
    channels: int
    stride: int


class SearchedNet(Backbone):
    """Stem and stages: images to the map of each stage.

    Raises:
        ValueError: without a stage.
    """

    def __init__(self, stages: Sequence[SearchedStage], *, stem_width: int = 16, stem_stride: int = 2):
        super().__init__()
        if not stages:
            raise ValueError("received no stages, expected at least one")
        norm = norm_layer("batch", eps=1e-5, momentum=0.1)
        self.stem = ConvNorm(3, stem_width, 3, stem_stride, norm=norm, activation=nn.ReLU6)
        built: list[nn.Sequential] = []
        strides, in_channels = [stem_stride], stem_width
        for kernel, expansion, se_ratio, repeats, channels, stride in stages:
            blocks: list[nn.Module] = []
            for index in range(repeats):
                block = InvertedResidual(
                    in_channels,
                    channels,
                    expansion=expansion,
                    norm=norm,
                    kernel=kernel,
                    stride=1 if index else stride,
                    squeezed=max(1, int(in_channels * se_ratio)) if se_ratio else None,
                )
                blocks.append(block)
                in_channels = channels
            built.append(nn.Sequential(*blocks))
            strides.append(strides[-1] * stride)
        self.stages = nn.ModuleList(built)
        self.channels = tuple(stage.channels for stage in stages)
        self.strides = tuple(strides[1:])
        initialise(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the map of each stage."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps[1:])


@builder
def searched_net(
    *,
    categories: int | tuple[str | None, ...] = 10,
    size: tuple[int, int] = (32, 32),
    stages: tuple[tuple[float | int, ...], ...] = ((3, 1, 0, 1, 16, 1), (3, 3, 0, 1, 24, 2), (5, 3, 0.25, 2, 40, 2)),
    stem_width: int = 16,
    stem_stride: int = 2,
    smoothing: float = 0.0,
) -> Supervised:
    """Build any network of MBConv stages, (kernel, expansion, SE ratio, repeats, channels, stride) each.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to.
        stages: such as `SearchSpace.decode` gives; an SE ratio of 0 leaves out squeeze-and-excitation.
        stem_width: channels of the first convolution.
        stem_stride: of the first convolution.
        smoothing: of the labels, in [0, 1).
    """
    typed = [SearchedStage(int(k), int(t), float(se), int(n), int(c), int(s)) for k, t, se, n, c, s in stages]
    backbone = SearchedNet(typed, stem_width=stem_width, stem_stride=stem_stride)
    return supervised_classifier(backbone, categories, Preprocess(exact=size), smoothing=smoothing)


# ----------------------------------------------------------------------------------------------------------------------
# The space


@dataclass(frozen=True)
class StageOptions:
    """What may be decided for a stage; a decision with one option is taken already.

    Raises:
        ValueError: if a decision has no option.
    """

    repeats: tuple[int, ...]
    channels: tuple[int, ...]
    stride: int
    kernels: tuple[int, ...] = (3, 5)
    expansions: tuple[int, ...] = (3, 6)
    se_ratios: tuple[float | int, ...] = (0.0, 0.25)

    def __post_init__(self) -> None:
        if not all(self.decisions()):
            raise ValueError(f"received {self}, expected an option for each decision at least")

    def decisions(self) -> tuple[tuple[float | int, ...], ...]:
        """Return the options in the order in which they are decided."""
        return self.kernels, self.expansions, self.se_ratios, self.repeats, self.channels


@dataclass(frozen=True)
class SearchSpace:
    """All networks that one option per decision and stage gives.

    Attributes:
        stages: the options of each stage.
    """

    stages: tuple[StageOptions, ...]

    @property
    def options(self) -> tuple[int, ...]:
        """How many options each decision has, in the order of the tokens."""
        return tuple(len(choices) for stage in self.stages for choices in stage.decisions())

    def size(self) -> int:
        """Count the networks."""
        return math.prod(self.options)

    def sample(self, generator: torch.Generator) -> Tokens:
        """Draw tokens, every network as likely."""
        return tuple(int(torch.randint(count, (), generator=generator)) for count in self.options)

    def decode(self, tokens: Tokens) -> tuple[SearchedStage, ...]:
        """Return the stages that tokens stand for, as `searched_net` takes them.

        Raises:
            ValueError: if there is no such option, or the number of tokens is another.
        """
        if len(tokens) != len(self.options) or not all(0 <= t < n for t, n in zip(tokens, self.options, strict=True)):
            raise ValueError(f"received the tokens {tokens}, expected one below each of {self.options}")
        remaining = iter(tokens)
        decoded = []
        for stage in self.stages:
            k, t, se, n, c = (choices[next(remaining)] for choices in stage.decisions())
            decoded.append(SearchedStage(int(k), int(t), float(se), int(n), int(c), stage.stride))
        return tuple(decoded)

    def encode(self, stages: Sequence[SearchedStage]) -> Tokens:
        """Return the tokens of stages.

        Raises:
            ValueError: if they are not in the space.
        """
        pairs = list(zip(stages, self.stages, strict=False))
        inside = len(stages) == len(self.stages) and all(
            stage.stride == options.stride
            and all(value in choices for value, choices in zip(stage[:5], options.decisions(), strict=True))
            for stage, options in pairs
        )
        if not inside:
            raise ValueError(f"received the stages {tuple(stages)}, expected stages of {self}")
        return tuple(
            choices.index(value)
            for stage, options in pairs
            for value, choices in zip(stage[:5], options.decisions(), strict=True)
        )
