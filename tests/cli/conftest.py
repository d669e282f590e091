"""Runs that several tests look at, trained once, and an empty folder for each test to work in."""

from pathlib import Path

import pytest

from tests.cli.command import vidi
from tests.cli.tiny_sets import SMALL_CLASSIFIER, SMALL_DETECTOR, write_classes, write_digits


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of two colours."""
    return write_classes(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="session")
def classifier(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 steps on `classes`."""
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    done = vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--out", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 3 steps on 24 scenes of the world, which kept its state."""
    folder = tmp_path_factory.mktemp("runs") / "detector"
    done = vidi("train", *SMALL_DETECTOR, "world_scenes=24", "world_size=64,64", "keep_state=true", "--out", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN after 4 steps."""
    root = tmp_path_factory.mktemp("runs")
    data = write_digits(root / "digits.npz", train=64)
    numbers = ("size=8,8", "hidden=8", "batch_size=16", "epochs=1")
    done = vidi("train", "gan", *numbers, "--data", data, "--out", root / "gan")
    assert done.code == 0, done.err
    return root / "gan"
