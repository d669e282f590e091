"""The training of CLIP: the loss of all pairs, the temperature, and batches larger than the memory."""

import math
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor, nn

from tests.closeness import EXACT, GRADIENTS, NUMBERS, assert_close, largest
from tests.conftest import ROOT
from tests.conftest import Run as RunPython
from tests.parity.networks import randomise
from vidi import files
from vidi.embedding import clip
from vidi.embedding.cached_forward import in_parts, statistics_kept
from vidi.embedding.captions import CaptionBatch
from vidi.embedding.clip import ClipCriterion, ClipModel, ClipOutputs
from vidi.engine.fit import Training
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run
from vidi.losses.image_text import symmetric_contrastive
from vidi.model import Step
from vidi.ops import blocks

SMALL: dict[str, Any] = {
    "size": (16, 16),
    "embedding": 8,
    "width": 8,
    "blocks": (1,),
    "patch": 8,
    "text_width": 8,
    "text_layers": 1,
    "context": 12,
    "head": 4,
}
CAPTIONS = ("a red box", "two cats", "", "a very long caption indeed", "blue", "a red box", "x y z")


def small(**arguments: Any) -> ClipModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = clip.clip_tiny(**SMALL | arguments)
    randomise(model)
    return model


class Pictures(torch.utils.data.Dataset[Any]):
    """Noise with captions."""

    def __len__(self) -> int:
        return len(CAPTIONS)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 16, 16), generator=generator, dtype=torch.uint8)
        return image, {"caption": CAPTIONS[index]}


def batch_of(model: ClipModel, count: int = len(CAPTIONS)) -> Any:
    found = Pictures()
    return model.preprocess.collate([model.preprocess.place(*found[row]) for row in range(count)])


def vectors(count: int, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, count, width, generator=generator, dtype=torch.float64)
    one, other = nn.functional.normalize(rows, dim=2)
    return one.requires_grad_(), other.requires_grad_()


# ----------------------------------------------------------------------------------------------------------------------
# The loss


@pytest.mark.system("7.3.1-CLIPLOSS")
def test_the_loss_is_the_mean_cross_entropy_of_rows_and_columns() -> None:
    one, other = vectors(5)
    scale = 7.0
    cosines = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in other.tolist()] for x in one.tolist()]
    total = 0.0
    for i in range(5):
        total -= math.log(math.exp(scale * cosines[i][i]) / sum(math.exp(scale * c) for c in cosines[i]))
        total -= math.log(math.exp(scale * cosines[i][i]) / sum(math.exp(scale * row[i]) for row in cosines))
    found = symmetric_contrastive(one, other, torch.tensor(scale, dtype=torch.float64))
    assert float(found.detach()) == pytest.approx(total / 10, rel=NUMBERS)


