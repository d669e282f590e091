"""What the GANs share: two players, the loss of each, and pictures from latent vectors (notes 8.2).

    seeds N -> latents N D -> `Gan.images_of` -> pictures N 3 H W in [0, 1]

Picture i of a seed has its own seed, so that it is the same in any batch. `truncation` draws numbers of a latent vector
again that are beyond a threshold (Brock et al. 2019, arXiv 1809.11096, section 3.1): more real, less various pictures.
Any generator here can be asked for it; one that was trained with `orthogonal` bears it (section 3.1 of the paper).
`interpolate` walks from one picture to the next.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vidi.losses.adversarial import (
    critic_generator_loss,
    critic_loss,
    discriminator_loss,
    drift,
    generator_loss,
    gradient_penalty,
    orthogonal_penalty,
    r1_penalty,
    saturating_generator_loss,
)
from vidi.model import Adversarial, Losses, Samples, Step, evaluating
from vidi.ops.latents import normal_latents, strips
from vidi.ops.noise import picture_seeds
from vidi.preprocess import Batch, from_signed

AT_ONCE = 64
"""Pictures that a generator makes at once."""

SMALLEST = 4
"""Pixels a side of the map that generators of convolutions begin with."""

SURE = 0.95
"""The probability from which on a discriminator is sure."""


class Player(nn.Module):
    """A generator: `forward` maps what it draws to pictures, in [-1, 1] where it has learnt their range.

    Args:
        latent: length of the latent vectors.
    """

    spherical = True  # whether interpolation keeps the length of latent vectors

    def __init__(self, latent: int):
        super().__init__()
        self.latent = latent

    def draw(self, count: int, generator: torch.Generator | None) -> Any:
        """Draw what a training step maps to pictures, from the prior: independent standard normal numbers, N D."""
        weight = next(self.parameters())
        return torch.randn(count, self.latent, generator=generator, device=weight.device, dtype=weight.dtype)

    def codes(self, seeds: Sequence[int], truncation: float | int | None) -> Float[Tensor, "N D"]:
        """Return what pictures of these seeds come from, and what interpolation walks between; see `sample`."""
        weight = next(self.parameters())
        return normal_latents(self.latent, seeds, truncation=truncation, device=weight.device).to(weight.dtype)

    def render(self, codes: Float[Tensor, "N D"]) -> Float[Tensor, "N C H W"]:
        """Return pictures in [-1, 1] of codes."""
        return self(codes)


def doublings_of(size: tuple[int, int], *, first: int, least: int) -> int:
    """Return how often `first` pixels are doubled to the side of a square.

    Raises:
        ValueError: if the size is not square, or no power of two from `least`.
    """
    count = math.log2(size[0] / first)
    if size[0] != size[1] or size[0] < least or not count.is_integer():
        raise ValueError(f"received size={size}, expected a square whose side is a power of two, at least {least}")
    return int(count)


# ----------------------------------------------------------------------------------------------------------------------
# The losses


class AdversarialCriterion:
    """The loss of each player, of logits.

    Args:
        form: of the generator's loss.
        r1: weight of the gradient penalty at real pictures; 0: without.
        orthogonal: weight of the penalty on the generator's filters that are not orthogonal; 0: without.
    """

    def __init__(
        self,
        form: Literal["non_saturating", "minimax"] = "non_saturating",
        *,
        r1: float | int = 0.0,
        orthogonal: float | int = 0.0,
    ):
        self.generator_loss = generator_loss if form == "non_saturating" else saturating_generator_loss
        self.r1, self.orthogonal = r1, orthogonal

    def of_discriminator(self, generator: Player, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        with torch.no_grad():
            generated = generator(generator.draw(len(batch.images), step.generator))
        losses = {"adversarial": discriminator_loss(discriminator(batch.images), discriminator(generated))}
        if self.r1:
            losses["r1"] = self.r1 * r1_penalty(discriminator, batch.images)
        return losses

    def of_generator(self, generator: Player, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        generated = generator(generator.draw(len(batch.images), step.generator))
        losses = {"adversarial": self.generator_loss(discriminator(generated))}
        if self.orthogonal:
            losses["orthogonal"] = self.orthogonal * orthogonal_penalty(p for p in generator.parameters() if p.ndim > 1)
        return losses

    def opinion(self, real: Float[Tensor, " N"], generated: Float[Tensor, " M"]) -> dict[str, float]:
        """Return the share of real and of generated pictures of which the discriminator is sure."""
        sure = {"sure_of_real": real.sigmoid() > SURE, "sure_of_generated": generated.sigmoid() < 1 - SURE}
        return {name: float(right.double().mean()) for name, right in sure.items()}


class WassersteinCriterion:
    """The loss of each player, of a critic's scores.

    Args:
        penalty: weight of the gradient penalty; 0: without, where weights are clipped.
        drift: weight of the penalty on scores of real pictures that are far from 0; 0: without.
    """

    def __init__(self, *, penalty: float | int = 0.0, drift: float | int = 0.0):
        self.penalty, self.drift = penalty, drift

    def of_discriminator(self, generator: Player, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        images = batch.images
        with torch.no_grad():
            generated = generator(generator.draw(len(images), step.generator))
        scores = discriminator(images)
        losses = {"wasserstein": critic_loss(scores, discriminator(generated))}
        if self.penalty:
            share = torch.rand(len(images), generator=step.generator, device=images.device, dtype=images.dtype)
            losses["penalty"] = self.penalty * gradient_penalty(discriminator, images, generated, share)
        if self.drift:
            losses["drift"] = self.drift * drift(scores)
        return losses

    def of_generator(self, generator: Player, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        generated = generator(generator.draw(len(batch.images), step.generator))
        return {"wasserstein": critic_generator_loss(discriminator(generated))}

    def opinion(self, real: Float[Tensor, " N"], generated: Float[Tensor, " M"]) -> dict[str, float]:
        """Return the critic's estimate of the Wasserstein distance, up to the factor of its steepness."""
        return {"wasserstein_estimate": -float(critic_loss(real, generated))}


