"""What a row of scores says, to people and to programs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.tiny import Blobs, tiny
from vidi import files
from vidi.engine.fit import Training
from vidi.engine.progress import Silent
from vidi.engine.recipe import Recipe
from vidi.engine.report import write_report
from vidi.engine.runs import Row, Run, describe_scores, numbers_of, shown
from vidi.tasks.detection import DETECTION

ROW: Row = {"split": "test", "images": 24, "weights": "last", "data": "/photos", "ap": -1.0, "ap50": 0.51239}


@pytest.mark.parametrize(
    ("value", "text"), [(-1.0, "-"), (-1, "-"), (0.51239, "0.5124"), (-0.5, "-0.5000"), (3, "3"), ("low", "low")]
)
def test_a_score_without_objects_is_a_dash(value: Any, text: str) -> None:
    assert shown(value) == text


def test_scores_say_what_they_are_of_as_far_as_it_is_known() -> None:
    assert describe_scores(ROW) == "last weights on test of /photos, 24 images"
    assert describe_scores({"split": "val", "images": 3, "ap": 0.1}) == "on val, 3 images"
    assert describe_scores({"ap": 0.1}) == ""
    assert numbers_of({**ROW, "step": 3, "epoch": 1, "stage": "low"}) == {"ap": -1.0, "ap50": 0.51239}


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


def test_a_validation_without_objects_is_a_dash_on_the_terminal_and_a_number_in_files(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    def validate(model: Any, processes: Any) -> Row:
        return {"split": "val", "images": 3, "ap": -1.0, "val/loss": 0.25}

    torch.manual_seed(0)
    recipe = Recipe(epochs=1, batch_size=4, device="cpu")
    run = Run(tmp_path / "run")
    Training(tiny(), recipe, Blobs(), run, validate=validate, headline="ap", progress=Listening()).fit()
    assert said == ["epoch 1 on val, 3 images: ap -, val/loss 0.25  (best so far)"]
    (row,) = [row for row in run.metrics() if "ap" in row]
    assert (row["ap"], row["split"], row["images"]) == (-1, "val", 3)
    assert "-1" in files.read_text(run.metrics_path)
