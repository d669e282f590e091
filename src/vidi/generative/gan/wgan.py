"""Wasserstein GANs (notes 8.2.2): a critic whose scores measure how far two distributions are from each other.

    wgan      Arjovsky et al. 2017, arXiv 1701.07875     weights clipped to +-0.01; RMSProp, 0.00005
    wgan_gp   Gulrajani et al. 2017, arXiv 1704.00028    10 (|df/dx| - 1)^2 between real and generated pictures;
                                                         no batch norm in the critic; Adam, 0.0001, betas 0 and 0.9

    5 turns   critic      mean f(G(z)) - mean f(x)       steep no more than 1: minus the distance, in its dual form
    1 turn    generator   -mean f(G(z))

The networks are DCGAN's. The dual form takes the critic from pictures to scores; the primal form, the cheapest plan of
moving one distribution to where the other is, is `vidi.metrics.information.earth_movers_distance`: both have one value.

Differs from the papers: batches of 64 in `wgan`, as in its section 4; standard normal latent vectors.
"""

from typing import Any, Literal

import torch

from vidi.generative.gan.dcgan import Discriminator, Generator, widths_of
from vidi.generative.gan.players import Gan, WassersteinCriterion
from vidi.model import Step, builder, with_defaults
from vidi.preprocess import signed

CRITIC_TURNS = 5


class Wgan(Gan):
    """A generator and a critic, which has several turns for each of the generator's.

    Args:
        players: generator, critic, criterion and preprocessing, as for `Gan`.
        turns: of the critic for one of the generator.
        clip: the largest weight of the critic; None: as large as they like.
    """

    def __init__(self, *players: Any, turns: int, clip: float | None):
        super().__init__(*players)
        self.turns = ("discriminator",) * turns + ("generator",)
        self.clip = clip

    @torch.no_grad()
    def after_step(self, turn: str, step: Step) -> None:
        if turn == "discriminator" and self.clip is not None:
            for parameter in self.discriminator.parameters():
                parameter.clamp_(-self.clip, self.clip)


@builder
def wgan(
    *,
    size: tuple[int, int] = (64, 64),
    latent: int = 100,
    width: int = 128,
    kernel: Literal[4, 5] = 4,
    clip_weights: float = 0.01,
    critic_turns: int = CRITIC_TURNS,
) -> Wgan:
    """Build the Wasserstein GAN whose weights are clipped.

    Args:
        size: (H, W) of the images: square, a power of two from 8.
        latent: length of the latent vectors.
        width: channels of the largest hidden map; each map of half the side has twice as many.
        kernel: pixels a side of the convolutions.
        clip_weights: the largest weight of the critic.
        critic_turns: of the critic for one of the generator.
    """
    widths = widths_of(size, width)
    players = (Generator(latent, widths, kernel), Discriminator(widths, kernel, norm=True))
    return Wgan(*players, WassersteinCriterion(), signed(size), turns=critic_turns, clip=clip_weights)


@builder
def wgan_gp(
    *,
    size: tuple[int, int] = (64, 64),
    latent: int = 128,
    width: int = 64,
    kernel: Literal[4, 5] = 5,
    penalty: float = 10.0,
    critic_turns: int = CRITIC_TURNS,
) -> Wgan:
    """Build the Wasserstein GAN with a gradient penalty.

    Args:
        size: (H, W) of the images: square, a power of two from 8.
        latent: length of the latent vectors.
        width: channels of the largest hidden map; each map of half the side has twice as many.
        kernel: pixels a side of the convolutions.
        penalty: weight of the gradient penalty.
        critic_turns: of the critic for one of the generator.
    """
    widths = widths_of(size, width)
    players = (Generator(latent, widths, kernel), Discriminator(widths, kernel, norm=False))
    return Wgan(*players, WassersteinCriterion(penalty=penalty), signed(size), turns=critic_turns, clip=None)


wgan_gp_tiny = with_defaults(
    wgan_gp, "wgan_gp_tiny", "32 pixels, 0.5 M parameters in both", size=(32, 32), latent=64, width=32, kernel=4
)
