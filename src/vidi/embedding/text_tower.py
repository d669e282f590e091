"""From tokens to one vector of a text: the text encoders of CLIP (notes 7.3.1).

    tokens      M T           ids of [SOS] words [EOS], padded with 0
    words       M T D         a row of a table for each id
    transformer M T D         learnt positions, L pre-norm layers; the row of [EOS] is the text's
    bag         M D           the mean of the rows, whatever their order
    embedding   M E           layer norm, projection without offset

Radford et al. 2021, 2103.00020, section 2.4. The released transformer is causal: a token sees itself and those before
it, so that [EOS], the last one, has seen all. The notes' encoder sees all of the text from everywhere
(`causal=False`); padding is hidden from it.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.nn.attention import MultiHeadAttention
from vidi.nn.convolution import Activation
from vidi.nn.feed_forward import FeedForward
from vidi.nn.positional import LearnedPositions
from vidi.nn.transformer import Encoder


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x): the approximation of GELU that the released CLIP was trained with."""

    def forward(self, x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        return x * torch.sigmoid(1.702 * x)


def end_of(tokens: Int64[Tensor, "M T"], vocabulary: int) -> Int64[Tensor, " M"]:
    """Return the place of the first [EOS], which is the last id of a vocabulary."""
    return (tokens == vocabulary - 1).int().argmax(1)


class TextTower(nn.Module):
    """What the text encoders share: a table of words, a layer norm and a projection, with the release's first weights.

    Args:
        vocabulary: how many ids there are; the last two are those of [SOS] and [EOS].
        width: D.
        embedding: E.
    """

    def __init__(self, vocabulary: int, width: int, embedding: int):
        super().__init__()
        self.vocabulary = vocabulary
        self.words = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, embedding, bias=False)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.projection.weight, std=width**-0.5)

    def pooled(self, tokens: Int64[Tensor, "M T"]) -> Float[Tensor, "M D"]:
        """Return one vector for each text, before the norm and the projection."""
        raise NotImplementedError

    def forward(self, tokens: Int64[Tensor, "M T"]) -> Float[Tensor, "M E"]:
        """Return the embeddings, not normalised."""
        return self.projection(self.norm(self.pooled(tokens)))


class TextTransformer(TextTower):
    """A transformer, read at [EOS].

    Args:
        vocabulary, width, embedding: as `TextTower`.
        context: most tokens of a text, [SOS] and [EOS] included.
        depth: L.
        heads: of the attention.
        activation: of the feed-forward networks, which are four times as wide as the tokens.
        causal: whether a token sees only itself and those before it; else all but the padding.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        embedding: int,
        *,
        context: int,
        depth: int,
        heads: int,
        activation: Activation = QuickGELU,
        causal: bool = True,
    ):
        super().__init__(vocabulary, width, embedding)
        self.causal = causal
        self.positions = LearnedPositions(context, width, std=0.01)
        self.no_weight_decay = ("positions.table",)
        numbers = {"norm_first": True, "final_norm": False, "dropout": 0.0}
        self.encoder = Encoder(depth, width, heads, 4 * width, activation=activation, **numbers)
        for module in self.encoder.modules():
            if isinstance(module, MultiHeadAttention):
                for linear in (module.query, module.key, module.value):
                    nn.init.normal_(linear.weight, std=width**-0.5)
                nn.init.normal_(module.output.weight, std=width**-0.5 * (2 * depth) ** -0.5)
            elif isinstance(module, FeedForward):
                nn.init.normal_(module.widen.weight, std=(2 * width) ** -0.5)
                nn.init.normal_(module.narrow.weight, std=width**-0.5 * (2 * depth) ** -0.5)

    def read(self, tokens: Int64[Tensor, "M T"]) -> Float[Tensor, "M T D"]:
        """Return a row for each token, before the norm."""
        mask = None
        if not self.causal:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            mask = (places <= end_of(tokens, self.vocabulary)[:, None])[:, None]  # M 1 T
        return self.encoder(self.positions(self.words(tokens)), mask=mask, causal=self.causal)

    def sequence(self, tokens: Int64[Tensor, "M T"]) -> Float[Tensor, "M T D"]:
        """Return a row for each token after the norm: what image generators look at."""
        return self.norm(self.read(tokens))

    def pooled(self, tokens: Int64[Tensor, "M T"]) -> Float[Tensor, "M D"]:
        x, end = self.read(tokens), end_of(tokens, self.vocabulary)
        return x[torch.arange(len(x), device=x.device), end]  # M T D -> M D


class BagOfWords(TextTower):
    """The mean of the words, [SOS] and [EOS] among them, so that an empty text has one too."""

    def pooled(self, tokens: Int64[Tensor, "M T"]) -> Float[Tensor, "M D"]:
        end = end_of(tokens, self.vocabulary)
        is_word = torch.arange(tokens.shape[1], device=tokens.device) <= end[:, None]  # M T
        words = self.words(tokens) * is_word[..., None]
        return words.sum(1) / is_word.sum(1, keepdim=True)
