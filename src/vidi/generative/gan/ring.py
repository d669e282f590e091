"""A GAN of points: a ring of normal distributions, on which one sees how many modes are lost (notes 8.2.1).

    z  B 16 -> 2 x (linear, ReLU) -> points B 1 1 2;   points -> 2 x (linear, leaky ReLU) -> a logit or a score

Metz et al. 2017 (arXiv 1611.02163), section 3.2: eight modes on a circle of radius 2, deviation 0.02. The criteria are
those of the pictures' GANs, points being pictures of one row; what comes out is judged by `vidi.metrics.modes`.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.generative.gan.players import AdversarialCriterion, Player, WassersteinCriterion
from vidi.generative.gan.wgan import CRITIC_TURNS
from vidi.model import Step
from vidi.optim.adam import Adam
from vidi.preprocess import Batch

LATENT, HIDDEN, BATCH = 16, 64, 128


@dataclass(frozen=True)
class Ring:
    """A mixture of equally many points about places on a circle."""

    modes: int = 8
    radius: float = 2.0
    deviation: float = 0.02

    @property
    def centres(self) -> Float[Tensor, "M 2"]:
        """Return the centre of each mode."""
        angles = 2 * math.pi * torch.arange(self.modes) / self.modes
        return self.radius * torch.stack([angles.cos(), angles.sin()], 1)

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "N 2"]:
        """Draw points."""
        chosen = torch.randint(self.modes, (count,), generator=generator)
        return self.centres[chosen] + self.deviation * torch.randn(count, 2, generator=generator)


class Generator(Player):
    """Latent vectors to points."""

    def __init__(self) -> None:
        super().__init__(LATENT)
        self.layers = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
        )

    def forward(self, latents: Float[Tensor, "N D"]) -> Float[Tensor, "N 1 1 2"]:
        return self.layers(latents)[:, None, None]


def discriminator() -> nn.Module:
    """Return a network from points to a logit or a score."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(2, HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, 1),
        nn.Flatten(0),
    )


def fit_ring(
    ring: Ring, loss: Literal["minimax", "non_saturating", "wasserstein"], *, steps: int, seed: int
) -> Generator:
    """Train a generator of points for so many turns of its own; a critic has five for each, a discriminator one."""
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator, judge = Generator(), discriminator()
    wasserstein = loss == "wasserstein"
    criterion: Any = WassersteinCriterion(penalty=1.0) if wasserstein else AdversarialCriterion(loss)
    turns = [(judge, criterion.of_discriminator)] * (CRITIC_TURNS if wasserstein else 1)
    turns += [(generator, criterion.of_generator)]
    optimizers = {player: Adam(player.parameters(), 1e-3, betas=(0.5, 0.9)) for player in (generator, judge)}
    for index in range(steps):
        for player, losses_of in turns:
            points = ring.draw(BATCH, draws)[:, None, None]
            batch = Batch(points, torch.ones(BATCH, 1, 2, dtype=torch.bool), [], [])
            losses = losses_of(generator, judge, batch, Step(index, steps, draws))
            optimizers[player].zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizers[player].step()
    return generator.eval()


@torch.no_grad()
def points_of(generator: Generator, count: int, *, seed: int) -> Float[Tensor, "N 2"]:
    """Return points of a generator."""
    return generator(generator.draw(count, torch.Generator().manual_seed(seed))).flatten(1)
