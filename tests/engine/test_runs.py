"""What a row of scores says, to people and to programs."""

import math
import os
import platform
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.tiny import Blobs, tiny
from vidi import files
from vidi.engine.console import spoken_time
from vidi.engine.fit import Training
from vidi.engine.progress import Silent
from vidi.engine.recipe import Recipe
from vidi.engine.report import Trained, kept_step, write_report
from vidi.engine.runs import Row, Run, describe_scores, number_in, numbers_of, shown, with_gaps
from vidi.tasks.detection import DETECTION

ROW: Row = {"split": "test", "images": 24, "weights": "last", "data": "/photos", "ap": None, "ap50": 0.51239}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (-1.0, "-1.0000"), (0.51239, "0.5124"), (-0.5, "-0.5000"), (3, "3"), ("low", "low")],
)
def test_a_score_without_objects_is_a_dash(value: Any, text: str) -> None:
    assert shown(value) == text


def test_scores_say_what_they_are_of_as_far_as_it_is_known() -> None:
    assert describe_scores(ROW) == "last weights on test of /photos, 24 images"
    assert describe_scores({"split": "val", "images": 3, "ap": 0.1}) == "on val, 3 images"
    assert describe_scores({"ap": 0.1}) == ""
    assert numbers_of({**ROW, "step": 3, "epoch": 1, "stage": "low"}) == {"ap": None, "ap50": 0.51239}


def test_a_missing_score_is_none_and_a_loss_or_rate_stays_what_it_is() -> None:
    row = {"ap": -1.0, "ar": -1, "iou": math.nan, "ap50": 0.5, "split": "val", "worst": -0.99, "none": None}
    others = {"train/critic": -1.0, "val/cosine": -1, "train/loss": math.inf, "learning_rate": -1, "step": -1}
    expected = {"ap": None, "ar": None, "iou": None, "ap50": 0.5, "split": "val", "worst": -0.99, "none": None}
    assert with_gaps({**row, **others}) == {**expected, **others}


def test_a_number_that_a_row_lacks_is_an_error() -> None:
    assert number_in({"step": 3}, "step") == 3
    for row in ({}, {"step": None}, {"step": "3"}):
        with pytest.raises(TypeError, match="as step, expected a number"):
            number_in(row, "step")


def test_old_runs_read_as_new_ones(tmp_path: Path) -> None:
    run = Run(tmp_path)
    files.write_text(run.metrics_path, "step,train/critic,ap,ap_large\n1,-1.0,,\n2,,0.25,-1.0\n3,,-1,-1\n")
    assert run.metrics() == [{"step": 1, "train/critic": -1.0}, {"step": 2, "ap": 0.25}, {"step": 3}]
    assert run.scores() == {}
    files.write_json(run.scores_path, {"split": "val", "ap": -1.0, "ap50": 0.5})
    assert run.scores() == {"split": "val", "ap": None, "ap50": 0.5}


def test_the_report_names_what_was_scored_and_shows_a_dash(tmp_path: Path) -> None:
    config = {
        "model": "retinanet_tiny",
        "data": {"source": "/photos"},
        "recipe": {},
        "arguments": {},
    }
    write_report(Run(tmp_path), DETECTION, {**config, "backbone_weights": "resnet18/mine"}, [], ROW)
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "Trained on `/photos`, beginning with the backbone of `resnet18/mine`." in lines
    assert "Scores of the last weights on test of /photos, 24 images:" in lines
    assert {"| ap | - |", "| ap50 | 0.5124 |"} <= set(lines)
    assert not any(line.startswith(("| split", "| images")) for line in lines)


