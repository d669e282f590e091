"""Generation: pictures that look as if they were of the data set, from noise."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi import files
from vidi.engine.datasets import DIGITS, WORLD
from vidi.engine.recipe import Recipe
from vidi.engine.task import Task
from vidi.metrics.generation_score import Extractor, GenerationScore, PictureSet, picture_set, score_sets
from vidi.model import Samples
from vidi.preprocess import Preprocess, unit_range
from vidi.recipes.generation import GAN

AT_ONCE = 64
"""Pictures that go through a network at once."""

SPLIT_FROM = 1000
"""Pictures from which on the Inception score is that of ten parts; of fewer, each part would lack classes."""

COLLAPSED = 0.5
"""Share of the distinct neighbours of real pictures below which modes count as lost."""

WON = 0.95
"""Share of pictures that a discriminator is sure of, real and generated, from which on it teaches nothing."""


class GenerationScorer:
    """FID, precision, recall, distinct neighbours and Inception score beside as many pictures of a split.

    `real_fid` and `real_distinct_neighbours` are what other real pictures, of the training split, get: the best that a
    generator can hope for. `sure_of_real` and `sure_of_generated` are a discriminator's, where it gives probabilities.

    Args:
        extractor: of the features.
        pictures: of the split that is scored against, and of the training one, by split.
        split: the name of the former.
        data: the name of the data set, for the record.
        count: of generated pictures, at most that of the split's.
        seed: of the generated pictures, the same at every validation.
    """

    headline = "fid"

    def __init__(
        self, extractor: Extractor, pictures: Mapping[str, Any], split: str, data: str, *, count: int, seed: int
    ):
        self.extractor, self.real, self.others = extractor, pictures[split], pictures["train"]
        self.real_set, self.seed = f"{data} {split}", seed
        self.count = min(count, len(self.real))
        self.known: tuple[Preprocess, PictureSet, dict[str, float]] | None = None
        self.last: tuple[GenerationScore, dict[str, float]] | None = None

    def score(self, model: Samples) -> dict[str, float]:
        """Return the scores of the pictures that the model makes."""
        truth, of_real = self._truth(model.preprocess)
        generator = torch.Generator(model.device).manual_seed(self.seed)
        made = model.sample(self.count, generator=generator).cpu()
        found = self._scored(truth, picture_set(made.split(AT_ONCE), self.extractor, "generated"))
        shown = torch.cat(list(placed(self.real, model.preprocess, min(self.count, AT_ONCE))))
        values = {**found.values, **of_real, **model.opinion(shown, made[:AT_ONCE])}
        self.last = (found, values)
        return values

    def _truth(self, preprocess: Preprocess) -> tuple[PictureSet, dict[str, float]]:
        """Return what the extractor makes of the real pictures, and what other real ones score beside them."""
        if self.known is None or self.known[0] != preprocess:
            truth = picture_set(placed(self.real, preprocess, self.count), self.extractor, "real")
            count = min(self.count, len(self.others))
            others = picture_set(placed(self.others, preprocess, count), self.extractor, "real")
            score = self._scored(truth, others).values
            of_real = {f"real_{name}": score[name] for name in ("fid", "distinct_neighbours")}
            self.known = (preprocess, truth, of_real)
        return self.known[1:]

    def _scored(self, truth: PictureSet, made: PictureSet) -> GenerationScore:
        splits = 10 if self.count >= SPLIT_FROM else 1
        return score_sets(truth, made, self.extractor, real_set=self.real_set, splits=splits)

    def remarks(self) -> list[str]:
        """Say when modes collapse, and when the discriminator has won."""
        return [] if self.last is None else remarks_on(self.last[1])

    def write_record(self, folder: Path) -> None:
        """Write `generation_score.json`: scores, errors and protocol."""
        if self.last is not None:
            files.write_json(folder / "generation_score.json", self.last[0].record())


def placed(dataset: Any, preprocess: Preprocess, count: int) -> Iterator[Float[Tensor, "B 3 H W"]]:
    """Yield batches of pictures in [0, 1], spread over a data set, in the size in which a model sees them."""
    rows = [row * len(dataset) // count for row in range(count)]
    for start in range(0, count, AT_ONCE):
        chosen: Sequence[int] = rows[start : start + AT_ONCE]
        yield torch.stack([unit_range(preprocess.place(dataset[row][0], {})[0]) for row in chosen])


def remarks_on(scores: Mapping[str, float]) -> list[str]:
    """Say in a sentence each what scores of generated pictures tell of a training that has gone wrong."""
    found = []
    made, real = scores["distinct_neighbours"], scores["real_distinct_neighbours"]
    if made < COLLAPSED * real:
        found.append(
            f"modes collapse: the distinct real pictures that generated ones are next to are {made:.1%} of what there "
            f"could be, those that as many real ones are next to {real:.1%}"
        )
    sure = [scores.get(name, 0.0) for name in ("sure_of_real", "sure_of_generated")]
    if min(sure) > WON:
        found.append(
            f"the discriminator has won: it is sure of {sure[0]:.0%} of real and {sure[1]:.0%} of generated pictures, "
            "so that the generator learns little from it"
        )
    return found


def _judged(
    extractor: Extractor, recipe: Recipe, data: str, split: str, pictures: Mapping[str, Any]
) -> GenerationScorer:
    return GenerationScorer(extractor, pictures, split, data, count=recipe.judged_pictures, seed=recipe.seed)


GENERATION = Task(
    name="generation", asks="nothing", generated=_judged, built_in={"world": WORLD, "digits": DIGITS}, recipe=GAN
)
