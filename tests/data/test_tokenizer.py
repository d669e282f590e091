# ruff: noqa: RUF001 - signs that look alike are what is tested
"""Byte-pair encoding: open_clip's ids for any text, and lists of joins of one's own."""

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import open_clip
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.settings import SEED
from vidi import files
from vidi.data import tokenizer as module
from vidi.data.captions import spelt_token
from vidi.data.tokenizer import (
    BYTES,
    PUBLISHED_FILE,
    PUBLISHED_IDS,
    Tokenizer,
    joined,
    tokenizer_of,
    trained_merges,
    words_of,
)

THEIRS = open_clip.SimpleTokenizer()
OURS = tokenizer_of(None)

PARTS = (  # what texts of the web are made of
    *("a photo of a cat", "The Quick BROWN fox", "doesn't", "we've", "I'M", "she'll", "'d", "it's", "O'Neill's"),
    *("🎉", "👩\u200d👩\u200d👧", "🇩🇪", "🏳️\u200d🌈", "👍🏽", "☕", "❤️", "✔", "𝕳𝖊𝖑𝖑𝖔", "①②", "½", "٣", "४"),
    *(
        "naïve",
        "Straße",
        "İstanbul",
        "ſ",
        "ĳ",
        "ﬁne",
        "Ångström",
        "e\u0301",
        "ŒUVRE",
        "日本語のテキスト",
        "한국어",
        "中文",
    ),
    *("Привет мир", "Ελληνικά", "שלום", "مرحبا", "हिन्दी", "ไทย", "ქართული", "Tiếng Việt"),
    *(
        "&amp;",
        "&amp;amp;",
        "&lt;b&gt;",
        "&#39;",
        "&quot;",
        "&nbsp;",
        "&eacute;",
        "&copy;",
        "&#x1F600;",
        "&bogus;",
        "&",
    ),
    *("cafÃ©", "â€œquotedâ€\x9d", "donâ€™t", "Ã¼ber", "“curly”", "‘x’", "—", "…", "™"),
    *(
        "1999",
        "3.14",
        "100%",
        "$5",
        "C3PO",
        "x_y",
        "a-b",
        "http://example.org/?a=1&b=2",
        "#tag",
        "@me",
        "...",
        "?!",
        "~~~",
    ),
    *("\t", "\n\n", "   ", "\u00a0", "\u2003", "\u200b", "\ufeff", "\x00", "\x07", "\x1b[31m", "\x85", "\u2028"),
    *("IMG_0042.jpg", "antidisestablishmentarianism", "x" * 40, "ZZZZZZ", "\\", "`", "|", "{}", "<", ">", "<br/>"),
)


def strings(count: int) -> list[str]:
    """Return texts of one to eight parts, put together in a fixed way."""
    draw = random.Random(0)
    return ["".join(draw.choice(PARTS) + draw.choice(("", " ", "  ")) for _ in range(1 + i % 8)) for i in range(count)]


def test_500_strings_have_open_clip_s_ids() -> None:
    texts = ["", " ", *PARTS, *strings(500)]
    assert len(set(texts)) > 500
    different = [text for text in texts if OURS.encode(text) != THEIRS.encode(text)]
    assert not different
    for text in texts:
        ids = OURS(text, 77)
        assert THEIRS(text)[0].tolist() == [*ids.tolist(), *[0] * (77 - len(ids))]


