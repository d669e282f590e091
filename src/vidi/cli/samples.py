"""Pictures of a generative model, as one grid or each by itself; a PNG says in its text chunks how it was made."""

from pathlib import Path
from typing import Annotated

import typer

from vidi import formats
from vidi.cli.failures import USAGE, fail, tells
from vidi.cli.output import err, out, picture_path
from vidi.engine.console import counting
from vidi.engine.runs import Run


@tells
def sample(
    name: Annotated[str, typer.Argument(metavar="RUN|NAME", help="A run folder, or a model with --weights.")],
    conditions: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="What the model can be asked for.")
    ] = None,
    count: Annotated[int, typer.Option(help="How many pictures.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Of the first picture; the next ones have the next numbers.", min=0)] = 0,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="The PNG to write, RUN/samples-SEED.png; with --each a folder, RUN/samples."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Write every picture by itself, as SEED.png.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(help="Of a run, `best` (the default) or `last`; of a model, a folder or a file of its weights."),
    ] = None,
) -> None:
    """Draw pictures from a generative model, as one grid; a PNG says how it was made.

    [dim]vidi sample runs/gan --count 64 --seed 0[/dim]

    [dim]vidi sample runs/gan --count 64 truncation=0.7 interpolate=8[/dim]

    [dim]vidi sample runs/digits --each --out drawn/ class=3 guidance=2 steps=25[/dim]
    """
    if each and out_path is not None and out_path.suffix.lower() in formats.IMAGE_SUFFIXES:
        fail(USAGE, f"--each writes a folder of pictures, and {out_path} is one picture")
    from vidi import api
    from vidi.engine import plots
    from vidi.engine.conditions import told_conditions
    from vidi.engine.overrides import split_overrides
    from vidi.ops.noise import seeds_from
    from vidi.recorded import is_run, task_of

    task = task_of(name)
    if task.asks != "nothing":
        fail(USAGE, f"{name} is a system for {task.name}, which does not generate")
    asked = split_overrides(conditions or [])
    model = api.load_or_create(name, weights=weights)
    folder = Path(name) if is_run(name) else Path()
    maker = maker_of(name, weights)
    texts = [told_conditions(model, asked, image) for image in (range(count) if each else (None,))]
    with counting(err) as model.tell:
        images = api.sample(model, count, seed=seed, condition=asked)
    if each:
        target = out_path or folder / "samples"
        for image, own, text in zip(images, seeds_from(seed, count), texts, strict=True):
            said = {**maker, "seed": str(own), "count": "1", **text}
            plots.single_image(target / f"{own}.png", image, text=said)
    else:
        target = picture_path(out_path or folder, f"samples-{seed}.png")
        said = {**maker, "seed": str(seed), "count": str(count), **texts[0]}
        strip = texts[0].get("interpolate", "none")
        columns = round(count**0.5) if strip == "none" else int(strip)
        plots.image_grid(target, images, columns=max(1, columns), text=said)
    out.print(str(target), markup=False, highlight=False)


def maker_of(name: str, weights: str | None) -> dict[str, str]:
    """Return what a picture says of the model that made it: its name, the run's, and which weights; no folders."""
    from vidi.recorded import is_run

    if not is_run(name):
        return {"model": name, **({"weights": Path(weights).resolve().name} if weights is not None else {})}
    run = Run(Path(name))
    return {"model": run.config()["model"], "run": run.folder.resolve().name, "weights": weights or "best"}
