"""What a translator gives."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Translation:
    """A sentence made from another one; it has no picture to be drawn on."""

    words: tuple[str, ...]
    score: float  # the probability of the sentence, given the source

    def to_dict(self) -> dict[str, Any]:
        """Return the sentence and its probability as plain values."""
        return {"sentence": " ".join(self.words), "score": self.score}

    def __str__(self) -> str:
        return f"{' '.join(self.words)} ({self.score:.2f})"
