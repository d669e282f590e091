"""A small trainable without batch statistics, and a small data set: what the tests of the engine train.

Run as a program it trains in a folder: `python -m tests.engine.tiny FOLDER [key=value ...]`, alone or under torchrun.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from vidi.data.transforms import Augmentation
from vidi.engine.fit import Training
from vidi.engine.overrides import check_overrides, split_overrides
from vidi.engine.processes import Processes
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row, Run
from vidi.model import Losses, Step, Supervised, builder, in_float32
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import category_names
from vidi.results.classification import Classification


class Logits(NamedTuple):
    logits: Tensor


class Network(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(),
            nn.Linear(8 * 16, 4),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Logits:
        return Logits(self.layers(images))


class PositivesCriterion:
    """Cross entropy over images of the classes 1..3, normalised by their number over all processes."""

    def __init__(self, noise: float):
        self.noise = noise

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(batch.images), batch, step)

    @in_float32
    def compare(self, outputs: Logits, batch: Batch, step: Step) -> Losses:
        labels = torch.stack([target["label"] for target in batch.targets])
        terms = nn.functional.cross_entropy(outputs.logits, labels, reduction="none")
        positive = (labels > 0).float()
        noise = torch.rand((), generator=step.generator)  # a draw that must resume
        return {"positives": (terms * positive).sum() / step.normaliser(positive.sum()) * (1 + self.noise * noise)}


class Decode:
    def __call__(self, outputs: Logits, placements: Any) -> list[Classification]:
        return [Classification(row.softmax(0), category_names(4)) for row in outputs.logits]


class Partly(Supervised):
    """Trains less than all of its parameters: what lies beside the network's layers belongs to another stage."""

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        return self.network.layers.parameters()  # type: ignore[union-attr]


@builder
def tiny(*, noise: float = 0.1, partly: bool = False) -> Supervised:
    """Build it; `noise` is the dropout and the size of the criterion's draws."""
    network, shape = Network(noise), Partly if partly else Supervised
    if partly:
        network.beside = nn.Linear(2, 2)
    return shape(network, PositivesCriterion(noise), Decode(), Preprocess())


class Blobs(torch.utils.data.Dataset[Any]):
    """8x8 pictures whose bright quadrant is their class."""

    categories = ("a", "b", "c", "d")

    def __init__(self, count: int = 22):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 128, (3, 8, 8), generator=generator, dtype=torch.uint8)
        label = index % 4
        y, x = divmod(label, 2)
        image[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 100
        return tv_tensors.Image(image), {"label": torch.tensor(label), "image_id": torch.tensor(index)}


def score(model: Any, processes: Processes) -> Row:
    dataset = Blobs(12)
    results = model.predict([image for image, _ in (dataset[k] for k in range(12))])
    right = [result.label == k % 4 for k, result in enumerate(results)]
    return {"accuracy": sum(right) / 12, "certainty": sum(result.score for result in results) / 12}


def make_training(
    folder: Path, *, noise: float = 0.1, partly: bool = False, count: int = 22, **numbers: Any
) -> Training:
    recipe = Recipe(**{**STANDARD, **numbers})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tiny(noise=noise, partly=partly)
    augment = Augmentation("flip", (8, 8)) if recipe.augment == "flip" else None
    return Training(model, recipe, Blobs(count), Run(folder), augment=augment, validate=score, headline="certainty")


STANDARD: dict[str, Any] = {
    "epochs": 4, "batch_size": 4, "learning_rate": 0.01, "ema": 0.9, "warmup": 3, "log_every": 2, "augment": "flip",
    "device": "cpu", "clip": 1.0,
}  # fmt: skip

if __name__ == "__main__":
    torch.set_num_threads(1)
    own = {"noise": float, "partly": bool, "count": int}
    types = {**own, **{name: field.type for name, field in Recipe.__dataclass_fields__.items()}}
    for words in " ".join(sys.argv[1:]).split(" then "):
        folder, *numbers = words.split()
        make_training(Path(folder), **check_overrides(split_overrides(numbers), types)).fit()
