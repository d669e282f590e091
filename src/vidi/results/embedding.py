"""What a network that embeds gives for a picture: a vector that is near those of what is alike."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
from jaxtyping import Float
from torch import Tensor

from vidi.ops.drawing import Picture, as_picture, legible
from vidi.ops.neighbours import check_metric
from vidi.results.result import Result, check_finite, settle


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Result):
    """The vector of one picture, and the distance that it is compared by.

    Args:
        vector: of D numbers.
        metric: a name in `vidi.ops.neighbours.METRICS`.
    """

    vector: Float[Tensor, " D"]
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        settle(self, vector=self.vector.detach().cpu())
        check_finite(vector=self.vector)
        check_metric(self.metric)

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture: a vector has no place on it."""
        return legible(as_picture(image))

    def to_dict(self) -> dict[str, Any]:
        """Return the vector and its metric as plain values."""
        return {"embedding": self.vector.tolist(), "metric": self.metric}

    def __str__(self) -> str:
        return f"a vector of {len(self.vector)} numbers"
