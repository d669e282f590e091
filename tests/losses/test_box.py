"""Losses of boxes against torch, torchvision and the worked example."""

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops
from hypothesis import given
from hypothesis import strategies as st

from tests.closeness import NUMBERS, OUTPUTS, assert_close
from tests.references import boxes as slow
from vidi.losses.box import generalized_iou_loss, huber_loss, iou_loss, l1_loss, smooth_l1_loss


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    predicted = torch.randn(*shape, dtype=torch.float64) * 2
    return predicted.requires_grad_(), torch.randn(*shape, dtype=torch.float64)


def boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 30
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20 + 1], 1)


def assert_equal_with_gradient(ours: torch.Tensor, reference: torch.Tensor, leaf: torch.Tensor) -> None:
    assert_close(ours, reference, NUMBERS)
    mine, theirs = (torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0] for loss in (ours, reference))
    assert_close(mine, theirs, OUTPUTS)


@pytest.mark.system("B4.11", "4.3.2-HUBER")
def test_huber_of_the_worked_example():
    residuals = torch.tensor([0.5, 1.0, 2.0, -3.0], requires_grad=True)
    losses = huber_loss(residuals, torch.zeros(4), reduction="none")
    assert losses.tolist() == [0.125, 0.5, 1.5, 2.5]
    losses.sum().backward()
    assert residuals.grad is not None
    assert residuals.grad.tolist() == [0.5, 1, 1, -1]
    assert huber_loss(residuals, torch.zeros(4), reduction="sum").item() == 4.625


@pytest.mark.system("4.3.2-HUBER")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("knee", [1 / 9, 1.0, 2.5])
def test_regression_losses_are_torchs(reduction, knee):
    predicted, target = pair(50, 4)
    for ours, reference in (
        (
            huber_loss(predicted, target, delta=knee, reduction=reduction),
            F.huber_loss(predicted, target, delta=knee, reduction=reduction),
        ),
        (
            smooth_l1_loss(predicted, target, beta=knee, reduction=reduction),
            F.smooth_l1_loss(predicted, target, beta=knee, reduction=reduction),
        ),
        (l1_loss(predicted, target, reduction=reduction), F.l1_loss(predicted, target, reduction=reduction)),
    ):
        assert_equal_with_gradient(ours, reference, predicted)


@pytest.mark.system("4.3.2-HUBER")
def test_smooth_l1_is_huber_with_its_knee_at_1_and_l1_with_it_at_0():
    predicted, target = pair(40)
    assert torch.equal(smooth_l1_loss(predicted, target, beta=1), huber_loss(predicted, target, delta=1))
    assert torch.equal(smooth_l1_loss(predicted, target, beta=0), l1_loss(predicted, target))
    at_the_knee = torch.tensor([0.25], requires_grad=True)
    smooth_l1_loss(at_the_knee, torch.zeros(1), beta=0.25).backward()
    assert at_the_knee.grad is not None
    assert at_the_knee.grad.item() == 1


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_generalized_iou_loss_is_torchvisions(reduction):
    predicted, target = boxes(60, 0).requires_grad_(), boxes(60, 1)
    ours = generalized_iou_loss(predicted, target, reduction=reduction)
    reference = torchvision.ops.generalized_box_iou_loss(predicted, target, reduction=reduction)
    assert_equal_with_gradient(ours, reference, predicted)


def test_overlap_losses_are_the_loops():
    predicted, target = boxes(30, 0), boxes(30, 1)
    pairs = list(zip(predicted.tolist(), target.tolist(), strict=True))
    plain = torch.tensor([1 - slow.iou(a, b) for a, b in pairs], dtype=torch.float64)
    general = torch.tensor([1 - slow.generalized_iou(a, b) for a, b in pairs], dtype=torch.float64)
    assert_close(iou_loss(predicted, target, eps=0, reduction="none"), plain)
    ours = generalized_iou_loss(predicted, target, eps=0, reduction="none")
    assert_close(ours, general)


def test_gradients_of_overlap_losses_are_right_and_tell_apart_boxes_that_do_not_meet():
    predicted, target = boxes(8, 0).requires_grad_(), boxes(8, 1)
    for loss in (iou_loss, generalized_iou_loss):
        assert torch.autograd.gradcheck(lambda p, loss=loss: loss(p, target, reduction="sum"), predicted)
    apart = torch.tensor([[0.0, 0.0, 1.0, 1.0]], requires_grad=True)
    target = torch.tensor([[5.0, 0.0, 6.0, 1.0]])
    (plain,) = torch.autograd.grad(iou_loss(apart, target), apart)
    (general,) = torch.autograd.grad(generalized_iou_loss(apart, target), apart)
    assert plain.abs().max() == 0
    assert general[0, 2] < 0  # moving the right side towards the target lowers the loss


def test_boxes_without_area_give_finite_losses_and_gradients():
    points = torch.full((3, 4), 5.0, requires_grad=True)
    for loss in (iou_loss, generalized_iou_loss):
        for eps in (0, 1e-7):
            value = loss(points, points.detach(), eps=eps)
            (gradient,) = torch.autograd.grad(value, points)
            assert value.isfinite()
            assert gradient.isfinite().all()


@given(st.integers(0, 10**6))
def test_the_generalized_loss_lies_between_the_plain_one_and_2(seed):
    predicted, target = boxes(5, seed), boxes(5, seed + 1)
    plain = iou_loss(predicted, target, reduction="none")
    general = generalized_iou_loss(predicted, target, reduction="none")
    assert (general >= plain - 1e-6).all()
    assert (general < 2).all()
    assert ((plain >= 0) & (plain <= 1)).all()


def test_half_precision_is_computed_in_float32_and_nothing_costs_nothing():
    predicted, target = pair(5, 4)
    assert huber_loss(predicted.bfloat16(), target.bfloat16()).dtype == torch.float32
    assert generalized_iou_loss(boxes(3, 0).half(), boxes(3, 1).half()).dtype == torch.float32
    empty = torch.zeros(0, 4, requires_grad=True)
    for loss in (l1_loss, huber_loss, smooth_l1_loss, iou_loss, generalized_iou_loss):
        for reduction in ("sum", "mean"):
            value = loss(empty, empty.detach(), reduction=reduction)
            assert value.item() == 0
            value.backward()


def test_impossible_knees_are_refused():
    with pytest.raises(ValueError, match="delta=0"):
        huber_loss(torch.zeros(1), torch.zeros(1), delta=0)
    with pytest.raises(ValueError, match="beta=-1"):
        smooth_l1_loss(torch.zeros(1), torch.zeros(1), beta=-1)
