"""The pictures and the page that a run folder ends with."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidi import files
from vidi.engine import plots
from vidi.engine.datasets import spoken
from vidi.engine.runs import Row, Run, describe_scores, numbers_of, shown
from vidi.engine.task import Scorer, Task
from vidi.model import Predicts, Samples
from vidi.preprocess import unit_range
from vidi.results.categories import Categories

ASKED = {"pictures": "PHOTOS", "pairs": "LEFT RIGHT"}
SHOWN_FROM = 0.4  # score of the detections in a mosaic; the focal loss keeps even good ones well below 1


def write_mosaic(
    run: Run, model: Predicts, dataset: Any, task: Task, categories: Categories, *, split: str, count: int = 8
) -> None:
    """Write `mosaic.png`: the best weights' predictions beside the ground truth, on samples spread over a split."""
    if task.truth is None:
        return
    count = min(count, len(dataset))
    samples = [dataset[row * len(dataset) // count] for row in range(count)]
    results = model.predict_samples(samples)
    tiles = [
        (result.draw(image, threshold=SHOWN_FROM), task.truth(target, categories).draw(image))
        for (image, target), result in zip(samples, results, strict=True)
    ]
    plots.mosaic(
        run.folder / "mosaic.png", tiles, columns=2, titles=(f"prediction on {split}, best weights", "ground truth")
    )


def write_samples(run: Run, model: Samples, dataset: Any, *, seed: int, side: int = 8) -> None:
    """Write `samples.png`: what a model makes from the same draws at every validation, left, beside real pictures.

    A model whose `sample` can `interpolate` also has `interpolation.png`: a row leads from one picture to another.
    """
    count = side * side

    def drawn(**condition: int) -> Tensor:
        generator = torch.Generator(model.device).manual_seed(seed)
        return model.sample(count, generator=generator, **condition).cpu()

    made = drawn()
    plots.image_grid(run.folder / "samples.png", _beside(made, _real(model, dataset, made), side), columns=2 * side + 1)
    if "interpolate" in inspect.signature(model.sample).parameters:
        plots.image_grid(run.folder / "interpolation.png", drawn(interpolate=side), columns=side)


def _real(model: Samples, dataset: Any, like: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Return as many pictures of a data set, spread over it, in the size of those that a model made."""
    rows = [row * len(dataset) // len(like) for row in range(len(like))]
    placed = [unit_range(model.preprocess.place(dataset[row][0], {})[0]) for row in rows]
    return torch.stack([F.interpolate(image[None], like.shape[2:], mode="nearest")[0] for image in placed])


def _beside(left: Float[Tensor, "N C H W"], right: Float[Tensor, "N C H W"], columns: int) -> Float[Tensor, "M C H W"]:
    """Return pictures whose grid is two grids, with a white column between them."""
    white = torch.ones_like(left[: len(left) // columns, None])  # rows 1 C H W
    rows = [left.unflatten(0, (-1, columns)), white, right.unflatten(0, (-1, columns))]
    return torch.cat(rows, 1).flatten(0, 1)


def remarks_of(scorer: Scorer) -> list[str]:
    """Return what a scorer has to say of the scores that it returned."""
    remarks = getattr(scorer, "remarks", None)
    return [] if remarks is None else remarks()


def write_report(
    run: Run,
    task: Task,
    config: Mapping[str, Any],
    rows: Sequence[Row],
    scores: Mapping[str, Any],
    remarks: Sequence[str] = (),
) -> None:
    """Write `curves.png` and `report.md`: what came out, how to use it, and all numbers that it came from."""
    if rows:
        plots.curves(run.folder / "curves.png", rows)
    source = config["data"]["source"]
    lines = [f"# {config['model']}", "", f"Trained on `{source}`{_beginning(config)}.", ""]
    if config["data"].get("left_out"):
        lines += [f"{spoken(config['data']['left_out'])}.", ""]
    if scores:
        lines += [f"Scores of the {describe_scores(scores)}:", "", "| score | value |", "|---|---|"]
        lines += [f"| {name} | {shown(value)} |" for name, value in numbers_of(scores).items()] + [""]
    lines += [line for remark in remarks for line in (f"**Warning:** {remark}.", "")]
    pictures = sorted(path.name for path in run.folder.glob("*.png"))
    lines += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures]
    lines += ["```", *_commands(run, task), "```", ""]
    lines += ["| key | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in _keys(config)), ""]
    files.write_text(run.folder / "report.md", "\n".join(lines))


def _beginning(config: Mapping[str, Any]) -> str:
    """Say what weights a training began with."""
    parts = {"weights": "the weights {}", "backbone_weights": "the backbone of {}"}
    begun = [text.format(f"`{config[key]}`") for key, text in parts.items() if key in config]
    return f", beginning with {' and '.join(begun)}" if begun else ""


def _commands(run: Run, task: Task) -> list[str]:
    """Return the commands that use the run."""
    if task.asks == "nothing":
        scored = [f"vidi eval {run.folder} --split test"] if task.validates else []
        return [*scored, f"vidi sample {run.folder} --count 64 --seed 0"]
    scored = [f"vidi eval {run.folder} --split test"] if task.scorer is not None else []
    return [*scored, f"vidi predict {run.folder} {ASKED.get(task.asks, task.asks.upper())}"]


def _keys(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every key=value that the training followed, as the command line spells them."""
    for stage, recipe in config["recipe"].items():
        yield from ((f"{stage}.{key}" if stage else key, value) for key, value in recipe.items())
    yield from config["arguments"].items()
