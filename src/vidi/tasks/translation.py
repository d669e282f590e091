"""Translation: a sentence, and what it is in another language."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidi import files
from vidi.data.sentences import ReversedSentences, SentencePairs, VidianSentences
from vidi.engine.recipe import Recipe
from vidi.engine.task import BuiltIn, Task
from vidi.recipes.translation import FINE_TUNED, SMALL_LANGUAGE
from vidi.results.categories import Categories
from vidi.results.translation import Translation


class TranslationScorer:
    """The share of sentences that are right to the last word, and of words at their right place."""

    headline = "exact"
    keys: tuple[str, ...] = ("tokens", "sentence")

    def __init__(self, categories: Categories):
        self.rows: list[dict[str, Any]] = []

    def update(self, results: Sequence[Translation], targets: Sequence[Mapping[str, Any]]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.rows.append({"expected": target["sentence"], "found": " ".join(result.words), "score": result.score})

    def compute(self) -> dict[str, float]:
        exact = [row["expected"] == row["found"] for row in self.rows]
        words = [
            found == expected
            for row in self.rows
            for found, expected in itertools.zip_longest(row["found"].split(), row["expected"].split())
        ]
        return {"exact": sum(exact) / len(exact), "words": sum(words) / len(words)}

    def write_plots(self, folder: Path) -> None:
        """Write `sentences.csv`, the wrong ones first."""
        files.write_csv(folder / "sentences.csv", sorted(self.rows, key=lambda row: row["expected"] == row["found"]))


def source_words(dataset: SentencePairs) -> tuple[str, ...]:
    """Return the words of the language that is translated."""
    return dataset.source.own_words


def target_words(dataset: SentencePairs) -> tuple[str, ...]:
    """Return the words of the language that it is translated to."""
    return dataset.target.own_words


def vidian(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> VidianSentences:
    """Open a split of the sentences in two languages."""
    return VidianSentences(split, count=count, seed=recipe.seed)


def reversed_sentences(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> ReversedSentences:
    """Open a split of the sentences to be said backwards."""
    return ReversedSentences(split, count=count, seed=recipe.seed)


TRANSLATION = Task(
    name="translation",
    needs=("tokens",),
    says={"source_words": source_words, "target_words": target_words},
    asks="sentences",
    result=Translation,
    scorer=TranslationScorer,
    moves=("none",),
    built_in={
        "world": BuiltIn("sentences in two languages", vidian),
        "reversed": BuiltIn("English sentences, to be said backwards", reversed_sentences),
    },
    recipe=SMALL_LANGUAGE,
    fine_tuning=FINE_TUNED,
)
