"""Commands that look at data sets before anything is trained on them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from vidi import files
from vidi.cli.failures import DATA, FINDINGS, USAGE, fail, message_of, tells
from vidi.cli.output import AsJson, err, out, picture_path, print_json
from vidi.cli.pictures import drawn_paths, pictures_of
from vidi.cli.vectors import upright_faces
from vidi.engine.console import counting


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

    sides = _sides(size) if size else None
    with counting(err) as progress:
        report = check_dataset(path, progress=progress, size=sides)
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


def _sides(size: str) -> tuple[int, int]:
    """Return height and width of a size that was typed as H,W."""
    sides = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", size)
    if sides is None:
        fail(USAGE, f"received --size {size}, expected height and width in pixels, such as 240,320")
    return int(sides[1]), int(sides[2])


@tells
def upright(
    landmarks: Annotated[Path, typer.Argument(metavar="RUN", help="Of face_landmarks_tiny: what finds the faces.")],
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A folder of pictures with a face each.")],
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write, with the sub-folders of PHOTOS.")],
    size: Annotated[str, typer.Option(help="H,W of the pictures that are written.")] = "112,112",
    as_json: AsJson = False,
) -> None:
    """Write a copy of a folder in which each face is upright, its eyes, nose and mouth in the places of a template.

    A network trained on the copy embeds other pictures with `--landmarks RUN`.

    [dim]vidi data upright runs/landmarks people/ --out upright[/dim]
    """
    sides = _sides(size)
    from vidi import api

    if not photos.is_dir():
        fail(DATA, f"{photos}: no such folder")
    paths = pictures_of([photos], out_folder)
    targets = dict(zip(paths, drawn_paths(out_folder, paths, [photos], suffix=".png"), strict=True))
    left: list[str] = []
    with counting(err) as progress:
        for number, (path, face) in enumerate(upright_faces(api.load(landmarks), paths, sides), start=1):
            progress("pictures", number, len(paths))
            if isinstance(face, Exception):
                err.print(f"vidi: {message_of(face)}", markup=False, highlight=False)
                left.append(str(path))
            else:
                files.write_image(targets[path], (face * 255).round().byte())
    written = len(paths) - len(left)
    if as_json:
        print_json({"folder": str(out_folder), "pictures": written, "without": left})
    else:
        out.print(f"{out_folder}: {written} of {len(paths)} pictures, upright", markup=False, highlight=False)
    if not written:
        fail(DATA, "no face was found in any picture")


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
