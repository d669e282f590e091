"""A search: trials, gone on with, cut short, failed ones, and the command that trains as the best did."""

import shlex
from pathlib import Path
from typing import Any

import pytest

import vidi
from tests.cli.tiny_sets import write_classes
from vidi import api, files
from vidi.catalog.listed import UsageError
from vidi.engine.hooks import Epoch, StopTraining
from vidi.engine.overrides import split_overrides
from vidi.engine.progress import Progress
from vidi.engine.runs import Run
from vidi.tuning import search
from vidi.tuning.search import Tried, best_of, opened, run_folder, tune

pytest.importorskip("optuna")

SMALL: dict[str, Any] = {"size": (16, 16), "width": 16, "stem": "small", "batch_size": 8}
SPACE: dict[str, Any] = {"learning_rate": "1e-3..1e-1", "optimizer": "sgd,adamw"}


def told(folder: Path, *values: float | None, **changes: Any) -> None:
    """Play a training: tell the hook of `values`, as `api.train` would."""
    on_epoch = changes["on_epoch"]
    for place, value in enumerate(values):
        last = place == len(values) - 1
        scores = {"top1": value}
        on_epoch(Epoch(Run(folder), "", place + 1, place + 1.0, (), scores, "top1", False, False, last))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace trainings by played ones, whose score is best at a learning rate of 0.01; return what they were given."""
    given: list[dict[str, Any]] = []

    def train(name: str, *, out: Path, on_epoch: Any, progress: Progress, **numbers: Any) -> None:
        given.append(numbers)
        score = 1 / (1 + abs(numbers["learning_rate"] - 0.01))
        told(out, score / 2, score, score * 0.9, on_epoch=on_epoch)

    monkeypatch.setattr(api, "train", train)
    return given


def test_three_trials_then_five_and_the_best_again(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data")
    numbers: dict[str, Any] = {"data": data, "out": tmp_path / "search", "epochs": 2, **SMALL, **SPACE}
    first = tune("resnet18", trials=3, **numbers)
    assert [one.number for one in first.tried] == [0, 1, 2]
    found = tune("resnet18", trials=5, **numbers)
    assert found.tried[:3] == first.tried
    assert [(one.number, one.state) for one in found.tried] == [(k, "complete") for k in range(5)]
    assert found.headline == "top1"
    assert all(len(one.curve) == 2 and one.value == max(one.curve) for one in found.tried)
    assert all(Run(run_folder(tmp_path / "search", k)).has_ended() for k in range(5))
    assert found.best.value == max(one.value or 0 for one in found.tried)
    assert len({one.drawn["learning_rate"] for one in found.tried}) == 5
    rows = files.read_csv(tmp_path / "search" / "trials.csv")
    assert [row["run"] for row in rows] == [f"trial-{k:03d}" for k in range(5)]
    assert (tmp_path / "search" / "search.png").is_file()

    words = shlex.split(found.command)
    assert words[:5] == ["vidi", "train", "resnet18", "--data", str(data)]
    keys: dict[str, Any] = split_overrides(words[5:])
    again = vidi.train("resnet18", data=data, out=tmp_path / "again", quiet=True, **keys)
    best = Run(found.best.run)
    assert again.config() == best.config()
    assert again.metrics() == best.metrics()


def test_a_search_that_goes_on_draws_what_it_would_have(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    tune("resnet18", trials=14, out=tmp_path / "whole", seed=3, **SPACE)
    whole = list(played)
    played.clear()
    for trials in (2, 11, 14, 14):
        tune("resnet18", trials=trials, out=tmp_path / "parts", seed=3, **SPACE)
    assert played == whole
    played.clear()
    tune("resnet18", trials=2, out=tmp_path / "other", seed=4, **SPACE)
    assert played != whole[:2]
    assert {numbers["optimizer"] for numbers in whole} == {"sgd", "adamw"}
    assert all(1e-3 <= numbers["learning_rate"] <= 1e-1 for numbers in whole)


def test_a_hopeless_trial_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def train(name: str, *, out: Path, on_epoch: Any, **numbers: Any) -> None:
        seen.append(0)
        level = 0.1 if len(seen) == 6 else 0.5 + 0.01 * len(seen)  # the sixth is below all others
        out.mkdir(parents=True)
        Run(out).state_path.write_bytes(b"state")
        for step in range(1, 5):
            on_epoch(Epoch(Run(out), "", step, float(step), (), {"top1": level}, "top1", False, True, step == 4))
            seen[-1] = step

    monkeypatch.setattr(api, "train", train)
    found = tune("resnet18", trials=6, out=tmp_path / "search", **SPACE)
    assert [one.state for one in found.tried] == ["complete"] * 5 + ["pruned"]
    assert found.tried[5].curve == (0.1, 0.1)  # not after its first validation
    assert seen == [4, 4, 4, 4, 4, 1]
    assert found.best.number == 4
    assert not Run(found.tried[5].run).has_state()  # four times the weights, which nobody goes on with
    assert Run(found.tried[4].run).has_state()


def test_a_killed_trial_is_drawn_again_and_a_failed_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def train(name: str, *, out: Path, on_epoch: Any, learning_rate: float, **numbers: Any) -> None:
        given.append(learning_rate)
        if len(given) == 2:
            raise KeyboardInterrupt
        if len(given) == 4:
            raise FloatingPointError("the loss term 'x' is nan")
        told(out, 0.5, on_epoch=on_epoch)

    monkeypatch.setattr(api, "train", train)
    with pytest.raises(KeyboardInterrupt):
        tune("resnet18", trials=4, out=tmp_path / "search", **SPACE)
    found = tune("resnet18", trials=4, out=tmp_path / "search", **SPACE)
    assert [one.state for one in found.tried] == ["complete", "complete", "failed", "complete"]
    assert [one.number for one in found.tried] == [0, 2, 3, 4]
    assert given[1] == given[2]
    assert found.tried[2].reason == "the loss term 'x' is nan"
    assert found.tried[2].value is None


def test_a_trial_that_a_dead_process_left_running_is_failed(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    tune("resnet18", trials=1, out=tmp_path / "search", **SPACE)
    with opened(tmp_path / "search", falling=False) as study:
        study.ask()
    found = tune("resnet18", trials=2, out=tmp_path / "search", **SPACE)
    assert [one.number for one in found.tried] == [0, 2]


def test_scores_that_fall_are_best_where_they_are_smallest() -> None:
    tried = [Tried(k, "complete", value, {}, (), Path()) for k, value in enumerate((3.0, 1.0, 2.0, None))]
    assert best_of(tried, falling=True).number == 1
    assert best_of(tried, falling=False).number == 0
    with pytest.raises(ValueError, match="none of 1 trials has a score: it broke"):
        best_of([Tried(0, "failed", None, {}, (), Path(), "it broke")], falling=False)


def test_a_generator_is_searched_for_the_smallest_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(name: str, *, out: Path, on_epoch: Any, learning_rate: float, **numbers: Any) -> None:
        for step, value in ((1, 9.0), (2, 100 * learning_rate), (3, 8.0)):
            on_epoch(Epoch(Run(out), "", step, float(step), (), {"fid": value}, "fid", True, True, step == 3))

    monkeypatch.setattr(api, "train", train)
    found = tune("gan", trials=3, out=tmp_path / "search", learning_rate="1e-3..1e-1")
    rates = [float(one.drawn["learning_rate"]) for one in found.tried]
    assert [one.value for one in found.tried] == [min(8.0, 100 * rate) for rate in rates]
    assert found.best.value == min(min(8.0, 100 * rate) for rate in rates)
    assert found.falling


def test_a_folder_holds_one_search(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    tune("resnet18", trials=1, out=tmp_path / "search", **SPACE)
    with pytest.raises(UsageError, match=r"holds a search with fixed \{\}, not \{'epochs': '3'\}: choose another"):
        tune("resnet18", trials=1, out=tmp_path / "search", epochs=3, **SPACE)


def test_what_cannot_be_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("resnet18", {"epochs": 2}, "nothing to search: expected a range"),
        ("anchor_kmeans", {"anchors": "3,5"}, "is a system for anchors, which has no score to search by"),
        ("resnet18", {"trials": 0, **SPACE}, "received 0 trials, expected at least 1"),
    )
    for name, numbers, said in wrong:
        with pytest.raises(UsageError, match=said):
            tune(name, out=tmp_path / "search", **numbers)
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vidi\[tune\]'"):
        tune("resnet18", out=tmp_path / "search", **SPACE)
    assert not (tmp_path / "search").exists()


def test_stopping_is_not_an_error_of_the_search() -> None:
    assert not issubclass(StopTraining, ValueError | OSError)
