"""What all GANs share: pictures by their seeds, conditions of `sample`, opinions, and trainings that resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vidi
from tests.closeness import FLOAT32, assert_close
from tests.generative.gan.trainings import assert_resumes, training
from vidi.catalog.table import CATALOG
from vidi.generative.gan.dcgan import dcgan
from vidi.generative.gan.players import AdversarialCriterion, Gan, WassersteinCriterion
from vidi.losses.adversarial import orthogonal_penalty
from vidi.model import Samples, Step
from vidi.ops.latents import normal_latents, strips

TINY: dict[str, Any] = {"size": (8, 8), "latent": 5, "width": 4}


@pytest.fixture(scope="module")
def model() -> Gan:
    torch.manual_seed(0)
    return dcgan(**TINY)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.system("8.0-TASK")
def test_picture_i_of_a_seed_is_the_same_in_any_batch(model: Gan) -> None:
    many = model.sample(70, generator=seeded())
    assert_close(model.sample(3, generator=seeded()), many[:3], FLOAT32)
    assert_close(model.sample(1, generator=seeded(3 + 66))[0], many[66], FLOAT32)
    assert many.shape == (70, 3, 8, 8)
    assert not torch.allclose(many[0], many[1])
    assert torch.equal(vidi.sample(model, 3, seed=3), model.sample(3, generator=seeded()))
    assert_close(many[:2], model.images_of(normal_latents(5, [3, 4])), FLOAT32)


@pytest.mark.system("8.2-TRUNC")
def test_truncated_pictures_come_from_truncated_vectors(model: Gan) -> None:
    found = vidi.sample(model, 4, seed=3, condition={"truncation": "0.7"})
    assert_close(found, model.images_of(normal_latents(5, [3, 4, 5, 6], truncation=0.7)), FLOAT32)


@pytest.mark.system("8.2.1-ARITH")
def test_strips_walk_from_picture_to_picture(model: Gan) -> None:
    found = vidi.sample(model, 7, seed=3, condition={"interpolate": "4"})
    latents = normal_latents(5, [3, 4, 5, 6])
    walked = strips(latents[0::2], latents[1::2], 4)
    assert_close(found, model.images_of(walked.flatten(0, 1)[:7]), FLOAT32)
    with pytest.raises(ValueError, match="received 1 steps"):
        model.sample(4, interpolate=1)


def test_latent_vectors_of_a_training_are_independent_and_standard_normal(model: Gan) -> None:
    drawn = model.player.draw(20_000, seeded())
    assert_close(drawn.mean(0), torch.zeros(5), 0.03, size=1)
    assert_close(drawn.T.cov(), torch.eye(5), 0.04, size=1)
    sampled = model.codes(list(range(4000)))
    assert_close(sampled.T.cov(), torch.eye(5), 0.1, size=1)


@pytest.mark.system("8.0-TASK")
def test_a_gan_has_no_density() -> None:
    with pytest.raises(NotImplementedError, match="a Gan draws images, and knows no density"):
        dcgan(**TINY).log_prob(torch.rand(1, 3, 8, 8))
    assert Samples().opinion(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)) == {}


@pytest.mark.system("8.2-TRUNC")
def test_filters_may_be_asked_to_be_orthogonal() -> None:
    model = dcgan(**TINY, orthogonal=1e-4)
    batch = model.preprocess.collate([model.preprocess.place(torch.rand(3, 8, 8), {}) for _ in range(4)])
    found = model.losses("generator", batch, Step(generator=seeded()))
    weights = [m.weight for m in model.generator.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d)]
    assert_close(found["orthogonal"], 1e-4 * orthogonal_penalty(weights), FLOAT32)
    assert "orthogonal" not in dcgan(**TINY).losses("generator", batch, Step(generator=seeded()))


def test_a_discriminator_is_sure_from_nineteen_twentieths_on() -> None:
    sure = torch.tensor([0.95]).logit().item()
    real, generated = torch.tensor([sure + 0.01, sure - 0.01, 0, -5]), torch.tensor([-sure - 0.01, 1 - sure])
    found = AdversarialCriterion().opinion(real, generated)
    assert found == {"sure_of_real": 0.25, "sure_of_generated": 0.5}
    assert WassersteinCriterion().opinion(real, generated) == pytest.approx(
        {"wasserstein_estimate": float(real.mean() - generated.mean())}
    )


def test_opinions_are_by_batch_norms_as_in_training_and_leave_them(model: Gan) -> None:
    real, made = torch.rand(8, 3, 8, 8), torch.rand(8, 3, 8, 8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = model.opinion(real, made)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    model.discriminator.train()
    expected = model.criterion.opinion(*(model.discriminator(2 * images - 1) for images in (real, made)))
    model.load_state_dict(before)
    model.eval()
    assert found == expected


@pytest.mark.parametrize("name", ["gan", "dcgan", "wgan", "wgan_gp"])
def test_a_training_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    arguments = {"size": (8, 8), "hidden": 8} if name == "gan" else TINY
    assert_resumes(name, tmp_path, stop=6, steps=11, **arguments)


def test_the_average_of_a_generator_warms_up(tmp_path: Path) -> None:
    """After n updates its decay is (1 + n) / (10 + n), at most the recipe's; the first one copies."""
    doing: Any = training("gan", tmp_path, {"size": (8, 8), "hidden": 4}, steps=5, ema=0.2)
    loader, expected = iter(doing._loader()), torch.zeros(())
    for n, decay in enumerate((0.0, 2 / 11, 0.2, 0.2)):  # 3 / 12 and 4 / 13 are more than 0.2
        doing._one_step([next(loader)])
        weight = doing.model.generator.layers[0].weight.detach().clone()
        expected = weight if n == 0 else decay * expected + (1 - decay) * weight
        average = doing.averages.copies["generator"].module.layers[0].weight
        assert_close(average.detach(), expected, FLOAT32)
    assert CATALOG["stylegan_tiny"].recipes[""].ema == 0.999
