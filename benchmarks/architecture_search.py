"""A controller against random search, equally many children: `python -m benchmarks.architecture_search [FOLDER]`.

Writes scores.json (what was trained is not trained again), children.csv and reward.png to the folder, and prints the
table of docs/results/architecture_search.md.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import mean

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vidi import files
from vidi.data.shapes import SHAPES, ShapeImages
from vidi.engine.recipe import Recipe
from vidi.nn.cost import count_cost
from vidi.search.architecture_search import (
    Child,
    Controller,
    best_so_far,
    cost_aware_reward,
    policy_search,
    random_search,
)
from vidi.search.search_space import SearchSpace, StageOptions, Tokens, searched_net
from vidi.search.short_training import Build, Samples, Scores, ShortTraining

SIZE = (32, 32)
SPACE = SearchSpace((
    StageOptions(repeats=(1, 2), channels=(8, 16), stride=2, expansions=(1, 3)),
    StageOptions(repeats=(1, 2), channels=(16, 32), stride=1, expansions=(2, 4)),
    StageOptions(repeats=(1, 2), channels=(32, 64), stride=2, expansions=(2, 4)),
))  # fmt: skip
TARGET = 1_000_000  # multiply-adds
STEPS, CHILDREN = 10, 6  # updates of the controller (the first one only sets the baseline), children of each
SEEDS = (0, 1, 2)
FRESH_SEEDS = (1, 2, 3)  # of the trainings that judge the winners; the search itself trains with seed 0
WINDOW = 12  # children that a mean of rewards is over
COLOURS = {"controller": "#1f5fa8", "random": "#c2571a"}


def shapes(split: str, count: int) -> Samples:
    """Return pictures of single shapes, to be told apart."""
    return Samples(ShapeImages(split, count=count, size=SIZE))


def short_training() -> ShortTraining:
    """Return what every child gets: 60 steps on 600 pictures, scored on 500 others."""
    recipe = Recipe(steps=60, batch_size=32, learning_rate=0.01, warmup=10, device="cpu")
    return ShortTraining(shapes("train", 600), shapes("val", 500), recipe)


def network_of(tokens: Tokens) -> Build:
    """Return what builds the network that tokens stand for."""
    return partial(searched_net, categories=SHAPES, size=SIZE, stages=SPACE.decode(tokens))


@cache
def macs_of(tokens: Tokens) -> int:
    """Return the multiply-adds of a network."""
    return count_cost(network_of(tokens)().network, SIZE).macs


@dataclass(frozen=True)
class Search:
    """One search: how, from which seed, and what it tried."""

    method: str
    seed: int
    children: list[Child]

    @property
    def best(self) -> Child:
        return max(self.children, key=lambda child: child.reward)


def searches(scores: Scores) -> Iterator[Search]:
    """Run both methods from every seed."""

    def reward(tokens: Tokens) -> float:
        return cost_aware_reward(scores.of(str(tokens), network_of(tokens)), macs_of(tokens), TARGET)

    for seed in SEEDS:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        controller = Controller(SPACE.options)
        yield Search(
            "controller",
            seed,
            policy_search(controller, reward, steps=STEPS, children=CHILDREN, generator=generator),
        )
        yield Search("random", seed, random_search(SPACE, reward, children=STEPS * CHILDREN, generator=generator))


def held_out_accuracies(search: Search, training: ShortTraining, test: Samples) -> list[float]:
    """Train a search's best network from fresh seeds and score it on pictures that chose nothing."""
    trainings = [replace(training, recipe=replace(training.recipe, seed=seed)) for seed in FRESH_SEEDS]
    return [fresh.accuracy(fresh.train(network_of(search.best.tokens)), test) for fresh in trainings]


def table(found: list[Search], scores: Scores, tested: Mapping[tuple[str, int], list[float]]) -> Iterator[str]:
    """Yield the rows of the page of results."""
    columns = ("search", "seed", "networks", f"mean reward, first {WINDOW}", f"last {WINDOW}", "best reward")
    columns += ("its validation top-1", "MMACs", "test top-1")
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for method in COLOURS:
        rows = []
        for search in (s for s in found if s.method == method):
            rewards = [child.reward for child in search.children]
            best, accuracies = search.best, tested[method, search.seed]
            numbers = [mean(rewards[:WINDOW]), mean(rewards[-WINDOW:]), best.reward]
            numbers += [scores.by_name[str(best.tokens)], macs_of(best.tokens) / 1e6, mean(accuracies)]
            rows.append(numbers)
            distinct = len({child.tokens for child in search.children})
            yield f"| {method} | {search.seed} | {distinct} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |"
        means = [mean(column) for column in zip(*rows, strict=True)]
        yield f"| **{method}** | mean | | " + " | ".join(f"**{n:.3f}**" for n in means) + " |"


def draw(path: Path, found: list[Search]) -> None:
    """Draw running mean and best of the rewards over the children: thin for each seed, bold for their mean."""
    figure = Figure(figsize=(11, 4), dpi=110, layout="constrained")
    moving, best = figure.subplots(1, 2)
    for method, colour in COLOURS.items():
        runs = [search.children for search in found if search.method == method]
        means = [
            [mean(c.reward for c in children[k - WINDOW : k]) for k in range(WINDOW, len(children) + 1)]
            for children in runs
        ]
        for axes, curves, first in ((moving, means, WINDOW), (best, [best_so_far(children) for children in runs], 1)):
            steps = range(first, first + len(curves[0]))
            for curve in curves:
                axes.plot(steps, curve, color=colour, alpha=0.35, linewidth=0.9)
            average = [mean(values) for values in zip(*curves, strict=True)]
            axes.plot(steps, average, color=colour, linewidth=2.4, label=method)
    for axes, title in ((moving, f"mean reward of the last {WINDOW} children"), (best, "best reward so far")):
        axes.set(title=title, xlabel="children", ylabel="reward")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right")
    FigureCanvasAgg(figure).print_png(str(path))


def main(folder: Path) -> None:
    """Run the study."""
    torch.set_num_threads(1)
    training = short_training()
    scores = Scores(training, folder / "scores.json")
    found = []
    for search in searches(scores):
        found.append(search)
        print(
            f"{search.method} {search.seed}: best {search.best.reward:.3f}, {len(scores.by_name)} trained", flush=True
        )
    test = shapes("test", 2000)
    tested = {(s.method, s.seed): held_out_accuracies(s, training, test) for s in found}
    print("\n".join(table(found, scores, tested)))
    rows = [
        {"method": s.method, "seed": s.seed, "child": k, "tokens": "".join(map(str, c.tokens)), "reward": c.reward}
        for s in found
        for k, c in enumerate(s.children)
    ]
    files.write_csv(folder / "children.csv", rows)
    draw(folder / "reward.png", found)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/architecture_search"))