@pytest.mark.system("7.3.1-CLIPLOSS", "B7.12")
@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
def test_orthonormal_pairs_have_a_known_loss(scale: float) -> None:
    """B7.12: -ln(e^s / (e^s + 3)) for four of them."""
    rows = torch.eye(4, 6, dtype=torch.float64)
    found = symmetric_contrastive(rows, rows, torch.tensor(scale, dtype=torch.float64))
    assert float(found) == pytest.approx(math.log1p(3 * math.exp(-scale)), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("largest_matrix", [1, 24, 56])
def test_blocks_of_the_logits_have_the_same_loss_and_gradients(
    largest_matrix: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for numbers in (1000, largest_matrix):
        monkeypatch.setattr(blocks, "LARGEST", numbers)
        one, other = vectors(8)
        scale = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
        loss = symmetric_contrastive(one, other, scale)
        loss.backward()
        found.append([loss.detach(), one.grad, other.grad, scale.grad])
    for value, expected in zip(*found, strict=True):
        assert_close(value, expected, EXACT)


def test_the_loss_is_computed_in_float32_under_autocast_and_of_half_precision() -> None:
    one, other = (rows.detach().float() for rows in vectors(6))
    scale = torch.tensor(100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = symmetric_contrastive(one, other, scale)
    assert found.dtype == torch.float32
    assert torch.equal(found, symmetric_contrastive(one, other, scale))
    halves = symmetric_contrastive(one.bfloat16(), other.bfloat16(), scale)
    assert halves.dtype == torch.float32


def test_one_pair_costs_nothing_and_none_is_an_error() -> None:
    one, other = vectors(1)
    scale = torch.tensor(5.0, dtype=torch.float64)
    assert float(symmetric_contrastive(one, other, scale).detach()) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="no pair"):
        symmetric_contrastive(one[:0], other[:0], scale)


@pytest.mark.system("7.3.1-CLIPLOSS")
def test_the_criterion_compares_the_pairs_of_a_batch() -> None:
    model = small()
    batch = batch_of(model)
    outputs = model(*batch.inputs)
    assert_close(outputs.image.norm(dim=1), torch.ones(7), 1e-6)
    assert_close(outputs.text.norm(dim=1), torch.ones(7), 1e-6)
    assert float(outputs.scale.detach()) == pytest.approx(1 / 0.07, rel=1e-5)
    losses = model.criterion(model.network, batch, Step())
    assert list(losses) == ["contrastive"]
    assert_close(losses["contrastive"], symmetric_contrastive(outputs.image, outputs.text, outputs.scale), 1e-6)
    images, targets = zip(*[Pictures()[row] for row in range(7)], strict=True)
    assert_close(model.loss(list(images), list(targets))["contrastive"], losses["contrastive"], 1e-6)


def test_images_without_captions_cannot_be_compared() -> None:
    model = small()
    placed = [model.preprocess.place(*Pictures()[row]) for row in range(2)]
    placed.append(model.preprocess.place(Pictures()[2][0], {}))
    with pytest.raises(ValueError, match=r"images \[2\] have no 'tokens'"):
        model.criterion(model.network, model.preprocess.collate(placed), Step())


def test_vectors_of_all_processes_are_compared() -> None:
    one, other = vectors(6)
    outputs = ClipOutputs(one[:2], other[:2], torch.tensor(3.0, dtype=torch.float64))
    rest = {id(outputs.image): one[2:], id(outputs.text): other[2:]}
    step = Step(gather=lambda rows: torch.cat((rows, rest[id(rows)])))
    found = ClipCriterion().compare(outputs, batch_of(small(), 2), step)["contrastive"]
    assert_close(found, symmetric_contrastive(one, other, outputs.scale), EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# The temperature


@pytest.mark.system("7.3.1-CLIPLOSS")
def test_the_temperature_is_learnt_and_clipped_at_100(tmp_path: Path) -> None:
    model = small()
    first = float(model.network.log_scale.detach())
    train(model, tmp_path / "learnt")
    assert float(model.network.log_scale.detach()) != first
    for start, expected in ((math.log(100) - 1e-4, math.log(100)), (1e-4, 0.0)):
        model = small()
        with torch.no_grad():
            model.network.log_scale.fill_(start)
        sign = 1.0 if expected else -1.0
        model.criterion = Pull(sign)  # type: ignore[assignment]
        train(model, tmp_path / str(expected))
        assert float(model.network.log_scale.detach()) == pytest.approx(expected, abs=1e-6)


class Pull:
    """Wants the scale larger, or smaller."""

    def __init__(self, sign: float):
        self.sign = sign

    def __call__(self, network: Any, batch: Any, step: Step) -> dict[str, Tensor]:
        outputs = network(*batch.inputs)
        return {"pull": -self.sign * outputs.scale + 0 * (outputs.image.sum() + outputs.text.sum())}


def train(model: ClipModel, folder: Path, **numbers: Any) -> Run:
    standard = {"epochs": 2, "batch_size": 4, "optimizer": "sgd", "learning_rate": 0.05, "device": "cpu"}
    Training(model, Recipe(**{**standard, "log_every": 1, **numbers}), Pictures(), Run(folder)).fit()
    return Run(folder)


def test_two_processes_learn_what_one_does(run_python: RunPython, tmp_path: Path) -> None:
    """A joint batch of 4, then one of 3: rows of 2 and 2; equal weights and losses after four updates."""
    one = files.read_state(train(small(), tmp_path / "one").state_path)
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_python(*launch, "-m", "tests.embedding.test_clip_training", tmp_path / "two", env=environment)
    assert done.returncode == 0, done.stderr
    two = files.read_state(tmp_path / "two" / "state.pt")
    assert one["step"] == two["step"] == 4
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=1e-4, atol=1e-6)
    losses = [[row["train/contrastive"] for row in state["rows"]] for state in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# ----------------------------------------------------------------------------------------------------------------------
# Cached forward passes


@pytest.mark.parametrize("text", ["causal", "bag_of_words"])
@pytest.mark.parametrize("part", [1, 3, 7, 50])
def test_parts_of_a_batch_have_the_gradients_of_the_whole(part: int, text: str) -> None:
    found = []
    for rows in (None, part):
        model = small(text=text, part=rows).double()
        batch = batch_of(model)
        double = CaptionBatch(batch.images.double(), batch.mask, batch.placements, batch.targets, batch.tokens)
        loss = model.train().losses("network", double, Step())["contrastive"]
        loss.backward()
        found.append(({"loss": loss.detach()}, {name: p.grad for name, p in model.named_parameters()}))
    assert_close(found[1][0], found[0][0], EXACT)
    assert_close(found[1][1], found[0][1], GRADIENTS, size=largest(*found[0][1].values()))


def test_parts_keep_only_their_results() -> None:
    """What a layer saves is there from its second forward pass to its gradient, one part after the other."""
    saved: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Squares.apply(x)

    class Squares(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            inside = x.clone()
            saved.append(weakref.ref(inside))
            ctx.save_for_backward(inside)
            return inside * inside

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            alive.append(sum(tensor() is not None for tensor in saved))
            return 2 * x * gradients[0]

    rows = torch.randn(6, 3, requires_grad=True)
    in_parts(Layer(), rows, 2).sum().backward()
    assert len(saved) == 6  # three parts, twice
    assert alive == [1, 1, 1]
    assert_close(rows.grad, 2 * rows.detach(), EXACT)


def test_draws_are_the_same_when_a_part_is_computed_again() -> None:
    layer = nn.Dropout(0.5)
    rows = torch.ones(6, 8, requires_grad=True)
    found = in_parts(layer, rows, 2)
    found.sum().backward()
    assert 0 < int((found == 0).sum()) < 48
    assert rows.grad is not None
    assert torch.equal(rows.grad, found.detach())


def test_batch_norms_learn_once_from_each_part() -> None:
    rows = torch.randn(6, 4) + 3
    one, other = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    in_parts(one, rows.requires_grad_(), 3).square().sum().backward()
    for part in rows.split(3):
        other(part)
    assert one.num_batches_tracked == other.num_batches_tracked == 2
    assert_close(one.running_mean, other.running_mean, 1e-6)
    assert_close(one.running_var, other.running_var, 1e-6)
    assert one.momentum == 0.1


def test_a_part_may_be_one_row() -> None:
    layer, rows = nn.Linear(3, 2), torch.randn(4, 3)
    assert_close(in_parts(layer, rows, 1), layer(rows), 1e-6)


def test_momenta_come_back_after_an_error() -> None:
    norm = nn.BatchNorm1d(4, momentum=0.3)
    with pytest.raises(KeyError), statistics_kept(norm):
        raise KeyError
    assert norm.momentum == 0.3
    with pytest.raises(ValueError, match="parts of 0 rows"):
        in_parts(norm, torch.ones(2, 4), 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(small(), Path(sys.argv[1]))
