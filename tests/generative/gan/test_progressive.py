"""ProGAN: table 2 of the paper, growth, fade-in at its ends, and a training that resumes in the midst of it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.closeness import FLOAT32, assert_close
from tests.generative.gan.trainings import assert_resumes
from vidi.catalog.table import CATALOG
from vidi.generative.gan.progressive import (
    WHOLE,
    Discriminator,
    Generator,
    channels_of,
    doubled,
    faded,
    growth_at,
    halved,
    progan,
)
from vidi.model import Step
from vidi.nn.equalised import EqualisedConv2d, EqualisedLinear, leaky, pixel_norm, with_deviation

TINY: dict[str, Any] = {"size": (16, 16), "latent": 5, "width": 4, "most": 6}


def grown(model: Any, growth: float) -> tuple[Generator, Discriminator]:
    players = model.generator, model.discriminator
    for player in players:
        player.growth.fill_(round(growth * WHOLE))
    return players


@pytest.mark.system("8.2.3-PROGAN")
def test_blocks_are_those_of_table_2() -> None:
    with torch.device("meta"):
        model: Any = progan()
    channels = [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert channels_of((1024, 1024), 16, 512) == channels
    generator, discriminator = model.generator, model.discriminator

    def kinds(layer: EqualisedConv2d) -> tuple[int, ...]:
        return (layer.weight.shape[1], layer.weight.shape[0], layer.weight.shape[2])

    assert kinds(generator.first) == (512, 512, 4)
    assert kinds(generator.second) == (512, 512, 3)
    pairs = list(pairwise(channels))
    assert [[kinds(c) for c in block] for block in generator.blocks] == [[(a, b, 3), (b, b, 3)] for a, b in pairs]
    assert [kinds(c) for c in generator.to_rgb] == [(count, 3, 1) for count in channels]
    assert [kinds(c) for c in discriminator.from_rgb] == [(3, count, 1) for count in channels]
    assert [[kinds(c) for c in b] for b in discriminator.blocks] == [[(b, b, 3), (b, a, 3)] for a, b in pairs]
    assert kinds(discriminator.second) == (513, 512, 3)
    assert kinds(discriminator.first) == (512, 512, 4)
    assert discriminator.last.weight.shape == (1, 512)
    for player in (generator, discriminator):
        assert sum(p.numel() for p in player.parameters()) == pytest.approx(23.1e6, abs=5e4)
    gains = {  # 1 before nothing, the root of 2 before a leaky ReLU
        name: round(m.scale * m.weight[0].numel() ** 0.5, 4)
        for name, m in model.named_modules()
        if isinstance(m, EqualisedConv2d | EqualisedLinear)
    }
    assert {name for name, gain in gains.items() if gain == 1} == {
        "discriminator.last",
        *(f"generator.to_rgb.{level}" for level in range(9)),
    }
    assert set(gains.values()) == {1, 1.4142}


@pytest.mark.system("8.2.3-PROGAN")
def test_the_recipe_and_the_losses_weights_are_the_papers() -> None:
    (recipe,) = CATALOG["progan"].recipes.values()
    assert (recipe.optimizer, recipe.learning_rate, recipe.betas, recipe.ema) == ("adam", 1e-3, (0.0, 0.99), 0.999)
    assert recipe.batch_size == 16
    model: Any = progan(**TINY)
    assert (model.criterion.penalty, model.criterion.drift) == (10, 0.001)
    assert model.turns == ("discriminator", "generator")
    with pytest.raises(ValueError, match="expected a square whose side is a power of two"):
        progan(size=(48, 48))


@pytest.mark.system("8.2.3-PROGAN", "8.2.3-FADE")
def test_a_training_begins_with_four_pixels_and_doubles_them_in_equal_parts() -> None:
    shares = [0, 0.5, 0.99, 1, 1.25, 1.5, 2, 2.9, 3, 3.5, 4, 5, 5.5, 6, 6.9, 7]
    expected = [0, 0, 0, 0, 0.25, 0.5, 1, 1, 1, 1.5, 2, 2, 2.5, 3, 3, 3]
    found = [growth_at(part / 7, 3) / WHOLE for part in shares]
    assert found == pytest.approx(expected, abs=2e-6)
    fading = [growth_at(k / 700, 3) for k in range(100, 201)]
    assert torch.tensor(fading).diff().float().std().item() < 2  # linear from 0 to 1
    model: Any = progan(**TINY)
    batch = model.preprocess.collate([model.preprocess.place(torch.rand(3, 16, 16), {}) for _ in range(2)])
    for index, growth in ((0, 0), (15, 0.5), (30, 1), (49, 2)):
        model.losses("generator", batch, Step(index, 50, torch.Generator().manual_seed(0)))
        assert int(model.generator.growth) == int(model.discriminator.growth) == growth * WHOLE


@pytest.mark.system("8.2.3-PROGAN")
def test_pictures_have_the_detail_of_the_newest_block() -> None:
    model: Any = progan(**TINY)
    for growth in (0, 1, 2):
        generator, _ = grown(model, growth)
        images = generator(torch.randn(2, 5))
        assert images.shape == (2, 3, 16, 16)
        assert_close(doubled(halved(images, 2 - growth), 2 - growth), images, FLOAT32)
    assert not torch.allclose(doubled(halved(images)), images)


def by_hand(generator: Any, latents: Tensor, level: int) -> Tensor:
    """Return the map of a level, layer by layer."""
    x = latents / (latents.square().mean(1, keepdim=True) + 1e-8).sqrt()
    x = pixel_norm(leaky(generator.first(x[..., None, None])))
    x = pixel_norm(leaky(generator.second(x)))
    for block in list(generator.blocks)[:level]:
        x = F.interpolate(x, scale_factor=2)
        for convolution in block:
            x = pixel_norm(leaky(convolution(x)))
    return x


@pytest.mark.system("8.2.3-FADE", "B8.14")
@pytest.mark.parametrize("level", [0, 1])
def test_the_generator_fades_from_the_old_path_to_the_new_one(level: int) -> None:
    model: Any = progan(**TINY)
    latents = torch.randn(3, 5)
    old, new = (grown(model, growth)[0](latents) for growth in (level, level + 1))
    assert_close(
        old, doubled(model.generator.to_rgb[level](by_hand(model.generator, latents, level)), 2 - level), FLOAT32
    )
    assert torch.equal(faded(old, new, 0), old)
    assert torch.equal(faded(old, new, 1), new)
    for alpha in (0.25, 0.5):
        found = grown(model, level + alpha)[0](latents)
        assert_close(found, (1 - alpha) * old + alpha * new, FLOAT32)
    almost = grown(model, level + 1 / WHOLE)[0](latents)
    assert_close(almost, old, FLOAT32)
    assert not torch.equal(almost, old)


@pytest.mark.system("8.2.3-FADE", "B8.14")
@pytest.mark.parametrize("level", [0, 1])
def test_the_critic_fades_from_the_reduced_picture_to_the_new_block(level: int) -> None:
    model: Any = progan(**TINY)
    images = torch.randn(3, 3, 16, 16)
    critic = model.discriminator
    old, new = (grown(model, growth)[1](images) for growth in (level, level + 1))

    def score(alpha: float) -> Tensor:
        fine = halved(images, 1 - level)
        x = leaky(critic.from_rgb[level + 1](fine))
        for convolution in critic.blocks[level]:
            x = leaky(convolution(x))
        x = alpha * F.avg_pool2d(x, 2) + (1 - alpha) * leaky(critic.from_rgb[level](F.avg_pool2d(fine, 2)))
        if level:
            for convolution in critic.blocks[0]:
                x = leaky(convolution(x))
            x = F.avg_pool2d(x, 2)
        return critic.last(leaky(critic.first(leaky(critic.second(with_deviation(x))))).flatten(1)).squeeze(1)

    assert_close(old, score(0), FLOAT32)
    assert_close(new, score(1), FLOAT32)
    assert_close(grown(model, level + 0.3)[1](images), score(0.3), FLOAT32)


@pytest.mark.system("8.2.3-FADE")
def test_real_pictures_fade_in_too() -> None:
    model: Any = progan(**TINY)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(grown(model, 2)[1].seen(images), images)
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2)
    assert_close(grown(model, 1)[1].seen(images), coarse, FLOAT32)
    assert_close(grown(model, 1.4)[1].seen(images), 0.6 * coarse + 0.4 * images, FLOAT32)


@pytest.mark.system("8.2.3-PROGAN", "8.2.3-FADE")
def test_a_growing_training_resumes_bit_for_bit_in_mid_fade(tmp_path: Path) -> None:
    assert_resumes("progan", tmp_path, stop=7, steps=10, **TINY)
