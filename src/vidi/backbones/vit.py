"""Vision transformer: an image as a sequence of embedded patches, and a transformer's encoder over them (notes 3.2).

    images    B 3 H W
    patches   B N P^2 3       N = H/P x W/P squares of P x P pixels, flattened
    tokens    B N+1 D         times W_E (P^2 3 x D); [CLS] in front; learnt positions added
    encoder   B N+1 D         L pre-norm layers with GELU, layer norm
    head      B K             linear, of [CLS]

Dosovitskiy et al. 2021, 2010.11929. The product with W_E runs as what it is equal to, a P x P convolution of stride P.
Sizes and patches are named ViT-<size>/<patch>, in builders `vit_<size>_<patch>` as in torchvision; `vit_tiny` and
`vit_small` are timm's. The patch of all of them is an argument.

Differs from the notes: ViT-L has 304.3 M parameters, 307 M is the rounding of the paper (C3.10); [CLS] is prepended
(C3.7); what drives the cost at 224 pixels is not the attention matrix, see `vidi.figures.vit_analysis` (C3.6).
Differs from the paper: the fine-tuning head, one linear layer, is the only one; dropout is off unless asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vidi.backbones.classifier import (
    ClassificationCriterion,
    ClassificationDecode,
    Classifier,
    Logits,
    image_preprocess,
)
from vidi.backbones.trunk import Backbone, Maps
from vidi.model import Supervised, of_family
from vidi.nn.attention import MultiHeadAttention
from vidi.nn.convolution import Activation
from vidi.nn.feed_forward import FeedForward
from vidi.nn.patches import PatchEmbedding, grid_of
from vidi.nn.positional import LearnedPositions, resized_positions
from vidi.nn.transformer import Encoder, Residual
from vidi.preprocess import Preprocess
from vidi.results.categories import category_names

Pool = Literal["token", "mean"]

POSITIONS = "positions.table"  # how the names of tables of positions end

# ----------------------------------------------------------------------------------------------------------------------
# Network


class VisionTransformer(Backbone):
    """From images to the encoder's tokens, or to the map that the tokens of patches are.

    Args:
        size: (H, W) of the images, multiples of `patch`.
        patch: side of a patch in pixels.
        width, depth, heads, hidden: D, layers, heads of the attention, width inside the feed-forward networks.
        class_token: whether [CLS] goes before the patches.
        dropout: of the embedded tokens, and after every dense layer but those of queries, keys and values.
        drop_path: probability that the last layer's branches are left out for an image; 0 for the first layer's, and
            rising linearly between them (Huang et al. 2016, 1603.09382).
        layer_scale: what each channel of a layer's branches is multiplied by at first, before they are added (Touvron
            et al. 2021, 2103.17239); None: nothing.
        eps: of the layer norms.
        activation: of the feed-forward networks.
        norm_before: whether a layer norm stands before the first layer, and the patches have no offset, as in CLIP.

    Raises:
        ValueError: if a number is below 1, or the sizes do not divide each other.
    """

    def __init__(
        self,
        size: tuple[int, int],
        patch: int,
        *,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        class_token: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float | int | None = None,
        eps: float = 1e-6,
        activation: Activation = nn.GELU,
        norm_before: bool = False,
    ):
        super().__init__()
        if min(width, depth, heads, hidden) < 1:
            numbers = f"width={width}, depth={depth}, heads={heads}, hidden={hidden}"
            raise ValueError(f"received {numbers}, expected nothing below 1")
        self.size = size
        self.grid = grid_of(size, patch)
        self.prefix = int(class_token)  # tokens before those of the patches
        self.channels = (width,)
        self.strides = (patch,)
        self.embedding = PatchEmbedding(patch, width, bias=not norm_before)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.positions = LearnedPositions(self.prefix + math.prod(self.grid), width)
        self.no_weight_decay = ("positions.table", *(("class_token",) if class_token else ()))
        self.norm_before = nn.LayerNorm(width, eps=eps) if norm_before else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        options: dict[str, Any] = {"activation": activation, "dropout": dropout, "attention_dropout": 0.0, "eps": eps}
        self.encoder = Encoder(depth, width, heads, hidden, norm_first=True, **options)
        for row, layer in enumerate(self.encoder.layers):
            if layer_scale is not None:
                scale_branches(layer, width, layer_scale)
            leave_out(layer, drop_path * row / max(1, depth - 1))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T D"]:
        """Return the encoder's output: [CLS] if there is one, then the patches row by row.

        Raises:
            ValueError: for images of another size than the positions are for.
        """
        return self.encoder(self.embedded(images))

    def tokens_of_layers(
        self, images: Float[Tensor, "B 3 H W"], layers: Sequence[int]
    ) -> tuple[Float[Tensor, "B T D"], ...]:
        """Return what `tokens` does, and before it is normed what comes out of some layers, which count from 0.

        Raises:
            ValueError: for images of another size than the positions are for.
        """
        x = self.embedded(images)
        kept = {}
        for row, layer in enumerate(self.encoder.layers):
            x = layer(x)
            if row in layers:
                kept[row] = x
        return self.encoder.norm(x), *(kept[row] for row in layers)

    def embedded(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T D"]:
        """Return what goes into the encoder; as `tokens`."""
        received = (images.shape[2], images.shape[3])
        if received != self.size:
            wanted = f"{self.size[0]} x {self.size[1]}, which the positions are for"
            raise ValueError(f"received images of {received[0]} x {received[1]} pixels, expected {wanted}")
        x = self.embedding(images)
        if self.class_token is not None:
            x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), dim=1)  # B N+1 D
        return self.dropout(self.norm_before(self.positions(x)))

    def map_of(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B D h w"]:
        """Return the tokens of the patches as the map that they are."""
        return tokens[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)  # B N D -> B D h w

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return one map, of the resolution H/P x W/P."""
        return (self.map_of(self.tokens(images)),)


