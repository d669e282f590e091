"""AdaGrad, RMSProp, Adam and AdamW: the worked examples, the bound of Adam's step, and decay against L2."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.closeness import assert_close
from vidi.optim.adagrad import AdaGrad
from vidi.optim.adam import Adam, AdamW, adam_update, update_bound
from vidi.optim.landscapes import Landscape, beale, canyon
from vidi.optim.rmsprop import RMSProp
from vidi.optim.schedules import cosine_factor
from vidi.optim.sgd import SGD
from vidi.optim.trajectory import record

SLOPED = Landscape("slope", lambda p: 4.0 * p[..., 0] - 0.5 * p[..., 1], ())


@pytest.mark.system("B1.8", "1.4.1-ADAGRAD")
def test_adagrad_slows_down_as_one_over_the_root_of_time():
    path = record(SLOPED, lambda p: AdaGrad(p, lr=1.0), 100, start=(0, 0))
    steps = torch.tensor([1 / math.sqrt(t) for t in range(1, 101)], dtype=torch.float64)
    assert_close(path.velocities, torch.stack([-steps, steps], 1), 1e-9)
    assert path.points[-1, 1].item() == pytest.approx(18.589604, abs=1e-6)


@pytest.mark.system("1.4.1-ADAGRAD")
@pytest.mark.parametrize("eps_inside", [False, True])
def test_adagrad_has_a_rate_for_each_parameter_that_never_grows(eps_inside):
    path = record(beale(), lambda p: AdaGrad(p, lr=0.3, eps=1e-3, eps_inside=eps_inside), 50)
    total = path.gradients.square().cumsum(0)
    expected = 0.3 / ((total + 1e-3).sqrt() if eps_inside else total.sqrt() + 1e-3)
    torch.testing.assert_close(path.step_sizes, expected, rtol=1e-9, atol=0)
    assert bool((path.step_sizes.diff(dim=0) <= 1e-12).all())


@pytest.mark.system("1.4.2-RMSPROP")
@pytest.mark.parametrize("eps_inside", [False, True])
@pytest.mark.parametrize("foreach", [None, False], ids=["foreach", "readable"])
def test_rmsprop_follows_its_formula(eps_inside, foreach):
    make = lambda p: RMSProp(p, 0.01, alpha=0.9, eps=1e-3, eps_inside=eps_inside, foreach=foreach)  # noqa: E731
    path = record(beale(), make, 40)
    square, theta = torch.zeros(2, dtype=torch.float64), path.points[0]
    for t, gradient in enumerate(path.gradients):
        square = 0.9 * square + 0.1 * gradient * gradient
        root = (square + 1e-3).sqrt() if eps_inside else square.sqrt() + 1e-3
        theta = theta - 0.01 / root * gradient
        assert_close(path.points[t + 1], theta)
        torch.testing.assert_close(path.step_sizes[t], 0.01 / root, rtol=1e-8, atol=0)


def test_the_centred_form_bears_a_constant_gradient():
    """The mean square less the squared mean is rounded below 0 there, of which torch's makes nan."""
    for foreach in (None, False):
        parameter = nn.Parameter(torch.zeros(50))
        optimizer = RMSProp([parameter], lr=1e-6, alpha=0.5, centered=True, foreach=foreach)
        parameter.grad = torch.linspace(0.1, 3.0, 50)
        for _ in range(60):
            optimizer.step()
        assert bool(parameter.isfinite().all())


@pytest.mark.system("1.4.3-ADAM")
def test_adam_follows_its_formula():
    path = record(beale(), lambda p: Adam(p, 0.05, betas=(0.8, 0.95), eps=1e-4), 40)
    m, s, theta = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), path.points[0]
    for t, gradient in enumerate(path.gradients, start=1):
        m = 0.8 * m + 0.2 * gradient
        s = 0.95 * s + 0.05 * gradient * gradient
        theta = theta - 0.05 / ((s / (1 - 0.95**t)).sqrt() + 1e-4) * (m / (1 - 0.8**t))
        assert_close(path.points[t], theta)


