"""`vidi tune`: search for the numbers with which a system learns best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vidi.cli.failures import tells
from vidi.cli.output import AsJson, err, out, print_json
from vidi.engine.console import progress_for
from vidi.engine.runs import shown

if TYPE_CHECKING:
    from vidi.tuning.search import Search


@tells
def tune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model: see `vidi models`.")],
    overrides: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=LOW..HIGH | KEY=A,B,C | KEY=VALUE",
            help="What is searched, a range or a choice, and what stays; lists in brackets: size=(64,64),(96,96).",
        ),
    ],
    data: Annotated[str | None, typer.Option(help="Built in, or the path of a data set, as for `vidi train`.")] = None,
    trials: Annotated[int, typer.Option(help="Trainings in all; a search that was begun gets those it lacks.")] = 30,
    weights: Annotated[str | None, typer.Option(help="As for `vidi train`.")] = None,
    backbone_weights: Annotated[str | None, typer.Option(help="As for `vidi train`.")] = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="runs/NAME-search by default.")] = None,
    drop_faults: Annotated[bool, typer.Option("--drop-faults", help="As for `vidi train`.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn.", min=0)] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing until the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for the numbers with which a system learns best, by its validation; hopeless trials are cut short.

    Begun again after a stop, a search goes on. It leaves a run for each trial, trials.csv and search.png.

    [dim]vidi tune retinanet_tiny --data cells/ learning_rate=1e-4..1e-2 box_loss=giou,l1 epochs=5 --trials 30[/dim]
    """
    from vidi.engine.overrides import split_overrides
    from vidi.tuning.search import tune as search

    found = search(
        name,
        trials=trials,
        data=data,
        weights=weights,
        backbone_weights=backbone_weights,
        out=out_folder,
        faults="drop" if drop_faults else "raise",
        seed=seed,
        progress=progress_for(err if as_json else out, quiet=quiet),
        **split_overrides(overrides),
    )
    show(found, as_json=as_json)


def show(found: "Search", *, as_json: bool) -> None:
    """Print the trials, the best first, and the command that trains as it did."""
    sign = 1 if found.falling else -1
    ordered = sorted(found.tried, key=lambda one: (one.value is None, sign * (one.value or 0), one.number))
    if as_json:
        rows = [{"trial": t.number, "state": t.state, found.headline: t.value, **t.drawn} for t in ordered]
        print_json({"trials": rows, "best": str(found.best.run), "command": found.command})
        return
    table = Table("trial", "state", found.headline, *found.best.drawn, box=None)
    for one in ordered:
        cells = (str(one.number), one.state, shown(one.value), *one.drawn.values())
        table.add_row(*map(escape, cells))
    out.print(table)
    out.print(f"best: {found.best.run}; the same again:", markup=False, highlight=False)
    out.print(found.command, markup=False, highlight=False)
