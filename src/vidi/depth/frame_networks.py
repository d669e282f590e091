"""The two networks of SfMLearner: the inverse depth of a picture, and how the camera moved to its neighbours.

Zhou, Brown, Snavely, Lowe 2017 (arXiv 1704.07813), figure 4 and its code; notes 6.1.2.

    image        B 3 H W
    depth        seven levels of two convolutions, the first with stride 2; transposed convolutions up, with skips;
                 10 sigmoid + 0.01 at the last four levels: inverse depth B 1 H/8 W/8 .. B 1 H W
    frames       B 3 H W and B S 3 H W, side by side
    poses        five convolutions with stride 2, shared, two more, 1x1, averaged, times 0.01: B S 6, translation and
                 Euler angles
    explained    five transposed convolutions from the shared map, two logits for each neighbour at the last four

Differs from the notes: the pose network also says which pixels the neighbours explain. Depth and translation have one
unknown unit. Differs from the published code: the scores of inverse depth begin at a tenth of their size, or the first
steps, which only smooth it, drive the sigmoid to an end from which no picture brings it back.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.scaling import round_channels

DEPTH_WIDTHS, DEPTH_KERNELS = (32, 64, 128, 256, 512, 512, 512), (7, 5, 3, 3, 3, 3, 3)
UP_WIDTHS = (512, 512, 256, 128, 64, 32, 16)  # coarsest first
POSE_WIDTHS, POSE_KERNELS = (16, 32, 64, 128, 256), (7, 5, 3, 3, 3)
POSE_LAST = 256
MASK_WIDTHS, MASK_KERNELS = (256, 128, 64, 32, 16), (3, 3, 3, 5, 7)  # coarsest first
STEEPEST, LEAST = 10.0, 0.01  # inverse depth: 10 sigmoid + 0.01
FIRST_SCORES = 0.1  # of the size that other weights are drawn with
POSE_SCALE = 0.01
SCALES = 4


class InverseDepths(NamedTuple):
    """Inverse depths in an unknown unit, finest first."""

    scale1: Float[Tensor, "B 1 H W"]
    scale2: Float[Tensor, "B 1 _ _"]
    scale4: Float[Tensor, "B 1 _ _"]
    scale8: Float[Tensor, "B 1 _ _"]


class Motion(NamedTuple):
    """How the camera moved, and what of the target the neighbours show."""

    vectors: Float[Tensor, "B S 6"]  # of T_neighbour_target: translation, then Euler angles
    explained: tuple[Float[Tensor, "B S 2 _ _"], ...]  # logits at the four scales, finest first; none without a mask


def unit(in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size at stride 1, and a ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2), nn.ReLU(inplace=True))


class Doubled(nn.Module):
    """A transposed convolution of stride 2 and a ReLU: twice as large, or a row or a column less if asked."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, channels, kernel, 2, padding=kernel // 2, output_padding=1)

    def forward(self, x: Float[Tensor, "B C h w"], size: torch.Size) -> Float[Tensor, "B D H W"]:
        return F.relu(self.conv(x))[..., : size[0], : size[1]]


class DepthNetwork(nn.Module):
    """The inverse depth of one picture at four scales."""

    def __init__(self, *, width: float | int = 1.0):
        super().__init__()
        own = [round_channels(channels * width) for channels in DEPTH_WIDTHS]
        self.down = nn.ModuleList(
            nn.Sequential(unit(before, channels, kernel, stride=2), unit(channels, channels, kernel))
            for (before, channels), kernel in zip(pairwise((3, *own)), DEPTH_KERNELS, strict=True)
        )
        up = [round_channels(channels * width) for channels in UP_WIDTHS]
        beside = [*own[-2::-1], 0]
        numbers = range(len(up) - 1, -1, -1)  # of the levels, coarsest first
        self.up = nn.ModuleList(Doubled(before, channels) for before, channels in pairwise((own[-1], *up)))
        self.merge = nn.ModuleList(
            unit(channels + skip + (number < SCALES - 1), channels)
            for number, channels, skip in zip(numbers, up, beside, strict=True)
        )
        self.scores = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for channels in up[-SCALES:])
        draw_weights(self)
        with torch.no_grad():
            for score in self.scores.parameters():
                score.mul_(FIRST_SCORES)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> InverseDepths:
        x, maps = images, [images]
        for level in self.down:
            x = level(x)
            maps.append(x)
        found: list[Tensor] = []  # coarsest first
        for number, up, merge in zip(range(len(self.up) - 1, -1, -1), self.up, self.merge, strict=True):
            size = maps[number].shape[2:]
            beside = [maps[number]] if number else []
            if found:
                beside.append(F.interpolate(found[-1], size=size, mode="bilinear", align_corners=False))
            x = merge(torch.cat((up(x, size), *beside), 1))
            if number < SCALES:
                found.append(STEEPEST * torch.sigmoid(self.scores[SCALES - 1 - number](x)) + LEAST)
        return InverseDepths(*found[::-1])


class MotionNetwork(nn.Module):
    """The camera's motion to each of S neighbours, and which pixels they explain.

    Args:
        neighbours: S.
        masked: whether it also says what is explained.
        width: multiplies all channels.
    """

    def __init__(self, *, neighbours: int = 2, masked: bool = True, width: float | int = 1.0):
        super().__init__()
        self.neighbours = neighbours
        own = [round_channels(channels * width) for channels in POSE_WIDTHS]
        last = round_channels(POSE_LAST * width)
        self.shared = nn.ModuleList(
            unit(before, channels, kernel, stride=2)
            for (before, channels), kernel in zip(pairwise((3 * (neighbours + 1), *own)), POSE_KERNELS, strict=True)
        )
        self.motion = nn.Sequential(unit(own[-1], last, stride=2), unit(last, last, stride=2))
        self.score = nn.Conv2d(last, 6 * neighbours, 1)
        masks = [round_channels(channels * width) for channels in MASK_WIDTHS] if masked else []
        self.up = nn.ModuleList(
            Doubled(before, channels, kernel)
            for (before, channels), kernel in zip(pairwise((own[-1], *masks)), MASK_KERNELS, strict=False)
        )
        self.logits = nn.ModuleList(
            nn.Conv2d(channels, 2 * neighbours, kernel, padding=kernel // 2)
            for channels, kernel in zip(masks[-SCALES:], MASK_KERNELS[-SCALES:], strict=False)
        )
        draw_weights(self)

    def forward(self, images: Float[Tensor, "B 3 H W"], neighbours: Float[Tensor, "B S 3 H W"]) -> Motion:
        x = torch.cat((images, neighbours.flatten(1, 2)), 1)
        sizes = []
        for level in self.shared:
            sizes.append(x.shape[2:])
            x = level(x)
        vectors = POSE_SCALE * self.score(self.motion(x)).mean((2, 3)).unflatten(1, (self.neighbours, 6))
        logits: list[Tensor] = []  # coarsest first
        for number, up in enumerate(self.up):
            x = up(x, sizes[-1 - number])
            if number > 0:
                logits.append(self.logits[number - 1](x).unflatten(1, (self.neighbours, 2)))
        return Motion(vectors, tuple(logits[::-1]))


def draw_weights(network: nn.Module) -> None:
    """Draw convolutions uniformly (Glorot & Bengio 2010), without biases, as the published code does."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
