"""Training steps of the engine against a bare loop. `python -m benchmarks.training`.

`Training` with all that it does at a step, against a loop of forward, loss, backward and step over the same batches, as
a user would write it; both from set-up to end, over small epochs that lie in memory. U-Net on noise of camvid's
shape; systems of depth on the world; DCGAN and StyleGAN, whose players take turns, on noise of 32 pixels.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import compare
from vidi.data.world.dataset import World
from vidi.depth.monodepth import monodepth_tiny
from vidi.depth.sfm_learner import sfm_learner_tiny
from vidi.depth.stereo import stereo_tiny
from vidi.engine.fit import Training
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run
from vidi.generative.gan.dcgan import dcgan_tiny
from vidi.generative.gan.stylegan import stylegan_tiny
from vidi.model import Step, Trainable
from vidi.preprocess import Sample
from vidi.segmentation.unet import unet_small

BAR = 0.95
PICTURES, SIZE, LABELS = 24, (180, 240), 11
SMALL_PICTURES = 160  # an epoch of steps of milliseconds, beside which the set-up of a training would count
RECIPE = Recipe(epochs=5, batch_size=8, optimizer="adamw", learning_rate=1e-4, device="cpu")


class InMemory(torch.utils.data.Dataset[Sample]):
    """Samples in memory: what is compared is what happens behind the data."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def noise(size: tuple[int, int] = SIZE, count: int = PICTURES) -> InMemory:
    """Return pictures and labels of noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, LABELS, (count, *size), generator=generator, dtype=torch.uint8)
    return InMemory([(image, {"semantic": own}) for image, own in zip(images, labels, strict=True)])


def scenes(*targets: str) -> InMemory:
    """Return scenes of the world with these keys of a target."""
    world = World("train", count=PICTURES, size=(128, 128), targets=targets)
    return InMemory([world[row] for row in range(PICTURES)])


def against_bare_loop(name: str, build: Callable[[], Trainable], samples: InMemory) -> str:
    """Return the row of one system: an epoch of the engine against one of a bare loop."""

    def engine() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Training(build(), RECIPE, samples, Run(Path(folder))).fit()

    def bare() -> None:
        model = build().train()
        optimizers = {t: torch.optim.AdamW(model.parameters_of(t), lr=RECIPE.learning_rate) for t in model.turns}
        for _ in range(RECIPE.epochs):
            for rows in torch.randperm(len(samples)).split(RECIPE.batch_size):
                chosen = [samples[row] for row in rows.tolist()]
                batch = model.preprocess.collate([model.preprocess.place(*sample) for sample in chosen])
                for turn, optimizer in optimizers.items():
                    model.zero_grad()
                    torch.stack(list(model.losses(turn, batch, Step()).values())).sum().backward()
                    optimizer.step()

    return compare(f"training steps of {name}", {"vidi": engine, "bare loop": bare}).line("bare loop", BAR)


def lines() -> Iterator[str]:
    """Yield a row for each system; one thread."""
    torch.set_num_threads(1)
    systems: dict[str, tuple[Callable[..., Any], InMemory]] = {
        "U-Net": (lambda: unet_small(categories=LABELS, size=SIZE), noise()),
        "stereo": (stereo_tiny, scenes("right", "disparity", "disparity_valid")),
        "Monodepth": (monodepth_tiny, scenes("right")),
        "DCGAN": (dcgan_tiny, noise((32, 32), SMALL_PICTURES)),
        "StyleGAN": (lambda: stylegan_tiny(critic_turns=1), noise((32, 32), SMALL_PICTURES)),
        "SfMLearner": (sfm_learner_tiny, scenes("neighbours", "intrinsics")),
    }
    for name, (build, samples) in systems.items():
        yield against_bare_loop(name, build, samples)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
