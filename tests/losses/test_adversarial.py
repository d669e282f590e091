"""Losses of the GAN's players against binary cross entropy and the paper's logarithms."""

import math

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, assert_close
from vidi.losses.adversarial import (
    critic_generator_loss,
    critic_loss,
    discriminator_loss,
    discriminator_loss_of_densities,
    drift,
    generator_loss,
    gradient_penalty,
    optimal_discriminator,
    orthogonal_penalty,
    r1_penalty,
    saturating_generator_loss,
)
from vidi.metrics.information import earth_movers_distance, js_divergence

REAL, FAKE = (torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (1, 2))


@pytest.mark.system("8.2-DLOSS")
def test_the_discriminators_loss_is_two_cross_entropies() -> None:
    expected = F.binary_cross_entropy_with_logits(REAL, torch.ones_like(REAL))
    expected = expected + F.binary_cross_entropy_with_logits(FAKE, torch.zeros_like(FAKE))
    assert_close(discriminator_loss(REAL, FAKE), expected)
    spelled_out = -REAL.sigmoid().log().mean() - (1 - FAKE.sigmoid()).log().mean()
    assert_close(discriminator_loss(REAL, FAKE), spelled_out)


@pytest.mark.system("8.2-GLOSS")
def test_both_forms_of_the_generators_loss_are_the_papers() -> None:
    assert_close(generator_loss(FAKE), -FAKE.sigmoid().log().mean())
    assert_close(saturating_generator_loss(FAKE), (1 - FAKE.sigmoid()).log().mean())


@pytest.mark.system("8.2-GLOSS")
def test_only_the_non_saturating_form_has_a_gradient_where_the_discriminator_is_sure() -> None:
    sure = torch.full((4,), -30.0, dtype=torch.float64, requires_grad=True)
    (alive,) = torch.autograd.grad(generator_loss(sure), sure)
    (dead,) = torch.autograd.grad(saturating_generator_loss(sure), sure)
    assert alive.sum().item() == pytest.approx(-1)
    assert abs(dead.sum().item()) < 1e-12


def test_extreme_logits_stay_finite() -> None:
    huge = torch.tensor([-1e4, 1e4])
    for loss in (discriminator_loss(huge, huge), generator_loss(huge), saturating_generator_loss(huge)):
        assert loss.isfinite()


# ----------------------------------------------------------------------------------------------------------------------
# The best discriminator


def masses(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / drawn.sum(-1, keepdim=True)


@pytest.mark.system("8.2-OPTD", "B8.11")
def test_the_best_discriminator_is_the_share_of_the_real_density() -> None:
    assert float(optimal_discriminator(torch.tensor(0.8), torch.tensor(0.2))) == pytest.approx(0.8)
    p, q = masses(7), masses(7, seed=1)
    best = optimal_discriminator(p, q)
    grid = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)  # a value of D at one place, the others at their best
    for place in range(7):
        tried = best.repeat(999, 1)
        tried[:, place] = grid
        losses = discriminator_loss_of_densities(p.expand(999, 7), q.expand(999, 7), tried)
        assert abs(float(grid[losses.argmin()] - best[place])) <= 0.001


