"""SE-ResNet and SE-ResNeXt: a gate per channel at the end of each residual branch, before the sum.

Hu et al. 2018 (arXiv 1709.01507), notes 2.4. The network is that of `vidi.backbones.resnet`:

    branch  B C H W  ->  average  B C 1 1  ->  1x1, ReLU  B C/16 1 1  ->  1x1, sigmoid  B C 1 1  ->  times branch

The arguments of the builders are explained there.
"""

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.resnet import trunk
from vidi.backbones.trunk import Stem
from vidi.model import Supervised, builder
from vidi.nn.normalization import Norm


@builder
def seresnet18(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNet-18: 11.8 M parameters."""
    backbone = trunk("seresnet18", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def seresnet34(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNet-34: 22.0 M parameters."""
    backbone = trunk("seresnet34", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def seresnet50(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNet-50: 28.1 M parameters."""
    backbone = trunk("seresnet50", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def seresnet101(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNet-101: 49.3 M parameters."""
    backbone = trunk("seresnet101", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def seresnet152(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNet-152: 66.8 M parameters."""
    backbone = trunk("seresnet152", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def seresnext50_32x4d(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNeXt-50 (32 x 4d): 27.6 M parameters."""
    backbone = trunk("seresnext50_32x4d", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


@builder
def seresnext101_32x8d(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    norm: Norm = "batch",
    width: int = 64,
    zero_init_residual: bool = False,
    smoothing: float = 0.0,
) -> Supervised:
    """Build SE-ResNeXt-101 (32 x 8d): 93.6 M parameters."""
    backbone = trunk("seresnext101_32x8d", stem=stem, norm=norm, width=width, zero_init_residual=zero_init_residual)
    return supervised_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)
