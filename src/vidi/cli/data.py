"""Commands that look at data sets before anything is trained on them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from vidi import files
from vidi.cli.failures import FINDINGS, USAGE, fail, tells
from vidi.cli.output import AsJson, err, out, picture_path, print_json
from vidi.cli.progress import counting


@tells
def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A data set.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where contact sheets go; none without.")] = None,
    size: Annotated[str, typer.Option(help="H,W of a training: masks that have no pixel then are counted.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what a data set was recognised as, count it, and list every fault; exit code 1 if there are faults.

    [dim]vidi data check photos/ --out checked[/dim]
    """
    from vidi.data.checking import check_dataset

    sides = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", size)
    if size and sides is None:
        fail(USAGE, f"received --size {size}, expected height and width in pixels, such as 240,320")

    with counting(err) as progress:
        report = check_dataset(path, progress=progress, size=(int(sides[1]), int(sides[2])) if sides else None)
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
