"""Commands that look around: what systems, weights and runs there are, and what machine this is."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from vidi.catalog.listed import Listed, listed, verdicts
from vidi.cli.failures import FINDINGS, USAGE, fail, message_of, tells
from vidi.cli.output import AsJson, out, print_json
from vidi.engine.machine import advice_on_threads, may_have_accelerator, processor, threads_of_torch, usable_cores
from vidi.engine.runs import Run, find_runs, numbers_of, shown


@tells
def models(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A name with wildcards, such as 'res*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only systems for this task.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="List their published weights.")] = False,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/systems.md.")] = False,
) -> None:
    """List the systems: name, task, section of the notes, paper, and what the gate of `vidi export` says.

    [dim]vidi models 'retina*' --task detection[/dim]

    [dim]vidi models 'resnet*' --weights[/dim]
    """
    systems = listed(pattern, task=task)
    if not systems and not as_json:
        fail(USAGE, f"no model matches {pattern!r}" + (f" for the task {task}" if task else ""))
    if weights:
        from vidi.weights.loading import describe_weights

        list_weights([row for system in systems for row in describe_weights(system.name)], as_json=as_json)
    elif as_json:
        known = verdicts()
        facts = [{"name": s.name, "task": s.task, "section": s.section, "paper": s.paper} for s in systems]
        print_json([{**fact, "export": known.get(fact["name"])} for fact in facts])
    elif as_markdown:
        print_markdown(systems)
    else:
        known = verdicts()
        table = Table("name", "task", "section", "paper", "export", box=None)
        for system in systems:
            table.add_row(system.name, system.task, system.section, system.paper, known.get(system.name, NOT_SEEN))
        out.print(table)


NOT_SEEN = "-"
"""The verdict on a system that the gate of `vidi export` has not seen."""


def exports_of(names: Sequence[str], known: Mapping[str, str]) -> str:
    """Say what the gate says of some systems: how their verdicts begin, each once, and how many it has seen."""
    seen = [known[name].split(": ")[0] for name in names if name in known]
    share = f" ({len(seen)} of {len(names)} seen)" if 0 < len(seen) < len(names) else ""
    return (", ".join(dict.fromkeys(seen)) or NOT_SEEN) + share


def print_markdown(systems: Sequence[Listed]) -> None:
    """Print the table of docs/systems.md: a row for each paper and the systems that come from it."""
    known = verdicts()
    print("| names | task | notes | paper | proved against | ONNX |\n|---|---|---|---|---|---|")
    for (task, section, paper), group in groupby(systems, lambda system: system[1:4]):
        members = list(group)
        references = dict.fromkeys(system.reference for system in members if system.reference)
        names = ", ".join(f"`{system.name}`" for system in members)
        proof, export = ", ".join(references) or "its formulas", exports_of([one.name for one in members], known)
        print(f"| {names} | {task} | {section} | {paper} | {proof} | {export} |")


def list_weights(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print published weights, with their scores in per cent as their publishers give them."""
    if as_json:
        print_json(rows)
        return
    table = Table("name", "weights", "published score", "licence", "here", "file", box=None)
    for row in rows:
        scores = ", ".join(f"{name} {value:g}" for name, value in row["score"].items())
        here = "yes" if row["path"] else "no"
        table.add_row(row["name"], row["weights"], scores or "-", row["licence"], here, row["url"])
    out.print(table)


@tells
def recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model: see `vidi models`.")],
    as_json: AsJson = False,
) -> None:
    """List what a training can be told: each key with its default, what it is, and its type.

    Of a training in stages, a number without a stage is of all stages: `epochs=3 diffusion.epochs=5`.

    [dim]vidi recipe retinanet_tiny[/dim]
    """
    from vidi.catalog import names
    from vidi.catalog.explained import keys_of

    keys = keys_of(names.entry(name))
    if as_json:
        print_json([key._asdict() for key in keys])
    else:
        out.print(keys_table(keys))


def keys_table(keys: Sequence[Any]) -> Table:
    """Return keys of a training as a table."""
    table = Table("key=default", "what it is", "type", box=None)
    for key in keys:
        table.add_row(escape(f"{key.name}={key.default}"), escape(key.says), escape(key.kind))
    return table


@tells
def cost(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model: see `vidi models`.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Arguments of the model.")] = None,
    image_size: Annotated[
        str | None, typer.Option("--image", metavar="H,W", help="Of the image; the model's own size by default.")
    ] = None,
    depth: Annotated[int, typer.Option(help="Show modules this deep with all that is in them.", min=1)] = 2,
    as_json: AsJson = False,
) -> None:
    """Count the parameters and multiply-adds of a model, in total and by module.

    [dim]vidi cost resnet50[/dim]

    [dim]vidi cost mobilenet_v2 categories=10 --image 96,96 --depth 3[/dim]
    """
    from vidi import api
    from vidi.engine.overrides import check_overrides, split_overrides

    given = split_overrides(overrides or [])
    size = check_overrides({"image": image_size}, {"image": tuple[int, int] | None})["image"]
    report = api.cost(name, image=size, **given)
    if as_json:
        print_json(report.to_dict())
    else:
        print(report.table(depth))


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
            scores = ", ".join(f"{name} {shown(value, '.3f')}" for name, value in list(row["scores"].items())[:3])
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
    latest = run.scores() if finished else validated[-1] if validated else {}
    return {
        "run": str(run.folder),
        "model": config["model"],
        "data": config.get("data", {}).get("source", ""),
        "epoch": rows[-1].get("epoch", 0) if rows else 0,
        "finished": finished,
        "scores": {name: value for name, value in numbers_of(latest).items() if "/" not in name},
    }


@tells
def doctor(as_json: AsJson = False) -> None:
    """Show versions, device and threads: what a report of a fault should say, and what shared cores ask for.

    [dim]vidi doctor[/dim]
    """
    packages = ("vidi", "torch", "torchvision", "accelerate", "numpy", "numba", "pillow")
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: installed(name) for name in packages},
        "device": "cpu",
        "processor": processor(),
        "cores": f"{usable_cores():g} of {os.cpu_count()}",
        "threads": threads_of_torch(),
    }
    if may_have_accelerator():
        import torch

        facts["device"] = str(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    if advice := advice_on_threads():
        facts["advice"] = advice
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
