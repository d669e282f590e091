"""What an image classifier gives."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
from jaxtyping import Float
from torch import Tensor

from vidi.ops.drawing import NARROWEST, Picture, as_picture, draw_bar, legible, sheet_below
from vidi.ops.fonts import font_of
from vidi.results.categories import Categories, category_names
from vidi.results.result import Result, check_finite, settle


@dataclass(frozen=True, eq=False, repr=False)
class Classification(Result):
    """The probabilities of one image's classes."""

    probabilities: Float[Tensor, " K"]  # in [0, 1]; those of unnamed categories are ignored
    categories: Categories

    def __post_init__(self) -> None:
        settle(self, probabilities=self.probabilities.detach().cpu())
        check_finite(probabilities=self.probabilities)
        if len(self.probabilities) != len(self.categories):
            raise ValueError(f"{len(self.probabilities)} probabilities for {len(self.categories)} categories")
        category_names(self.categories)

    def ranking(self) -> list[int]:
        """Return the indices of the named classes, the most probable first; ties keep the order of the classes."""
        order = self.probabilities.argsort(descending=True, stable=True).tolist()
        return [k for k in order if self.categories[k] is not None]

    @property
    def label(self) -> int:
        """The index of the most probable class."""
        return self.ranking()[0]

    @property
    def name(self) -> str:
        """The name of the most probable class."""
        return str(self.categories[self.label])

    @property
    def score(self) -> float:
        """The probability of the most probable class."""
        return float(self.probabilities[self.label])

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the names and probabilities of the k most probable classes (fewer if there are fewer)."""
        return [(str(self.categories[i]), float(self.probabilities[i])) for i in self.ranking()[:k]]

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture above a strip with the three most probable classes as bars."""
        picture = legible(as_picture(image))
        width = max(picture.width, NARROWEST)
        size = max(14, width // 28)
        row, gap = round(1.7 * size), round(0.4 * size)
        best = self.ranking()[:3]
        sheet = sheet_below(picture, width, len(best) * (row + gap) + gap)
        for place, (k, (name, score)) in enumerate(zip(best, self._worth_showing(), strict=False)):
            top = picture.height + gap + place * (row + gap)
            draw_bar(sheet, (gap, top, width - gap, top + row), k, name, score, font=font_of(size))
        return sheet

    def to_dict(self) -> dict[str, Any]:
        """Return the best class and the five most probable ones, as plain values."""
        top = [{"name": name, "score": score} for name, score in self.top(5)]
        return {"label": self.label, "name": self.name, "score": self.score, "top": top}

    def __str__(self) -> str:
        return ", ".join(f"{name} {score:.2f}" for name, score in self._worth_showing())

    def _worth_showing(self) -> list[tuple[str, float]]:
        """Return the best class, and the next two unless their probability rounds to 0.00."""
        best, *others = self.top(3)
        return [best, *(other for other in others if other[1] >= 0.005)]
