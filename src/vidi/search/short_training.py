"""Short, equal trainings of many small classifiers: what a search among architectures spends its time on.

    data set          -> Samples         made once, held in memory
    each architecture -> ShortTraining   equal recipe, seed and order of samples (vidi.engine.fit) -> top-1 accuracy
                      -> Scores          by name, in a file: what was trained once is not trained again

Notes 2.7, 2.8: a child of the controller is "trained briefly", the networks of a population in "a low-epoch regime".
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from vidi import files
from vidi.data.loading import seeded_draws
from vidi.engine.evaluate import evaluate
from vidi.engine.fit import Training
from vidi.engine.loss_window import NonFiniteLossError
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run, number_in
from vidi.model import Supervised
from vidi.tasks.classification import ClassificationScorer

Build = Callable[[], Supervised]
"""Makes a classifier, drawing its weights from torch's global generator."""


class Samples(Dataset[Any]):
    """The samples (image, target with `label`) of a classification set, made once and held in memory."""

    def __init__(self, dataset: Any):
        self.categories = tuple(dataset.categories)
        self.samples = [dataset[index] for index in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]

    def digest(self) -> str:
        """Return what tells these samples from any others: the SHA-256 of their pixels and labels."""
        digest = hashlib.sha256()
        for image, target in self.samples:
            digest.update(f"{tuple(image.shape)} {int(target['label'])}".encode())
            digest.update(image.as_subclass(Tensor).contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class ShortTraining:
    """One training that every candidate gets: an accuracy is a function of the candidate, the data and the recipe.

    Attributes:
        training, validation: what candidates learn from, and what scores them.
        recipe: the numbers; its seed draws the initial weights too. Neither samples are augmented nor weights averaged.
    """

    training: Samples
    validation: Samples
    recipe: Recipe

    def train(self, build: Build) -> Supervised:
        """Return a trained candidate.

        Raises:
            NonFiniteLossError: if its training diverges.
        """
        with seeded_draws(self.recipe.seed):
            model = build()
        with TemporaryDirectory(prefix="vidi-") as folder:
            Training(model, self._plain_recipe(), self.training, Run(Path(folder))).fit()
        return model

    def _plain_recipe(self) -> Recipe:
        return replace(self.recipe, augment="none", mix="none", ema=None)

    def accuracy(self, model: Supervised, samples: Samples | None = None) -> float:
        """Return the top-1 accuracy of a trained candidate on the validation samples, or on others."""
        scorer = ClassificationScorer(self.training.categories)
        scores = evaluate(model, samples or self.validation, scorer, batch_size=self.recipe.batch_size)
        return float(number_in(scores, "top1"))

    def score(self, build: Build) -> float:
        """Train a candidate and return its accuracy on the validation samples; 0 if the training diverges."""
        try:
            return self.accuracy(self.train(build))
        except NonFiniteLossError:
            return 0.0

    def description(self) -> dict[str, Any]:
        """Return the plain values on which an accuracy depends, beside the candidate."""
        data = {"training": self.training.digest(), "validation": self.validation.digest()}
        return json.loads(json.dumps({"recipe": asdict(self._plain_recipe()), **data}))  # as it comes back from a file


class Scores:
    """The accuracies of named candidates in one JSON file, written after each training.

    Raises:
        ValueError: if the file holds the scores of another training.
    """

    def __init__(self, training: ShortTraining, path: Path):
        self.training, self.path = training, path
        self.description = training.description()
        self.by_name: dict[str, float] = {}
        if path.is_file():
            found = files.read_json(path)
            if not isinstance(found, dict) or found.get("short_training") != self.description:
                raise ValueError(f"{path} holds the scores of another training or of other data; expected a new file")
            self.by_name = found["scores"]

    def of(self, name: str, build: Build) -> float:
        """Return the accuracy of a candidate, training it unless its name has one already."""
        if name not in self.by_name:
            self.by_name[name] = self.training.score(build)
            files.write_json(self.path, {"short_training": self.description, "scores": self.by_name})
        return self.by_name[name]
