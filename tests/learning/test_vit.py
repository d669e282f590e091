"""A small vision transformer learns digits, through `vidi.train`, from a fixed seed."""

from pathlib import Path

import pytest

import vidi
from tests.cli.tiny_sets import write_digits
from tests.conftest import Learnt
from tests.settings import SEED
from vidi import api


@pytest.mark.system("3.2-VIT")
def test_a_small_vit_learns_digits(tmp_path: Path, learnt: Learnt) -> None:
    """90 % of the digits that select the weights, and 83 % of the test's, of other writers, after 250 steps of 64."""
    data = write_digits(tmp_path / "digits.npz")
    shape = {"size": (8, 8), "patch": 4, "width": 48, "depth": 2, "heads": 3}
    numbers = {"steps": 250, "batch_size": 64, "learning_rate": 4e-3, "warmup": 20}
    rules = {"augment": "none", "validate_every": 99}
    run = vidi.train("vit_tiny", data=data, out=tmp_path / "run", seed=SEED, **shape, **numbers, **rules)
    learnt("top1", float(api.scores_of(run)["top1"]), least=0.90)
    learnt("top1 of the test", float(vidi.evaluate(run.folder, split="test")["top1"]), least=0.83)


@pytest.mark.slow
@pytest.mark.system("3.2-VIT")
def test_a_small_vit_learns_mnist(shared_data: Path, tmp_path: Path) -> None:
    """97.5 % of the test digits, after 13 minutes of one core; the numbers of docs/results/vit.md."""
    shape = {"size": (28, 28), "patch": 4, "width": 64, "depth": 4, "heads": 4}
    numbers = {"epochs": 30, "batch_size": 64, "learning_rate": 2e-3, "warmup": 300, "augment": "shift"}
    run = vidi.train("vit_tiny", data=shared_data / "mnist", out=tmp_path / "run", **shape, **numbers)
    assert float(api.scores_of(run)["top1"]) >= 0.975
