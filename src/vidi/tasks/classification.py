"""Classification: a picture, one of some classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidi.data.faces import Faces, KnownFaces
from vidi.data.truths import class_truth
from vidi.engine import plots
from vidi.engine.datasets import DIGITS, WORLD, categories_of
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row
from vidi.engine.task import BuiltIn, Judged, Task
from vidi.metrics.classification import confusion_matrix, top_k_accuracy
from vidi.recipes.classification import FINE_TUNED, PHOTOS
from vidi.results.categories import Categories
from vidi.results.classification import Classification


class ClassificationScorer:
    """Top-1 and top-5 accuracy, and the confusion matrix."""

    headline = "top1"
    keys: tuple[str, ...] = ("label",)

    def __init__(self, categories: Categories):
        self.categories = categories
        self.probabilities: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, results: Sequence[Classification], targets: Sequence[Mapping[str, Any]]) -> None:
        self.probabilities += [result.probabilities for result in results]
        self.labels += [target["label"] for target in targets]

    def compute(self) -> dict[str, float]:
        probabilities, labels = torch.stack(self.probabilities), torch.stack(self.labels)
        scores = {"top1": top_k_accuracy(probabilities, labels)}
        if len(self.categories) > 5:
            scores["top5"] = top_k_accuracy(probabilities, labels, k=5)
        return scores

    def by_class(self) -> list[Row]:
        """Return the pictures of each class, and how many of them, and of those taken for one, are right."""
        matrix = self._confusion()
        right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        return [
            {
                "class": name,
                "pictures": int(true[k]),
                "recall": int(right[k]) / int(true[k]) if true[k] else None,
                "precision": int(right[k]) / int(predicted[k]) if predicted[k] else None,
            }
            for k, name in enumerate(self.categories)
            if name is not None
        ]

    def judged(self, result: Classification, target: Mapping[str, Any]) -> Judged:
        """Return how sure a wrong answer is: the surest is the worst, and the least sure right one the next."""
        is_right = result.label == int(target["label"])
        told = f"{'right' if is_right else 'wrong'}: {result.name} {result.score:.2f}"
        return Judged(result.score if is_right else -result.score, told)

    def _confusion(self) -> Tensor:
        predicted = torch.stack(self.probabilities).argmax(dim=1)
        return confusion_matrix(predicted, torch.stack(self.labels), classes=len(self.categories))

    def write_plots(self, folder: Path) -> None:
        matrix = self._confusion()
        names = [name or "" for name in self.categories]
        plots.confusion_matrix(folder / "confusion_matrix.png", matrix, names)


SHOWN, HELD_BACK = 8, 2
"""Pictures of each generated person that are trained on, and others that are scored."""


def _open_known_faces(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> KnownFaces:
    people = max(count // (SHOWN if split == "train" else HELD_BACK), 2)
    pictures = SHOWN + 2 * HELD_BACK
    faces = Faces(
        identities=people, pictures=pictures, size=recipe.world_size, seed=recipe.seed, targets=keys, keeps=True
    )
    first = {"train": 0, "val": SHOWN, "test": SHOWN + HELD_BACK}[split]
    return KnownFaces(faces, first, first + (SHOWN if split == "train" else HELD_BACK))


KNOWN_FACES = BuiltIn("other pictures of generated people who are known from the training", _open_known_faces)

CLASSIFICATION = Task(
    name="classification",
    needs=("label",),
    says={"categories": categories_of},
    result=Classification,
    scorer=ClassificationScorer,
    truth=class_truth,
    mixes=("none", "mixup", "cutmix"),
    built_in={"world": WORLD, "digits": DIGITS, "faces": KNOWN_FACES},
    recipe=PHOTOS,
    fine_tuning=FINE_TUNED,
)
