"""Denoising diffusion: pictures from noise, step by step, with or without a class asked for (notes 8.3.2 to 8.3.6).

training   picture x_0 in [-1, 1] -> a time t and noise e -> x_t -> U-Net -> e (or x_0, or v) -> squared error
sampling   x_T ~ N(0, I) -> the U-Net at falling times, by DDPM, DDIM or Heun -> x_0 -> [0, 1]

Ho et al. 2020, 2006.11239; Song et al. 2021, 2010.02502; Nichol & Dhariwal 2021, 2102.09672 (learnt variances);
Ho & Salimans 2022, 2207.12598 (classifier-free guidance: a tenth of the labels is hidden in training).

One network serves all times. Sampling takes the averaged weights, as the paper does. The noise of picture i depends on
its seed, s + i, and the step alone: a batch equals its pictures alone.

Differs from the papers: the small variants are of this package, for an hour of one core.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.generative.diffusion.guidance import classifier_free
from vidi.generative.diffusion.likelihood import likelihood_bound, reverse_of
from vidi.generative.diffusion.samplers import Denoiser, Noise, Variance, Watch, ddim, heun
from vidi.generative.diffusion.samplers import ddpm as ancestral
from vidi.generative.diffusion.unet import DenoisingUNet, UNetSizes
from vidi.losses.diffusion import (
    bits_per_dimension,
    elbo_weight,
    gaussian_kl,
    hybrid_loss,
    pixel_nll,
    simple_loss,
    weighted_loss,
)
from vidi.model import Losses, OneLoss, Samples, Step, builder, evaluating, widened
from vidi.ops.diffusion import (
    Denoised,
    Schedule,
    ScheduleName,
    Spacing,
    denoised,
    learned_variance,
    noised,
    posterior_mean,
    posterior_variance,
    spaced_times,
    target_of,
)
from vidi.ops.noise import picture_seeds, seeded_normal
from vidi.preprocess import Batch, Preprocess, from_signed, signed
from vidi.results.categories import category_names

Predicted = Literal["noise", "x0", "v"]
Weighting = Literal["simple", "elbo"]
SamplerName = Literal["ddim", "ddpm", "heun"]

USUAL_STEPS = 50

AT_ONCE = 64
"""Pictures that are made together; more of them do not run faster, and need more memory."""


# ----------------------------------------------------------------------------------------------------------------------
# Training


class DiffusionCriterion:
    """Draws a time and noise for each picture, and compares what the network says of the noisy picture.

    Args:
        schedule: of the noise.
        predicts: what the network gives.
        weighting: "simple", or "elbo": the weight that the squared error of the noise has in the bound on the
            likelihood, with sigma^2 = beta.
        learned: whether the network gives variances too, in as many channels again; then a thousandth of the bound is
            added, by which it learns them (Nichol & Dhariwal 2021).
        classes: K; None: the network knows no classes.
        hidden: the share of the labels that are replaced by K, which is no class.
    """

    def __init__(
        self,
        schedule: Schedule,
        predicts: Predicted,
        weighting: Weighting,
        *,
        learned: bool = False,
        classes: int | None = None,
        hidden: float = 0.1,
    ):
        if weighting == "elbo" and predicts != "noise":
            raise ValueError(f"received weighting='elbo' and predicts={predicts!r}, expected predicts='noise'")
        self.schedule, self.weighting = schedule, weighting
        self.predicts: Predicted = predicts
        self.learned, self.classes, self.hidden = learned, classes, hidden

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        x0, generator = self.pictures(network, batch, step), step.generator
        times = torch.randint(self.schedule.steps, (len(x0),), generator=generator, device=x0.device)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        x = noised(x0, noise, self.schedule.levels(times, x0))
        return self.compare(network(x, times, *self.condition(batch, step)), x0, noise, times)

    def pictures(self, network: nn.Module, batch: Batch, step: Step) -> Float[Tensor, "B C H W"]:
        """Return what noise is added to: the pictures of a batch."""
        return batch.images

    def condition(self, batch: Batch, step: Step) -> tuple[Tensor, ...]:
        """Return what the network is told besides: nothing, or labels."""
        return () if self.classes is None else (self.labels(batch, step),)

    def labels(self, batch: Batch, step: Step) -> Int64[Tensor, " B"]:
        """Return the labels of a batch, some of them hidden."""
        batch.require("label")
        labels = torch.stack([target["label"].as_subclass(Tensor).long() for target in batch.targets])
        away = torch.rand(len(labels), generator=step.generator, device=labels.device) < self.hidden
        return torch.where(away, self.classes or 0, labels)

    def compare(
        self,
        output: Float[Tensor, "B D H W"],
        x0: Float[Tensor, "B C H W"],
        noise: Float[Tensor, "B C H W"],
        times: Int64[Tensor, " B"],
    ) -> Losses:
        """Return the losses of what a network says of pictures with this noise at these times."""
        with torch.autocast(x0.device.type, enabled=False):
            output = widened(output)
            alpha, before = self.schedule.levels(times, x0), self.schedule.levels(times - 1, x0)
            said = output.chunk(2, 1)[0] if self.learned else output
            target = target_of(self.predicts, x0, noise, alpha, before)
            if self.weighting == "elbo":
                weights = elbo_weight(alpha, before, 1 - alpha / before)
                return {self.predicts: weighted_loss(said, target, torch.as_tensor(weights).flatten())}
            simple = simple_loss(said, target)
            if not self.learned:
                return {self.predicts: simple}
            both = hybrid_loss(simple, self.schedule.steps * self._bound(output, x0, noise, times).mean())
            return {self.predicts: simple, "variance": both - simple}

    def _bound(self, output: Tensor, x0: Tensor, noise: Tensor, times: Tensor) -> Float[Tensor, " B"]:
        """Return each picture's term of the bound, in bits for each number, of means without gradient."""
        said, scale = output.chunk(2, 1)
        alpha, before = self.schedule.levels(times, x0), self.schedule.levels(times - 1, x0)
        x = noised(x0, noise, alpha)
        seen = denoised(said.detach(), x, alpha, self.predicts)
        mean = posterior_mean(seen.x0, x, alpha, before)
        first = times.clamp(min=1)  # at time 0 the posterior has no variance; that of time 1 stands for it
        least = posterior_variance(self.schedule.levels(first, x0), self.schedule.levels(first - 1, x0))
        variance = learned_variance((scale + 1) / 2, 1 - alpha / before, least)
        divergence = gaussian_kl(posterior_mean(x0, x, alpha, before), least, mean, variance)
        nats = torch.where(times == 0, pixel_nll(x0, mean, variance), divergence)
        return bits_per_dimension(nats, x0[0].numel())


