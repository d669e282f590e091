"""Colourisation: the colours of a picture, from its luminance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchvision.transforms.v2.functional import rgb_to_grayscale, to_pil_image

from vidi.engine import plots
from vidi.engine.datasets import WORLD
from vidi.engine.task import Task
from vidi.metrics.pictures import psnr
from vidi.recipes.generation import COLOURS
from vidi.results.categories import Categories
from vidi.results.coloured_picture import ColouredPicture

SHOWN = 8
"""Pictures in the mosaic of a training."""


class ColourScorer:
    """PSNR and mean absolute error of colours, means over pictures, whose own colours are the truth.

    Likely colours that are not the picture's own cost as much as unlikely ones: look at the pictures too.
    """

    headline = "psnr"
    keys: tuple[str, ...] = ()

    def __init__(self, categories: Categories):
        self.ratios: list[float] = []
        self.errors: list[float] = []
        self.shown: list[ColouredPicture] = []

    def update(self, results: Sequence[ColouredPicture], targets: Sequence[Mapping[str, Any]]) -> None:
        self.ratios += [float(psnr(result.colours, result.given)) for result in results]
        self.errors += [result.error for result in results]
        self.shown += results[: SHOWN - len(self.shown)]

    def compute(self) -> dict[str, float]:
        return {name: sum(all_) / len(all_) for name, all_ in (("psnr", self.ratios), ("error", self.errors))}

    def write_plots(self, folder: Path) -> None:
        """Write `mosaic.png`: of the first pictures the luminance, the colours that were made up, and their own."""
        tiles = [
            tuple(map(to_pil_image, (rgb_to_grayscale(result.given, 3), result.colours, result.given)))
            for result in self.shown
        ]
        plots.mosaic(folder / "mosaic.png", tiles, titles=("luminance", "made up", "its own"))


COLOURISATION = Task(
    name="colourisation",
    result=ColouredPicture,
    scorer=ColourScorer,
    built_in={"world": WORLD},
    recipe=COLOURS,
    fine_tuning=COLOURS,
)
