"""ProGAN: a GAN that grows from 4 x 4 pixels (Karras et al. 2018, arXiv 1710.10196; notes 8.2.3).

    z  B 512, on a sphere -> 4 x 4 convolution, 3 x 3            B 512 4 4
                          -> upsample, 3 x 3, 3 x 3, ...         B 16 1024 1024     pixel norm after each
                          -> to RGB of the newest block          B 3 1024 1024
    images -> from RGB    -> 3 x 3, 3 x 3, average pool, ...     B 512 4 4
                          -> deviation of the minibatch, 3 x 3, 4 x 4, linear       B: a critic's score

    growth   0        4 pixels
             k        4 x 2^k pixels
             k + a    block k + 1 fades in: (1 - a) x the old pictures, enlarged, + a x the new ones; in the critic
                      (1 - a) x the old path from the reduced picture + a x the new block; real pictures alike

Growth is a function of how much of a training is done: 4 pixels, then for each doubling as many steps of fading as of
standing still. It is kept with the weights, in millionths, so that a training resumes in the midst of a fade. Pictures
always come in full size: those of a smaller network are enlarged by repeating pixels.

Loss: Wasserstein with gradient penalty 10 and drift 0.001, one critic turn. Adam, 0.001, betas 0 and 0.99; the averaged
generator has a decay of 0.999. Table 2: 23.1 M parameters a player at 1024 pixels.

Differs from the paper: Adam goes on where the network grows instead of starting anew; equal batches at all sizes; the
gradient penalty is of target 1 (the paper's 750 is for CIFAR-10).
"""

from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.generative.gan.players import SMALLEST, Gan, Player, WassersteinCriterion, doublings_of
from vidi.model import Losses, Step, builder, with_defaults
from vidi.nn.equalised import EqualisedConv2d, EqualisedLinear, leaky, pixel_norm, with_deviation
from vidi.preprocess import AnyBatch, Batch, signed

PENALTY, DRIFT = 10.0, 0.001
"""Weights of the gradient penalty, and of the one on scores of real pictures that are far from 0."""

WHOLE = 1_000_000
"""Of growth: its unit is a millionth of a doubling."""


def channels_of(size: tuple[int, int], width: int, most: int) -> list[int]:
    """Return the channels of each block, from 4 pixels to full size: `width`, doubled with each halving up to `most`.

    Raises:
        ValueError: if the size is not square, or no power of two from 8.
    """
    last = doublings_of(size, first=SMALLEST, least=2 * SMALLEST)
    return [min(most, width * 2 ** (last - level)) for level in range(last + 1)]


def growth_at(share: float | int, doublings: int) -> int:
    """Return the growth when a share of a training is done, in millionths.

    Of 1 + 2 x doublings equal parts the first is of 4 pixels; then each doubling has one to fade in and one to stand.
    """
    parts = share * (1 + 2 * doublings)
    if parts < 1:
        return 0
    level, rest = divmod(parts - 1, 2)
    return min(round((level + min(rest, 1)) * WHOLE), doublings * WHOLE)


def doubled(images: Float[Tensor, "B C H W"], times: int = 1) -> Float[Tensor, "B C h w"]:
    """Return pictures enlarged by 2^times by repeating pixels."""
    return F.interpolate(images, scale_factor=2**times, mode="nearest") if times else images


def halved(images: Float[Tensor, "B C H W"], times: int = 1) -> Float[Tensor, "B C h w"]:
    """Return pictures reduced by 2^times, each pixel the mean of those that it covers."""
    return F.avg_pool2d(images, 2**times) if times else images


def faded(old: Float[Tensor, "B C H W"], new: Float[Tensor, "B C H W"], alpha: float | int) -> Float[Tensor, "B C H W"]:
    """Return (1 - alpha) old + alpha new: one of both alone at the ends."""
    return (1 - alpha) * old + alpha * new


class Growing:
    """What grows: `growth` is a buffer of whole numbers, which an average of weights copies."""

    growth: Tensor
    doublings: int

    def levels(self) -> tuple[int, float]:
        """Return the number of the newest block, and how far it has faded in, above 0 and at most 1."""
        level, rest = divmod(int(self.growth), WHOLE)
        return (level + 1, rest / WHOLE) if rest else (level, 1.0)


