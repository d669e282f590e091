"""Search for a feature pyramid by the AP of the detector that has it: `python -m benchmarks.nas_fpn [FOLDER]`.

NAS-FPN (arXiv 1904.07392), section 3.3, on a small budget: the controller of `vidi.search.architecture_search`
writes the merging cells of a pyramid (`vidi.necks.nas_fpn`), a small RetinaNet with it is trained for a few steps
on scenes of the world, and its AP50 on others is the reward. Random search gets as many children. Writes aps.json (what
was trained is not trained again) and children.csv to the folder, and prints the table of docs/results/nas_fpn.md.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch

from vidi import files
from vidi.backbones.resnet import trunk
from vidi.data.loading import seeded_draws
from vidi.data.world.dataset import World
from vidi.detection.retinanet import Anchors, Head, RetinaCriterion, RetinaDecode, RetinaNet
from vidi.detection.targets import named_outputs
from vidi.engine.evaluate import evaluate
from vidi.engine.fit import Training
from vidi.engine.loss_window import NonFiniteLossError
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run
from vidi.losses.classification import prior_bias
from vidi.model import Supervised
from vidi.necks.nas_fpn import NASFPN, MergingSpace
from vidi.preprocess import Preprocess
from vidi.search.architecture_search import Child, Controller, policy_search, random_search
from vidi.search.search_space import Tokens
from vidi.search.short_training import Samples
from vidi.tasks.detection import DetectionScorer

SPACE = MergingSpace(levels=3, inner=1)
SIZE = (96, 96)
CHANNELS, WIDTH = 24, 16  # of the pyramid and the heads; of the backbone's first stage
ANCHOR_SIZES = (12, 24, 48)


@dataclass(frozen=True)
class Budget:
    """What a search may spend."""

    steps: int = 5  # of the controller; the first only sets the baseline
    children: int = 4  # of a step
    train: int = 160  # scenes
    val: int = 80
    recipe: Recipe = field(
        default_factory=lambda: Recipe(steps=60, batch_size=8, learning_rate=0.003, warmup=10, device="cpu", ema=None)
    )
    seed: int = 0


def detector_of(tokens: Tokens) -> Supervised:
    """Return a small RetinaNet whose pyramid is the one that tokens stand for."""
    names = World.categories
    backbone = trunk("resnet18", norm="batch", width=WIDTH)
    pyramid = NASFPN(backbone.channels[1:], CHANNELS, cells=SPACE.decode(tokens), levels=SPACE.levels, repeats=1)
    anchors = Anchors(ANCHOR_SIZES, pyramid.strides(backbone.strides[1:]), "paper")
    class_head = Head(CHANNELS, anchors.per_cell, len(names), depth=1, group_norm=True, bias=prior_bias(0.01))
    box_head = Head(CHANNELS, anchors.per_cell, 4, depth=1, group_norm=True)
    network = RetinaNet(backbone, pyramid, anchors, class_head, box_head)
    criterion = RetinaCriterion(named_outputs(names), box_loss="giou")
    return Supervised(network, criterion, RetinaDecode(names), Preprocess(exact=SIZE))


class Aps:
    """The AP50 of the detectors of a search, in one JSON file that is written after each training."""

    def __init__(self, budget: Budget, path: Path):
        self.budget, self.path = budget, path
        targets = ("boxes", "labels")
        self.train = Samples(World("train", count=budget.train, size=SIZE, targets=targets))
        self.val = Samples(World("val", count=budget.val, size=SIZE, targets=targets))
        self.described = json.loads(json.dumps(asdict(budget) | {"steps": 0, "children": 0, "seed": 0}))
        self.by_tokens: dict[str, float] = {}
        if path.is_file():
            found = files.read_json(path)
            if not isinstance(found, dict) or found.get("budget") != self.described:
                raise ValueError(f"{path} holds the scores of another budget; expected a new file")
            self.by_tokens = found["aps"]

    def of(self, tokens: Tokens) -> float:
        """Return the AP50 of the detector with this pyramid; 0 if its training diverges."""
        name = "".join(map(str, tokens))
        if name not in self.by_tokens:
            self.by_tokens[name] = self._train(tokens)
            files.write_json(self.path, {"budget": self.described, "aps": self.by_tokens})
        return self.by_tokens[name]

    def _train(self, tokens: Tokens) -> float:
        with seeded_draws(self.budget.recipe.seed):
            model = detector_of(tokens)
        try:
            with TemporaryDirectory(prefix="vidi-") as folder:
                Training(model, self.budget.recipe, self.train, Run(Path(folder))).fit()
        except NonFiniteLossError:
            return 0.0
        return float(evaluate(model, self.val, DetectionScorer(World.categories), batch_size=16)["ap50"] or 0)


def search(budget: Budget, folder: Path) -> dict[str, list[Child]]:
    """Run the controller and random search, and write their children."""
    aps = Aps(budget, folder / "aps.json")
    generator = torch.Generator().manual_seed(budget.seed)
    with seeded_draws(budget.seed):
        controller = Controller(SPACE.options)
    found = {
        "controller": policy_search(
            controller, aps.of, steps=budget.steps, children=budget.children, generator=generator
        ),
        "random": random_search(SPACE, aps.of, children=budget.steps * budget.children, generator=generator),
    }
    rows = [
        {"method": method, "child": k, "tokens": "".join(map(str, child.tokens)), "ap50": child.reward}
        for method, children in found.items()
        for k, child in enumerate(children)
    ]
    files.write_csv(folder / "children.csv", rows)
    return found


def table(found: dict[str, list[Child]]) -> Iterator[str]:
    """Yield the rows of the page of results."""
    yield "| search | children | pyramids | mean AP50, first half | second half | best AP50 | its cells |"
    yield "|" + "---|" * 7
    for method, children in found.items():
        rewards = [child.reward for child in children]
        best = max(children, key=lambda child: child.reward)
        half = len(rewards) // 2
        cells = "; ".join(f"P{c.level + 3} {c.merge} of {c.inputs}" for c in SPACE.decode(best.tokens))
        numbers = (mean(rewards[:half]), mean(rewards[half:]), best.reward)
        distinct = len({child.tokens for child in children})
        yield (
            f"| {method} | {len(children)} | {distinct} | " + " | ".join(f"{n:.3f}" for n in numbers) + f" | {cells} |"
        )


def main(folder: Path, budget: Budget | None = None) -> None:
    """Run the study."""
    torch.set_num_threads(1)
    print("\n".join(table(search(budget or Budget(), folder))))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/nas_fpn"))
