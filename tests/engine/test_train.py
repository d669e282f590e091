"""What a training does besides learning: threads, the threshold of its run, what it says."""

from pathlib import Path

import pytest
import torch

import vidi
from vidi.tasks.detection import DetectionScorer

SMALL = {"size": (64, 64), "channels": 16, "width": 16, "batch_size": 8, "world_scenes": 16, "world_size": (64, 64)}


def test_the_run_shows_what_scores_at_least_the_threshold_of_its_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DetectionScorer, "best_threshold", lambda self: 0.17, raising=False)
    before = torch.get_num_threads()
    run = vidi.train("retinanet_tiny", out=tmp_path / "run", epochs=1, threads=2, quiet=True, **SMALL)
    told, threads = capsys.readouterr(), torch.get_num_threads()
    torch.set_num_threads(before)
    assert threads == 2
    assert (told.out, told.err) == ("", "")
    assert run.config()["threshold"] == 0.17
    assert run.metrics()[-1]["threshold"] == 0.17
    model = vidi.load(run.folder)
    assert model.shown_from == 0.17
    assert vidi.fuse_for_inference(model).shown_from == 0.17
    model.shown_from = 0.3
    model.save(tmp_path / "saved")
    assert vidi.load(tmp_path / "saved").shown_from == 0.3
    (found,) = model.predict(torch.rand(3, 64, 64))
    assert found.threshold == 0.3
    assert all(row.score >= 0.02 for row in model.predict(torch.rand(3, 64, 64), threshold=0.02)[0])


def test_a_training_from_python_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vidi.train("retinanet_tiny", out=tmp_path / "run", epochs=1, **SMALL)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("run: 2 steps\nstep 1/2  ")
