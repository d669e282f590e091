"""The command that writes a network to a file for other runtimes."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vidi.cli.failures import USAGE, fail, tells
from vidi.cli.output import AsJson, Download, err, out, print_json
from vidi.cli.pictures import pictures_of

FORMATS: dict[str, Literal["onnx", "pt2"]] = {".onnx": "onnx", ".pt2": "pt2"}


@tells
def export(
    name: Annotated[str, typer.Argument(metavar="RUN|NAME", help="A run folder, or a model with published weights.")],
    path: Annotated[
        Path | None,
        typer.Option("--out", help="The file: .onnx, or .pt2 for torch.export.load; RUN/model.onnx, or NAME.onnx."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Numbers of sixteen bits inside.")] = False,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTOS",
            help="Numbers of eight bits inside; photos of the kind that it will see say their ranges. The run's score "
            "is told before and after.",
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Photos on which its results are compared; one of a person by default.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of a run, `best` or `last`; of a model, a published set.")
    ] = None,
    download: Download = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Write the file also if its results differ.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a network to a file for other runtimes, once its results on photos are those of the model.

    The file carries sizes, categories, decoder, licence and versions: `vidi predict FILE photos/` and `vidi eval FILE
    --data ...` take it as they take a run.

    [dim]vidi export runs/cells --out cells.onnx[/dim]

    [dim]vidi export runs/cells --int8 photos/ --out small.onnx[/dim]
    """
    from vidi import api
    from vidi.engine.runs import Run

    run = Run(Path(name))
    is_run = run.config_path.is_file()
    path = path or (run.folder / "model.onnx" if is_run else Path(f"{Path(name).name}.onnx"))
    if path.suffix not in FORMATS:
        fail(USAGE, f"received --out {path}, expected a name that ends in {' or '.join(FORMATS)}")
    given: dict[str, Any] = {
        key: pictures_of([folder]) for key, folder in (("int8", int8), ("photos", photos)) if folder
    }
    made = api.export(
        name, path, format=FORMATS[path.suffix], half=half, weights=weights, download=download, anyway=anyway, **given
    )
    scores: dict[str, Any] = {}
    if int8 and is_run and "data" in run.config():
        data = run.config()["data"]["source"]
        before, after = api.evaluate(name), api.evaluate(path, data=data)
        scores = {
            key: [before[key], after[key]]
            for key, value in after.items()
            if isinstance(value, float) and before.get(key) is not None
        }
    if as_json:
        print_json({"file": str(path), "verdict": made.verdict, "bytes": path.stat().st_size, "scores": scores})
        return
    out.print(f"{path}: {made.verdict}, {path.stat().st_size / 1e6:.1f} MB", markup=False, highlight=False)
    for key, (one, other) in scores.items():
        out.print(f"  {key}: {one:.4f} -> {other:.4f}", markup=False, highlight=False)
    if int8 and not scores:
        err.print("no score before and after: it is no run with a data set of its own", markup=False, highlight=False)
