"""The `vidi` command. torch is imported by the commands that need it, so that help and listings answer at once."""

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vidi import files
from vidi.cli.failures import DATA, FINDINGS, USAGE, fail, tells
from vidi.cli.progress import progress_for
from vidi.engine.runs import Run, find_runs

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Machine learning for computer vision: train, score and use every system of the field.\n\n"
    "[dim]vidi train retinanet_tiny --data world --out runs/first[/dim]",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data sets before training on them.")
app.add_typer(data_app, name="data")

out, err = Console(soft_wrap=True), Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
DropFaults = Annotated[bool, typer.Option("--drop-faults", help="Leave faulty rows of the data set out.")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A folder that `vidi train` or `model.save` made.")]


def main() -> None:
    """Run the command line."""
    app()


def print_json(value: Any) -> None:
    """Print a value as JSON on the standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


# ----------------------------------------------------------------------------------------------------------------------
# Training and scoring


@app.command()
@tells
def train(
    name: Annotated[str | None, typer.Argument(help="A model: see `vidi models`.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    data: Annotated[str, typer.Option(help="`world`, or the path of a data set.")] = "world",
    out_folder: Annotated[Path | None, typer.Option("--out", help="The run folder; runs/NAME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue this run; takes no other argument.")] = None,
    drop_faults: DropFaults = False,
    quiet: Annotated[bool, typer.Option(help="Say nothing until the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model, and leave a folder with its weights, curves, plots and a report.

    [dim]vidi train retinanet_resnet18_fpn --data photos/ --out runs/cells epochs=30 size=240,320[/dim]
    """
    from vidi import api
    from vidi.engine.fit import Interrupted
    from vidi.engine.overrides import split_overrides

    progress = progress_for(err if as_json else out, quiet=quiet)
    if resume is not None:
        if name is not None:
            fail(USAGE, "--resume continues a run with its own model, data and numbers; leave the rest away")
        folder = resume
    elif name is None:
        fail(USAGE, "which model? `vidi models` lists them, `vidi train --help` shows an example")
    else:
        folder = out_folder or api.next_free_folder(name)
    try:
        if resume is not None:
            run = api.resume(resume, progress=progress)
        else:
            faults = "drop" if drop_faults else "raise"
            given = split_overrides(overrides or [])
            run = api.train(str(name), data=data, out=folder, faults=faults, progress=progress, **given)
    except Interrupted:
        raise KeyboardInterrupt(f"stopped; go on with: vidi train --resume {folder}") from None
    scores = api.scores_of(run)
    if as_json:
        print_json({"run": str(run.folder), "scores": scores})
        return
    print_scores(scores)
    out.print(f"\n{run.folder}: " + ", ".join(sorted(path.name for path in run.folder.iterdir() if path.is_file())))


@app.command("eval")
@tells
def evaluate(
    run: RunFolder,
    data: Annotated[str | None, typer.Option(help="Another data set than the run's own.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    weights: Annotated[str, typer.Option(help="best or last.")] = "best",
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where plots go.")] = None,
    drop_faults: DropFaults = False,
    as_json: AsJson = False,
) -> None:
    """Score a run on a split of its own or another data set.

    [dim]vidi eval runs/cells --split test[/dim]
    """
    from vidi import api

    faults = "drop" if drop_faults else "raise"
    scores = api.evaluate(run, data=data, split=split, weights=weights, faults=faults, out=out_folder)
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)


def print_scores(scores: dict[str, Any]) -> None:
    """Print the numbers of an evaluation as a table."""
    table = Table("score", "value", box=None)
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    if scores:
        out.print(table)


# ----------------------------------------------------------------------------------------------------------------------
# Using a model


@app.command()
@tells
def predict(
    run: RunFolder,
    photos: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where drawn pictures go; RUN/predictions.")] = None,
    threshold: Annotated[float, typer.Option(help="Show objects that score at least this.", min=0, max=1)] = 0.5,
    weights: Annotated[str, typer.Option(help="best or last.")] = "best",
    draw: Annotated[bool, typer.Option(help="Draw the results on the pictures.")] = True,
    as_json: AsJson = False,
) -> None:
    """Predict on pictures: a line for each, and the picture with its result drawn.

    [dim]vidi predict runs/cells photos/ --out drawn[/dim]
    """
    from vidi import api

    paths = api.image_paths(photos)
    model = api.load(run, weights=weights)
    folder = out_folder or Path(run) / "predictions"
    records, broken = [], []
    for path, result in api.predict_files(model, paths):
        if isinstance(result, Exception):
            broken.append(path)
            print(f"vidi: {result}", file=sys.stderr)
            continue
        shown = result.above(threshold) if hasattr(result, "above") else result
        records.append({"image": str(path), **shown.to_dict()})
        if not as_json:
            out.print(f"{path}: {shown}", markup=False, highlight=False)
        if draw:
            files.write_image(folder / f"{path.stem}.png", api.draw(result, path, threshold))
    if as_json:
        print_json(records)
    elif draw and records:
        out.print(f"drawn in {folder}")
    if broken:
        fail(DATA, f"{len(broken)} of {len(paths)} pictures could not be read")


@app.command()
@tells
def sample(
    run: RunFolder,
    count: Annotated[int, typer.Option(help="How many pictures.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal pictures.")] = 0,
    out_file: Annotated[Path | None, typer.Option("--out", help="The PNG to write; RUN/samples-SEED.png.")] = None,
    weights: Annotated[str, typer.Option(help="best or last.")] = "best",
) -> None:
    """Draw pictures from a generative model, as one grid.

    [dim]vidi sample runs/gan --count 64 --seed 0[/dim]
    """
    from vidi import api
    from vidi.engine import plots

    images = api.sample(api.load(run, weights=weights), count, seed=seed)
    path = out_file or Path(run) / f"samples-{seed}.png"
    plots.image_grid(path, images, columns=max(1, round(count**0.5)))
    out.print(str(path))


# ----------------------------------------------------------------------------------------------------------------------
# Looking around


@app.command()
@tells
def models(
    pattern: Annotated[str, typer.Argument(help="A name with wildcards, such as 'res*'.")] = "*",
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
    folder: Annotated[Path, typer.Argument(help="The folder that holds runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs with their model, data, progress and latest scores.

    [dim]vidi runs[/dim]
    """
    rows = [describe_run(run) for run in find_runs(folder)]
    if as_json:
        print_json(rows)
        return
    table = Table("run", "model", "data", "epoch", "latest scores", box=None)
    for row in rows:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in list(row["scores"].items())[:3])
        table.add_row(row["run"], row["model"], row["data"], f"{row['epoch']:g}", scores)
    out.print(table if rows else f"{folder} holds no runs")


def describe_run(run: Run) -> dict[str, Any]:
    """Return what the listing shows of a run, from its small files."""
    config, rows = run.config(), run.metrics()
    validated = [row for row in rows if not any(name.startswith("train/") for name in row)]
    latest = validated[-1] if validated else {}
    known = ("step", "epoch", "stage")
    return {
        "run": str(run.folder),
        "model": config["model"],
        "data": config.get("data", {}).get("source", ""),
        "epoch": rows[-1]["epoch"] if rows else 0,
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
    path: Annotated[Path, typer.Argument(help="A data set.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where the contact sheet goes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a data set was recognised as, count it, and list every fault; exit code 1 if there are faults.

    [dim]vidi data check photos/ --out checked[/dim]
    """
    from vidi.data.checking import check_dataset

    report = check_dataset(path)
    if as_json:
        print_json(report.to_dict())
    else:
        out.print(str(report), markup=False, highlight=False)
    if out_folder is not None:
        for split, sheet in report.contact_sheets():
            files.write_image(out_folder / f"{split}.png", sheet)
    if report.faults:
        raise typer.Exit(FINDINGS)


@data_app.command("world")
@tells
def world(
    path: Annotated[Path, typer.Option("--out", help="The picture to write.")] = Path("world.png"),
    seed: Annotated[int, typer.Option(help="Other seeds, other scenes.")] = 0,
    rows: Annotated[int, typer.Option(help="How many scenes.", min=1)] = 4,
) -> None:
    """Draw a page of scenes of the rendered world with every ground truth that it gives.

    [dim]vidi data world --out world.png[/dim]
    """
    from vidi.data.world.gallery import gallery

    target = path if path.suffix else path / "world.png"
    files.write_image(target, gallery(seed=seed, rows=rows))
    out.print(str(target))