def test_the_report_says_what_the_training_was_and_how_to_repeat_it(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "model": "retinanet_tiny",
        "data": {"source": "/my photos", "samples": 30, "faults": "drop"},
        "recipe": {"": {"epochs": 9, "steps": None, "learning_rate": 0.1}},
        "arguments": {"size": [96, 128], "categories": ["cat"]},
        "weights": "runs/other",
    }
    classes = [{"class": "cat", "objects": 31, "ap": 0.5}, {"class": "dog", "objects": 4, "ap": None}]

    def lines_of(config: dict[str, Any], **more: Any) -> list[str]:
        write_report(Run(tmp_path), DETECTION, config, [], ROW, (), Trained(3725.2, classes=classes, **more))
        return (tmp_path / "report.md").read_text().splitlines()

    lines = lines_of({**config, "given": {"epochs": 4, "size": (96, 128), "clip": None}})
    assert "| trained on | train, 30 images |" in lines
    assert "| scored on | test, 24 images, 35 true objects |" in lines
    assert "| time | 1 h 2 min |" in lines
    (machine,) = [line for line in lines if line.startswith("| machine | ")]
    assert f"{os.cpu_count()} core" in machine
    assert f"{torch.get_num_threads()} thread" in machine
    assert platform.node() not in machine
    command = "vidi train retinanet_tiny --data '/my photos' --weights runs/other --drop-faults"
    assert f"{command} epochs=4 size=96,128 clip=none --out {tmp_path}" in lines
    assert {"| class | objects | ap |", "| cat | 31 | 0.5000 |", "| dog | 4 | - |"} <= set(lines)
    assert not any("--resume" in line for line in lines)

    former = [{"": {"epochs": 4, "steps": None}}, {"": {"epochs": 6, "steps": None}}]
    lines = lines_of({**config, "given": {"epochs": 4}, "lengthened": former}, resumed=True)
    resumed = [line.partition("--resume ")[2] for line in lines if "--resume" in line]
    assert resumed == [f"{tmp_path} epochs=6", f"{tmp_path} epochs=9"]
    assert "| time | 1 h 2 min since it was resumed |" in lines

    lines = lines_of(config)  # of an older version: all keys but those that the data say
    assert f"{command} epochs=9 steps=none learning_rate=0.1 size=96,128 --out {tmp_path}" in lines


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.7, "1 min 0 s"), (3599, "59 min 59 s"), (7322, "2 h 2 min")]
)
def test_times_are_said_in_their_two_largest_units(seconds: float, said: str) -> None:
    assert spoken_time(seconds) == said


def test_the_kept_step_is_the_first_of_the_best_headline_in_the_last_stage() -> None:
    rows: list[Row] = [{"step": step, "ap": ap} for step, ap in ((1, 0.1), (2, 0.3), (3, 0.3), (4, 0.2), (5, None))]
    assert kept_step([{"step": 1, "train/loss": 1.0}, *rows, {"step": 5, "train/loss": 0.5}], "ap") == 2
    assert kept_step(rows, "top1") is None
    assert kept_step([], "ap") is None
    staged = [{**row, "stage": "first"} for row in rows] + [{"step": 9, "ap": 0.05, "stage": "second"}]
    assert kept_step(staged, "ap") == 9


def test_a_validation_without_objects_is_a_dash_on_the_terminal_and_nothing_in_files(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    def validate(model: Any, processes: Any) -> Row:
        return {"split": "val", "images": 3, "ap50": 0.5, "ap": None, "val/loss": 0.25}  # the first is for the files

    torch.manual_seed(0)
    recipe = Recipe(epochs=1, batch_size=4, device="cpu")
    run = Run(tmp_path / "run")
    Training(tiny(), recipe, Blobs(), run, validate=validate, headline="ap", progress=Listening()).fit()
    assert said == ["epoch 1 on val, 3 images: ap -, val/loss 0.25"]
    (row,) = [row for row in run.metrics() if "split" in row]
    assert (row["split"], row["images"], "ap" in row) == ("val", 3, False)
    header, *_, validated = files.read_text(run.metrics_path).splitlines()
    assert dict(zip(header.split(","), validated.split(","), strict=True))["ap"] == ""
    assert run.weights_path("best").is_file()


def test_a_validation_without_a_score_takes_no_scored_weights_place(tmp_path: Path) -> None:
    scores = iter([None, 0.5, None, 0.4])
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    run = Run(tmp_path / "run")
    recipe = Recipe(epochs=4, batch_size=4, device="cpu")
    kept: list[bytes] = []

    def validate(model: Any, processes: Any) -> Row:
        kept.append(run.weights_path("best").read_bytes() if kept or run.weights_path("best").is_file() else b"")
        return {"ap": next(scores)}

    Training(tiny(), recipe, Blobs(), run, validate=validate, headline="ap", progress=Listening()).fit()
    assert [text.endswith("(best so far)") for text in said] == [False, True, False, False]
    kept.append(run.weights_path("best").read_bytes())
    assert kept[0] == b""  # the first ones are written, and stay until others have a score
    assert kept[1] != kept[2]
    assert kept[2] == kept[3] == kept[4]
