"""ResNet and the networks that change one thing of it: ResNeXt, Wide ResNet, SE-ResNet, dilated ResNet.

He et al. 2016 (arXiv 1512.03385), Xie et al. 2017 (1611.05431), Zagoruyko & Komodakis 2016 (1605.07146), Hu et al. 2018
(1709.01507), Yu et al. 2017 (1705.09914); notes 2.2, 2.3, 2.4, 2.6.1, 5.1.4.

    images   B 3 H W
    stem     B 64 H/4 W/4        7x7 convolution of stride 2, norm, ReLU, 3x3 max-pool of stride 2
    stages   B 64 H/4 W/4 (C2), B 128 H/8 W/8 (C3), B 256 H/16 W/16 (C4), B 512 H/32 W/32 (C5)
             each a row of residual blocks; four times as many channels with bottleneck blocks
    head     B K                 global average, linear (vidi.backbones.classifier)

Differs from the notes: stage 1 keeps the 56 pixels and 64 channels of the stem's max-pool, only stages 2 to 4 halve and
double. A bottleneck strides in its 3x3 convolution ("v1.5", what published weights have); `stride_in_1x1` gives the
form of the paper and the notes. timm rounds the squeezed width of SE to a multiple of 8, here it is C / 16 as in the
paper: that differs in seresnet18 only. `stem="small"`, a 3x3 convolution without stride or pool, is for small images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.trunk import Backbone, ImageStem, Maps, Stem, initialise
from vidi.model import Supervised, of_family
from vidi.nn.normalization import Norm, NormLayer, norm_layer
from vidi.nn.squeeze_excitation import SqueezeExcitation

# ----------------------------------------------------------------------------------------------------------------------
# Residual blocks


class Projection(nn.Module):
    """Skip connection where the shape changes: a 1x1 convolution (He et al. 2016, option B)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: NormLayer):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.norm(self.conv(x))


def add_skip(
    branch: Float[Tensor, "B C H W"], skip: Float[Tensor, "B C H W"], after_relu: bool
) -> Float[Tensor, "B C H W"]:
    """Sum, then ReLU (He et al. 2016, eq. 1); or the notes' counter-example, which can only add what is positive."""
    if after_relu:
        return F.relu(branch) + skip
    return F.relu(branch + skip, inplace=True)


