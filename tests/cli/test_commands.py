"""Every command does what its help says, on tiny inputs, for people and for programs."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any, cast

import PIL.Image
import pytest
import torch
import typer
from torch import Tensor

import vidi as package
from tests.cli.command import vidi
from tests.cli.tiny_sets import SMALL_CLASSIFIER, SMALL_DETECTOR, write_classes, write_picture
from tests.conftest import Run
from vidi.catalog.table import CATALOG
from vidi.cli.app import app
from vidi.engine import runs
from vidi.results.detections import Detections
from vidi.tiled import Tiling
from vidi.translation.generation import WordChoice

COMMANDS = (
    *("train", "tune", "eval", "predict", "sample", "classify", "search", "embed", "verify", "export"),
    *("serve", "models", "recipe", "cost", "runs", "doctor", "data check", "data upright", "data world"),
    *("gallery add", "gallery remove", "gallery rename", "gallery query", "gallery list"),
)


# ----------------------------------------------------------------------------------------------------------------------
# Help


def test_the_keys_of_a_system_are_listed_by_recipe_and_by_help_beside_its_name() -> None:
    keys = {key["name"]: key for key in vidi("recipe", "retinanet_tiny", "--json").json()}
    assert keys["width"]["default"] == "32"
    assert keys["optimizer"]["kind"] == "one of sgd, adagrad, rmsprop, rmsprop_tf, adam, adamw"
    told = vidi("recipe", "retinanet_tiny").out
    assert "optimizer=adamw" in told
    assert "what turns gradients into updates." in told
    helped = vidi("train", "--data", "x", "retinanet_tiny", "--help").out
    assert "Keys of retinanet_tiny" in helped
    assert "optimizer=adamw" in helped
    assert "optimizer=" not in vidi("train", "--help").out


def test_these_are_all_commands() -> None:
    root = cast(Any, typer.main.get_command(app))
    groups = ("data", "gallery")
    names = {name for name in root.commands if name not in groups}
    nested = {f"{group} {name}" for group in groups for name in root.commands[group].commands}
    assert names | nested == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_shows_an_example(command: str) -> None:
    done = vidi(*command.split(), "--help", env={"COLUMNS": "160"})
    assert done.code == 0
    lines = [line.strip() for line in done.out.splitlines()]
    assert any(line.startswith(f"vidi {command}") for line in lines)
    assert any(line.endswith(".") and len(line) > 20 for line in lines)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("train resnet18 --lr 0.1", "--lr: no such option; it is a key, without dashes: learning_rate=VALUE"),
        (
            "train resnet18 --batch-size 4",
            "--batch-size: no such option; it is a key, without dashes: batch_size=VALUE",
        ),
        ("train resnet18 --imgsz=64", "--imgsz: no such option; it is a key, without dashes: size=VALUE"),
        ("train resnet18 --Device cpu", "--Device: no such option; it is a key, without dashes: device=VALUE"),
        ("tune resnet18 --epochs 3", "--epochs: no such option; it is a key, without dashes: epochs=VALUE"),
        ("train resnet18 --dataset x", "--dataset: no such option; it is an option: --data PATH"),
        ("predict run photos --conf 0.3", "--conf: no such option; it is an option of `vidi predict`: --threshold"),
        ("predict run photos --imgsz 64", "--imgsz: no such option; --help lists all options"),
        ("predict run photos --treshold 1", "--treshold: no such option; did you mean --threshold?"),
        ("models --weights-only", "--weights-only: no such option; did you mean --weights?"),
        ("sample run --out x --count-all 1", "--count-all: no such option; did you mean --count?"),
        ("models --count 3", "--count: no such option; --help lists all options"),
        ("gallery add --zzz", "--zzz: no such option; --help lists all options"),
    ],
)
def test_an_option_that_there_is_not_is_answered_with_what_it_was_meant_for(words: str, answer: str) -> None:
    """Habits of other tools too: their options are keys here, or options of another name."""
    done = vidi(*words.split())
    assert (done.code, done.out, done.err) == (2, "", f"vidi: {answer}\n")


def test_the_help_of_vidi_names_the_exit_codes() -> None:
    done = vidi("--help", env={"COLUMNS": "160"})
    assert "Exit codes: 0 done, 1 findings" in done.out
    assert all(name in done.out for name in ("train", "eval", "predict", "sample", "models", "cost", "runs", "doctor"))
    assert vidi("--version").out.count(".") == 2


# ----------------------------------------------------------------------------------------------------------------------
# Training and scoring


def test_a_training_leaves_a_complete_run_folder(detector: Path, classifier: Path) -> None:
    names = {path.name for path in detector.iterdir()}
    tables = {"config.json", "metrics.csv", "scores.json", "report.md"}
    pictures = {"curves.png", "precision_recall.png", "mosaic.png", "confusion_matrix.png", "thresholds.png"}
    assert names == tables | pictures | {"weights.safetensors", "last.safetensors", "state.pt"}
    assert not (classifier / "state.pt").exists()  # nobody asked for it
    refused = vidi("train", "--resume", classifier, "epochs=3")
    assert (refused.code, "kept no state to go on from: train with keep_state=true" in refused.err) == (2, True)
    report = (detector / "report.md").read_text()
    assert f"vidi predict {detector} PHOTOS" in report
    assert "| batch_size | 8 |" in report
    assert "| channels | 16 |" in report
    assert (
        f"vidi train {' '.join((SMALL_DETECTOR[0], '--data', 'world', *SMALL_DETECTOR[1:]))} world_scenes=24" in report
    )
    assert "| trained on | train, 24 images |" in report
    assert re.search(r"\| scored on \| val, 3 images, \d+ true objects \|", report)
    assert re.search(r"\| time \| (\d+ min )?\d+ s \|\n\| machine \| .*\d threads? of torch", report)
    assert "| class | objects | ap | ap50 |" in report


def test_a_training_prints_plain_lines_where_there_is_no_terminal(classes: Path) -> None:
    done = vidi("train", *SMALL_CLASSIFIER, "--data", classes)
    assert done.code == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{classes.resolve()}: class_folders (a folder of images for each of 2 classes")
    assert lines[1] == "resnet18: 6 steps"
    assert lines[2].startswith("step 1/6  cross_entropy ")
    assert " images/s  " in lines[2]
    assert lines[2].endswith(" left")
    assert "\x1b" not in done.out
    assert lines[-1].startswith("runs/resnet18: config.json, ")


def test_a_quiet_training_prints_its_scores_only(classes: Path) -> None:
    done = vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--quiet", "--json", "--out", "run")
    assert done.err == ""
    assert done.json() == {"run": "run", "scores": json.loads(Path("run/scores.json").read_text())}


def test_json_is_alone_on_the_standard_output(classes: Path) -> None:
    done = vidi("train", *SMALL_CLASSIFIER, "--data", classes, "--json")
    assert done.json()["run"] == "runs/resnet18"
    assert "resnet18: 6 steps" in done.err


def test_eval_gives_what_the_training_ended_with(detector: Path, classifier: Path) -> None:
    for run in (detector, classifier):
        found, expected = vidi("eval", run, "--json").json(), json.loads((run / "scores.json").read_text())
        assert {name: found[name] for name in runs.SCORED} == {name: expected[name] for name in runs.SCORED}
        classes = found.pop("classes")
        ours, theirs = runs.numbers_of(found), runs.numbers_of(expected)
        known = {name: value for name, value in theirs.items() if value is not None}
        assert {name for name, value in ours.items() if value is not None} == known.keys()
        assert {name: ours[name] for name in known} == pytest.approx(known, rel=1e-5)  # float32, in another layout
        assert ours.keys() == theirs.keys()
        names = json.loads((run / "config.json").read_text())["data"]["categories"]
        assert [row["class"] for row in classes] == names


def test_eval_prints_a_table_and_writes_plots_where_asked(classifier: Path) -> None:
    done = vidi("eval", classifier, "--split", "all", "--weights", "last", "--out", "plots")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("last weights on all of ")
    _, *rows, told = done.out.splitlines()
    words = [row.split()[0] for row in rows]
    assert words[:4] == ["score", "top1", "val/cross_entropy", "class"]
    assert sorted(words[4:]) == ["green", "red"]
    names = ["confusion_matrix.png", "predictions.json", "scores.csv", "worst.png"]
    assert told == f"plots: {', '.join(names)}"
    assert sorted(path.name for path in Path("plots").iterdir()) == names
    assert len(json.loads(Path("plots/predictions.json").read_text())) == 24


def test_a_score_of_nothing_is_a_dash_in_text_null_in_json_and_nothing_in_csv(detector: Path) -> None:
    done = vidi("eval", detector, "--out", "scored")
    assert done.code == 0
    rows = dict(line.split() for line in done.out.splitlines()[1:] if len(line.split()) == 2)  # after what was scored
    assert rows["ap_large"] == "-"  # a picture of 64 pixels has no room for a large object
    assert vidi("eval", detector, "--json").json()["ap_large"] is None
    assert json.loads((detector / "scores.json").read_text())["ap_large"] is None
    header, *lines = csv.reader((detector / "metrics.csv").read_text().splitlines())
    assert lines[-1][header.index("ap_large")] == ""
    assert "| ap_large | - |" in (detector / "report.md").read_text()
    by_class = list(csv.DictReader(Path("scored/scores.csv").read_text().splitlines()))
    none = [row for row in by_class if row["objects"] == "0"]
    assert all(row["ap"] == "" for row in none)
    assert all(float(row["ap"]) >= 0 for row in by_class if row not in none)


def test_eval_writes_nothing_without_a_folder_and_takes_the_decoders_keys(detector: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in detector.iterdir()}
    assert vidi("eval", detector, "score_threshold=0.5").code == 0
    assert not list(Path().iterdir())
    assert {path: path.stat().st_mtime_ns for path in detector.iterdir()} == before
    for value, count in (("0", 3 * 100), ("0.99", 0)):  # 3 steps make nobody so sure
        assert vidi("eval", detector, f"score_threshold={value}", "--out", "scored").code == 0
        assert len(json.loads(Path("scored/predictions.json").read_text())) == count
    wrong = vidi("eval", detector, "score=0.99")
    assert wrong.code == 2
    assert "score: no such key" in wrong.err


def test_a_threshold_decides_what_is_believed_and_is_for_detectors(detector: Path, classifier: Path) -> None:
    for threshold in ("0", "1"):
        assert vidi("eval", detector, "--threshold", threshold, "--out", f"from{threshold}").code == 0
    pictures = [Path(f"from{threshold}/confusion_matrix.png").read_bytes() for threshold in (0, 1)]
    assert pictures[0] != pictures[1]
    tables = [Path(f"from{threshold}/scores.csv").read_text() for threshold in (0, 1)]
    assert tables[0] == tables[1]
    wrong = vidi("eval", classifier, "--threshold", "0.5")
    assert wrong.code == 2
    assert "received threshold=0.5 for a system for classification, whose results have no scores" in wrong.err
    with pytest.raises(ValueError, match="received threshold=2, expected 0 to 1"):
        package.evaluate(detector, threshold=2)


def test_all_splits_of_the_world_are_scored_as_one(detector: Path) -> None:
    found = vidi("eval", detector, "--split", "all", "--json").json()
    assert (found["split"], found["images"]) == ("all", 24 + 3 + 3)


# ----------------------------------------------------------------------------------------------------------------------
# Using a model


def test_predict_prints_a_line_a_picture_and_draws_it(detector: Path) -> None:
    photos = [write_picture(Path(f"photos/{name}.jpg"), (40, 60)) for name in "ab"]
    done = vidi("predict", detector, "photos", "--threshold", "0.01")
    assert done.code == 0
    *results, where = done.out.splitlines()
    assert [line.split(":")[0] for line in results] == [str(photo) for photo in photos]
    assert where == f"drawn in {detector / 'predictions'}"
    for photo in photos:
        with PIL.Image.open(detector / "predictions" / photo.name) as drawn:
            assert drawn.width / drawn.height == pytest.approx(1.5, rel=0.02)


def test_predict_in_tiles_writes_what_it_writes_of_pictures(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(model: Any, image: Tensor, tiling: Tiling, batch_size: int) -> Detections:
        box = torch.tensor([[0.0, 0.0, tiling.tile, batch_size]])
        return Detections(box, torch.tensor([tiling.overlap]), torch.tensor([0]), ("thing",))

    monkeypatch.setattr("vidi.model.predict_in_tiles", cut)
    write_picture(Path("large/a.jpg"), (90, 130))
    words = ("--tile", "64", "--overlap", "0.75", "--out", "found")
    (record,) = vidi("predict", detector, "large", *words, "--json").json()
    assert record["objects"] == [{"name": "thing", "label": 0, "score": 0.75, "box": [0.0, 0.0, 64.0, 1.0]}]
    assert vidi("predict", detector, "large", *words, "--save", "coco", "--batch-size", "1").code == 0
    saved = json.loads(Path("found/coco/predictions.json").read_text())
    assert [row["bbox"] for row in saved["annotations"]] == [[0.0, 0.0, 64.0, 1.0]]
    assert Path("found/a.jpg").is_file()


def test_tiles_that_cannot_be_are_wrong_usage(detector: Path, classifier: Path) -> None:
    photo = write_picture(Path("a.jpg"), (40, 60))
    done = vidi("predict", classifier, photo, "--tile", "32")
    assert done.code == 2
    reason = (
        "classification; what is put together from tiles is detection, pose, landmarks, instance, semantic, windows"
    )
    assert done.err == f"vidi: --tile: {classifier} is a system for {reason}\n"
    for words in (("--tile", "0"), ("--tile", "32", "--overlap", "1"), ("--tile", "32", "--overlap", "-0.1")):
        assert vidi("predict", detector, photo, *words).code == 2


def test_predict_saves_objects_as_a_data_set(detector: Path) -> None:
    photos = [write_picture(Path(f"deep/{name}.jpg"), (40, 60), seed=k) for k, name in enumerate(("a", "b/a"))]
    done = vidi("predict", detector, "deep", "--threshold", "0.01", "--save", "coco", "--out", "found")
    assert done.code == 0
    assert done.out == f"saved: {Path('found', 'coco', 'predictions.json')}\n"
    checked = vidi("data", "check", "found/coco")
    assert checked.code == 0
    assert "coco_json" in checked.out
    assert "0 faults" in checked.out
    for photo in photos:
        assert Path("found/coco/images", photo.relative_to("deep")).read_bytes() == photo.read_bytes()


def test_predict_cannot_save_a_class_as_objects(classifier: Path) -> None:
    write_picture(Path("one.png"))
    done = vidi("predict", classifier, "one.png", "--save", "coco", "--no-draw")
    assert done.code == 3
    assert "a Classification has no form in COCO" in done.err
    assert vidi("predict", classifier, "one.png", "--save", "voc").code == 2


def test_predict_gives_records_to_a_program(classifier: Path) -> None:
    photos = [write_picture(Path("x/1.jpg")), write_picture(Path("y/1.png"))]
    records = vidi("predict", classifier, *photos, "--json", "--out", "drawn").json()
    assert [record["image"] for record in records] == ["x/1.jpg", "y/1.png"]
    assert [record["drawn"] for record in records] == ["drawn/1.jpg", "drawn/1-2.png"]  # neither is overwritten
    assert all(Path(record["drawn"]).is_file() for record in records)
    assert all(record["name"] in ("green", "red") and 0.5 <= record["score"] <= 1 for record in records)


def test_predict_finds_pictures_in_sub_folders_and_draws_into_the_same(classifier: Path) -> None:
    for name in ("a.jpg", "a.png", "a-2.png", "day/a.jpg", "night/late/a.jpg"):
        write_picture(Path("photos") / name)
    records = vidi("predict", classifier, "photos", "--json", "--out", "drawn").json()
    assert [(record["image"], record["drawn"]) for record in records] == [
        ("photos/a-2.png", "drawn/a-2.png"),
        ("photos/a.jpg", "drawn/a.jpg"),
        ("photos/a.png", "drawn/a-3.png"),  # files beside a drawn one have its name: a.depth.npy
        ("photos/day/a.jpg", "drawn/day/a.jpg"),
        ("photos/night/late/a.jpg", "drawn/night/late/a.jpg"),
    ]
    assert all(Path(record["drawn"]).is_file() for record in records)


def test_what_was_drawn_before_is_not_predicted_on(classifier: Path) -> None:
    write_picture(Path("photos/day/a.jpg"))
    for _ in range(2):
        done = vidi("predict", classifier, "photos", "--json", "--out", "photos/drawn")
        assert [record["image"] for record in done.json()] == ["photos/day/a.jpg"]
    assert done.err.splitlines()[0] == "vidi: 1 picture was drawn before in photos/drawn: left out"
    named = vidi("predict", classifier, "photos/drawn/day/a.jpg", "--json", "--out", "photos/drawn").json()
    assert [record["image"] for record in named] == ["photos/drawn/day/a.jpg"]  # unless it is asked for
    refused = vidi("predict", classifier, "photos", "--out", "photos")
    assert (refused.code, refused.out) == (2, "")
    assert "photos holds the photos: what is drawn would lie among them; expected another folder" in refused.err


def test_a_yaml_names_the_data_set() -> None:
    for row in range(12):
        write_picture(Path(f"cells/images/{row}.png"), (48, 48), seed=row)
        Path("cells/labels").mkdir(exist_ok=True)
        Path(f"cells/labels/{row}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    for split, rows in (("train", range(8)), ("val", range(8, 12))):
        Path(f"cells/{split}.txt").write_text("".join(f"./images/{row}.png\n" for row in rows))
    Path("cells/data.yaml").write_text("train: train.txt\nval: val.txt\nnames: {0: cell}\n")
    report = vidi("data", "check", "cells/data.yaml", "--json").json()
    assert {name: split["classes"] for name, split in report["splits"].items()} == {
        "train": {"cell": 8},
        "val": {"cell": 4},
    }
    assert vidi("train", *SMALL_DETECTOR, "--data", "cells/data.yaml", "--out", "run").code == 0
    recorded = json.loads(Path("run/config.json").read_text())["data"]
    assert (recorded["source"], recorded["samples"]) == (str(Path("cells/data.yaml").resolve()), 8)


def test_training_says_what_it_trains_on() -> None:
    for split in ("train", "test"):
        write_classes(Path("photos") / split)
    done = vidi("train", *SMALL_CLASSIFIER, "--data", "photos")
    assert done.code == 0, done.err
    assert "splits of its own: test" in done.out
    assert "val is a tenth of train, drawn with seed 0, stratified by class" in done.out


def test_predict_draws_nothing_unasked(classifier: Path) -> None:
    photo = write_picture(Path("1.png"))
    (record,) = vidi("predict", classifier, photo, "--json", "--no-draw", "--out", "drawn").json()
    assert "drawn" not in record
    assert not Path("drawn").exists()


# ----------------------------------------------------------------------------------------------------------------------
# Looking around


def test_models_takes_wildcards_and_tasks() -> None:
    assert [row["name"] for row in vidi("models", "--json").json()] == list(CATALOG)
    rows = vidi("models", "retina*", "--task", "detection", "--json").json()
    assert rows
    assert all(row["name"].startswith("retina") and row["task"] == "detection" for row in rows)
    assert set(rows[0]) == {"name", "task", "section", "paper", "export"}
    table = vidi("models", "resnet18", env={"COLUMNS": "60"}).out.splitlines()
    assert table[1].split()[:3] == ["resnet18", "classification", "2.2.1"]
    assert "He et al. 2016, 1512.03385" in table[1]  # one line a row, however narrow the pipe claims to be
    markdown = vidi("models", "--markdown").out
    assert all(f"`{name}`" in markdown for name in CATALOG)


def test_cost_counts_parameters_and_multiply_adds() -> None:
    report = vidi("cost", "resnet18", "--json").json()
    assert (report["parameters"], round(report["macs"] / 1e9, 4)) == (11_689_512, 1.8141)
    narrow = vidi("cost", "resnet18", "width=16", "--image", "64,64", "--depth", "1").out.splitlines()
    assert [line.split()[0] for line in narrow[1:3]] == ["backbone", "head"]
    assert narrow[-1].endswith("matmul 0")
    assert "1 x 3 x 64 x 64" in narrow[-1]
    own_size = vidi("cost", "resnet18", "width=16", "size=64,64", "--depth", "1").out.splitlines()
    assert own_size[-1] == narrow[-1]
    assert vidi("cost", "gan").code == 2
    assert vidi("cost", "transformer_tiny").code == 2
    assert "image: received '64'" in vidi("cost", "resnet18", "--image", "64").err
    assert "did you mean width" in vidi("cost", "resnet18", "widht=8").err


def test_runs_lists_models_data_progress_and_scores(classifier: Path, detector: Path) -> None:
    shutil.copytree(classifier, "runs/a")
    shutil.copytree(detector, "runs/b")
    Path("runs/b/scores.json").unlink()
    first, second = vidi("runs", "--json").json()
    assert first["run"] == "runs/a"
    assert first["model"] == "resnet18"
    assert Path(first["data"]).name == "colours"
    assert (first["epoch"], first["finished"]) == (2, True)
    assert set(first["scores"]) == {"top1"}
    assert (second["data"], second["finished"]) == ("world", False)
    lines = vidi("runs").out.splitlines()
    assert lines[0].split() == ["run", "model", "data", "epoch", "finished", "latest", "scores"]
    assert lines[1].split()[:5] == ["runs/a", "resnet18", "colours", "2", "yes"]


def test_a_damaged_run_does_not_hide_the_others(classifier: Path) -> None:
    shutil.copytree(classifier, "runs/a")
    Path("runs/b").mkdir()
    Path("runs/b/config.json").write_text('{"model"')
    Path("runs/c").mkdir()
    Path("runs/c/config.json").write_text('{"hidden_size": 768}')
    done = vidi("runs", "--json")
    assert done.code == 1
    assert [row["run"] for row in json.loads(done.out)] == ["runs/a"]
    assert "runs/b/config.json, line 1" in done.err
    assert "runs/c/config.json does not describe a model" in done.err


def test_runs_and_help_import_no_torch(run_python: Run, classifier: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from vidi.cli.app import app\n"
        "for words in (['--help'], ['train', '--help'], ['runs', sys.argv[1]], ['eval', 'nothing']):\n"
        "    print(CliRunner().invoke(app, words).exit_code)\n"
        "print('torch' in sys.modules)"
    )
    done = run_python("-c", code, classifier.parent)
    assert done.stdout.split() == ["0", "0", "0", "2", "False"], done.stderr


def test_doctor_names_versions_device_and_threads() -> None:
    facts = vidi("doctor", "--json").json()
    assert {"python", "vidi", "torch", "torchvision", "device", "threads"} <= set(facts)
    assert all(name in vidi("doctor").out for name in facts if name != "advice")  # the load changes


def test_data_check_says_what_a_data_set_is(classes: Path) -> None:
    done = vidi("data", "check", classes, "--out", "checked")
    assert done.code == 0
    assert "recognised as class_folders" in done.out
    assert done.err.split() == ["checked/train.png", "checked/val.png"]
    assert all(Path(name).is_file() for name in done.err.split())
    report = vidi("data", "check", classes, "--json").json()
    assert report["splits"]["train"]["classes"] == {"green": 11, "red": 11}
    assert report["faults"] == []
    assert vidi("data", "check", classes, "--size", "32,48").code == 0
    wrong = vidi("data", "check", classes, "--size", "32")
    assert (wrong.code, "height and width in pixels, such as 240,320" in wrong.err) == (2, True)


def test_data_world_draws_a_page(tmp_path: Path) -> None:
    done = vidi("data", "world", "--out", "pages", "--rows", "1")
    assert done.out.strip() == "pages/world.png"
    with PIL.Image.open("pages/world.png") as page:
        assert page.width > page.height


def test_sentences_are_translated_as_their_words_shall_be_chosen() -> None:
    numbers = ("width=16", "heads=2", "hidden=16", "layers=1", "world_scenes=64", "steps=1", "log_every=1")
    assert vidi("train", "transformer_tiny", *numbers, "--out", "run").code == 0
    model, sentence = package.load("run"), "the old cat sees one dog"
    for words, choice in (
        ((), WordChoice()),
        (("beams=3", "length_penalty=0.5"), WordChoice(beams=3, length_penalty=0.5)),
        (("temperature=1.5", "top_k=5", "seed=2"), WordChoice(temperature=1.5, top_k=5, seed=2)),
    ):
        (record,) = vidi("predict", "run", sentence, *words, "--json").json()
        assert record == {"input": sentence, **model.choosing(choice).predict(sentence)[0].to_dict()}
    wrong = vidi("predict", "run", sentence, "beam=3")
    assert (wrong.code, "did you mean beams?" in wrong.err) == (2, True)


def test_masks_are_predicted_by_thresholds_of_the_command(tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "photo.png")
    model: Any = package.create("mask2former_tiny", categories=3, things=2, size=(32, 32))
    model.save("run")
    chosen = {"score_threshold": 0.1, "overlap_threshold": 0.0, "mask_threshold": 0.0}
    words = [f"{name}={value}" for name, value in chosen.items()]
    show = ("--threshold", "0", "--no-draw", "--json")
    (record,) = vidi("predict", "run", picture, *words, *show).json()
    (expected,) = model.with_options(**chosen).predict(picture)
    assert [row["label"] for row in record["segments"]] == [segment.label for segment in expected]
    assert record["fallen"] == expected.fallen
    assert len(expected)
    (usual,) = vidi("predict", "run", picture, *show).json()
    assert usual["fallen"] != record["fallen"]
    package.create("mask2former_tiny_semantic", categories=3, size=(32, 32)).save("classes")
    for run, given, message in (
        ("run", [picture, "score_treshold=0.3"], "did you mean score_threshold?"),
        ("run", [picture, "score_threshold=much"], "score_threshold: received 'much', expected float"),
        ("run", [picture, "mask_threshold=1.5"], "received mask_threshold=1.5, expected a number from 0 to 1"),
        ("run", ["score_threshold=0.3"], "which pictures?"),
        ("classes", [picture, "score_threshold=0.3"], "received score_threshold for a model that has no options"),
    ):
        wrong = vidi("predict", run, *given)
        assert (wrong.code, message in wrong.err) == (2, True), wrong.err


def test_a_run_begins_with_another_ones_weights_and_goes_on_longer(classifier: Path, classes: Path) -> None:
    still = ("learning_rate=1e-12", "weight_decay=0", "epochs=1", "batch_size=8", "augment=none")
    done = vidi(
        "train", "resnet18", "--weights", classifier, "--data", classes, "--out", "second", "keep_state=true", *still
    )
    assert done.code == 0, done.err
    assert json.loads(Path("second/config.json").read_text())["weights"] == str(classifier)
    longer = vidi("train", "--resume", "second", "epochs=2", "--json").json()
    assert longer["scores"]["split"] == "val"
    assert json.loads(Path("second/config.json").read_text())["recipe"][""]["epochs"] == 2
    for words, message in (
        (("epochs=2",), "expected more than 2, which the run has come to"),
        (("batch_size=4",), "batch_size: a run goes on with its own numbers, all but epochs, steps"),
        (("resnet18",), "--resume continues a run with its own model"),
    ):
        refused = vidi("train", "--resume", "second", *words)
        assert (refused.code, message in refused.err) == (2, True), refused.err
    other = vidi("train", "resnet34", "--weights", classifier, "--data", classes, "--out", "third")
    assert (other.code, "holds the weights of resnet18, not of resnet34" in other.err) == (2, True)


def test_scores_say_what_they_are_of(classifier: Path, classes: Path) -> None:
    facts = {"split": "val", "images": 2, "weights": "last", "data": str(classes)}
    found = vidi("eval", classifier, "--weights", "last", "--json").json()
    assert {name: found[name] for name in facts} == facts
    head, *rows = vidi("eval", classifier, "--split", "train", "--data", classes).out.splitlines()
    assert head == f"best weights on train of {classes}, 22 images"
    assert [row.split()[0] for row in rows][:4] == ["score", "top1", "val/cross_entropy", "class"]
    report = (classifier / "report.md").read_text()
    assert f"Scores of the best weights on val of {classes}, 2 images:" in report
    validated = [row for row in runs.Run(classifier).metrics() if "top1" in row]
    assert {(row["split"], row["images"]) for row in validated} == {("val", 2)}
