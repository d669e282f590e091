"""The diffusion systems: what their criterion trains, how they sample, and the numbers of the paper."""

import math
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import FLOAT32, NUMBERS, assert_close
from vidi import api
from vidi.generative.diffusion import ddpm as systems
from vidi.generative.diffusion.ddpm import Diffusion, DiffusionCriterion, ddpm, ddpm_class_tiny, ddpm_tiny
from vidi.generative.diffusion.text_to_image import text_to_image_tiny
from vidi.losses.diffusion import bits_per_dimension, pixel_nll, step_term
from vidi.model import Step
from vidi.ops.diffusion import (
    Schedule,
    denoised,
    noised,
    posterior_mean,
    posterior_variance,
    target_of,
)
from vidi.ops.noise import seeded_normal
from vidi.preprocess import Batch, Placement
from vidi.recipes.diffusion import CIFAR, TINY

SIZE = (8, 8)
LINEAR = Schedule.named("linear", 20)


def drawn_anew(network: nn.Module, seed: int = 1) -> None:
    """Give every parameter random values: an untrained network predicts zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1, generator=generator)


@cache
def plain() -> Diffusion:
    model = ddpm_tiny(size=SIZE, width=8, diffusion_steps=20, predicts="x0")
    drawn_anew(model)
    return model


@cache
def of_classes() -> Any:
    model = ddpm_class_tiny(categories=3, size=SIZE, width=8, diffusion_steps=20, predicts="x0")
    drawn_anew(model)
    return model


def seed(value: int) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def batch_of(count: int, labels: bool = True) -> Batch:
    images = torch.rand(count, 3, *SIZE).double() * 2 - 1
    targets = [{"label": torch.tensor(row % 3)} if labels else {} for row in range(count)]
    return Batch(images, torch.ones(count, *SIZE, dtype=torch.bool), [Placement(SIZE, SIZE)] * count, targets)


class Recorder(nn.Module):
    """Stands for a network: says anything, and remembers what it was asked."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.channels, self.asked = channels, list[tuple[Tensor, ...]]()
        self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        self.asked.append((x, times) if labels is None else (x, times, labels))
        out = self.weight * torch.sin(3 * x + times.view(-1, 1, 1, 1))
        return torch.cat([out] * (self.channels // 3), 1)


# ----------------------------------------------------------------------------------------------------------------------
# Training


@pytest.mark.system("8.3.2-NOISELOSS", "8.3.2-NOISENET")
@pytest.mark.parametrize("predicts", ["noise", "x0", "v"])
def test_the_criterion_compares_with_what_was_drawn(predicts: str) -> None:
    """One network over all times; the error is of what it predicts."""
    network, batch = Recorder(), batch_of(64)
    criterion = DiffusionCriterion(LINEAR, predicts, "simple")  # type: ignore[arg-type]
    losses = criterion(network, batch, Step(generator=seed(3)))
    ((x, times),) = network.asked
    assert set(times.tolist()) == set(range(20))  # 64 draws miss none of 20 under this seed
    alpha = LINEAR.levels(times, x)
    noise = denoised(batch.images, x, alpha, "x0").noise
    assert abs(noise.mean().item()) < 4 / math.sqrt(noise.numel())
    assert abs(noise.var().item() - 1) < 4 * math.sqrt(2 / noise.numel())
    target = target_of(predicts, batch.images, noise, alpha, LINEAR.levels(times - 1, x))  # type: ignore[arg-type]
    assert losses.keys() == {predicts}
    assert_close(losses[predicts], F.mse_loss(network(x, times), target), NUMBERS)


def test_draws_follow_the_generator() -> None:
    network, batch = Recorder(), batch_of(4)
    criterion = DiffusionCriterion(LINEAR, "noise", "simple", classes=3, hidden=0.5)
    one, two, other = (criterion(network, batch, Step(generator=seed(s)))["noise"] for s in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.system("8.3.2-NOISELOSS")
def test_the_weighting_of_the_bound_is_an_option() -> None:
    """Each picture by beta^2 / (2 sigma^2 (1 - beta)(1 - a)), sigma^2 = beta, of its own time; simple unless said."""
    criterion = DiffusionCriterion(LINEAR, "noise", "elbo")
    output, x0, noise = (torch.randn(3, 3, 4, 4, dtype=torch.float64) for _ in range(3))
    times = torch.tensor([0, 7, 19])
    expected = 0.0
    for row, t in enumerate(times.tolist()):
        beta, a = LINEAR.betas[t].item(), LINEAR.level(t)
        weight = beta**2 / (2 * beta * (1 - beta) * (1 - a))
        expected += weight * F.mse_loss(output[row], noise[row]).item() / 3
    assert criterion.compare(output, x0, noise, times)["noise"].item() == pytest.approx(expected, rel=NUMBERS)
    with pytest.raises(ValueError, match="weighting='elbo' and predicts='v'"):
        DiffusionCriterion(LINEAR, "v", "elbo")
    assert ddpm_tiny(size=SIZE, width=8).criterion.weighting == "simple"


@pytest.mark.system("8.3.6-CFG")
def test_a_tenth_of_the_labels_is_hidden() -> None:
    """Hidden is K, the class of none; the share is 0.1 unless said."""
    assert ddpm_class_tiny(size=SIZE, width=8).criterion.hidden == 0.1
    criterion = DiffusionCriterion(LINEAR, "noise", "simple", classes=3)
    batch = batch_of(3000)
    labels = criterion.labels(batch, Step(generator=seed(1)))
    truth = torch.arange(3000) % 3
    hidden = labels == 3
    assert torch.equal(labels[~hidden], truth[~hidden])
    assert abs(hidden.double().mean().item() - 0.1) < 4 * math.sqrt(0.09 / 3000)
    none = DiffusionCriterion(LINEAR, "noise", "simple", classes=3, hidden=0.0)
    assert torch.equal(none.labels(batch, Step(generator=seed(1))), truth)
    network = Recorder()
    criterion(network, batch_of(6), Step(generator=seed(2)))
    assert len(network.asked[0]) == 3
    with pytest.raises(ValueError, match="have no 'label'"):
        criterion(network, batch_of(2, labels=False), Step(generator=seed(2)))


@pytest.mark.parametrize("time", [0, 1, 12])
def test_learnt_variances_are_taught_by_the_bound_alone(time: int) -> None:
    """And the noise by its squared error alone: the bound's means have no gradient (Nichol & Dhariwal 2021)."""
    criterion = DiffusionCriterion(LINEAR, "noise", "simple", learned=True)
    x0 = (torch.randint(0, 256, (2, 3, 4, 4)).double() / 127.5) - 1
    noise, times = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.tensor([time, time])
    output = torch.randn(2, 6, 4, 4, dtype=torch.float64).requires_grad_()
    losses = criterion.compare(output, x0, noise, times)
    said, scale = output.chunk(2, 1)
    assert_close(losses["noise"], F.mse_loss(said, noise), NUMBERS)

    a, b = LINEAR.level(time), LINEAR.level(time - 1)
    beta, least = 1 - a / b, posterior_variance(a, b)
    if time == 0:
        least = posterior_variance(LINEAR.level(1), LINEAR.level(0))
    v = (scale + 1) / 2
    variance = (v * math.log(beta) + (1 - v) * math.log(least)).exp()
    x = noised(x0, noise, a)
    mean = posterior_mean(denoised(said.detach(), x, a, "noise").x0, x, a, b)
    nats = pixel_nll(x0, mean, variance) if time == 0 else step_term(x0, x, mean, variance, a, b)
    expected = 20 / 1000 * bits_per_dimension(nats, 48).mean()
    assert_close(losses["variance"], expected, 1e-8)
    (gradient,) = torch.autograd.grad(losses["variance"], output, retain_graph=True)
    assert (gradient[:, :3] == 0).all()
    assert (gradient[:, 3:] != 0).any()
    (gradient,) = torch.autograd.grad(losses["noise"], output)
    assert (gradient[:, 3:] == 0).all()


# ----------------------------------------------------------------------------------------------------------------------
# Sampling


@pytest.mark.parametrize(
    "numbers", [{}, {"sampler": "ddpm", "steps": 7}, {"sampler": "heun", "steps": 3}, {"eta": 1.0}]
)
def test_a_batch_equals_its_pictures_alone(numbers: dict[str, Any]) -> None:
    """Picture i of seed s is picture 0 of seed s + i, whatever the sampler; also across groups."""
    numbers = {"steps": 4, **numbers}
    together = plain().sample(3, generator=seed(5), **numbers)
    assert together.shape == (3, 3, *SIZE)
    assert together.min() >= 0
    assert together.max() <= 1
    for row in range(3):
        assert_close(plain().sample(1, generator=seed(5 + row), **numbers)[0], together[row], FLOAT32)


def test_more_pictures_than_go_together_are_made_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """With classes by turns, which go on from group to group, and every step told."""
    told: list[tuple[str, int, int]] = []
    whole = of_classes().sample(5, generator=seed(2), steps=3, guidance=2.0)
    monkeypatch.setattr(systems, "AT_ONCE", 2)
    monkeypatch.setattr(of_classes(), "tell", lambda *said: told.append(said), raising=False)
    parts = of_classes().sample(5, generator=seed(2), steps=3, guidance=2.0)
    assert_close(parts, whole, FLOAT32)
    assert told == [("sampling", done, 9) for done in range(1, 10)]


def test_samplers_differ_and_equal_generators_give_equal_pictures() -> None:
    found = [
        plain().sample(1, generator=seed(1), steps=5, sampler=name)  # type: ignore[arg-type]
        for name in ("ddim", "ddpm", "heun", "ddim")
    ]
    assert torch.equal(found[0], found[3])
    assert all((found[a] - found[b]).abs().max() > 1e-3 for a, b in ((0, 1), (0, 2), (1, 2)))
    assert plain().sample(0).shape == (0, 3, *SIZE)
    assert plain().sample(1, steps=1).shape == (1, 3, *SIZE)
    whole = plain().sample(1, generator=seed(1), steps=20)
    assert torch.equal(plain().sample(1, generator=seed(1)), whole)  # 50 steps unless there are fewer
    assert len(ddpm_tiny(size=SIZE, width=8).planned().times) == 50


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"steps": 0}, "received steps=0, expected from 1 to 20"),
        ({"steps": 21}, "received steps=21, expected from 1 to 20"),
        ({"eta": -1.0, "steps": 4}, "received eta=-1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain().sample(1, **numbers)


@pytest.mark.system("8.3.6-CFG")
def test_classes_are_asked_for() -> None:
    """By turns unless said; -1 and guidance 0 are the network without a class; guidance goes below nought too."""
    model = of_classes()
    turns = model.sample(4, generator=seed(3), steps=3)
    second = model.sample(2, generator=seed(3), steps=3, class_=1)
    assert_close(turns[1], second[1], FLOAT32)
    assert (turns[0] - second[0]).abs().max() > 1e-4
    none = model.sample(2, generator=seed(3), steps=3, class_=-1)
    assert_close(none, model.sample(2, generator=seed(3), steps=3, class_=2, guidance=0.0), FLOAT32)
    strong, against = (model.sample(2, generator=seed(3), steps=3, class_=1, guidance=g) for g in (4.0, -1.0))
    assert (strong - second).abs().max() > 1e-4
    assert against.isfinite().all()
    for wrong in (-2, 3):
        with pytest.raises(ValueError, match=f"received class {wrong}, expected one from 0 to 2, or -1 for none"):
            model.sample(1, class_=wrong)


def test_the_command_line_asks_for_a_class_without_the_underscore() -> None:
    asked = api.sample(of_classes(), 2, seed=3, condition={"class": "1", "steps": "3", "guidance": "1"})
    assert torch.equal(asked, of_classes().sample(2, generator=seed(3), steps=3, class_=1))
    with pytest.raises(ValueError, match="did you mean class"):
        api.sample(of_classes(), 2, condition={"clas": "1"})


def test_a_strip_shows_the_making_of_the_sampled_picture() -> None:
    strip = plain().strip(4, steps=6, shown=3)
    assert strip.shape == (3, 3, *SIZE)
    start = (seeded_normal((3, *SIZE), [4]) + 1) / 2
    assert_close(strip[:1], start.clamp(0, 1))
    assert_close(strip[-1:], plain().sample(1, generator=seed(4), steps=6), FLOAT32)
    assert of_classes().strip(steps=2, shown=1).shape == (1, 3, *SIZE)
    assert torch.equal(plain().strip(steps=2, shown=2), plain().strip(0, steps=2, shown=2))


@pytest.mark.system("8.3.2-ELBO")
def test_the_bound_on_the_likelihood_in_bits_for_each_number() -> None:
    """A network that says there is no noise, by a loop over all times."""
    model = ddpm(size=SIZE, channels=(8,), attends=(False,), groups=4, diffusion_steps=5)  # whose last map is zero
    pictures = torch.randint(0, 256, (2, 3, *SIZE)) / 255
    schedule, x0 = model.schedule, pictures * 2 - 1
    total = torch.zeros(2)
    for t in range(5):
        a, b = schedule.level(t), schedule.level(t - 1)
        x = noised(x0, seeded_normal((3, *SIZE), [9, 10], t + 1), a)
        mean = posterior_mean((x / a**0.5).clamp(-1, 1), x, a, b)
        total += pixel_nll(x0, mean, 1 - a / b) if t == 0 else step_term(x0, x, mean, 1 - a / b, a, b)
    a = schedule.level(4)
    total += 0.5 * (a * x0**2 + (1 - a) - 1 - math.log(1 - a)).flatten(1).sum(1)
    assert_close(model.bits(pictures, seed=9), total / (math.log(2) * 192), FLOAT32)
    learnt = ddpm(size=SIZE, channels=(8,), attends=(False,), groups=4, diffusion_steps=5, learns_variance=True)
    assert learnt.bits(pictures).isfinite().all()
    assert learnt.sample(1, sampler="ddpm", steps=3).isfinite().all()


# ----------------------------------------------------------------------------------------------------------------------
# Numbers of the paper


@pytest.mark.system("8.3.3-UNET")
def test_the_network_of_the_paper() -> None:
    """Appendix B: 35.7 million parameters; attention at 16 x 16, two blocks a level, dropout 0.1; T = 1000, linear."""
    with torch.device("meta"):
        model = ddpm()
    assert sum(p.numel() for p in model.parameters()) == 35_746_307  # that of google/ddpm-cifar10-32 in diffusers
    sizes = cast(Any, model.network).sizes
    assert (sizes.channels, sizes.blocks, sizes.dropout) == ((128, 256, 256, 256), 2, 0.1)
    assert (sizes.attends, sizes.heads) == ((False, True, False, False), (1, 1, 1, 1))
    assert (sizes.groups, sizes.eps, sizes.conditioning) == (32, 1e-6, "add")
    assert model.size == (32, 32)
    assert (model.criterion.predicts, model.criterion.weighting) == ("noise", "simple")
    assert_close(model.schedule.alphas_cumprod, Schedule.named("linear").alphas_cumprod)


def test_the_small_networks_have_three_levels() -> None:
    for build in (ddpm_tiny, ddpm_class_tiny):
        sizes = cast(Any, build().network).sizes
        assert (sizes.channels, sizes.attends, sizes.heads) == ((32, 64, 64), (False, False, True), (1, 1, 4))
        assert (sizes.blocks, sizes.groups, sizes.conditioning) == (1, 8, "scale_shift")


@pytest.mark.parametrize("build", [ddpm_tiny, ddpm_class_tiny, text_to_image_tiny])
def test_the_small_ones_predict_velocities(build: Any) -> None:
    """With cosine variances and few steps a network that predicts noise makes too bold pictures: docs/results."""
    model = build(size=SIZE, width=8)
    assert (model.criterion.predicts, model.criterion.weighting) == ("v", "simple")
    assert_close(model.schedule.alphas_cumprod, Schedule.named("cosine", 1000).alphas_cumprod)


def test_the_recipe_of_the_paper() -> None:
    assert (CIFAR.batch_size, CIFAR.optimizer, CIFAR.learning_rate) == (128, "adam", 2e-4)
    assert (CIFAR.ema, CIFAR.augment, CIFAR.schedule, CIFAR.clip) == (0.9999, "flip", "constant", 1.0)
    assert CIFAR.epochs * 50_000 / CIFAR.batch_size == pytest.approx(800_000, rel=1e-3)
    assert replace(TINY, ema=None).augment == "none"  # mirrored digits are none


def test_small_networks_are_what_they_say() -> None:
    model = of_classes()
    sizes = model.network.sizes
    assert (sizes.channels, sizes.conditioning, sizes.groups) == ((8, 16, 16), "scale_shift", 8)
    assert (sizes.attends, sizes.heads, sizes.blocks, sizes.dropout) == ((False, False, True), (1, 1, 4), 1, 0.0)
    assert model.network.label.table.weight.shape[0] == 4  # the class of none
    cosine = Schedule.named("cosine", 20).alphas_cumprod
    assert_close(model.schedule.alphas_cumprod, cosine)
    assert model(torch.randn(1, 3, *SIZE), torch.tensor([3]), torch.tensor([0])).shape == (1, 3, *SIZE)
