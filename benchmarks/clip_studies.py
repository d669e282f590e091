"""What a CLIP of one's own knows of styles, names and combinations that it was not taught.

    python -m benchmarks.clip_studies emoji ROOT --out FOLDER     emoji of two drawing styles, then a third one
    python -m benchmarks.clip_studies batches ROOT --out FOLDER   the same emoji in batches of 16, 64 and 256 pairs
    python -m benchmarks.clip_studies world RUN                   a run of `vidi train clip_tiny`: colour and shape

Emoji: a tenth of the names is kept for choosing the weights and a fifth for the test, in no style seen by the training.
The drawings of the third style are searched for by their names, and their names by them, among all 953: those of names
that were taught in other styles, and those of names that were not. Groups are told by the names of the groups.
Batches: as many pairs seen and a rate that grows with the root of the batch, so that what differs is how many captions
that are not its own a picture is told apart from.
World: scenes with one thing that is no person; which of all colours and shapes it has. A colour and a shape is as
probable as all sentences together that say it, of every size, pattern and ground, among all sentences.
"""

import argparse
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import vidi
from benchmarks.lone_things import THINGS, lone_things, sentences_of
from vidi.metrics.retrieval import retrieval_scores
from vidi.recipes.image_text import CLIP_TINY

STYLES, OTHER_STYLE = ("twemoji", "noto"), "openmoji_dev"
KS = (1, 5)
SCENES = 1500
BATCHES = (16, 64, 256)


class Name(NamedTuple):
    """An emoji's name and its place in the study."""

    number: int
    label: str
    tags: tuple[str, ...]
    group: str

    @property
    def part(self) -> str:
        """Whether it is taught, chooses the weights, or is kept for the test."""
        return {0: "test", 1: "test", 2: "val"}.get(self.number // 2 % 10, "train")


def names_of(root: Path) -> list[Name]:
    """Read the names of all emoji."""
    rows = map(json.loads, (root / "captions.jsonl").read_text(encoding="utf-8").splitlines())
    return [Name(row["id"], row["label"], tuple(row["tags"]), row["group"]) for row in rows]


def write_pairs(root: Path, folder: Path) -> None:
    """Write what is taught, and what chooses the weights, as a data set of pictures and captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for style in STYLES:
        shutil.copy(root / f"{style}.npz", folder)
    for part in ("train", "val"):
        chosen = [name for name in names_of(root) if name.part == part]
        lines = [json.dumps({"id": own.number, "captions": [own.label, ", ".join(own.tags)]}) for own in chosen]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def recalls(pictures: Tensor, texts: Tensor, chosen: Tensor) -> Iterator[tuple[str, float]]:
    """Yield how often the chosen are found among all, both ways."""
    places = torch.arange(len(pictures))
    for way, asking, asked in (("picture to name", pictures, texts), ("name to picture", texts, pictures)):
        found = retrieval_scores(asking[chosen], places[chosen], gallery=(asked, places), ks=KS, metric="cosine")
        yield from ((f"{way}, recall@{k}", value) for k, value in found.recall.items())


def batches(root: Path, out: Path, overrides: Mapping[str, Any]) -> None:
    """Train in batches of three sizes and print what each finds in the third style."""
    for size in BATCHES:
        rate = CLIP_TINY.learning_rate * math.sqrt(size / CLIP_TINY.batch_size)
        print(f"batches of {size} pairs")
        emoji(root, out / f"of_{size}", {**overrides, "batch_size": size, "learning_rate": rate})


def emoji(root: Path, out: Path, overrides: Mapping[str, Any]) -> None:
    """Train on two styles and print what is found in the third."""
    if not (out / "run").is_dir():
        write_pairs(root, out / "pairs")
        vidi.train("clip_tiny", data=out / "pairs", out=out / "run", **overrides)
    model: Any = vidi.load(out / "run")
    names = {name.number: name for name in names_of(root)}
    archive = np.load(root / f"{OTHER_STYLE}.npz")
    shown = [names[number] for number in archive["ids"].tolist()]
    pictures = model.embed([torch.from_numpy(image).permute(2, 0, 1) for image in archive["images"]], batch_size=64)
    texts = model.embed_text([name.label for name in shown])
    groups = sorted({name.group for name in shown})
    told = (pictures @ model.embed_classes(groups, ("{}",)).T).argmax(1)
    is_right = torch.tensor([groups[row] == name.group for row, name in zip(told.tolist(), shown, strict=True)])
    for what, parts in (("taught names", ("train",)), ("other names", ("val", "test")), ("kept names", ("test",))):
        chosen = torch.tensor([name.part in parts for name in shown])
        print(f"{what}: {int(chosen.sum())} pictures of the third style, among {len(shown)}")
        for score, value in recalls(pictures, texts, chosen):
            chance = int(score.rsplit("@", 1)[1]) / len(shown)
            print(f"  {score}: {value:.3f}, {value / chance:.0f} times chance")
        told_right = float(is_right[chosen].float().mean())
        print(f"  group among {len(groups)}: {told_right:.3f}, the largest {_largest(shown, chosen):.3f}")


def _largest(shown: Sequence[Name], chosen: Tensor) -> float:
    """Return the share of the most frequent group."""
    groups = [name.group for name, kept in zip(shown, chosen.tolist(), strict=True) if kept]
    return max(map(groups.count, groups)) / len(groups)


def world(run: Path) -> None:
    """Print how often the colour and the shape of a thing are told, of scenes that show one thing alone."""
    model: Any = vidi.load(run)
    sentences = model.embed_text([sentence for thing in THINGS for sentence in sentences_of(*thing)])
    pictures, truths, _ = zip(*lone_things("test", SCENES, (64, 64)), strict=True)
    logits = model.network.log_scale.detach().exp() * model.embed(pictures, batch_size=64) @ sentences.T
    probabilities = logits.softmax(1).unflatten(1, (len(THINGS), -1)).sum(2)
    told = [THINGS[row] for row in probabilities.argmax(1).tolist()]
    pairs = list(zip(told, truths, strict=True))
    for what, right in (
        ("colour and shape", [one == other for one, other in pairs]),
        ("colour", [one[0] == other[0] for one, other in pairs]),
        ("shape", [one[1] == other[1] for one, other in pairs]),
    ):
        print(f"{what}: {np.mean(right):.3f} of {len(right)} scenes with one thing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("emoji", "batches", "world"))
    parser.add_argument("path", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the training")
    parser.add_argument("--out", type=Path, default=Path("runs/clip_emoji"))
    given = parser.parse_args()
    if given.study == "world":
        world(given.path)
    else:
        study = emoji if given.study == "emoji" else batches
        study(given.path, given.out, dict(pair.split("=", 1) for pair in given.overrides))


if __name__ == "__main__":
    main()
