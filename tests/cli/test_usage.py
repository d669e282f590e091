"""What is asked wrongly: exit code 2, everything wrong at once, and what would have been right."""

import shutil
from pathlib import Path

import pytest

from tests.cli.command import vidi
from tests.cli.tiny_sets import SMALL_CLASSIFIER, write_picture
from vidi import files
from vidi.engine.runs import SCORED
from vidi.weights.creation import create


def test_an_unknown_model_is_told_with_its_nearest_name() -> None:
    done = vidi("train", "retinanet_tinny", "bla")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("vidi: no model is called 'retinanet_tinny'; did you mean retinanet_tiny or ")
    assert vidi("train", "zzz").err == "vidi: no model is called 'zzz'; vidi.models(), `vidi models`, lists them\n"


def test_all_wrong_words_are_told_at_once() -> None:
    done = vidi("train", "resnet18", "epoch=3", "learning_rate=abc", "bla", "optimizer=foo", "seed=1", "seed=2")
    assert done.code == 2
    assert done.err.removeprefix("vidi: ").splitlines() == [
        "epoch: no such key; here it is epochs",
        "learning_rate: received 'abc', expected float",
        "'bla': expected key=value",
        "optimizer: received 'foo', expected one of sgd, adagrad, rmsprop, rmsprop_tf, adam, adamw",
        "seed: given twice",
    ]
    assert not Path("runs").exists()


def test_all_numbers_that_no_training_can_follow_are_told_at_once() -> None:
    wrong = {
        "epochs=0": "at least 1",
        "batch_size=-1": "at least 1",
        "learning_rate=nan": "more than 0",
        "ema=1": "at least 0 and less than 1",
        "betas=0.9,1.5": "at least 0 and less than 1",
        "workers=-2": "at least 0",
        "precision=fp16": "a CPU takes float32 or bf16",
    }
    done = vidi("train", "resnet18", *wrong, "device=cpu")
    assert done.code == 2
    lines = dict(line.split(": ", 1) for line in done.err.removeprefix("vidi: ").splitlines())
    assert set(lines) == {word.split("=")[0] for word in wrong}
    assert all(expected in lines[word.split("=")[0]] for word, expected in wrong.items())
    assert "high.epochs: received 0" in vidi("train", "progressive_resnet18", "high.epochs=0").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resnet18", "batch_size=6", "accumulate=4"), "batch_size: received 6, expected a multiple of accumulate"),
        (("retinanet_tiny", "mix=mixup"), "mix: received mixup, expected none for detection"),
        (("retinanet_tiny", "augment=crop_randaugment"), "augment: received crop_randaugment, expected none or flip"),
        (
            ("retinanet_tiny", "augment=crop"),
            "augment: received crop, expected none or flip or resized_crop or boxes or",
        ),
        (("resnet18", "width=0"), "resnet18 cannot be built with width=0: received width=0"),
        (("resnet18", "size=-3,4"), "resnet18 cannot be built with size=(-3, 4): received exact=(-3, 4), expected"),
        (("resnet18", "world_size=8,8"), "world: size must be (H, W) with sides from 32 to 512"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(words: tuple[str, ...], said: str) -> None:
    done = vidi("train", *words)
    assert done.code == 2
    assert done.err.startswith(f"vidi: {said}")
    assert not Path("runs").exists()


def test_a_training_needs_a_name() -> None:
    assert vidi("train").code == 2


def test_a_run_folder_is_not_overwritten(classifier: Path, classes: Path) -> None:
    before = {path.name: path.read_bytes() for path in classifier.iterdir() if path.is_file()}
    done = vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--out", classifier)
    assert done.code == 2
    assert done.err.startswith(f"vidi: {classifier} already holds a run; continue it with --resume")
    assert {path.name: path.read_bytes() for path in classifier.iterdir() if path.is_file()} == before


def test_a_resumed_run_takes_no_other_numbers(classifier: Path) -> None:
    own = "--resume continues a run with its own model, folder and numbers"
    numbers = "learning_rate: a run goes on with its own numbers, all but epochs, steps"
    for words, said in ((("learning_rate=3",), numbers), (("--out", "x"), own), (("--drop-faults",), own)):
        done = vidi("train", "--resume", classifier, *words)
        assert done.code == 2
        assert said in done.err


@pytest.mark.parametrize(
    "words",
    [("eval", "nothing"), ("predict", "nothing", "1.png"), ("sample", "nothing"), ("train", "--resume", "nothing")],
)
def test_a_run_that_does_not_exist_is_told(words: tuple[str, ...]) -> None:
    done = vidi(*words)
    assert (done.code, done.err) == (2, "vidi: nothing does not exist; expected a run folder, as `vidi train` makes\n")
    Path("nothing").mkdir()
    assert "nothing has no config.json" in vidi(*words).err


@pytest.mark.parametrize(
    "words", [("eval",), ("predict",), ("sample",), ("data", "check"), ("eval", "x", "--split", "y")]
)
def test_missing_and_unknown_words_are_usage(words: tuple[str, ...]) -> None:
    done = vidi(*words)
    assert (done.code, done.out) == (2, "")
    assert "Usage:" in done.err


def test_a_command_says_which_models_it_is_for(classifier: Path, generator: Path) -> None:
    photo = write_picture(Path("1.png"))
    unjudged = Path("unjudged")
    shutil.copytree(generator, unjudged)
    config = files.read_json(unjudged / "config.json")
    config["recipe"][""]["judge"] = None
    files.write_json(unjudged / "config.json", config)
    for words, said in (
        (("sample", classifier), "does not generate"),
        (("predict", generator, photo), "predicts nothing"),
        (("eval", unjudged), "gan was trained with judge=none, and has no score"),
    ):
        done = vidi(*words)
        assert done.code == 2
        assert said in done.err


def test_a_saved_model_has_no_data_of_its_own(classes: Path) -> None:
    create("resnet18", size=(16, 16), width=16, categories=("green", "red")).save("saved")
    for words, said in ((("eval", "saved"), "say which with --data"), (("train", "--resume", "saved"), "saved model")):
        done = vidi(*words)
        assert done.code == 2
        assert said in done.err
    scores = vidi("eval", "saved", "--data", classes, "--json").json()
    assert set(scores) == {*SCORED, "top1", "val/cross_entropy", "classes"}
    assert vidi("predict", "saved", classes / "red" / "red0.jpg", "--no-draw").code == 0


def test_no_model_and_no_task_of_that_name() -> None:
    assert vidi("models", "zzz*").code == 2
    done = vidi("models", "--task", "cooking")
    assert done.code == 2
    assert "expected one of classification, translation, anchors" in done.err
    assert vidi("models", "zzz*", "--json").json() == []


def test_runs_needs_a_folder() -> None:
    done = vidi("runs")
    assert (done.code, done.err) == (
        2,
        "vidi: runs is not a folder; expected one that holds runs, as `vidi train` makes\n",
    )
    Path("runs").mkdir()
    assert vidi("runs").out == "runs holds no runs\n"


def test_several_processes_need_one_folder() -> None:
    done = vidi("train", "resnet18", env={"WORLD_SIZE": "2", "RANK": "1"})
    assert done.code == 2
    assert "say which with --out" in done.err
