"""The transformer from sentences to sentences: an encoder, and a decoder that looks at what it made (notes 3.1).

    source  B S     embedding x sqrt(D) + positions                          B S D
                    L x encoder layer: self-attention, feed-forward          B S D    `encode`
    target  B T     <begin>, t_1 .. t_n; embedding + positions               B T D
                    L x decoder layer: masked self-attention,
                        cross-attention to the encoded source, feed-forward  B T D
                    linear map, the embedding's own weights when tied        B T V    `decode`: logits of t_1 .. <end>

Vaswani et al. 2017, 1706.03762; the layers are those of `vidi.nn.transformer`. In training all positions of the target
are decoded at once (teacher forcing): the mask keeps each from what comes later. `begin` and `step` decode one token at
a time, with the same logits; `vidi.translation.generation` chooses the tokens.

Differs from the notes: embeddings are multiplied by sqrt(D), as in the paper.
"""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vidi.nn.positional import PositionKind, positions_layer
from vidi.nn.transformer import Decoder, DecoderCache, DecoderLayer, Encoder


class TokenEmbedding(nn.Embedding):
    """A learnt vector for every token of a vocabulary, times sqrt(D) where `scaled` (section 3.4 of the paper)."""

    def __init__(self, vocabulary: int, width: int, *, scaled: bool = True):
        super().__init__(vocabulary, width)
        self.scale = math.sqrt(width) if scaled else 1.0
        nn.init.normal_(self.weight, std=width**-0.5)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return super().forward(tokens) * self.scale


class Memory(NamedTuple):
    """An encoded source."""

    tokens: Float[Tensor, "B S D"]
    mask: Bool[Tensor, "B S"]  # True on words, False on padding

    def of_rows(self, rows: Tensor) -> "Memory":
        """Return the sources of the named rows of the batch."""
        return Memory(self.tokens[rows], self.mask[rows])


class DecoderState(NamedTuple):
    """What a generation keeps from step to step."""

    length: int  # of the target so far
    caches: tuple[DecoderCache, ...]  # of the layers
    mask: Bool[Tensor, "B S"]  # of the source

    def of_rows(self, rows: Tensor) -> "DecoderState":
        """Return the state of the named rows of the batch."""
        return DecoderState(self.length, tuple(cache.of_rows(rows) for cache in self.caches), self.mask[rows])


class Transformer(nn.Module):
    """From a source sequence to the logits of a target sequence.

    Args:
        source_words, target_words: sizes of the vocabularies.
        width, heads, hidden, layers: D, of attention, of the feed-forward networks, of each stack.
        longest: most tokens of a sequence, where positions are learnt.
        positions: "sinusoidal" or "learned".
        tied: whether the last linear map has the weights of the target's embedding.
        norm_first, dropout: as `EncoderLayer`.
        pad: the token that only fills up sequences; nothing looks at it.
    """

    def __init__(
        self,
        source_words: int,
        target_words: int,
        *,
        width: int = 512,
        heads: int = 8,
        hidden: int = 2048,
        layers: int = 6,
        longest: int = 512,
        positions: PositionKind = "sinusoidal",
        tied: bool = True,
        norm_first: bool = False,
        dropout: float = 0.1,
        pad: int = 0,
    ):
        super().__init__()
        self.pad = pad
        self.source_embedding = TokenEmbedding(source_words, width)
        self.target_embedding = TokenEmbedding(target_words, width)
        self.source_positions = positions_layer(positions, width, longest)
        self.target_positions = positions_layer(positions, width, longest)
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(layers, width, heads, hidden, norm_first=norm_first, dropout=dropout)
        self.decoder = Decoder(layers, width, heads, hidden, norm_first=norm_first, dropout=dropout)
        self.output_weight = None if tied else nn.Parameter(torch.empty(target_words, width))
        self.output_bias = nn.Parameter(torch.zeros(target_words))
        if self.output_weight is not None:
            nn.init.xavier_uniform_(self.output_weight)

    def forward(self, source: Int[Tensor, "B S"], target: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits of the token after each of the target's; no loop over time."""
        return self.decode(target, self.encode(source))

    def encode(self, source: Int[Tensor, "B S"]) -> Memory:
        """Encode sources padded with `pad`."""
        mask = source != self.pad  # B S
        x = self.dropout(self.source_positions(self.source_embedding(source)))
        return Memory(self.encoder(x, mask=mask[:, None]), mask)

    def decode(self, target: Int[Tensor, "B T"], memory: Memory) -> Float[Tensor, "B T V"]:
        """Return the logits of the token after each of the target's.

        Padding follows the words, so that no word looks at it.
        """
        x = self.dropout(self.target_positions(self.target_embedding(target)))
        x = self.decoder(x, memory.tokens, context_mask=memory.mask[:, None], causal=True)
        return self._logits(x)

    def begin(self, memory: Memory) -> DecoderState:
        """Return the state of a generation before its first token."""
        caches = tuple(cast(DecoderLayer, layer).begin(memory.tokens) for layer in self.decoder.layers)
        return DecoderState(0, caches, memory.mask)

    def step(self, tokens: Int[Tensor, " B"], state: DecoderState) -> tuple[Float[Tensor, "B V"], DecoderState]:
        """Return the logits of the token after the newest one, and the state with it."""
        x = self.target_positions(self.target_embedding(tokens[:, None]), state.length)  # B 1 D
        caches = []
        for layer, cache in zip(self.decoder.layers, state.caches, strict=True):
            x, cache = cast(DecoderLayer, layer).step(x, cache, state.mask[:, None])
            caches.append(cache)
        logits = self._logits(self.decoder.norm(x))[:, 0]  # B 1 D -> B V
        return logits, DecoderState(state.length + 1, tuple(caches), state.mask)

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.target_embedding.weight if self.output_weight is None else self.output_weight
        return F.linear(x, weight, self.output_bias)  # B T D -> B T V
