"""`on_epoch` hears of every validation, cannot harm a training, may end it, and what it writes can be read again."""

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import vidi
from tests.conftest import ROOT
from vidi.engine.hooks import Epoch, Hook, StopTraining, since_last_validation
from vidi.engine.progress import Silent
from vidi.engine.runs import Run
from vidi.engine.tensorboard import tag_of

EXAMPLES = ROOT / "docs" / "examples"
SMALL: dict[str, Any] = {
    "size": (64, 64),
    "channels": 16,
    "width": 16,
    "batch_size": 8,
    "world_scenes": 16,
    "world_size": (64, 64),
    "epochs": 3,
    "log_every": 1,
    "quiet": True,
}


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Epoch], list[set[str]]]:
    """A detector's training of three epochs of two steps, what its hook heard, and which files there were then."""
    epochs, names = [], []

    def hook(epoch: Epoch) -> None:
        epochs.append(epoch)
        names.append({path.name for path in epoch.run.folder.iterdir()})

    folder = tmp_path_factory.mktemp("hooks") / "run"
    run = vidi.train("retinanet_tiny", out=folder, on_epoch=hook, **SMALL)
    return run, epochs, names


def test_a_hook_hears_of_each_validation(told: tuple[Run, list[Epoch], list[set[str]]]) -> None:
    run, epochs, names = told
    assert [(e.step, e.epoch, e.stage) for e in epochs] == [(2, 1.0, ""), (4, 2.0, ""), (6, 3.0, "")]
    assert [e.is_last for e in epochs] == [False, False, True]
    assert all(e.run == run and e.headline == "ap" and not e.falling for e in epochs)
    assert [row for e in epochs for row in e.rows] == run.metrics()
    assert [row["step"] for row in epochs[1].rows] == [3, 4, 4]
    assert [e.value for e in epochs] == [e.scores["ap"] for e in epochs]
    assert epochs[0].is_best
    assert all(e.pictures == {"mosaic": run.folder / "mosaic.png"} for e in epochs)
    assert "scores.json" not in names[0]
    assert {"scores.json", "report.md", "mosaic.png"} <= names[2]  # the folder is complete at the end


def test_rows_since_the_last_validation() -> None:
    loss, score = {"step": 1, "learning_rate": 0.1}, {"step": 1, "ap": 0.0}
    assert since_last_validation([]) == ()
    assert since_last_validation([loss, score]) == (loss, score)
    assert since_last_validation([score, loss, loss, score]) == (loss, loss, score)
    assert since_last_validation([loss, score, score]) == (score,)


def an_epoch(**changes: Any) -> Epoch:
    values = {"run": Run(Path("run")), "stage": "", "step": 1, "epoch": 1.0, "rows": (), "scores": {"ap": 0.5}}
    usual = {**values, "headline": "ap", "falling": False, "is_best": True, "is_last": False}
    return Epoch(**(usual | changes))


def test_a_value_is_the_score_of_the_headline() -> None:
    assert an_epoch().value == 0.5
    assert an_epoch(headline=None).value is None
    assert an_epoch(scores={"ap": None}).value is None
    assert an_epoch(headline="ap50").value is None


def test_a_hook_that_fails_says_so_once_and_is_called_again() -> None:
    heard, calls = Heard(), []

    def fails(epoch: Epoch) -> None:
        calls.append(epoch)
        raise ConnectionError("no network")

    hook = Hook(fails, heard)
    hook.tell(an_epoch())
    hook.tell(an_epoch())
    hook.end()
    assert len(calls) == 2
    assert heard.lines == ["warning: on_epoch failed, and the training goes on: ConnectionError: no network"]


def test_the_last_validation_is_told_when_the_training_has_ended() -> None:
    steps: list[tuple[int, bool]] = []
    hook = Hook(lambda epoch: steps.append((epoch.step, epoch.is_last)), Silent())
    hook.tell(an_epoch(step=1))
    hook.tell(an_epoch(step=2), ends_stage=True)
    assert steps == [(1, False)]
    hook.tell(an_epoch(step=1))  # of the next stage
    assert steps == [(1, False), (2, False), (1, False)]
    hook.tell(an_epoch(step=2), ends_stage=True)
    hook.end()
    assert steps[3:] == [(2, True)]
    Hook(None, Silent()).end()


def test_a_hook_may_end_a_training_which_then_resumes(tmp_path: Path) -> None:
    def stop(epoch: Epoch) -> None:
        raise StopTraining("enough")

    with pytest.raises(StopTraining, match="enough"):
        vidi.train("retinanet_tiny", out=tmp_path / "run", on_epoch=stop, **SMALL)
    epochs: list[Epoch] = []
    run = vidi.resume(tmp_path / "run", on_epoch=epochs.append, quiet=True)
    assert [epoch.step for epoch in epochs] == [2, 4, 6]  # the validation that it was stopped in comes again
    assert run.has_ended()


