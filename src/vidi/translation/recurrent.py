"""Translation with recurrent networks: traditional attention, and the fixed vector that it replaced (notes 3.1.1).

    source   B S  embedding, GRU forwards and backwards: annotations                     B S 2H
    scores   v^T tanh(W s_(i-1) + U h_j) of output step i and source token j; softmax    B T S
    context  attention: the annotations' mean by these weights; fixed: their last states B T 2H
    target   B T  s_i = GRU(s_(i-1), [embedding of t_(i-1), context_i])                  B T H
    output   the larger of two linear maps of [s_i, embedding, context_i], linear map    B T V

Bahdanau et al. 2015, 1409.0473, sections 3 and A.1; without attention: Cho et al. 2014, 1406.1078, Sutskever et al.
2014, 1409.3215. Everything but the context is the same in both. The weights come from a learnt network of the decoder's
state, which the step before made: the loop over time stays in training, unlike in `vidi.nn.transformer`.

Differs from the paper: the reset gate of torch's GRU acts after the state's linear map; the first state comes from the
last states of both directions; the output sees the newest state, as equation 4 has it (the appendix takes the one
before).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vidi.data.translation import PAD

Context = Literal["attention", "fixed"]


class Found(NamedTuple):
    """What the queries of an attention find, and where."""

    context: Float[Tensor, "B N D"]
    weights: Float[Tensor, "B N M"]


class AdditiveAttention(nn.Module):
    """Score a token of one sequence for each of another by a small network: v^T tanh(W s + U h).

    Args:
        query_width: of s.
        context_width: of h.
        hidden: outputs of W and U.
    """

    def __init__(self, query_width: int, context_width: int, hidden: int):
        super().__init__()
        self.query = nn.Linear(query_width, hidden)
        self.key = nn.Linear(context_width, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(
        self,
        queries: Float[Tensor, "B N S"],
        context: Float[Tensor, "B M D"],
        *,
        keys: Float[Tensor, "B M A"] | None = None,
        mask: Bool[Tensor, "#B M"] | None = None,
    ) -> Found:
        """Return the mean of the context's tokens for every query, and the weights of that mean.

        Args:
            queries: s, states of the decoder.
            context: h, annotations of the source.
            keys: U h, where it is computed already: it is the same at every step.
            mask: True on what may be looked at; something must be.
        """
        compared: Tensor = self.key(context) if keys is None else keys
        scores = self.score((self.query(queries)[:, :, None] + compared[:, None]).tanh())[..., 0]  # B N M A -> B N M
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        weights = scores.softmax(-1)
        return Found(weights @ context, weights)


class Annotations(NamedTuple):
    """A source as the decoder sees it."""

    tokens: Float[Tensor, "B S 2H"]
    keys: Float[Tensor, "B S A"]  # U h
    last: Float[Tensor, "B 2H"]  # where each direction ends
    mask: Bool[Tensor, "B S"]  # True on words, False on padding

    def of_rows(self, rows: Tensor) -> "Annotations":
        """Return the sources of the named rows of the batch."""
        return Annotations(*(part[rows] for part in self))


class RecurrentState(NamedTuple):
    """What a generation keeps from step to step."""

    hidden: Float[Tensor, "B H"]
    memory: Annotations

    def of_rows(self, rows: Tensor) -> "RecurrentState":
        """Return the state of the named rows of the batch."""
        return RecurrentState(self.hidden[rows], self.memory.of_rows(rows))


class Decoded(NamedTuple):
    """A target decoded at once, and where each of its tokens came from."""

    logits: Float[Tensor, "B T V"]
    weights: Float[Tensor, "B T S"] | None  # None without attention


class RecurrentTranslator(nn.Module):
    """From a source sequence to the logits of a target sequence, with recurrent encoder and decoder.

    Args:
        source_words, target_words: sizes of the vocabularies.
        width: of the embeddings and of the layer before the last.
        hidden: H, of each GRU, and of the network that scores.
        context: what of the source each step gets: "attention", or "fixed", the same vector.
        dropout: of the embeddings and of what the last layer sees.
        pad: the token that only fills up sequences.
    """

    def __init__(
        self,
        source_words: int,
        target_words: int,
        *,
        width: int = 128,
        hidden: int = 256,
        context: Context = "attention",
        dropout: float = 0.1,
        pad: int = PAD,
    ):
        super().__init__()
        self.pad, self.context = pad, context
        self.source_embedding = nn.Embedding(source_words, width)
        self.target_embedding = nn.Embedding(target_words, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.first = nn.Linear(2 * hidden, hidden)
        self.attention = AdditiveAttention(hidden, 2 * hidden, hidden) if context == "attention" else None
        self.decoder = nn.GRUCell(width + 2 * hidden, hidden)
        self.readout = nn.Linear(hidden + width + 2 * hidden, 2 * width)
        self.output = nn.Linear(width, target_words)

    def forward(self, source: Int[Tensor, "B S"], target: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits of the token after each of the target's."""
        return self.decode(target, self.encode(source))

    def encode(self, source: Int[Tensor, "B S"]) -> Annotations:
        """Encode sources padded with `pad`; each has a word."""
        mask = source != self.pad
        embedded = self.dropout(self.source_embedding(source))  # B S D
        # packed, neither direction runs over padding
        packed = pack_padded_sequence(embedded, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        outputs, last = self.encoder(packed)
        tokens = pad_packed_sequence(outputs, batch_first=True, total_length=source.shape[1])[0]  # B S 2H
        keys = tokens[..., :0] if self.attention is None else self.attention.key(tokens)
        return Annotations(tokens, keys, last.transpose(0, 1).flatten(1), mask)  # 2 B H -> B 2H

    def decode(self, target: Int[Tensor, "B T"], memory: Annotations) -> Float[Tensor, "B T V"]:
        """Return the logits of the token after each of the target's."""
        return self.trace(target, memory).logits

    def trace(self, target: Int[Tensor, "B T"], memory: Annotations) -> Decoded:
        """Return the logits of the token after each of the target's, and the attention weights of each."""
        embedded = self.dropout(self.target_embedding(target))  # B T D
        hidden = self.begin(memory).hidden
        states: list[Tensor] = []
        contexts: list[Tensor] = []
        weights: list[Tensor] = []
        for token in embedded.unbind(1):
            context, weight = self._look(hidden, memory)
            hidden = self.decoder(torch.cat((token, context), dim=-1), hidden)
            states.append(hidden)
            contexts.append(context)
            if weight is not None:
                weights.append(weight)
        logits = self._logits(torch.stack(states, dim=1), embedded, torch.stack(contexts, dim=1))
        return Decoded(logits, torch.stack(weights, dim=1) if weights else None)

    def begin(self, memory: Annotations) -> RecurrentState:
        """Return the state of a generation before its first token."""
        return RecurrentState(self.first(memory.last).tanh(), memory)

    def step(self, tokens: Int[Tensor, " B"], state: RecurrentState) -> tuple[Float[Tensor, "B V"], RecurrentState]:
        """Return the logits of the token after the newest one, and the state with it."""
        embedded = self.dropout(self.target_embedding(tokens))  # B D
        context, _ = self._look(state.hidden, state.memory)
        hidden = self.decoder(torch.cat((embedded, context), dim=-1), state.hidden)
        return self._logits(hidden, embedded, context), RecurrentState(hidden, state.memory)

    def _look(self, hidden: Float[Tensor, "B H"], memory: Annotations) -> tuple[Tensor, Tensor | None]:
        """Return what a step gets of the source, B 2H, and the weights by which it is a mean, B S."""
        if self.attention is None:
            return memory.last, None
        found = self.attention(hidden[:, None], memory.tokens, keys=memory.keys, mask=memory.mask)
        return found.context[:, 0], found.weights[:, 0]

    def _logits(self, hidden: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        maps = self.readout(torch.cat((hidden, embedded, context), dim=-1))  # ... 2D
        return self.output(self.dropout(maps.unflatten(-1, (-1, 2)).amax(-1)))  # ... D 2 -> ... D -> ... V
