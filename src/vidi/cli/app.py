"""The `vidi` command. torch is imported by the commands that need it, so that help and listings answer at once."""

import json
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vidi import files
from vidi.cli.failures import DATA, FINDINGS, USAGE, fail, message_of, tells
from vidi.cli.progress import counting, progress_for
from vidi.engine.runs import Run, find_runs, is_main_process

EPILOG = (
    "Exit codes: 0 done, 1 findings (faults of a data set, a loss that is not finite), 2 wrong usage, 3 data that "
    "cannot be read or written, 70 a fault of vidi, 130 interrupted. VIDI_TRACEBACK=1 shows where an error arose."
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EPILOG,
    help="Machine learning for computer vision: train, score and use every system of the field.\n\n"
    "[dim]vidi train retinanet_tiny --data world --out runs/first[/dim]",
)
data_app = typer.Typer(
    no_args_is_help=True,
    help="Look at data sets before training on them.\n\n[dim]vidi data check photos/ --out checked[/dim]",
)
app.add_typer(data_app, name="data")


def console(*, stderr: bool = False) -> Console:
    """Return a console whose tables keep one line a row where a program reads them."""
    made = Console(stderr=stderr, soft_wrap=True)
    return made if made.is_terminal else Console(stderr=stderr, soft_wrap=True, width=240)


out, err = console(), console(stderr=True)


class Split(StrEnum):
    """A part of a data set."""

    train = "train"
    val = "val"
    test = "test"
    all = "all"


class Weights(StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
DropFaults = Annotated[bool, typer.Option("--drop-faults", help="Leave faulty rows of the data set out.")]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder that `vidi train` or `model.save` made.", show_default=False)
]
WhichWeights = Annotated[Weights, typer.Option(help="Those of the best validation, or of the last one.")]


def main() -> None:
    """Run the command line."""
    app()


def print_version(asked: bool) -> None:
    """Print vidi's version and leave, if asked to."""
    if asked:
        print(installed("vidi"))
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def print_json(value: Any) -> None:
    """Print a value as JSON on the standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


# ----------------------------------------------------------------------------------------------------------------------
# Training and scoring


@app.command()
@tells
def train(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model: see `vidi models`.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Numbers of the recipe and arguments of the model."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="`world` (the default), or the path of a data set.")] = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="The run folder; runs/NAME by default.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue this run, with its own model and numbers; --data if its data moved.")
    ] = None,
    drop_faults: DropFaults = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing until the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model, and leave a folder with its weights, curves, plots and a report.

    [dim]vidi train retinanet_resnet18_fpn --data photos/ --out runs/cells epochs=30 size=240,320[/dim]
    """
    if resume is not None and (name or out_folder or drop_faults):
        fail(USAGE, "--resume continues a run with its own model, folder and numbers; leave the rest away")
    if resume is None and name is None:
        fail(USAGE, "which model? `vidi models` lists them, `vidi train --help` shows an example")
    from vidi import api

    progress = progress_for(err if as_json else out, quiet=quiet or not is_main_process())
    if resume is not None:
        run = Run(resume)
        with going_on(run):
            api.resume(resume, data=data, progress=progress)
    else:
        given = read_overrides(str(name), overrides or [])
        run = Run(out_folder or api.next_free_folder(str(name)))
        faults = "drop" if drop_faults else "raise"
        with going_on(run, is_new=not run.is_taken()):
            api.train(str(name), data=data or "world", out=run.folder, faults=faults, progress=progress, **given)
    if is_main_process():
        show_training(run, api.scores_of(run), as_json=as_json)


def read_overrides(name: str, words: Sequence[str]) -> dict[str, str]:
    """Split `key=value` words; the faults of all of them are told at once."""
    from vidi import api
    from vidi.engine.overrides import OverrideError, check_overrides, split_overrides

    types, faults = api.recipe_types(name), []
    try:
        split_overrides(words)
    except OverrideError as error:
        faults.append(str(error))
    given = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        check_overrides(given, types)
    except OverrideError as error:
        faults.append(str(error))
    if faults:
        raise OverrideError("\n".join(faults))
    return given


