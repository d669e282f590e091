"""From an image to one vector: the image encoders of CLIP (notes 7.3.1).

    images      B 3 H W
    transformer B N+1 D       patches and [CLS] with positions, a layer norm, L pre-norm layers, a layer norm; [CLS]
    resnet      B C H/32 W/32 three 3x3 convolutions, an average pool; residual stages that average before they stride
    pool        B C           attention whose query is the mean of the map, or the mean itself
    embedding   B E           a projection

Radford et al. 2021, 2103.00020, section 2.4. Their ResNet is He et al.'s with the stem and the skip connections of
ResNet-D (He et al. 2019, 1812.01187), anti-aliased strides (Zhang 2019, 1904.11486) and attention in the place of the
global average.

Differs from the notes: released models pool by attention; the global average is the option "average".
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.vit import VisionTransformer
from vidi.nn.attention import MultiHeadAttention
from vidi.nn.convolution import Activation, ConvNorm
from vidi.nn.patches import grid_of
from vidi.nn.positional import LearnedPositions

# ----------------------------------------------------------------------------------------------------------------------
# Vision transformer


class TransformerTower(nn.Module):
    """A vision transformer whose [CLS] is projected.

    Args:
        size: (H, W) of the images, multiples of `patch`.
        patch: side of a patch in pixels.
        width, depth, heads: of the layers, whose feed-forward networks are four times as wide.
        embedding: E.
        activation: of the feed-forward networks.
    """

    def __init__(
        self,
        size: tuple[int, int],
        patch: int,
        *,
        width: int,
        depth: int,
        heads: int,
        embedding: int,
        activation: Activation,
    ):
        super().__init__()
        self.backbone = VisionTransformer(
            size,
            patch,
            width=width,
            depth=depth,
            heads=heads,
            hidden=4 * width,
            eps=1e-5,
            activation=activation,
            norm_before=True,
        )
        self.projection = nn.Linear(width, embedding, bias=False)
        for vectors in (self.backbone.class_token, self.backbone.positions.table, self.projection.weight):
            if vectors is not None:
                nn.init.normal_(vectors, std=width**-0.5)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Return the embeddings, not normalised."""
        return self.projection(self.backbone.tokens(images)[:, 0])


# ----------------------------------------------------------------------------------------------------------------------
# Residual network


class SmoothBottleneck(nn.Module):
    """A bottleneck block whose convolutions have stride 1: averages before the last one, and on the skip, stride."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        out_channels = width * self.expansion
        self.reduce = ConvNorm(in_channels, width, 1, norm=nn.BatchNorm2d)
        self.conv = ConvNorm(width, width, 3, norm=nn.BatchNorm2d)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.expand = ConvNorm(width, out_channels, 1, norm=nn.BatchNorm2d, activation=nn.Identity)
        self.skip = None
        if stride > 1 or in_channels != out_channels:
            self.skip = ConvNorm(in_channels, out_channels, 1, norm=nn.BatchNorm2d, activation=nn.Identity)
        self.activation = nn.ReLU()
        nn.init.zeros_(self.expand.norm.weight)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        branch = self.expand(self.pool(self.conv(self.reduce(x))))
        return self.activation(branch + (x if self.skip is None else self.skip(self.pool(x))))


class SmoothResNet(nn.Module):
    """CLIP's residual network, up to the last map.

    Args:
        blocks: of each stage.
        width: of the first stage's 3x3 convolutions; the last map has 32 times as many channels.
    """

    def __init__(self, blocks: tuple[int, ...], width: int):
        super().__init__()
        half = width // 2
        self.stem = nn.Sequential(
            ConvNorm(3, half, 3, 2, norm=nn.BatchNorm2d),
            ConvNorm(half, half, 3, norm=nn.BatchNorm2d),
            ConvNorm(half, width, 3, norm=nn.BatchNorm2d),
            nn.AvgPool2d(2),
        )
        self.stages = nn.ModuleList()
        channels = width
        for stage, count in enumerate(blocks):
            rows = nn.Sequential()
            for row in range(count):
                stride = 2 if stage and not row else 1
                rows.append(SmoothBottleneck(channels, width * 2**stage, stride))
                channels = width * 2**stage * SmoothBottleneck.expansion
            self.stages.append(rows)
        self.channels = channels
        self.stride = 4 * 2 ** (len(blocks) - 1)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return x


class AttentionPool(nn.Module):
    """Multi-head attention over the cells of a map and their mean, with learnt positions; the mean asks.

    Args:
        grid: (rows, columns) of the map.
        channels: C.
        heads: of the attention.
        embedding: E.
    """

    def __init__(self, grid: tuple[int, int], channels: int, heads: int, embedding: int):
        super().__init__()
        self.grid, self.prefix = grid, 1  # the mean goes before the cells
        self.positions = LearnedPositions(grid[0] * grid[1] + 1, channels, std=channels**-0.5)
        self.no_weight_decay = ("positions.table",)
        self.attention = MultiHeadAttention(channels, heads, out_width=embedding)
        for linear in (self.attention.query, self.attention.key, self.attention.value, self.attention.output):
            nn.init.normal_(linear.weight, std=channels**-0.5)

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B E"]:
        """Return what the mean finds.

        Raises:
            ValueError: for maps of another size than the positions are for.
        """
        if tuple(maps.shape[2:]) != self.grid:
            raise ValueError(f"received a map of {tuple(maps.shape[2:])} cells, expected {self.grid}, as the positions")
        cells = maps.flatten(2).transpose(1, 2)  # B C h w -> B N C
        tokens = self.positions(torch.cat((cells.mean(1, keepdim=True), cells), dim=1))  # B N+1 C
        return self.attention(tokens[:, :1], tokens)[:, 0]


class AveragePool(nn.Module):
    """The mean of the cells of a map, projected."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.projection = nn.Linear(channels, embedding, bias=False)
        nn.init.normal_(self.projection.weight, std=channels**-0.5)

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B E"]:
        return self.projection(maps.mean((2, 3)))


class ResNetTower(nn.Module):
    """A residual network whose map is pooled to one vector.

    Args:
        size: (H, W) of the images, multiples of 32.
        blocks, width: as `SmoothResNet`.
        head: channels of a head of the attention.
        embedding: E.
        pool: "attention" or "average".

    Raises:
        ValueError: for another pool, and heads that do not divide the map.
    """

    def __init__(
        self, size: tuple[int, int], blocks: tuple[int, ...], *, width: int, head: int, embedding: int, pool: str
    ):
        super().__init__()
        if pool not in ("attention", "average"):
            raise ValueError(f"received pool={pool!r}, expected 'attention' or 'average'")
        self.backbone = SmoothResNet(blocks, width)
        channels, grid = self.backbone.channels, grid_of(size, self.backbone.stride)
        self.pool: nn.Module = AveragePool(channels, embedding)
        if pool == "attention":
            if channels % head:
                raise ValueError(
                    f"received a map of {channels} channels and head={head}, expected heads that divide it"
                )
            self.pool = AttentionPool(grid, channels, channels // head, embedding)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Return the embeddings, not normalised."""
        return self.pool(self.backbone(images))
