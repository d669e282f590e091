"""What a vision transformer costs, and what it has learnt, as numbers (notes 3.2, figures 3.8 to 3.10).

    cost        tokens N, width D        multiply-adds of projections, attention, feed-forward    `encoder_macs`
    memory      H W pixels as tokens     entries and bytes of the attention matrices              `pixel_attention`
    filters     W_E as D 3 P P           their principal components, K 3 P P                      `filter_components`
    positions   1 N D                    cosine of every two, rows columns rows columns           `position_similarity`
    attention   B h N N of each layer    by name; mean distance in pixels; followed through the layers

Dosovitskiy et al. 2021, 2010.11929, section 4.5 and appendix D.7; Abnar & Zuidema 2020, 2005.00928.

Differs from the notes: they have the length of the sequence drive the cost of ViT. The part that is quadratic in it is
4 % of the multiply-adds of ViT-B/16 at 224 pixels, and overtakes the rest of a layer at 2 D + hidden = 4608 tokens
(C3.6).
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.vit import TokenClassifier, VisionTransformer
from vidi.model import evaluating
from vidi.nn.attention import recorded_attention

# ----------------------------------------------------------------------------------------------------------------------
# Cost


class PixelAttention(NamedTuple):
    """Attention matrices of a transformer whose tokens are pixels."""

    entries: int  # of one matrix
    matrix_bytes: int  # of one matrix
    bytes: int  # of all layers and heads


def pixel_attention(
    size: tuple[int, int], *, dtype: torch.dtype = torch.float16, layers: int = 12, heads: int = 8
) -> PixelAttention:
    """Return what the attention matrices of one image take if every pixel is a token: (H W)^2 entries each.

    Args:
        size: (H, W) of the image.
        dtype: of the entries.
        layers, heads: of the transformer; there is a matrix for each.

    Raises:
        ValueError: if a count is below 1.
    """
    if min(*size, layers, heads) < 1:
        raise ValueError(f"received size={size}, layers={layers}, heads={heads}; expected nothing below 1")
    entries = (size[0] * size[1]) ** 2
    matrix = entries * dtype.itemsize
    return PixelAttention(entries, matrix, matrix * layers * heads)


class EncoderMacs(NamedTuple):
    """Multiply-adds of a transformer encoder, by what they are for; counted as `vidi.nn.cost` does."""

    projections: int  # queries, keys, values and output: 4 N D^2 a layer
    attention: int  # scores and weighted sums: 2 N^2 D a layer
    feed_forward: int  # 2 N D hidden a layer

    @property
    def total(self) -> int:
        return sum(self)

    @property
    def quadratic_share(self) -> float:
        """The share of what grows with the square of the length."""
        return self.attention / self.total


def encoder_macs(tokens: int, width: int, hidden: int, layers: int = 1) -> EncoderMacs:
    """Return the multiply-adds of an encoder for one sequence of `tokens`; the number of heads changes nothing."""
    return EncoderMacs(
        projections=layers * 4 * tokens * width**2,
        attention=layers * 2 * tokens**2 * width,
        feed_forward=layers * 2 * tokens * width * hidden,
    )


def overtaking_length(width: int, hidden: int) -> int:
    """Return the length at which attention costs as much as all linear maps: 2 N^2 D = 4 N D^2 + 2 N D hidden."""
    return 2 * width + hidden


def vit_macs(network: TokenClassifier | VisionTransformer) -> EncoderMacs:
    """Return the multiply-adds of a network's encoder for one image; without patch embedding and head."""
    backbone = _backbone(network)
    layers = backbone.encoder.layers
    first = layers[0].get_submodule("feed_forward.widen")
    if not isinstance(first, nn.Linear):
        raise TypeError(f"received feed-forward networks of {type(first).__name__}, expected linear maps")
    tokens = backbone.positions.table.shape[1]
    return encoder_macs(tokens, first.in_features, first.out_features, len(layers))


# ----------------------------------------------------------------------------------------------------------------------
# Filters


class Components(NamedTuple):
    """Principal components, the one that explains most first."""

    filters: Float[Tensor, "K C P P"]  # of length 1, orthogonal to each other
    explained: Float[Tensor, " K"]  # share of the variance


def filter_components(filters: Float[Tensor, "D C P P"], count: int) -> Components:
    """Return the principal components of the filters of W_E, each a picture of C x P x P (paper, figure 7 left).

    The sign of a component means nothing; here its largest number is positive.

    Args:
        filters: of a `PatchEmbedding`: `network.backbone.embedding.projection.weight`.
        count: K, at most the numbers of a filter and the filters.

    Raises:
        ValueError: for another count.
    """
    columns = filters.detach().flatten(1)  # D F
    if not 1 <= count <= min(columns.shape):
        raise ValueError(f"received count={count}, expected 1 to {min(columns.shape)}")
    _, deviations, directions = torch.linalg.svd(columns - columns.mean(0), full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))  # K 1
    directions = directions * largest.sign()
    shares = deviations.square() / deviations.square().sum()
    return Components(directions[:count].unflatten(1, filters.shape[1:]), shares[:count])


