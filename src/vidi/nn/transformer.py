"""The layers of a transformer: attention and feed-forward, stacked to an encoder and to a decoder (notes 3.1).

    encoder  B N D    L x: self-attention, feed-forward
    decoder  B N D    L x: (masked) self-attention, cross-attention to a context B M D, feed-forward

Vaswani et al. 2017, 1706.03762. Post-norm (the paper) normalises after a sub-layer is added, pre-norm (Xiong et al.
2020, 2002.04745) before it runs, with one norm more at the end of the stack. In both only attention lets tokens see
each other. A decoder layer also runs one token at a time, from the keys and values of those before it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from vidi.nn.attention import KeysAndValues, MultiHeadAttention
from vidi.nn.convolution import Activation
from vidi.nn.feed_forward import FeedForward

# ----------------------------------------------------------------------------------------------------------------------
# Sub-layers

Sublayer = Callable[[Tensor], Tensor]
"""From tokens to what is added to them."""


class Residual(nn.Module):
    """Add what a sub-layer makes of the tokens, normed after the sum (post-norm) or before the sub-layer (pre-norm)."""

    def __init__(self, width: int, *, norm_first: bool, dropout: float, eps: float):
        super().__init__()
        self.norm_first = norm_first
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout: nn.Module = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        if self.norm_first:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


def placed(x: Tensor, positions: Tensor | None) -> Tensor:
    """Add positions to tokens, where there are any."""
    return x if positions is None else x + positions


# ----------------------------------------------------------------------------------------------------------------------
# Encoder


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to what it got.

    Args:
        width: D of a token.
        heads: of the attention.
        hidden: width inside the feed-forward network.
        norm_first: pre-norm, where post-norm is the default.
        activation: of the feed-forward network.
        dropout: of the hidden layer, of what is added, and of attention weights unless they have their own.
        attention_dropout: of attention weights; None: `dropout`.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool = False,
        activation: Activation = nn.ReLU,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        eps: float = 1e-5,
    ):
        super().__init__()
        around = {"norm_first": norm_first, "dropout": dropout, "eps": eps}
        of_weights = dropout if attention_dropout is None else attention_dropout
        self.attention = MultiHeadAttention(width, heads, dropout=of_weights)
        self.attention_residual = Residual(width, **around)
        self.feed_forward = FeedForward(width, hidden, activation=activation, dropout=dropout)
        self.feed_forward_residual = Residual(width, **around)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        positions: Float[Tensor, "#B N D"] | None = None,
        mask: Bool[Tensor, "#B #N N"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """Return the tokens after the layer.

        Args:
            x: tokens.
            positions: added to queries and keys, not to values (Carion et al. 2020); None where they are in x already.
            mask: True where a token may look.
            causal: whether a token sees only itself and those before it.
        """

        def look_around(y: Tensor) -> Tensor:
            where = placed(y, positions)
            return self.attention(where, where, y, mask=mask, causal=causal)

        x = self.attention_residual(x, look_around)
        return self.feed_forward_residual(x, self.feed_forward)


class Encoder(nn.Module):
    """A stack of encoder layers of equal numbers; arguments as `EncoderLayer`.

    Args:
        layers: how many.
        final_norm: whether a norm follows the last layer; None: after pre-norm layers only.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool = False,
        final_norm: bool | None = None,
        activation: Activation = nn.ReLU,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        eps: float = 1e-5,
    ):
        super().__init__()
        numbers = {"norm_first": norm_first, "activation": activation, "eps": eps}
        numbers |= {"dropout": dropout, "attention_dropout": attention_dropout}
        self.layers = nn.ModuleList(EncoderLayer(width, heads, hidden, **numbers) for _ in range(layers))
        has_norm = norm_first if final_norm is None else final_norm
        self.norm = nn.LayerNorm(width, eps=eps) if has_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        positions: Float[Tensor, "#B N D"] | None = None,
        mask: Bool[Tensor, "#B #N N"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """Return the tokens after all layers; arguments as `EncoderLayer`."""
        for layer in self.layers:
            x = layer(x, positions=positions, mask=mask, causal=causal)
        return self.norm(x)


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


class DecoderCache(NamedTuple):
    """What one decoder layer keeps between the steps of a generation."""

    target: KeysAndValues | None  # of the tokens so far; None before the first
    context: KeysAndValues  # of the encoded source

    def of_rows(self, rows: Tensor) -> "DecoderCache":
        """Return the cache of the named rows of the batch."""
        return DecoderCache(self.target and self.target.of_rows(rows), self.context.of_rows(rows))


class DecoderLayer(nn.Module):
    """Self-attention, attention to another sequence, and a feed-forward network; arguments as `EncoderLayer`.

    `context_width` is the width of the other sequence's tokens; None: `width`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        context_width: int | None = None,
        norm_first: bool = False,
        activation: Activation = nn.ReLU,
        dropout: float = 0.1,
        eps: float = 1e-5,
    ):
        super().__init__()
        around = {"norm_first": norm_first, "dropout": dropout, "eps": eps}
        self.self_attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.self_attention_residual = Residual(width, **around)
        self.cross_attention = MultiHeadAttention(width, heads, context_width=context_width, dropout=dropout)
        self.cross_attention_residual = Residual(width, **around)
        self.feed_forward = FeedForward(width, hidden, activation=activation, dropout=dropout)
        self.feed_forward_residual = Residual(width, **around)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M Y"],
        *,
        positions: Float[Tensor, "#B N D"] | None = None,
        context_positions: Float[Tensor, "#B M Y"] | None = None,
        mask: Bool[Tensor, "#B #N N"] | None = None,
        context_mask: Bool[Tensor, "#B #N M"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """Return the tokens after the layer.

        Args:
            x: tokens, or object queries.
            context: the other sequence.
            positions, context_positions: added to queries and keys, not to values.
            mask, context_mask: True where a token may look, in x and in the context.
            causal: whether a token sees only itself and those of x before it.
        """
        keys = placed(context, context_positions)

        def look_around(y: Tensor) -> Tensor:
            where = placed(y, positions)
            return self.self_attention(where, where, y, mask=mask, causal=causal)

        def look_across(y: Tensor) -> Tensor:
            return self.cross_attention(placed(y, positions), keys, context, mask=context_mask)

        x = self.self_attention_residual(x, look_around)
        x = self.cross_attention_residual(x, look_across)
        return self.feed_forward_residual(x, self.feed_forward)

    def begin(self, context: Float[Tensor, "B M Y"]) -> DecoderCache:
        """Return the cache before the first token."""
        return DecoderCache(None, self.cross_attention.project(context))

    def step(
        self, x: Float[Tensor, "B 1 D"], cache: DecoderCache, context_mask: Bool[Tensor, "#B 1 M"] | None = None
    ) -> tuple[Float[Tensor, "B 1 D"], DecoderCache]:
        """Return the newest token after the layer, and the cache with it; equal to a causal `forward` over all."""
        kept: list[KeysAndValues] = []

        def look_back(y: Tensor) -> Tensor:
            newest = self.self_attention.project(y)
            kept.append(newest if cache.target is None else cache.target.followed_by(newest))
            return self.self_attention.attend(y, kept[0])

        def look_across(y: Tensor) -> Tensor:
            return self.cross_attention.attend(y, cache.context, mask=context_mask)

        x = self.self_attention_residual(x, look_back)
        x = self.cross_attention_residual(x, look_across)
        return self.feed_forward_residual(x, self.feed_forward), DecoderCache(kept[0], cache.context)


class Decoder(nn.Module):
    """A stack of decoder layers of equal numbers; arguments as `DecoderLayer`.

    Args:
        layers: how many.
        final_norm: whether a norm follows the last layer; None: after pre-norm layers only.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool = False,
        final_norm: bool | None = None,
        activation: Activation = nn.ReLU,
        dropout: float = 0.1,
        eps: float = 1e-5,
    ):
        super().__init__()
        numbers = {"norm_first": norm_first, "activation": activation, "dropout": dropout, "eps": eps}
        self.layers = nn.ModuleList(DecoderLayer(width, heads, hidden, **numbers) for _ in range(layers))
        has_norm = norm_first if final_norm is None else final_norm
        self.norm = nn.LayerNorm(width, eps=eps) if has_norm else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B N D"], context: Float[Tensor, "B M D"], **looking: Any
    ) -> Float[Tensor, "B N D"]:
        """Return the tokens after all layers; keyword arguments as `DecoderLayer`."""
        for layer in self.layers:
            x = layer(x, context, **looking)
        return self.norm(x)

    def outputs(
        self, x: Float[Tensor, "B N D"], context: Float[Tensor, "B M D"], **looking: Any
    ) -> list[Float[Tensor, "B N D"]]:
        """Return the tokens after every layer, each through the final norm (Carion et al. 2020 judge them all)."""
        outputs = []
        for layer in self.layers:
            x = layer(x, context, **looking)
            outputs.append(self.norm(x))
        return outputs