def leave_out(layer: nn.Module, drop_path: float) -> None:
    """Let each branch of an encoder layer be left out for an image with some probability, while training."""
    for module in layer.modules():
        if isinstance(module, Residual) and drop_path:
            module.dropout = nn.Sequential(module.dropout, StochasticDepth(drop_path, "row"))


class LayerScale(nn.Module):
    """Multiply each channel by a learnt number."""

    def __init__(self, width: int, start: float | int):
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), float(start)))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return x * self.scale


def scale_branches(layer: nn.Module, width: int, start: float | int) -> None:
    """Let each branch of an encoder layer be multiplied by learnt numbers before it is added."""
    for module in layer.modules():
        if isinstance(module, Residual):
            module.dropout = nn.Sequential(module.dropout, LayerScale(width, start))


class TokenHead(nn.Module):
    """Classify [CLS], or the mean of all tokens where there is none, by one linear map that starts at 0."""

    def __init__(self, width: int, outputs: int, *, pool: Pool = "token"):
        super().__init__()
        self.pool = pool
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        return self.linear(tokens[:, 0] if self.pool == "token" else tokens.mean(1))


class TokenClassifier(Classifier):
    """A vision transformer and a head over its tokens."""

    backbone: VisionTransformer

    def __init__(self, backbone: VisionTransformer, outputs: int):
        super().__init__(backbone, outputs, partial(TokenHead, pool="token" if backbone.prefix else "mean"))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Logits:
        return Logits(self.head(self.backbone.tokens(images)))


def token_classifier(
    backbone: VisionTransformer,
    categories: int | tuple[str | None, ...],
    preprocess: Preprocess,
    *,
    smoothing: float = 0.0,
) -> Supervised:
    """Put a vision transformer, a head, the loss and the decoder together.

    Args:
        backbone: images to tokens.
        categories: the number of classes or their names; None in the place of a name marks an unused output.
        preprocess: how an image becomes input.
        smoothing: label smoothing, in [0, 1).
    """
    names = category_names(categories)
    network = TokenClassifier(backbone, len(names))
    return Supervised(network, ClassificationCriterion(smoothing), ClassificationDecode(names), preprocess)


def initialise(network: nn.Module) -> None:
    """Draw the weights as torchvision does; [CLS] starts at 0, and positions with a deviation of 0.02.

    Queries, keys and values are drawn as the one D x 3D matrix that they are there.
    """
    for module in network.modules():
        if isinstance(module, PatchEmbedding):
            convolution = module.projection
            nn.init.trunc_normal_(convolution.weight, std=math.sqrt(1 / convolution.weight[0].numel()))
            nn.init.zeros_(cast(Tensor, convolution.bias))
        elif isinstance(module, MultiHeadAttention):
            for linear in (module.query, module.key, module.value):
                nn.init.xavier_uniform_(linear.weight, gain=math.sqrt(0.5))  # 6 / (D + 3D) in the place of 6 / (D + D)
            nn.init.kaiming_uniform_(module.output.weight, a=math.sqrt(5))
        elif isinstance(module, FeedForward):
            nn.init.normal_(module.widen.bias, std=1e-6)
            nn.init.normal_(module.narrow.bias, std=1e-6)


def fitted_positions(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    before: nn.Module | None = None,
    antialias: bool = False,
    align_corners: bool = False,
) -> dict[str, Tensor]:
    """Resize the positions among a network's tensors, which come from another resolution, to the grids that it has.

    Args:
        network: holds vision transformers, or is one; other modules with a `grid`, `prefix` and `positions` count too.
        tensors: under the network's names.
        before: the network that they come from; None: one for square images of any size.
        antialias, align_corners: as `vidi.nn.positional.resized_positions`.
    """
    fitted = dict(tensors)
    for name, module in network.named_modules():
        key = f"{name}.{POSITIONS}" if name else POSITIONS
        if key in tensors and hasattr(module, "grid"):
            placed = cast(VisionTransformer, module)
            fitted[key] = resized_positions(
                tensors[key],
                placed.grid,
                old_size=None if before is None else cast(VisionTransformer, before.get_submodule(name)).grid,
                prefix=placed.prefix,
                antialias=antialias,
                align_corners=align_corners,
            )
    return fitted


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """What tells the sizes apart; the feed-forward networks are four times as wide as the tokens."""

    depth: int
    heads: int
    width: int


