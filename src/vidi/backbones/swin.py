"""Swin transformer: attention inside windows that shift from layer to layer, over maps that halve from stage to stage.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted
Windows", arXiv 2103.14030; a backbone of Mask2Former (notes 5.3.3).

    images   B 3 H W           padded to multiples of the patch
    patches  B H/4 W/4 C       a 4 x 4 convolution of stride 4, layer norm
    stages   B H/4 W/4 C, B H/8 W/8 2C, B H/16 W/16 4C, B H/32 W/32 8C
             before all but the first, four neighbours are joined: 4C numbers, layer norm, linear to 2C
    block    pre-norm layers: attention within windows of w x w tokens, feed-forward; every second one shifts the
             windows by w/2, rolling the map, and hides from each other what the roll brought together
    maps     B C_i H/s_i W/s_i of the stages asked for, each through a layer norm of its own
    head     B K               mean of the last map, linear

A token sees another of its window with a learnt bias for their offset, one a head. Maps that are no multiple of the
window are padded with zeros, which are seen as other tokens are. Where one window covers an axis, torchvision and the
paper's classifiers do not shift along it; detectors and segmenters built on it do (`always_shift`).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.trunk import Backbone, Maps
from vidi.backbones.vit import leave_out
from vidi.model import Supervised, of_family
from vidi.nn.convolution import Side
from vidi.nn.feed_forward import FeedForward
from vidi.nn.transformer import Residual

Grid = Float[Tensor, "B H W C"]

PATCH = 4
WIDENING = 4  # of the feed-forward networks

# ----------------------------------------------------------------------------------------------------------------------
# Windows


def lacking(side: Side, multiple: int) -> Side:
    """Return what a side lacks of a multiple, by whole ones: sizes stay short formulas where a network is exported."""
    return (side + multiple - 1) // multiple * multiple - side


def padded(x: Grid, multiple: int) -> Float[Tensor, "B h w C"]:
    """Append rows and columns of zeros up to multiples of a side."""
    H, W = x.shape[1:3]
    return F.pad(x, (0, 0, 0, lacking(W, multiple), 0, lacking(H, multiple)))


def windows(x: Grid, side: int) -> Float[Tensor, "B N T C"]:
    """Cut a map into N windows of T = side x side tokens, row by row."""
    rows, columns = x.shape[1] // side, x.shape[2] // side
    cut = x.unflatten(2, (columns, side)).unflatten(1, (rows, side))  # B rows side columns side C
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # B rows columns side^2 C -> B N T C


def joined_windows(x: Float[Tensor, "B N T C"], side: int, columns: int) -> Float[Tensor, "B H W C"]:
    """Put windows back to the map that has so many columns of them."""
    grid = x.unflatten(2, (side, side)).unflatten(1, (-1, columns))  # B rows columns side side C
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def offsets_in_window(side: int) -> Int64[Tensor, " TT"]:
    """Return for each pair of tokens of a window the row of the table that holds the bias of their offset."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = y.flatten(), x.flatten()  # T
    rows = y[:, None] - y[None] + side - 1  # T T, from 0
    columns = x[:, None] - x[None] + side - 1
    return (rows * (2 * side - 1) + columns).flatten()


def neighbours_after_roll(
    size: tuple[int, int], side: int, shift: tuple[int, int], device: torch.device
) -> Bool[Tensor, "N T T"]:
    """Tell which tokens of each window of a rolled map lay in one window before the map's border was rolled in."""
    regions = []
    for length, by in zip(size, shift, strict=True):
        place = torch.arange(length, device=device)
        regions.append((place >= length - side).long() + (place >= length - by).long() if by else place * 0)
    region = regions[0][:, None] * 3 + regions[1]  # H W
    cut = windows(region[None, ..., None].float(), side)[0, ..., 0]  # N T
    return cut[:, :, None] == cut[:, None]


class WindowAttention(nn.Module):
    """Multi-head attention of the tokens of a window, with a bias for each offset (section 3.2, equation 4)."""

    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"received width={width}, heads={heads}; expected a width that the heads divide")
        self.heads = heads
        self.offsets: Tensor
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.offset_bias = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.register_buffer("offsets", offsets_in_window(side), persistent=False)
        self.no_weight_decay = ("offset_bias",)
        nn.init.trunc_normal_(self.offset_bias, std=0.02)

    def forward(
        self, x: Float[Tensor, "B N T C"], mask: Bool[Tensor, "N T T"] | None = None
    ) -> Float[Tensor, "B N T C"]:
        """Return what the tokens find; `mask` is True where one may look at another, None: everywhere."""
        B, N, T, _ = x.shape
        bias = self.offset_bias[self.offsets].view(T, T, self.heads).permute(2, 0, 1)[None]  # 1 h T T
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None], -torch.inf).repeat(B, 1, 1, 1)  # BN h T T
        q, k, v = (self._split(linear(x)) for linear in (self.query, self.key, self.value))  # BN h T d
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        found = found.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # not every kernel gives a view
        return self.output(found.flatten(2).unflatten(0, (B, N)))  # BN T h d -> B N T C

    def _split(self, x: Float[Tensor, "B N T C"]) -> Float[Tensor, "BN h T d"]:
        return x.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2)


