"""The `vidi` command. torch is imported by the commands that need it, so that help and listings answer at once."""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from vidi import files
from vidi.cli import bulk, exporting, gallery, listing, prompts, samples, serving, tune
from vidi.cli import data as looking_at_data
from vidi.cli.failures import DATA, USAGE, fail, message_of, tells
from vidi.cli.nameless import installed_model, logger_for, names_pictures
from vidi.cli.output import AsJson, Download, err, out, print_classes, print_json, print_scores
from vidi.cli.pictures import drawn_paths, lines_of, pictures_of, renamed, without_drawn
from vidi.engine.console import paced, progress_for
from vidi.engine.runs import EXPORTED, Run, is_main_process

ASKED = "vidi.words"  # of the command line
EPILOG = (
    "Exit codes: 0 done, 1 findings (faults of a data set, a loss that is not finite), 2 wrong usage, 3 data that "
    "cannot be read or written, 70 a fault of vidi, 130 interrupted. VIDI_TRACEBACK=1 shows where an error arose."
)

NO_SUCH_OPTION = "NoSuchOption"
"""The error's name: older versions of typer have it from click, newer ones from a copy that is not public."""


class AnswersHabits(TyperGroup):
    """Commands of which an option that there is not is answered with what it was meant for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if type(error).__name__ != NO_SUCH_OPTION:
                raise
            from vidi.engine.overrides import advice_on_option
            from vidi.engine.recipe import Recipe

            asked: Any = error
            known = [option for parameter in asked.ctx.command.params for option in parameter.opts]
            keys = (*Recipe.__dataclass_fields__, "size") if asked.ctx.info_name in ("train", "tune") else ()
            fail(USAGE, f"{asked.option_name}: no such option; {advice_on_option(asked.option_name, known, keys)}")


app = typer.Typer(
    cls=AnswersHabits,
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
data_app.command("check")(looking_at_data.check)
data_app.command("upright")(looking_at_data.upright)
data_app.command("world")(looking_at_data.world)


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


DropFaults = Annotated[
    bool, typer.Option("--drop-faults", help="Leave faulty rows of the data set, and their pictures, out.")
]
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
        print(listing.installed("vidi"))
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


# ----------------------------------------------------------------------------------------------------------------------
# Training and scoring


class HelpsByName(TyperCommand):
    """A command whose help, asked for beside the NAME of a system, lists the keys of that."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[ASKED] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        words = [word for word in ctx.meta[ASKED] if not word.startswith("-")]
        if words:  # plain help needs no torch
            from vidi.catalog.explained import keys_of
            from vidi.catalog.table import CATALOG

            name = next((word for word in words if word in CATALOG), None)
            if name is not None:
                out.print(f" Keys of {name}", highlight=False)
                out.print(listing.keys_table(keys_of(CATALOG[name])))