def test_a_training_with_a_hook_is_the_training_without(
    told: tuple[Run, list[Epoch], list[set[str]]], tmp_path: Path
) -> None:
    other = vidi.train("retinanet_tiny", out=tmp_path / "run", **SMALL)
    assert other.metrics() == told[0].metrics()


# ----------------------------------------------------------------------------------------------------------------------
# Loggers


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, seen = tmp_path / "run", []
    board = vidi.TensorBoard()

    def twice_then_stop(epoch: Epoch) -> None:
        board(epoch)
        seen.append(epoch)
        if len(seen) == 2:
            raise StopTraining

    with pytest.raises(StopTraining):
        vidi.train("retinanet_tiny", out=folder, on_epoch=twice_then_stop, **SMALL)
    board.close()
    run = vidi.resume(folder, on_epoch=vidi.TensorBoard(), quiet=True)
    reader = accumulator.EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    rows = run.metrics()
    columns = {key for row in rows for key, value in row.items() if isinstance(value, float | int)} - {"step", "epoch"}
    assert {"learning_rate", "ap"} < columns
    for name in columns - {"images"}:  # that many were scored
        written = [(event.step, event.value) for event in reader.Scalars(tag_of(name))]
        expected = [(row["step"], row[name]) for row in rows if name in row]
        assert [step for step, _ in written] == [step for step, _ in expected], name
        assert all(
            math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for (_, a), (_, b) in zip(written, expected, strict=True)
        )
    mosaics = reader.Images("mosaic")
    assert mosaics[-1].step == 6
    assert mosaics[-1].width > 100
    assert "scores/images" not in reader.Tags()["scalars"]


def test_scalars_are_grouped() -> None:
    assert [tag_of(name) for name in ("ap", "val/box", "train/box", "learning_rate")] == [
        *("scores/ap", "val/box", "train/box", "learning_rate"),
    ]


def test_without_tensorboard_it_is_told_before_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.engine.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vidi\[log\]'"):
        vidi.TensorBoard()


# ----------------------------------------------------------------------------------------------------------------------
# The examples, with fakes of the clients


class Client(ModuleType):
    """What trackio and wandb have in common, keeping what it is told."""

    def __init__(self, name: str):
        super().__init__(name)
        self.told: list[tuple[str, Any]] = []

    def init(self, *, project: str, name: str, config: dict[str, Any]) -> "Client":
        self.told.append(("init", (project, name, config["model"])))
        return self

    def log(self, numbers: dict[str, Any], *, step: int) -> None:
        self.told.append(("log", (step, set(numbers))))

    def finish(self) -> None:
        self.told.append(("finish", None))

    def Image(self, path: str) -> SimpleNamespace:  # noqa: N802 - the clients' name
        assert Path(path).is_file()
        return SimpleNamespace(path=path)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], tuple[Client, dict[str, Any]]]:
    """Load an example beside a fake of its client."""
    monkeypatch.chdir(tmp_path)

    def load(name: str) -> tuple[Client, dict[str, Any]]:
        client = Client(name)
        monkeypatch.setitem(sys.modules, name, client)
        return client, runpy.run_path(str(EXAMPLES / f"log_to_{name}.py"))

    return load


@pytest.mark.parametrize(("name", "logger"), [("trackio", "Trackio"), ("wandb", "Wandb")])
def test_an_example_logs_a_training(name: str, logger: str, example: Callable[[str], Any], tmp_path: Path) -> None:
    client, loaded = example(name)
    heard = Heard()
    numbers = {key: value for key, value in SMALL.items() if key != "quiet"}
    run = vidi.train("retinanet_tiny", out=tmp_path / "run", on_epoch=loaded[logger]("mine"), progress=heard, **numbers)
    assert not [line for line in heard.lines if "on_epoch" in line]
    kinds = [kind for kind, _ in client.told]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("init", "finish", {"log"})
    assert client.told[0][1] == ("mine", "run", "retinanet_tiny")
    steps = [step for kind, row in client.told if kind == "log" for step in [row[0]]]
    assert steps == sorted(steps)
    named = set().union(*(row[1] for kind, row in client.told if kind == "log"))
    columns = {key for row in run.metrics() for key, value in row.items() if isinstance(value, float | int)}
    assert named == columns - {"step"} | {"mosaic"}


def test_the_example_of_patience_stops_a_training(example: Callable[[str], Any], tmp_path: Path) -> None:
    client, loaded = example("wandb")
    look = loaded["Wandb"]("mine", patience=2)
    (tmp_path / "run").mkdir()
    Run(tmp_path / "run").write_config({"model": "m", "arguments": {}, "preprocess": {}})
    for is_best in (True, False):
        look(an_epoch(run=Run(tmp_path / "run"), is_best=is_best))
    with pytest.raises(StopTraining, match="ap has not risen for 2 validations"):
        look(an_epoch(run=Run(tmp_path / "run"), is_best=False))
    assert client.told[-1] == ("finish", None)
