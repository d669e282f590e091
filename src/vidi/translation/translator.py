"""From sentences to sentences: a network over two vocabularies, its loss, its results (notes 3.1).

    source    B S         ids of words, <begin> .. <end>, padded
    training  B T V       logits of all words of the target at once: teacher forcing
    use       B L         ids, chosen word by word: the likeliest (greedy), by beam search, or drawn
    decode    Translation one per sentence

The transformer (Vaswani et al. 2017, 1706.03762), and the recurrent networks that it replaced: an encoder whose last
state is all that the decoder gets (Sutskever et al. 2014, 1409.3215), and one with additive attention (Bahdanau et al.
2015, 1409.0473).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vidi.data.sentences import SentencePreprocess, TokenBatch
from vidi.data.translation import ENGLISH, PAD, VIDIAN, Vocabulary
from vidi.losses.classification import cross_entropy
from vidi.model import Losses, Step, Supervised, builder, widened, with_defaults
from vidi.nn.positional import PositionKind
from vidi.results.translation import Translation
from vidi.translation.generation import GREEDY, Generated, WordChoice
from vidi.translation.recurrent import Context, RecurrentTranslator
from vidi.translation.transformer import Transformer

# ----------------------------------------------------------------------------------------------------------------------
# Network


class Translator(nn.Module):
    """A network that encodes, and decodes all at once or word by word; `forward` chooses words."""

    def __init__(self, sequences: nn.Module, longest: int, choice: WordChoice = GREEDY):
        super().__init__()
        self.sequences = sequences
        self.longest = longest
        self.choice = choice

    def logits(self, source: Int[Tensor, "B S"], target: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits of the word after each of the target's."""
        network = cast(Any, self.sequences)
        return network.decode(target, network.encode(source))

    def forward(self, source: Int[Tensor, "B S"]) -> Generated:
        return self.choice(cast(Any, self.sequences), source, longest=self.longest)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion and decoder


@dataclass(frozen=True)
class TranslationCriterion:
    """Cross entropy of every word of the targets, <end> included, given the words before it."""

    smoothing: float = 0.0  # share of the target spread evenly over all words, in [0, 1)

    def __call__(self, network: nn.Module, batch: TokenBatch, step: Step) -> Losses:
        """Return the loss of a batch.

        Raises:
            ValueError: if a sentence has no `tokens`.
        """
        for index, target in enumerate(batch.targets):
            if "tokens" not in target:
                raise ValueError(f"sentence {index} has no 'tokens', its target holds {sorted(target)}")
        target = pad_sequence([t["tokens"] for t in batch.targets], batch_first=True, padding_value=PAD)  # B T
        logits = cast(Translator, network).logits(batch.tokens, target[:, :-1])  # B T-1 V
        return self.over_words(logits, target[:, 1:], step)

    def over_words(self, logits: Float[Tensor, "B T V"], words: Int64[Tensor, "B T"], step: Step) -> Losses:
        """Return the mean over the words of a batch, of all processes; <pad> is no word."""
        is_word = words != PAD  # B T
        with torch.autocast(logits.device.type, enabled=False):
            total = cross_entropy(widened(logits[is_word]), words[is_word], smoothing=self.smoothing, reduction="sum")
        return {"cross_entropy": total / step.mean(is_word.sum().to(total.dtype))}


@dataclass(frozen=True)
class TranslationDecode:
    """Ids to one `Translation` per sentence."""

    words: Vocabulary

    def __call__(self, outputs: Generated, placements: Sequence[None]) -> list[Translation]:
        scores = outputs.log_probabilities.sum(1).exp().tolist()
        return [
            Translation(self.words.decode(row), score) for row, score in zip(outputs.tokens.cpu(), scores, strict=True)
        ]


# ----------------------------------------------------------------------------------------------------------------------
# The model