VARIANTS: dict[str, Variant] = {
    # Touvron et al. 2021, 2012.12877, table 1; timm's vit_tiny and vit_small
    "tiny": Variant(depth=12, heads=3, width=192),
    "small": Variant(depth=12, heads=6, width=384),
    # Dosovitskiy et al. 2021, table 1
    "base": Variant(depth=12, heads=12, width=768),
    "large": Variant(depth=24, heads=16, width=1024),
    "huge": Variant(depth=32, heads=16, width=1280),
}


def trunk(
    name: str,
    size: tuple[int, int] | None = None,
    patch: int = 16,
    *,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    hidden: int | None = None,
    pool: str = "token",
    **options: Any,
) -> VisionTransformer:
    """Return a network of the family without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        size: (H, W) of the images, multiples of `patch`; None: 224 x 224.
        patch: side of a patch in pixels.
        width, depth, heads: of the encoder; None: the variant's.
        hidden: width inside the feed-forward networks; None: 4 x width.
        pool: "token" has [CLS], "mean" has not.
        options: dropout, drop_path, layer_scale and eps; see `VisionTransformer`.

    Raises:
        ValueError: for an unknown name or pool, numbers below 1, and those that do not divide each other.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    if pool not in ("token", "mean"):
        raise ValueError(f"received pool={pool!r}, expected 'token' or 'mean'")
    variant = VARIANTS[name]
    width = variant.width if width is None else width
    network = VisionTransformer(
        size or (224, 224),
        patch,
        width=width,
        depth=variant.depth if depth is None else depth,
        heads=variant.heads if heads is None else heads,
        hidden=4 * width if hidden is None else hidden,
        class_token=pool == "token",
        **options,
    )
    initialise(network)
    return network


# ----------------------------------------------------------------------------------------------------------------------
# Builders

SIZES = {
    "vit_tiny": "tiny",
    "vit_small": "small",
    "vit_b_16": "base",
    "vit_b_32": "base",
    "vit_l_16": "large",
    "vit_l_32": "large",
    "vit_h_14": "huge",
}
"""The variant of each builder; those of one variant differ in their patches."""


def vit(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    patch: int = 16,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    hidden: int | None = None,
    pool: Pool = "token",
    dropout: float = 0.0,
    drop_path: float = 0.0,
    eps: float = 1e-6,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `SIZES`.

    Scores on ImageNet are those of torchvision's first weights where nothing else is said.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to, multiples of `patch`; None: the shorter side to 256, then the
            central 224 x 224.
        patch: side of a patch in pixels.
        width, depth, heads: of the encoder; None: the paper's.
        hidden: width inside the feed-forward networks; None: 4 x width.
        pool: "token" reads the class from [CLS], "mean" from the mean of the patches, without [CLS] (paper, appendix
            D.3).
        dropout: of the embedded tokens, and after every dense layer but those of queries, keys and values.
        drop_path: probability that the last layer's branches are left out for an image; linearly less for earlier ones.
        eps: of the layer norms; 1e-6 in torchvision and timm, 1e-12 in transformers.
        smoothing: of the labels, in [0, 1).
    """
    shape: dict[str, Any] = {"width": width, "depth": depth, "heads": heads, "hidden": hidden}
    backbone = trunk(SIZES[name], size, patch, pool=pool, dropout=dropout, drop_path=drop_path, eps=eps, **shape)
    return token_classifier(backbone, categories, image_preprocess(size), smoothing=smoothing)


vit_tiny = of_family(vit, "vit_tiny", "5.7 M parameters")
vit_small = of_family(vit, "vit_small", "22.1 M parameters")
vit_b_16 = of_family(vit, "vit_b_16", "86.6 M parameters, ImageNet top-1 81.1 %")
vit_b_32 = of_family(vit, "vit_b_32", "88.2 M parameters, ImageNet top-1 75.9 %", patch=32)
vit_l_16 = of_family(vit, "vit_l_16", "304.3 M parameters, ImageNet top-1 79.7 %")
vit_l_32 = of_family(vit, "vit_l_32", "306.5 M parameters, ImageNet top-1 77.0 %", patch=32)
vit_h_14 = of_family(
    vit, "vit_h_14", "632.0 M parameters, ImageNet top-1 88.6 % at 518 pixels with SWAG's weights", patch=14
)
