"""The toy language: every sentence can be read back, words agree, and the splits share no sentence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidi.data.translation import (
    ADJECTIVES,
    BEGIN,
    END,
    ENGLISH,
    NOUNS,
    PAD,
    SENTENCES,
    VIDIAN,
    TranslationPairs,
    meaning_of,
    read_english,
    read_vidian,
    split_of,
    translate,
    translate_back,
    write_english,
    write_vidian,
)

NUMBERS = st.integers(0, SENTENCES - 1)


@pytest.mark.system("0-DATA-TEXT")
@given(NUMBERS)
def test_each_language_can_be_read_back(number):
    meaning = meaning_of(number)
    assert read_english(write_english(meaning)) == meaning
    assert read_vidian(write_vidian(meaning)) == meaning


@pytest.mark.system("0-DATA-TEXT")
@given(NUMBERS)
def test_a_translation_can_be_undone(number):
    english = " ".join(write_english(meaning_of(number)))
    assert translate_back(translate(english)) == english


@pytest.mark.parametrize(
    ("english", "vidian"),
    [
        ("the cat sees one dog", "kato lo hundon unon miraso"),
        ("the cats see one dog", "katoi loi hundon unon mirasoi"),
        ("one star did not hear the quiet children here", "esti stela una filain tasain lain ne audisa"),
        ("some red boats loved the old cat", "navai rubai unai katon veton lon lubisai"),
    ],
)
def test_sentences_are_as_the_grammar_says(english, vidian):
    assert translate(english) == vidian


def test_objects_move_before_the_verb_and_adjectives_behind_their_noun():
    words = translate("the old cat saw some small birds today").split()
    assert [word[:3] for word in words] == ["hod", "kat", "vet", "lo", "pir", "pet", "una", "mir"]


@given(NUMBERS)
def test_adjectives_and_verbs_agree_with_their_nouns(number):
    meaning = meaning_of(number)
    words = write_vidian(meaning)
    for phrase in (meaning.subject, meaning.object):
        stem = NOUNS[phrase.noun][1]
        place = next(i for i, w in enumerate(words) if w[: len(stem)] == stem and w[len(stem) :].strip("oain") == "")
        if phrase is meaning.subject:
            assert words[-1].endswith(words[place][len(stem) :])
        if phrase.adjective and phrase is meaning.subject:
            assert words[place + 1] == ADJECTIVES[phrase.adjective - 1][1] + words[place][len(stem) :]


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("the cat see the dog", "does not agree; expected 'the cat sees the dog'"),
        ("the cat sees", "stands the end, expected an article"),
        ("the table sees the dog", "after 'the' stands 'table', expected a noun"),
        ("the cat did see the dog", "after 'the cat did' stands 'see', expected the negation"),
        ("the cat sees the dog today again", "does not agree"),
        ("", "expected an article"),
    ],
)
def test_what_is_not_a_sentence_is_an_error_that_says_where(sentence, message):
    with pytest.raises(ValueError, match=message):
        translate(sentence)


def test_a_wrong_case_is_an_error():
    with pytest.raises(ValueError, match="does not agree"):
        translate_back("kato lo hundo uno miraso")


@pytest.mark.system("0-DATA-TEXT")
def test_no_sentence_of_val_or_test_is_met_in_training():
    met = {TranslationPairs("train", count=2000, seed=seed).meaning(i) for seed in (0, 1) for i in range(2000)}
    for split in ("val", "test"):
        held_out = TranslationPairs(split, count=300)
        assert not met & {held_out.meaning(i) for i in range(300)}


def test_the_splits_are_tenths():
    counts = [sum(split_of(number) == split for number in range(0, 300_000, 100)) for split in ("train", "val", "test")]
    assert counts[0] > 2300
    assert min(counts[1:]) > 230


def test_a_sample_is_two_token_sequences():
    pairs = TranslationPairs("test", count=50)
    for index in (0, 17, -1):
        english, vidian = pairs[index]
        assert english.dtype == vidian.dtype == torch.int64
        assert english[0] == vidian[0] == BEGIN
        assert english[-1] == vidian[-1] == END
        assert translate(" ".join(ENGLISH.decode(english))) == " ".join(VIDIAN.decode(vidian))
        padded = torch.nn.functional.pad(vidian, (0, 3), value=PAD)
        assert VIDIAN.decode(padded) == VIDIAN.decode(vidian)


def test_the_vocabularies_hold_every_word_once():
    assert len(set(ENGLISH.words)) == len(ENGLISH)
    assert len(set(VIDIAN.words)) == len(VIDIAN)
    with pytest.raises(ValueError, match="unknown words table"):
        ENGLISH.encode(["the", "table"])
