"""Trainings that do not come to their end: what is told, what is left, and that they go on as if nothing happened."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import vidi
from tests.cli.tiny_sets import SMALL_CLASSIFIER, cut_in_half, write_classes
from tests.conftest import Run
from vidi import files
from vidi.engine.fit import Training

EXACT = ("weights.safetensors", "last.safetensors", "metrics.csv", "scores.json")

INTERRUPTED = """
import os, signal, sys
from vidi.cli.app import main
from vidi.engine.fit import (Training)

advance = Training._one_step

def one_step(self, batches):
    advance(self, batches)
    if self.step == 4:
        os.killpg(0, signal.SIGINT)  # as a terminal does: the loader's workers get it too

os.setsid()
Training._one_step = one_step
main()
"""


def same_run(a: Path, b: Path) -> bool:
    """Compare what two runs computed, byte by byte."""
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in EXACT)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, run: str) -> None:
    """Press Ctrl-C after a step of the training in the folder `run`."""
    advance = Training._one_step

    def one_step(self: Training, batches: Any) -> None:
        advance(self, batches)
        if self.step == step and self.run.folder.name == run:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Training, "_one_step", one_step)


@pytest.mark.system("0-TRAIN")
def test_an_interrupted_training_says_how_it_goes_on_and_ends_as_it_would_have(
    run_python: Run, classes: Path, classifier: Path
) -> None:
    words = ("train", *SMALL_CLASSIFIER, "workers=2", "--data", classes, "--out", "a run")
    done = run_python("-c", INTERRUPTED, *words, cwd=Path.cwd())
    assert done.returncode == 130, done.stderr
    assert done.stderr == "vidi: stopped; go on with: vidi train --resume 'a run'\n"
    assert done.stdout.count("stopping after this step") == 1
    assert files.read_state("a run/state.pt")["step"] == 4
    resumed = vidi("train", "--resume", "a run")
    assert resumed.code == 0
    assert "continued after 4" in resumed.out
    assert same_run(Path("a run"), classifier)


def test_a_run_that_was_never_validated_predicts_with_its_last_weights(
    classes: Path, classifier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop_after(monkeypatch, 2, "run")
    assert vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--out", "run").code == 130
    assert not Path("run/weights.safetensors").exists()
    done = vidi("predict", "run", classes)
    assert done.code == 0
    assert caplog.messages == ["run was not validated yet: these are its last weights"]
    assert vidi("train", "--resume", "run").code == 0
    assert same_run(Path("run"), classifier)


def test_an_interrupted_run_has_all_to_look_at_that_its_last_validation_left(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 4, "run")
    assert vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--out", "run").code == 130
    left = {path.name for path in Path("run").iterdir()}
    assert {"curves.png", "mosaic.png", "report.md", "metrics.csv"} <= left
    assert "Scores of the last weights on val of " in Path("run/report.md").read_text()
    assert "scores.json" not in left


def test_a_training_without_its_damaged_pictures_resumes_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(Path("photos"))
    for name in ("red/red3", "green/green0"):
        cut_in_half(Path(f"photos/{name}.jpg"))
    words = ("train", *SMALL_CLASSIFIER, "--data", "photos", "--drop-faults")
    assert vidi(*words, "--out", "whole").code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 4, "stopped")
        assert vidi(*words, "--out", "stopped").code == 130
    resumed = vidi("train", "--resume", "stopped")
    assert resumed.code == 0, resumed.err
    assert same_run(Path("whole"), Path("stopped"))
    one, two = (json.loads(Path(run, "config.json").read_text())["data"]["left_out"] for run in ("whole", "stopped"))
    assert one == two
    assert (one["faults"], sum(one["images"].values())) == (2, 2)


def test_a_staged_training_resumes_within_its_second_stage(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [f"{stage}.{word}" for stage in ("low", "high") for word in ("epochs=2", "batch_size=8", "warmup=0")]
    words = ("train", "progressive_resnet18", "low=16,16", "high=24,24", "width=16", *stages, "--data", classes)
    assert vidi(*words, "--out", "whole").code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 4, "high")
        stopped = vidi(*words, "--out", "stopped")
    assert stopped.code == 130
    assert stopped.err == "vidi: stopped; go on with: vidi train --resume stopped\n"
    assert vidi("train", "--resume", "stopped").code == 0
    assert same_run(Path("whole"), Path("stopped"))
    for stage in ("low", "high"):
        one, two = (Path(run) / stage / "weights.safetensors" for run in ("whole", "stopped"))
        assert one.read_bytes() == two.read_bytes()


def test_a_training_that_is_interrupted_before_its_first_step_leaves_nothing(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Training) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "fit", interrupt)
    done = vidi("train", *SMALL_CLASSIFIER, "--data", classes)
    assert (done.code, done.err) == (130, "vidi: interrupted\n")
    assert not Path("runs/resnet18").exists()


def test_a_loss_that_is_not_finite_is_a_finding(classes: Path) -> None:
    done = vidi("train", *SMALL_CLASSIFIER, "learning_rate=1e30", "warmup=0", "--data", classes)
    assert done.code == 1
    assert "the loss term 'cross_entropy' is nan at step 1" in done.err
    assert "learning_rate" in done.err


def test_a_training_that_diverges_in_its_last_step_is_a_finding(classes: Path) -> None:
    done = vidi("train", *SMALL_CLASSIFIER, "learning_rate=1e30", "warmup=0", "steps=1", "--data", classes)
    assert done.code == 1
    assert "the loss term 'cross_entropy' is nan in a validation: the training has diverged" in done.err


def test_a_full_disk_leaves_the_last_state(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3, "run")
        assert vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--out", "run").code == 130
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = vidi("train", "--resume", "run")
    assert done.code == 3
    assert "no space left on the disk; what was there before is kept" in done.err
    assert done.err.startswith("vidi: run/")
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    assert vidi("train", "--resume", "run").code == 0


def test_a_damaged_state_is_refused(classifier: Path) -> None:
    shutil.copytree(classifier, "run")
    Path("run/state.pt").write_bytes(b"garbage")
    done = vidi("train", "--resume", "run")
    assert done.code == 3
    assert done.err == "vidi: run/state.pt: damaged, or holds more than tensors and plain values\n"
    assert Path("run/weights.safetensors").read_bytes() == (classifier / "weights.safetensors").read_bytes()


def test_the_state_of_another_training_is_refused(classifier: Path, detector: Path) -> None:
    shutil.copytree(classifier, "run")
    shutil.copy(detector / "state.pt", "run/state.pt")
    done = vidi("train", "--resume", "run")
    assert done.code == 3
    assert "run/state.pt is of a training of 3 steps, this one has 6" in done.err


def test_the_state_of_another_model_is_refused(classifier: Path, classes: Path) -> None:
    words = [word for word in SMALL_CLASSIFIER if not word.startswith("width")]
    assert vidi("train", *words, "width=32", "keep_state=true", "--data", classes, "--out", "other").code == 0
    shutil.copytree(classifier, "run")
    shutil.copy("other/state.pt", "run/state.pt")
    done = vidi("train", "--resume", "run")
    assert (done.code, done.err) == (3, "vidi: run/state.pt is the state of another model or of another version\n")


def test_a_run_resumes_where_its_data_was_moved_to(monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(Path("old"))
    with monkeypatch.context() as patch:
        stop_after(patch, 3, "run")
        vidi("train", *SMALL_CLASSIFIER, "--data", "old", "--out", "run")
    shutil.move("old", "new")
    lost = vidi("train", "--resume", "run")
    assert lost.code == 3
    assert "old: no such data set" in lost.err
    assert "if it was moved, say where it is now with --data" in lost.err
    write_classes(Path("fewer"), 11)
    other = vidi("train", "--resume", "run", "--data", "fewer")
    assert other.code == 3
    assert "has 20 as samples now; the run began with 22" in other.err
    assert vidi("train", "--resume", "run", "--data", "new").code == 0
    assert vidi("eval", "run", "--json").json()["top1"] >= 0  # it knows the new place


def test_two_processes_train_one_run(run_python: Run) -> None:
    """Both leave the damaged picture out."""
    cut_in_half(write_classes(Path("photos")) / "red" / "red3.jpg")
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vidi")
    words = ("train", *SMALL_CLASSIFIER, "norm=frozen", "--data", "photos", "--drop-faults", "--out", "run", "--json")
    done = run_python(*launch, *words, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"run": "run"') == 1  # one of them speaks
    assert Path("run/report.md").is_file()
    assert sum(json.loads(Path("run/config.json").read_text())["data"]["left_out"]["images"].values()) == 1
