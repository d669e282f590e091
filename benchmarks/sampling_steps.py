"""What steps, samplers and guidance are worth: pictures of classes judged by the classifier of digits that is shipped.

    python -m benchmarks.sampling_steps RUN mnist.npz                  200 pictures for each sampler and number of steps
    python -m benchmarks.sampling_steps RUN mnist.npz --count 999 --steps 50 --guidance 1 2

Picture i is of class i modulo the number of classes. "asked" is the share in which the classifier sees the class that
was asked for; FID, precision and recall are beside as many held-out pictures.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import vidi
from vidi.engine.datasets import Source
from vidi.engine.runs import Run
from vidi.metrics.generation_score import picture_set, score_sets
from vidi.recorded import recorded_recipes, recorded_task
from vidi.tasks.generation import placed
from vidi.weights.extractors import extractor

SAMPLERS = ("ddim", "ddpm", "heun")
STEPS = (5, 10, 25, 50, 100)
COUNT = 200
TOLD = ("fid", "precision", "recall")


def held_out(run: str, data: str, model: Any, count: int) -> Float[Tensor, "N 3 H W"]:
    """Return pictures of the validation split in [0, 1], in the size in which the model sees them."""
    config = Run(Path(run)).config()
    recipe = list(recorded_recipes(config).values())[-1]
    dataset = Source.of(data, recorded_task(config), "raise").open("val", recipe)
    return torch.cat(list(placed(dataset, model.preprocess, count)))


def lines(
    run: str, data: str, *, count: int, samplers: Sequence[str], steps: Sequence[int], guidance: Sequence[float]
) -> Iterator[str]:
    """Yield the rows of a table."""
    model, judge = vidi.load(run), extractor()
    truth = picture_set([held_out(run, data, model, count)], judge, "real")
    yield f"| sampler | steps | guidance | asked | {' | '.join(TOLD)} |"
    for scale in guidance:
        for sampler in samplers:
            for number in steps:
                condition = {"sampler": sampler, "steps": number, "guidance": scale}
                made = picture_set([vidi.sample(model, count, condition=condition)], judge, "generated")
                probabilities = made.extracted.probabilities
                assert probabilities is not None
                asked = probabilities.argmax(1) == torch.arange(count) % probabilities.shape[1]
                values = score_sets(truth, made, judge, real_set=data, splits=1).values
                told = " | ".join(f"{values[name]:.3g}" for name in TOLD)
                yield f"| {sampler} | {number} | {scale:g} | {asked.double().mean():.3f} | {told} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--guidance", type=float, nargs="+", default=[2.0])
    given = parser.parse_args()
    options = {"samplers": given.samplers, "steps": given.steps, "guidance": given.guidance}
    for line in lines(given.run, given.data, count=given.count, **options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
