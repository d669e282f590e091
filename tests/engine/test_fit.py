"""Training: exact resume, several processes, averages, turns, and what happens when something goes wrong."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tests.conftest import ROOT
from tests.conftest import Run as RunPython
from tests.engine.tiny import make_training, tiny
from vidi import files
from vidi.backbones.resnet_cifar import resnet20
from vidi.engine.averaging import Averages
from vidi.engine.fit import Interrupted, NonFiniteLossError, Training, turns_by_batch
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run
from vidi.model import Step

pytestmark = pytest.mark.system("0-TRAIN")


def equal(a: Any, b: Any) -> bool:
    """Compare nested containers of tensors and plain values bit for bit."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def same_run(a: Path, b: Path) -> bool:
    """Compare two run folders: states, weights, metrics."""
    states = [files.read_state(folder / "state.pt") for folder in (a, b)]
    weights = [files.read_tensors(folder / "weights.safetensors") for folder in (a, b)]
    metrics = [(folder / "metrics.csv").read_text() for folder in (a, b)]
    return equal(*states) and equal(*weights) and metrics[0] == metrics[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 steps (4 epochs of 6) that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    make_training(folder).fit()
    return folder


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [9, 12], ids=["mid-epoch", "end of epoch"])
def test_a_stopped_run_resumes_bit_for_bit(whole: Path, tmp_path: Path, workers: int, stop: int) -> None:
    training = make_training(tmp_path, workers=workers)
    advance = training._one_step

    def one_step(micro_batches: Any) -> None:
        advance(micro_batches)
        if training.step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    training._one_step = one_step  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        training.fit()
    resumed = make_training(tmp_path, workers=workers)
    assert resumed.step == stop
    resumed.fit()
    assert same_run(whole, tmp_path)


def test_a_run_killed_at_fifty_random_moments_ends_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    moments = np.random.default_rng(0)
    killed = 0
    while killed < 50:
        # a state is written after every step, so that most kills fall into the writing of one
        child = context.Process(target=lambda: make_training(tmp_path, checkpoint_seconds=0.0).fit(), daemon=True)
        child.start()
        time.sleep(float(moments.uniform(0.02, 0.25)))
        killed += child.is_alive()
        child.kill()
        child.join()
        if child.exitcode == 0:
            (tmp_path / "state.pt").unlink()  # it came to its end: begin again, there are moments left
        if (tmp_path / "state.pt").exists():
            files.read_state(tmp_path / "state.pt")
    make_training(tmp_path).fit()
    assert same_run(whole, tmp_path)


def test_two_processes_compute_what_one_does(run_python: RunPython, tmp_path: Path) -> None:
    """Equal weights and losses after 12 updates, normalised by the positives of both processes."""
    numbers = ["batch_size=4", "noise=0", "augment=none", "epochs=2", "log_every=1"]
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    for processes, folder in ((1, "one"), (2, "two")):
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = run_python(*launch, "-m", "tests.engine.tiny", tmp_path / folder, *numbers, env=environment)
        assert done.returncode == 0, done.stderr
    one, two = (files.read_state(tmp_path / folder / "state.pt") for folder in ("one", "two"))
    assert one["step"] == two["step"] == 12
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=1e-4, atol=1e-6)
    losses = [[row["train/positives"] for row in run["rows"] if "train/positives" in row] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_accumulation_averages_the_gradients_of_its_micro_batches(tmp_path: Path) -> None:
    numbers = {"noise": 0.0, "augment": "none", "optimizer": "sgd", "clip": None, "weight_decay": 0.0, "warmup": 0}
    training = make_training(tmp_path, accumulate=2, steps=1, momentum=0.0, **numbers)
    reference = tiny(noise=0.0)
    reference.load_state_dict(training.model.state_dict())
    for batch in training._loader():
        sum(reference.losses("network", batch, Step()).values(), torch.zeros(())).div(2).backward()
    training.fit()
    for trained, start in zip(training.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, start - 0.01 * start.grad)  # type: ignore[operator]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_term(tmp_path: Path) -> None:
    training = make_training(tmp_path, epochs=1)
    with torch.no_grad():
        next(iter(training.model.parameters())).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="'positives' is nan at step 0"):
        training.fit()