class SentenceModel(Supervised):
    """A supervised model of sentences: strings, or ids from <begin> to <end>, in; `Translation`s out."""

    def __init__(
        self,
        sequences: nn.Module,
        source: Vocabulary,
        target: Vocabulary,
        longest: int,
        smoothing: float,
        choice: WordChoice = GREEDY,
    ):
        super().__init__(
            Translator(sequences, longest, choice),
            TranslationCriterion(smoothing),
            TranslationDecode(target),
            SentencePreprocess(longest),
        )
        self.words = source
        self.choice = choice

    def choosing(self, choice: WordChoice) -> "SentenceModel":
        """Return a model of the same weights that chooses its words in another way."""
        translator, criterion = cast(Translator, self.network), cast(TranslationCriterion, self.criterion)
        target = cast(TranslationDecode, self.decode).words
        other = SentenceModel(translator.sequences, self.words, target, translator.longest, criterion.smoothing, choice)
        other.origin, other.preprocess = self.origin, self.preprocess
        return other.train(self.training)

    def forward(self, *inputs: Tensor) -> Generated:
        """Return the chosen words for sentences of ids B S."""
        return self.network(*inputs)

    def predict(
        self, images: Any, *, batch_size: int = 16, tile: int | None = None, overlap: float | int = 0.25
    ) -> list[Translation]:
        """Return a translation for each sentence; where words are drawn, a function of the seed and the sentence.

        Raises:
            ValueError: for a `tile`: sentences are not cut.
        """
        drawn = self.choice.temperature is not None  # alone, so that no draw depends on the other sentences
        return super().predict(images, batch_size=1 if drawn else batch_size, tile=tile, overlap=overlap)

    def read(self, inputs: Any) -> Iterator[Tensor]:
        """Yield ids for sentences: a string, a tensor of ids, or a sequence of them.

        Raises:
            TypeError: for anything else.
            ValueError: for words that the model does not know.
        """
        single = isinstance(inputs, str) or (isinstance(inputs, Tensor) and inputs.ndim == 1)
        for sentence in [inputs] if single else inputs:
            if isinstance(sentence, str):
                yield self.words.encode(sentence.split())
            elif isinstance(sentence, Tensor):
                yield sentence
            else:
                raise TypeError(f"received a {type(sentence).__name__}, expected a sentence or its ids")


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def sentence_transformer(
    source_words: tuple[str, ...], target_words: tuple[str, ...], *, longest: int, smoothing: float, **numbers: Any
) -> SentenceModel:
    """Put a transformer together for two vocabularies; `numbers` as `Transformer` takes them."""
    source, target = Vocabulary(source_words), Vocabulary(target_words)
    network = Transformer(len(source), len(target), longest=longest, pad=PAD, **numbers)
    return SentenceModel(network, source, target, longest, smoothing)


@builder
def transformer(
    *,
    source_words: tuple[str, ...] = ENGLISH.own_words,
    target_words: tuple[str, ...] = VIDIAN.own_words,
    width: int = 512,
    heads: int = 8,
    hidden: int = 2048,
    layers: int = 6,
    longest: int = 64,
    positions: PositionKind = "sinusoidal",
    tied: bool = True,
    norm_first: bool = False,
    dropout: float = 0.1,
    smoothing: float = 0.1,
) -> SentenceModel:
    """Transformer of the paper's base size: 44.1 M parameters, and the embeddings of the words.

    Args:
        source_words, target_words: of the two languages, without those for begin, end and padding.
        width: of the tokens, a multiple of the heads.
        heads: of the attention.
        hidden: width inside the feed-forward networks.
        layers: of the encoder, and as many of the decoder.
        longest: most tokens of a sentence.
        positions: "sinusoidal" or "learned".
        tied: whether the last linear map has the weights of the target's embedding.
        norm_first: pre-norm layers.
        dropout: in the network, while training.
        smoothing: of the words, in [0, 1).
    """
    return sentence_transformer(
        source_words,
        target_words,
        width=width,
        heads=heads,
        hidden=hidden,
        layers=layers,
        longest=longest,
        positions=positions,
        tied=tied,
        norm_first=norm_first,
        dropout=dropout,
        smoothing=smoothing,
    )


transformer_tiny = with_defaults(
    transformer,
    "transformer_tiny",
    "for a small language, pre-norm, about 0.5 M parameters: learns it in minutes on a CPU",
    width=96,
    heads=4,
    hidden=256,
    layers=2,
    norm_first=True,
    dropout=0.0,
    smoothing=0.0,
)


@builder
def recurrent_translator(
    *,
    source_words: tuple[str, ...] = ENGLISH.own_words,
    target_words: tuple[str, ...] = VIDIAN.own_words,
    width: int = 64,
    hidden: int = 128,
    context: Context = "attention",
    longest: int = 64,
    dropout: float = 0.0,
    smoothing: float = 0.0,
) -> SentenceModel:
    """GRU encoder and decoder with additive attention; with context="fixed" one vector carries the whole sentence.

    Args:
        source_words, target_words: of the two languages, without those for begin, end and padding.
        width: of the embeddings and of the layer before the last.
        hidden: of each GRU, and of the network that scores.
        context: what the decoder gets of the source: "attention" or "fixed".
        longest: most tokens of a sentence.
        dropout: in the network, while training.
        smoothing: of the words, in [0, 1).
    """
    source, target = Vocabulary(source_words), Vocabulary(target_words)
    network = RecurrentTranslator(
        len(source), len(target), width=width, hidden=hidden, context=context, dropout=dropout, pad=PAD
    )
    return SentenceModel(network, source, target, longest, smoothing)
