"""Small diffusion models learn what they are asked for: a class, a text, and what a small picture has lost."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import Learnt
from tests.settings import SEED
from vidi.generative.diffusion.cascade import enlarger_tiny
from vidi.generative.diffusion.ddpm import ddpm_class_tiny
from vidi.generative.diffusion.imagen import imagen_tiny
from vidi.generative.diffusion.text_to_image import latent_diffusion_tiny, text_to_image_tiny
from vidi.model import Step, Trainable
from vidi.preprocess import Batch, Placement

RED, BLUE = "a red box", "a blue box"
SHADE = 0.7  # of red and blue pictures in [-1, 1]: so much of their colour, and as little of the other
WORDS: dict[str, Any] = {"text_width": 32, "text_layers": 1, "context": 8, "diffusion_steps": 50, "predicts": "x0"}


def trained(model: Trainable, batch_of: Callable[[torch.Generator], Any], steps: int, rate: float = 3e-3) -> None:
    """Train a model on batches that are drawn."""
    optimizer = torch.optim.AdamW(model.parameters_of("network"), rate)
    model.train()
    for step in range(steps):
        generator = torch.Generator().manual_seed(1000 * SEED + step)
        losses = model.losses("network", batch_of(generator), Step(step, steps, generator))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters_of("network"), 1.0)
        optimizer.step()
    model.eval()


def plain_batch(images: Tensor, targets: list[dict[str, Any]]) -> Batch:
    B, size = len(images), (images.shape[2], images.shape[3])
    return Batch(images, torch.ones(B, *size, dtype=torch.bool), [Placement(size, size)] * B, targets)


def coloured(side: int, preprocess: Any) -> Callable[[torch.Generator], Any]:
    """Return what draws red and blue pictures with their captions."""

    def draw(generator: torch.Generator) -> Any:
        images = 0.1 * torch.randn(16, 3, side, side, generator=generator)
        images[0::2] += SHADE * torch.tensor([1.0, 0, -1])[:, None, None]
        images[1::2] += SHADE * torch.tensor([-1.0, 0, 1])[:, None, None]
        pixels = (images.clamp(-1, 1) + 1) / 2
        placed = [preprocess.place(pixels[row], {"caption": (RED, BLUE)[row % 2]}) for row in range(16)]
        return preprocess.collate(placed)

    return draw


def told_apart(model: Any) -> float:
    """Return how much redder four pictures of the red caption are than four of the blue one; in training it is 1.4."""
    seeds = (torch.Generator().manual_seed(1) for _ in range(2))
    asked: dict[str, Any] = {"guidance": 1.0, "steps": 8}
    red, blue = (
        model.sample(4, generator=own, prompt=text, **asked) for own, text in zip(seeds, (RED, BLUE), strict=True)
    )
    return float((red[:, 0] - red[:, 2]).mean() - (blue[:, 0] - blue[:, 2]).mean())


@pytest.mark.system("8.3.6-ONEHOT", "8.3.6-CFG")
def test_a_class_is_learnt(learnt: Learnt) -> None:
    """Dark pictures and bright ones, 0.7 apart, with guidance and without."""
    torch.default_generator.manual_seed(SEED)
    model = ddpm_class_tiny(categories=2, size=(8, 8), width=8, diffusion_steps=50, predicts="x0")
    labels = torch.arange(16) % 2

    def draw(generator: torch.Generator) -> Batch:
        noise = torch.randn(16, 3, 8, 8, generator=generator)
        images = SHADE * (2 * labels - 1).view(-1, 1, 1, 1) + 0.2 * noise
        return plain_batch(images, [{"label": label} for label in labels])

    trained(model, draw, 80)
    for scale in (1.0, 2.0):
        seeds = (torch.Generator().manual_seed(1) for _ in range(2))
        asked: dict[str, Any] = {"steps": 8, "guidance": scale}
        dark, bright = (model.sample(8, generator=own, class_=k, **asked) for k, own in enumerate(seeds))
        learnt(f"difference of brightness at scale {scale}", float(bright.mean() - dark.mean()), least=0.65)


@pytest.mark.system("8.3.6-TEXT")
def test_a_text_is_learnt(learnt: Learnt) -> None:
    """Red pictures and blue ones, by their captions."""
    torch.default_generator.manual_seed(SEED)
    model = text_to_image_tiny(size=(8, 8), width=8, **WORDS)
    trained(model, coloured(8, model.preprocess), 100)
    learnt("red less blue", told_apart(model), least=1.3)


@pytest.mark.extended
@pytest.mark.system("8.3.7-LDM")
def test_a_text_is_learnt_in_latents(learnt: Learnt) -> None:
    torch.default_generator.manual_seed(SEED)
    model = latent_diffusion_tiny(size=(16, 16), autoencoder_width=8, width=16, **WORDS)
    first, second = model.stages()
    draw = coloured(16, model.preprocess)
    trained(first.model, draw, 60)  # type: ignore[arg-type]
    batch = draw(torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        latents = model.network.autoencoder.encode(batch.images).mean  # type: ignore[union-attr]
        model.network.scale.copy_(1 / latents.std())
        back = model.network.outside(model.network.inside(batch.images))
    learnt("error of decoded pictures", float((back - batch.images).abs().mean()), most=0.4)
    trained(second.model, draw, 100)  # type: ignore[arg-type]
    learnt("red less blue", told_apart(model), least=0.34)


@pytest.mark.system("8.3.6-CASCADE")
def test_what_a_small_picture_has_lost_is_restored(learnt: Learnt) -> None:
    """Blocks of random grey under a chequered pattern that averages of squares do not show."""
    torch.default_generator.manual_seed(SEED)
    model = enlarger_tiny(size=(8, 8), width=8, diffusion_steps=50, levels=2, predicts="x0")
    pattern = 0.4 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1)

    def pictures(generator: torch.Generator, count: int) -> Tensor:
        blocks = 1.2 * torch.rand(count, 1, 2, 2, generator=generator) - 0.6
        return (F.interpolate(blocks, (8, 8)) + pattern).expand(-1, 3, -1, -1)

    trained(model, lambda generator: plain_batch(pictures(generator, 16), [{}] * 16), 100)
    truth = (pictures(torch.Generator().manual_seed(99), 8) + 1) / 2
    small = F.avg_pool2d(truth, 2)
    enlarged = model.enlarge(small, generator=torch.Generator().manual_seed(1), level=0, steps=8)
    plain = F.interpolate(small, (8, 8), mode="bilinear", align_corners=False)
    ratio = float((enlarged - truth).abs().mean() / (plain - truth).abs().mean())
    learnt("error beside that of interpolation", ratio, most=0.29)


@pytest.mark.extended
@pytest.mark.system("8.3.6-IMAGEN")
def test_a_text_is_learnt_small_and_enlarged(learnt: Learnt) -> None:
    """The rows of a text encoder that does not learn, with random weights, tell two captions apart already."""
    torch.default_generator.manual_seed(SEED)
    model = imagen_tiny(size=(32, 32), width=8, levels=2, embedding=8, **WORDS)
    _, *stages = model.stages()
    for stage in stages:
        trained(stage.model, coloured(32, stage.model.preprocess), 50)  # type: ignore[arg-type, union-attr]
    learnt("red less blue", told_apart(model), least=1.35)
