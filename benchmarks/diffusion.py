"""Samplers against bare loops and against diffusers' schedulers; guidance; memory. `python -m benchmarks.diffusion`.

The bare loop asks the same network at the same times and does nothing else. Against diffusers both loops ask one
network; in the rows with a bar it is a single convolution, so that what is timed is what differs. DDIM's pictures are
compared first. Ours draws the noise of DDPM for each picture by its own seed, theirs for the batch at once. Two
pictures of 32 x 32, one thread, float32.
"""

import resource
from collections.abc import Callable, Iterator
from functools import partial

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from benchmarks.timing import compare
from vidi.generative.diffusion.ddpm import Noises, SamplerName, SamplingPlan, ddpm_class_tiny, ddpm_tiny
from vidi.generative.diffusion.guidance import classifier_free, guided_noise
from vidi.generative.diffusion.samplers import Denoiser, ddim, unwatched
from vidi.ops.diffusion import Denoised, denoised, linear_betas, spaced_times, x0_from_noise
from vidi.ops.diffusion import Schedule as Levels

PICTURES, SIDE, STEPS, CLASSES = 2, 32, 10, 10
OVERHEAD_BAR, SCHEDULER_BAR = 0.98, 1.0
FEW, MANY, MOST_GROWTH = 10, 50, 1.02  # steps, and how much more memory the many may take
TOLERANCE = 1e-3  # of the largest number of a picture
ROUNDS = 7


def lines() -> Iterator[str]:
    """Yield a row for each comparison; ValueError where pictures differ."""
    torch.set_num_threads(1)
    with torch.no_grad():
        yield _overhead()
        light, network = nn.Conv2d(3, 3, 3, padding=1), ddpm_tiny(size=(SIDE, SIDE)).network.eval()
        for sampler in ("ddim", "ddpm"):
            yield _against_scheduler(f"{sampler}, one convolution", sampler, lambda x, t: light(x), SCHEDULER_BAR)
            yield _against_scheduler(f"{sampler}, U-Net", sampler, network, None)
        yield _guidance()
        yield _memory()


def _overhead() -> str:
    model = ddpm_tiny(size=(SIDE, SIDE)).eval()
    x = torch.randn(PICTURES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    times = model.planned(STEPS).times

    def bare() -> None:
        for time in times:
            model.network(x, torch.full((PICTURES,), time))

    ours = partial(model.sample, PICTURES, generator=torch.Generator().manual_seed(0), steps=STEPS)
    return compare(f"sampling, {STEPS} steps", {"vidi": ours, "bare loop": bare}, rounds=ROUNDS).line(
        "bare loop", OVERHEAD_BAR
    )


def _against_scheduler(
    name: str, sampler: SamplerName, network: Callable[[Tensor, Tensor], Tensor], bar: float | None
) -> str:
    """Compare a loop of ours with one of a scheduler of diffusers, of the same noise and times."""
    schedule = Levels(linear_betas(1000))
    times = spaced_times(1000, STEPS)
    start = torch.randn(PICTURES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    kind = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[sampler]
    scheduler = kind(beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", clip_sample=False)

    def ours() -> Tensor:
        def denoise(x: Tensor, t: Tensor) -> Denoised:
            return denoised(network(x, t), x, schedule.levels(t, x), "noise")

        plan = SamplingPlan.of(sampler, times, 0.0, None, learned=False)
        return plan.run(denoise, start, schedule, Noises((3, SIDE, SIDE), range(PICTURES), start), unwatched)

    def theirs() -> Tensor:
        x, generator = start, torch.Generator().manual_seed(0)
        scheduler.set_timesteps(STEPS)
        for time in scheduler.timesteps:
            said = network(x, time.expand(PICTURES))
            x = scheduler.step(said, time, x, generator=generator).prev_sample
        return x

    if sampler == "ddim":
        expected = theirs()
        gap = float((ours() - expected).abs().max() / expected.abs().max())
        if not gap <= TOLERANCE:
            raise ValueError(f"{name}: the pictures differ by {gap} of the largest number")
    peer = f"diffusers {kind.__name__}"
    return compare(name, {"vidi": ours, peer: theirs}, rounds=ROUNDS).line(peer, bar)


def _guidance() -> str:
    """Compare one pass over a batch twice as large with two passes."""
    model = ddpm_class_tiny(size=(SIDE, SIDE)).eval()
    start = torch.randn(PICTURES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    labels, none = torch.arange(PICTURES) % CLASSES, torch.full((PICTURES,), CLASSES)
    times = spaced_times(1000, STEPS)

    def twice(x: Tensor, t: Tensor) -> Denoised:
        noise = guided_noise(model.seen(x, t, labels).noise, model.seen(x, t, none).noise, 2.0)
        return Denoised(x0_from_noise(noise, x, model.schedule.levels(t, x)), noise, None)

    def run(denoise: Denoiser) -> Tensor:
        return ddim(denoise, start, model.schedule, times, lambda step: start, clip=1.0)

    once = classifier_free(model.seen, labels, none, 2.0)
    contestants: dict[str, Callable[[], object]] = {"vidi": partial(run, once), "two passes": partial(run, twice)}
    return compare("guidance in one pass", contestants, rounds=ROUNDS).line("two passes")


def _memory() -> str:
    """Compare the most memory that the process ever had after few steps and after many."""
    model = ddpm_tiny(size=(SIDE, SIDE)).eval()
    peaks = []
    for steps in (FEW, MANY):
        model.sample(PICTURES, generator=torch.Generator().manual_seed(0), steps=steps)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    growth = peaks[1] / peaks[0]
    verdict = f"bar {MOST_GROWTH:g}x {'reached' if growth <= MOST_GROWTH else 'MISSED'}"
    name = f"memory of {MANY} steps"
    return f"{name:<38} {f'{FEW} steps':<30} {f'{growth:8.3f}x':<28} {'most resident memory':<28} {verdict}"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