# ----------------------------------------------------------------------------------------------------------------------
# Sampling


class SamplingPlan(NamedTuple):
    """How pictures are made of noise."""

    sampler: SamplerName
    times: list[int]
    eta: float
    clip: float | None
    variance: Variance

    @classmethod
    def of(
        cls, sampler: SamplerName, times: list[int], eta: float, clip: float | None, learned: bool
    ) -> "SamplingPlan":
        """Return a plan; DDPM takes the learnt variances where there are some."""
        return cls(sampler, times, eta, clip, "learned" if learned else "posterior")

    def run(
        self, denoise: Denoiser, x: Float[Tensor, "B ..."], schedule: Schedule, noise: Noise, watch: Watch
    ) -> Float[Tensor, "B ..."]:
        """Return the pictures that come of `x`."""
        if self.sampler == "ddim":
            return ddim(denoise, x, schedule, self.times, noise, eta=self.eta, clip=self.clip, watch=watch)
        if self.sampler == "heun":
            return heun(denoise, x, schedule, self.times, clip=self.clip, watch=watch)
        sampled = partial(ancestral, variance=self.variance, clip=self.clip, watch=watch)
        return sampled(denoise, x, schedule, self.times, noise)


class Noises:
    """The noise of some pictures by step, -1 for what they begin with; another for each seed."""

    def __init__(self, shape: tuple[int, ...], seeds: Sequence[int], like: Tensor):
        self.shape, self.seeds, self.like = shape, seeds, like

    def __call__(self, step: int) -> Float[Tensor, "N ..."]:
        return seeded_normal(self.shape, self.seeds, step + 1, device=self.like.device, dtype=self.like.dtype)