@contextmanager
def going_on(run: Run, *, is_new: bool = True) -> Iterator[None]:
    """Say how a training that is interrupted goes on, where there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        if is_new and run.config_path.is_file():
            command = f"vidi train --resume {shlex.quote(str(run.folder))}"
            raise KeyboardInterrupt(f"stopped; go on with: {command}") from None
        raise


def show_training(run: Run, scores: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a training ended with."""
    if as_json:
        print_json({"run": str(run.folder), "scores": scores})
        return
    print_scores(scores)
    names = ", ".join(sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")))
    out.print(f"{run.folder}: {names}", markup=False, highlight=False)


@app.command("eval")
@tells
def evaluate(
    run: RunFolder,
    data: Annotated[str | None, typer.Option(help="Another data set than the run's own.")] = None,
    split: Annotated[Split, typer.Option(help="The part of the data set.")] = Split.val,
    weights: WhichWeights = Weights.best,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where plots go; none without.")] = None,
    drop_faults: DropFaults = False,
    as_json: AsJson = False,
) -> None:
    """Score a run on a split of its own or another data set.

    [dim]vidi eval runs/cells --split test --out scored[/dim]
    """
    Run(run).config()  # a wrong folder is told before torch is loaded
    from vidi import api

    faults = "drop" if drop_faults else "raise"
    scores = api.evaluate(run, data=data, split=split.value, weights=weights.value, faults=faults, out=out_folder)
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)


def print_scores(scores: Mapping[str, Any]) -> None:
    """Print the numbers of an evaluation as a table."""
    table = Table("score", "value", box=None)
    for name, value in scores.items():
        table.add_row(name, shown(value, digits=4))
    if scores:
        out.print(table)


def shown(value: Any, *, digits: int) -> str:
    """Return a score as text; COCO's -1 means that there was no object to score."""
    return "-" if value == -1 else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


# ----------------------------------------------------------------------------------------------------------------------
# Using a model


@app.command()
@tells
def predict(
    run: RunFolder,
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Pictures, or folders of pictures.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where drawn pictures go; RUN/predictions.")] = None,
    threshold: Annotated[float, typer.Option(help="Show objects that score at least this.", min=0, max=1)] = 0.5,
    weights: WhichWeights = Weights.best,
    draw: Annotated[bool, typer.Option(help="Draw the results on the pictures.")] = True,
    as_json: AsJson = False,
) -> None:
    """Predict on pictures: a line for each, and the picture with its result drawn.

    [dim]vidi predict runs/cells photos/ --out drawn[/dim]
    """
    Run(run).config()
    from vidi import api

    paths = api.image_paths(photos)
    model = api.load(run, weights=weights.value)
    folder = out_folder or run / "predictions"
    records, broken = [], []
    for (path, result), target in zip(api.predict_files(model, paths), drawn_paths(folder, paths), strict=True):
        if isinstance(result, Exception):
            broken.append(path)
            print(f"vidi: {message_of(result)}", file=sys.stderr)
            continue
        shown = result.above(threshold) if hasattr(result, "above") else result
        records.append({"image": str(path), **({"drawn": str(target)} if draw else {}), **shown.to_dict()})
        if not as_json:
            out.print(f"{path}: {shown}", markup=False, highlight=False)
        if draw:
            files.write_image(target, api.draw(result, path, threshold))
    if as_json:
        print_json(records)
    elif draw and records:
        out.print(f"drawn in {folder}", markup=False, highlight=False)
    if broken:
        fail(DATA, f"{len(broken)} of {len(paths)} pictures could not be read")


