"""The denoising U-Net: from a noisy picture and its time to the noise in it (notes 8.3.3).

    x_t      B C H W      -> conv_in          B c_0 H W
    time     B            -> waves -> MLP     B D          + a vector of the class, or of the whole text
    down     each level: residual blocks, each with attention where the level has it; then half the size
    middle   residual block, attention, residual block
    up       the levels backwards; each block sees beside its map what its mirror image on the way down gave
    out      norm, SiLU, convolution          B C' H W

Ho et al. 2020, 2006.11239 (PixelCNN++'s U-Net with group norm, attention at 16 x 16); Dhariwal & Nichol 2021,
2105.05233 (adaptive group norm, classes); Rombach et al. 2022, 2112.10752 (a context, such as words, in place of plain
self-attention); Nichol et al. 2022, 2112.10741 (the last token of a text in place of a class). With the right numbers
it is `UNet2DModel` and `UNet2DConditionModel` of diffusers.

The last map of each residual block and of each attention begins at zero, as in the papers' code, so that an untrained
network gives no noise at all. Odd sizes are rounded up on the way down; the way up returns to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.generative.diffusion.blocks import (
    ClassEmbedding,
    Conditioning,
    ContextTransformer,
    Downsample,
    PlaceAttention,
    ResidualBlock,
    TimeEmbedding,
    Upsample,
)


@dataclass(frozen=True, kw_only=True)
class UNetSizes:
    """The numbers of a denoising U-Net.

    Attributes:
        channels: of each level, the finest first.
        attends: whether the blocks of each level have attention; the middle always has.
        heads: of the attention of each level, the last also of the middle.
        blocks: residual blocks of a level on the way down; on the way up there is one more.
        conditioning: how a block takes time and class.
        context: width of the words that attention looks at; None: places look at each other only.
        sums_up: whether the last word, which has seen all others, is added to the time.
        depth: layers of each attention that sees a context.
        linear: as `ContextTransformer`.
        groups, eps: of the norms.
        dropout: of the residual blocks.
        shift: of the waves of the time.
        symmetric: how convolutions of stride 2 pad.
    """

    channels: tuple[int, ...]
    attends: tuple[bool, ...]
    heads: tuple[int, ...]
    blocks: int = 2
    conditioning: Conditioning = "add"
    context: int | None = None
    sums_up: bool = False
    depth: int = 1
    linear: bool = False
    groups: int = 32
    eps: float = 1e-5
    dropout: float = 0.0
    shift: int = 0
    symmetric: bool = True

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.attends) == len(self.heads) >= 1:
            raise ValueError(f"received {self}, expected as many attends and heads as channels")
        if any(width % self.groups or width % heads for width, heads in zip(self.channels, self.heads, strict=True)):
            raise ValueError(f"received {self}, expected groups and heads that divide the channels")
        if self.sums_up and self.context is None:
            raise ValueError(f"received {self}, expected a context to sum up")

    @property
    def embedding(self) -> int:
        """The width of the vector of time and class: four times the first channels."""
        return 4 * self.channels[0]

    def block(self, in_channels: int, out_channels: int) -> ResidualBlock:
        """Return a residual block."""
        return ResidualBlock(
            in_channels,
            out_channels,
            self.embedding,
            conditioning=self.conditioning,
            groups=self.groups,
            eps=self.eps,
            dropout=self.dropout,
        )

    def attention(self, level: int) -> nn.Module:
        """Return an attention of a level."""
        channels, heads = self.channels[level], self.heads[level]
        if self.context is None:
            return PlaceAttention(channels, heads, groups=self.groups, eps=self.eps)
        return ContextTransformer(
            channels, heads, self.context, depth=self.depth, groups=self.groups, linear=self.linear
        )


class Level(nn.Module):
    """Residual blocks of one size, each with attention or without, then the way to the next size or none.

    Args:
        sizes: of the network.
        level: the number of the level.
        inputs: channels that go into each block.
        resize: leads to the next size; None at the end.
    """

    def __init__(self, sizes: UNetSizes, level: int, inputs: Sequence[int], resize: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(sizes.block(channels, sizes.channels[level]) for channels in inputs)
        attentions = [sizes.attention(level) for _ in inputs] if sizes.attends[level] else []
        self.attentions = nn.ModuleList(attentions)
        self.resize = resize

    def step(self, number: int, x: Tensor, embedding: Tensor, context: Tensor | None) -> Tensor:
        """Return the map after one block and its attention."""
        x = self.blocks[number](x, embedding)
        return self.attentions[number](x, context) if len(self.attentions) else x


class Middle(nn.Module):
    """Residual block, attention, residual block, at the smallest size."""

    def __init__(self, sizes: UNetSizes):
        super().__init__()
        channels, last = sizes.channels[-1], len(sizes.channels) - 1
        self.blocks = nn.ModuleList(sizes.block(channels, channels) for _ in range(2))
        self.attention = sizes.attention(last)

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor | None) -> Float[Tensor, "B C H W"]:
        x = self.attention(self.blocks[0](x, embedding), context)
        return self.blocks[1](x, embedding)


class DenoisingUNet(nn.Module):
    """From x_t and t to what is in it.

    Args:
        sizes: its numbers.
        in_channels: of x_t, and of what is put beside it: a small picture to be enlarged.
        out_channels: of the prediction; twice the picture's where variances are learnt.
        classes: how many vectors of classes there are, the one for none included; None: it knows no classes.
        class_hidden: as `ClassEmbedding`.
    """

    def __init__(
        self,
        sizes: UNetSizes,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        classes: int | None = None,
        class_hidden: bool = True,
    ):
        super().__init__()
        self.sizes, self.in_channels = sizes, in_channels
        channels, levels = sizes.channels, len(sizes.channels)
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.time = TimeEmbedding(channels[0], sizes.embedding, shift=sizes.shift)
        self.label = None if classes is None else ClassEmbedding(classes, sizes.embedding, hidden=class_hidden)
        self.text = nn.Linear(cast(int, sizes.context), sizes.embedding) if sizes.sums_up else None

        seen, skips = [channels[0], *channels], [channels[0]]  # channels before each level; of each map that is kept
        self.down = nn.ModuleList()
        for level, (before, width) in enumerate(pairwise(seen)):
            is_last = level == levels - 1
            resize = None if is_last else Downsample(width, symmetric=sizes.symmetric)
            self.down.append(Level(sizes, level, [before] + [width] * (sizes.blocks - 1), resize))
            skips += [width] * (sizes.blocks + (not is_last))
        self.middle = Middle(sizes)
        self.up = nn.ModuleList()
        width = channels[-1]
        for level in reversed(range(levels)):
            own = channels[level]
            inputs = [(own if k else width) + skips.pop() for k in range(sizes.blocks + 1)]
            self.up.append(Level(sizes, level, inputs, None if level == 0 else Upsample(own)))
            width = own
        self.norm_out = nn.GroupNorm(sizes.groups, channels[0], sizes.eps)
        self.conv_out = nn.Conv2d(channels[0], out_channels, 3, padding=1)
        begin_at_zero(self)

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        times: Int64[Tensor, " B"],
        labels: Int64[Tensor, " B"] | None = None,
        context: Float[Tensor, "B M Y"] | None = None,
    ) -> Float[Tensor, "B D H W"]:
        """Return the prediction.

        Args:
            x: x_t.
            times: t of each picture.
            labels: of the class, for a network that knows classes.
            context: words, for a network that looks at them.

        Raises:
            ValueError: if labels are missing or superfluous, or the context is missing.
        """
        embedding = self.time(times)
        if (labels is None) != (self.label is None):
            raise ValueError(f"received labels={labels}, expected {'none' if self.label is None else 'one a picture'}")
        if self.label is not None:
            embedding = embedding + self.label(labels)
        if self.text is not None and context is not None:
            embedding = embedding + self.text(context[:, -1])
        x = self.conv_in(x)
        kept = [x]
        for level in cast("list[Level]", list(self.down)):
            for number in range(len(level.blocks)):
                x = level.step(number, x, embedding, context)
                kept.append(x)
            if level.resize is not None:
                x = level.resize(x)
                kept.append(x)
        x = self.middle(x, embedding, context)
        for level in cast("list[Level]", list(self.up)):
            for number in range(len(level.blocks)):
                x = level.step(number, torch.cat((x, kept.pop()), 1), embedding, context)
            if level.resize is not None:
                x = level.resize(x, kept[-1].shape[2:])
        return self.conv_out(F.silu(self.norm_out(x)))


def begin_at_zero(network: nn.Module) -> None:
    """Set the last map of every residual branch to zero, and that of the network."""
    for module in network.modules():
        last: nn.Module | None = None
        if isinstance(module, ResidualBlock):
            last = module.conv2
        elif isinstance(module, PlaceAttention):
            last = module.attention.output
        elif isinstance(module, ContextTransformer):
            last = module.leave
        elif isinstance(module, DenoisingUNet):
            last = module.conv_out
        if isinstance(last, nn.Conv2d | nn.Linear):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
