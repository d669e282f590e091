"""The small ResNets for images of 32 pixels: ResNet-20, 32, 44, 56, 110.

He et al. 2016 (arXiv 1512.03385), section 4.2; notes 2.2.

    images   B 3 32 32
    stem     B 16 32 32         3x3 convolution, norm, ReLU
    stages   B 16 32 32, B 32 16 16, B 64 8 8         n blocks of two 3x3 convolutions each: 6 n + 2 layers
    head     B K                global average, linear

Where the shape changes the skip connection takes every second pixel and fills the new channels with zeros (option A):
no parameters.

Differs from the paper: the new channels are put half before and half behind the old ones, as in the published weights
of ResNet-20; images are normalised by mean and deviation instead of a mean image.
"""

from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import supervised_classifier
from vidi.backbones.resnet import BasicBlock, start_at_identity
from vidi.backbones.trunk import Backbone, ImageStem, Maps, initialise
from vidi.model import Supervised, of_family
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Preprocess


class ZeroPadSkip(nn.Module):
    """Skip connection without parameters where the shape changes (He et al. 2016, option A)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.behind = out_channels - in_channels - self.before

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))


class CifarResNet(Backbone):
    """ResNet-(6 n + 2) without its head: images to the maps of its three stages, finest first.

    Raises:
        ValueError: if the depth is not 6 n + 2.
    """

    channels = (16, 32, 64)
    strides = (1, 2, 4)

    def __init__(self, depth: int, *, zero_init_residual: bool = False):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"received a depth of {depth}, expected 6 n + 2: 8, 14, 20, 26, 32, 38, 44, ...")
        norm = norm_layer("batch", eps=1e-5, momentum=0.1)
        self.stem = ImageStem("small", self.channels[0], norm)
        block = partial(BasicBlock, norm=norm)
        stages: list[nn.Sequential] = []
        for stride, (in_channels, channels) in zip((1, 2, 2), pairwise((16, *self.channels)), strict=True):
            skip = ZeroPadSkip(in_channels, channels, stride) if stride > 1 else nn.Identity()
            first = block(in_channels, channels, skip=skip, stride=stride)
            later = (block(channels, channels, skip=nn.Identity()) for _ in range(1, (depth - 2) // 6))
            stages.append(nn.Sequential(first, *later))
        self.stage1, self.stage2, self.stage3 = stages
        initialise(self)
        if zero_init_residual:
            start_at_identity(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps of the three stages."""
        first = self.stage1(self.stem(images))
        second = self.stage2(first)
        third = self.stage3(second)
        return first, second, third


# ----------------------------------------------------------------------------------------------------------------------
# Builders

DEPTHS = {"resnet20": 20, "resnet32": 32, "resnet44": 44, "resnet56": 56, "resnet110": 110}


def resnet_cifar(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 10,
    size: tuple[int, int] = (32, 32),
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `DEPTHS`.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to.
        zero_init_residual: start each block at relu(identity).
        smoothing: of the labels, in [0, 1).
    """
    backbone = CifarResNet(DEPTHS[name], zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, Preprocess(exact=size), smoothing=smoothing)


resnet20 = of_family(resnet_cifar, "resnet20", "0.27 M parameters, CIFAR-10 error 8.75 % (paper, table 6)")
resnet32 = of_family(resnet_cifar, "resnet32", "0.46 M parameters, CIFAR-10 error 7.51 % (paper, table 6)")
resnet44 = of_family(resnet_cifar, "resnet44", "0.66 M parameters, CIFAR-10 error 7.17 % (paper, table 6)")
resnet56 = of_family(resnet_cifar, "resnet56", "0.85 M parameters, CIFAR-10 error 6.97 % (paper, table 6)")
resnet110 = of_family(resnet_cifar, "resnet110", "1.7 M parameters, CIFAR-10 error 6.43 % (paper, table 6)")
