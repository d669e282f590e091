"""Short trainings: equal for equal architectures, kept in a file, and refused where the file is another's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import Learnt
from tests.settings import SEED
from vidi import files
from vidi.backbones.regnet import anynet
from vidi.data.shapes import ShapeImages
from vidi.engine.recipe import Recipe
from vidi.model import Supervised
from vidi.search.short_training import Samples, Scores, ShortTraining

RECIPE = Recipe(steps=6, batch_size=16, learning_rate=0.01, device="cpu", augment="flip", ema=0.9)


def samples(split: str, count: int = 48) -> Samples:
    return Samples(ShapeImages(split, count=count, size=(16, 16), label="colour"))


def tiny() -> Supervised:
    return anynet(depths=(1, 1), widths=(8, 16), group_widths=(8, 8), bottlenecks=(1, 1), categories=8, size=(16, 16))


@pytest.fixture(scope="module")
def training() -> ShortTraining:
    return ShortTraining(samples("train"), samples("val"), RECIPE)


def test_samples_are_made_once_and_known_by_their_pixels_and_labels() -> None:
    dataset = ShapeImages("train", count=5, size=(16, 16))
    held = Samples(dataset)
    assert len(held) == 5
    assert held[3][0] is held[3][0]
    assert all(torch.equal(held[k][0], dataset[k][0]) and held[k][1] == dataset[k][1] for k in range(5))
    digests = {held.digest(), samples("val", 5).digest(), samples("train", 5).digest(), samples("train", 6).digest()}
    assert len(digests) == 4
    assert Samples(dataset).digest() == held.digest()


def test_a_training_is_a_function_of_architecture_data_and_recipe(training: ShortTraining) -> None:
    torch.manual_seed(3)
    first = training.train(tiny)
    torch.manual_seed(4)
    second = training.train(tiny)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    other_seed = replace(training, recipe=replace(RECIPE, seed=1)).train(tiny)
    assert not torch.equal(next(first.parameters()), next(other_seed.parameters()))
    assert training.accuracy(first) == training.score(tiny)


def test_a_training_teaches(training: ShortTraining, learnt: Learnt) -> None:
    """Two of three training pictures, where one colour in eight would be guessed."""
    longer = replace(training, recipe=replace(RECIPE, steps=200, seed=SEED))
    learnt("accuracy", longer.accuracy(longer.train(tiny), training.training), least=0.66)


def test_a_diverging_network_scores_nothing(training: ShortTraining) -> None:
    def infinite() -> Supervised:
        model = tiny()
        torch.nn.init.constant_(model.network.get_parameter("head.linear.bias"), float("inf"))
        return model

    assert training.score(infinite) == 0.0


def test_scores_are_kept_and_nothing_is_trained_twice(training: ShortTraining, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    accuracy = Scores(training, path).of("tiny", tiny)

    def never() -> Supervised:
        raise AssertionError("trained again")

    again = Scores(training, path)
    assert again.of("tiny", never) == accuracy
    with pytest.raises(AssertionError, match="trained again"):
        again.of("other", never)
    assert files.read_json(path)["scores"] == {"tiny": accuracy}


def test_scores_of_another_training_are_refused(training: ShortTraining, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    Scores(training, path).of("tiny", tiny)
    others = [
        replace(training, recipe=replace(RECIPE, learning_rate=0.02)),
        replace(training, validation=training.training),
    ]
    for other in others:
        with pytest.raises(ValueError, match="another training"):
            Scores(other, path)
    Scores(replace(training, recipe=replace(RECIPE, augment="none", ema=None)), path)  # which it leaves out anyway
