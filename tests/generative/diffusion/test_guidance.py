"""Guidance against mixtures of which all is known, and against diffusers' scale."""

import pytest
import torch
from torch import Tensor

from tests.closeness import NUMBERS, assert_close
from vidi.generative.diffusion.guidance import classifier_free, classifier_guided, guided_noise
from vidi.ops.diffusion import Denoised, Schedule, denoised, x0_from_noise
from vidi.ops.mixtures import GaussianMixture

LINEAR = Schedule.named("linear")


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


MIXTURE = GaussianMixture(
    numbers(0.3, 0.7), torch.tensor([[-1.0, 0.5], [0.8, 0.0]], dtype=torch.float64), numbers(0.2, 0.1)
)


def perfect(mixture: GaussianMixture, x: Tensor, t: Tensor) -> Denoised:
    alpha = LINEAR.level(int(t[0]))
    noise = mixture.noise(x, alpha)
    return Denoised(x0_from_noise(noise, x, alpha), noise)


def log_class(x: Tensor, t: Tensor) -> Tensor:
    """Return log p(class 1 | x_t), exactly."""
    return MIXTURE.noised(LINEAR.level(int(t[0]))).log_component(x)[:, 1]


@pytest.mark.system("8.3.6-CFG", "B8.30")
@pytest.mark.parametrize(("w", "expected"), [(3.0, 3.4), (0.0, 1.0), (-1.0, 0.2), (-2.0, -0.6)])
def test_the_noise_of_the_notes(w: float, expected: float) -> None:
    """(1 + w) e_c - w e_u; the scale of diffusers is 1 + w."""
    conditional, unconditional = numbers(1.0), numbers(0.2)
    found = guided_noise(conditional, unconditional, 1 + w)
    assert_close(found, (1 + w) * conditional - w * unconditional)
    assert found.item() == pytest.approx(expected, rel=NUMBERS)


def noise_of(condition: Tensor, x: Tensor, t: Tensor) -> Tensor:
    return torch.sin(condition.view(-1, 1) + x * (1 + t.view(-1, 1) / 1000))


@pytest.mark.system("8.3.6-CFG")
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, -1.5])
def test_classifier_free_guidance_is_both_branches_in_one_pass(scale: float) -> None:
    """Also below nought; a branch that does not count is not computed."""
    passes = []

    def denoise(x: Tensor, t: Tensor, condition: Tensor) -> Denoised:
        passes.append(len(x))
        seen = denoised(noise_of(condition, x, t), x, LINEAR.levels(t, x), "noise")
        return seen._replace(fraction=condition.view(-1, 1).expand_as(x))

    x, t = torch.randn(3, 2).double(), torch.tensor([400] * 3)
    condition, null = numbers(1, 2, 3), numbers(9, 9, 9)
    seen = classifier_free(denoise, condition, null, scale)(x, t)
    expected = noise_of(null, x, t) + scale * (noise_of(condition, x, t) - noise_of(null, x, t))
    assert_close(seen.noise, expected, NUMBERS)
    assert_close(seen.x0, x0_from_noise(expected, x, LINEAR.level(400)), NUMBERS)
    assert passes == [3 if scale in (0, 1) else 6]
    if scale not in (0, 1):
        assert seen.fraction is not None
        assert_close(seen.fraction[:, 0], condition)  # of the asked for


def test_guidance_without_learnt_variances_has_none() -> None:
    def denoise(x: Tensor, t: Tensor, condition: Tensor) -> Denoised:
        return denoised(noise_of(condition, x, t), x, 0.5, "noise")

    x, t = torch.randn(1, 2).double(), torch.tensor([4])
    assert classifier_free(denoise, numbers(1), numbers(2), 3.0)(x, t).fraction is None


@pytest.mark.system("8.3.6-NEGATIVE", "B8.34")
def test_a_negative_prompt_takes_the_place_of_none() -> None:
    """At sampling alone: what is not wanted is what guidance leads away from; the empty one is guidance as it was."""

    def denoise(x: Tensor, t: Tensor, condition: Tensor) -> Denoised:
        return denoised(noise_of(condition, x, t), x, LINEAR.levels(t, x), "noise")

    x, t = torch.randn(2, 2).double(), torch.tensor([400] * 2)
    wanted, empty, unwanted = numbers(1, 2), numbers(0, 0), numbers(5, 6)
    usual = classifier_free(denoise, wanted, empty, 4.0)(x, t)
    same = classifier_free(denoise, wanted, empty.clone(), 4.0)(x, t)
    assert torch.equal(usual.noise, same.noise)
    away = classifier_free(denoise, wanted, unwanted, 4.0)(x, t)
    expected = 4 * noise_of(wanted, x, t) - 3 * noise_of(unwanted, x, t)
    assert_close(away.noise, expected, NUMBERS)


@pytest.mark.system("8.3.6-CLSGUIDE", "B8.31")
@pytest.mark.parametrize("t", [3, 400, 999])
def test_exact_classifier_guidance_is_the_exact_condition(t: int) -> None:
    """At w = 1, by Bayes' rule: the noise of the component alone."""
    x, times = 2 * torch.randn(5, 2).double(), torch.full((5,), t)

    def unconditional(x: Tensor, t: Tensor) -> Denoised:
        return perfect(MIXTURE, x, t)

    seen = classifier_guided(unconditional, log_class, LINEAR, 1.0)(x, times)
    expected = perfect(MIXTURE.component(1), x, times)
    assert_close(seen.noise, expected.noise, NUMBERS)
    assert_close(seen.x0, expected.x0, NUMBERS)


@pytest.mark.system("8.3.6-CLSGUIDE")
@pytest.mark.parametrize(("w", "conditional"), [(0.0, False), (2.5, False), (2.5, True)])
def test_classifier_guidance_is_the_tilted_mixture(w: float, conditional: bool) -> None:
    """The noise of p(x_t) p(c | x_t)^w, of a base with or without the condition; the classifier knows the noise."""
    x, times, alpha = 2 * torch.randn(5, 2).double(), torch.full((5,), 300), LINEAR.level(300)
    base = MIXTURE.component(1) if conditional else MIXTURE

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return perfect(base, x, t)._replace(fraction=torch.ones_like(x))

    seen = classifier_guided(denoise, log_class, LINEAR, w)(x, times)
    place = x.clone().requires_grad_()
    tilted = base.noised(alpha).log_prob(place) + w * log_class(place, times)
    (score,) = torch.autograd.grad(tilted.sum(), place)
    assert_close(seen.noise, -((1 - alpha) ** 0.5) * score, NUMBERS)
    assert not any(tensor.requires_grad for tensor in (x, seen.noise, seen.x0))
    assert seen.fraction is not None