class Counted:
    """Tells how many steps are done, of those of all groups of pictures."""

    def __init__(self, tell: Callable[[str, int, int], None], done: int, total: int):
        self.tell, self.done, self.total = tell, done, total

    def __call__(self, step: int, x: Tensor, seen: Denoised) -> None:
        self.tell("sampling", self.done + step + 1, self.total)


class Diffusion(OneLoss, Samples):
    """Pictures from noise by a denoising network.

    Args:
        network, criterion, preprocess: as `OneLoss`.
        size: (H, W) of the pictures.
    """

    criterion: DiffusionCriterion
    offset: int = 0  # of the times of "leading" spacing
    clip: float | None = 1.0  # the largest absolute value of a picture that is sampled

    def __init__(
        self, network: nn.Module, criterion: DiffusionCriterion, preprocess: Preprocess, size: tuple[int, int]
    ):
        super().__init__(network, criterion, preprocess)
        self.size = size

    @property
    def schedule(self) -> Schedule:
        """Of the noise."""
        return self.criterion.schedule

    @property
    def shape(self) -> tuple[int, int, int]:
        """C H W of a picture."""
        return len(self.preprocess.mean), *self.size

    def forward(self, x: Tensor, times: Tensor, *condition: Tensor) -> Float[Tensor, "B D H W"]:
        """Return what the network says of noisy pictures, and of what it is told besides."""
        return widened(self.network(x, times, *condition))

    def seen(self, x: Tensor, times: Tensor, *condition: Tensor) -> Denoised:
        """Return what noisy pictures show: the picture, the noise, and where the variance lies if it was learnt."""
        output, alpha = self(x, times, *condition), self.schedule.levels(times, x)
        if not self.criterion.learned:
            return denoised(output, x, alpha, self.criterion.predicts)
        said, scale = output.chunk(2, 1)
        return denoised(said, x, alpha, self.criterion.predicts)._replace(fraction=(scale + 1) / 2)

    def unconditional(self, x: Tensor, times: Tensor) -> Denoised:
        """Return what noisy pictures show to a network that is asked for nothing in particular."""
        return self.seen(x, times)

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1].

        Args:
            count: N.
            generator: its seed s is that of the first picture; picture i has the seed s + i.
            steps: how often the network is asked, from 1 to T; None: 50, or T if that is less.
            sampler: "ddim" (deterministic at eta = 0), "ddpm", or "heun", which asks twice a step.
            eta: of DDIM, from 0 to 1, where it is DDPM.
            spacing: of the times.

        Raises:
            ValueError: for steps, an eta or names out of range.
        """
        plan = self.planned(steps, sampler, eta, spacing)
        return self.drawn(plan, lambda rows: self.unconditional, picture_seeds(generator, count))

    def conditions(self, image: int | None = None, /, **given: Any) -> dict[str, Any]:
        asked = super().conditions(image, **given)
        plan = self.planned(*(asked[key] for key in ("steps", "sampler", "eta", "spacing")))
        return {**asked, "steps": len(plan.times)}

    def planned(
        self, steps: int | None = None, sampler: SamplerName = "ddim", eta: float = 0.0, spacing: Spacing = "trailing"
    ) -> SamplingPlan:
        """Return the plan of `sample`."""
        total = self.schedule.steps
        asked = min(USUAL_STEPS, total) if steps is None else steps
        times = spaced_times(total, asked, spacing, offset=self.offset if spacing == "leading" else 0)
        return SamplingPlan.of(sampler, times, eta, self.clip, self.criterion.learned)

    @torch.no_grad()
    def drawn(
        self, plan: SamplingPlan, denoiser_of: Callable[[slice], Denoiser], seeds: Sequence[int]
    ) -> Float[Tensor, "N C H W"]:
        """Return a picture of each seed by a plan, `AT_ONCE` together, whose denoiser `denoiser_of` gives."""
        weight, asked = next(self.parameters()), len(plan.times)
        total = asked * -(-len(seeds) // AT_ONCE)
        made = [torch.zeros(0, *self.shape, device=weight.device, dtype=weight.dtype)]
        with evaluating(self):
            for group, start in enumerate(range(0, len(seeds), AT_ONCE)):
                rows = slice(start, start + AT_ONCE)
                noise = Noises(self.shape, seeds[rows], weight)
                watch = Counted(self.tell, asked * group, total)
                made.append(plan.run(denoiser_of(rows), noise(-1), self.schedule, noise, watch))
            return self.finished(torch.cat(made))

    def finished(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Return what sampling ends with as images in [0, 1]."""
        return from_signed(x)

    @torch.no_grad()
    def strip(self, seed: int = 0, *, steps: int | None = None, shown: int = 10) -> Float[Tensor, "S C H W"]:
        """Return x_t in [0, 1] at `shown` even steps of the making of one picture by DDIM, the noise first."""
        plan = self.planned(steps)
        noise = Noises(self.shape, [seed], next(self.parameters()))
        kept = [noise(-1)]
        with evaluating(self):
            plan.run(self.unconditional, kept[0], self.schedule, noise, lambda step, x, seen: kept.append(x))
            places = [round(k * (len(kept) - 1) / max(shown - 1, 1)) for k in range(shown)]
            return self.finished(torch.cat([kept[place] for place in places]))

    def bits(self, images: Float[Tensor, "N C H W"], seed: int = 0) -> Float[Tensor, " N"]:
        """Return the bound on -log2 p of images in [0, 1] of 256 values, in bits for each number; T passes."""
        variance = "learned" if self.criterion.learned else "beta"
        noise = Noises(self.shape, [(seed + row) for row in range(len(images))], next(self.parameters()))
        with evaluating(self):
            reverse = reverse_of(self.unconditional, self.schedule, variance, 1.0)
            bound = likelihood_bound(images * 2 - 1, self.schedule, reverse, noise)
        return bits_per_dimension(bound.total, images[0].numel())


