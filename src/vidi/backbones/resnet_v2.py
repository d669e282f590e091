"""ResNet v2 as in Big Transfer: pre-activation, group normalisation, standardised weights.

Kolesnikov et al. 2020, "Big Transfer (BiT)", arXiv 1912.11370; pre-activation: He et al. 2016b, 1603.05027; weight
standardisation: Qiao et al. 2019, 1903.10520; group normalisation: Wu & He 2018, 1803.08494. Notes 3.2: the ResNet that
ViT is compared with.

    images   B 3 H W
    stem     B 64w H/4 W/4       7x7 convolution of stride 2, zeros around, 3x3 max-pool of stride 2
    stages   B 256w H/4 W/4, B 512w H/8 W/8, B 1024w H/16 W/16, B 2048w H/32 W/32      w the width factor
             blocks x + F(relu(norm(x))), nothing after the sum: what the stem gives is only ever added to
    last     norm, ReLU
    head     B K                 global average, linear (vidi.backbones.classifier)

Without batch statistics a network is trained with few images per device, and fine-tuned on other data.

Differs from He et al.: the stride is in the 3x3 convolution, as in the published weights. The max-pool sees zeros
around the map, where that of `vidi.backbones.resnet` sees nothing: no ReLU comes before it, so that matters. Differs
from the notes: their residual blocks end in a ReLU.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.near_zero_head import near_zero_head
from vidi.backbones.trunk import Backbone, Maps, Stem, initialise
from vidi.model import Supervised, of_family
from vidi.nn.normalization import GROUPS, NormLayer, norm_layer
from vidi.preprocess import HALF

EXPANSION = 4  # channels of a block's output per channel of its 3x3 convolution


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose kernels are standardised before use: mean 0 and variance 1 over C ky kx (Qiao et al. 2019).

    It keeps the padding of an odd kernel at stride 1 and has no bias, as a norm follows it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, eps: float = 1e-8):
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.eps = eps

    def standardized(self) -> Float[Tensor, "D C ky kx"]:
        """Return the kernels as they are used."""
        return F.layer_norm(self.weight, self.weight.shape[1:], eps=self.eps)

    def plain(self) -> nn.Conv2d:
        """Return the ordinary convolution with these kernels, for inference (`vidi.nn.inference`)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        conv = nn.Conv2d(self.in_channels, self.out_channels, kernel, stride, padding=kernel // 2, bias=False)
        conv.weight = nn.Parameter(self.standardized().detach(), requires_grad=False)
        return conv.train(self.training)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return F.conv2d(x, self.standardized(), None, self.stride, self.padding)


class PreActivationBottleneck(nn.Module):
    """x + F(x) with norm and ReLU *before* each of F's 1x1, 3x3 and 1x1 convolutions (He et al. 2016b, figure 4e).

    Where the shape changes, the skip connection is a 1x1 convolution that starts from the first activation.
    """

    def __init__(self, in_channels: int, out_channels: int, *, projects: bool, norm: NormLayer, stride: int = 1):
        super().__init__()
        inner = out_channels // EXPANSION
        self.norm1 = norm(in_channels)
        self.conv1 = StandardizedConv2d(in_channels, inner, 1)
        self.norm2 = norm(inner)
        self.conv2 = StandardizedConv2d(inner, inner, 3, stride)
        self.norm3 = norm(inner)
        self.conv3 = StandardizedConv2d(inner, out_channels, 1)
        self.skip = StandardizedConv2d(in_channels, out_channels, 1, stride) if projects else None

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        active = F.relu(self.norm1(x), inplace=True)
        skip = x if self.skip is None else self.skip(active)
        branch = F.relu(self.norm2(self.conv1(active)), inplace=True)
        branch = F.relu(self.norm3(self.conv2(branch)), inplace=True)
        return self.conv3(branch) + skip


class ResNetV2(Backbone):
    """Images to the four maps of the stages, finest first; the last one is normalised and rectified.

    Raises:
        ValueError: for another `stem`, or if the channels are not whole groups.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        *,
        stem: Stem = "imagenet",
        width: int = 64,  # of the stem; stage 1 gives four times as many channels
        norm: NormLayer,
    ):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        if width < 1 or width % GROUPS:
            raise ValueError(f"received width={width}, expected a multiple of {GROUPS}: norms have as many groups")
        if stem == "imagenet":
            pool = nn.MaxPool2d(3, stride=2)
            self.stem = nn.Sequential(StandardizedConv2d(3, width, 7, 2), nn.ConstantPad2d(1, 0.0), pool)
        else:
            self.stem = nn.Sequential(StandardizedConv2d(3, width, 3))
        finest = 4 if stem == "imagenet" else 1
        self.channels = tuple(width * EXPANSION * 2**index for index in range(len(blocks)))
        self.strides = tuple(finest * 2**index for index in range(len(blocks)))
        stages: list[nn.Sequential] = []
        in_channels = width
        for index, (count, channels) in enumerate(zip(blocks, self.channels, strict=True)):
            stride = 1 if index == 0 else 2
            first = PreActivationBottleneck(in_channels, channels, projects=True, norm=norm, stride=stride)
            later = (PreActivationBottleneck(channels, channels, projects=False, norm=norm) for _ in range(1, count))
            stages.append(nn.Sequential(first, *later))
            in_channels = channels
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.norm = norm(in_channels)
        initialise(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps of the four stages."""
        first = self.stage1(self.stem(images))
        second = self.stage2(first)
        third = self.stage3(second)
        fourth = self.stage4(third)
        return first, second, third, F.relu(self.norm(fourth), inplace=True)


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """What tells the networks of the family apart."""

    blocks: tuple[int, int, int, int]
    width: int  # of the stem: 64 times the factor in the name
    eps: float = 1e-5  # of the norms


VARIANTS: dict[str, Variant] = {
    "resnetv2_50x1_bit": Variant((3, 4, 6, 3), 64),
    "resnetv2_50x3_bit": Variant((3, 4, 6, 3), 192),
    "resnetv2_101x1_bit": Variant((3, 4, 23, 3), 64),
    "resnetv2_101x3_bit": Variant((3, 4, 23, 3), 192),
    "resnetv2_152x2_bit": Variant((3, 8, 36, 3), 128),
    "resnetv2_152x4_bit": Variant((3, 8, 36, 3), 256),
}


def trunk(name: str, *, stem: Stem = "imagenet", width: int | None = None) -> ResNetV2:
    """Return a network of the family without its head.

    Args:
        name: a key of `VARIANTS`.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        width: of the stem, a multiple of 32; None: the variant's, 64 times the factor in its name.

    Raises:
        ValueError: for an unknown name, or a width that cannot be grouped.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    norm = norm_layer("group", eps=variant.eps)
    return ResNetV2(variant.blocks, stem=stem, width=variant.width if width is None else width, norm=norm)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def resnet_v2(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: int | None = None,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `VARIANTS`.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: channels of the stem, a multiple of 32; None: 64 times the factor in the name.
        smoothing: of the labels, in [0, 1).
    """
    preprocess = image_preprocess(size, mean=HALF, std=HALF)
    backbone = trunk(name, stem=stem, width=width)
    return supervised_classifier(backbone, categories, preprocess, head=near_zero_head, smoothing=smoothing)


resnetv2_50x1_bit = of_family(resnet_v2, "resnetv2_50x1_bit", "25.5 M parameters")
resnetv2_50x3_bit = of_family(resnet_v2, "resnetv2_50x3_bit", "217.3 M parameters")
resnetv2_101x1_bit = of_family(resnet_v2, "resnetv2_101x1_bit", "44.5 M parameters")
resnetv2_101x3_bit = of_family(resnet_v2, "resnetv2_101x3_bit", "387.9 M parameters")
resnetv2_152x2_bit = of_family(resnet_v2, "resnetv2_152x2_bit", "236.3 M parameters")
resnetv2_152x4_bit = of_family(resnet_v2, "resnetv2_152x4_bit", "936.5 M parameters")
