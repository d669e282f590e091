"""DiT: a transformer in the place of the U-Net (Peebles & Xie 2023, 2212.09748; notes 8.3.3).

    x_t        B C H W -> patches p x p -> B N D, plus fixed waves of rows and columns
    condition  B D     =  waves of the time -> MLP, plus a vector of the class
    blocks     adaptive norm -> attention -> gate, adaptive norm -> feed-forward -> gate; scale, shift and gate of each
               are a linear map of the condition, which begins at zero: adaLN-Zero, every block begins as the identity
    out        adaptive norm, linear map -> B N p p C' -> B C' H W

With `shift` 1 it is `DiTTransformer2DModel` of diffusers; the paper's code, and so this one, ends the waves of the time
before 1 / period. That code keeps eps 1e-6 in both norms of a block, diffusers 1e-5 in the second.

Differs from the paper: `dit_tiny` works on pixels, and learns no variances unless told to. The networks of the paper,
such as `DiT(SIZES["xl"])`, work on the latents of an autoencoder.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.generative.diffusion.blocks import ClassEmbedding, TimeEmbedding
from vidi.generative.diffusion.ddpm import ClassDiffusion, DiffusionCriterion, Predicted
from vidi.model import builder
from vidi.nn.attention import MultiHeadAttention
from vidi.nn.feed_forward import FeedForward
from vidi.nn.positional import wave_frequencies
from vidi.ops.diffusion import Schedule, ScheduleName
from vidi.preprocess import signed
from vidi.results.categories import category_names

TIME_WAVES = 256


class DiTSizes(NamedTuple):
    """Table 1 of the paper."""

    depth: int
    width: int
    heads: int


SIZES = {
    "s": DiTSizes(12, 384, 6),
    "b": DiTSizes(12, 768, 12),
    "l": DiTSizes(24, 1024, 16),
    "xl": DiTSizes(28, 1152, 16),
}


def grid_waves(rows: int, columns: int, width: int) -> Float[Tensor, "N D"]:
    """Return fixed positions of a grid, row by row: the first half for the column, the second for the row, in float64.

    Each half has its sines, then its cosines.
    """

    def waves(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float64)[:, None] * wave_frequencies(width // 2)
        return torch.cat((angles.sin(), angles.cos()), 1)  # count D/2

    across = waves(columns)[None].expand(rows, -1, -1)
    down = waves(rows)[:, None].expand(-1, columns, -1)
    return torch.cat((across, down), 2).flatten(0, 1)  # rows columns D -> N D


def tanh_gelu() -> nn.Module:
    """Return GELU in its approximation by tanh."""
    return nn.GELU(approximate="tanh")


class AdaptiveBlock(nn.Module):
    """Attention and a feed-forward network, each between a norm that the condition sets and a gate."""

    def __init__(self, width: int, heads: int, *, eps: float):
        super().__init__()
        self.condition = nn.Linear(width, 6 * width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = MultiHeadAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps, elementwise_affine=False)
        self.feed_forward = FeedForward(width, 4 * width, activation=tanh_gelu)

    def forward(self, x: Float[Tensor, "B N D"], condition: Float[Tensor, "B D"]) -> Float[Tensor, "B N D"]:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.condition(F.silu(condition))[:, None].chunk(6, 2)
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        return x + gate2 * self.feed_forward(self.norm2(x) * (1 + scale2) + shift2)


class DiT(nn.Module):
    """From x_t, t and a class to what is in x_t.

    Args:
        sizes: depth, width and heads.
        patch: p.
        in_channels, out_channels: C and C'.
        classes: how many vectors of classes there are, the one for none included.
        shift: of the waves of the time.
        eps: of the second norm of each block.
    """

    def __init__(
        self,
        sizes: DiTSizes,
        *,
        patch: int = 2,
        in_channels: int = 4,
        out_channels: int = 8,
        classes: int = 1001,
        shift: int = 0,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.patch, self.in_channels, self.out_channels = patch, in_channels, out_channels
        width = sizes.width
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.time = TimeEmbedding(TIME_WAVES, width, shift=shift)
        self.label = ClassEmbedding(classes, width, hidden=False)
        self.blocks = nn.ModuleList(AdaptiveBlock(width, sizes.heads, eps=eps) for _ in range(sizes.depth))
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.condition_out = nn.Linear(width, 2 * width)
        self.linear_out = nn.Linear(width, patch * patch * out_channels)
        nn.init.xavier_uniform_(self.patches.weight.flatten(1))
        nn.init.zeros_(self.patches.bias)  # type: ignore[arg-type]
        for linear in (self.time.widen, self.time.narrow):
            nn.init.normal_(linear.weight, std=0.02)
        nn.init.normal_(self.label.table.weight, std=0.02)
        last = [block.condition for block in self.blocks] + [self.condition_out, self.linear_out]
        for linear in last:
            nn.init.zeros_(linear.weight)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "B C H W"], times: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B D H W"]:
        """Return the prediction.

        Raises:
            ValueError: if the patch does not divide the picture.
        """
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ValueError(f"received pictures {tuple(x.shape)}, expected sides that {self.patch} divides")
        maps = self.patches(x)
        rows, columns = maps.shape[2:]
        tokens = maps.flatten(2).transpose(1, 2)  # B D r c -> B N D
        tokens = tokens + grid_waves(rows, columns, tokens.shape[2]).to(tokens)
        condition = self.time(times) + self.label(labels)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.condition_out(F.silu(condition))[:, None].chunk(2, 2)
        tokens = self.linear_out(self.norm_out(tokens) * (1 + scale) + shift)
        parts = tokens.unflatten(2, (self.patch, self.patch, self.out_channels)).unflatten(1, (rows, columns))
        return parts.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # B r c p q C' -> B C' r p c q -> B C' H W


@builder
def dit_tiny(
    *,
    categories: int | tuple[str | None, ...] = 10,
    size: tuple[int, int] = (32, 32),
    depth: int = 6,
    width: int = 128,
    heads: int = 4,
    patch: int = 4,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "noise",
    learns_variance: bool = False,
    unlabelled: float = 0.1,
) -> ClassDiffusion:
    """Build a small transformer that makes pictures of a class, guided without a classifier.

    Args:
        categories: the number of classes, or their names; one more vector stands for none.
        size: (H, W) of the pictures, multiples of the patch.
        depth: blocks.
        width: of the tokens, a multiple of 4 and of the heads.
        heads: of the attention.
        patch: pixels of a side that are one token.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the picture, or the velocity.
        learns_variance: whether the network gives the variances of the reverse steps too, as the paper's does.
        unlabelled: the share of pictures whose label is hidden in training.
    """
    if size[0] % patch or size[1] % patch:
        raise ValueError(f"received size={size} and patch={patch}, expected sides that the patch divides")
    classes = len(category_names(categories))
    schedule = Schedule.named(noise_schedule, diffusion_steps)
    criterion = DiffusionCriterion(
        schedule, predicts, "simple", learned=learns_variance, classes=classes, hidden=unlabelled
    )
    network = DiT(
        DiTSizes(depth, width, heads),
        patch=patch,
        in_channels=3,
        out_channels=6 if learns_variance else 3,
        classes=classes + 1,
    )
    return ClassDiffusion(network, criterion, signed(size), size)
