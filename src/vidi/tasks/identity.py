"""Identity: whom or what a picture shows, told by how near its vector is to those of others (notes 7.0 to 7.2).

Scores are of people whom the training never saw: `val` has identities of its own. Musgrave et al. 2020 (arXiv
2003.08505) say why: whoever chooses weights on the people of the training chooses those that know them by heart.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi import files
from vidi.data.faces import Faces
from vidi.data.identification import verification_pairs
from vidi.engine import plots
from vidi.engine.datasets import categories_of
from vidi.engine.recipe import Recipe
from vidi.engine.task import BuiltIn, Task
from vidi.metrics.retrieval import cluster_distances, retrieval_scores
from vidi.metrics.verification import Roc, equal_error_rate, equal_error_threshold, fold_accuracies, roc, tar_at_far
from vidi.ops.neighbours import distances
from vidi.recipes.identity import IDENTITY_FINE_TUNED, IDENTITY_RECIPE
from vidi.results.categories import Categories
from vidi.results.embedding import Embedding

FAR = 1e-2
"""The share of pairs of two identities that may be accepted where the share of others is counted."""
FOLDS = 10
PAIRS_OF_A_FOLD = 300  # of each kind at most, as in LFW
PAIRED = 3000  # pictures whose pairs are all looked at, 4.5 million; of more, those of the first identities
OF_ONE, SEVERAL = 10, 4  # pictures of a generated person, if there are so many people at least
WRONG = 50  # pairs of each kind that are written


class AllPairs(NamedTuple):
    """The distance of every pair of pictures."""

    places: Int64[Tensor, "P 2"]
    distances: Float[Tensor, " P"]
    same: Bool[Tensor, " P"]


class IdentityScorer:
    """Verification of all pairs of pictures, the search for each among the others, and how identities lie apart.

    `tar` is the share of pairs of one identity that are accepted where one in a hundred of two is; `eer` the rate of
    equal errors; `accuracy` that of balanced pairs in ten folds, each by the threshold of the others, as LFW has it.
    `threshold` is the distance at which errors are equal: `vidi verify` and galleries accept what is not further.
    """

    headline = "tar"
    keys: tuple[str, ...] = ("label", "keypoints", "visibility")

    def __init__(self, categories: Categories):
        self.vectors: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.numbers: list[int] = []
        self.metric = "euclidean"

    def update(self, results: Sequence[Embedding], targets: Sequence[Mapping[str, Any]]) -> None:
        for result, target in zip(results, targets, strict=True):
            self.metric = result.metric
            self.vectors.append(result.vector)
            self.labels.append(target["label"])
            self.numbers.append(int(target["image_id"]))
        self.__dict__.pop("pairs", None)

    def compute(self) -> dict[str, float]:
        """Return the scores that can be taken.

        Raises:
            ValueError: if no identity has two pictures, or there is one identity only.
        """
        vectors, labels = torch.stack(self.vectors), torch.stack(self.labels)
        pairs = self.pairs
        alike = int(pairs.same.sum())
        if alike in (0, len(pairs.same)):
            given = f"{len(labels)} pictures of {len(labels.unique())} identities"
            raise ValueError(f"received {given}, expected two identities or more, and two pictures of one of them")
        curve = roc(pairs.distances, pairs.same)
        scores = {"tar": tar_at_far(curve, FAR), "eer": equal_error_rate(curve)}
        each = min(alike, len(pairs.same) - alike, FOLDS * PAIRS_OF_A_FOLD)
        if each >= FOLDS:
            scores["accuracy"] = self._fold_accuracy(each)
        found = retrieval_scores(vectors, labels, ks=(1, 5), metric=self.metric)
        apart = cluster_distances(vectors, labels, metric=self.metric)
        scores |= {f"recall{k}": value for k, value in found.recall.items()}
        scores |= {"map_at_r": found.map_at_r, "intra_inter": apart.ratio}
        return scores | {"threshold": equal_error_threshold(curve)}

    @cached_property
    def pairs(self) -> AllPairs:
        """All pairs of the pictures that are paired."""
        chosen = self._paired()
        vectors, labels = torch.stack(self.vectors)[chosen], torch.stack(self.labels)[chosen]
        first, second = torch.triu_indices(len(labels), len(labels), offset=1)
        apart = distances(vectors, vectors, metric=self.metric)[first, second]
        return AllPairs(torch.stack((chosen[first], chosen[second]), 1), apart, labels[first] == labels[second])

    def remarks(self) -> list[str]:
        """Return what one should know of the scores: pictures that cannot be found, and pairs that were left out."""
        counts = torch.stack(self.labels).unique(return_counts=True)[1]
        remarks = []
        if alone := int((counts == 1).sum()):
            remarks.append(
                f"{alone} of {len(counts)} identities have one picture: nothing is searched for them, and no pair of "
                "one identity is theirs"
            )
        if (kept := len(self._paired())) < len(self.labels):
            remarks.append(f"pairs are those of {kept} of {len(self.labels)} pictures")
        return remarks

    def write_plots(self, folder: Path) -> None:
        """Write `roc.png`, `roc.csv`, and `wrong_pairs.csv`: what the threshold of equal errors is most wrong about."""
        pairs = self.pairs
        curve = roc(pairs.distances, pairs.same)
        plots.accept_rates(
            folder / "roc.png", curve.false_accepts, curve.true_accepts, f"{len(pairs.same)} pairs of unseen identities"
        )
        columns = ("threshold", "false_accepts", "true_accepts")
        kept = _corners(curve.false_accepts, curve.true_accepts)
        rows = zip(*(column[kept].tolist() for column in curve), strict=True)
        files.write_csv(folder / "roc.csv", [dict(zip(columns, row, strict=True)) for row in rows])
        files.write_csv(folder / "wrong_pairs.csv", self._wrong_pairs(curve))

    def _wrong_pairs(self, curve: Roc) -> list[dict[str, Any]]:
        pairs = self.pairs
        threshold = equal_error_threshold(curve)
        beyond = pairs.distances - threshold
        rows: list[dict[str, Any]] = []
        for says, error in (
            ("one identity", torch.where(pairs.same, -torch.inf, -beyond)),
            ("two", torch.where(pairs.same, beyond, -torch.inf)),
        ):
            worst = error.topk(min(WRONG, len(error)))
            for value, pair in zip(worst.values.tolist(), worst.indices.tolist(), strict=True):
                if value > 0 or (value == 0 and says == "one identity"):
                    one, other = (self.numbers[place] for place in pairs.places[pair].tolist())
                    apart = {"distance": float(pairs.distances[pair]), "threshold": threshold}
                    rows.append({"first": one, "second": other, "taken_for": says, **apart})
        return rows

    def _fold_accuracy(self, each: int) -> float:
        """Return the mean accuracy of ten folds of `each` pairs of either kind."""
        pairs = self.pairs
        chosen = self._paired()
        drawn = verification_pairs(torch.stack(self.labels)[chosen], 2 * each)
        first, second = drawn.places.T
        N = len(chosen)
        row = first * (2 * N - first - 1) // 2 + second - first - 1  # of the pair in the upper triangle
        folds = torch.arange(2 * each) % FOLDS
        return fold_accuracies(pairs.distances[row], drawn.same, folds).mean

    def _paired(self) -> Int64[Tensor, " N"]:
        """Return the pictures that are paired: all, or those of as many whole identities as there is room for."""
        labels = torch.stack(self.labels)
        if len(labels) <= PAIRED:
            return torch.arange(len(labels))
        people, counts = labels.unique(return_counts=True)
        inside = people[counts.cumsum(0) <= PAIRED]
        return torch.isin(labels, inside).nonzero()[:, 0]


def _corners(false: Tensor, true: Tensor) -> Bool[Tensor, " T"]:
    """Return which points of a curve are not on a straight line between others: all that a drawing of it needs."""
    rises, goes = true.diff() > 0, false.diff() > 0
    is_straight = (rises[1:] == rises[:-1]) & (goes[1:] == goes[:-1]) & ~(rises & goes)[1:]
    ends = is_straight.new_ones(1)
    return torch.cat((ends, ~is_straight, ends))


def identities_of(dataset: Any) -> int:
    """Return how many identities a data set shows: those that a training can tell apart."""
    return len(categories_of(dataset))


def _open_faces(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> Faces:
    pictures = min(max(count // SEVERAL, 2), OF_ONE)
    people = max(-(-count // pictures), 2)
    wanted = [key for key in keys if key in Faces.kinds]
    return Faces(
        split,
        identities=people,
        pictures=pictures,
        size=recipe.world_size,
        seed=recipe.seed,
        targets=wanted,
        keeps=True,
    )


FACES = BuiltIn("generated faces of people who do not exist", _open_faces)

IDENTITY = Task(
    name="identity",
    needs=("label",),
    uses=("keypoints", "visibility"),
    apart=True,
    says={"identities": identities_of},
    result=Embedding,
    scorer=IdentityScorer,
    built_in={"faces": FACES},
    recipe=IDENTITY_RECIPE,
    fine_tuning=IDENTITY_FINE_TUNED,
)
