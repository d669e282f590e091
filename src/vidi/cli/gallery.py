"""Commands that compare pictures: vectors in a file, two pictures, and galleries of named ones."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vidi import files
from vidi.cli.failures import DATA, USAGE, fail, tells
from vidi.cli.output import AsJson, out, print_json
from vidi.cli.pictures import drawn_paths, pictures_of
from vidi.cli.vectors import Landmarks, Name, Photos, WhichWeights, embedder, tell_broken

GalleryFolder = Annotated[Path, typer.Argument(metavar="GALLERY", help="The folder of a gallery.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="The largest distance of two pictures of one identity; without, what the run or gallery says."),
]

gallery_app = typer.Typer(
    no_args_is_help=True,
    help="Keep identities that come and go, and ask whom a picture shows: no training, and no pictures kept.\n\n"
    "[dim]vidi gallery add people runs/faces photos/[/dim]",
)


@tells
def embed(
    name: Name,
    photos: Photos,
    out_file: Annotated[
        Path, typer.Option("--out", help="The file to write: .npz (paths, vectors) or .csv (a row for each picture).")
    ] = Path("vectors.npz"),
    landmarks: Landmarks = None,
    weights: WhichWeights = None,
    as_json: AsJson = False,
) -> None:
    """Write the vector of each picture.

    [dim]vidi embed runs/faces photos/ --out vectors.csv[/dim]
    """
    if out_file.suffix not in (".npz", ".csv"):
        fail(USAGE, f"--out {out_file}: expected a file that ends in .npz or .csv")
    import numpy as np

    paths = pictures_of(photos)
    found = [
        (path, result) for path, _, result in embedder(name, weights, landmarks).results(paths) if result is not None
    ]
    if not found:
        fail(DATA, "no picture could be embedded")
    vectors = np.stack([result.vector.numpy() for _, result in found])
    names = [str(path) for path, _ in found]
    if out_file.suffix == ".npz":
        files.write_npz(out_file, {"paths": np.array(names), "vectors": vectors})
    else:
        columns = [f"v{place}" for place in range(vectors.shape[1])]
        numbered = zip(names, vectors.tolist(), strict=True)
        rows = [{"path": path, **dict(zip(columns, row, strict=True))} for path, row in numbered]
        files.write_csv(out_file, rows)
    metric = found[0][1].metric
    if as_json:
        print_json({"file": str(out_file), "pictures": names, "width": vectors.shape[1], "metric": metric})
    else:
        what = f"{len(names)} vectors of {vectors.shape[1]} numbers, compared by the {metric} distance"
        out.print(f"{out_file}: {what}", markup=False, highlight=False)
    tell_broken(len(paths) - len(found), len(paths))


@tells
def verify(
    name: Name,
    first: Annotated[Path, typer.Argument(metavar="A", help="A picture.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    threshold: Threshold = None,
    landmarks: Landmarks = None,
    weights: WhichWeights = None,
    as_json: AsJson = False,
) -> None:
    """Say how far two pictures are apart, and whether they show one identity.

    The threshold of a run is the distance at which its validation erred as often either way.

    [dim]vidi verify runs/faces one.jpg other.jpg[/dim]
    """
    for path in (first, second):
        if path.is_dir():
            fail(USAGE, f"{path} is a folder; expected a picture")
    from vidi.metrics.verification import verify as is_one
    from vidi.ops.neighbours import distances

    known = embedder(name, weights, landmarks)
    found = [result for _, _, result in known.results([first, second])]
    tell_broken(found.count(None), len(found))
    one, other = (result.vector[None] for result in found)
    metric = found[0].metric
    apart = distances(one.double(), other.double(), metric=metric)[0]
    bound = known.threshold if threshold is None else threshold
    same = None if bound is None else bool(is_one(apart, bound)[0])
    if as_json:
        said = {"distance": float(apart), "metric": metric, "threshold": bound, "same": same}
        print_json({"first": str(first), "second": str(second), **said})
        return
    answer = {None: "no threshold is known: say one with --threshold", True: "one identity", False: "two identities"}
    limit = "" if bound is None else f", threshold {bound:.4f}"
    out.print(f"{answer[same]} ({metric} distance {float(apart):.4f}{limit})", markup=False, highlight=False)


# ----------------------------------------------------------------------------------------------------------------------
# Galleries


@gallery_app.command("add")
@tells
def add(
    folder: GalleryFolder,
    name: Name,
    photos: Photos,
    person: Annotated[
        str | None, typer.Option("--name", help="Whom all pictures show; without, the name of each picture's folder.")
    ] = None,
    threshold: Threshold = None,
    landmarks: Landmarks = None,
    weights: WhichWeights = None,
    as_json: AsJson = False,
) -> None:
    """Enrol pictures under names; the gallery is made where there is none. What is enrolled is not embedded again.

    [dim]vidi gallery add people runs/faces photos/[/dim]

    [dim]vidi gallery add people runs/faces ann.jpg --name "Ann Lee"[/dim]
    """
    from vidi.embedding.gallery import Gallery, checked_name

    paths = pictures_of(photos)
    names = {path: checked_name(person if person is not None else path.resolve().parent.name) for path in paths}
    known = embedder(name, weights, landmarks)
    gallery = Gallery.open(folder, model=known.fingerprint) if folder.exists() and any(folder.iterdir()) else None
    keys = {path: hashlib.sha256(files.read_bytes(path)).hexdigest() for path in paths}
    there = [path for path in paths if gallery is not None and gallery.owner(keys[path]) == names[path]]
    new = [path for path in paths if path not in set(there)]
    by_name: dict[str, list[tuple[str, Any]]] = {}
    for path, _, result in known.results(new):
        if result is not None:
            if gallery is None:
                bound = known.threshold if threshold is None else threshold
                width, metric = len(result.vector), result.metric
                gallery = Gallery(width, metric=metric, threshold=bound, model=known.fingerprint)
            by_name.setdefault(names[path], []).append((keys[path], result.vector))
    if gallery is None:
        fail(DATA, "no picture could be embedded")
    if threshold is not None:
        gallery.threshold = threshold
    added = {who: _enrol(gallery, who, found) for who, found in by_name.items()}
    gallery.save(folder)
    read = len(there) + sum(map(len, by_name.values()))
    if as_json:
        print_json({"gallery": str(folder), "added": added, "there_before": list(map(str, there))})
    else:
        for who, count in added.items():
            out.print(f"{who}: {_pictures(count)} added", markup=False, highlight=False)
        before = f"; {_pictures(len(there))} there before" if there else ""
        out.print(f"{folder}: {_size(gallery)}{before}", markup=False, highlight=False)
    tell_broken(len(paths) - read, len(paths))


def _enrol(gallery: Any, who: str, found: Sequence[tuple[str, Any]]) -> int:
    import torch

    return gallery.enrol(who, torch.stack([vector for _, vector in found]), [key for key, _ in found])


@gallery_app.command("remove")
@tells
def remove(
    folder: GalleryFolder,
    people: Annotated[list[str], typer.Argument(metavar="NAME...", help="Who is forgotten.")],
    as_json: AsJson = False,
) -> None:
    """Forget identities: their vectors leave the disk, and nobody else's answers change.

    [dim]vidi gallery remove people "Ann Lee"[/dim]
    """
    from vidi.embedding.gallery import Gallery

    gallery = Gallery.open(folder)
    removed = {who: gallery.remove(who) for who in dict.fromkeys(people)}
    gallery.save(folder)
    if as_json:
        print_json({"gallery": str(folder), "removed": removed})
        return
    for who, count in removed.items():
        out.print(f"{who}: {_pictures(count)} removed", markup=False, highlight=False)
    out.print(f"{folder}: {_size(gallery)}", markup=False, highlight=False)


@gallery_app.command("rename")
@tells
def rename(
    folder: GalleryFolder,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Who gets another name.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The other name.")],
) -> None:
    """Give an identity another name.

    [dim]vidi gallery rename people s02 "Ann Lee"[/dim]
    """
    from vidi.embedding.gallery import Gallery

    gallery = Gallery.open(folder)
    gallery.rename(old, new)
    gallery.save(folder)
    out.print(f"{folder}: {old} is {new} now", markup=False, highlight=False)


@gallery_app.command("query")
@tells
def query(
    folder: GalleryFolder,
    name: Name,
    photos: Photos,
    k: Annotated[int, typer.Option("--k", help="How many of the nearest pictures vote.", min=1)] = 1,
    votes: Annotated[
        str, typer.Option(help="How they count: uniform (alike), or distance (by 1 / distance).")
    ] = "uniform",
    threshold: Threshold = None,
    landmarks: Landmarks = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Where pictures go with the name below; none without.")
    ] = None,
    weights: WhichWeights = None,
    as_json: AsJson = False,
) -> None:
    """Say whom each picture shows: a name of the gallery, or a stranger.

    [dim]vidi gallery query people runs/faces new/ --k 5 --votes distance --threshold 0.9[/dim]
    """
    from vidi.embedding.gallery import Gallery

    Gallery.open(folder)  # a wrong folder is told before models are read
    paths = pictures_of(photos, out_folder)
    targets = drawn_paths(out_folder or Path(), paths, photos)
    known = embedder(name, weights, landmarks)
    gallery = Gallery.open(folder, model=known.fingerprint)
    records = []
    for target, (path, image, result) in zip(targets, known.results(paths), strict=True):
        if result is None:
            continue
        (answer,) = gallery.query(result.vector[None], k=k, weights=votes, threshold=threshold)
        drawn = {"drawn": str(target)} if out_folder is not None else {}
        records.append({"image": str(path), **drawn, **answer.to_dict()})
        if out_folder is not None:
            files.write_image(target, answer.draw(image))
        if not as_json:
            out.print(f"{path}: {answer}", markup=False, highlight=False)
    if as_json:
        print_json(records)
    tell_broken(len(paths) - len(records), len(paths))


@gallery_app.command("list")
@tells
def show(folder: GalleryFolder, as_json: AsJson = False) -> None:
    """List the names of a gallery, and how many pictures each has.

    [dim]vidi gallery list people[/dim]
    """
    from vidi.embedding.gallery import Gallery

    gallery = Gallery.open(folder)
    if as_json:
        facts = {"model": gallery.model, "metric": gallery.metric, "threshold": gallery.threshold}
        print_json({"gallery": str(folder), **facts, "width": gallery.width, "names": gallery.counts()})
        return
    for who, count in gallery.counts().items():
        out.print(f"{who}: {_pictures(count)}", markup=False, highlight=False)
    bound = "no threshold" if gallery.threshold is None else f"threshold {gallery.threshold:.4f}"
    facts = f"{gallery.metric} distance, {bound}, vectors of {gallery.width} numbers by {gallery.model}"
    out.print(f"{folder}: {_size(gallery)}; {facts}", markup=False, highlight=False)


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


def _size(gallery: Any) -> str:
    names = len(list(gallery))
    return f"{_pictures(len(gallery))} of {names} identit{'y' if names == 1 else 'ies'}"
