"""Flat storage: lists of different lengths as one array of values and one of offsets.

A Python list of a million strings or arrays is copied page by page into every loader worker, because reading an
object writes its reference count. One array has one count: forked workers share its memory.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Ragged:
    """Rows of different lengths; row i is `values[offsets[i]:offsets[i + 1]]`, a view."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values = values
        self.offsets = offsets

    @classmethod
    def pack(cls, rows: Sequence[Any], dtype: Any, tail: tuple[int, ...] = ()) -> "Ragged":
        """Store rows whose entries have the shape `tail`; an empty row is fine."""
        arrays = [np.asarray(row, dtype=dtype).reshape(-1, *tail) for row in rows]
        values = np.concatenate(arrays) if arrays else np.zeros((0, *tail), dtype=dtype)
        return cls(values, offsets_of([len(array) for array in arrays]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]


class Names:
    """Strings as one array of UTF-8 bytes."""

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]  # file names need not be UTF-8
        self.characters = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self.offsets = offsets_of([len(name) for name in encoded])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        characters = self.characters[self.offsets[index] : self.offsets[index + 1]]
        return characters.tobytes().decode("utf-8", "surrogateescape")


def offsets_of(lengths: Sequence[int]) -> np.ndarray:
    """Turn N lengths into the N + 1 places where rows begin and end."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.asarray(lengths, dtype=np.int64))])
