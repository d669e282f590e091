"""Training: exact resume, several processes, averages, turns, and what happens when something goes wrong."""

import errno
import math
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
from tests.engine.tiny import Blobs, Decode, Logits, PositivesCriterion, make_training, tiny
from vidi import files
from vidi.backbones.resnet_cifar import resnet20
from vidi.data.loading import Plan, epoch_order
from vidi.engine.averaging import Averages
from vidi.engine.fit import Interrupted, Training, turns_by_batch
from vidi.engine.limits import check_recipes
from vidi.engine.loss_window import NonFiniteLossError
from vidi.engine.overrides import OverrideError
from vidi.engine.processes import Processes
from vidi.engine.progress import Silent
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row, Run
from vidi.model import Losses, Step, Supervised
from vidi.preprocess import Batch, Preprocess
from vidi.tasks.table import TASKS

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


def stop_after(training: Training, steps: int) -> None:
    """Have a training receive Ctrl-C when it has done so many steps."""
    advance = training._one_step

    def one_step(micro_batches: Any) -> None:
        advance(micro_batches)
        if training.step == steps:
            os.kill(os.getpid(), signal.SIGINT)

    training._one_step = one_step  # type: ignore[method-assign]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [9, 12], ids=["mid-epoch", "end of epoch"])
def test_a_stopped_run_resumes_bit_for_bit(whole: Path, tmp_path: Path, workers: int, stop: int) -> None:
    training = make_training(tmp_path, workers=workers)
    stop_after(training, stop)
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


NO_DRAWS: dict[str, Any] = {"noise": 0.0, "augment": "none", "epochs": 2, "log_every": 1}