@app.command(cls=HelpsByName)
@tells
def train(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model: see `vidi models`.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Numbers of the recipe and arguments of the model."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Built in, as `world` (the default), or the path of a data set.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Begin with published weights (`vidi models --weights`), a file of them or a RUN; fine-tune."
        ),
    ] = None,
    backbone_weights: Annotated[
        str | None, typer.Option(help="Begin with the backbone of a model: NAME/WEIGHTS of `vidi models --weights`.")
    ] = None,
    download: Download = False,
    out_folder: Annotated[Path | None, typer.Option("--out", help="The run folder; runs/NAME by default.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Without a NAME: what to learn from data that could teach several tasks.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Fit the training into so many minutes; the first steps are timed.")
    ] = None,
    log: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Write losses, scores and pictures for TensorBoard too, into the run folder."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Continue this run with its own numbers; epochs=40 to go on longer; --data if its data moved."
        ),
    ] = None,
    drop_faults: DropFaults = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing until the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model, and leave a folder with its weights, curves, plots and a report.

    Without a NAME what lies at --data decides the system, the size of its pictures and how long it is trained; the
    command that does the same by name is printed.

    [dim]vidi train --data photos/ --minutes 30[/dim]

    [dim]vidi train retinanet_resnet18_fpn --data photos/ --out runs/cells epochs=30 size=240,320[/dim]

    [dim]vidi train --resume runs/cells epochs=60[/dim]

    [dim]vidi train retinanet_resnet18_fpn --weights runs/cells --data other_photos/[/dim]
    """
    named = name is not None and "=" not in name  # without a NAME the first KEY=VALUE is in its place
    begins = weights or backbone_weights
    if resume is not None and (named or begins or out_folder or drop_faults or task or minutes):
        fail(USAGE, "--resume continues a run with its own model, folder and numbers; leave the rest away")
    if resume is None and not named and data is None:
        fail(USAGE, "which model? `vidi models` lists them; or say which data with --data, which decide")
    if resume is None and not named and begins:
        fail(USAGE, f"{begins}: weights belong to a system; name it")
    if named and task:
        fail(USAGE, f"--task {task}: it is for trainings without a NAME; a system has its own")
    from vidi import api
    from vidi.engine.overrides import split_overrides
    from vidi.starting.choice import choose

    progress = progress_for(err if as_json else out, quiet=quiet or not is_main_process())
    keys = [word for word in (None if named else name, *(overrides or [])) if word is not None]
    given, on_epoch = split_overrides(keys), logger_for(log)
    if resume is not None:
        run = Run(resume)
        with going_on(run):
            api.resume(resume, data=data, on_epoch=on_epoch, quiet=quiet, progress=progress, **given)
    else:
        chosen = str(name) if named else choose(str(data), task=task, given=given)
        run = Run(out_folder or api.next_free_folder(chosen if isinstance(chosen, str) else chosen.name))
        faults = "drop" if drop_faults else "raise"
        with going_on(run, is_new=not run.is_taken()):
            api.train(
                chosen,
                data=data,
                weights=weights,
                backbone_weights=backbone_weights,
                download=download,
                out=run.folder,
                faults=faults,
                minutes=minutes,
                on_epoch=on_epoch,
                quiet=quiet,
                progress=progress,
                **given,
            )
    if is_main_process():
        show_training(run, api.scores_of(run), as_json=as_json)


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
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="How the model decides, as of `vidi predict`: score_threshold=0.01."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Another data set than the run's own.")] = None,
    split: Annotated[Split, typer.Option(help="The part of the data set.")] = Split.val,
    weights: WhichWeights = Weights.best,
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where plots, scores.csv by class, predictions.json and the worst pictures go; none without."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Of a detector: the score from which on plots and worst pictures believe it; the run's own by "
            "default. AP and AR look at all scores.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    drop_faults: DropFaults = False,
    as_json: AsJson = False,
) -> None:
    """Score a run on a split of its own or another data set, in all and by class.

    [dim]vidi eval runs/cells --split test --out scored[/dim]

    [dim]vidi eval runs/cells score_threshold=0.01 --threshold 0.4[/dim]
    """
    if run.suffix != EXPORTED:
        Run(run).config()  # a wrong folder is told before torch is loaded
    from vidi import api
    from vidi.engine.overrides import split_overrides

    judgement = api.judge(
        run,
        data=data,
        split=split.value,
        weights=weights.value,
        faults="drop" if drop_faults else "raise",
        out=out_folder,
        threshold=threshold,
        progress=progress_for(err, quiet=False),
        options=split_overrides(options or []),
    )
    if as_json:
        print_json({**judgement.scores, **({"classes": judgement.classes} if judgement.classes else {})})
        return
    print_scores(judgement.scores)
    print_classes(judgement.classes)
    if out_folder is not None:
        names = ", ".join(sorted(path.name for path in out_folder.iterdir() if path.is_file()))
        out.print(f"{out_folder}: {names}", markup=False, highlight=False)


# ----------------------------------------------------------------------------------------------------------------------
# Using a model


def below_one(value: float) -> float:
    """Refuse 1: tiles that are shown again as a whole never come to an end."""
    if not value < 1:
        raise typer.BadParameter(f"{value} is not below 1.")
    return value


@app.command()
@tells
def predict(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME",
            help="A run folder, or a model with published weights; left away, the best ones on this machine.",
        ),
    ],
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTOS...",
            help="Pictures, or folders of them; for a model of stereo pairs LEFT RIGHT, or folders of pairs. A "
            "MaskFormer or Mask2Former takes its own thresholds too: score_threshold=0.5 overlap_threshold=0.6 "
            "mask_threshold=0.5. A model of sentences takes sentences, and how it chooses its words: beams=4, or "
            "temperature=1 top_k=5 seed=0.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Without a RUN or NAME: for what, such as detection or classification.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Where drawn pictures go; RUN/predictions, or predictions/.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Show objects that score at least this: by default the run's own threshold, of the best F1 in its "
            "validation, and 0.5 for published weights. What the model leaves out by its own score_threshold=... does "
            "not come back.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Of a run, `best` (the default) or `last`; of a model, a name of `vidi models --weights` or a file."
        ),
    ] = None,
    download: Download = False,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Cut large pictures into squares of so many pixels, which the model sees as pictures, and put "
            "together what is found in them: the classes of pixels, or boxes, masks and joints.",
            min=1,
            show_default=False,
        ),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(help="The share of a tile that the next one shows again.", min=0, max=1, callback=below_one),
    ] = 0.25,
    draw: Annotated[
        bool | None, typer.Option(help="Draw the results on the pictures; with --save only where asked to.")
    ] = None,
    save: Annotated[
        Literal["jsonl", "coco", "parquet", "labels"] | None,
        typer.Option(
            help="Pictures by the million, to files in OUT/SAVE: also globs, lists of paths (.txt), tar archives, "
            "videos and cameras. The same command goes on after a kill; under torchrun each process does its share. "
            "What cannot be read is a row with its error."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="--save: the most pictures that go through the network at once; 16.", min=1)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="--save: processes that read beside the network; half of the cores by default.", min=0),
    ] = None,
    reduced: Annotated[
        bool | None,
        typer.Option(
            "--reduced",
            help="--save: decode JPEGs more than twice as large as needed at a half to an eighth; much faster, and not "
            "the same to the last bit.",
        ),
    ] = None,
    part: Annotated[
        int | None,
        typer.Option(help="--save: pictures written together: what a kill may cost each worker; 256.", min=1),
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="--save: of the frames of videos only each so-manieth.", min=1)
    ] = None,
    focal_px: Annotated[
        float | None, typer.Option(help="Depth: the focal length in pixels of the pictures, instead of EXIF's.")
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(help="Depth: instead of --focal-px, the angle that a picture's width shows, degrees."),
    ] = None,
    baseline: Annotated[float | None, typer.Option(help="Stereo: metres between the two cameras.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict on pictures: a line for each, and the picture with its result drawn.

    Depth is written besides as 16-bit PNG, npy, json and a PLY cloud of points, beside the drawn pictures.

    [dim]vidi predict runs/cells photos/ --out drawn[/dim]

    [dim]vidi predict photos/ --task detection[/dim]

    [dim]vidi predict resnet50 --weights torchvision/imagenet1k_v2 --download photos/cat.jpg[/dim]

    [dim]vidi predict runs/cells slides/ --tile 1024 --overlap 0.25[/dim]

    [dim]vidi predict runs/stereo left.png right.png --focal-px 721 --baseline 0.54[/dim]

    [dim]vidi predict runs/segments photos/ score_threshold=0.3 --threshold 0.3[/dim]

    [dim]vidi predict runs/cells photos/ shards/*.tar clip.mp4 --save jsonl --out found[/dim]

    [dim]vidi predict runs/words "the old cat sees one dog" beams=4 length_penalty=0.6[/dim]
    """
    from vidi import api
    from vidi.data.readers.stereo_folders import pair_paths
    from vidi.engine.overrides import split_overrides
    from vidi.recorded import task_of
    from vidi.tasks.table import TASKS

    photos = photos or []
    if names_pictures(name):
        name, weights, photos = installed_model(task, weights, [Path(name), *photos])
    elif task is not None:
        fail(USAGE, f"--task {task}: it is for pictures without a RUN or NAME; {name} is no picture")
    run, kind = Run(Path(name)), task_of(name)
    if tile is not None and not kind.tiles:
        kinds = ", ".join(other for other in TASKS if TASKS[other].tiles)
        fail(USAGE, f"--tile: {name} is a system for {kind.name}; what is put together from tiles is {kinds}")
    words = [str(path) for path in photos if re.fullmatch(r"\w+=\S*", str(path)) and not path.exists()]
    photos = [path for path in photos if str(path) not in words]
    if kind.asks == "sentences":  # a wrong folder is told before the pictures are
        sentences = list(map(str, photos))
        predict_sentences(api.load_or_create(name, weights=weights), sentences, words, as_json=as_json)
        return
    if not photos:
        fail(USAGE, "which pictures? Name files or folders besides the options")
    folder = out_folder or (run.folder if run.config_path.is_file() else Path()) / "predictions"
    options = {"focal_px": focal_px, "fov": fov, "baseline": baseline}
    known = {key: value for key, value in options.items() if value is not None}
    how = {"batch_size": batch_size, "workers": workers, "reduced": reduced, "part": part, "every": every}
    asked = {key: value for key, value in how.items() if value is not None}
    if save is not None:
        if kind.asks != "pictures":
            fail(USAGE, f"--save: {name} is a system for {kind.name}, which asks for {kind.asks}, not for pictures")
        model = bulk.loaded(name, weights, threshold, split_overrides(words), download=download)
        asked |= {"known": known, "tile": tile, "overlap": overlap, "draw": bool(draw)}
        bulk.predict(model, list(map(str, photos)), folder, save, as_json=as_json, **asked)
        return
    if asked:
        fail(
            USAGE,
            f"{', '.join(f'--{key}'.replace('_', '-') for key in asked)}: for --save alone, with one of its forms",
        )
    draw = draw is not False
    rights = pair_paths(photos) if kind.asks == "pairs" else {}
    paths = without_drawn([*rights], photos, folder) if rights else pictures_of(photos, folder)
    model = api.load_or_create(name, weights=weights, download=download)
    if words:
        model = api.with_options(model, split_overrides(words))
    if threshold is not None:
        model.shown_from = threshold
    records, broken = [], []
    targets = drawn_paths(folder, paths, photos)
    sources = [(path, rights[path]) if rights else path for path in paths]
    found = api.predict_files(model, sources, known=known, tile=tile, overlap=overlap)
    told = paced(zip(paths, targets, found, strict=True), len(paths), err if as_json or not out.is_terminal else out)
    for path, target, (_, image, result) in told:
        if isinstance(result, Exception):
            broken.append(path)
            print(f"vidi: {message_of(result)}", file=sys.stderr)
            continue
        shown = result.above() if hasattr(result, "above") else result
        written = result.write_files(target.with_suffix(""), image) if hasattr(result, "write_files") else []
        record = {"image": str(path), **({"drawn": str(target)} if draw else {})}
        records.append({**record, **({"files": list(map(str, written))} if written else {}), **shown.to_dict()})
        if not as_json:
            out.print(f"{path}{renamed(path, target) if draw else ''}: {result}", markup=False, highlight=False)
        if draw:
            files.write_image(target, result.draw(image))
    if as_json:
        print_json(records)
    elif records and (draw or "files" in records[0]):
        out.print(f"drawn in {folder}" if draw else f"written to {folder}", markup=False, highlight=False)
    if broken:
        fail(DATA, f"{len(broken)} of {len(paths)} pictures could not be read")