class Generator(Player, Growing):
    """Latent vectors to images of full size, by as many blocks as there are."""

    def __init__(self, latent: int, channels: list[int]):
        super().__init__(latent)
        self.doublings = len(channels) - 1
        self.register_buffer("growth", torch.tensor(self.doublings * WHOLE))
        first = channels[0]
        self.first = EqualisedConv2d(latent, first, SMALLEST, padding=SMALLEST - 1)
        self.second = EqualisedConv2d(first, first, 3)
        pairs = pairwise(channels)
        self.blocks = nn.ModuleList(
            nn.ModuleList([EqualisedConv2d(inside, outside, 3), EqualisedConv2d(outside, outside, 3)])
            for inside, outside in pairs
        )
        self.to_rgb = nn.ModuleList(EqualisedConv2d(count, 3, 1, gain=1) for count in channels)

    def forward(self, latents: Float[Tensor, "N D"]) -> Float[Tensor, "N 3 H W"]:
        newest, alpha = self.levels()
        x = pixel_norm(leaky(self.first(pixel_norm(latents)[..., None, None])))
        x = pixel_norm(leaky(self.second(x)))
        before = x
        for block in list(self.blocks)[:newest]:
            before, x = x, doubled(x)
            for convolution in cast(nn.ModuleList, block):
                x = pixel_norm(leaky(convolution(x)))
        images = self.to_rgb[newest](x)
        if alpha < 1:
            images = faded(doubled(self.to_rgb[newest - 1](before)), images, alpha)
        return doubled(images, self.doublings - newest)


class Discriminator(nn.Module, Growing):
    """Images of full size to a score, by as many blocks as the generator has.

    Args:
        channels: of each block, from 4 pixels on.
        grows: whether it has an entrance for each size, not only for the full one.
    """

    def __init__(self, channels: list[int], *, grows: bool = True):
        super().__init__()
        self.doublings = len(channels) - 1
        self.register_buffer("growth", torch.tensor(self.doublings * WHOLE))
        entrances = channels if grows else channels[-1:]
        self.from_rgb = nn.ModuleList(EqualisedConv2d(3, count, 1) for count in entrances)
        pairs = pairwise(channels)
        self.blocks = nn.ModuleList(  # block k takes maps of level k + 1 to level k
            nn.ModuleList([EqualisedConv2d(inside, inside, 3), EqualisedConv2d(inside, outside, 3)])
            for outside, inside in pairs
        )
        first = channels[0]
        self.second = EqualisedConv2d(first + 1, first, 3)
        self.first = EqualisedConv2d(first, first, SMALLEST, padding=0)
        self.last = EqualisedLinear(first, 1, gain=1)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        newest, alpha = self.levels()
        images = halved(images, self.doublings - newest)
        x = self._entered(images, newest)
        for level in reversed(range(newest)):
            for convolution in cast(nn.ModuleList, self.blocks[level]):
                x = leaky(convolution(x))
            x = self.reduced(x)
            if alpha < 1 and level == newest - 1:
                x = faded(self._entered(halved(images), level), x, alpha)
        x = leaky(self.second(with_deviation(x)))
        return self.last(leaky(self.first(x)).flatten(1)).squeeze(1)  # B

    def reduced(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """Return maps of half the sides."""
        return halved(x)

    def _entered(self, images: Tensor, level: int) -> Tensor:
        """Return the map that the block of a level takes."""
        return leaky(self.from_rgb[level if len(self.from_rgb) > 1 else 0](images))

    def seen(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Return real pictures with as little detail as generated ones have by now."""
        newest, alpha = self.levels()
        new = halved(images, self.doublings - newest)
        if alpha < 1:
            new = faded(doubled(halved(new)), new, alpha)
        return doubled(new, self.doublings - newest)


class GrowingCriterion(WassersteinCriterion):
    """The Wasserstein losses, of real pictures in the detail of the generated ones."""

    def of_discriminator(self, generator: Player, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        seen = replace(batch, images=cast(Discriminator, discriminator).seen(batch.images))
        return super().of_discriminator(generator, discriminator, seen, step)


class GrowingGan(Gan):
    """A GAN whose players are as large as the share of the training that is done allows."""

    def losses(self, turn: str, batch: AnyBatch, step: Step) -> Losses:
        for player in (self.generator, self.discriminator):
            growing = cast(Growing, player)
            growing.growth.fill_(growth_at(step.index / step.total, growing.doublings))
        return super().losses(turn, batch, step)


@builder
def progan(
    *,
    size: tuple[int, int] = (1024, 1024),
    latent: int = 512,
    width: int = 16,
    most: int = 512,
    penalty: float = PENALTY,
    drift: float = DRIFT,
) -> GrowingGan:
    """Build ProGAN, fully grown; a training begins with its first block.

    Args:
        size: (H, W) of the images: square, a power of two from 8.
        latent: length of the latent vectors.
        width: channels of the last block; each block of half the side has twice as many.
        most: channels of a block at most.
        penalty: weight of the gradient penalty.
        drift: weight of the penalty on scores of real pictures that are far from 0.
    """
    channels = channels_of(size, width, most)
    players = (Generator(latent, channels), Discriminator(channels))
    return GrowingGan(*players, GrowingCriterion(penalty=penalty, drift=drift), signed(size))


progan_tiny = with_defaults(
    progan, "progan_tiny", "32 pixels, 0.4 M parameters in both", size=(32, 32), latent=64, width=16, most=64
)
