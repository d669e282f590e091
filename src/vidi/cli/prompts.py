"""Commands of models that know texts: pictures by sentences, and sentences by pictures."""

from pathlib import Path
from typing import Annotated

import typer

from vidi import files
from vidi.cli.failures import DATA, USAGE, fail, tells
from vidi.cli.output import AsJson, out, picture_path, print_json
from vidi.cli.pictures import drawn_paths, lines_of, pictures_of, renamed
from vidi.cli.vectors import Name, Photos, WhichWeights, embedder, tell_broken
from vidi.engine.runs import Run


@tells
def classify(
    name: Name,
    photos: Photos,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompts", help="The name of a class, again for each, or a text file of one a line."),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option("--template", help="A sentence with {} for the name, again for each; a text file of one a line."),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Where drawn pictures go; RUN/classified, or classified/.")
    ] = None,
    weights: WhichWeights = None,
    draw: Annotated[bool, typer.Option(help="Draw the probabilities below the pictures.")] = True,
    as_json: AsJson = False,
) -> None:
    """Say which of some names each picture is called by, without any training on them.

    [dim]vidi classify runs/clip photos/ --prompts "red sphere" --prompts "blue box" --template "a photo of a {}."[/dim]

    [dim]vidi classify runs/clip photos/ --prompts classes.txt --out classified[/dim]
    """
    names = [line for argument in prompts or () for line in lines_of(argument)]
    if not names:
        fail(USAGE, 'among which names? give them as --prompts "red sphere" --prompts "blue box", or a text file')
    if len(names) == 1:
        fail(USAGE, f"{names[0]!r} is one name, which every picture would get: --prompts takes one, give it again")
    from vidi.embedding.prompts import PHOTO

    folder = out_folder or (Path(name) if Run(Path(name)).config_path.is_file() else Path()) / "classified"
    found = embedder(name, weights, knows_texts=True)
    model = found.model
    sentences = [line for argument in templates or PHOTO for line in lines_of(argument)]
    classes = model.embed_classes(names, sentences)
    paths = pictures_of(photos, folder)
    records = []
    for target, (path, image, seen) in zip(drawn_paths(folder, paths, photos), found.results(paths), strict=True):
        if seen is None:
            continue
        (result,) = model.compared(seen.vector[None], classes, names)
        records.append({"image": str(path), **({"drawn": str(target)} if draw else {}), **result.to_dict()})
        if draw:
            files.write_image(target, result.draw(image))
        if not as_json:
            out.print(f"{path}{renamed(path, target) if draw else ''}: {result}", markup=False, highlight=False)
    if as_json:
        print_json(records)
    elif records and draw:
        out.print(f"drawn in {folder}", markup=False, highlight=False)
    tell_broken(len(paths) - len(records), len(paths))


@tells
def search(
    name: Name,
    photos: Photos,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", help="What is searched for, again for each; a text file of one a line."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many pictures are found for a text.", min=1)] = 5,
    out_file: Annotated[
        Path, typer.Option("--out", help="The picture to write, a row for each text, or its folder.")
    ] = Path("found.png"),
    weights: WhichWeights = None,
    as_json: AsJson = False,
) -> None:
    """Find the pictures that a text describes best.

    [dim]vidi search runs/clip photos/ --text "two red spheres on grass" --top 5 --out found.png[/dim]
    """
    asked = [line for argument in texts or () for line in lines_of(argument)]
    if not asked:
        fail(USAGE, 'what is searched for? say it as --text "two red spheres on grass", or name a text file')
    import torch

    from vidi.engine import plots
    from vidi.ops.neighbours import nearest
    from vidi.results.caption import with_text

    known, paths = embedder(name, weights, knows_texts=True), pictures_of(photos)
    wanted = known.model.embed_text(asked)
    found = [(path, result.vector) for path, _, result in known.results(paths) if result is not None]
    if not found:
        fail(DATA, "no picture could be read")
    best = nearest(wanted, torch.stack([vector for _, vector in found]), top, metric="cosine")
    records, tiles = [], []
    for text, values, rows in zip(asked, (1 - best.distances).tolist(), best.places.tolist(), strict=True):
        for place, (value, row) in enumerate(zip(values, rows, strict=True), 1):
            path = found[row][0]
            records.append({"text": text, "place": place, "image": str(path), "similarity": value})
            tiles.append(with_text(path, f"{text if place == 1 else ''} {value:.3f}"))
            if not as_json:
                out.print(f"{text}: {place}. {path} ({value:.3f})", markup=False, highlight=False)
    picture = picture_path(out_file, "found.png")
    plots.mosaic(picture, tiles, columns=best.places.shape[1])
    if as_json:
        print_json(records)
    else:
        out.print(str(picture), markup=False, highlight=False)
    tell_broken(len(paths) - len(found), len(paths))
