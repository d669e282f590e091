"""The rows of a gallery: vectors, whose they are, and the digests of what they were made of.

    vectors N D float32, identities N, keys N -> segments of at most SEGMENT rows, in order; the last one fills up

Adding rows costs what they cost, whatever is there: arrays grow by doubling, and a folder gets the last segments only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from vidi.ops.exact_search import squared_lengths

SEGMENT = 4096
"""The most rows in a file: 2 MiB of vectors of 128 numbers."""

KEY_BYTES = 32  # of a SHA-256


@dataclass
class Segment:
    """Some consecutive rows."""

    rows: int
    file: str | None  # the digest by which its file is called; None: it is not written


class Rows:
    """Vectors in the order in which they came.

    Args:
        width: D, how many numbers a vector has.
    """

    def __init__(self, width: int):
        self._vectors = torch.empty(0, width)
        self._squares = torch.empty(0)
        self._identities = torch.empty(0, dtype=torch.int64)
        self._keys: dict[bytes, int] = {}  # to identities, in the order of rows
        self.segments: list[Segment] = []

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def vectors(self) -> Float32[Tensor, "N D"]:
        return self._vectors[: len(self)]

    @property
    def squares(self) -> Float32[Tensor, " N"]:
        """The squared length of each vector."""
        return self._squares[: len(self)]

    @property
    def identities(self) -> Int64[Tensor, " N"]:
        return self._identities[: len(self)]

    def owner(self, key: str) -> int | None:
        """Return the identity of the row with a hexadecimal key; None without one."""
        return self._keys.get(bytes.fromhex(key))

    def keys(self, start: int, stop: int) -> UInt8[Tensor, "n 32"]:
        """Return the keys of rows from one to another."""
        chosen = b"".join([*self._keys][start:stop])
        return torch.frombuffer(bytearray(chosen), dtype=torch.uint8).view(-1, KEY_BYTES)

    def add(self, vectors: Float32[Tensor, "n D"], identity: int, keys: Sequence[str]) -> None:
        """Append rows of one identity, whose hexadecimal keys are new."""
        self._append(vectors, torch.full((len(vectors),), identity), [bytes.fromhex(key) for key in keys])
        left = len(vectors)
        while left:
            if not self.segments or self.segments[-1].rows == SEGMENT:
                self.segments.append(Segment(0, None))
            taken = min(left, SEGMENT - self.segments[-1].rows)
            self.segments[-1] = Segment(self.segments[-1].rows + taken, None)
            left -= taken

    def add_segment(
        self, file: str, vectors: Float32[Tensor, "n D"], identities: Int64[Tensor, " n"], keys: UInt8[Tensor, "n 32"]
    ) -> None:
        """Append the rows of a file."""
        flat = keys.contiguous().numpy().tobytes()
        self._append(vectors, identities, [flat[at : at + KEY_BYTES] for at in range(0, len(flat), KEY_BYTES)])
        self.segments.append(Segment(len(vectors), file))

    def _append(self, vectors: Tensor, identities: Tensor, keys: Sequence[bytes]) -> None:
        start, end = len(self), len(self) + len(vectors)
        self._vectors = _grown(self._vectors, start, end)
        self._squares = _grown(self._squares, start, end)
        self._identities = _grown(self._identities, start, end)
        self._vectors[start:end] = vectors
        self._squares[start:end] = squared_lengths(vectors)
        self._identities[start:end] = identities
        self._keys |= dict(zip(keys, identities.tolist(), strict=True))

    def remove(self, identity: int) -> int:
        """Take the rows of an identity out, and return how many they were; segments without any stay as they are."""
        stays = self.identities != identity
        counts = [int(part.sum()) for part in stays.split([segment.rows for segment in self.segments])]
        self.segments = [
            segment if count == segment.rows else Segment(count, None)
            for segment, count in zip(self.segments, counts, strict=True)
            if count
        ]
        removed = int((~stays).sum())
        self._vectors, self._squares = self.vectors[stays], self.squares[stays]
        self._identities = self.identities[stays]
        self._keys = {key: owner for key, owner in self._keys.items() if owner != identity}
        return removed

    def ranges(self) -> Iterator[tuple[Segment, int, int]]:
        """Yield each segment with its first row and the one after its last."""
        start = 0
        for segment in self.segments:
            yield segment, start, start + segment.rows
            start += segment.rows


def _grown(values: Tensor, used: int, wanted: int) -> Tensor:
    """Return an array that has room for so many rows, twice as much where it has to move."""
    if wanted <= len(values):
        return values
    larger = values.new_empty(max(wanted, 2 * len(values)), *values.shape[1:])
    larger[:used] = values[:used]
    return larger
