"""Pairs of sentences as samples and batches: what a network from sequences to sequences trains on.

    sample   (S ids of the source, {"tokens": T ids of the target, "sentence": its words}); ids from <begin> to <end>
    batch    tokens B S, padded with <pad>; targets stay one by one

Two sets are built in: translation from English into Vidian, and English sentences to be said backwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from vidi.data.translation import ENGLISH, PAD, VIDIAN, TranslationPairs, Vocabulary, write_english, write_vidian
from vidi.preprocess import AnyBatch

# ----------------------------------------------------------------------------------------------------------------------
# Data sets


class SentencePairs(Dataset[Any]):
    """Pairs of sentences by the sample contract; its vocabularies go to the builder of the model."""

    kinds = frozenset({"tokens"})
    source: Vocabulary = ENGLISH
    target: Vocabulary

    def __init__(self, split: str, *, count: int, seed: int):
        self.pairs = TranslationPairs(split, count=count, seed=seed)

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, source: Sequence[str], target: Sequence[str]) -> tuple[Tensor, dict[str, Any]]:
        """Return a pair of sentences as a sample."""
        return self.source.encode(source), {"tokens": self.target.encode(target), "sentence": " ".join(target)}


class VidianSentences(SentencePairs):
    """English sentences and their translations."""

    target = VIDIAN

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        meaning = self.pairs.meaning(index)
        return self.sample(write_english(meaning), write_vidian(meaning))


class ReversedSentences(SentencePairs):
    """English sentences, and their words from the last to the first."""

    target = ENGLISH

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        words = write_english(self.pairs.meaning(index))
        return self.sample(words, words[::-1])


# ----------------------------------------------------------------------------------------------------------------------
# Batches


@dataclass(frozen=True)
class TokenBatch(AnyBatch):
    """Sentences."""

    tokens: Int64[Tensor, "B S"]  # ids of the sources, <pad> after the end
    placements: Sequence[None]  # B; a sentence has no pixels to go back to
    targets: Sequence[Mapping[str, Tensor]]  # B; empty mappings at prediction

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.tokens,)

    def to(self, device: torch.device, *, channels_last: bool = False) -> "TokenBatch":
        targets = [{name: value.to(device) for name, value in target.items()} for target in self.targets]
        return TokenBatch(self.tokens.to(device), self.placements, targets)


@dataclass(frozen=True)
class SentencePreprocess:
    """How sentences become a batch; saved with the weights."""

    longest: int = 64  # ids of a sentence, <begin> and <end> included

    def place(self, tokens: Tensor, target: Mapping[str, Any]) -> tuple[Tensor, Mapping[str, Tensor], None]:
        """Check a sample, and keep its tensors.

        Raises:
            ValueError: if a sentence is too long.
        """
        tensors = {name: value for name, value in target.items() if isinstance(value, Tensor)}
        for ids in (tokens, *tensors.values()):
            if len(ids) > self.longest:
                raise ValueError(f"received a sentence of {len(ids) - 2} words, expected at most {self.longest - 2}")
        return tokens, tensors, None

    def collate(self, placed: Sequence[tuple[Tensor, Mapping[str, Tensor], None]]) -> TokenBatch:
        """Pad placed sentences to one length."""
        tokens = pad_sequence([tokens for tokens, _, _ in placed], batch_first=True, padding_value=PAD)
        return TokenBatch(tokens, [None] * len(placed), [target for _, target, _ in placed])
