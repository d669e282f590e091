"""The loss of heatmaps against slow loops and the worked example of the notes."""

import math

import pytest
import torch

from tests.closeness import NUMBERS, assert_close
from tests.references.centernet import cell_loss
from vidi.losses.heatmap import penalty_reduced_focal_loss


@pytest.mark.system("4.3.5-CTHEAT", "B4.23")
@pytest.mark.parametrize(
    ("target", "probability", "expected"), [(0.5, 0.3, 0.00200630), (1.0, 0.7, 0.0321007)], ids=["beside", "at"]
)
def test_the_terms_of_the_notes(target, probability, expected):
    logit = torch.tensor(math.log(probability / (1 - probability)), dtype=torch.float64)
    loss = penalty_reduced_focal_loss(logit, torch.tensor(target, dtype=torch.float64))
    assert loss.item() == pytest.approx(expected, rel=2e-6)  # the digits that are given


@pytest.mark.system("4.3.5-CTHEAT")
@pytest.mark.parametrize(("gamma", "beta"), [(2, 4), (0, 4), (2, 0), (1.5, 3)])
def test_the_loss_is_that_of_slow_loops(gamma, beta):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 50, generator=generator, dtype=torch.float64)
    targets = torch.rand(4, 50, generator=generator, dtype=torch.float64)
    targets[:, ::10], targets[:, 1::10] = 1, 0
    pairs = zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True)
    expected = torch.tensor([cell_loss(*pair, gamma, beta) for pair in pairs], dtype=torch.float64)
    received = penalty_reduced_focal_loss(logits, targets, gamma=gamma, beta=beta, reduction="none")
    assert_close(received.flatten(), expected, NUMBERS)
    total = penalty_reduced_focal_loss(logits, targets, gamma=gamma, beta=beta, reduction="sum")
    torch.testing.assert_close(total, expected.sum(), atol=1e-10, rtol=1e-12)


def test_gradients_are_those_of_differences():
    logits = torch.randn(40, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(40, dtype=torch.float64)
    targets[::5] = 1
    assert torch.autograd.gradcheck(lambda x: penalty_reduced_focal_loss(x, targets, reduction="none"), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sure_logits_give_finite_losses_and_gradients(dtype):
    logits = torch.tensor([-200.0, -90, 0, 90, 200], dtype=dtype).repeat(3).requires_grad_()
    targets = torch.tensor([0.0, 0.9, 1]).repeat_interleave(5)
    loss = penalty_reduced_focal_loss(logits, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("option", [{"gamma": -1.0}, {"beta": -1.0}, {"beta": float("nan")}])
def test_negative_powers_are_refused(option):
    with pytest.raises(ValueError, match="not negative"):
        penalty_reduced_focal_loss(torch.zeros(2), torch.zeros(2), **option)