@pytest.mark.system("8.2-OPTD")
def test_a_trained_discriminator_converges_to_the_best_one() -> None:
    """On a line: N(-1, 1) against N(1, 2), by the loss on samples; the logit of the best one is a quadratic."""
    torch.manual_seed(0)
    real, generated = torch.randn(20_000, 1) - 1, math.sqrt(2) * torch.randn(20_000, 1) + 1
    network = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 400)
        rows = torch.randint(20_000, (2, 1024))
        loss = discriminator_loss(network(real[rows[0]]).squeeze(1), network(generated[rows[1]]).squeeze(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    places = torch.linspace(-3, 3, 61)
    densities = (
        torch.from_numpy(scipy.stats.norm.pdf(places.numpy(), mean, scale)).float()
        for mean, scale in ((-1, 1), (1, math.sqrt(2)))
    )
    with torch.no_grad():
        found = network(places[:, None]).squeeze(1).sigmoid()
    best = optimal_discriminator(*densities)
    assert float((found - best).abs().mean()) < 0.03
    assert float((best - 0.5).abs().mean()) > 0.3  # what one that learnt nothing would be off


@pytest.mark.system("8.2-OPTG", "B8.12")
def test_the_loss_of_the_best_discriminator_is_log_4_less_twice_the_js_divergence() -> None:
    p, q = masses(20, 6), masses(20, 6, seed=1)
    found = discriminator_loss_of_densities(p, q, optimal_discriminator(p, q))
    assert_close(found, math.log(4) - 2 * js_divergence(p, q), NUMBERS)
    fair, loaded = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([0.9, 0.1], dtype=torch.float64)
    assert float(discriminator_loss_of_densities(fair, loaded, optimal_discriminator(fair, loaded))) == pytest.approx(
        1.182796, abs=6e-7
    )
    assert float(js_divergence(fair, loaded)) == pytest.approx(0.101749, abs=6e-7)


@pytest.mark.system("8.2-OPTG")
def test_the_generator_is_best_where_the_densities_are_equal() -> None:
    """Descent on the loss of the best discriminator, the other way round, ends at p_real, where the loss is log 4."""
    p = masses(5)
    logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    for _ in range(4000):
        q = logits.softmax(0)
        loss = -discriminator_loss_of_densities(p, q, optimal_discriminator(p, q))
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 5 * slope).detach().requires_grad_()
    q = logits.detach().softmax(0)
    assert_close(q, p, FLOAT32)
    assert float(discriminator_loss_of_densities(p, q, optimal_discriminator(p, q))) == pytest.approx(math.log(4))
    assert float(js_divergence(p, p)) == 0


# ----------------------------------------------------------------------------------------------------------------------
# Critics


@pytest.mark.system("8.2.2-WGAN")
def test_a_critics_loss_is_a_difference_of_means() -> None:
    assert_close(
        critic_loss(REAL, FAKE), torch.tensor(sum(FAKE.tolist()) / 50 - sum(REAL.tolist()) / 50, dtype=torch.float64)
    )
    assert_close(critic_generator_loss(FAKE), torch.tensor(-sum(FAKE.tolist()) / 50, dtype=torch.float64))


@pytest.mark.system("8.2.2-WGAN")
def test_the_best_critic_of_the_dual_form_gives_the_distance_of_the_primal_one() -> None:
    """On a line: f' = sign of the difference of the CDFs; the linear program and scipy say the same distance."""
    p, q = masses(9), masses(9, seed=1)
    places = torch.arange(9, dtype=torch.float64).square() / 10
    slopes = -(p - q).cumsum(0)[:-1].sign()
    critic = torch.cat([torch.zeros(1).double(), (slopes * places.diff()).cumsum(0)])
    steepest = (critic[:, None] - critic).abs() / (places[:, None] - places).abs().clamp(min=1e-9)
    assert steepest.max() <= 1 + 1e-9
    dual = float((p * critic).sum() - (q * critic).sum())
    primal = earth_movers_distance(p, q, (places[:, None] - places).abs()).distance
    assert dual == pytest.approx(primal, rel=NUMBERS)
    expected = scipy.stats.wasserstein_distance(places.numpy(), places.numpy(), p.numpy(), q.numpy())
    assert primal == pytest.approx(expected, rel=NUMBERS)
    counts = (p * 1e6).round().long(), (q * 1e6).round().long()
    samples = (critic.repeat_interleave(count) for count in counts)
    assert -float(critic_loss(*samples)) == pytest.approx(primal, rel=1e-3)


class Quadratic(nn.Module):
    """f(x) = x' A x / 2 + b' x of each picture, whose gradient is known."""

    def __init__(self) -> None:
        super().__init__()
        half = torch.randn(12, 12, dtype=torch.float64)
        self.matrix, self.vector = nn.Parameter(half + half.T), nn.Parameter(torch.randn(12, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)
        return ((rows @ self.matrix) * rows).sum(1) / 2 + rows @ self.vector

    def slope(self, row: Tensor) -> Tensor:
        return (self.matrix + self.matrix.T) @ row / 2 + self.vector


@pytest.mark.system("8.2.2-WGAN", "8.2.3-PROGAN")
@pytest.mark.parametrize("target", [1, 750.0])
def test_the_gradient_penalty_is_that_of_slow_loops(target: float) -> None:
    critic = Quadratic()
    real, generated = (torch.randn(4, 3, 2, 2, dtype=torch.float64) for _ in range(2))
    share = torch.rand(4, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for row in range(4):
        mixed = share[row] * real[row].flatten() + (1 - share[row]) * generated[row].flatten()
        length = critic.slope(mixed).square().sum().sqrt()
        expected = expected + ((length - target) / target) ** 2 / 4
    generated.requires_grad_()
    found = gradient_penalty(critic, real, generated, share, target=target)
    assert torch.autograd.grad(found, generated, retain_graph=True, allow_unused=True) == (None,)
    assert_close(found.detach(), expected.detach(), NUMBERS)
    ours, theirs = (torch.autograd.grad(loss, list(critic.parameters())) for loss in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, GRADIENTS)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_the_penalty_at_real_pictures_is_half_the_squared_gradient() -> None:
    critic, real = Quadratic(), torch.randn(4, 3, 2, 2, dtype=torch.float64)
    expected = torch.stack([critic.slope(row.flatten()).square().sum() / 2 for row in real]).mean()
    found = r1_penalty(critic, real)
    assert_close(found.detach(), expected.detach(), NUMBERS)
    ours, theirs = (torch.autograd.grad(loss, list(critic.parameters())) for loss in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, GRADIENTS)


@pytest.mark.system("8.2.3-PROGAN")
def test_the_drift_is_the_mean_squared_score() -> None:
    assert_close(drift(REAL), torch.tensor(sum(x * x for x in REAL.tolist()) / 50, dtype=torch.float64))


@pytest.mark.system("8.2-TRUNC")
def test_penalties_are_told_where_nothing_is_to_be_differentiated() -> None:
    """Counts of a global batch are taken in a pass without gradients."""
    draws = torch.Generator().manual_seed(3)
    real, generated = (torch.randn(4, 1, 2, 2, generator=draws).double() for _ in range(2))
    share = torch.rand(4, generator=draws).double()

    def score(images: Tensor) -> Tensor:
        return images.square().flatten(1).sum(1)

    expected = gradient_penalty(score, real, generated, share), r1_penalty(score, real)
    with torch.no_grad():
        found = gradient_penalty(score, real, generated, share), r1_penalty(score, real)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.detach(), other.detach(), NUMBERS)


def test_the_orthogonal_penalty_minds_angles_and_not_lengths() -> None:
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                expected += float((weight[i] * weight[j]).sum()) ** 2
    assert_close(orthogonal_penalty([weight]), torch.tensor(expected, dtype=torch.float64))
    assert_close(orthogonal_penalty([weight, weight]), torch.tensor(2 * expected, dtype=torch.float64))
    right_angles = torch.diag(torch.tensor([1.0, 5, 0.1])).double()
    assert float(orthogonal_penalty([right_angles])) == 0
    assert_close(orthogonal_penalty([right_angles, weight]), orthogonal_penalty([weight]))  # of any shapes
