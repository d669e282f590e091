"""From a text to ids: byte-pair encoding as CLIP has it.

    text    broken encodings mended, html entities resolved, spaces made one, small letters
    words   letters, single digits, or signs in a row; 's, 't, 're, 've, 'm, 'll, 'd
    bytes   of UTF-8, each a character of its own; the last one of a word carries </w>
    pieces  neighbours join in the order of a list, the earliest first, until none is in it
    ids     256 bytes, 256 last bytes, one for each join, [SOS], [EOS]

Sennrich et al. 2016, 1508.07909; Radford et al. 2021, 2103.00020. The released list (48,894 joins, 49,408 ids) is the
file of open_clip, which is looked for where published weights are, then inside the installed package. For texts of
one's own `trained_merges` makes a shorter list. Every text has ids: there is no unknown byte.

Differs from the release: what spells a special token in a text is refused. There it becomes that token, and a caption
from the web says where it ends itself.
"""

import functools
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import ftfy
import regex
import torch
from jaxtyping import Int64
from torch import Tensor

from vidi import files
from vidi.data.captions import SPECIAL, spelt_token, unescaped

END_OF_WORD = "</w>"
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
PUBLISHED_FILE = "bpe_simple_vocab_16e6.txt.gz"
PUBLISHED_JOINS = 48_894  # of the lines of that file
PUBLISHED_IDS = 2 * 256 + PUBLISHED_JOINS + len(SPECIAL)
CACHED_WORDS = 1 << 16


def _byte_characters() -> dict[int, str]:
    """Return a printable character for each byte: its own where it has one, else the next beyond 255."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + row) for row, byte in enumerate(others)}


BYTES = _byte_characters()  # in the order of the ids


def cleaned(text: str) -> str:
    """Return a text as it is cut into words; half characters, which no encoding has, become U+FFFD.

    Raises:
        ValueError: if it spells a special token.
    """
    text = ftfy.fix_text(text)
    text = " ".join(unescaped(text).split()).lower()
    token = spelt_token(text)
    if token is not None:
        raise ValueError(f"received a text with {token!r}, expected one without special tokens: {text[:80]!r}")
    return text


def words_of(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of a clean text as characters of their bytes, the last of each with the end of a word."""
    for word in WORDS.findall(text):
        *first, last = (BYTES[byte] for byte in word.encode())
        yield (*first, last + END_OF_WORD)


def joined(pieces: Sequence[str], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of a pair of neighbours, from left to right."""
    result: list[str] = []
    row = 0
    while row < len(pieces):
        is_pair = row + 1 < len(pieces) and (pieces[row], pieces[row + 1]) == pair
        result.append("".join(pair) if is_pair else pieces[row])
        row += 2 if is_pair else 1
    return tuple(result)


class Tokenizer:
    """A list of joins, and the ids that it makes.

    Args:
        merges: a line for each join, its two pieces with a space between; the published list if None.
    """

    def __init__(self, merges: str | None = None):
        lines = published_merges() if merges is None else merges
        joins = [(first, second) for first, _, second in (line.partition(" ") for line in lines.splitlines())]
        self.ranks = {pair: rank for rank, pair in enumerate(joins)}
        singles = tuple(BYTES.values())
        last = tuple(character + END_OF_WORD for character in singles)
        self.pieces = (*singles, *last, *map("".join, joins), *SPECIAL)
        self.start, self.end = len(self.pieces) - 2, len(self.pieces) - 1
        self._ids = {piece: number for number, piece in enumerate(self.pieces)}
        self._bytes = {character: byte for byte, character in BYTES.items()}
        self._known: dict[tuple[str, ...], list[int]] = {}

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Return the ids of all of a text, without [SOS] and [EOS].

        Raises:
            ValueError: if the text spells a special token.
        """
        return [number for word in words_of(cleaned(text)) for number in self._of_word(word)]

    def __call__(self, text: str, context: int) -> Int64[Tensor, " T"]:
        """Return [SOS], the ids and [EOS]; of a longer text than `context` the end is cut off, before [EOS]."""
        return torch.tensor([self.start, *self.encode(text)[: context - 2], self.end])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, a space after each word; bytes that are no character become replacement signs."""
        words = "".join(self.pieces[number] for number in ids if number not in (self.start, self.end))
        parts = words.replace(END_OF_WORD, "\n").split("\n")
        return " ".join(bytes(self._bytes[c] for c in part).decode("utf-8", "replace") for part in parts).strip()

    def _of_word(self, word: tuple[str, ...]) -> list[int]:
        if word not in self._known:
            if len(self._known) >= CACHED_WORDS:
                self._known.clear()
            self._known[word] = [self._ids[piece] for piece in self._pieces_of(word)]
        return self._known[word]

    def _pieces_of(self, word: tuple[str, ...]) -> tuple[str, ...]:
        while len(word) > 1:
            pair = min(pairwise(word), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if pair not in self.ranks:
                break
            word = joined(word, pair)
        return word


@functools.lru_cache(maxsize=8)
def tokenizer_of(merges: str | None) -> Tokenizer:
    """Return the tokenizer of a list of joins, made once; the published one if None."""
    return Tokenizer(merges)


# ----------------------------------------------------------------------------------------------------------------------
# Lists of joins


def published_merges() -> str:
    """Return the joins of the released CLIP, a line each.

    Raises:
        FileNotFoundError: if the file is not on this machine, saying where it may be put.
    """
    package = find_spec("open_clip")
    roots = list(package.submodule_search_locations or ()) if package is not None else []
    places = [*files.weight_folders(), *map(Path, roots)]
    path = next((place / PUBLISHED_FILE for place in places if (place / PUBLISHED_FILE).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{places[0] / PUBLISHED_FILE}: no such file; the vocabulary of the released CLIP is in the package "
            "open_clip_torch: install it, or put the file there"
        )
    lines = gzip.decompress(files.read_bytes(path)).decode().split("\n")
    return "\n".join(lines[1 : PUBLISHED_JOINS + 1])  # the first line names the version


def trained_merges(texts: Iterable[str], count: int) -> str:
    """Return the joins that these texts ask for, at most `count`: always of the most frequent pair of neighbours.

    A pair that occurs once is not joined; of equally frequent ones the first in alphabetical order goes first.
    """
    frequency = Counter(word for text in texts for word in words_of(cleaned(text)))
    words = list(frequency.items())
    pairs: Counter[tuple[str, str]] = Counter()
    holders: defaultdict[tuple[str, str], set[int]] = defaultdict(set)

    def note(row: int, sign: int) -> None:
        word, times = words[row]
        for pair in pairwise(word):
            pairs[pair] += sign * times
            holders[pair].add(row)

    for row in range(len(words)):
        note(row, 1)
    joins: list[tuple[str, str]] = []
    while len(joins) < count and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        joins.append(best)
        for row in sorted(holders.pop(best)):
            note(row, -1)
            words[row] = joined(words[row][0], best), words[row][1]
            note(row, 1)
        del pairs[best]
    return "\n".join(map(" ".join, joins))
