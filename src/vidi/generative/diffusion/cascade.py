"""Cascaded diffusion: a small picture, enlarged by a diffusion model that sees it (notes 8.3.6).

    small    B 3 h w          from a base model, or in training the picture itself, averaged over squares
    seen     B 3 H W          enlarged by bilinear interpolation, with noise of a random level in training
    input    B 6 H W          x_t and what is seen, next to each other on the channels
    level    B                a vector of the noise level, beside that of the time

Ho et al. 2022, 2106.15282: conditioning augmentation makes the second model forgive what the first one gets wrong;
sampling chooses the level. Here it is that of the diffusion kernel at evenly chosen times, from none to half of T.

Differs from the notes: the picture is put beside x_t along the channels, not along space (erratum C8.24).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.generative.diffusion.ddpm import (
    Diffusion,
    DiffusionCriterion,
    Predicted,
    SamplerName,
    small_sizes,
)
from vidi.generative.diffusion.samplers import Denoiser
from vidi.generative.diffusion.unet import DenoisingUNet
from vidi.model import Samples, Step, builder
from vidi.ops.diffusion import Denoised, Schedule, ScheduleName, Spacing, noised
from vidi.ops.noise import picture_seeds, seeded_normal
from vidi.preprocess import Batch, signed

SEEN_STEP = 2**31
"""The step of a picture's seed whose noise goes into what is seen; no sampler has so many."""


def made_smaller(pictures: Float[Tensor, "B C H W"], factor: int) -> Float[Tensor, "B C h w"]:
    """Return pictures of sides `factor` times smaller: means over squares."""
    return F.avg_pool2d(pictures, factor)


def enlarged(pictures: Float[Tensor, "B C h w"], size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Return pictures at a size (H, W), by bilinear interpolation."""
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False)


class EnlargingCriterion(DiffusionCriterion):
    """As `DiffusionCriterion`, with the small picture of each beside it, at a random level of noise.

    Args:
        schedule, predicts: as `DiffusionCriterion`.
        factor: how much smaller the small pictures are.
        levels: how many levels of their noise there are; the first is none.
    """

    def __init__(self, schedule: Schedule, predicts: Predicted, factor: int, levels: int):
        super().__init__(schedule, predicts, "simple")
        self.factor, self.levels = factor, levels

    def alpha_of(self, levels: Int64[Tensor, " B"], like: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Return the cumulative product at noise levels: time -1, then even times up to the middle of the schedule."""
        times = (levels * (self.schedule.steps // 2)) // max(self.levels - 1, 1) - 1
        return self.schedule.levels(times, like)

    def condition(self, batch: Batch, step: Step) -> tuple[Tensor, ...]:
        pictures, generator = batch.images, step.generator
        levels = torch.randint(self.levels, (len(pictures),), generator=generator, device=pictures.device)
        noise = torch.randn(pictures.shape, generator=generator, device=pictures.device, dtype=pictures.dtype)
        seen = enlarged(made_smaller(pictures, self.factor), (pictures.shape[2], pictures.shape[3]))
        return levels, noised(seen, noise, self.alpha_of(levels, pictures))


class EnlargingNetwork(nn.Module):
    """A U-Net of x_t and of the enlarged small picture, whose labels are the levels of the latter's noise."""

    def __init__(self, unet: DenoisingUNet):
        super().__init__()
        self.unet = unet

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        times: Int64[Tensor, " B"],
        levels: Int64[Tensor, " B"],
        seen: Float[Tensor, "B C H W"],
    ) -> Float[Tensor, "B D H W"]:
        """Return the prediction."""
        return self.unet(torch.cat((x, seen), 1), times, levels)


class Enlarger(Diffusion):
    """Larger pictures of small ones."""

    criterion: EnlargingCriterion

    def unconditional(self, x: Tensor, times: Tensor) -> Denoised:
        return self.seen(x, times, torch.zeros_like(times), torch.zeros_like(x))  # a grey picture

    def enlarge(
        self,
        pictures: Float[Tensor, "N C h w"],
        *,
        generator: torch.Generator | None = None,
        level: int = 1,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return pictures in [0, 1] at the model's size.

        Args:
            pictures: in [0, 1], small.
            generator, steps, sampler, eta, spacing: as `Diffusion.sample`.
            level: of the noise that small pictures get, from 0 (none).

        Raises:
            ValueError: for a level that there is not, and as `Diffusion.sample`.
        """
        seeds = picture_seeds(generator, len(pictures))
        levels, seen = self.shown(pictures, level, seeds)

        def denoiser_of(rows: slice) -> Denoiser:
            return lambda x, t: self.seen(x, t, levels[rows], seen[rows])

        return self.drawn(self.planned(steps, sampler, eta, spacing), denoiser_of, seeds)

    def shown(
        self, pictures: Float[Tensor, "N C h w"], level: int, seeds: Sequence[int]
    ) -> tuple[Int64[Tensor, " N"], Float[Tensor, "N C H W"]]:
        """Return the level of each small picture's noise, and what the network sees of it: enlarged, with that noise.

        Raises:
            ValueError: for a level that there is not.
        """
        if not 0 <= level < self.criterion.levels:
            raise ValueError(f"received level {level}, expected one from 0 to {self.criterion.levels - 1}")
        small = enlarged(pictures.to(self.device) * 2 - 1, self.size)
        noise = seeded_normal(self.shape, seeds, SEEN_STEP, device=self.device, dtype=small.dtype)
        levels = torch.full((len(pictures),), level, device=self.device)
        return levels, noised(small, noise, self.criterion.alpha_of(levels, small))


@torch.no_grad()
def cascade(
    base: Samples,
    enlargers: Sequence[Enlarger],
    count: int,
    *,
    generator: torch.Generator | None = None,
    level: int = 1,
    **condition: object,
) -> Float[Tensor, "N C H W"]:
    """Return pictures of a base model, enlarged by one model after the other.

    Args:
        base: any generative model.
        enlargers: each takes what the one before gives.
        count: N.
        generator: of all: equal seeds give equal pictures.
        level: of the noise that each enlarger's small pictures get.
        condition: of the base model: its steps, class or prompt.
    """
    pictures = base.sample(count, generator=generator, **condition)  # type: ignore[call-arg]
    for enlarger in enlargers:
        pictures = enlarger.enlarge(pictures, generator=generator, level=level)
    return pictures


@builder
def enlarger_tiny(
    *,
    size: tuple[int, int] = (32, 32),
    factor: int = 2,
    levels: int = 6,
    width: int = 32,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "v",
) -> Enlarger:
    """Build a small diffusion model that enlarges pictures, for an hour of one core.

    Args:
        size: (H, W) of the large pictures, multiples of `factor`.
        factor: how much smaller the small ones are.
        levels: of the noise that small pictures get in training.
        width: channels of the finest level, a multiple of 8.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the picture, or the velocity.
    """
    if any(side % factor for side in size):
        raise ValueError(f"received size={size} and factor={factor}, expected sides that it divides")
    criterion = EnlargingCriterion(Schedule.named(noise_schedule, diffusion_steps), predicts, factor, levels)
    unet = DenoisingUNet(small_sizes(width), in_channels=6, classes=levels)
    return Enlarger(EnlargingNetwork(unet), criterion, signed(size), size)
