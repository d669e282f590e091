"""A dilated ResNet and a head over its last map: the plain one of torchvision's FCN; DeepLab has others.

Yu et al. 2017 (arXiv 1705.09914), Long et al. 2015 (1411.4038); notes 5.1.5.

    image      B 3 H W
    C5         of stride 8 or 16: the last two stages, or the last, dilate instead of striding
    head       3x3 to a quarter of the channels, 1x1 to K classes
    upsampled  bilinearly to the image -> B K H W; the same of C4, for training alone

Differs from torchvision: heads draw their first weights as the backbone does.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.resnet import ResNet, trunk
from vidi.backbones.trunk import initialise
from vidi.detection.options import frozen_below
from vidi.model import Supervised, of_family
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, NormLayer, norm_layer
from vidi.preprocess import Preprocess
from vidi.results.categories import category_names
from vidi.segmentation.semantic import VOC_CLASSES, AuxiliaryOutputs, SemanticOutputs, segmenter, upsampled

OutputStride = Literal[8, 16]
DILATED: dict[int, tuple[bool, bool, bool]] = {8: (False, True, True), 16: (False, False, True)}

# ----------------------------------------------------------------------------------------------------------------------
# Network


def dilated_trunk(
    name: str,
    stride: OutputStride,
    *,
    norm: Norm,
    width: int = 64,
    multi_grid: Sequence[int] = (1, 1, 1),
    even_entry: bool = False,
) -> ResNet:
    """Return a ResNet whose last map has a stride of 8 or 16.

    Args:
        name: of the ResNet.
        stride: of the last map.
        norm: of all layers.
        width: of stage 1.
        multi_grid: factors of the dilation of the last stage's blocks, (1, 2, 4) in v3's paper.
        even_entry: whether the first block of a dilated stage dilates as those after it do, not as those before it.

    Raises:
        ValueError: for another stride, or more blocks than factors.
    """
    if stride not in DILATED:
        raise ValueError(f"received stride={stride}, expected 8 or 16")
    backbone = trunk(name, norm=norm, width=width, dilated=DILATED[stride])
    if even_entry:
        for entry, later, *_ in (backbone.stage2, backbone.stage3, backbone.stage4):
            for layer, like in zip(convolutions_3x3(entry), convolutions_3x3(later), strict=True):
                layer.dilation, layer.padding = like.dilation, like.padding
    if tuple(multi_grid) != (1,) * len(multi_grid):
        if len(multi_grid) != len(backbone.stage4):
            raise ValueError(f"received multi_grid={tuple(multi_grid)}, expected {len(backbone.stage4)} factors")
        for block, factor in zip(backbone.stage4, multi_grid, strict=True):
            for layer in convolutions_3x3(block):
                layer.dilation = (layer.dilation[0] * factor, layer.dilation[1] * factor)
                layer.padding = layer.dilation
    return backbone


def convolutions_3x3(block: nn.Module) -> list[nn.Conv2d]:
    """Return the 3x3 convolutions of a block, in the order of the data."""
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]


class PlainHead(nn.Sequential):
    """One convolution to a quarter of the channels, and scores; also over C4 beside another head in training."""

    def __init__(self, channels: int, outputs: int, *, norm: NormLayer, dropout: float = 0.1):
        super().__init__(
            ConvNorm(channels, channels // 4, 3, norm=norm), nn.Dropout(dropout), nn.Conv2d(channels // 4, outputs, 1)
        )


class DilatedSegmenter(nn.Module):
    """Scores of C5, upsampled to the image; in training also those of C4, if there is a head for them."""

    def __init__(self, backbone: ResNet, head: nn.Module, auxiliary: nn.Module | None = None):
        super().__init__()
        self.backbone, self.head, self.auxiliary = backbone, head, auxiliary
        initialise(head)
        if auxiliary is not None:
            initialise(auxiliary)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SemanticOutputs | AuxiliaryOutputs:
        *_, c4, c5 = self.backbone.features(images)
        logits = upsampled(self.head(c5), images)
        if self.auxiliary is None:
            return SemanticOutputs(logits)
        return AuxiliaryOutputs(logits, upsampled(self.auxiliary(c4), images))


def with_auxiliary(
    backbone: ResNet, head: Callable[..., nn.Module], outputs: int, norm: Norm, *, auxiliary: bool
) -> DilatedSegmenter:
    """Put a head over C5, made of (channels, outputs, norm=), and a plain one over C4 if there is to be one."""
    *_, c4, c5 = backbone.channels
    second = PlainHead(c4, outputs, norm=norm_layer(norm)) if auxiliary else None
    return DilatedSegmenter(backbone, head(c5, outputs, norm=norm_layer(norm)), second)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def fcn_dilated(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 64,
    stride: OutputStride = 8,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    auxiliary: bool = True,
    size: tuple[int, int] | None = None,
    shorter: int = 520,
) -> Supervised:
    """Build torchvision's FCN by its name.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        stride: of the last map, 8 or 16.
        norm: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        auxiliary: whether training also has a head over C4.
        size: (H, W) that every image is resized to; None: its shorter side to `shorter`, the aspect ratio kept.
        shorter: pixels of the shorter side.
    """
    names = category_names(categories)
    trunk_of_name = dilated_trunk(name.removeprefix("fcn_"), stride, norm=norm, width=width)
    backbone = frozen_below(trunk_of_name, trainable_backbone_layers)
    network = with_auxiliary(backbone, PlainHead, len(names), norm, auxiliary=auxiliary)
    return segmenter(network, names, Preprocess(shorter=shorter, exact=size))


fcn_resnet50 = of_family(
    fcn_dilated, "fcn_resnet50", "35.3 M parameters, mIoU 60.5 on VOC's classes in COCO with torchvision's weights"
)
fcn_resnet101 = of_family(
    fcn_dilated, "fcn_resnet101", "54.3 M parameters, mIoU 63.7 on VOC's classes in COCO with torchvision's weights"
)
