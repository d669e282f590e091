"""Two feature pyramids without a network of their own: of an image at several sizes, of the stages of one network.

Adelson et al. 1984, "Pyramid methods in image processing" (images); Liu et al. 2016 (SSD), arXiv 1512.02325, figure 2
(stages); notes 4.3.3. Detectors look for large things on coarse maps and for small ones on fine maps.

    image pyramid    B 3 H W -> resized to s H x s W for each scale s -> the same extractor -> its last map, of each
    CNN pyramid      B 3 H W -> the extractor once -> the maps of its stages, and of more stages on top of them

All maps of the image pyramid come from the whole depth of the extractor; the price is a pass for each scale, of s^2
times the cost of one: 1 + 1/4 + 1/16 + ... < 4/3 for smaller and smaller images, but 85 for maps as fine as the four of
a ResNet (scales 8, 4, 2, 1). The maps of the CNN pyramid are there anyway; its fine ones mean little, since only few
layers have seen them. The feature pyramid network (vidi.necks.feature_pyramid) gives these the meaning back.

Differs from the notes: more stages may be put on top of the network, as SSD does, and those are not free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import Backbone, Maps
from vidi.nn.cost import CostReport, count_cost

OCTAVES = (1.0, 0.5, 0.25)  # scales of an image pyramid that halves


class ImagePyramid(nn.Module):
    """Run one extractor on rescaled images: as many maps as scales, in their order, all from its last layer.

    Args:
        extractor: whose last map is taken.
        scales: of the sides of the images, largest first; rescaled sides are rounded.

    Attributes:
        channels: of each map.
        strides: pixels of the image as it came per pixel of each map; not whole numbers for every scale.

    Raises:
        ValueError: if there is no scale, one is not positive, or they do not fall.
    """

    def __init__(self, extractor: Backbone, scales: Sequence[float | int] = OCTAVES):
        super().__init__()
        falling = all(first > second for first, second in pairwise(scales))
        if not scales or min(scales) <= 0 or not falling:
            raise ValueError(f"received the scales {tuple(scales)}, expected positive ones, largest first")
        self.extractor = extractor
        self.scales = tuple(scales)
        self.channels = (extractor.channels[-1],) * len(self.scales)
        self.strides = tuple(extractor.strides[-1] / scale for scale in self.scales)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return one map for each scale, finest first."""
        return tuple(self.extractor(rescaled(images, scale))[-1] for scale in self.scales)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        return self.features(images)


def rescaled(images: Float[Tensor, "B C H W"], scale: float | int) -> Float[Tensor, "B C h w"]:
    """Resize images to `scale` times their sides, rounded but at least 1 pixel, and low-pass filtered when shrunk."""
    if scale == 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


class CnnPyramid(Backbone):
    """Take the maps that a network makes on its way, and those of further stages on top of it, finest first.

    Args:
        backbone: whose maps are taken.
        taken: which of the backbone's maps belong to the pyramid, in rising order.
        stages: modules in a row, the first on the backbone's map `top`; the output of each belongs to the pyramid.
        channels: of the outputs of the stages.
        strides: of the outputs of the stages, in pixels of the image.
        top: the backbone's map that the stages go on from; the last by default.

    Raises:
        ValueError: if channels or strides are not one for each stage, or nothing belongs to the pyramid.
    """

    def __init__(
        self,
        backbone: Backbone,
        taken: Sequence[int],
        stages: Sequence[nn.Module] = (),
        *,
        channels: Sequence[int] = (),
        strides: Sequence[int] = (),
        top: int = -1,
    ):
        super().__init__()
        if not len(stages) == len(channels) == len(strides):
            received = f"{len(stages)} stages with {len(channels)} channels and {len(strides)} strides"
            raise ValueError(f"received {received}, expected one of each for every stage")
        if not taken and not stages:
            raise ValueError("received neither maps to take nor stages, expected at least one")
        self.backbone = backbone
        self.stages = nn.ModuleList(stages)
        self.taken, self.top = tuple(taken), top
        self.channels = (*(backbone.channels[index] for index in self.taken), *channels)
        self.strides = (*(backbone.strides[index] for index in self.taken), *strides)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps of the pyramid, finest first."""
        own = self.backbone(images)
        maps, x = [own[index] for index in self.taken], own[self.top]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


# ----------------------------------------------------------------------------------------------------------------------
# What they cost


@dataclass(frozen=True)
class PyramidCosts:
    """What the maps of one extractor cost: the deepest alone, all of its stages, and those of an image pyramid."""

    once: CostReport
    cnn: CostReport
    image: CostReport
    scales: tuple[float | int, ...]  # of the image pyramid

    @property
    def cnn_ratio(self) -> float:
        """Multiply-adds of the CNN pyramid per one of the deepest map alone: 1."""
        return self.cnn.macs / self.once.macs

    @property
    def image_ratio(self) -> float:
        """Multiply-adds of the image pyramid per one of a single pass: the sum of the squared scales."""
        return self.image.macs / self.once.macs

    def table(self) -> str:
        """Return the comparison as text."""
        scales = ", ".join(f"{scale:g}" for scale in self.scales)
        rows = (
            ("deepest map alone", self.once, 1.0),
            ("CNN pyramid", self.cnn, self.cnn_ratio),
            (f"image pyramid at {scales}", self.image, self.image_ratio),
        )
        width = max(len(name) for name, _, _ in rows)
        return "\n".join(f"{name:<{width}}  {cost.macs:>18,} MACs  {ratio:>8.3f}x" for name, cost, ratio in rows)


def pyramid_costs(
    extractor: Backbone, image_size: int | tuple[int, int], *, scales: Sequence[float | int] = OCTAVES
) -> PyramidCosts:
    """Count what both pyramids of an extractor cost for one image, beside a single pass; see vidi.nn.cost.

    Args:
        extractor: as for `ImagePyramid`, on the CPU or on the meta device.
        image_size: (H, W) in pixels, or the side of a square.
        scales: of the image pyramid.

    Raises:
        ValueError: for scales that are none.
    """
    image = ImagePyramid(extractor, scales)
    stages = CnnPyramid(extractor, range(len(extractor.strides)))
    once, cnn, rescaled_images = (count_cost(network, image_size) for network in (extractor, stages, image))
    return PyramidCosts(once, cnn, rescaled_images, image.scales)