def test_a_full_disk_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make_training(tmp_path)
    training.save_state()
    before = files.read_state(training.run.state_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        training.fit()
    assert equal(files.read_state(training.run.state_path), before)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_state_of_another_length_is_refused(tmp_path: Path) -> None:
    make_training(tmp_path, epochs=1).fit()
    with pytest.raises(ValueError, match="6 steps, this one has 12"):
        make_training(tmp_path, epochs=2)


def test_the_best_weights_are_those_of_the_best_validation(whole: Path) -> None:
    rows = [row for row in files.read_state(whole / "state.pt")["rows"] if "certainty" in row]
    assert len(rows) == 4
    assert files.read_state(whole / "state.pt")["best"] == max(row["certainty"] for row in rows)


def test_precision_bf16_trains_and_keeps_float32_weights(tmp_path: Path) -> None:
    training = make_training(tmp_path, precision="bf16", epochs=1)
    training.fit()
    assert {p.dtype for p in training.model.parameters()} == {torch.float32}


class Listed(Dataset[Any]):
    """Samples in a list."""

    def __init__(self, samples: list[Any]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def test_a_recipe_sets_the_momentum_of_batch_norms(tmp_path: Path) -> None:
    model = resnet20(categories=4)
    samples = [(torch.full((3, 8, 8), 200, dtype=torch.uint8), {"label": torch.tensor(0)})] * 4
    recipe = Recipe(steps=1, batch_size=4, norm_momentum=0.5, learning_rate=1e-12, optimizer="sgd")
    Training(model, recipe, Listed(samples), Run(tmp_path)).fit()
    with torch.no_grad():
        stem = model.network.get_submodule("backbone.stem.conv")(
            model.preprocess.collate([model.preprocess.place(image, target) for image, target in samples]).images
        )
    mean = model.network.get_buffer("backbone.stem.norm.running_mean")
    torch.testing.assert_close(mean, 0.5 * stem.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_backbone_may_have_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    samples = [(torch.full((3, 8, 8), 60 * k, dtype=torch.uint8), {"label": torch.tensor(k)}) for k in range(4)]
    moved = {}
    for rate in (1.0, 0.1):
        torch.manual_seed(0)
        model = resnet20(categories=4)
        before = {name: value.clone() for name, value in model.named_parameters()}
        numbers: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 0.1, "schedule": "constant"}
        recipe = Recipe(steps=1, batch_size=4, backbone_rate=rate, **numbers)
        Training(model, recipe, Listed(samples), Run(tmp_path / str(rate))).fit()
        moved[rate] = {name: value.detach() - before[name] for name, value in model.named_parameters()}
    assert any(name.startswith("network.backbone.") for name in moved[1.0])
    for name, change in moved[1.0].items():
        own = 0.1 if name.startswith("network.backbone.") else 1.0
        torch.testing.assert_close(moved[0.1][name], own * change, rtol=1e-2, atol=1e-6, msg=name)
        assert change.abs().max() > 1e-5, name


def test_turns_share_a_batch_until_a_name_repeats() -> None:
    assert turns_by_batch(("network",)) == [("network",)]
    assert turns_by_batch(("discriminator", "generator")) == [("discriminator", "generator")]
    twice = ("discriminator", "discriminator", "generator")
    assert turns_by_batch(twice) == [("discriminator",), ("discriminator", "generator")]


def test_averages_follow_their_formula() -> None:
    network = nn.Linear(1, 1, bias=False)
    model = nn.ModuleDict({"network": network})
    averages = Averages(model, ("network",), 0.5)
    expected = values = None
    for update in range(8):
        with torch.no_grad():
            network.weight.fill_(float(update))
        averages.update(model)
        weight = min(0.5, (1 + update) / (10 + update))
        values = float(update)
        expected = values if expected is None else weight * expected + (1 - weight) * values
    with averages.applied(model):
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == values


def test_losses_outside_training_need_no_step() -> None:
    model = tiny(noise=0)
    images = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    losses = model.loss(images, [{"label": torch.tensor(1)}, {"label": torch.tensor(2)}])
    assert losses["positives"].requires_grad
    assert Step().total == 1