def drawn_paths(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """Return a picture file for each photo; photos of one name in several folders get numbers."""
    seen: Counter[str] = Counter()
    names = []
    for photo in photos:
        seen[photo.stem] += 1
        names.append(photo.stem if seen[photo.stem] == 1 else f"{photo.stem}-{seen[photo.stem]}")
    return [folder / f"{name}.png" for name in names]


@app.command()
@tells
def sample(
    run: RunFolder,
    count: Annotated[int, typer.Option(help="How many pictures.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal pictures.", min=0)] = 0,
    out_file: Annotated[Path | None, typer.Option("--out", help="The PNG to write; RUN/samples-SEED.png.")] = None,
    weights: WhichWeights = Weights.best,
) -> None:
    """Draw pictures from a generative model, as one grid.

    [dim]vidi sample runs/gan --count 64 --seed 0[/dim]
    """
    Run(run).config()
    from vidi import api
    from vidi.engine import plots

    images = api.sample(api.load(run, weights=weights.value), count, seed=seed)
    path = picture_path(out_file or run, f"samples-{seed}.png")
    plots.image_grid(path, images, columns=max(1, round(count**0.5)))
    out.print(str(path), markup=False, highlight=False)


def picture_path(path: Path, name: str) -> Path:
    """Return `path` if it names a picture file, else the picture `name` in the folder `path`."""
    return path if path.suffix.lower() in files.IMAGE_SUFFIXES else path / name


# ----------------------------------------------------------------------------------------------------------------------
# Looking around


@app.command()
@tells
def models(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A name with wildcards, such as 'res*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only systems for this task.")] = None,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of README.md.")] = False,
) -> None:
    """List the systems: name, task, section of the notes, paper.

    [dim]vidi models 'retina*' --task detection[/dim]
    """
    from vidi import api

    entries = {name: api.entry(name) for name in api.models(pattern, task=task)}
    if as_json:
        print_json([{"name": n, "task": e.task, "section": e.section, "paper": e.paper} for n, e in entries.items()])
        return
    if not entries:
        fail(USAGE, f"no model matches {pattern!r}" + (f" for the task {task}" if task else ""))
    if as_markdown:
        print("| name | task | notes | paper | proved against |\n|---|---|---|---|---|")
        for name, e in entries.items():
            print(f"| `{name}` | {e.task} | {e.section} | {e.paper} | {e.reference or 'its formulas'} |")
        return
    table = Table("name", "task", "section", "paper", box=None)
    for name, entry in entries.items():
        table.add_row(name, entry.task, entry.section, entry.paper)
    out.print(table)


@app.command()
@tells
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs with their model, data, progress and latest scores; exit code 1 if one is damaged.

    [dim]vidi runs[/dim]
    """
    rows, damaged = [], []
    for run in find_runs(folder):
        try:
            rows.append(describe_run(run))
        except (ValueError, OSError) as error:
            damaged.append(message_of(error))
    if as_json:
        print_json(rows)
    elif rows:
        table = Table("run", "model", "data", "epoch", "finished", "latest scores", box=None)
        for row in rows:
            scores = ", ".join(f"{name} {shown(value, digits=3)}" for name, value in list(row["scores"].items())[:3])
            finished = "yes" if row["finished"] else "no"
            table.add_row(row["run"], row["model"], Path(row["data"]).name, f"{row['epoch']:g}", finished, scores)
        out.print(table)
    elif not damaged:
        out.print(f"{folder} holds no runs", markup=False, highlight=False)
    if damaged:
        fail(FINDINGS, "\n".join(damaged))


def describe_run(run: Run) -> dict[str, Any]:
    """Return what the listing shows of a run, from its small files.

    Raises:
        ValueError: if they are damaged.
    """
    config, rows, finished = run.config(), run.metrics(), run.scores_path.is_file()
    validated = [row for row in rows if not any(name.startswith("train/") for name in row)]
    latest = files.read_json(run.scores_path) if finished else validated[-1] if validated else {}
    known = ("step", "epoch", "stage")
    return {
        "run": str(run.folder),
        "model": config["model"],
        "data": config.get("data", {}).get("source", ""),
        "epoch": rows[-1].get("epoch", 0) if rows else 0,
        "finished": finished,
        "scores": {name: value for name, value in latest.items() if name not in known and "/" not in name},
    }


@app.command()
@tells
def doctor(as_json: AsJson = False) -> None:
    """Show versions, devices and threads: what a report of a fault should say.

    [dim]vidi doctor[/dim]
    """
    import torch

    packages = ("vidi", "torch", "torchvision", "accelerate", "numpy", "numba", "pillow")
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: installed(name) for name in packages},
        "device": str(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"),
        "threads": torch.get_num_threads(),
        "matrix kernels": torch.backends.cpu.get_cpu_capability(),
    }
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, str(value))
    out.print(table)


def installed(package: str) -> str:
    """Return a package's version, or say that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


# ----------------------------------------------------------------------------------------------------------------------
# Data


@data_app.command("check")
@tells
def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A data set.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where contact sheets go; none without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a data set was recognised as, count it, and list every fault; exit code 1 if there are faults.

    [dim]vidi data check photos/ --out checked[/dim]
    """
    from vidi.data.checking import check_dataset

    with counting(err) as progress:
        report = check_dataset(path, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        out.print(str(report), markup=False, highlight=False)
    if out_folder is not None:
        for split, sheet in report.contact_sheets():
            files.write_image(out_folder / f"{split}.png", sheet)
            err.print(f"{out_folder / split}.png", markup=False, highlight=False)
    if report.faults:
        raise typer.Exit(FINDINGS)


@data_app.command("world")
@tells
def world(
    path: Annotated[Path, typer.Option("--out", help="The picture to write, or its folder.")] = Path("world.png"),
    seed: Annotated[int, typer.Option(help="Other seeds, other scenes.", min=0)] = 0,
    rows: Annotated[int, typer.Option(help="How many scenes.", min=1)] = 4,
) -> None:
    """Draw a page of scenes of the rendered world with every ground truth that it gives.

    [dim]vidi data world --out world.png[/dim]
    """
    from vidi.data.world.gallery import gallery

    target = picture_path(path, "world.png")
    files.write_image(target, gallery(seed=seed, rows=rows))
    out.print(str(target), markup=False, highlight=False)