def assert_equal_runs(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Compare the weights and the losses of two states."""
    assert one["step"] == other["step"] > 0
    for name, value in one["model"].items():
        torch.testing.assert_close(other["model"][name], value, rtol=1e-4, atol=1e-6)
    losses = [[row["train/positives"] for row in run["rows"] if "train/positives" in row] for run in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_two_processes_compute_what_one_does(run_python: RunPython, tmp_path: Path) -> None:
    """Equal weights and losses after 12 updates, normalised by the positives of both processes.

    Also where a stage trains less than all parameters: the processes wait for no gradient that never comes.
    """
    # batches of 4 and a last one of 2 or 3: equal shares, unequal ones, less than a micro-batch for each
    # accumulate, count, whether only a part is trained
    cases = {"even": (1, 22, False), "odd": (1, 23, False), "accumulated": (2, 22, False), "partly": (1, 22, True)}
    words: list[str] = []
    for name, (accumulate, count, partly) in cases.items():
        numbers = {**NO_DRAWS, "batch_size": 4, "count": count, "partly": partly}
        make_training(tmp_path / f"{name}-one", **numbers).fit()
        given = {**numbers, "accumulate": accumulate}
        words += ["then", str(tmp_path / f"{name}-two"), *(f"{key}={value}" for key, value in given.items())]
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_python(*launch, "-m", "tests.engine.tiny", *words[1:], env=environment)
    assert done.returncode == 0, done.stderr
    for name in cases:
        one, two = (files.read_state(tmp_path / f"{name}-{folder}" / "state.pt") for folder in ("one", "two"))
        assert one["step"] == 12
        assert_equal_runs(one, two)


# last batches of 2, 3 (as 2 + 1) and 6 (as 2 + 2 + 2): fewer micro-batches, of unequal sizes
@pytest.mark.parametrize(("batch_size", "accumulate", "count"), [(4, 2, 22), (6, 3, 21), (8, 4, 22)])
def test_accumulation_is_the_large_batch(tmp_path: Path, batch_size: int, accumulate: int, count: int) -> None:
    """Few of the micro-batches hold as many positives as others."""
    runs = []
    for parts in (1, accumulate):
        training = make_training(
            tmp_path / str(parts), batch_size=batch_size, accumulate=parts, count=count, **NO_DRAWS
        )
        training.fit()
        runs.append(files.read_state(training.run.state_path))
    assert_equal_runs(*runs)


class MeanCriterion:
    """Cross entropy, averaged over the images of a batch."""

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        labels = torch.stack([target["label"] for target in batch.targets])
        return {"mean": nn.functional.cross_entropy(network(batch.images).logits, labels)}


def test_accumulation_is_the_large_batch_for_a_mean_over_images(tmp_path: Path) -> None:
    """A criterion that counts nothing, on micro-batches of 2 and of 1."""
    moved = []
    for parts in (1, 3):
        model = tiny(noise=0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.01).add_(torch.linspace(0, 0.1, parameter.numel()).view_as(parameter))
        model.criterion = MeanCriterion()
        recipe = Recipe(epochs=1, batch_size=6, accumulate=parts, optimizer="sgd", learning_rate=0.1, device="cpu")
        Training(model, recipe, Blobs(9), Run(tmp_path / str(parts))).fit()
        moved.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*moved, rtol=1e-5, atol=1e-7)


class Watched(nn.Module):
    """A batch norm that notes the images it learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(3, 4)
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Logits:
        if self.training and torch.is_grad_enabled():
            self.seen.append(len(images))
        return Logits(self.linear(self.norm(images).mean((2, 3))))


def test_counting_leaves_no_trace_in_running_statistics(tmp_path: Path) -> None:
    model = Supervised(Watched(), PositivesCriterion(0), Decode(), Preprocess())
    recipe = Recipe(steps=1, batch_size=8, accumulate=2, learning_rate=1e-12, device="cpu")
    Training(model, recipe, Blobs(8), Run(tmp_path)).fit()
    norm = model.network.get_submodule("norm")
    assert norm.get_buffer("num_batches_tracked") == 2  # once a micro-batch
    batch = model.preprocess.collate([model.preprocess.place(*Blobs(8)[row]) for row in range(8)])
    halves = [batch.images[rows].mean((0, 2, 3)) for rows in Plan(8, 8, accumulate=2).micro_batches(
        0, 0, epoch_order(8, 0, 0)
    )]  # fmt: skip
    torch.testing.assert_close(norm.get_buffer("running_mean"), 0.09 * halves[0] + 0.1 * halves[1])


class SometimesCounted(PositivesCriterion):
    """Normalises only where there is an image of class 3."""

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        if any(target["label"] == 3 for target in batch.targets):
            return super().__call__(network, batch, step)
        return {"none": network(batch.images).logits.sum()}


@pytest.mark.parametrize("first", [3, 0], ids=["the first micro-batch", "the second"])
def test_counts_of_some_micro_batches_only_are_refused(tmp_path: Path, first: int) -> None:
    model = tiny(noise=0)
    model.criterion = SometimesCounted(0)
    labels = {row: first if place == 0 else 3 - first for place, row in enumerate(epoch_order(2, 0, 0))}
    samples = [(torch.zeros(3, 8, 8, dtype=torch.uint8), {"label": torch.tensor(labels[row])}) for row in range(2)]
    recipe = Recipe(steps=1, batch_size=2, accumulate=2, device="cpu")
    with pytest.raises(ValueError, match="some micro-batches of a step only"):
        Training(model, recipe, Listed(samples), Run(tmp_path)).fit()


@pytest.mark.parametrize("stop", [2, 5])
def test_an_accumulating_run_resumes_bit_for_bit(tmp_path: Path, stop: int) -> None:
    numbers: dict[str, Any] = {"batch_size": 6, "accumulate": 3, "count": 21, "epochs": 2}
    make_training(tmp_path / "whole", **numbers).fit()
    training = make_training(tmp_path / "stopped", **numbers)
    stop_after(training, stop)
    with pytest.raises(Interrupted):
        training.fit()
    resumed = make_training(tmp_path / "stopped", **numbers)
    assert resumed.step == stop
    resumed.fit()
    assert same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize(
    ("normalised", "count", "accumulate", "seen", "left_out"),
    [
        (True, 9, 1, [4, 4], 1),
        (True, 10, 1, [4, 4, 2], 0),
        (True, 9, 2, [2, 2, 2, 2], 1),
        (True, 1, 1, [1], 0),  # nothing larger to learn from
        (True, 6, 4, [1, 1, 1, 1, 1, 1], 0),  # micro-batches of one by the user's choice
        (False, 9, 1, [4, 4, 1], 0),
    ],
)
def test_a_last_batch_of_one_is_left_out_only_before_a_batch_norm_that_learns(
    tmp_path: Path, normalised: bool, count: int, accumulate: int, seen: list[int], left_out: int
) -> None:
    network, said = Watched(), []
    if not normalised:
        network.norm.train = lambda mode=True: network.norm  # type: ignore[method-assign, assignment]
        network.norm.training = False
    model = Supervised(network, PositivesCriterion(0), Decode(), Preprocess())
    recipe = Recipe(epochs=1, batch_size=4, accumulate=accumulate, device="cpu")
    progress = Silent()
    progress.say = said.append  # type: ignore[method-assign, assignment]
    Training(model, recipe, Blobs(count), Run(tmp_path), progress=progress).fit()
    assert network.seen == seen
    assert len(said) == (left_out > 0)
    assert not left_out or f"leaves out {left_out} of {count} samples" in said[0]


class Labelled(Blobs):
    """Blobs that say what each of them is."""

    @property
    def labels(self) -> Tensor:
        return torch.arange(len(self)) % 4


def balanced(folder: Path, dataset: Any = None, **numbers: Any) -> Training:
    recipe = Recipe(**{"epochs": 2, "batch_size": 6, "per_identity": 2, "device": "cpu", **numbers})
    return Training(tiny(noise=0), recipe, dataset or Labelled(21), Run(folder))


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_batches_hold_as_many_pictures_of_each_identity_as_the_recipe_says(tmp_path: Path) -> None:
    training = balanced(tmp_path)
    seen: list[list[int]] = []
    advance = training._one_step

    def one_step(micro_batches: Any) -> None:
        labels = torch.stack([target["label"] for batch in micro_batches for target in batch.targets])
        seen.append(sorted(labels.bincount(minlength=4).tolist()))
        advance(micro_batches)

    training._one_step = one_step  # type: ignore[method-assign]
    training.fit()
    assert seen == [[0, 2, 2, 2]] * 2 * 4  # 3 x 2 pictures of 6, 5, 5 and 5: 12 pairs, of which one is repeated each


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_a_balanced_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    runs = [balanced(tmp_path / name) for name in ("whole", "stopped")]
    start = {name: value.clone() for name, value in runs[0].model.state_dict().items()}
    runs[1].model.load_state_dict(start)
    runs[0].fit()
    stop_after(runs[1], 5)
    with pytest.raises(Interrupted):
        runs[1].fit()
    balanced(tmp_path / "stopped").fit()
    assert same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_data_set_that_cannot_be_balanced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="received per_identity=2 and a Blobs without labels"):
        balanced(tmp_path, Blobs(12))
    with pytest.raises(ValueError, match="received 4 identities for batches of 5 identities with 2 pictures each"):
        balanced(tmp_path, batch_size=10)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"per_identity": 0}, "per_identity: received 0, expected at least 1"),
        ({"per_identity": 4, "batch_size": 6}, "batch_size: received 6, expected a multiple of per_identity=4"),
        (
            {"per_identity": 2, "accumulate": 2},
            "per_identity: received 2, expected 2 or more for each of 2 micro-batch",
        ),
        ({"per_identity": 5, "accumulate": 2, "batch_size": 20}, "equally many"),
    ],
)
def test_numbers_that_make_no_balanced_batch_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(OverrideError, match=message):
        check_recipes({"": Recipe(**{"batch_size": 8, **numbers})}, TASKS["classification"])
    check_recipes({"": Recipe(batch_size=8, per_identity=4, accumulate=2)}, TASKS["classification"])


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


