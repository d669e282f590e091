"""Each of the four shapes of a system learns something measurable, through `vidi.train`, from a fixed seed."""

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor

import vidi
from tests.cli.command import vidi as command
from tests.cli.tiny_sets import write_digits
from tests.conftest import Learnt
from tests.settings import SEED
from vidi import api
from vidi.data.digits import digits
from vidi.engine.datasets import Source
from vidi.engine.runs import Run
from vidi.tasks.anchors import ANCHORS


@pytest.fixture(scope="module")
def digit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data") / "digits.npz")


def score_of(run: Run, name: str) -> float:
    """Return a number that a training ended with."""
    return float(api.scores_of(run)[name])


# ----------------------------------------------------------------------------------------------------------------------
# Supervised


@pytest.mark.system("2.2.1-RESNET18", "0-TRAIN")
def test_a_narrow_resnet_learns_digits(digit_file: Path, tmp_path: Path, learnt: Learnt) -> None:
    """92 % of the digits that select the weights and 86 % of the test's, of other writers, after 60 steps of 64."""
    numbers = {"size": (16, 16), "width": 16, "stem": "small", "steps": 60, "batch_size": 64}
    rules = {"augment": "none", "warmup": 10, "validate_every": 99}
    run = vidi.train("resnet18", data=digit_file, out=tmp_path / "run", seed=SEED, **numbers, **rules)
    learnt("top1", score_of(run, "top1"), least=0.92)
    learnt("top1 of the test", float(vidi.evaluate(run.folder, split="test")["top1"]), least=0.86)


# ----------------------------------------------------------------------------------------------------------------------
# Adversarial


def within(samples: Tensor, others: Tensor, k: int = 3) -> float:
    """Return the share of samples that lie nearer to some other picture than its k-th neighbour among the others does.

    Precision of generated pictures against real ones, and recall the other way round (Kynkaanniemi et al. 2019, eq. 1).
    """
    radii = torch.cdist(others, others).kthvalue(k + 1, dim=1).values
    return float((torch.cdist(samples, others) <= radii).any(dim=1).float().mean())


@pytest.mark.system("8.2-GAN")
def test_a_gan_learns_how_digits_look(digit_file: Path, tmp_path: Path, learnt: Learnt) -> None:
    """Two of five pictures lie among real digits and two of five of these among them; single pixels never do."""
    numbers = {"size": (8, 8), "hidden": 64, "batch_size": 32, "learning_rate": 1e-3, "ema": 0.99}
    rules: dict[str, Any] = {"steps": 2000, "validate_every": 999, "seed": SEED}
    run = vidi.train("gan", data=digit_file, out=tmp_path / "run", **numbers, **rules)
    real = digits("train")[0].flatten(1)
    drawn = vidi.sample(vidi.load(run.folder), 256, seed=SEED).mean(dim=1).flatten(1)
    by_pixel = torch.stack([column[torch.randint(len(column), (256,))] for column in real.T], dim=1)
    untrained = vidi.sample(vidi.create("gan", size=(8, 8), hidden=64), 256).mean(dim=1).flatten(1)
    assert within(untrained, real) == 0
    assert within(by_pixel, real) < 0.03
    learnt("precision", within(drawn, real), least=0.40)
    learnt("recall", within(real, drawn), least=0.40)


@pytest.mark.slow
@pytest.mark.system("8.2-GAN")
def test_a_gan_draws_digits_that_a_classifier_recognises(shared_data: Path, tmp_path: Path) -> None:
    """Five minutes on MNIST; a classifier of real digits is sure of most of the pictures, and sees every digit."""
    data = shared_data / "mnist"
    run = vidi.train("gan", data=data, out=tmp_path / "gan")
    numbers = {"size": (28, 28), "width": 16, "stem": "small", "epochs": 3, "augment": "none"}
    judge = vidi.load(vidi.train("resnet18", data=data, out=tmp_path / "judge", **numbers).folder)
    pictures = vidi.sample(vidi.load(run.folder), 500, seed=0)
    results = judge.predict(list(pictures), batch_size=100)
    assert sum(result.score > 0.9 for result in results) / len(results) > 0.6
    assert {result.label for result in results} == set(range(10))