# ----------------------------------------------------------------------------------------------------------------------
# The model


class Gan(Adversarial, Samples):
    """Images from noise."""

    @property
    def player(self) -> Player:
        """The generator."""
        return cast(Player, self.generator)

    @torch.no_grad()
    def images_of(self, codes: Float[Tensor, "N D"]) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1] of codes: of latent vectors, or of what the generator makes of them first."""
        with evaluating(self):
            parts = [self.player.render(part) for part in codes.split(AT_ONCE)]
        return from_signed(torch.cat(parts))

    @torch.no_grad()
    def codes(self, seeds: Sequence[int], *, truncation: float | int | None = None) -> Float[Tensor, "N D"]:
        """Return the codes of pictures by their seeds; truncation as for `sample`."""
        with evaluating(self):
            return self.player.codes(seeds, truncation)

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        truncation: float | None = None,
        interpolate: int | None = None,
    ) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1]; image i of a generator's first seed is the same whatever the count.

        Args:
            count: of images.
            generator: of all draws.
            truncation: the largest number that a latent vector may have; of StyleGAN, the share of the way from the
                mean w that is gone. Less is more real and less various.
            interpolate: images of a strip that leads from one image to another; strips follow each other.

        Raises:
            ValueError: for a truncation that is not above 0, or strips of fewer than two images.
        """
        if interpolate is None:
            return self.images_of(self.codes(picture_seeds(generator, count), truncation=truncation))
        rows = -(-count // max(interpolate, 1))
        codes = self.codes(picture_seeds(generator, 2 * rows), truncation=truncation)
        walked = strips(codes[0::2], codes[1::2], interpolate, spherical=self.player.spherical)
        return self.images_of(walked.flatten(0, 1)[:count])

    def conditions(self, image: int | None = None, /, **given: Any) -> dict[str, Any]:
        asked = super().conditions(image, **given)
        if image is not None and asked["interpolate"] is not None:
            raise ValueError(
                f"received interpolate={asked['interpolate']} for single pictures, expected none: a picture of a strip "
                "has no seed of its own"
            )
        return asked

    @torch.no_grad()
    def opinion(self, real: Float[Tensor, "N C H W"], generated: Float[Tensor, "M C H W"]) -> dict[str, float]:
        """Return what the discriminator tells real and generated pictures apart by, with batch norms as in training."""
        judge = copy.deepcopy(self.discriminator).eval()
        for module in judge.modules():
            if isinstance(module, _BatchNorm):
                module.train()
        return self.criterion.opinion(*(judge(2 * images.to(self.device) - 1) for images in (real, generated)))
