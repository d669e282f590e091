"""ResNeXt: a ResNet whose 3x3 convolutions are split into groups.

Xie et al. 2017 (arXiv 1611.05431), notes 2.3. The network is that of `vidi.backbones.resnet`, figure 3c of the paper:

    x  B 256 H W   ->  1x1  B 128 H W  ->  3x3 in 32 groups of 4 channels  B 128 H W  ->  1x1  B 256 H W  ->  + x, ReLU

The arguments of the builders are explained there.
"""

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.resnet import trunk
from vidi.backbones.trunk import Stem
from vidi.model import Supervised, builder
from vidi.nn.normalization import Norm


@builder
def resnext50_32x4d(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build ResNeXt-50 (32 x 4d): 25.0 M parameters, about the cost of ResNet-50."""
    backbone = trunk("resnext50_32x4d", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def resnext101_32x8d(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build ResNeXt-101 (32 x 8d): 88.8 M parameters."""
    backbone = trunk("resnext101_32x8d", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def resnext101_64x4d(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build ResNeXt-101 (64 x 4d): 83.5 M parameters."""
    backbone = trunk("resnext101_64x4d", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)
