"""BiFPN: a feature pyramid whose levels exchange what they see in both directions, with learnt weights.

Tan, Pang, Le 2020, "EfficientDet", arXiv 1911.09070, section 3; notes 4.A.

    maps       C3, C4, C5, B C_i h_i w_i each; P6 is C5 projected and halved, P7 is P6 halved
    top-down   td_i = conv(fuse(P_i, up(td_i+1))); for the top level td is P itself         B D h_i w_i
    bottom-up  out_i = conv(fuse(P_i, td_i, down(out_i-1))); the lowest level's out is its td, the top has no td
    fuse       sum of relu(w_k) x_k / (sum of relu(w_k) + 1e-4), or the weights' softmax, or the plain sum
    conv       activation, 3x3 depth-wise convolution, 1x1 convolution, norm
    repeat     the maps of one cell are the inputs of the next: one map of D channels for each level

Differs from the notes: the sum that flows down is normalised as well, and by the weights of its own node, not by one of
the next level. Differs from the paper, as the published code: the activation comes before the convolution, maps with
another number of channels are projected at each node that reads them, and down is 3x3 max pooling of stride 2.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.necks.feature_pyramid import halved_levels, upsampled_to
from vidi.nn.convolution import Activation, SeparableConv2d, tensorflow_padding
from vidi.nn.normalization import NormLayer, norm_layer

Fusion = Literal["fast", "softmax", "sum"]

FUSION_EPS = 1e-4  # added to the sum of the weights (section 3.3)
NORM = norm_layer("batch", eps=1e-3, momentum=0.01)  # of the published networks


def fusion_shares(weights: Float[Tensor, " N"], fusion: Fusion = "fast") -> Float[Tensor, " N"]:
    """Return the share of each map in a weighted sum of N maps (section 3.3).

    "fast": relu(w) / (sum of relu(w) + 1e-4), which is nearly as good as the softmax and faster; "softmax"; "sum": 1.

    Raises:
        ValueError: for another way.
    """
    if fusion == "fast":
        positive = weights.relu()
        return positive / (positive.sum() + FUSION_EPS)
    if fusion == "softmax":
        return weights.softmax(0)
    if fusion == "sum":
        return torch.ones_like(weights)
    raise ValueError(f"received fusion={fusion!r}, expected one of {', '.join(map(repr, get_args(Fusion)))}")


class WeightedFusion(nn.Module):
    """Sum N maps of equal shape with learnt weights, equal at first; the plain sum has none."""

    def __init__(self, count: int, fusion: Fusion = "fast"):
        super().__init__()
        fusion_shares(torch.ones(count), fusion)  # refuses an unknown way
        self.fusion: Fusion = fusion
        self.weights = None if fusion == "sum" else nn.Parameter(torch.ones(count))

    def forward(self, maps: Sequence[Float[Tensor, "B D h w"]]) -> Float[Tensor, "B D h w"]:
        if self.weights is None:
            return functools.reduce(torch.add, maps)
        shares = fusion_shares(self.weights, self.fusion)
        return functools.reduce(torch.add, (share * x for share, x in zip(shares, maps, strict=True)))


# ----------------------------------------------------------------------------------------------------------------------
# Layers


@dataclass(frozen=True)
class Style:
    """What the published pyramids and heads differ in, besides their sizes."""

    norm: NormLayer = NORM
    activation: Activation = nn.SiLU
    fusion: Fusion = "fast"
    bias: bool = False  # of 1x1 convolutions before a norm, which makes it superfluous: the authors' weights have it
    same_padding: bool = False  # pool as TensorFlow does: the authors' weights need it


class Projection(nn.Module):
    """A 1x1 convolution and a norm."""

    def __init__(self, in_channels: int, channels: int, style: Style):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=style.bias)
        self.norm = style.norm(channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        return self.norm(self.conv(x))


def projection(in_channels: int, channels: int, style: Style) -> nn.Module:
    """Return what gives a map `channels` channels: nothing where it has them."""
    return nn.Identity() if in_channels == channels else Projection(in_channels, channels, style)


def halved(x: Float[Tensor, "B C H W"], *, same_padding: bool = False) -> Float[Tensor, "B C h w"]:
    """Return the maximum of the 3x3 pixels around every second one: ceil(H / 2) rows.

    With `same_padding` the windows of an even side begin at its first pixel, not one before it, as in TensorFlow.
    """
    if not same_padding:
        return F.max_pool2d(x, 3, stride=2, padding=1)
    rows, columns = (tensorflow_padding(side, 3, 2) for side in x.shape[-2:])
    return F.max_pool2d(F.pad(x, (*columns, *rows), value=-torch.inf), 3, stride=2)


# ----------------------------------------------------------------------------------------------------------------------
# Pyramid


class Node(nn.Module):
    """Fuse maps of one level with one of the next coarser or finer level, and convolve."""

    def __init__(self, in_channels: Sequence[int], channels: int, style: Style):
        super().__init__()
        self.same_padding = style.same_padding
        self.projections = nn.ModuleList([projection(count, channels, style) for count in in_channels])
        self.fuse = WeightedFusion(len(in_channels), style.fusion)
        self.activation = style.activation()
        self.conv = SeparableConv2d(channels, channels, bias=style.bias)
        self.norm = style.norm(channels)

    def forward(
        self,
        own: Sequence[Float[Tensor, "B _ h w"]],
        *,
        coarser: Float[Tensor, "B _ _ _"] | None = None,
        finer: Float[Tensor, "B _ _ _"] | None = None,
    ) -> Float[Tensor, "B D h w"]:
        *projections, last = self.projections
        maps = [project(x) for project, x in zip(projections, own, strict=True)]
        if coarser is not None:
            maps.append(upsampled_to(last(coarser), own[0]))
        if finer is not None:
            maps.append(halved(last(finer), same_padding=self.same_padding))
        return self.norm(self.conv(self.activation(self.fuse(maps))))


class BiFPNCell(nn.Module):
    """One way down and one way up: figure 2 (d)."""

    def __init__(self, in_channels: Sequence[int], channels: int, style: Style):
        super().__init__()
        *lower, top = in_channels
        coarser = [*[channels] * (len(lower) - 1), top]  # what flows down into each level but the top
        down = [Node(pair, channels, style) for pair in zip(lower, coarser, strict=True)]
        self.down = nn.ModuleList(reversed(down))  # in the order of use: coarsest first
        middle = [Node((count, channels, channels), channels, style) for count in lower[1:]]
        self.up = nn.ModuleList([*middle, Node((top, channels), channels, style)])

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        *lower, top = maps
        flowing = [top]  # td, coarsest first
        for node, own in zip(self.down, reversed(lower), strict=True):
            flowing.append(node([own], coarser=flowing[-1]))
        *between, lowest = flowing[1:]
        out = [lowest]
        *nodes, last = self.up
        for node, own, td in zip(nodes, lower[1:], reversed(between), strict=True):
            out.append(node([own, td], finer=out[-1]))
        return (*out, last([top], finer=out[-1]))


class BiFPN(nn.Module):
    """Maps of a backbone, finest first, to maps of `channels` channels at as many levels or more.

    Args:
        in_channels: of the maps that come in, at least one.
        channels: of every map that goes out (W_bifpn of the paper).
        levels: of the maps that go out; those beyond the incoming ones are halved from the coarsest of these.
        repeats: of the cell (D_bifpn).
        style: norms, activation and kind of fusion.

    Raises:
        ValueError: for fewer than two levels, or fewer than the incoming ones, no cell, or an unknown fusion.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        *,
        levels: int = 5,
        repeats: int = 3,
        style: Style | None = None,
    ):
        super().__init__()
        if not in_channels or levels < max(len(in_channels), 2) or repeats < 1:
            raise ValueError(
                f"received {len(in_channels)} maps, levels={levels} and repeats={repeats}, expected at least one map, "
                "two levels and as many as maps, and one cell"
            )
        self.style = Style() if style is None else style
        self.channels = channels
        self.levels = levels
        self.incoming = len(in_channels)
        extra = levels - self.incoming
        # the first extra level is projected from the backbone's last map, the others have the channels already
        self.extra = projection(in_channels[-1], channels, self.style) if extra else nn.Identity()
        counts = [*in_channels, *[channels] * extra]
        cells = [BiFPNCell(counts, channels, self.style)]
        cells += [BiFPNCell([channels] * levels, channels, self.style) for _ in range(repeats - 1)]
        self.cells = nn.Sequential(*cells)
        initialise(self)

    def strides(self, base: Sequence[int]) -> tuple[int, ...]:
        """Return the strides of the maps that go out, given those of the maps that come in."""
        return halved_levels(base, self.levels - len(base))

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Return the pyramid, finest level first.

        Raises:
            ValueError: if the number of maps is not that of `in_channels`.
        """
        if len(maps) != self.incoming:
            raise ValueError(f"received {len(maps)} maps, expected {self.incoming}")
        return self.cells((*maps, *self._extra_levels(maps[-1])))

    def _extra_levels(self, top: Tensor) -> list[Tensor]:
        levels: list[Tensor] = []
        for _ in range(self.levels - self.incoming):
            levels.append(halved(levels[-1] if levels else self.extra(top), same_padding=self.style.same_padding))
        return levels


def initialise(pyramid: nn.Module) -> None:
    """Draw convolutions uniformly with the variance 1 / mean of fan-in and fan-out; biases start at 0."""
    for module in pyramid.modules():
        if isinstance(module, nn.Conv2d):
            if module.groups == 1:
                nn.init.xavier_uniform_(module.weight)
            else:  # of a depth-wise convolution both fans are its kernel's 9
                nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