def test_a_grid_of_samples_is_a_function_of_the_seed(digit_file: Path, tmp_path: Path) -> None:
    run = vidi.train("gan", data=digit_file, out=tmp_path / "gan", size=(8, 8), hidden=8, batch_size=64, steps=4)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        picture = tmp_path / f"{name}.png"
        assert command("sample", run.folder, "--count", "64", "--seed", str(seed), "--out", picture).code == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    with PIL.Image.open(tmp_path / "a.png") as grid:
        assert grid.width == grid.height >= 8 * 8


def test_a_last_batch_of_one_picture_is_left_out(tmp_path: Path) -> None:
    """A batch normalisation has no variance of one picture; every epoch leaves another one out."""
    data = write_digits(tmp_path / "digits.npz", train=65)
    run = vidi.train(
        "gan", data=data, out=tmp_path / "gan", size=(8, 8), hidden=8, batch_size=64, epochs=2, log_every=1
    )
    assert [row["step"] for row in run.metrics() if "learning_rate" in row] == [1, 2]


# ----------------------------------------------------------------------------------------------------------------------
# Staged


@pytest.mark.system("0-TRAIN")
def test_both_stages_of_a_progressive_resnet_learn_digits(digit_file: Path, tmp_path: Path, learnt: Learnt) -> None:
    """85 % of the validation digits at 8 pixels, 90 % after a second stage at 16."""
    numbers = {"batch_size": 64, "augment": "none", "validate_every": 99, "seed": SEED}
    stages = {
        f"{stage}.{key}": value
        for stage, own in (("low", {"steps": 40, "warmup": 10}), ("high", {"steps": 40, "learning_rate": 0.02}))
        for key, value in {**numbers, **own}.items()
    }
    run = vidi.train(
        "progressive_resnet18", data=digit_file, out=tmp_path / "run", low=(8, 8), high=(16, 16), width=16, **stages
    )
    scored = {str(row["stage"]): float(row["top1"]) for row in run.metrics() if "top1" in row}
    assert list(scored) == ["low", "high"]
    learnt("top1 of the first stage", scored["low"], least=0.85)
    learnt("top1", score_of(run, "top1"), least=0.90)
    steps = [int(row["step"]) for row in run.metrics()]
    assert steps == sorted(steps)
    assert steps[-1] == 80


# ----------------------------------------------------------------------------------------------------------------------
# Fitted


@pytest.mark.system("4.3.4-KMEANS")
def test_anchors_fitted_to_the_world_cover_its_boxes(tmp_path: Path, learnt: Learnt) -> None:
    """A mean IoU of 0.72 of 9 learnt sizes with the boxes; of one size, their median, it is 0.51."""
    run = vidi.train("anchor_kmeans", out=tmp_path / "run", seed=SEED, world_scenes=60)
    model = vidi.load(run.folder)
    (result,) = model.predict(torch.zeros(3, 128, 128, dtype=torch.uint8))
    areas = result.sizes.prod(dim=1)
    assert result.sizes.shape == (9, 2)
    assert bool((areas[1:] >= areas[:-1]).all())
    assert score_of(run, "mean_iou") == pytest.approx(result.mean_iou)
    learnt("mean_iou", result.mean_iou, least=0.72)
    assert median_iou() < 0.55
    three = command("train", "anchor_kmeans", "anchors=3", "world_scenes=20", "--out", tmp_path / "three", "--json")
    assert three.json()["scores"]["mean_iou"] < result.mean_iou
    larger = model.predict(torch.zeros(3, 256, 128, dtype=torch.uint8))[0]
    torch.testing.assert_close(larger.sizes, result.sizes)  # without a canvas, sizes are pixels of the picture


def median_iou() -> float:
    """Return the mean IoU of the world's boxes with one of median width and height."""
    world = Source.of("world", ANCHORS).open("train", ANCHORS.recipe)
    boxes = torch.cat([world[row][1]["boxes"] for row in range(60)])
    sizes = boxes[:, 2:] - boxes[:, :2]
    overlap = torch.minimum(sizes, sizes.median(dim=0).values).prod(dim=1)
    return float((overlap / (sizes.prod(dim=1) + sizes.median(dim=0).values.prod() - overlap)).mean())