@pytest.mark.system("B1.9", "1.4.3-ADAM", "1.4.3-ADAM-NODEBIAS")
@pytest.mark.parametrize("fused", [None, False], ids=["fused", "readable"])
@pytest.mark.parametrize("make", [Adam, AdamW])
def test_the_first_step_is_the_rate_and_larger_without_debiasing(make, fused):
    """C1.6: without debiasing the first steps are too large, not too small."""
    for debias, expected in ((True, 1.0), (False, 3.162278)):
        parameter = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        parameter.grad = torch.tensor([1e-3, -2.0, 5e4], dtype=torch.float64)
        make([parameter], lr=0.1, eps=0.0, weight_decay=0.0, debias=debias, fused=fused).step()
        assert (parameter / 0.1).tolist() == pytest.approx([-expected, expected, -expected], abs=1e-6)


@pytest.mark.system("1.4.3-ADAM-NODEBIAS")
@pytest.mark.parametrize("fused", [None, False], ids=["fused", "readable"])
def test_without_debiasing_the_averages_are_taken_as_they_are(fused):
    path = record(beale(), lambda p: Adam(p, 0.02, betas=(0.8, 0.95), debias=False, fused=fused), 40)
    m, s, theta = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), path.points[0]
    for t, gradient in enumerate(path.gradients):
        m = 0.8 * m + 0.2 * gradient
        s = 0.95 * s + 0.05 * gradient * gradient
        theta = theta - 0.02 / (s.sqrt() + 1e-8) * m
        assert_close(path.points[t + 1], theta)


@pytest.mark.system("B1.10", "1.4.3-ADAM-BOUND")
def test_the_bound_of_the_worked_example():
    bounds = {1: 1.0, 10: 1.043108, 100: 2.243364, 1000: 5.781160, math.inf: 7.270292}
    for step, expected in bounds.items():
        assert update_bound(step) == pytest.approx(expected, abs=1e-6)
    assert update_bound(math.inf) == pytest.approx(0.1 / math.sqrt(0.001 * (1 - 0.81 / 0.999)), rel=1e-12)
    grows = [update_bound(step) for step in range(1, 3000)]
    assert all(a < b for a, b in pairwise(grows))


@pytest.mark.system("1.4.3-ADAM-BOUND")
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.9, 0.81), (0.95, 0.5), (0.0, 0.9), (0.0, 0.0)])
def test_the_bound_is_reached(betas):
    """By gradients that grow as (beta2 / beta1)^i; by a last one alone where only that one counts in m."""
    beta1, beta2 = betas
    for step in (1, 2, 7, 40):
        growth = beta2 / beta1 if beta1 else math.inf
        gradients = [growth ** (i - step) if i < step else 1.0 for i in range(1, step + 1)]
        assert ratio(gradients, betas) == pytest.approx(update_bound(step, betas), rel=1e-9)


def ratio(gradients: list[float], betas: tuple[float, float]) -> float:
    """Give |m^| / sqrt(s^) after a sequence of gradients, by `adam_update` itself with lr 1 and eps 0."""
    theta, m, s = (torch.zeros(1, dtype=torch.float64) for _ in range(3))
    before = theta
    for step, value in enumerate(gradients, start=1):
        before = theta
        gradient = torch.full((1,), value, dtype=torch.float64)
        theta, m, s = adam_update(theta, gradient, m, s, step=step, lr=1.0, betas=betas, eps=1e-300)
    return (theta - before).abs().item()


@pytest.mark.system("1.4.3-ADAM-BOUND")
@given(
    st.lists(st.floats(-1e3, 1e3).filter(lambda g: g == 0 or abs(g) > 1e-3), min_size=1, max_size=20),
    st.floats(0, 0.99),
    st.floats(0.01, 0.999),
)
def test_the_bound_is_never_exceeded(gradients, beta1, beta2):
    assert ratio(gradients, (beta1, beta2)) <= update_bound(len(gradients), (beta1, beta2)) * (1 + 1e-6)


@pytest.mark.system("1.4.3-ADAM-BOUND")
def test_bounds_that_do_not_exist_and_betas_out_of_range():
    assert update_bound(2, (0.9, 0.0)) == math.inf
    assert update_bound(math.inf, (0.9, 0.81)) == update_bound(math.inf, (0.9, 0.5)) == math.inf
    assert update_bound(100_000, (0.999, 0.9)) == math.inf  # beyond the largest float
    with pytest.raises(ValueError, match=r"received beta1=1.0"):
        update_bound(1, (1.0, 0.9))
    with pytest.raises(ValueError, match="received step=0, expected a number of at least 1"):
        update_bound(0)