def test_gradients_are_clipped_to_the_norm_of_the_recipe(tmp_path: Path) -> None:
    """Plain SGD at a rate of 1 moves the weights by the gradient: by its norm, or by the limit where that is less."""
    moved = {}
    numbers: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    for clip in (None, 1e-2, 1e3):
        training = make_training(tmp_path / str(clip), clip=clip, steps=1, learning_rate=1.0, warmup=0, **numbers)
        before = [parameter.detach().clone() for parameter in training.model.parameters()]
        training.fit()
        steps = [p.detach() - b for p, b in zip(training.model.parameters(), before, strict=True)]
        moved[clip] = torch.cat([step.flatten() for step in steps])
    assert moved[None].norm() > 0.1
    torch.testing.assert_close(moved[1e-2], 1e-2 * moved[None] / moved[None].norm(), rtol=1e-3, atol=1e-7)
    assert torch.equal(moved[1e3], moved[None])


def test_averaged_weights_are_those_validated_and_saved(tmp_path: Path) -> None:
    """Averages by their formula from the raw weights after each step."""
    training = make_training(tmp_path, epochs=2, ema=0.9, schedule="constant")
    raw, validated = [], []
    advance = training._one_step

    def one_step(micro_batches: Any) -> None:
        advance(micro_batches)
        raw.append(
            {name: value.clone() for name, value in training.model.get_submodule("network").state_dict().items()}
        )

    def validate(model: Any, processes: Processes) -> Row:
        validated.append({name: value.clone() for name, value in model.network.state_dict().items()})
        return {"certainty": float(len(validated))}

    training._one_step, training.validate = one_step, validate  # type: ignore[method-assign]
    training.fit()
    average = raw[0]
    for number, weights in enumerate(raw[1:], 1):
        kept = min(0.9, (1 + number) / (10 + number))
        average = {name: kept * value + (1 - kept) * weights[name] for name, value in average.items()}
    saved = [files.read_tensors(training.run.weights_path(which)) for which in ("best", "last")]
    assert len(raw) == 12
    assert len(validated) == 2
    for name, value in average.items():
        assert (value - raw[-1][name]).abs().max() > 1e-4 * value.abs().max(), name  # the raw ones are others
        torch.testing.assert_close(validated[1][name], value, rtol=1e-5, atol=1e-7, msg=name)
        assert torch.equal(
            training.model.get_submodule("network").state_dict()[name], raw[-1][name]
        )  # training goes on from those
        for weights in saved:
            assert torch.equal(weights[f"network.{name}"], validated[1][name])


