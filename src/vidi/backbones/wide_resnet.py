"""Wide ResNet: fewer or equally many layers, more channels.

Zagoruyko & Komodakis 2016 (arXiv 1605.07146), notes 2.6.1. WRN-n-k for images of 32 pixels has n = 6 N + 4 layers and
k times the 16, 32, 64 channels; its blocks normalise before they convolve (He et al. 2016b, arXiv 1603.05027):

    images  B 3 32 32
    stem    B 16 32 32           3x3 convolution
    stages  B 16k 32 32, B 32k 16 16, B 64k 8 8       N blocks each; then norm, ReLU
    head    B K                  global average, linear

The forms for ImageNet are those of `vidi.backbones.resnet` with twice as wide 3x3 convolutions in the bottlenecks.

Differs from the paper: dropout is off unless asked for (its appendix uses 0.3 on CIFAR).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import supervised_classifier
from vidi.backbones.resnet import resnet
from vidi.backbones.trunk import Backbone, Maps, initialise
from vidi.model import Supervised, of_family
from vidi.preprocess import Preprocess


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after norm and ReLU, with dropout between them (paper, figure 1d)."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, dropout: float = 0.0):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.changes_shape = in_channels != channels or stride != 1
        self.skip = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if self.changes_shape else nn.Identity()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        active = F.relu(self.norm1(x), inplace=True)
        # where the shape changes both ways start from the activation (He et al. 2016b), else x goes on untouched
        skip = self.skip(active if self.changes_shape else x)
        branch = F.relu(self.norm2(self.conv1(active)), inplace=True)
        return self.conv2(self.dropout(branch)) + skip


class WideResNet(Backbone):
    """WRN-n-k without its head: images to the maps of its three stages, finest first.

    Raises:
        ValueError: if the depth is not 6 N + 4.
    """

    strides = (1, 2, 4)

    def __init__(self, depth: int, factor: int, *, dropout: float = 0.0):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"received a depth of {depth}, expected 6 N + 4: 10, 16, 22, 28, 34, 40, ...")
        count = (depth - 4) // 6
        self.channels = (16 * factor, 32 * factor, 64 * factor)
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        stages: list[nn.Sequential] = []
        for in_channels, channels, stride in zip((16, *self.channels), self.channels, (1, 2, 2), strict=False):
            first = WideBlock(in_channels, channels, stride=stride, dropout=dropout)
            rest = (WideBlock(channels, channels, dropout=dropout) for _ in range(1, count))
            stages.append(nn.Sequential(first, *rest))
        self.stage1, self.stage2, self.stage3 = stages
        self.norm = nn.BatchNorm2d(self.channels[-1])
        initialise(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps of the three stages, the last one normalised and rectified."""
        first = self.stage1(self.stem(images))
        second = self.stage2(first)
        third = self.stage3(second)
        return first, second, F.relu(self.norm(third), inplace=True)


# ----------------------------------------------------------------------------------------------------------------------
# Builders

CIFAR = {"wide_resnet16_4": (16, 4), "wide_resnet28_10": (28, 10), "wide_resnet40_4": (40, 4)}  # n, k


def wide_resnet(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 10,
    size: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network for small images by its name in `CIFAR`.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to.
        dropout: between the convolutions of each block.
        smoothing: of the labels, in [0, 1).
    """
    depth, factor = CIFAR[name]
    backbone = WideResNet(depth, factor, dropout=dropout)
    return supervised_classifier(backbone, categories, Preprocess(exact=size), smoothing=smoothing)


wide_resnet16_4 = of_family(wide_resnet, "wide_resnet16_4", "2.7 M parameters")
wide_resnet28_10 = of_family(
    wide_resnet, "wide_resnet28_10", "36.5 M parameters, CIFAR-10 error 4.00 % (paper, table 5)"
)
wide_resnet40_4 = of_family(wide_resnet, "wide_resnet40_4", "8.9 M parameters, CIFAR-10 error 4.53 % (paper, table 5)")

wide_resnet50_2 = of_family(resnet, "wide_resnet50_2", "68.9 M parameters, ImageNet top-1 78.5 %", __name__)
wide_resnet101_2 = of_family(resnet, "wide_resnet101_2", "126.9 M parameters, ImageNet top-1 78.8 %", __name__)