# --- 1.4.4


@pytest.mark.system("B1.11", "1.4.4-L2VSWD")
def test_decay_is_l2_for_plain_descent_and_for_nothing_else():
    with_l2: dict[str, Any] = {"weight_decay": 0.3}
    decayed = {**with_l2, "decoupled_weight_decay": True}
    for landscape in (canyon(30), beale()):
        for reference in (SGD, torch.optim.SGD):
            a = record(landscape, lambda p: SGD(p, 0.01, **decayed), 50)
            b = record(landscape, lambda p, make=reference: make(p, 0.01, **with_l2), 50)
            assert_close(a.points, b.points)
        a = record(landscape, lambda p: SGD(p, 1e-3, 0.9, **decayed), 50)
        b = record(landscape, lambda p: SGD(p, 1e-3, 0.9, **with_l2), 50)
        assert_close(a.points[1], b.points[1])
        assert not torch.allclose(a.points[2], b.points[2], atol=1e-8)  # momentum carries the L2 term on
        a = record(landscape, lambda p: AdamW(p, 0.01, weight_decay=0.3), 1)
        b = record(landscape, lambda p: Adam(p, 0.01, weight_decay=0.3), 1)
        assert not torch.allclose(a.points[1], b.points[1], atol=1e-4)  # from the first step on


@pytest.mark.system("1.4.4-ADAML2")
def test_l2_goes_through_both_averages():
    regularised = Landscape("with penalty", lambda p: beale().value(p) + 0.15 * (p**2).sum(-1), ())
    a = record(beale(), lambda p: Adam(p, 0.05, weight_decay=0.3), 30, start=(1.0, 1.5))
    b = record(regularised, lambda p: Adam(p, 0.05), 30, start=(1.0, 1.5))
    assert_close(a.points, b.points)


@pytest.mark.system("1.4.4-ADAMW")
@pytest.mark.parametrize("fused", [None, False], ids=["fused", "readable"])
@pytest.mark.parametrize("decay", ["torch", "paper"])
def test_the_decay_of_torch_follows_the_rate_and_that_of_the_paper_its_schedule(decay, fused):
    """C1.9: in the paper theta <- theta - eta (alpha m^ / (sqrt(s^) + eps) + lambda theta), with lr = eta alpha."""
    alpha, weight = 0.05, 0.02
    make = lambda p: AdamW(p, alpha, weight_decay=weight, decay=decay, fused=fused)  # noqa: E731
    path = record(beale(), make, 40, schedule=lambda t: cosine_factor(t, 40))
    m, s, theta = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), path.points[0]
    for t, gradient in enumerate(path.gradients):
        eta = cosine_factor(t, 40)
        m, s = 0.9 * m + 0.1 * gradient, 0.999 * s + 0.001 * gradient * gradient
        step = m / (1 - 0.9 ** (t + 1)) / ((s / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
        theta = theta - eta * (alpha * step + (weight if decay == "paper" else alpha * weight) * theta)
        assert_close(path.points[t + 1], theta)


@pytest.mark.system("1.4.4-ADAMW")
def test_the_form_of_the_notes_is_that_of_the_paper_at_a_constant_rate():
    values = torch.tensor([1.0, -2.0], dtype=torch.float64)
    parameter = nn.Parameter(values.clone())
    parameter.grad = torch.tensor([0.5, 3.0], dtype=torch.float64)
    AdamW([parameter], lr=0.1, eps=0.0, weight_decay=0.01, decay="paper").step()
    assert_close(parameter.detach(), values - 0.1 - 0.01 * values)


@pytest.mark.system("1.4.4-ADAMW")
def test_the_papers_decay_resumes_against_its_first_rate():
    def step(optimizer: AdamW, parameter: Tensor, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        parameter.grad = torch.ones(2)
        optimizer.step()

    whole, parts = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer, first = (AdamW([p], lr=0.1, weight_decay=0.5, decay="paper") for p in (whole, parts))
    step(optimizer, whole, 0.05)
    step(first, parts, 0.05)
    second = AdamW([parts], lr=0.7, weight_decay=0.5, decay="paper")
    second.load_state_dict(first.state_dict())
    step(optimizer, whole, 0.02)
    step(second, parts, 0.02)
    assert torch.equal(whole, parts)
