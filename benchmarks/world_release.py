"""A folder that could be uploaded: a network that was trained on the rendered world, with its card.

    python -m benchmarks.world_release runs/starts/world_efficientdet_lite0 release/ --table starts.md

config.json, weights.safetensors   for `vidi.load(FOLDER)` and `vidi train NAME --weights FOLDER`
README.md                          the card, as the Hugging Face Hub reads it, with the table of `real_starts`
LICENSE                            Apache-2.0: vidi renders the scenes itself, and nobody else has a right in them
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidi import files
from vidi.engine.overrides import spelled

CARD = """---
license: apache-2.0
library_name: vidi
pipeline_tag: {pipeline}
tags: [{model}, synthetic-data]
---

# {model}, trained on vidi's rendered world

A start for trainings on a few real photos: random weights that have seen {samples} rendered scenes, and no photo.

```sh
vidi train {model} {choices} --weights {folder}/ --data photos/
```

The rates are those of a training from random weights: those of fine-tuning are too small for a start without photos.

## What it is worth

The same short trainings from three starts, all else equal; `imagenet` is the backbone alone, with published weights.
The steps on the world come in addition: as many more on the photos are worth as much or more, where there is time.

{table}

On held-out scenes of the world: {scores}.

## How it was made

```sh
vidi train {model} {given} --out {folder}
```

Classes: {categories}. The scenes are rendered by vidi; nothing was downloaded.
"""
PIPELINES = {"detection": "object-detection", "semantic_segmentation": "image-segmentation"}
ON_PHOTOS = ("size", "anchor_scale", "channels", "drop")
"""Arguments that a network must share with this one to begin with its weights."""


def typed(given: Mapping[str, Any]) -> str:
    """Return what a configuration holds as it was typed."""
    return " ".join(f"{key}={spelled(tuple(v) if isinstance(v, list) else v)}" for key, v in given.items())


def card(run: Path, folder: Path, table: str) -> str:
    """Return the card of a run on the world."""
    config, scores = (json.loads((run / name).read_text()) for name in ("config.json", "scores.json"))
    given = config["given"]
    shown = {key: value for key, value in scores.items() if isinstance(value, float) and key.startswith(("ap", "miou"))}
    return CARD.format(
        pipeline=PIPELINES[config["task"]],
        model=config["model"],
        samples=config["data"]["samples"],
        choices=typed({key: value for key, value in given.items() if key in ON_PHOTOS}),
        folder=folder.name,
        table=table.strip(),
        scores=", ".join(f"{key} {value:.3f}" for key, value in shown.items()),
        given=typed(given),
        categories=", ".join(config["arguments"]["categories"]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--table", type=Path, required=True, help="what `benchmarks.real_starts` printed")
    given = parser.parse_args()
    for name in ("config.json", "weights.safetensors"):
        files.copy(given.run / name, given.out / name)
    files.copy(Path(__file__).parents[1] / "LICENSE", given.out / "LICENSE")
    files.write_text(given.out / "README.md", card(given.run, given.out, given.table.read_text()))
    print(f"{given.out}: {', '.join(sorted(path.name for path in given.out.iterdir()))}")


if __name__ == "__main__":
    main()
