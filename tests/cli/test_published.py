"""Published weights from the shell: listed, used as they are, fine-tuned."""

import shutil
from pathlib import Path

import pytest

import vidi as package
from tests.cli.command import vidi
from tests.closeness import assert_close
from tests.weights.publishing import publish
from vidi import files
from vidi.backbones.resnet_cifar import resnet20
from vidi.model import Supervised
from vidi.preprocess import IMAGENET_MEAN
from vidi.weights.tables.cifar_resnet import cifar10_categories

WEIGHTS = ("--weights", "akamaster/cifar10")
SHORT = ("epochs=1", "batch_size=8", "augment=none")


@pytest.fixture
def donor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervised:
    model = resnet20(categories=10)
    publish(model, tmp_path, monkeypatch)
    return model


@pytest.fixture
def here(donor: Supervised) -> Supervised:
    Path("weights").mkdir()
    shutil.copy("web/resnet20.th", "weights")
    return donor


def test_weights_are_listed_with_their_score_and_place(donor: Supervised) -> None:
    (row,) = vidi("models", "resnet20", "--weights", "--json").json()
    assert (row["weights"], row["score"], row["path"]) == ("akamaster/cifar10", {"top1": 91.73}, None)
    line = vidi("models", "resnet20", "--weights").out.splitlines()[1]
    assert line.split()[:5] == ["resnet20", "akamaster/cifar10", "top1", "91.73", "BSD-2-Clause"]
    assert vidi("models", "gan", "--weights", "--json").json() == []


def test_predict_takes_a_name_with_published_weights(here: Supervised, classes: Path) -> None:
    photo = next(classes.rglob("*.jpg"))
    (record,) = vidi("predict", "resnet20", photo, "--json").json()  # the first weights, if none are named
    (named,) = vidi("predict", "resnet20", photo, *WEIGHTS, "--json").json()
    assert record == named
    assert Path(record["drawn"]).is_file()
    assert record["name"] in ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_weights_that_are_not_here_are_told_in_one_line(donor: Supervised, classes: Path) -> None:
    photo = next(classes.rglob("*.jpg"))
    absent = vidi("predict", "resnet20", photo)
    assert absent.code == 3
    assert "weights/resnet20.th: no such file (looked in " in absent.err
    assert "); put file://" in absent.err
    assert vidi("predict", "resnet20", photo, "--download").code == 0
    assert Path("weights/resnet20.th").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "resnet20", "x.jpg", "--weights", "best"), "resnet20 has no weights 'best'; expected one of aka"),
        (("predict", "resnet32", "x.jpg"), "resnet32 has no published weights; train it first"),
        (("train", "resnet20", "--weights", "imagenet"), "expected one of akamaster/cifar10"),
        (("train", "resnet20", "--backbone-weights", "resnet20/cifar"), "did you mean resnet20/akamaster/cifar10"),
        (("train", "--resume", "run", *WEIGHTS), "--resume continues a run with its own model"),
    ],
)
def test_wrong_weights_are_wrong_usage(here: Supervised, classes: Path, words: tuple, message: str) -> None:
    shutil.copy(next(classes.rglob("*.jpg")), "x.jpg")
    done = vidi(*words)
    assert done.code == 2, done.err
    assert message in done.err


def test_fine_tuning_begins_with_the_published_weights_and_a_new_head(here: Supervised, classes: Path) -> None:
    still = ("learning_rate=1e-12", "weight_decay=0", *SHORT)
    done = vidi("train", "resnet20", *WEIGHTS, "--data", classes, "--out", "run", *still)
    assert done.code == 0, done.err
    config = files.read_json("run/config.json")
    assert (config["weights"], config["recipe"][""]["optimizer"]) == ("akamaster/cifar10", "adamw")
    assert config["preprocess"]["exact"] == [40, 40]
    model = package.load("run")
    ours, theirs = (m.network.get_parameter("backbone.stage2.1.conv1.weight") for m in (model, here))
    assert_close(ours, theirs, 1e-9)
    assert model.network.get_parameter("head.linear.weight").shape == (2, 64)


def test_a_training_begins_with_the_backbone_of_another_model(here: Supervised, classes: Path) -> None:
    still = ("learning_rate=1e-12", "weight_decay=0", "size=24,24", *SHORT)
    backbone = ("--backbone-weights", "resnet20/akamaster/cifar10")
    done = vidi("train", "resnet20", *backbone, "--data", classes, "--out", "run", *still)
    assert done.code == 0, done.err
    config = files.read_json("run/config.json")
    assert config["backbone_weights"] == "resnet20/akamaster/cifar10"
    assert (config["preprocess"]["exact"], config["preprocess"]["mean"]) == ([24, 24], list(IMAGENET_MEAN))
    model = package.load("run")
    ours, theirs = (m.network.get_parameter("backbone.stage3.1.conv1.weight") for m in (model, here))
    assert_close(ours, theirs, 1e-9)


def test_a_file_in_the_published_format_is_as_good_as_a_name(donor: Supervised, classes: Path) -> None:
    photo = next(classes.rglob("*.jpg"))
    (record,) = vidi("predict", "resnet20", photo, "--weights", "web/resnet20.th", "--json").json()
    model = package.create("resnet20")
    model.network.load_state_dict(donor.network.state_dict())
    assert record["score"] == pytest.approx(model.predict(photo)[0].score, abs=1e-5)
    assert record["name"] in cifar10_categories()
    done = vidi("train", "resnet20", "--weights", "web/resnet20.th", "--data", classes, "--out", "run", *SHORT)
    assert done.code == 0, done.err
    assert package.load("run").network.get_parameter("head.linear.weight").shape == (2, 64)
    Path("empty.th").write_bytes(b"")
    broken = vidi("predict", "resnet20", photo, "--weights", "empty.th")
    assert (broken.code, broken.err.count("\n")) == (3, 1)


def test_a_fine_tuning_that_was_killed_at_once_begins_again_with_the_published_weights(
    here: Supervised, classes: Path
) -> None:
    for folder in ("whole", "killed"):
        done = vidi("train", "resnet20", *WEIGHTS, "--data", classes, "--out", folder, *SHORT, "size=24,24")
        assert done.code == 0, done.err
    for name in ("scores.json", "weights.safetensors", "last.safetensors"):
        Path("killed", name).unlink()
    assert vidi("train", "--resume", "killed").code == 0
    assert Path("killed/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()