def test_names_of_all_emoji_have_open_clip_s_ids(shared_data: Path) -> None:
    lines = files.read_text(shared_data / "emoji" / "captions.jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [f"{row['emoji']} {row['label']}: {', '.join(row['tags'])}" for row in rows]
    assert len(texts) == 1906
    assert all(OURS.encode(text) == THEIRS.encode(text) for text in texts)


@settings(max_examples=60)
@given(st.text(st.characters(), max_size=30))
@example("half a character \ud800")
def test_any_text_has_open_clip_s_ids(text: str) -> None:
    assume(spelt_token(THEIRS.clean_fn(text)) is None)  # those are refused
    assert OURS.encode(text) == THEIRS.encode(text)


def test_ids_come_in_the_order_of_the_release() -> None:
    assert len(OURS) == PUBLISHED_IDS == THEIRS.vocab_size == 49_408
    assert OURS.pieces[:2] == ("!", '"')
    assert OURS.pieces[256] == "!</w>"
    assert (OURS.start, OURS.end) == (49_406, 49_407) == (THEIRS.sot_token_id, THEIRS.eot_token_id)
    assert OURS("a cat", 77).tolist() == [49_406, 320, 2368, 49_407]
    assert len(BYTES) == len(set(BYTES.values())) == 256
    assert not any(character.isspace() for character in BYTES.values())


def test_an_empty_and_an_over_long_text() -> None:
    assert OURS("", 77).tolist() == [OURS.start, OURS.end]
    text = "one two three four five six seven"
    whole = OURS(text, 77).tolist()
    assert len(whole) == 9
    assert OURS(text, 9).tolist() == whole
    assert OURS(text, 8).tolist() == [*whole[:7], OURS.end] == THEIRS(text, 8)[0].tolist()
    assert OURS(text, 3).tolist() == [OURS.start, whole[1], OURS.end]
    assert len(OURS("word " * 20_000, 77)) == 77


def test_bytes_and_characters_that_nobody_has_seen() -> None:
    assert OURS.encode("a\ud800b") == THEIRS.encode("a\ud800b") == OURS.encode("a\ufffdb")
    unseen = "".join(chr(number) for number in (0x1FAE9, 0xE0100, 0x10FFFD, 0x378))  # new, a mark, private, unassigned
    assert OURS.encode(unseen) == THEIRS.encode(unseen) != []
    tokenizer = Tokenizer("")
    text = "日本 ünï"
    assert tokenizer.encode(text) == [
        number + (256 if last else 0)
        for word in text.split()
        for place, number in enumerate([*BYTES].index(byte) for byte in word.encode())
        for last in [place == len(word.encode()) - 1]
    ]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text)[:1]) == "\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "the end <end_of_text> and more",
        "<START_OF_TEXT>",
        "a <|endoftext|> b",
        "<|startoftext|>",
        "&lt;end_of_text&gt;",
        "&amp;lt;END_of_text&amp;gt;",
    ],
)
def test_a_text_that_spells_a_special_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"<.*>.*expected one without special tokens: "):
        OURS.encode(text)


def test_what_only_looks_like_one_is_a_text() -> None:
    for text in ("< end_of_text >", "end_of_text", "<endoftext>", "<|end|>"):
        assert OURS.encode(text) == THEIRS.encode(text)


def test_words_are_kept_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_WORDS", 2)
    tokenizer = Tokenizer("t h\nth e</w>")
    for text in ("the", "cat", "the", "dog", "the"):
        tokenizer.encode(text)
        assert len(tokenizer._known) <= 2
    assert tokenizer.encode("the the") == [512 + 1] * 2


def test_a_vocabulary_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDI_WEIGHTS", str(tmp_path))
    original = next(Path(root) for root in open_clip.__path__) / PUBLISHED_FILE
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*open_clip_torch"):
        Tokenizer()
    (tmp_path / PUBLISHED_FILE).write_bytes(original.read_bytes())
    assert Tokenizer().pieces == OURS.pieces


# ----------------------------------------------------------------------------------------------------------------------
# Lists of one's own


def slow_merges(texts: list[str], count: int) -> list[tuple[str, str]]:
    """Count all pairs again after each join (Sennrich et al. 2016, algorithm 1)."""
    words = Counter(word for text in texts for word in words_of(text))
    joins = []
    for _ in range(count):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joins.append(best)
        fresh: Counter[tuple[str, ...]] = Counter()
        for word, times in words.items():
            fresh[joined(word, best)] += times
        words = fresh
    return joins


def test_the_joins_of_the_paper_s_example() -> None:
    """Sennrich et al. 2016, section 3.2: low, lower, newest, widest; ties as this code breaks them."""
    texts = ["low " * 5 + "lower " * 2 + "newest " * 6 + "widest " * 3]
    assert trained_merges(texts, 4).splitlines() == ["e s", "es t</w>", "l o", "e w"]
    assert slow_merges(texts, 4) == [tuple(line.split()) for line in trained_merges(texts, 4).splitlines()]


def test_joins_are_those_of_counting_all_pairs_again() -> None:
    draw = random.Random(SEED)
    texts = ["".join(draw.choices("aab c", k=60)) for _ in range(8)] + ["aaaaaaa aaaa aaa", "abababab"]
    found = [tuple(line.split(" ")) for line in trained_merges(texts, 200).splitlines()]
    assert found == slow_merges(texts, 200)
    assert len(found) > 30
    assert trained_merges(texts, 7).splitlines() == trained_merges(texts, 200).splitlines()[:7]


def test_a_list_of_one_s_own_makes_common_words_one_id() -> None:
    texts = ["a red sphere", "a red box", "a blue sphere", "a blue box"] * 3
    tokenizer = Tokenizer(trained_merges(texts, 100))
    assert all(len(tokenizer.encode(word)) == 1 for word in ("a", "red", "blue", "sphere", "box"))
    assert len(tokenizer.encode("reds")) > 1
    assert tokenizer.decode(tokenizer.encode("A RED  sphere")) == "a red sphere"
    assert len(tokenizer) == 2 * 256 + len(trained_merges(texts, 100).splitlines()) + 2
    assert tokenizer.end == len(tokenizer) - 1


def test_nothing_to_join() -> None:
    assert trained_merges([], 10) == ""
    assert trained_merges(["", "abc"], 10) == ""
    assert trained_merges(["abc abc"], 0) == ""