class ClassDiffusion(Diffusion):
    """Pictures of a class, or of none in particular."""

    def unconditional(self, x: Tensor, times: Tensor) -> Denoised:
        return self.seen(x, times, torch.full_like(times, self.classes))

    @property
    def classes(self) -> int:
        """K; the label of no class."""
        return self.criterion.classes or 0

    def conditions(self, image: int | None = None, /, **given: Any) -> dict[str, Any]:
        asked = super().conditions(image, **given)
        if image is not None and asked["class_"] is None:
            asked["class_"] = image % self.classes
        return asked

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        class_: int | None = None,
        guidance: float = 1.0,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1].

        Args:
            count, generator, steps, sampler, eta, spacing: as `Diffusion.sample`.
            class_: of all images, from 0; -1 for none; None: one class after the other.
            guidance: scale of classifier-free guidance: 1 is none, 0 no class, more than 1 fits the class better.

        Raises:
            ValueError: for a class that there is not, and as `Diffusion.sample`.
        """
        if class_ is not None and not -1 <= class_ < self.classes:
            raise ValueError(f"received class {class_}, expected one from 0 to {self.classes - 1}, or -1 for none")
        plan = self.planned(steps, sampler, eta, spacing)
        labels = torch.arange(count, device=self.device) % self.classes
        if class_ is not None:
            labels = torch.full_like(labels, class_ if class_ >= 0 else self.classes)

        def denoiser_of(rows: slice) -> Denoiser:
            none = torch.full_like(labels[rows], self.classes)
            return classifier_free(self.seen, labels[rows], none, guidance)

        return self.drawn(plan, denoiser_of, picture_seeds(generator, count))


# ----------------------------------------------------------------------------------------------------------------------
# Builders

PAPER = UNetSizes(
    channels=(128, 256, 256, 256),
    attends=(False, True, False, False),
    heads=(1, 1, 1, 1),
    blocks=2,
    dropout=0.1,
    eps=1e-6,
    shift=1,
    symmetric=False,
)
"""Of CIFAR-10 in the paper, appendix B: 35.7 M parameters; attention of one head at 16 x 16."""

SMALL = {"attends": (False, False, True), "heads": (1, 1, 4), "blocks": 1, "groups": 8}


def small_sizes(width: int) -> UNetSizes:
    """Return the numbers of the small network, for pictures of about 32 pixels: three levels, adaptive norms."""
    return UNetSizes(channels=(width, 2 * width, 2 * width), conditioning="scale_shift", **SMALL)  # type: ignore[arg-type]


@builder
def ddpm(
    *,
    size: tuple[int, int] = (32, 32),
    channels: tuple[int, ...] = (128, 256, 256, 256),
    attends: tuple[bool, ...] = (False, True, False, False),
    groups: int = 32,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "linear",
    predicts: Predicted = "noise",
    weighting: Weighting = "simple",
    learns_variance: bool = False,
) -> Diffusion:
    """Build the denoising diffusion model of CIFAR-10: 35.7 M parameters, FID 3.17 (Ho et al. 2020, table 1).

    Args:
        size: (H, W) of the pictures.
        channels: of each level of the U-Net.
        attends: which levels have attention.
        groups: of its norms.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the picture, or the velocity.
        weighting: of the squared error; "elbo" is that of the bound on the likelihood.
        learns_variance: whether the network gives the variances of the reverse steps too.
    """
    sizes = replace(PAPER, channels=channels, attends=attends, heads=(1,) * len(channels), groups=groups)
    schedule = Schedule.named(noise_schedule, diffusion_steps)
    network = DenoisingUNet(sizes, out_channels=6 if learns_variance else 3)
    criterion = DiffusionCriterion(schedule, predicts, weighting, learned=learns_variance)
    return Diffusion(network, criterion, signed(size), size)


@builder
def ddpm_tiny(
    *,
    size: tuple[int, int] = (32, 32),
    width: int = 32,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "v",
) -> Diffusion:
    """Build a small diffusion model, for an hour of one core.

    Args:
        size: (H, W) of the pictures.
        width: channels of the finest level, a multiple of 8.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the picture, or the velocity. Of nearly pure noise the noise says
            next to nothing of how bright a picture is.
    """
    criterion = DiffusionCriterion(Schedule.named(noise_schedule, diffusion_steps), predicts, "simple")
    return Diffusion(DenoisingUNet(small_sizes(width)), criterion, signed(size), size)


@builder
def ddpm_class_tiny(
    *,
    categories: int | tuple[str | None, ...] = 10,
    size: tuple[int, int] = (32, 32),
    width: int = 32,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "v",
    unlabelled: float = 0.1,
) -> ClassDiffusion:
    """Build a small diffusion model of classes, guided without a classifier, for an hour of one core.

    Args:
        categories: the number of classes, or their names; one more vector stands for none.
        size: (H, W) of the pictures.
        width: channels of the finest level, a multiple of 8.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the picture, or the velocity. Of nearly pure noise the noise says
            next to nothing of how bright a picture is.
        unlabelled: the share of pictures whose label is hidden in training (Ho & Salimans 2022: 0.1 to 0.2).
    """
    classes = len(category_names(categories))
    schedule = Schedule.named(noise_schedule, diffusion_steps)
    criterion = DiffusionCriterion(schedule, predicts, "simple", classes=classes, hidden=unlabelled)
    network = DenoisingUNet(small_sizes(width), classes=classes + 1)
    return ClassDiffusion(network, criterion, signed(size), size)
