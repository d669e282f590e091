"""Pixel decoders: from the maps of a backbone to an embedding of every pixel at the resolution of the finest.

PixelDecoder            top down, as a pyramid; MaskFormer (Cheng et al. 2021, arXiv 2107.06278, section 3.3)
DeformablePixelDecoder  the cells of C5, C4, C3 look at each other first, and are given, too, for queries to look at
                        (Cheng et al. 2022, arXiv 2112.01527; Zhu et al. 2021, arXiv 2010.04159)
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import Maps
from vidi.nn.feed_forward import FeedForward
from vidi.nn.normalization import norm_layer
from vidi.nn.positional import sinusoids_2d
from vidi.nn.transformer import Residual
from vidi.ops.deformable_attention import deformable_attention

LEVELS = 3  # maps whose cells look at each other
POINTS = 4  # of a query and head in each map
Sizes = Sequence[tuple[int, int]]

# ----------------------------------------------------------------------------------------------------------------------
# Top down


class ConvNormReLU(nn.Sequential):
    """A 3x3 convolution without bias, group norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        norm = norm_layer("group")(out_channels)
        super().__init__(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), norm, nn.ReLU())


class Lateral(nn.Module):
    """Add a finer map of the backbone to the enlarged map above it, and smooth the sum."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), norm_layer("group")(channels))
        self.smooth = ConvNormReLU(channels, channels)

    def forward(self, coarse: Float[Tensor, "B D h w"], fine: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        return self.smooth(F.interpolate(coarse, fine.shape[2:], mode="nearest") + self.project(fine))


class PixelDecoder(nn.Module):
    """From the maps of a backbone to an embedding of every pixel at the resolution of the finest (section 3.3)."""

    def __init__(self, in_channels: tuple[int, ...], channels: int, embedding: int):
        super().__init__()
        self.stem = ConvNormReLU(in_channels[-1], channels)
        self.laterals = nn.ModuleList(Lateral(count, channels) for count in reversed(in_channels[:-1]))
        self.embed = nn.Conv2d(channels, embedding, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, maps: Maps) -> Float[Tensor, "B E H W"]:
        x = self.stem(maps[-1])
        for lateral, fine in zip(self.laterals, reversed(maps[:-1]), strict=True):
            x = lateral(x, fine)
        return self.embed(x)


# ----------------------------------------------------------------------------------------------------------------------
# With deformable attention


class DeformableAttention(nn.Module):
    """Every token looks at some points around it in every map, at places and with weights that it says itself."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"received width={width}, heads={heads}; expected a width that the heads divide")
        self.heads = heads
        self.offsets = nn.Linear(width, heads * LEVELS * POINTS * 2)
        self.weights = nn.Linear(width, heads * LEVELS * POINTS)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        for linear in (self.offsets, self.weights):
            nn.init.zeros_(linear.weight)
        for linear in (self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.weights, self.value, self.output):
            nn.init.zeros_(linear.bias)
        with torch.no_grad():
            self.offsets.bias.copy_(self.first_offsets(heads).flatten())

    @staticmethod
    def first_offsets(heads: int) -> Float[Tensor, "h L P 2"]:
        """Return offsets in cells: head k looks into direction k of a circle, point p at p + 1 cells (to a square)."""
        angles = torch.arange(heads) * (2 * math.pi / heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)  # h 2
        steps = torch.arange(1, POINTS + 1)[:, None]  # P 1
        return (directions[:, None, None] * steps).expand(-1, LEVELS, -1, -1)

    def forward(
        self,
        queries: Float[Tensor, "B T D"],
        tokens: Float[Tensor, "B T D"],
        centres: Float[Tensor, "T 2"],
        sizes: Sizes,
    ) -> Float[Tensor, "B T D"]:
        """Return what the queries find.

        Args:
            queries: tokens with their positions.
            tokens: where they look: the cells of all maps.
            centres: of the queries' cells, shares of the sides.
            sizes: (H, W) of the maps.
        """
        shape = (self.heads, LEVELS, POINTS)
        sides = torch.tensor([(W, H) for H, W in sizes], dtype=centres.dtype, device=centres.device)  # L 2
        offsets = self.offsets(queries).unflatten(-1, (*shape, 2)) / sides[:, None]  # B T h L P 2
        weights = self.weights(queries).unflatten(-1, (self.heads, -1)).softmax(-1)  # B T h LP
        values = self.value(tokens).unflatten(-1, (self.heads, -1))  # B T h d
        places = centres[:, None, None, None] + offsets
        found = deformable_attention(values, sizes, places, weights.unflatten(-1, shape[1:]))
        return self.output(found.flatten(2).to(queries.dtype))  # B T h d -> B T D


