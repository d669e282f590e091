"""Whether pictures of a text show what the text says: colour and shape of one thing, told by classifiers.

    python -m benchmarks.text_pictures judge --out runs/words_judge       two classifiers of scenes with one thing
    python -m benchmarks.text_pictures score RUN --judge runs/words_judge    200 pictures of a run of captions

The judge is two `resnet20`, of the eleven colours and of the four shapes, trained on scenes of the world that show one
thing; what they are worth themselves, on scenes of the test split, is printed beside.
Each picture has a caption of its own, of one thing: colours and shapes in turn; what else is said is drawn.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vidi
from benchmarks.lone_things import THINGS, lone_things, sentences_of
from vidi import files
from vidi.engine.overrides import split_overrides
from vidi.engine.plots import image_grid

SCENES = {"train": 60_000, "val": 3_000, "test": 1_500}
SIDE = 32
ASKED = ("colour", "shape")
COUNT = 200


def judge(out: Path, overrides: Mapping[str, Any]) -> None:
    """Train a classifier of colours and one of shapes, and print how often they are right."""
    for split in ("train", "val"):
        for row, (image, truth) in enumerate(lone_things(split, SCENES[split], (SIDE, SIDE))):
            for asked, name in zip(ASKED, truth, strict=True):
                files.write_image(out / "scenes" / asked / split / name / f"{row:05d}.png", image)
    for asked in ASKED:
        size = (SIDE, SIDE)
        vidi.train("resnet20", data=out / "scenes" / asked, out=out / asked, size=size, **{"epochs": 6, **overrides})
    images, truths = zip(*lone_things("test", SCENES["test"], (SIDE, SIDE)), strict=True)
    report(told(out, list(images)), truths)


def told(judges: Path, images: Sequence[Tensor]) -> list[tuple[str, str]]:
    """Return the colour and the shape of the thing in each image."""
    found = []
    for asked in ASKED:
        model: Any = vidi.load(judges / asked)
        found.append([result.name for result in model.predict(images)])
    return list(zip(*found, strict=True))


def report(found: Sequence[tuple[str, str]], truths: Sequence[tuple[str, str]]) -> None:
    """Print how often the colour, the shape and both are right."""
    is_right = np.array(found) == np.array(truths)
    print(f"colour and shape: {is_right.all(1).mean():.3f} of {len(truths)} pictures with one thing")
    for place, asked in enumerate(ASKED):
        print(f"{asked}: {is_right[:, place].mean():.3f}")


def score(run: Path, judges: Path, condition: Mapping[str, Any]) -> None:
    """Print how often a run's pictures show what their captions say, and write them."""
    model: Any = vidi.load(run)
    rng = np.random.default_rng(0)
    truths = [THINGS[number % len(THINGS)] for number in range(COUNT)]
    pictures = torch.cat(
        [
            vidi.sample(model, 1, seed=number, condition={**condition, "prompt": str(rng.choice(sentences_of(*thing)))})
            for number, thing in enumerate(truths)
        ]
    )
    report(told(judges, list(pictures)), truths)
    image_grid(run / "pictures_of_captions.png", pictures[: 2 * len(THINGS)], columns=11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("judge")
    training.add_argument("--out", type=Path, required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("run", type=Path)
    scoring.add_argument("--judge", type=Path, required=True)
    for command in (training, scoring):
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the trainings, or of the sampling")
    given = parser.parse_args()
    overrides = split_overrides(given.overrides)
    if given.command == "judge":
        judge(given.out, overrides)
    else:
        score(given.run, given.judge, overrides)


if __name__ == "__main__":
    main()
