"""Feature pyramid network: maps of all strides with equally many channels and equally much meaning.

Lin et al. 2017 (arXiv 1612.03144), figure 3; notes 4.3.3. P6 and P7 as in RetinaNet (Lin et al. 2017, 1708.02002).

    C3 B 512 H/8 W/8 ..... 1x1 -> + ............ 3x3 -> P3 B 256 H/8 W/8
                                  ^ nearest x2
    C4 B 1024 H/16 W/16 .. 1x1 -> + ............ 3x3 -> P4 B 256 H/16 W/16
                                  ^ nearest x2
    C5 B 2048 H/32 W/32 .. 1x1 -> + ............ 3x3 -> P5 B 256 H/32 W/32

Differs from the notes: every level is projected to the same number of channels, the top one too, and what flows down is
the sum, not the output of the 3x3 convolution. `TwoLevelMerge` is the notes' figure 4.15 taken literally.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Extra = Literal["none", "pool", "p6p7_from_p5", "p6p7_from_c5"]


def upsampled_to(x: Float[Tensor, "B C h w"], like: Float[Tensor, "B _ H W"]) -> Float[Tensor, "B C H W"]:
    """Repeat pixels (nearest neighbour) up to the size of another map, also where that is odd."""
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")


class FeaturePyramid(nn.Module):
    """Maps of a backbone, finest first, to as many maps with `channels` channels each, and coarser extra levels.

    Args:
        in_channels: of the maps that come in.
        channels: of every map that goes out.
        extra: "none"; "pool": one level more, every second pixel of the top (Faster R-CNN); "p6p7_from_p5" and
            "p6p7_from_c5": two more by 3x3 convolutions of stride 2 from the top that goes out (RetinaNet in
            torchvision's first weights) or from the top that comes in (the paper of RetinaNet).

    Raises:
        ValueError: for another `extra`.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, *, extra: Extra = "none"):
        super().__init__()
        if extra not in ("none", "pool", "p6p7_from_p5", "p6p7_from_c5"):
            raise ValueError(f"received extra={extra!r}, expected 'none', 'pool', 'p6p7_from_p5' or 'p6p7_from_c5'")
        self.channels = channels
        self.extra = extra
        self.lateral = nn.ModuleList([nn.Conv2d(count, channels, 1) for count in in_channels])
        self.smooth = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels])
        if extra in ("p6p7_from_p5", "p6p7_from_c5"):
            top = channels if extra == "p6p7_from_p5" else in_channels[-1]
            self.p6 = nn.Conv2d(top, channels, 3, stride=2, padding=1)
            self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        initialise(self)

    def strides(self, base: Sequence[int]) -> tuple[int, ...]:
        """Return the strides of the maps that go out, given those of the maps that come in."""
        return halved_levels(base, {"none": 0, "pool": 1}.get(self.extra, 2))

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> tuple[Float[Tensor, "B C _ _"], ...]:
        """Return the pyramid, finest level first.

        Raises:
            ValueError: if the number of maps is not that of `in_channels`.
        """
        if len(maps) != len(self.lateral):
            raise ValueError(f"received {len(maps)} maps, expected {len(self.lateral)}")
        sums = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            sums[level] = sums[level] + upsampled_to(sums[level + 1], sums[level])
        pyramid = [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]
        return (*pyramid, *self._extra_levels(pyramid[-1], maps[-1]))

    def _extra_levels(self, p5: Tensor, c5: Tensor) -> tuple[Tensor, ...]:
        if self.extra == "none":
            return ()
        if self.extra == "pool":
            return (p5[:, :, ::2, ::2],)
        p6 = self.p6(p5 if self.extra == "p6p7_from_p5" else c5)
        return p6, self.p7(F.relu(p6))


def halved_levels(strides: Sequence[int], more: int) -> tuple[int, ...]:
    """Return the strides of levels and of `more` on top of them, each half as fine as the one before."""
    return (*strides, *(strides[-1] * 2**level for level in range(1, more + 1)))


class TwoLevelMerge(nn.Module):
    """Enhance a map by the next coarser one: 1x1 to the coarser map's channels, add it upsampled, 3x3 (notes 4.3.3)."""

    def __init__(self, lower_channels: int, upper_channels: int):
        super().__init__()
        self.lateral = nn.Conv2d(lower_channels, upper_channels, 1)
        self.smooth = nn.Conv2d(upper_channels, upper_channels, 3, padding=1)
        initialise(self)

    def forward(self, lower: Float[Tensor, "B C H W"], upper: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D H W"]:
        lateral = self.lateral(lower)
        return self.smooth(lateral + upsampled_to(upper, lateral))


def initialise(module: nn.Module) -> None:
    """Draw convolutions uniformly with variance 1 / fan-in (`a=1`: no ReLU follows them); biases start at 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            nn.init.kaiming_uniform_(part.weight, a=1)
            nn.init.zeros_(part.bias)