class DeformableLayer(nn.Module):
    """Deformable attention and a feed-forward network, post-norm."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        around = {"norm_first": False, "dropout": dropout, "eps": 1e-5}
        self.attention = DeformableAttention(width, heads)
        self.attention_residual = Residual(width, **around)
        self.feed_forward = FeedForward(width, hidden, dropout=dropout)
        self.feed_forward_residual = Residual(width, **around)

    def forward(
        self,
        tokens: Float[Tensor, "B T D"],
        places: Float[Tensor, "1 T D"],
        centres: Float[Tensor, "T 2"],
        sizes: Sizes,
    ) -> Float[Tensor, "B T D"]:
        tokens = self.attention_residual(tokens, lambda x: self.attention(x + places, x, centres, sizes))
        return self.feed_forward_residual(tokens, self.feed_forward)


def cell_centres(sizes: Sizes, like: Tensor) -> Float[Tensor, "T 2"]:
    """Return the centres of the cells of all maps, x and y as shares of the sides."""
    rows = []
    for H, W in sizes:
        y = (torch.arange(H, dtype=like.dtype, device=like.device) + 0.5) / H
        x = (torch.arange(W, dtype=like.dtype, device=like.device) + 0.5) / W
        rows.append(torch.stack((x.expand(H, W), y[:, None].expand(H, W)), -1).flatten(0, 1))
    return torch.cat(rows)


class DeformablePixelDecoder(nn.Module):
    """From C2 .. C5 to maps of one width at strides 32, 16, 8, and an embedding of every pixel at stride 4."""

    def __init__(
        self,
        in_channels: tuple[int, ...],  # of C2 .. C5
        width: int,
        embedding: int,
        *,
        heads: int,
        hidden: int,
        layers: int,
        dropout: float,
    ):
        super().__init__()
        norm = norm_layer("group")
        finest, *deeper = in_channels
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1), norm(width)) for channels in reversed(deeper)
        )
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, width))
        self.layers = nn.ModuleList(DeformableLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.lateral = nn.Sequential(nn.Conv2d(finest, width, 1, bias=False), norm(width))
        self.smooth = ConvNormReLU(width, width)
        self.embed = nn.Conv2d(width, embedding, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Maps) -> tuple[Float[Tensor, "B E H W"], list[Float[Tensor, "B D _ _"]]]:
        """Return the pixel embeddings, and the three maps, the coarsest first."""
        finest, *deeper = maps
        levels = [project(x) for project, x in zip(self.projections, reversed(deeper), strict=True)]  # B D h w
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)  # B T D
        places = torch.cat(
            [places_of(level) + own for level, own in zip(levels, self.level_embedding, strict=True)], 1
        )  # 1 T D
        centres = cell_centres(sizes, tokens)
        for layer in self.layers:
            tokens = layer(tokens, places, centres, sizes)
        parts = tokens.transpose(1, 2).split([H * W for H, W in sizes], 2)  # B D hw
        seen = [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
        coarse = F.interpolate(seen[-1], finest.shape[2:], mode="bilinear", align_corners=False)
        return self.embed(self.smooth(self.lateral(finest) + coarse)), seen


def places_of(x: Float[Tensor, "B D h w"]) -> Float[Tensor, "1 T D"]:
    """Return the sines and cosines of a map's cells."""
    everywhere = torch.ones_like(x[:1, 0], dtype=torch.bool)  # 1 h w
    return sinusoids_2d(everywhere, x.shape[1]).flatten(1, 2).to(x)
