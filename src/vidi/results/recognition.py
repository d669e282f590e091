"""Whom a gallery recognises in a picture: a name and the neighbours that speak for it, or a stranger."""

from dataclasses import dataclass
from typing import Any

import PIL.Image

from vidi.ops.drawing import Picture
from vidi.results.caption import with_text
from vidi.results.result import Result


@dataclass(frozen=True)
class Match:
    """A vector of a gallery that is near a query."""

    name: str
    distance: float  # by the metric of the gallery


@dataclass(frozen=True, repr=False)
class Recognition(Result):
    """What a gallery says of one query."""

    name: str | None  # None: a stranger
    share: float  # of the neighbours' votes for whoever has most, 0..1; 0 in an empty gallery
    nearest: tuple[Match, ...]  # the k nearest, nearest first; none in an empty gallery

    @property
    def distance(self) -> float | None:
        """How far the nearest vector is; None in an empty gallery."""
        return self.nearest[0].distance if self.nearest else None

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture with the name below."""
        return with_text(image, str(self))

    def to_dict(self) -> dict[str, Any]:
        """Return name, share and neighbours as plain values."""
        near = [{"name": match.name, "distance": match.distance} for match in self.nearest]
        return {"name": self.name, "share": self.share, "distance": self.distance, "nearest": near}

    def __str__(self) -> str:
        if not self.nearest:
            return "a stranger (the gallery is empty)"
        near = self.nearest[0]
        if self.name is None:
            return f"a stranger (nearest: {near.name} at {near.distance:.4f})"
        return f"{self.name} ({self.share:.0%} of the votes; nearest: {near.name} at {near.distance:.4f})"