# ----------------------------------------------------------------------------------------------------------------------
# Network


class Block(nn.Module):
    """Attention inside windows, whose grid may be shifted by half of them, and a feed-forward network (figure 3b)."""

    def __init__(
        self,
        width: int,
        heads: int,
        side: int,
        *,
        is_shifted: bool,
        always_shift: bool,
        drop_path: float,
        eps: float,
    ):
        super().__init__()
        self.side, self.is_shifted, self.always_shift = side, is_shifted, always_shift
        self.attention = WindowAttention(width, heads, side)
        self.attention_residual = Residual(width, norm_first=True, dropout=0.0, eps=eps)
        self.feed_forward = FeedForward(width, WIDENING * width, activation=nn.GELU)
        self.feed_forward_residual = Residual(width, norm_first=True, dropout=0.0, eps=eps)
        leave_out(self, drop_path)

    def forward(self, x: Grid) -> Grid:
        x = self.attention_residual(x, self.attend)
        return self.feed_forward_residual(x, self.feed_forward)

    def attend(self, x: Grid) -> Grid:
        """Return what the tokens of a map find in their windows."""
        H, W = x.shape[1:3]
        x = padded(x, self.side)
        size = (x.shape[1], x.shape[2])
        shift = self.shift(size)
        mask = neighbours_after_roll(size, self.side, shift, x.device) if any(shift) else None
        x = windows(x.roll((-shift[0], -shift[1]), (1, 2)), self.side)
        x = joined_windows(self.attention(x, mask), self.side, size[1] // self.side)
        return x.roll(shift, (1, 2))[:, :H, :W]

    def shift(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return by how many rows and columns the windows of a map of `size` (H, W) are shifted."""
        by = self.side // 2 if self.is_shifted else 0
        rows, columns = (by if self.always_shift or length > self.side else 0 for length in size)
        return rows, columns


class Merging(nn.Module):
    """Join each square of four tokens to one of twice the width (section 3.1)."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps=eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Grid) -> Float[Tensor, "B h w D"]:
        x = padded(x, 2)
        squares = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # B h 2 w 2 C
        joined = squares.permute(0, 1, 3, 4, 2, 5).flatten(3)  # B h w 4C: column by column
        return self.reduction(self.norm(joined))


class Stage(nn.Module):
    """Blocks of one resolution, after the merging that leads to it."""

    def __init__(self, merging: nn.Module, blocks: list[Block]):
        super().__init__()
        self.merging = merging
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w D"]:
        return self.blocks(self.merging(x))


class Swin(Backbone):
    """Images to the maps of some stages, finest first.

    Args:
        width: C, of the tokens of the first stage.
        depths: blocks of each stage.
        heads: of the attention in each stage.
        side: of a window, in tokens.
        levels: the stages, from 0, whose maps are wanted.
        always_shift: whether windows shift along an axis that one of them covers, too.
        drop_path: probability that the last block's branches are left out for an image; 0 for the first block's, and
            rising linearly between them (Huang et al. 2016, 1603.09382).
        eps: of the layer norms.

    Raises:
        ValueError: if depths and heads are not of as many stages, or a level is none of them.
    """

    def __init__(
        self,
        width: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        side: int,
        *,
        levels: tuple[int, ...] = (0, 1, 2, 3),
        always_shift: bool = False,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ):
        super().__init__()
        if len(depths) != len(heads) or not set(levels) <= set(range(len(depths))) or not levels:
            given = f"depths={depths}, heads={heads}, levels={levels}"
            raise ValueError(f"received {given}; expected as many heads as depths, and levels from 0")
        self.levels = tuple(sorted(levels))
        self.projection = nn.Conv2d(3, width, PATCH, PATCH)
        self.norm = nn.LayerNorm(width, eps=eps)
        stages, total, before = [], sum(depths), 0
        for index, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            inner = width * 2**index
            merging = Merging(inner // 2, eps) if index else nn.Identity()
            options = {"always_shift": always_shift, "eps": eps}
            rates = [drop_path * (before + row) / max(1, total - 1) for row in range(depth)]
            blocks = [
                Block(inner, count, side, is_shifted=row % 2 == 1, drop_path=rate, **options)
                for row, rate in enumerate(rates)
            ]
            stages.append(Stage(merging, blocks))
            before += depth
        last = max(self.levels)
        self.stages = nn.ModuleList(stages[: last + 1])
        self.channels = tuple(width * 2**level for level in self.levels)
        self.strides = tuple(PATCH * 2**level for level in self.levels)
        norms = {f"stage{level + 1}": nn.LayerNorm(width * 2**level, eps=eps) for level in self.levels}
        self.norms = nn.ModuleDict(norms)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the maps of the stages in `levels`."""
        H, W = images.shape[2:]
        x = self.projection(F.pad(images, (0, lacking(W, PATCH), 0, lacking(H, PATCH))))  # B C h w
        x = self.norm(x.permute(0, 2, 3, 1))  # B h w C
        maps = []
        for level, stage in enumerate(self.stages):
            x = stage(x)
            if level in self.levels:
                maps.append(self.norms[f"stage{level + 1}"](x).permute(0, 3, 1, 2))
        return tuple(maps)


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """What tells the sizes apart."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    drop_path: float
    shorter: int  # pixels of the shorter side before the centre is cut out
    side: int = 7


VARIANTS: dict[str, Variant] = {
    # Liu et al. 2021, section 3.3 and table 7; drop rates of appendix A2.1, that of L of the authors' fine-tuning;
    # heads of 32 numbers
    "swin_t": Variant(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2, 232),
    "swin_s": Variant(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3, 246),
    "swin_b": Variant(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5, 238),
    "swin_l": Variant(192, (2, 2, 18, 2), (6, 12, 24, 48), 0.2, 248),
}


def trunk(
    name: str,
    *,
    levels: tuple[int, ...] = (0, 1, 2, 3),
    side: int | None = None,
    always_shift: bool = False,
    drop_path: float | None = None,
    width: int | None = None,
    depths: tuple[int, ...] | None = None,
    heads: tuple[int, ...] | None = None,
) -> Swin:
    """Return a network of the family without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        levels, always_shift: see `Swin`.
        side: of a window, in tokens; None: 7.
        drop_path: of the last block; None: the variant's.
        width, depths, heads: of the stages; None: the variant's.

    Raises:
        ValueError: for an unknown name, and numbers that do not fit together.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    return Swin(
        width or variant.width,
        depths or variant.depths,
        heads or variant.heads,
        side or variant.side,
        levels=levels,
        always_shift=always_shift,
        drop_path=variant.drop_path if drop_path is None else drop_path,
    )


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def swin(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    side: int = 7,
    width: int | None = None,
    depths: tuple[int, ...] | None = None,
    heads: tuple[int, ...] | None = None,
    drop_path: float | None = None,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `VARIANTS`.

    Scores on ImageNet are those of torchvision's weights, for swin_l those of the paper after ImageNet-22k (table 1).

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side first, then the central 224 x 224.
        side: of a window, in tokens of 4 pixels.
        width: of the tokens of the first stage; None: the paper's.
        depths: blocks of each stage; None: the paper's.
        heads: of the attention in each stage; None: the paper's.
        drop_path: probability that the last block's branches are left out for an image, linearly less for earlier
            ones; None: the paper's.
        smoothing: of the labels, in [0, 1).
    """
    last = len(depths or VARIANTS[name].depths) - 1
    shape: dict[str, Any] = {"side": side, "width": width, "depths": depths, "heads": heads}
    backbone = trunk(name, levels=(last,), drop_path=drop_path, **shape)
    preprocess = image_preprocess(size, shorter=VARIANTS[name].shorter, interpolation="bicubic")
    network = supervised_classifier(backbone, categories, preprocess, smoothing=smoothing)
    nn.init.trunc_normal_(network.network.head.linear.weight, std=0.02)  # type: ignore[union-attr, arg-type]
    nn.init.zeros_(network.network.head.linear.bias)  # type: ignore[union-attr, arg-type]
    return network


swin_t = of_family(swin, "swin_t", "28.3 M parameters, ImageNet top-1 81.5 %")
swin_s = of_family(swin, "swin_s", "49.6 M parameters, ImageNet top-1 83.2 %")
swin_b = of_family(swin, "swin_b", "87.8 M parameters, ImageNet top-1 83.6 %")
swin_l = of_family(swin, "swin_l", "196.5 M parameters, ImageNet top-1 86.3 %")