def predict_sentences(model: Any, arguments: Sequence[str], options: Sequence[str], *, as_json: bool) -> None:
    """Print what a model makes of sentences: arguments that are, or text files of one a line; options say how."""
    from vidi.engine.overrides import check_overrides, split_overrides

    if options:
        choice = get_type_hints(model.choosing)["choice"]
        model = model.choosing(choice(**check_overrides(split_overrides(options), get_type_hints(choice))))
    sentences = [line for argument in arguments for line in lines_of(argument)]
    results = model.predict(sentences)
    if as_json:
        print_json([{"input": line, **result.to_dict()} for line, result in zip(sentences, results, strict=True)])
        return
    for line, result in zip(sentences, results, strict=True):
        out.print(f"{line} -> {result}", markup=False, highlight=False)


app.command()(tune.tune)
app.command()(samples.sample)
app.command()(prompts.classify)
app.command()(prompts.search)
app.command()(gallery.embed)
app.command()(gallery.verify)
app.command()(exporting.export)
app.add_typer(gallery.gallery_app, name="gallery")
app.command()(serving.serve)

# ----------------------------------------------------------------------------------------------------------------------
# Looking around

app.command()(listing.models)
app.command()(listing.recipe)
app.command()(listing.cost)
app.command()(listing.runs)
app.command()(listing.doctor)
