"""A run that goes on past its end: the schedule of the new length, the state of the old one, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import vidi
from tests.cli.tiny_sets import write_classes
from vidi import files
from vidi.engine.lengthening import lengthened
from vidi.engine.optimizers import learning_rate
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run, recorded_part

SMALL: dict[str, Any] = {
    "size": (16, 16),
    "width": 16,
    "stem": "small",
    "batch_size": 8,
    "log_every": 1,
    "keep_state": True,
}
CONSTANT: dict[str, Any] = {**SMALL, "schedule": "constant", "warmup": 0}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def ended(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vidi.train("resnet18", data=colours, out=tmp_path_factory.mktemp("runs") / "a", epochs=2, **SMALL)


@pytest.fixture
def run(ended: Run, tmp_path: Path) -> Run:
    """A copy of the ended run of 2 epochs, to be gone on with."""
    shutil.copytree(ended.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def rates(run: Run) -> list[Any]:
    return [row["learning_rate"] for row in run.metrics() if "learning_rate" in row]


def test_the_schedule_is_that_of_the_new_length_from_the_present_step(ended: Run, run: Run) -> None:
    vidi.resume(run.folder, epochs=4)
    recipe = recorded_part("recipe", Recipe, run.config()["recipe"][""])
    assert recipe.epochs == 4
    before, after = rates(ended), rates(run)
    assert len(after) == 2 * len(before)
    assert after[: len(before)] == before
    total = len(after)
    assert after == pytest.approx(
        before + [learning_rate(recipe, step, total) for step in range(len(before), total)], rel=1e-12
    )
    assert run.config()["lengthened"] == [{"": {"epochs": 2, "steps": None}}]
    assert run.metrics()[-1]["epoch"] == 4


def test_a_constant_rate_makes_two_and_two_epochs_four(colours: Path, tmp_path: Path) -> None:
    """What is learnt after the end is what would have been learnt: order, averages and the best weights go on."""
    numbers = {**CONSTANT, "ema": 0.9, "augment": "flip"}
    whole = vidi.train("resnet18", data=colours, out=tmp_path / "whole", epochs=4, **numbers)
    parts = vidi.train("resnet18", data=colours, out=tmp_path / "parts", epochs=2, **numbers)
    vidi.resume(parts.folder, epochs=4)
    for name in ("weights.safetensors", "last.safetensors", "metrics.csv", "scores.json"):
        assert (parts.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_run_that_was_stopped_goes_on_to_another_length(colours: Path, tmp_path: Path, monkeypatch) -> None:
    from vidi.engine.fit import Training

    whole = vidi.train("resnet18", data=colours, out=tmp_path / "whole", steps=7, **CONSTANT)
    step = Training._one_step

    def stop(self: Training, batches: Any) -> None:
        if self.step == 4:
            self.save_state()
            raise KeyboardInterrupt
        step(self, batches)

    monkeypatch.setattr(Training, "_one_step", stop)
    with pytest.raises(KeyboardInterrupt):
        vidi.train("resnet18", data=colours, out=tmp_path / "killed", epochs=3, **CONSTANT)
    with pytest.raises(KeyboardInterrupt):  # before a state of the new length is written
        vidi.resume(tmp_path / "killed", steps=7)
    monkeypatch.setattr(Training, "_one_step", step)
    resumed = vidi.resume(tmp_path / "killed")
    assert resumed.config()["recipe"][""]["steps"] == 7
    assert resumed.weights_path("last").read_bytes() == whole.weights_path("last").read_bytes()


def test_epochs_replace_the_steps_that_ended_a_run(colours: Path, tmp_path: Path) -> None:
    run = vidi.train("resnet18", data=colours, out=tmp_path / "run", steps=2, **CONSTANT)
    vidi.resume(run.folder, epochs="2")
    recipe = run.config()["recipe"][""]
    assert (recipe["epochs"], recipe["steps"]) == (2, None)
    vidi.resume(run.folder, steps=9)
    assert run.metrics()[-1]["step"] == 9
    assert len(run.config()["lengthened"]) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"learning_rate": 0.1, "epochs": 4},
            "learning_rate: a run goes on with its own numbers, all but epochs, steps",
        ),
        ({"epochs": 2}, "epochs: received 2, expected more than 2, which the run has come to"),
        ({"epochs": 1}, "epochs: received 1, expected more than 2"),
        ({"steps": 3}, "steps: received 3, expected more than"),
        ({"epochs": "many"}, "epochs: received 'many', expected int"),
    ],
)
def test_other_numbers_and_shorter_lengths_are_refused_and_change_nothing(run: Run, given, message: str) -> None:
    before = run.config_path.read_bytes()
    with pytest.raises(OverrideError) as caught:
        vidi.resume(run.folder, **given)
    assert message in str(caught.value)
    assert run.config_path.read_bytes() == before
    assert run.scores_path.is_file()


def test_a_run_that_goes_on_is_not_finished(run: Run, monkeypatch) -> None:
    def fail(job: Any) -> None:
        assert not run.scores_path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("vidi.api.train_job", fail)
    with pytest.raises(KeyboardInterrupt):
        vidi.resume(run.folder, epochs=3)


def test_only_the_last_stage_that_has_begun_can_be_longer(tmp_path: Path) -> None:
    recipes = {"low": Recipe(epochs=2), "high": Recipe(epochs=2)}
    files.write_state(tmp_path / "low/state.pt", {})
    Run(tmp_path / "low").write_metrics([{"step": 8, "epoch": 2}])
    assert lengthened(Run(tmp_path), recipes, {"low.epochs": 3, "high.epochs": 1})["low"].epochs == 3
    files.write_state(tmp_path / "high/state.pt", {})
    with pytest.raises(OverrideError, match="low: high has begun with what it learnt"):
        lengthened(Run(tmp_path), recipes, {"low.epochs": 3})
    assert lengthened(Run(tmp_path), recipes, {"high.epochs": 3})["high"].epochs == 3
    with pytest.raises(OverrideError, match=r"epochs: .* all but low\.epochs, low\.steps, high\.epochs, high\.steps"):
        lengthened(Run(tmp_path), recipes, {"epochs": 3})


def test_a_state_of_a_length_that_nobody_recorded_is_refused(run: Run) -> None:
    config = run.config()
    config["recipe"][""]["epochs"] = 5
    run.write_config(config)
    with pytest.raises(ValueError, match="a run resumes with its own recipe and data"):
        vidi.resume(run.folder)
