"""What a backbone is: from images to maps, finest first; a head over the last makes it a classifier, a neck a detector.

    images  B 3 H W
    maps    tuple of B C_i H/s_i W/s_i, with `channels` C_i and `strides` s_i

Stem and first weights are those that most families of convolutional networks share.
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.normalization import NormLayer

Stem = Literal["imagenet", "small"]
Maps = tuple[Float[Tensor, "B _ _ _"], ...]


class Backbone(nn.Module):
    """Images to a tuple of maps, finest first.

    Attributes:
        channels: of each map.
        strides: pixels of the image per pixel of each map.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps; each network says which."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        return self.features(images)


class ImageStem(nn.Module):
    """Bring an image to the resolution of stage 1: a quarter of it, or all of it for images of 28 to 64 pixels."""

    def __init__(self, stem: Stem, channels: int, norm: NormLayer):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        imagenet = stem == "imagenet"
        self.stride = 4 if imagenet else 1
        size, stride = (7, 2) if imagenet else (3, 1)
        self.conv = nn.Conv2d(3, channels, size, stride, padding=size // 2, bias=False)
        self.norm = norm(channels)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if imagenet else nn.Identity()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return self.pool(F.relu(self.norm(self.conv(images)), inplace=True))


def initialise(network: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / fan-out) (He et al. 2015); norms start at scale 1 and shift 0 already.

    Args:
        network: its convolutions are drawn from torch's global generator.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
