"""Attention: every query looks at all keys, and takes the mean of their values by how well they match (notes 3.1.1).

    queries    B N d_X  -> W_Q -> B h N d_K     of self-attention: all three are the same sequence
    keys       B M d_Y  -> W_K -> B h M d_K
    values     B M d_Y  -> W_V -> B h M d_V
    weights    softmax over M of Q K^T / sqrt(d_K)                   B h N M
    output     heads next to each other, W_O: B N (h d_V) -> B N d_X

Vaswani et al. 2017, 1706.03762, section 3.2. The weights are a function of their own, and a module hands them out to
`recorded_attention`; otherwise torch's fused `scaled_dot_product_attention` runs, which never holds N x M of them.

A mask is True where a query may look. What it hides gets a score of minus infinity: setting weights to zero after the
softmax is the same only if the rows are divided by their sums again (erratum of notes 3.1.4). The output of a query
that may look nowhere is zero.

Differs from the notes: q_1 = x_1 W_Q and V = Y W_V, where they print other matrices. They say that transformers do not
weigh outputs against inputs; cross-attention does, by dot products where traditional attention has a network.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

# ----------------------------------------------------------------------------------------------------------------------
# Without parameters


def attention_weights(
    queries: Float[Tensor, "*B N d_K"],
    keys: Float[Tensor, "*B M d_K"],
    *,
    scale: float | int | None = None,
    mask: Bool[Tensor, "*#B #N M"] | None = None,
) -> Float[Tensor, "*B N M"]:
    """Return how much of each value every query takes: rows sum to 1, or to 0 where the mask hides all keys.

    Args:
        queries, keys: what is compared, by dot products.
        scale: of the dot products; None: 1 / sqrt(d_K), which gives products of independent unit normals, whose
            variance is d_K, the variance 1. With 1 it is plain dot-product attention.
        mask: True where a query may look.
    """
    scale = 1 / math.sqrt(queries.shape[-1]) if scale is None else scale
    scores = queries @ keys.transpose(-2, -1) * scale  # *B N M
    if mask is None:
        return scores.softmax(-1)
    return scores.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(~mask, 0)  # softmax of nothing is nan


def renormalized_attention_weights(
    queries: Float[Tensor, "*B N d_K"], keys: Float[Tensor, "*B M d_K"], mask: Bool[Tensor, "*#B #N M"]
) -> Float[Tensor, "*B N M"]:
    """Return masked weights the other way: zero what is hidden after the softmax, then divide rows by their sums.

    Equal to `attention_weights` with the mask, but for queries that may look nowhere (here 0 / 0).
    """
    weights = attention_weights(queries, keys) * mask
    return weights / weights.sum(-1, keepdim=True)


def scaled_dot_product_attention(
    queries: Float[Tensor, "*B N d_K"],
    keys: Float[Tensor, "*B M d_K"],
    values: Float[Tensor, "*B M d_V"],
    *,
    scale: float | int | None = None,
    mask: Bool[Tensor, "*#B #N M"] | None = None,
) -> Float[Tensor, "*B N d_V"]:
    """Return softmax(Q K^T / sqrt(d_K)) V as the equation has it (equation 1); arguments as `attention_weights`."""
    return attention_weights(queries, keys, scale=scale, mask=mask) @ values


def causal_mask(queries: int, keys: int | None = None, *, device: torch.device | None = None) -> Bool[Tensor, "N M"]:
    """Return the mask by which no query looks at what comes later; the last query sees all keys."""
    keys = queries if keys is None else keys
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


# ----------------------------------------------------------------------------------------------------------------------
# With projections and heads


class KeysAndValues(NamedTuple):
    """A sequence as attention sees it; what generation keeps, so that no earlier token is projected again."""

    keys: Float[Tensor, "B h M d_K"]
    values: Float[Tensor, "B h M d_V"]

    def followed_by(self, later: "KeysAndValues") -> "KeysAndValues":
        """Append a sequence that comes after this one."""
        return KeysAndValues(*(torch.cat(pair, dim=2) for pair in zip(self, later, strict=True)))

    def of_rows(self, rows: Tensor) -> "KeysAndValues":
        """Return the sequences of the named rows of the batch: beams that go on, some of them twice."""
        return KeysAndValues(self.keys[rows], self.values[rows])


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in a subspace of its own, and a linear map of all they found (3.2.2).

    Args:
        width: d_X, of the queries.
        heads: h.
        context_width: d_Y, of keys and values; None: `width`.
        key_width, value_width: d_K and d_V of one head; None: width / heads.
        out_width: of the output; None: `width`.
        bias: whether the four maps have offsets.
        output_bias: whether the last of them has; None: `bias`.
        dropout: of the weights, while training; then the memory needed grows with N x M on the CPU.

    Raises:
        ValueError: if `heads` does not divide `width` and the widths of a head are not given.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        key_width: int | None = None,
        value_width: int | None = None,
        out_width: int | None = None,
        bias: bool = True,
        output_bias: bool | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % heads and None in (key_width, value_width):
            raise ValueError(f"received width={width}, heads={heads}; expected a width that the heads divide")
        context_width = width if context_width is None else context_width
        self.heads = heads
        self.key_width = width // heads if key_width is None else key_width
        self.value_width = width // heads if value_width is None else value_width
        self.dropout = dropout
        self.query = nn.Linear(width, heads * self.key_width, bias)
        self.key = nn.Linear(context_width, heads * self.key_width, bias)
        self.value = nn.Linear(context_width, heads * self.value_width, bias)
        last_bias = bias if output_bias is None else output_bias
        self.output = nn.Linear(heads * self.value_width, width if out_width is None else out_width, last_bias)
        self.record: list[Tensor] | None = None  # where `recorded_attention` wants the weights
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        queries: Float[Tensor, "B N X"],
        keys: Float[Tensor, "B M Y"] | None = None,
        values: Float[Tensor, "B M Y"] | None = None,
        *,
        mask: Bool[Tensor, "#B #N M"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N Z"]:
        """Return what the queries find.

        Args:
            queries: what looks.
            keys: what is looked at; None: the queries themselves (self-attention).
            values: what is found there; None: the keys. They differ where positions are added to the keys alone.
            mask: True where a query may look.
            causal: whether a query sees only itself and what is before it.
        """
        keys = queries if keys is None else keys
        return self.attend(queries, self.project(keys, values), mask=mask, causal=causal)

    def project(self, keys: Float[Tensor, "B M Y"], values: Float[Tensor, "B M Y"] | None = None) -> KeysAndValues:
        """Return a sequence as the heads see it."""
        values = keys if values is None else values
        return KeysAndValues(self._split(self.key(keys)), self._split(self.value(values)))

    def attend(
        self,
        queries: Float[Tensor, "B N X"],
        context: KeysAndValues,
        *,
        mask: Bool[Tensor, "#B #N M"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N Z"]:
        """Return what the queries find in a sequence that is projected already; arguments as `forward`."""
        q = self._split(self.query(queries))  # B h N d_K
        heads_mask = None if mask is None else mask[:, None]  # B 1 N M
        if self.record is not None:
            if causal:
                later = causal_mask(q.shape[2], context.keys.shape[2], device=q.device)
                heads_mask = later if heads_mask is None else heads_mask & later
            weights = attention_weights(q, context.keys, mask=heads_mask)
            self.record.append(weights)
            found = F.dropout(weights, self.dropout, self.training) @ context.values
        else:
            found = fused_attention(
                q, context, mask=heads_mask, causal=causal, dropout=self.dropout if self.training else 0.0
            )
        return self.output(found.transpose(1, 2).flatten(2))  # B h N d_V -> B N (h d_V) -> B N Z

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B N (h d) -> B h N d


def draw_as_one_matrix(network: nn.Module) -> None:
    """Draw queries, keys and values of every attention anew, as the one matrix of 3 D rows that DETR's code has."""
    for module in network.modules():
        if isinstance(module, MultiHeadAttention):
            for linear in (module.query, module.key, module.value):
                nn.init.xavier_uniform_(linear.weight, gain=2**-0.5)


