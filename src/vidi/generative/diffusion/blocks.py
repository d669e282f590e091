"""What denoising networks and autoencoders are made of: residual blocks that know the time, attention over places.

    ResidualBlock        B C H W, embedding B D -> B C' H W
    PlaceAttention       every place of a map looks at all others: B C H W -> B HW C -> attention -> B C H W
    ContextTransformer   places look at each other, then at a context B M Y (words), then each at itself
    Downsample, Upsample half and twice the size, by a convolution

Ho et al. 2020, 2006.11239, appendix B; Dhariwal & Nichol 2021, 2105.05233; Rombach et al. 2022, 2112.10752.
The tokens are the HW places, of C numbers each.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.nn.attention import MultiHeadAttention

Conditioning = Literal["add", "scale_shift", "concat"]
"""How a block takes the embedding of time and class: added to its channels (Ho et al. 2020); as scale and shift of its
second norm, GN(h) (1 + s) + b, adaptive group norm (Dhariwal & Nichol 2021); or broadcast over all places and put
beside its channels (notes 8.3.3)."""


def time_waves(
    times: Float[Tensor, " B"] | Int64[Tensor, " B"], width: int, *, shift: int = 0, period: float = 10_000.0
) -> Float[Tensor, "B D"]:
    """Return cosines, then sines, of a time at width / 2 frequencies from 1 down to nearly 1 / period, in float64.

    Args:
        times: 0 .. T - 1.
        width: D, an even number.
        shift: 1 ends at 1 / period exactly, as in the code of Ho et al. 2020 (which has the sines first).
        period: of the slowest wave, over 2 pi.
    """
    half = width // 2
    places = torch.arange(half, dtype=torch.float64, device=times.device)
    angles = times.double()[:, None] * (-math.log(period) * places / (half - shift)).exp()  # B D/2
    return torch.cat((angles.cos(), angles.sin()), 1)


class TimeEmbedding(nn.Module):
    """Waves of the time, and a network of one hidden layer (Ho et al. 2020): B -> B D."""

    def __init__(self, waves: int, width: int, *, shift: int = 0):
        super().__init__()
        self.waves, self.shift = waves, shift
        self.widen = nn.Linear(waves, width)
        self.narrow = nn.Linear(width, width)

    def forward(self, times: Int64[Tensor, " B"]) -> Float[Tensor, "B D"]:
        waves = time_waves(times, self.waves, shift=self.shift).to(self.widen.weight.dtype)
        return self.narrow(F.silu(self.widen(waves)))


class ClassEmbedding(nn.Module):
    """A vector of a class, added to that of the time: B -> B D.

    Args:
        classes: K, the one for "no class" included.
        width: D.
        hidden: whether the one-hot vector goes through a network of one hidden layer; else through one matrix, which
            is a table of rows.
    """

    def __init__(self, classes: int, width: int, *, hidden: bool = True):
        super().__init__()
        self.table = nn.Embedding(classes, width)  # the first linear map of a one-hot vector
        self.narrow = nn.Linear(width, width) if hidden else None
        self.bias = nn.Parameter(torch.zeros(width)) if hidden else None

    def forward(self, labels: Int64[Tensor, " B"]) -> Float[Tensor, "B D"]:
        row = self.table(labels)
        if self.narrow is None or self.bias is None:
            return row
        return self.narrow(F.silu(row + self.bias))


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice; the embedding comes in between, the input is added (Ho et al. 2020).

    Args:
        in_channels, out_channels: of the map; a 1 x 1 convolution leads around the block where they differ.
        embedding: D; None: the block knows no time.
        conditioning: how it takes the embedding.
        groups, eps: of the norms.
        dropout: before the second convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int | None = None,
        *,
        conditioning: Conditioning = "add",
        groups: int = 32,
        eps: float = 1e-5,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.conditioning = conditioning
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        parts = 2 if conditioning == "scale_shift" else 1
        self.embed = None if embedding is None else nn.Linear(embedding, parts * out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.dropout = nn.Dropout(dropout)
        beside = out_channels if embedding is not None and conditioning == "concat" else 0
        self.conv2 = nn.Conv2d(out_channels + beside, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Float[Tensor, "B C H W"], embedding: Tensor | None = None) -> Float[Tensor, "B D H W"]:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.embed is None or embedding is None:
            h = F.silu(self.norm2(h))
        else:
            said = self.embed(F.silu(embedding))[:, :, None, None]  # B D 1 1
            if self.conditioning == "add":
                h = F.silu(self.norm2(h + said))
            elif self.conditioning == "scale_shift":
                scale, shift = said.chunk(2, 1)
                h = F.silu(self.norm2(h) * (1 + scale) + shift)
            else:
                h = F.silu(self.norm2(h))
                h = torch.cat((h, said.expand_as(h)), 1)
        return self.shortcut(x) + self.conv2(self.dropout(h))


class PlaceAttention(nn.Module):
    """Self-attention of the places of a map, after a norm; what it finds is added."""

    def __init__(self, channels: int, heads: int, *, groups: int = 32, eps: float = 1e-5):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.attention = MultiHeadAttention(channels, heads)

    def forward(self, x: Float[Tensor, "B C H W"], context: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # B C H W -> B HW C
        return x + self.attention(tokens).transpose(1, 2).unflatten(2, x.shape[2:])  # B C H W


class GatedFeedForward(nn.Module):
    """(x W + a) gelu(x V + b), then a linear map: GEGLU (Shazeer 2020, 2002.05202), four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.widen = nn.Linear(width, 8 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        value, gate = self.widen(x).chunk(2, -1)
        return self.narrow(value * F.gelu(gate))


class ContextLayer(nn.Module):
    """Tokens look at each other, then at the context, then each at itself; a layer norm before each, a sum after."""

    def __init__(self, width: int, heads: int, context_width: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = MultiHeadAttention(width, heads, bias=False, output_bias=True)
        self.cross_attention = MultiHeadAttention(
            width, heads, context_width=context_width, bias=False, output_bias=True
        )
        self.feed_forward = GatedFeedForward(width)

    def forward(self, x: Float[Tensor, "B N D"], context: Float[Tensor, "B M Y"]) -> Float[Tensor, "B N D"]:
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed_forward(self.norm3(x))


class ContextTransformer(nn.Module):
    """A transformer over the places of a map that also look at a context: queries are places, keys and values words.

    Args:
        channels, heads: of the map and of its attention.
        context_width: Y.
        depth: layers.
        groups: of the norm before it; its eps is 1e-6.
        linear: whether linear maps lead in and out, as in Stable Diffusion 2; else 1 x 1 convolutions, which are the
            same map with other shapes of weights.
    """

    def __init__(
        self, channels: int, heads: int, context_width: int, *, depth: int = 1, groups: int = 32, linear: bool = False
    ):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, 1e-6)
        self.linear = linear
        self.enter = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.layers = nn.ModuleList(ContextLayer(channels, heads, context_width) for _ in range(depth))
        self.leave = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"], context: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        if context is None:
            raise ValueError("received no context, expected one: this network is told what to show")
        h = self.norm(x)
        if not self.linear:
            h = self.enter(h)
        h = h.flatten(2).transpose(1, 2)  # B C H W -> B HW C
        if self.linear:
            h = self.enter(h)
        for layer in self.layers:
            h = layer(h, context)
        if self.linear:
            h = self.leave(h)
        h = h.transpose(1, 2).unflatten(2, x.shape[2:])  # B C H W
        return x + (h if self.linear else self.leave(h))


class Downsample(nn.Module):
    """Half the size by a convolution of stride 2; odd sizes are rounded up.

    Args:
        channels: of the map.
        symmetric: whether both sides are padded; else the right and the lower alone, as TensorFlow does.
    """

    def __init__(self, channels: int, *, symmetric: bool = True):
        super().__init__()
        self.symmetric = symmetric
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if symmetric else 0)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return self.conv(x if self.symmetric else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """A larger size by nearest neighbours, and a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"], size: tuple[int, int] | None = None) -> Float[Tensor, "B C H W"]:
        """Return the map at a size (H, W); None: at twice its size."""
        size = (2 * x.shape[2], 2 * x.shape[3]) if size is None else size
        return self.conv(F.interpolate(x, size, mode="nearest"))
