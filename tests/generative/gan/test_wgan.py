"""Wasserstein GANs: turns, clipping, penalty, recipes, and a critic that measures a distance on a line."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.closeness import assert_close
from tests.conftest import ROOT
from tests.conftest import Run as RunPython
from tests.generative.gan.trainings import penalised
from vidi import files
from vidi.catalog.table import CATALOG
from vidi.data.loading import derived_seed
from vidi.engine.fit import turns_by_batch
from vidi.generative.gan.players import WassersteinCriterion
from vidi.generative.gan.wgan import Wgan, wgan, wgan_gp
from vidi.losses.adversarial import critic_loss, gradient_penalty
from vidi.model import Step
from vidi.preprocess import Batch, Placement

TINY = {"size": (8, 8), "latent": 4, "width": 4}


def batch_of(count: int) -> Batch:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(images, torch.ones(count, 8, 8).bool(), [Placement((8, 8), (8, 8))] * count, [{}] * count)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.system("8.2.2-WGAN")
def test_the_critic_has_five_turns_and_weights_of_a_hundredth() -> None:
    model = wgan(**TINY)
    assert model.turns == ("discriminator",) * 5 + ("generator",)
    assert turns_by_batch(model.turns) == [("discriminator",)] * 4 + [("discriminator", "generator")]
    assert max(p.abs().max() for p in model.discriminator.parameters()) > 0.01
    before = [p.clone() for p in model.discriminator.parameters()]
    model.after_step("generator", Step())
    assert all(torch.equal(a, b) for a, b in zip(before, model.discriminator.parameters(), strict=True))
    kept = [p.clone() for p in model.generator.parameters()]
    model.after_step("discriminator", Step())
    for a, b in zip(before, model.discriminator.parameters(), strict=True):
        assert torch.equal(a.clamp(-0.01, 0.01), b)
    assert all(torch.equal(a, b) for a, b in zip(kept, model.generator.parameters(), strict=True))
    assert "wgan_gp" in CATALOG
    penalised = wgan_gp(**TINY)
    unclipped = [p.clone() for p in penalised.discriminator.parameters()]
    penalised.after_step("discriminator", Step())
    assert all(torch.equal(a, b) for a, b in zip(unclipped, penalised.discriminator.parameters(), strict=True))
    assert penalised.turns == model.turns


@pytest.mark.system("8.2.2-WGAN")
def test_the_recipes_are_those_of_both_algorithms() -> None:
    (clipped,), (penalised,) = (CATALOG[name].recipes.values() for name in ("wgan", "wgan_gp"))
    assert (clipped.optimizer, clipped.learning_rate, clipped.batch_size) == ("rmsprop", 5e-5, 64)
    assert clipped.momentum == 0
    assert (penalised.optimizer, penalised.learning_rate, penalised.betas) == ("adam", 1e-4, (0.0, 0.9))
    assert penalised.batch_size == 64


@pytest.mark.system("8.2.2-WGAN")
def test_only_the_clipped_critic_has_batch_norms() -> None:
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in build().discriminator.modules()) for build in (wgan, wgan_gp)]
    assert norms == [3, 0]
    assert not any("Norm" in type(m).__name__ for m in wgan_gp(**TINY).discriminator.modules())


@pytest.mark.system("8.2.2-WGAN")
def test_losses_are_the_formulas_with_their_weights() -> None:
    model: Wgan = wgan_gp(**TINY)
    batch = batch_of(3)
    found = model.losses("discriminator", batch, Step(generator=seeded()))
    draws = seeded()
    generated = model.generator(model.player.draw(3, draws)).detach()
    share = torch.rand(3, generator=draws)
    assert_close(found["wasserstein"], critic_loss(model.discriminator(batch.images), model.discriminator(generated)))
    assert_close(found["penalty"], 10 * gradient_penalty(model.discriminator, batch.images, generated, share))
    (loss,) = model.losses("generator", batch, Step(generator=seeded())).values()
    assert_close(loss, -model.discriminator(model.generator(model.player.draw(3, seeded()))).mean())
    assert set(wgan(**TINY).losses("discriminator", batch, Step(generator=seeded()))) == {"wasserstein"}


@pytest.mark.system("8.2.2-WGAN")
def test_a_critic_with_a_penalty_measures_how_far_points_are() -> None:
    """Real pictures of 1 pixel at 0.6, generated ones at -0.4: the distance is 1, that of the primal form."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(1, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01, betas=(0.0, 0.9))
    real, generated = torch.full((16, 1, 1, 1), 0.6), torch.full((16, 1, 1, 1), -0.4)
    for _ in range(300):
        scores = critic_loss(critic(real), critic(generated))
        loss = scores + 10 * gradient_penalty(critic, real, generated, torch.rand(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    estimate = WassersteinCriterion().opinion(critic(real).detach(), critic(generated).detach())
    # the best slope s of s - 10 (s - 1)^2 is 1.05
    assert estimate["wasserstein_estimate"] == pytest.approx(1.05, rel=0.03)


@pytest.mark.extended
@pytest.mark.system("8.2.2-WGAN")
def test_two_processes_penalise_as_one_does_with_their_draws(run_python: RunPython, tmp_path: Path) -> None:
    """The second derivatives of the penalty are averaged too.

    One process goes through the shares of both, one after the other, each with the draws that it has there.
    """
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_python(*launch, "-m", "tests.generative.gan.trainings", tmp_path / "two", env=environment)
    assert done.returncode == 0, done.stderr
    one = penalised(tmp_path / "one", accumulate=2)
    one._generator = lambda turn, part: torch.Generator().manual_seed(  # type: ignore[method-assign]
        derived_seed(one.recipe.seed, one.step, part, turn + 1, 0)
    )
    one.fit()
    two = files.read_state(tmp_path / "two" / "state.pt")
    assert two["step"] == 3
    begun = dict(penalised(tmp_path / "begun").model.named_parameters())
    moved = {name for name, parameter in one.model.named_parameters() if not torch.equal(parameter, begun[name])}
    assert set(begun) - moved == {"discriminator.last.bias"}  # a critic's level is nobody's concern
    for name, parameter in one.model.named_parameters():
        torch.testing.assert_close(two["model"][name], parameter.detach(), rtol=1e-4, atol=1e-6)
