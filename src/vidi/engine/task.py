"""What a task is: all that the house asks of a kind of system, so that nothing else knows a task by its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

from vidi.engine.recipe import AugmentChoice, Recipe
from vidi.metrics.generation_score import Extractor
from vidi.model import Samples
from vidi.results.categories import Categories


class Judged(NamedTuple):
    """How right the result on one picture is."""

    order: float  # the worst first
    told: str  # its score, as one says it


class Scorer(Protocol):
    """Collects one evaluation. `headline` names the number by which weights are best; larger is better.

    `keys` of a target are all that an evaluation decodes: what the scorer reads, and the losses of systems of its task.
    Methods that a scorer may have besides, of what `compute` scored last unless they say otherwise:

        remarks() -> list[str]                          what a reader of the scores should know
        by_class() -> list[dict]                        a row for each class: `class`, how many true ones there are of
                                                        it under their name, then its scores, the most telling first
        best_threshold() -> float | None                the score from which on results had better be believed
        judged(result, target) -> Judged | None         of one picture; None where there is nothing to be right about

    One with an attribute `threshold` takes there the score from which on `judged` and `write_plots` believe results.
    """

    headline: str
    keys: tuple[str, ...]

    def update(self, results: Sequence[Any], targets: Sequence[Mapping[str, Any]]) -> None:
        """Add images: their results, and their targets in the pixels of the originals."""
        ...

    def compute(self) -> dict[str, float]:
        """Return the scores of all images so far."""
        ...

    def write_plots(self, folder: Path) -> None:
        """Write the task's plots of the scores that `compute` returned."""
        ...


class PictureScorer(Protocol):
    """Judges what a model makes from nothing. `headline` names the number by which weights are best; smaller is better.

    `score` is called at each validation; what it says depends on the model alone, so that resumed runs are exact.
    """

    headline: str

    def score(self, model: Samples) -> dict[str, float]:
        """Return the scores of the model as it is."""
        ...

    def remarks(self) -> list[str]:
        """Return what a reader of the last scores should know."""
        ...

    def write_record(self, folder: Path) -> None:
        """Write the last scores with all that they depend on."""
        ...


@dataclass(frozen=True)
class BuiltIn:
    """A data set that is made, not read: what it is, and how a split of it opens.

    `opens` takes the split, the number of samples, the recipe, and the keys of a target that are wanted.
    """

    about: str
    opens: Callable[[str, int, Recipe, Sequence[str]], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A kind of system.

    Attributes:
        name: as in `vidi models --task`.
        needs: keys of a target without which it cannot be trained.
        uses: keys that are used where a data set has them.
        judges: keys that scores are taken of where a data set has them, and that a training never sees.
        apart: whether it is scored on classes that it was not trained on: other people.
        says: by argument of a builder, the fact of a data set that it is.
        asks: what a command hands over to predict on.
        result: the type that `predict` gives for one of them; None: it predicts nothing.
        scorer: how it is judged; None: it has no score.
        generated: how pictures that a system makes are judged, from who judges, the recipe, the name of the data, the
            split and the data sets by split; None: they are not.
        truth: a target as a result, to be drawn beside a prediction.
        moves: augmentations that keep its targets true.
        tiles: whether results on the tiles of a large picture can be put together.
        mixes: ways of mixing two samples that keep its targets true.
        built_in: data sets that are made, by name; the first is the default.
        recipe: how a system is trained that has no recipe of its own.
        fine_tuning: how a training goes on from weights; None: as without.
    """

    name: str
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    apart: bool = False
    says: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    asks: Literal["pictures", "pairs", "sentences", "nothing"] = "pictures"
    result: type | None = None
    scorer: Callable[[Categories], Scorer] | None = None
    generated: Callable[[Extractor, Recipe, str, str, Mapping[str, Any]], PictureScorer] | None = None
    truth: Callable[[Mapping[str, Any], Categories], Any] | None = None
    moves: tuple[str, ...] = get_args(AugmentChoice)
    tiles: bool = False
    mixes: tuple[str, ...] = ("none",)
    built_in: Mapping[str, BuiltIn]
    recipe: Recipe
    fine_tuning: Recipe | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys of a target that a training asks for."""
        return (*self.needs, *self.uses)

    @property
    def validates(self) -> bool:
        """Whether a training of it needs pictures that it is judged by."""
        return self.scorer is not None or self.generated is not None

    def fine_tuned(self, usual: Recipe) -> Recipe:
        """Return the recipe for a system that begins with weights, on as much of the world as its usual one."""
        recipe = self.fine_tuning or usual
        return replace(recipe, world_scenes=usual.world_scenes, world_size=usual.world_size)
