"""Gradient descent, momentum and Nesterov's form: the worked examples, the loop over batches, and the look-ahead."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import assert_close
from vidi.data.loading import Plan, Steps, epoch_order
from vidi.optim.landscapes import CriticalPoint, Landscape, beale, canyon, rotated_canyon, sphere
from vidi.optim.schedules import cosine_factor
from vidi.optim.sgd import SGD, Nesterov
from vidi.optim.trajectory import Trajectory, record

SLOPE = torch.tensor([2.0, -3.0], dtype=torch.float64)
SLOPED = Landscape("slope", lambda p: p @ SLOPE, ())


def descent(lr: float, momentum: float = 0.0) -> Callable[[list[Tensor]], SGD]:
    return lambda parameters: SGD(parameters, lr, momentum)


# --- 1.1


@pytest.mark.system("B1.1", "1.1-GD")
def test_the_sphere_takes_one_step_of_rate_one():
    path = record(sphere(), descent(1.0), 1, start=(3.0, -2.0))
    assert path.points.tolist() == [[3.0, -2.0], [0.0, 0.0]]
    slow = record(sphere(), descent(0.1), 30, start=(3.0, -2.0)).points
    shrinking = torch.tensor([0.9**t for t in range(31)], dtype=torch.float64)[:, None]
    assert_close(slow, slow[0] * shrinking)


@pytest.mark.system("B1.2", "1.1-GD")
def test_the_canyon_zig_zags_while_its_loss_falls():
    path = record(canyon(100), descent(0.018), 40, start=(3.0, 1.0))
    factors = torch.tensor([[0.982**t, (-0.8) ** t] for t in range(41)], dtype=torch.float64)
    assert_close(path.points, path.points[0] * factors)
    assert bool((path.losses.diff() < 0).all())
    diverging = record(canyon(100), descent(0.021), 100, start=(3.0, 1.0))
    assert diverging.losses[-1] > diverging.losses[0]
    best = record(canyon(100), descent(2 / 101), 20, start=(3.0, 1.0)).points.abs()
    torch.testing.assert_close(best[1:] / best[:-1], torch.full((20, 2), 99 / 101, dtype=torch.float64))
    assert round(99 / 101, 6) == 0.980198


@pytest.mark.system("1.1-GD")
def test_full_batch_descent_does_not_depend_on_the_order():
    inputs, targets = regression()
    ends = [fit(inputs, targets, batch=len(inputs), seed=seed) for seed in (0, 1)]
    assert_close(ends[0], ends[1])
    weights = torch.zeros(3, dtype=torch.float64)
    for _ in range(3):
        weights -= 0.1 * 2 * inputs.T @ (inputs @ weights - targets) / len(inputs)
    assert_close(ends[0], weights)


@pytest.mark.system("B1.12", "1.1-EPOCHS")
def test_ten_samples_make_batches_of_four_four_and_two():
    plan = Plan(10, 4, seed=3)
    assert plan.steps_per_epoch == math.ceil(10 / 4) == 3
    batches = list(Steps(plan, 0, 6, process=0))
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    for epoch in (0, 1):
        walked = [pair for batch in batches[3 * epoch : 3 * epoch + 3] for pair in batch]
        assert [number for number, _ in walked] == [epoch] * 10
        assert [index for _, index in walked] == epoch_order(10, 3, epoch)
        assert sorted(index for _, index in walked) == list(range(10))
    assert epoch_order(10, 3, 0) != epoch_order(10, 3, 1) != epoch_order(10, 4, 1)
    loader = torch.utils.data.DataLoader(list(range(10)), batch_size=4, shuffle=True, drop_last=False)  # type: ignore[arg-type]
    assert [len(batch) for batch in loader] == [len(batch) for batch in batches[:3]]


def regression() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(10, 3, dtype=torch.float64)
    return inputs, inputs @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def fit(inputs: Tensor, targets: Tensor, *, batch: int, seed: int, epochs: int = 3, make: type = SGD) -> Tensor:
    """Fit a linear model by epochs of shuffled batches, and give its weights."""
    weights = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = make([weights], lr=0.1)
    plan = Plan(len(inputs), batch, seed=seed)
    for rows in Steps(plan, 0, epochs * plan.steps_per_epoch, process=0):
        indices = [index for _, index in rows]
        optimizer.zero_grad()
        (inputs[indices] @ weights - targets[indices]).square().mean().backward()
        optimizer.step()
    return weights.detach()


@pytest.mark.system("1.1-SGD", "1.1-EPOCHS")
def test_an_epoch_walks_shuffled_batches_one_step_each():
    inputs, targets = regression()
    found = fit(inputs, targets, batch=4, seed=5)
    expected, step = torch.zeros(3, dtype=torch.float64), 0
    for epoch in range(3):
        order = epoch_order(10, 5, epoch)
        for u in range(math.ceil(10 / 4)):
            assert step == epoch * 3 + u
            gradient = torch.zeros(3, dtype=torch.float64)
            rows = order[4 * u : 4 * u + 4]
            for index in rows:
                gradient += 2 * (inputs[index] @ expected - targets[index]) * inputs[index] / len(rows)
            expected = expected - 0.1 * gradient
            step += 1
    assert_close(found, expected)
    assert torch.equal(found, fit(inputs, targets, batch=4, seed=5, make=torch.optim.SGD))


# --- 1.3


@pytest.mark.system("B1.5", "1.3-MOM")
def test_momentum_sums_up_a_constant_gradient_to_ten_times():
    path = record(SLOPED, descent(1.0, momentum=0.9), 300)
    torch.testing.assert_close(path.velocities[-1], -10 * SLOPE, rtol=1e-12, atol=0)
    weights = torch.tensor([(1 - 0.9**t) / (1 - 0.9) for t in range(1, 301)], dtype=torch.float64)  # a sum, no average
    torch.testing.assert_close(path.velocities, -weights[:, None] * SLOPE, rtol=1e-10, atol=0)


@pytest.mark.system("B1.6", "1.3-MOM")
def test_momentum_filters_noise():
    velocity, deviation = torch.zeros(100_000, dtype=torch.float64), 0.7
    parameter = nn.Parameter(velocity.clone())
    optimizer = SGD([parameter], lr=1.0, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        parameter.grad = deviation * torch.randn(len(velocity), generator=generator, dtype=torch.float64)
        before = parameter.detach().clone()
        optimizer.step()
        velocity = parameter.detach() - before
    assert velocity.var().item() == pytest.approx(deviation**2 / (1 - 0.9**2), rel=0.02)
    assert velocity.var().item() == pytest.approx(5.26316 * deviation**2, rel=0.02)
    assert (0.1 * velocity).var().item() == pytest.approx(0.0526316 * deviation**2, rel=0.02)


@pytest.mark.system("1.3-MOM")
@pytest.mark.parametrize("lr_in_momentum", [False, True])
def test_momentum_is_the_velocity_of_the_notes(lr_in_momentum):
    """v <- mu v - lr g, theta <- theta + v; with a schedule only where the buffer holds the steps."""
    landscape = rotated_canyon(30)
    schedule = (lambda t: cosine_factor(t, 50)) if lr_in_momentum else None
    path = record(
        landscape, lambda p: SGD(p, 0.01, momentum=0.8, lr_in_momentum=lr_in_momentum), 50, schedule=schedule
    )  # fmt: skip
    theta, v = path.points[0], torch.zeros(2, dtype=torch.float64)
    for t in range(50):
        rate = 0.01 * (schedule(t) if schedule else 1.0)
        v = 0.8 * v - rate * landscape.gradient(theta)
        theta = theta + v
        assert_close(path.velocities[t], v)
        assert_close(path.points[t + 1], theta)


@pytest.mark.system("1.3-NAG")
@pytest.mark.parametrize("foreach", [None, False], ids=["foreach", "readable"])
def test_nesterov_looks_ahead(foreach):
    landscape, decay = beale(), 0.1
    path = record(landscape, lambda p: Nesterov(p, 1e-3, 0.9, decay, foreach=foreach), 60)
    theta, v = path.points[0], torch.zeros(2, dtype=torch.float64)
    for t in range(60):
        ahead = theta + 0.9 * v
        v = 0.9 * v - 1e-3 * (landscape.gradient(ahead) + decay * ahead)
        theta = theta + v
        assert_close(path.points[t + 1], theta)
        assert_close(path.velocities[t], v)


@pytest.mark.system("B1.7", "1.3-NAG", "1.3-NAG-REF")
@pytest.mark.parametrize("make", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_the_change_of_variable_keeps_the_point_ahead(make):
    landscape = rotated_canyon(30)
    behind = record(landscape, lambda p: Nesterov(p, 0.01, 0.9), 100)
    ahead = record(landscape, lambda p: make(p, 0.01, momentum=0.9, nesterov=True), 100)
    assert_close(ahead.points[1:], behind.points[1:] + 0.9 * behind.velocities)


@pytest.mark.system("1.3-NAG-REF")
def test_the_change_of_variable_holds_under_a_schedule_if_the_steps_are_summed_up():
    landscape, schedule = rotated_canyon(30), lambda t: cosine_factor(t, 100)
    behind = record(landscape, lambda p: Nesterov(p, 0.01, 0.9), 100, schedule=schedule)
    forms = [
        record(landscape, lambda p, form=form: SGD(p, 0.01, 0.9, **form), 100, schedule=schedule)
        for form in ({"nesterov": True, "lr_in_momentum": True}, {"nesterov": True})
    ]
    mapped = behind.points[1:] + 0.9 * behind.velocities
    assert_close(forms[0].points[1:], mapped)
    assert not torch.allclose(forms[1].points[1:], mapped, atol=1e-6)


@pytest.mark.system("1.3-NAG")
def test_looking_ahead_needs_a_closure_and_comes_back_from_a_failing_one():
    moving, still = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    optimizer = Nesterov([moving, still], lr=0.25, momentum=0.5)

    def closure(use_both: bool) -> Tensor:
        optimizer.zero_grad()
        loss = moving.square().sum() + (still.square().sum() if use_both else 0.0)
        loss.backward()
        return loss

    optimizer.step(lambda: closure(True))
    assert moving.item() == still.item() == 0.5
    optimizer.step(lambda: closure(False))
    assert still.item() == 0.5  # without a gradient it was moved ahead and back
    assert moving.item() == 0.5 - 0.25 - 0.25 * 2 * 0.25  # theta + mu v - lr g(theta + mu v)

    def failing() -> Tensor:
        raise KeyboardInterrupt

    before = moving.item()
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(failing)
    assert moving.item() == before
    with pytest.raises(TypeError, match=r"expects a closure .* SGD\(nesterov=True\) makes the same steps"):
        optimizer.step()


@pytest.mark.system("1.1-TRAJ")
def test_a_trajectory_holds_what_happened():
    landscape = Landscape("bowl", lambda p: (p**2).sum(-1), (CriticalPoint((0, 0), 0, ((2, 0), (0, 2))),))
    path = record(landscape, descent(0.1), 5, start=(1, -2))
    expected = torch.tensor([[0.8**t, -2 * 0.8**t] for t in range(6)], dtype=torch.float64)
    assert_close(path.points, expected)
    assert_close(path.losses, expected.square().sum(1))
    assert_close(path.gradients, 2 * expected[:-1])
    assert_close(path.velocities, -0.2 * expected[:-1])
    torch.testing.assert_close(path.step_sizes, torch.full((5, 2), 0.1, dtype=torch.float64))
    assert record(landscape, descent(0.1), 0).points.shape == (1, 2)


@pytest.mark.system("1.1-TRAJ")
def test_noise_has_its_size_repeats_with_its_seed_and_leaves_the_losses_exact():
    def run(seed: int) -> Trajectory:
        generator = torch.Generator().manual_seed(seed)
        return record(canyon(10), descent(0.01), 400, noise=0.5, generator=generator)

    path, again, other = run(0), run(0), run(1)
    assert torch.equal(path.points, again.points)
    assert not torch.equal(path.points, other.points)
    noise = path.gradients - canyon(10).gradient(path.points[:-1])
    assert noise.std().item() == pytest.approx(0.5, rel=0.1)
    assert noise.mean(0).abs().max().item() < 0.1
    torch.testing.assert_close(path.losses, canyon(10).value(path.points), rtol=0, atol=0)
    assert_close(path.velocities, -0.01 * path.gradients)
    with pytest.raises(ValueError, match=r"received noise=0.5 without a generator"):
        record(canyon(10), descent(0.01), 1, noise=0.5)