def fused_attention(
    queries: Float[Tensor, "B h N d_K"],
    context: KeysAndValues,
    *,
    mask: Bool[Tensor, "#B #h #N M"] | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "B h N d_V"]:
    """Return `scaled_dot_product_attention` by torch's kernel, whose memory is linear in N and M."""
    N, M = queries.shape[2], context.keys.shape[2]
    if causal and N == 1:  # the newest token of a generation sees everything
        causal = False
    if causal and (mask is not None or N != M):  # torch takes one or the other, and aligns the first query
        later = causal_mask(N, M, device=queries.device)
        mask, causal = later if mask is None else mask & later, False
    return F.scaled_dot_product_attention(
        queries, context.keys, context.values, attn_mask=mask, dropout_p=dropout, is_causal=causal
    )


@contextmanager
def recorded_attention(network: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the weights of every attention that runs inside the block, B h N M, by the module's dotted name.

        with recorded_attention(model.network) as maps:
            model(images)
        maps["encoder.layers.0.attention"][0]

    A module that runs several times has several maps. While they are recorded all N x M weights are held.
    """
    modules = {name: module for name, module in network.named_modules() if isinstance(module, MultiHeadAttention)}
    maps: dict[str, list[Tensor]] = {name: [] for name in modules}
    for name, module in modules.items():
        module.record = maps[name]
    try:
        yield maps
    finally:
        for module in modules.values():
            module.record = None
