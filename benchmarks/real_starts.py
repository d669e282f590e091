"""Does a rendered world help real photos? The same trainings from three starts: `python -m benchmarks.real_starts`.

    python -m benchmarks.real_starts --bccd bccd/ --pennfudan pennfudan/ --camvid camvid/ --out runs/starts

random     nothing is known before
world      the same network was trained on the rendered world (`--weights RUN`), for as long as stands below
imagenet   the backbone begins with ImageNet's weights from a package (`--backbone-weights`), where there are some

Each row is one `vidi train` as a user would type it, which the script prints; begun again, it goes on where it was.
Rates and decay are said, so that all starts have the same. The figure is that of the best validation epoch, of the same
photos for every start.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LITE0 = "efficientnet_lite0/pypi/imagenet1k"


@dataclass(frozen=True)
class Study:
    """One network on one data set of photos.

    Attributes:
        data: the option that says where the photos are.
        system: with the numbers of both trainings.
        photos: numbers of the training on photos.
        world: numbers of the training on the world; equal ones make one run; None: it was not tried.
        score: that is shown.
        backbone: published weights of its backbone; None: no package has any.
    """

    data: str
    system: str
    photos: str
    world: str | None
    score: str
    backbone: str | None = LITE0


RATES = "learning_rate=1e-3 backbone_rate=1 weight_decay=1e-2"
DETECTOR = f"efficientdet_lite0 size=160,208 anchor_scale=2 norm_momentum=0.1 drop=0 batch_size=8 ema=0.99 {RATES}"
SEGMENTER = f"deeplabv3plus_efficientnet_lite0 size=180,240 channels=128 {RATES}"
SMALL_DETR = "detr_tiny queries=40 size=96,128 ema=0.99"  # the recipe is that of `detr_tiny`
LARGER_DETR = (
    "detr_efficientnet_lite0 size=96,128 queries=40 width=64 hidden=128 heads=4 encoder_layers=1 decoder_layers=2 "
    "norm_first=true norm_momentum=0.1 batch_size=8 ema=0.99 clip=1.0 learning_rate=1e-3 backbone_rate=0.3 "
    "weight_decay=1e-4"
)
SCENES = "world_scenes=1000 world_size=160,208"
STUDIES = {
    "cells": Study("bccd", DETECTOR, "augment=dihedral_boxes epochs=8 warmup=50", f"{SCENES} epochs=2", "ap50"),
    "pedestrians": Study("pennfudan", DETECTOR, "epochs=12 warmup=50", f"{SCENES} epochs=2", "ap50"),
    "streets": Study("camvid", SEGMENTER, "epochs=6", "world_scenes=1000 world_size=180,240 epochs=2", "miou_present"),
    "cells by DETR": Study(
        "bccd",
        SMALL_DETR,
        "augment=dihedral_boxes epochs=150 validate_every=10",
        "world_scenes=2000 world_size=96,128 epochs=16",
        "ap50",
        backbone=None,
    ),
    "cells by a larger DETR": Study(
        "bccd",
        LARGER_DETR,
        "augment=dihedral_boxes epochs=60 validate_every=5",
        None,
        "ap50",
    ),
}


def trained(out: Path, line: str) -> Path:
    """Train as `vidi train` does, if that run has no scores yet; return its folder."""
    if not (out / "scores.json").exists():
        words = [*shlex.split(line), "--out", str(out)]
        resumed = ["--resume", str(out)] if (out / "state.pt").exists() else words
        print("vidi train " + " ".join(resumed), flush=True)
        subprocess.run([sys.executable, "-m", "vidi", "train", *resumed], check=True)
    return out


def world_run(study: Study, out: Path) -> Path:
    """Return a run of the study's network on the world."""
    name = study.system.split()[0]
    return trained(out / f"world_{name}", f"{study.system} {study.world}")


def rows(named: str, study: Study, data: str, out: Path) -> Iterator[tuple[str, float]]:
    """Yield each start and the score that it leads to."""
    folder = out / named.replace(" ", "_")
    line = f"{study.system} {study.photos} --data {shlex.quote(data)}"
    starts = {"random": ""}
    if study.world is not None:
        starts["world"] = f" --weights {shlex.quote(str(world_run(study, out)))}"
    if study.backbone is not None:
        starts["imagenet"] = f" --backbone-weights {study.backbone}"
    for start, option in starts.items():
        run = trained(folder / start, line + option)
        yield start, json.loads((run / "scores.json").read_text())[study.score]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in sorted({study.data for study in STUDIES.values()}):
        parser.add_argument(f"--{option}", help="the data set; without it its rows are left out")
    parser.add_argument("--studies", nargs="+", choices=tuple(STUDIES), default=tuple(STUDIES))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    print("| photos | network | score | start | |\n|---|---|---|---|---|", flush=True)
    for named in given.studies:
        study = STUDIES[named]
        data = getattr(given, study.data)
        for start, value in rows(named, study, data, given.out) if data else ():
            print(f"| {named} | `{study.system.split()[0]}` | {study.score} | {start} | {value:.3f} |", flush=True)


if __name__ == "__main__":
    main()
