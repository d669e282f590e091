"""A toy language to translate into: small enough to learn in a minute, with what makes translation hard.

English ("the old cat did not see some birds today") and Vidian ("hodi kato veto lo pirain unain ne miriso") are two
ways to write one `Meaning`. Each can be read back, so that a translation is right or wrong, never a matter of taste.

    number -> Meaning -> words of English, words of Vidian -> token ids

Vidian has a word order of its own (adverb, subject, object, verb; adjective and article after their noun) and
agreement: adjectives take the gender, number and case of their noun, verbs the gender and number of their subject, so
one word of the target depends on several of the source, and far ones.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset

from vidi.data.loading import derived_seed
from vidi.data.seeding import checked_index, sample_generator, split_number

# English, Vidian stem, gender (0: vowel o, 1: vowel a)
NOUNS = (
    *(("cat", "kat", 0), ("dog", "hund", 0), ("bird", "pir", 1), ("horse", "kal", 0), ("child", "fil", 1)),
    *(("farmer", "agr", 0), ("teacher", "mag", 1), ("friend", "ami", 0), ("boat", "nav", 1), ("house", "dom", 1)),
    *(("tree", "arb", 0), ("star", "stel", 1)),
)
ADJECTIVES = (
    *(("old", "vet"), ("young", "nov"), ("big", "gran"), ("small", "pet")),
    *(("red", "rub"), ("blue", "zul"), ("quiet", "tas"), ("clever", "sap")),
)
# base, third person, past, Vidian stem
VERBS = (
    *(("see", "sees", "saw", "mir"), ("find", "finds", "found", "trov"), ("love", "loves", "loved", "lub")),
    *(("hear", "hears", "heard", "aud"), ("follow", "follows", "followed", "sek"), ("know", "knows", "knew", "kon")),
    *(("want", "wants", "wanted", "vol"), ("paint", "paints", "painted", "tint")),
)
ADVERBS = (("today", "hodi"), ("often", "oft"), ("again", "reti"), ("here", "esti"))
PLURALS = {"child": "children"}
ARTICLES = ("un", "l")  # Vidian stems: indefinite, definite
VOWELS = ("o", "a")  # of the endings, by gender

PAD, BEGIN, END = range(3)
SPECIAL = ("<pad>", "<begin>", "<end>")


class Phrase(NamedTuple):
    """A noun with what belongs to it."""

    noun: int  # place in NOUNS
    plural: int  # 0 or 1
    definite: int  # 0 or 1
    adjective: int  # 0: none, else 1 + place in ADJECTIVES


class Meaning(NamedTuple):
    """What a sentence says, in either language."""

    subject: Phrase
    verb: int  # place in VERBS
    past: int
    negated: int
    object: Phrase
    adverb: int  # 0: none, else 1 + place in ADVERBS


_PHRASE_CHOICES = (len(NOUNS), 2, 2, 1 + len(ADJECTIVES))
_CHOICES = (*_PHRASE_CHOICES, len(VERBS), 2, 2, *_PHRASE_CHOICES, 1 + len(ADVERBS))
SENTENCES = int(np.prod(_CHOICES))  # 29,859,840


def meaning_of(number: int) -> Meaning:
    """Return one of the `SENTENCES` meanings; each has one number."""
    if not 0 <= number < SENTENCES:
        raise ValueError(f"received sentence number {number}, expected 0 to {SENTENCES - 1}")
    digits = [int(digit) for digit in np.unravel_index(number, _CHOICES)]
    verb, past, negated = digits[4:7]
    return Meaning(Phrase(*digits[:4]), verb, past, negated, Phrase(*digits[7:11]), digits[11])


# ------------------------------------------------------------------------------------------------------------- English


def write_english(meaning: Meaning) -> tuple[str, ...]:
    """Write a meaning as English words."""
    base, third, past, _ = VERBS[meaning.verb]
    plural = meaning.subject.plural
    if meaning.negated:
        verb = ["did" if meaning.past else "do" if plural else "does", "not", base]
    else:
        verb = [past if meaning.past else base if plural else third]
    adverb = [ADVERBS[meaning.adverb - 1][0]] if meaning.adverb else []
    return (*_english_phrase(meaning.subject), *verb, *_english_phrase(meaning.object), *adverb)


def _english_phrase(phrase: Phrase) -> list[str]:
    article = "the" if phrase.definite else "some" if phrase.plural else "one"
    adjective = [ADJECTIVES[phrase.adjective - 1][0]] if phrase.adjective else []
    return [article, *adjective, _english_noun(phrase.noun, phrase.plural)]


def _english_noun(noun: int, plural: int) -> str:
    word = NOUNS[noun][0]
    return PLURALS.get(word, word + "s") if plural else word


def read_english(words: Sequence[str]) -> Meaning:
    """Read English words; ValueError for what is not a sentence, or not one that agrees."""
    reader = _Reader(words)
    subject = _read_english_phrase(reader)
    auxiliary = reader.take_if(_ENGLISH_AUXILIARIES)
    negated = int(auxiliary is not None)
    if negated:
        reader.take({"not": 1}, "the negation")
    verb, past = reader.take(_ENGLISH_VERBS, "a verb")
    past = auxiliary if negated else past
    obj = _read_english_phrase(reader)
    adverb = reader.take_if(_ENGLISH_ADVERBS) or 0
    return _confirmed(Meaning(subject, verb, past, negated, obj, adverb), words, write_english)


def _read_english_phrase(reader: "_Reader") -> Phrase:
    definite = reader.take(_ENGLISH_ARTICLES, "an article")
    adjective = reader.take_if(_ENGLISH_ADJECTIVES) or 0
    noun, plural = reader.take(_ENGLISH_NOUNS, "a noun")
    return Phrase(noun, plural, definite, adjective)


_ENGLISH_ARTICLES = {"the": 1, "some": 0, "one": 0}
_ENGLISH_AUXILIARIES = {"do": 0, "does": 0, "did": 1}
_ENGLISH_NOUNS = {_english_noun(noun, plural): (noun, plural) for noun in range(len(NOUNS)) for plural in (0, 1)}
_ENGLISH_ADJECTIVES = {word: i for i, (word, _) in enumerate(ADJECTIVES, 1)}
_ENGLISH_VERBS = {form: (i, int(form == forms[2])) for i, forms in enumerate(VERBS) for form in forms[:3]}
_ENGLISH_ADVERBS = {word: i for i, (word, _) in enumerate(ADVERBS, 1)}


# -------------------------------------------------------------------------------------------------------------- Vidian


def write_vidian(meaning: Meaning) -> tuple[str, ...]:
    """Write a meaning as Vidian words."""
    adverb = [ADVERBS[meaning.adverb - 1][1]] if meaning.adverb else []
    phrases = _vidian_phrase(meaning.subject, case=0), _vidian_phrase(meaning.object, case=1)
    gender = NOUNS[meaning.subject.noun][2]
    negation = ["ne"] if meaning.negated else []
    verb = _vidian_verb(meaning.verb, meaning.past, gender, meaning.subject.plural)
    return (*adverb, *phrases[0], *phrases[1], *negation, verb)


def _vidian_phrase(phrase: Phrase, case: int) -> list[str]:
    _, stem, gender = NOUNS[phrase.noun]
    ending = _ending(gender, phrase.plural, case)
    adjective = [ADJECTIVES[phrase.adjective - 1][1] + ending] if phrase.adjective else []
    return [stem + ending, *adjective, ARTICLES[phrase.definite] + ending]


def _vidian_verb(verb: int, past: int, gender: int, plural: int) -> str:
    return VERBS[verb][3] + ("is" if past else "as") + _ending(gender, plural, 0)


def _ending(gender: int, plural: int, case: int) -> str:
    """The vowel of the gender, -i for more than one, -n for an object."""
    return VOWELS[gender] + "i" * plural + "n" * case


def read_vidian(words: Sequence[str]) -> Meaning:
    """Read Vidian words; ValueError for what is not a sentence, or not one that agrees."""
    reader = _Reader(words)
    adverb = reader.take_if(_VIDIAN_ADVERBS) or 0
    subject, obj = _read_vidian_phrase(reader), _read_vidian_phrase(reader)
    negated = reader.take_if({"ne": 1}) or 0
    verb, past = reader.take(_VIDIAN_VERBS, "a verb")
    return _confirmed(Meaning(subject, verb, past, negated, obj, adverb), words, write_vidian)


def _read_vidian_phrase(reader: "_Reader") -> Phrase:
    noun, plural = reader.take(_VIDIAN_NOUNS, "a noun")
    adjective = reader.take_if(_VIDIAN_ADJECTIVES) or 0
    definite = reader.take(_VIDIAN_ARTICLES, "an article")
    return Phrase(noun, plural, definite, adjective)


_ENDINGS = [(_ending(gender, plural, case), plural) for gender in (0, 1) for plural in (0, 1) for case in (0, 1)]
_VIDIAN_NOUNS = {
    stem + ending: (i, plural)
    for i, (_, stem, gender) in enumerate(NOUNS)
    for ending, plural in _ENDINGS
    if ending.startswith(VOWELS[gender])
}
_VIDIAN_ADJECTIVES = {stem + ending: i for i, (_, stem) in enumerate(ADJECTIVES, 1) for ending, _ in _ENDINGS}
_VIDIAN_ARTICLES = {stem + ending: i for i, stem in enumerate(ARTICLES) for ending, _ in _ENDINGS}
_VIDIAN_VERBS = {
    _vidian_verb(i, past, gender, plural): (i, past)
    for i in range(len(VERBS))
    for past in (0, 1)
    for gender in (0, 1)
    for plural in (0, 1)
}
_VIDIAN_ADVERBS = {word: i for i, (_, word) in enumerate(ADVERBS, 1)}


# ------------------------------------------------------------------------------------------------------------- reading


class _Reader:
    """A sentence read from left to right."""

    def __init__(self, words: Sequence[str]):
        self.rest = list(words)
        self.read: list[str] = []

    def take_if(self, table: Mapping[str, Any]) -> Any:
        """Return what the next word stands for, or None if it is not in the table."""
        if not self.rest or self.rest[0] not in table:
            return None
        self.read.append(self.rest.pop(0))
        return table[self.read[-1]]

    def take(self, table: Mapping[str, Any], what: str) -> Any:
        """Return what the next word stands for."""
        if not self.rest or self.rest[0] not in table:
            found = repr(self.rest[0]) if self.rest else "the end"
            raise ValueError(f"after {' '.join(self.read)!r} stands {found}, expected {what}: {', '.join(table)}")
        return self.take_if(table)


def _confirmed(meaning: Meaning, words: Sequence[str], write: Callable[[Meaning], tuple[str, ...]]) -> Meaning:
    """Return the meaning if the language writes it with just these words."""
    expected = write(meaning)
    if tuple(words) != expected:
        raise ValueError(f"received {' '.join(words)!r}, which does not agree; expected {' '.join(expected)!r}")
    return meaning


def translate(english: str) -> str:
    """Translate an English sentence into Vidian; ValueError for one that is not in the language."""
    return " ".join(write_vidian(read_english(english.split())))


def translate_back(vidian: str) -> str:
    """Translate a Vidian sentence into English; ValueError for one that is not in the language."""
    return " ".join(write_english(read_vidian(vidian.split())))


# ------------------------------------------------------------------------------------------------------ the data set


class Vocabulary:
    """The words of one language as ids; 0 pads, 1 begins and 2 ends a sentence."""

    def __init__(self, words: Iterable[str]):
        self.words = (*SPECIAL, *sorted(set(words)))
        self._ids = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    @property
    def own_words(self) -> tuple[str, ...]:
        """The words without the special ones: from these an equal vocabulary is made."""
        return self.words[len(SPECIAL) :]

    def encode(self, words: Sequence[str]) -> Int64[Tensor, " T"]:
        """Return the ids of words between BEGIN and END; ValueError for an unknown word."""
        unknown = [word for word in words if word not in self._ids]
        if unknown:
            raise ValueError(f"received the unknown words {', '.join(unknown)}")
        return torch.tensor([BEGIN, *(self._ids[word] for word in words), END])

    def decode(self, ids: Int64[Tensor, " T"]) -> tuple[str, ...]:
        """Return the words of ids up to the first END; padding and BEGIN are left out."""
        tokens = ids.tolist()
        tokens = tokens[: tokens.index(END)] if END in tokens else tokens
        return tuple(self.words[token] for token in tokens if token not in (PAD, BEGIN))


_ENGLISH_WORDS = (_ENGLISH_ARTICLES, _ENGLISH_AUXILIARIES, _ENGLISH_NOUNS, _ENGLISH_ADJECTIVES, _ENGLISH_VERBS)
ENGLISH = Vocabulary([*itertools.chain(*_ENGLISH_WORDS), *_ENGLISH_ADVERBS, "not"])
VIDIAN = Vocabulary([*_VIDIAN_NOUNS, *_VIDIAN_ADJECTIVES, *_VIDIAN_ARTICLES, *_VIDIAN_VERBS, *_VIDIAN_ADVERBS, "ne"])


class TranslationPairs(Dataset[tuple[Tensor, Tensor]]):
    """Sentences in both languages, as token ids (English, Vidian); equal arguments give equal sentences.

    A sentence belongs to one split whatever the seed: nobody has met those of val and test in training.

    Raises:
        ValueError: for an unknown split.
    """

    def __init__(self, split: str = "train", *, count: int = 10_000, seed: int = 0):
        split_number(split)
        self.split, self.count, self.seed = split, count, seed

    def __len__(self) -> int:
        return self.count

    def meaning(self, index: int) -> Meaning:
        """Return what sentence `index` says."""
        random = sample_generator(self.seed, self.split, checked_index(index, self.count))
        number = int(random.integers(SENTENCES))
        while split_of(number) != self.split:
            number = int(random.integers(SENTENCES))
        return meaning_of(number)

    def __getitem__(self, index: int) -> tuple[Int64[Tensor, " S"], Int64[Tensor, " T"]]:
        meaning = self.meaning(index)
        return ENGLISH.encode(write_english(meaning)), VIDIAN.encode(write_vidian(meaning))


def split_of(number: int) -> str:
    """Return the split that a sentence belongs to: a tenth of all to val, a tenth to test."""
    return {0: "val", 1: "test"}.get(derived_seed(number) % 10, "train")