def test_a_training_without_validation_saves_averaged_weights(tmp_path: Path) -> None:
    weights = {}
    for ema in (None, 0.9):
        training = make_training(tmp_path / str(ema), ema=ema, steps=4)
        training.validate = None
        training.fit()
        weights[ema] = files.read_tensors(training.run.weights_path("best"))
    assert all((weights[0.9][name] - value).abs().max() > 1e-5 for name, value in weights[None].items())


@pytest.mark.parametrize(
    ("numbers", "formula"),
    [
        ({"schedule": "constant"}, lambda step: 1.0),
        ({"schedule": "cosine"}, lambda step: 0.5 * (1 + math.cos(math.pi * step / 12))),
        (
            {"schedule": "step", "milestones": (0.5, 0.75), "decay": 0.1},
            lambda step: 0.1 ** ((step >= 6) + (step >= 9)),
        ),
        ({"schedule": "polynomial", "power": 0.9}, lambda step: (1 - step / 12) ** 0.9),
        ({"schedule": "exponential", "decay": 0.1}, lambda step: 0.1 ** (step / 12)),
    ],
    ids=lambda value: value["schedule"] if isinstance(value, dict) else "",
)
def test_each_step_has_the_learning_rate_of_its_formula(tmp_path: Path, numbers: Any, formula: Any) -> None:
    """What the optimizer is given, in a training of 12 steps of which the fourth is the first after the warm-up."""
    training = make_training(tmp_path, epochs=2, learning_rate=0.2, warmup=3, log_every=1, **numbers)
    optimizer, used = training.optimizers["network"], []
    advance = optimizer.step

    def step(*arguments: Any, **options: Any) -> Any:
        used.append({group["lr"] for group in optimizer.param_groups})
        return advance(*arguments, **options)

    optimizer.step = step
    training.fit()
    expected = [0.2 * formula(step) * min(1.0, (step + 1) / 4) for step in range(12)]
    assert [rates.pop() for rates in used] == pytest.approx(expected, rel=1e-12)
    logged = [row["learning_rate"] for row in training.rows if "learning_rate" in row]
    assert logged == pytest.approx(expected, rel=1e-12)


def test_a_trained_model_is_in_evaluation_mode(tmp_path: Path) -> None:
    training = make_training(tmp_path, steps=1)
    modes = []
    training.validate = lambda model, processes: modes.append(model.training) or {}
    training.fit()
    assert modes == [False]
    assert not any(module.training for module in training.model.modules())


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


def test_a_backbone_may_be_kept_as_it_is(tmp_path: Path) -> None:
    """Its weights, and the statistics of its norms; all else learns."""
    samples = [(torch.full((3, 8, 8), 60 * k, dtype=torch.uint8), {"label": torch.tensor(k)}) for k in range(4)]
    model = resnet20(categories=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = Recipe(steps=3, batch_size=4, backbone_rate=0.0, weight_decay=0.1)
    Training(model, recipe, Listed(samples), Run(tmp_path)).fit()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("network.backbone."), name
    with pytest.raises(ValueError, match="without a backbone"):
        make_training(tmp_path / "other", backbone_rate=0.0)


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
        with averages.lifted(model):
            assert network.weight.item() == values
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == values


def test_an_average_warms_up_until_it_forgets_as_slowly_as_its_decay_says() -> None:
    """(1 + n) / (10 + n) reaches 0.5 after 8 updates."""
    model = nn.ModuleDict({"network": nn.Linear(1, 1)})
    averages = Averages(model, ("network",), 0.5)
    warm = []
    for _ in range(10):
        averages.update(model)
        warm.append(averages.warms_up)
    assert warm == [True] * 7 + [False] * 3
    assert not Averages(model, ("network",), None).warms_up


def test_losses_outside_training_need_no_step() -> None:
    model = tiny(noise=0)
    images = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    losses = model.loss(images, [{"label": torch.tensor(1)}, {"label": torch.tensor(2)}])
    assert losses["positives"].requires_grad
    assert Step().total == 1
