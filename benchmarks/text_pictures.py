"""Whether pictures of a text show what the text says: colour and shape of one thing, told by classifiers.

    python -m benchmarks.text_pictures scenes runs/lone                     scenes with one thing, captions and folders
    python -m benchmarks.text_pictures judge runs/lone runs/words_judge               two classifiers of such scenes
    python -m benchmarks.text_pictures score RUN runs/words_judge              200 pictures of a run trained on captions

The judge is two `resnet20`, of the eleven colours and of the four shapes; what they are worth themselves, on the scenes
of the test split, is printed first. Each picture has the caption of one of these scenes, which nobody has seen.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vidi
from benchmarks.lone_things import lone_things
from vidi import files
from vidi.engine.overrides import split_overrides
from vidi.engine.plots import image_grid

SCENES = {"train": 130_000, "val": 3_000, "test": 1_500}
"""One in seven shows one thing alone."""
SIDE = 32
ASKED = ("colour", "shape")
EPOCHS = {"colour": 12, "shape": 10}
"""Of the judge: of four shapes it is sooner sure than of eleven colours."""
COUNT = 200
SHOWN = 88


def scenes(out: Path) -> None:
    """Write scenes with one thing: a file of captions for each split, and folders by colour and by shape."""
    for split in ("train", "val"):
        lines = []
        for row, scene in enumerate(lone_things(split, SCENES[split], (SIDE, SIDE))):
            name = f"{row:05d}.png"
            picture = out / "captions" / split / name
            files.write_image(picture, scene.image)
            lines.append(json.dumps({"image": f"{split}/{name}", "caption": scene.caption}))
            for asked, category in zip(ASKED, scene.thing, strict=True):
                files.link(picture, out / asked / split / category / name)
        files.write_text(out / "captions" / f"{split}.jsonl", "\n".join(lines) + "\n")


def judge(data: Path, out: Path, overrides: Mapping[str, Any]) -> None:
    """Train a classifier of colours and one of shapes."""
    for asked in ASKED:
        numbers = {"epochs": EPOCHS[asked], **overrides}
        vidi.train("resnet20", data=data / asked, out=out / asked, size=(SIDE, SIDE), **numbers)


def told(judges: Path, images: Sequence[Tensor]) -> list[tuple[str, str]]:
    """Return the colour and the shape of the thing in each image."""
    found = []
    for asked in ASKED:
        model: Any = vidi.load(judges / asked)
        found.append([result.name for result in model.predict(images)])
    return list(zip(*found, strict=True))


def report(found: Sequence[tuple[str, str]], truths: Sequence[tuple[str, str]], shown: str) -> None:
    """Print how often the colour, the shape and both are right."""
    is_right = np.array(found) == np.array(truths)
    shares = ", ".join(f"{asked} {is_right[:, place].mean():.3f}" for place, asked in enumerate(ASKED))
    print(f"{shown}: colour and shape {is_right.all(1).mean():.3f} of {len(truths)}, {shares}")


def score(run: Path, judges: Path, condition: Mapping[str, Any]) -> None:
    """Print how often a run's pictures show what captions of the test split say, and write them."""
    real = list(lone_things("test", SCENES["test"], (SIDE, SIDE)))[:COUNT]
    truths = [scene.thing for scene in real]
    report(told(judges, [scene.image for scene in real]), truths, "the scenes themselves")
    model: Any = vidi.load(run)
    pictures = torch.cat(
        [
            vidi.sample(model, 1, seed=number, condition={**condition, "prompt": scene.caption})
            for number, scene in enumerate(real)
        ]
    )
    report(told(judges, list(pictures)), truths, "pictures of their captions")
    image_grid(run / "pictures_of_captions.png", pictures[:SHOWN], columns=11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing, training, scoring = (commands.add_parser(name) for name in ("scenes", "judge", "score"))
    writing.add_argument("out", type=Path)
    training.add_argument("data", type=Path)
    training.add_argument("out", type=Path)
    scoring.add_argument("run", type=Path)
    scoring.add_argument("judge", type=Path)
    for command in (training, scoring):
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the trainings, or of the sampling")
    given = parser.parse_args()
    if given.command == "scenes":
        scenes(given.out)
    elif given.command == "judge":
        judge(given.data, given.out, split_overrides(given.overrides))
    else:
        score(given.run, given.judge, split_overrides(given.overrides))


if __name__ == "__main__":
    main()
