"""Colourisation: the colours of a picture, from its luminance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidi.engine.datasets import WORLD
from vidi.engine.task import Task
from vidi.metrics.pictures import psnr
from vidi.recipes.generation import COLOURS
from vidi.results.categories import Categories
from vidi.results.coloured_picture import ColouredPicture


class ColourScorer:
    """PSNR and mean absolute error of colours, means over pictures, whose own colours are the truth.

    Likely colours that are not the picture's own cost as much as unlikely ones: look at the pictures too.
    """

    headline = "psnr"
    keys: tuple[str, ...] = ()

    def __init__(self, categories: Categories):
        self.ratios: list[float] = []
        self.errors: list[float] = []

    def update(self, results: Sequence[ColouredPicture], targets: Sequence[Mapping[str, Any]]) -> None:
        self.ratios += [float(psnr(result.colours, result.given)) for result in results]
        self.errors += [result.error for result in results]

    def compute(self) -> dict[str, float]:
        return {name: sum(all_) / len(all_) for name, all_ in (("psnr", self.ratios), ("error", self.errors))}

    def write_plots(self, folder: Path) -> None:
        """Write nothing: `vidi predict` draws grey, the colours that were made up, and the picture side by side."""


COLOURISATION = Task(
    name="colourisation",
    result=ColouredPicture,
    scorer=ColourScorer,
    built_in={"world": WORLD},
    recipe=COLOURS,
    fine_tuning=COLOURS,
)
