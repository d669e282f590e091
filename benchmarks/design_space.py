"""Error distributions of AnyNetA and of its restrictions: `python -m benchmarks.design_space [FOLDER]`.

Writes scores.json (what was trained is not trained again), errors.csv and edf.png to the folder, and prints the table
of docs/results/design_space.md.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vidi import files
from vidi.backbones.regnet import Stages, anynet
from vidi.data.shapes import SHAPES, ShapeImages
from vidi.engine.recipe import Recipe
from vidi.model import Supervised
from vidi.search.design_space import (
    AnyNetSpace,
    area_below,
    macs_of,
    population,
    population_errors,
    refinements,
    share_below,
)
from vidi.search.short_training import Samples, Scores, ShortTraining

SIZE = (48, 48)
SPACE = AnyNetSpace(depths=(1, 4), widths=(8, 128), group_widths=(1, 2, 4, 8, 16))
COMPARED = {"AnyNetA": "#7a7a7a", "AnyNetC": "#c2571a", "RegNet": "#1f5fa8"}
BAND = (800_000, 1_200_000)  # multiply-adds
COUNT = 60
HIGHEST = 0.875  # error of guessing among eight shapes
RESAMPLES = 2000


def shapes(split: str, count: int) -> Samples:
    """Return pictures of single shapes, to be told apart."""
    return Samples(ShapeImages(split, count=count, size=SIZE))


def short_training() -> ShortTraining:
    """Return what every network gets: 75 steps on 600 pictures, scored on 1,000 others."""
    recipe = Recipe(steps=75, batch_size=32, learning_rate=0.01, warmup=10, device="cpu")
    return ShortTraining(shapes("train", 600), shapes("val", 1000), recipe)


def make(stages: Stages) -> Supervised:
    """Return the classifier of a network."""
    return anynet(**stages._asdict(), categories=SHAPES, size=SIZE, stem="imagenet", stem_width=16)


def spread_of_area(errors: Tensor) -> float:
    """Return the standard deviation of the area over populations drawn from this one with replacement."""
    rows = torch.randint(len(errors), (RESAMPLES, len(errors)), generator=torch.Generator().manual_seed(0))
    return float(torch.tensor([area_below(errors[row], HIGHEST) for row in rows]).std())


def table(errors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield the rows of the page of results."""
    yield "| space | size | best error | median | mean | area under the EDF |"
    yield "|---|---|---|---|---|---|"
    for name, of_space in errors.items():
        statistics = (of_space.min(), of_space.median(), of_space.mean())
        area = f"{area_below(of_space, HIGHEST):.3f} ± {spread_of_area(of_space):.3f}"
        yield f"| {name} | {sizes[name]:.1e} | " + " | ".join(f"{float(n):.3f}" for n in statistics) + f" | {area} |"


def draw(path: Path, errors: Mapping[str, Tensor]) -> None:
    """Draw the distribution functions."""
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    thresholds = torch.linspace(0, HIGHEST, 1000, dtype=torch.float64)
    for name, colour in COMPARED.items():
        label = f"{name}: {area_below(errors[name], HIGHEST):.3f}"
        axes.plot(thresholds, share_below(errors[name], thresholds), color=colour, linewidth=2, label=label)
    axes.set(xlabel="error e", ylabel="share of networks with a smaller error", title="Error distributions, with areas")
    axes.grid(alpha=0.25)
    axes.legend()
    FigureCanvasAgg(figure).print_png(str(path))


def main(folder: Path) -> None:
    """Run the study."""
    torch.set_num_threads(1)
    scores = Scores(short_training(), folder / "scores.json")
    spaces = refinements(SPACE)
    errors, rows = {}, []
    for name in COMPARED:
        generator = torch.Generator().manual_seed(0)
        networks = population(spaces[name], COUNT, make, macs=BAND, generator=generator)
        errors[name] = population_errors(networks, make, scores)
        print(f"{name}: median error {float(errors[name].median()):.3f}", flush=True)
        rows += [
            {"space": name, **network._asdict(), "macs": macs_of(network, make), "error": float(error)}
            for network, error in zip(networks, errors[name], strict=True)
        ]
    print("\n".join(table(errors, {name: spaces[name].size() for name in COMPARED})))
    files.write_csv(folder / "errors.csv", rows)
    draw(folder / "edf.png", errors)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/design_space"))
