"""Losses of the GAN's players against binary cross entropy and the paper's logarithms."""

import pytest
import torch
import torch.nn.functional as F

from tests.closeness import assert_close
from vidi.losses.adversarial import discriminator_loss, generator_loss, saturating_generator_loss

REAL, FAKE = (torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (1, 2))


@pytest.mark.system("8.2-DLOSS")
def test_the_discriminators_loss_is_two_cross_entropies() -> None:
    expected = F.binary_cross_entropy_with_logits(REAL, torch.ones_like(REAL))
    expected = expected + F.binary_cross_entropy_with_logits(FAKE, torch.zeros_like(FAKE))
    assert_close(discriminator_loss(REAL, FAKE), expected)
    spelled_out = -REAL.sigmoid().log().mean() - (1 - FAKE.sigmoid()).log().mean()
    assert_close(discriminator_loss(REAL, FAKE), spelled_out)


@pytest.mark.system("8.2-GLOSS")
def test_both_forms_of_the_generators_loss_are_the_papers() -> None:
    assert_close(generator_loss(FAKE), -FAKE.sigmoid().log().mean())
    assert_close(saturating_generator_loss(FAKE), (1 - FAKE.sigmoid()).log().mean())


@pytest.mark.system("8.2-GLOSS")
def test_only_the_non_saturating_form_has_a_gradient_where_the_discriminator_is_sure() -> None:
    sure = torch.full((4,), -30.0, dtype=torch.float64, requires_grad=True)
    (alive,) = torch.autograd.grad(generator_loss(sure), sure)
    (dead,) = torch.autograd.grad(saturating_generator_loss(sure), sure)
    assert alive.sum().item() == pytest.approx(-1)
    assert abs(dead.sum().item()) < 1e-12


def test_extreme_logits_stay_finite() -> None:
    huge = torch.tensor([-1e4, 1e4])
    for loss in (discriminator_loss(huge, huge), generator_loss(huge), saturating_generator_loss(huge)):
        assert loss.isfinite()