# ----------------------------------------------------------------------------------------------------------------------
# Positions


def position_similarity(table: Float[Tensor, "1 T D"], grid: tuple[int, int]) -> Float[Tensor, "R C R C"]:
    """Return the cosine of the position of every patch with that of all others (paper, figure 7 middle).

    Args:
        table: learnt positions; what goes before those of the grid, such as that of [CLS], is left out.
        grid: (rows, columns) of patches.

    Raises:
        ValueError: if there are fewer positions than patches.
    """
    count = grid[0] * grid[1]
    if table.shape[1] < count:
        raise ValueError(f"received {table.shape[1]} positions, expected at least {grid[0]} x {grid[1]}")
    directions = F.normalize(table.detach()[0, -count:], dim=-1)  # N D
    return (directions @ directions.T).unflatten(1, grid).unflatten(0, grid)


def row_column_score(similarity: Float[Tensor, "R C R C"]) -> float:
    """Return how much of the similarities rows and columns explain apart from each other, from 0 to 1.

    It is the share of their variance that the best sum f(row, row') + g(column, column') has: 1 for positions that are
    put together from a code of the row and one of the column, (R + C - 2) / (R C - 1) where each is similar to nothing
    but itself.

    Raises:
        ValueError: if all similarities are equal, or there is only one row or column.
    """
    if min(similarity.shape) < 2:
        raise ValueError(f"received a grid of {similarity.shape[0]} x {similarity.shape[1]}, expected at least 2 x 2")
    pairs = similarity.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # R C R C -> R^2 C^2
    rest = pairs - pairs.mean()
    total = rest.square().mean()
    if total == 0:
        raise ValueError("received similarities that are all equal, expected some variance to explain")
    explained = rest.mean(0).square().mean() + rest.mean(1).square().mean()  # the two are orthogonal
    return float(explained / total)


# ----------------------------------------------------------------------------------------------------------------------
# Attention


def attention_maps(
    network: TokenClassifier | VisionTransformer, images: Float[Tensor, "B 3 H W"]
) -> dict[str, Float[Tensor, "B h T T"]]:
    """Return the attention weights of every layer by its name in the network, such as "encoder.layers.0.attention"."""
    with evaluating(network), torch.no_grad(), recorded_attention(network) as maps:
        network(images)
    return {name: weights for name, (weights,) in maps.items()}


def mean_attention_distance(
    weights: Float[Tensor, "B h T T"], grid: tuple[int, int], patch: int
) -> Float[Tensor, " h"]:
    """Return how far the patches of each head look: weighted distance of the centres of query and key, in pixels.

    Of [CLS], which is nowhere, neither what it sees nor what is seen of it counts: the weights among patches are
    divided by their sums.

    Args:
        weights: of one layer; the last tokens are those of the patches, row by row.
        grid: (rows, columns) of patches.
        patch: side of a patch in pixels.

    Raises:
        ValueError: if there are fewer tokens than patches.
    """
    count = grid[0] * grid[1]
    if weights.shape[-1] < count:
        raise ValueError(f"received {weights.shape[-1]} tokens, expected at least {grid[0]} x {grid[1]}")
    sides = [torch.arange(side, dtype=weights.dtype, device=weights.device) for side in grid]
    centres = patch * torch.cartesian_prod(*sides)  # N 2
    distances = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")  # N N
    among = weights[..., -count:, -count:]
    among = among / among.sum(-1, keepdim=True)  # B h N N
    return (among * distances).sum(-1).mean((0, 2))


def mean_attention_distances(
    network: TokenClassifier | VisionTransformer, images: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, "L h"]:
    """Return the mean attention distance of every layer and head over some images, in pixels (figure 7 right)."""
    backbone = _backbone(network)
    maps = attention_maps(network, images).values()
    return torch.stack([mean_attention_distance(w, backbone.grid, backbone.strides[0]) for w in maps])


def attention_rollout(maps: Mapping[str, Float[Tensor, "B h T T"]]) -> Float[Tensor, "B T T"]:
    """Return how much of each input token is in each output token if attention only mixes (Abnar & Zuidema 2020).

    The mean over heads, half of it replaced by the identity for the skip connection, is multiplied up layer by layer.
    Row 0 without its first number, as a grid, shows what [CLS] is made of (Dosovitskiy et al. 2021, appendix D.8).

    Args:
        maps: as `attention_maps` gives them, the first layer first.

    Raises:
        ValueError: if there is no map.
    """
    if not maps:
        raise ValueError("received no attention maps, expected those of at least one layer")
    own = torch.eye(next(iter(maps.values())).shape[-1])
    mixed = ((weights.mean(1) + own.to(weights)) / 2 for weights in maps.values())  # B T T
    return functools.reduce(lambda followed, layer: layer @ followed, mixed)


def _backbone(network: TokenClassifier | VisionTransformer) -> VisionTransformer:
    backbone = network.backbone if isinstance(network, TokenClassifier) else network
    if not isinstance(backbone, VisionTransformer):
        raise TypeError(f"received a {type(network).__name__}, expected a vision transformer or a classifier on one")
    return backbone