class BasicBlock(nn.Module):
    """relu(F(x) + x) with F two 3x3 convolutions (He et al. 2016, figure 5 left; notes figure 2.4 left)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        skip: nn.Module,  # brings x to the shape of F(x)
        norm: NormLayer,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),  # of the convolution that has the stride, of those after it
        reduction: int | None = None,  # of squeeze-and-excitation on the branch; None: without
        sum_after_relu: bool = False,
    ):
        super().__init__()
        before, after = dilations
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=before, dilation=before, bias=False)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=after, dilation=after, bias=False)
        self.norm2 = norm(width)
        self.se = SqueezeExcitation(width, width // reduction) if reduction else nn.Identity()
        self.skip = skip
        self.sum_after_relu = sum_after_relu

    @property
    def last_norm(self) -> nn.Module:
        """The layer whose scale decides how far the block is from the identity."""
        return self.norm2

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        branch = F.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = self.se(self.norm2(self.conv2(branch)))
        return add_skip(branch, self.skip(x), self.sum_after_relu)


class Bottleneck(nn.Module):
    """relu(F(x) + x) with F a 1x1, a 3x3 and a 1x1 convolution (He et al. 2016, figure 5 right; notes figure 2.4).

    ResNeXt splits the 3x3 into groups (Xie et al. 2017, figure 3c), Wide ResNet widens it.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        skip: nn.Module,  # brings x to the shape of F(x)
        norm: NormLayer,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),  # of the convolution that has the stride, of those after it
        groups: int = 1,
        width_per_group: int = 64,  # at a width of 64
        reduction: int | None = None,  # of squeeze-and-excitation on the branch; None: without
        stride_in_1x1: bool = False,
        sum_after_relu: bool = False,
    ):
        super().__init__()
        inner = width * width_per_group // 64 * groups
        outer = width * self.expansion
        stride1, stride2, dilation = (stride, 1, dilations[1]) if stride_in_1x1 else (1, stride, dilations[0])
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride1, bias=False)
        self.norm1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride2, padding=dilation, dilation=dilation, groups=groups, bias=False)
        self.norm2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.norm3 = norm(outer)
        self.se = SqueezeExcitation(outer, outer // reduction) if reduction else nn.Identity()
        self.skip = skip
        self.sum_after_relu = sum_after_relu

    @property
    def last_norm(self) -> nn.Module:
        """The layer whose scale decides how far the block is from the identity."""
        return self.norm3

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        branch = F.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = F.relu(self.norm2(self.conv2(branch)), inplace=True)
        branch = self.se(self.norm3(self.conv3(branch)))
        return add_skip(branch, self.skip(x), self.sum_after_relu)


# ----------------------------------------------------------------------------------------------------------------------
# Network


def residual_stage(
    block: Callable[..., nn.Module],  # BasicBlock or Bottleneck, with its options bound
    in_channels: int,
    width: int,
    out_channels: int,
    count: int,
    *,
    norm: NormLayer,
    stride: int = 1,
    dilations: tuple[int, int] = (1, 1),  # of the convolution that has the stride, of those after it
) -> nn.Sequential:
    """Return a row of residual blocks; only the first changes the shape (notes 2.2.1)."""
    same = stride == 1 and in_channels == out_channels
    skip = nn.Identity() if same else Projection(in_channels, out_channels, stride, norm)
    first = block(in_channels, width, skip=skip, norm=norm, stride=stride, dilations=dilations)
    later = partial(block, out_channels, width, norm=norm, dilations=(dilations[1], dilations[1]))
    return nn.Sequential(first, *(later(skip=nn.Identity()) for _ in range(1, count)))


class ResNet(Backbone):
    """Images to the four maps C2, C3, C4, C5, finest first; a classifier puts a head over the last."""

    def __init__(
        self,
        block: Callable[..., nn.Module],  # BasicBlock or Bottleneck, with its options bound
        blocks: tuple[int, int, int, int],
        *,
        expansion: int,  # channels of a stage per width
        norm: NormLayer,
        stem: Stem = "imagenet",
        width: int = 64,  # of stage 1
        dilated: tuple[bool, bool, bool] = (False, False, False),  # stages 2-4: dilate instead of halving
    ):
        super().__init__()
        self.stem = ImageStem(stem, width, norm)
        channels, strides, dilation = [width], [self.stem.stride], 1
        stages: list[nn.Sequential] = []
        for index, (count, dilates) in enumerate(zip(blocks, (False, *dilated), strict=True)):
            stride = 1 if index == 0 or dilates else 2
            dilations = (dilation, 2 * dilation if dilates else dilation)
            inner = width * 2**index
            outer = inner * expansion
            stages.append(
                residual_stage(block, channels[-1], inner, outer, count, norm=norm, stride=stride, dilations=dilations)
            )
            channels.append(outer)
            strides.append(strides[-1] * stride)
            dilation = dilations[1]
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.channels = tuple(channels[1:])
        self.strides = tuple(strides[1:])

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return C2, C3, C4, C5."""
        c2 = self.stage1(self.stem(images))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        c5 = self.stage4(c4)
        return c2, c3, c4, c5


def start_at_identity(network: nn.Module) -> None:
    """Set the last scale of each residual branch to 0, so that blocks start at relu(identity).

    Goyal et al. 2017, section 5.1; notes 2.2.

    Raises:
        ValueError: if such a scale is frozen: it could never leave 0.
    """
    for module in network.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            scale = module.last_norm.weight
            if not isinstance(scale, nn.Parameter):
                raise ValueError("zero_init_residual needs norms that are trained, received norm='frozen'")
            nn.init.zeros_(scale)


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """What tells the networks of the family apart."""

    block: type[BasicBlock] | type[Bottleneck]
    blocks: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64
    reduction: int | None = None
    eps: float = 1e-5
    momentum: float = 0.1


VARIANTS: dict[str, Variant] = {
    # He et al. 2016, table 1
    "resnet18": Variant(BasicBlock, (2, 2, 2, 2)),
    "resnet34": Variant(BasicBlock, (3, 4, 6, 3)),
    "resnet50": Variant(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Variant(Bottleneck, (3, 4, 23, 3)),
    "resnet152": Variant(Bottleneck, (3, 8, 36, 3)),
    # Xie et al. 2017, table 1 and section 5.1
    "resnext50_32x4d": Variant(Bottleneck, (3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101_32x8d": Variant(Bottleneck, (3, 4, 23, 3), groups=32, width_per_group=8),
    "resnext101_64x4d": Variant(Bottleneck, (3, 4, 23, 3), groups=64, width_per_group=4),
    # Zagoruyko & Komodakis 2016, table 8
    "wide_resnet50_2": Variant(Bottleneck, (3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": Variant(Bottleneck, (3, 4, 23, 3), width_per_group=128),
    # Hu et al. 2018, table 2
    "seresnet18": Variant(BasicBlock, (2, 2, 2, 2), reduction=16),
    "seresnet34": Variant(BasicBlock, (3, 4, 6, 3), reduction=16),
    "seresnet50": Variant(Bottleneck, (3, 4, 6, 3), reduction=16),
    "seresnet101": Variant(Bottleneck, (3, 4, 23, 3), reduction=16),
    "seresnet152": Variant(Bottleneck, (3, 8, 36, 3), reduction=16),
    "seresnext50_32x4d": Variant(Bottleneck, (3, 4, 6, 3), groups=32, width_per_group=4, reduction=16),
    "seresnext101_32x8d": Variant(Bottleneck, (3, 4, 23, 3), groups=32, width_per_group=8, reduction=16),
}


def trunk(
    name: str,
    *,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    eps: float | None = None,
    width: int = 64,
    dilated: tuple[bool, bool, bool] = (False, False, False),
    stride_in_1x1: bool = False,
    zero_init_residual: bool = False,
    sum_after_relu: bool = False,
) -> ResNet:
    """Return a network of the family without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        norm: "batch", "frozen" or "group".
        eps: of the norms; the variant's if None.
        width: of stage 1, 64 in all papers; less (at least 16) makes the whole network narrower.
        dilated: whether stages 2, 3, 4 keep the resolution and dilate instead (Yu et al. 2017).
        stride_in_1x1: bottlenecks stride in their first convolution, as in the paper.
        zero_init_residual: start each block at relu(identity).
        sum_after_relu: ReLU before the sum instead of after it (an ablation).

    Raises:
        ValueError: for an unknown name, a width below 16, `stride_in_1x1` with basic blocks, which have no 1x1
            convolution, or `zero_init_residual` with frozen norms.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    if width < 16:
        raise ValueError(f"received width={width}, expected at least 16: squeezed and grouped layers get no channels")
    variant = VARIANTS[name]
    options: dict[str, Any] = {"reduction": variant.reduction, "sum_after_relu": sum_after_relu}
    if variant.block is Bottleneck:
        options |= {"groups": variant.groups, "width_per_group": variant.width_per_group}
        options |= {"stride_in_1x1": stride_in_1x1}
    elif stride_in_1x1:
        raise ValueError(f"{name} has basic blocks, stride_in_1x1 needs bottlenecks")
    network = ResNet(
        partial(variant.block, **options),
        variant.blocks,
        expansion=variant.block.expansion,
        norm=norm_layer(norm, eps=variant.eps if eps is None else eps, momentum=variant.momentum),
        stem=stem,
        width=width,
        dilated=dilated,
    )
    initialise(network)
    if zero_init_residual:
        start_at_identity(network)
    return network


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def resnet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `VARIANTS`.

    Scores on ImageNet are those of torchvision's first weights.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        norm: "batch", "frozen" or "group".
        width: channels of stage 1, 64 in all papers; less (at least 16) makes the whole network narrower.
        zero_init_residual: start each block at relu(identity).
        smoothing: of the labels, in [0, 1).
    """
    backbone = trunk(name, stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


def bottleneck_resnet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    stride_in_1x1: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a ResNet of bottlenecks, of which one may choose where they stride, by its name in `VARIANTS`.

    Scores on ImageNet are those of torchvision's first weights.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        norm: "batch", "frozen" or "group".
        width: channels of stage 1, 64 in all papers; less (at least 16) makes the whole network narrower.
        zero_init_residual: start each block at relu(identity).
        stride_in_1x1: bottlenecks stride in their first convolution, as in the paper, instead of their second.
        smoothing: of the labels, in [0, 1).
    """
    backbone = trunk(
        name, stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual, stride_in_1x1=stride_in_1x1
    )
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


resnet18 = of_family(resnet, "resnet18", "11.7 M parameters, ImageNet top-1 69.8 %")
resnet34 = of_family(resnet, "resnet34", "21.8 M parameters, ImageNet top-1 73.3 %")
resnet50 = of_family(bottleneck_resnet, "resnet50", "25.6 M parameters, ImageNet top-1 76.1 %")
resnet101 = of_family(bottleneck_resnet, "resnet101", "44.5 M parameters, ImageNet top-1 77.4 %")
resnet152 = of_family(bottleneck_resnet, "resnet152", "60.2 M parameters, ImageNet top-1 78.3 %")
