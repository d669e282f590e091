"""Second-order methods against scipy and closed forms: Taylor model, steps, indefinite Hessians, what they cost."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn

from tests.closeness import EXACT, NUMBERS, assert_close, largest
from vidi.backbones.resnet import resnet50
from vidi.optim.landscapes import LANDSCAPES, Landscape, beale, rosenbrock, saddle
from vidi.optim.newton import (
    MOST_PARAMETERS,
    IndefiniteHessianError,
    Newton,
    cost_table,
    newton_1d,
    newton_direction,
    quadratic_model,
    second_order_cost,
)
from vidi.optim.trajectory import record


def rosen_der(x: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.optimize.rosen_der(x))


def rosen_hess(x: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.optimize.rosen_hess(x))


def spd(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give a positive definite matrix and a vector."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T + torch.eye(size, dtype=torch.float64), torch.randn(
        size, generator=generator, dtype=torch.float64
    )


# --- 1.2-TAYLOR


@pytest.mark.system("1.2-TAYLOR")
def test_the_model_shares_value_slope_and_curvature_with_the_function():
    def function(p: Tensor) -> Tensor:
        return torch.exp(p[..., 0] * p[..., 1]) + torch.sin(p[..., 2]) * p[..., 0] ** 2

    point = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    model = quadratic_model(function, point)
    again = quadratic_model(model, point)
    for ours, expected in (
        (model(point), function(point)),
        (again.gradient, torch.func.grad(function)(point)),
        (again.hessian, torch.func.hessian(function)(point)),
        (again.value, model.value),
    ):
        assert_close(ours, expected)
    direction = torch.tensor([0.2, 0.5, -0.4], dtype=torch.float64)
    errors = [(model(point + h * direction) - function(point + h * direction)).abs().item() for h in (1e-1, 1e-2)]
    assert errors[0] / errors[1] == pytest.approx(1000, rel=0.1)  # what is left is of third order
    points = point + torch.randn(4, 5, 3, dtype=torch.float64)
    assert model(points).shape == (4, 5)
    torch.testing.assert_close(model(points)[2, 3], model(points[2, 3]))


@pytest.mark.system("1.2-TAYLOR")
def test_the_minimum_of_the_model_is_where_its_gradient_vanishes():
    model = quadratic_model(beale().value, torch.tensor([2.9, 0.45], dtype=torch.float64))
    least = model.minimiser()
    assert_close(torch.func.grad(model)(least), torch.zeros(2, dtype=torch.float64), size=1)
    with pytest.raises(IndefiniteHessianError, match="least eigenvalue is -1"):
        quadratic_model(saddle().value, torch.tensor([1.0, 0.0], dtype=torch.float64)).minimiser()


# --- 1.2-NEWTON1D


@pytest.mark.system("B1.4", "1.2-NEWTON1D")
def test_newton_on_a_quartic_takes_two_thirds_each_step():
    iterates = newton_1d(lambda x: x**4, 1.0, steps=3)
    assert iterates == pytest.approx([1, 2 / 3, 4 / 9, 8 / 27], rel=EXACT)


@pytest.mark.system("1.2-NEWTON1D")
@pytest.mark.parametrize("lr", [0.5, 0.1, 1.5])
def test_the_rate_in_one_dimension_is_the_share_of_the_error_that_a_step_takes(lr):
    """On a parabola about 3 the error is multiplied by 1 - lr; on x^4 x is, by 1 - lr / 3."""
    parabola = newton_1d(lambda x: 2 * (x - 3) ** 2, 5.0, lr=lr, steps=4)
    assert parabola == pytest.approx([3 + 2 * (1 - lr) ** t for t in range(5)], abs=1e-12)
    quartic = newton_1d(lambda x: x**4, 1.0, lr=lr, steps=4)
    assert quartic == pytest.approx([(1 - lr / 3) ** t for t in range(5)], abs=1e-12)


@pytest.mark.system("1.2-NEWTON1D")
@pytest.mark.parametrize(
    ("function", "slope", "curvature", "start"),
    [
        (lambda x: x - torch.log(x), lambda x: 1 - 1 / x, lambda x: x**-2.0, 0.4),
        (lambda x: torch.cosh(x - 1), lambda x: math.sinh(x - 1), lambda x: math.cosh(x - 1), 2.0),
        (lambda x: x**4 - 3 * x**3 + 2, lambda x: 4 * x**3 - 9 * x**2, lambda x: 12 * x**2 - 18 * x, 6.0),
    ],
    ids=["log", "cosh", "quartic"],
)
def test_each_iterate_is_scipys(function, slope, curvature, start):
    """scipy.optimize.newton looks for the root of f'."""
    iterates = newton_1d(function, start, steps=7)
    for steps, found in enumerate(iterates[1:], start=1):
        options: dict[str, Any] = {"maxiter": steps, "tol": 1e-300, "disp": False, "full_output": True}
        assert found == pytest.approx(scipy.optimize.newton(slope, start, curvature, **options)[0], rel=1e-11)
    converged = newton_1d(function, start)
    assert len(converged) < 12
    assert slope(converged[-1]) == pytest.approx(0, abs=1e-11)


@pytest.mark.system("1.2-NEWTON1D")
def test_newton_in_one_dimension_refuses_to_climb_unless_told():
    """C1.4: where f'' < 0 the step goes to a maximum."""
    with pytest.raises(IndefiniteHessianError, match="would not lead to a minimum"):
        newton_1d(torch.cos, 0.5)
    assert newton_1d(torch.cos, 0.5, indefinite="follow")[-1] == pytest.approx(0, abs=EXACT)  # the maximum
    assert newton_1d(torch.cos, 0.5, indefinite="damp")[-1] == pytest.approx(math.pi, rel=EXACT)
    assert newton_1d(torch.cos, 0.5, indefinite="damp", steps=1)[-1] == pytest.approx(0.5 + math.tan(0.5), rel=EXACT)
    assert newton_1d(lambda x: 3 * x, 1.0, indefinite="damp", steps=1)[-1] == pytest.approx(-2, rel=EXACT)


# --- 1.2-NEWTON


@pytest.mark.system("B1.3", "1.2-NEWTON")
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_quadratic_is_minimised_in_one_step_of_rate_one(size):
    a, b = spd(size)
    solution = torch.linalg.solve(a, b)
    for lr, left in ((1.0, 0.0), (0.5, 0.5)):
        x = nn.Parameter(torch.randn(size, dtype=torch.float64))
        optimizer = Newton([x], lr=lr)
        for _ in range(3):
            error = x.detach() - solution
            optimizer.step(lambda x=x: 0.5 * x @ a @ x - b @ x)
            assert_close(x.detach() - solution, left * error, NUMBERS, size=largest(solution))


@pytest.mark.system("1.2-NEWTON")
def test_the_iterates_are_those_of_numpy():
    path = record(rosenbrock(), Newton, 6)
    x = np.array(rosenbrock().start)
    for t in range(6):
        x = x - np.linalg.solve(rosen_hess(x), rosen_der(x))
        assert_close(path.points[t + 1], x, 1e-9)
    damped = record(rosenbrock(), lambda p: Newton(p, 0.7, damping=3.0), 1).points
    x = np.array(rosenbrock().start)
    step = np.linalg.solve(rosen_hess(x) + 3 * np.eye(2), rosen_der(x))
    assert_close(damped[1], x - 0.7 * step)


@pytest.mark.system("1.2-NEWTON")
@pytest.mark.parametrize("method", ["Newton-CG", "trust-exact"])
@pytest.mark.parametrize("name", ["rosenbrock", "double_basin"])
def test_the_minimum_is_that_of_scipys_methods(name, method):
    landscape = LANDSCAPES[name]()
    start = (2.4, 0.8) if name == "double_basin" else landscape.start

    def at(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(x, dtype=np.float64))

    found = scipy.optimize.minimize(
        lambda x: landscape.value(at(x)).item(),
        start,
        jac=lambda x: landscape.gradient(at(x)).numpy(),
        hess=lambda x: landscape.hessian(at(x)).numpy(),
        method=method,
        options={"xtol": 1e-12} if method == "Newton-CG" else {"gtol": 1e-10},
    )
    path = record(landscape, lambda p: Newton(p, indefinite="damp"), 30, start=start)
    assert_close(path.points[-1], found.x, 1e-6)
    assert_close(path.points[-1], landscape.minima[-1].at, 1e-9)


@pytest.mark.system("1.2-NEWTON")
def test_an_indefinite_hessian_is_refused_damped_or_followed():
    """C1.4: towards a saddle the pure step goes to the saddle."""
    landscape, start = saddle(), (1.0, 0.1)
    with pytest.raises(IndefiniteHessianError, match=r"its least eigenvalue is -0.97: .* indefinite='damp'"):
        record(landscape, Newton, 1, start=start)
    followed = record(landscape, lambda p: Newton(p, indefinite="follow"), 10, start=start).points[-1]
    assert_close(followed, landscape.saddles[0].at, 1e-9)
    damped = record(landscape, lambda p: Newton(p, indefinite="damp"), 20, start=start)
    assert_close(damped.points[-1], landscape.minima[1].at, 1e-9)
    assert bool((damped.losses.diff() <= 1e-12).all())


@pytest.mark.system("1.2-NEWTON")
@pytest.mark.parametrize("seed", range(5))
def test_damping_makes_any_symmetric_matrix_give_a_descent(seed):
    generator = torch.Generator().manual_seed(seed)
    hessian = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    hessian = hessian + hessian.T
    gradient = torch.randn(6, generator=generator, dtype=torch.float64)
    direction = newton_direction(gradient, hessian, indefinite="damp")
    assert (direction @ gradient).item() < 0
    least = torch.linalg.eigvalsh(hessian)[0]
    shifted = hessian - 2 * least * torch.eye(6, dtype=torch.float64)  # its least curvature is as large as it was small
    assert_close(shifted @ direction, -gradient, 1e-9)
    follow = newton_direction(gradient, hessian, indefinite="follow")
    assert_close(hessian @ follow, -gradient, 1e-9)
    flat = newton_direction(gradient, torch.zeros_like(hessian), indefinite="damp")
    torch.testing.assert_close(flat, -gradient)


@pytest.mark.system("1.2-NEWTON")
def test_the_parameters_of_a_network_are_one_vector():
    inputs, targets = torch.randn(20, 2, dtype=torch.float64), torch.randn(20, 1, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    unused = nn.Parameter(torch.ones(1, dtype=torch.float64))
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss_of(vector: Tensor) -> Tensor:
        parts = vector[:-1].split([shape.numel() for shape in shapes])
        values = {n: part.view(shape) for n, part, shape in zip(names, parts, shapes, strict=True)}
        return (torch.func.functional_call(model, values, inputs) - targets).square().mean()

    parameters = [*model.parameters(), unused]
    optimizer = Newton(parameters, damping=3.0, indefinite="damp")
    for _ in range(2):
        vector = nn.utils.parameters_to_vector(parameters).detach()
        step = newton_direction(
            torch.func.grad(loss_of)(vector), torch.func.hessian(loss_of)(vector), damping=3.0, indefinite="damp"
        )
        loss = optimizer.step(lambda: (model(inputs) - targets).square().mean())
        assert_close(loss.detach(), loss_of(vector))
        moved = nn.utils.parameters_to_vector(parameters).detach()
        assert_close(moved, vector + step, 1e-9)
    assert loss_of(moved) < loss_of(vector)


@pytest.mark.system("1.2-NEWTON")
def test_newton_says_what_it_needs():
    x = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def spent() -> Tensor:
        loss = x.square().sum().exp()
        loss.backward()
        return loss

    with pytest.raises(TypeError, match="expects a closure that returns the loss with its graph"):
        Newton([x]).step()
    with pytest.raises(ValueError, match=r"call backward\(retain_graph=True\)"):
        Newton([x]).step(spent)
    with pytest.raises(ValueError, match="received groups=2, expected one"):
        Newton([{"params": [x]}, {"params": [nn.Parameter(torch.ones(1))]}])
    with pytest.raises(ValueError, match="received indefinite='hope', expected one of 'raise', 'damp', 'follow'"):
        Newton([x], indefinite="hope")
    with pytest.raises(ValueError, match="received damping=-1"):
        Newton([x], damping=-1)
    too_many = nn.Parameter(torch.empty(MOST_PARAMETERS + 1, device="meta"))
    with pytest.raises(ValueError, match=r"received 20,001 parameters: a Hessian of 1.6 GB, 2.67 TFLOP to solve"):
        Newton([too_many])
    linear = Landscape("linear", lambda p: p.sum(-1), ())
    moved = record(linear, lambda p: Newton(p, indefinite="damp"), 1, start=(0, 0)).points[-1]
    assert moved.tolist() == [-1, -1]


# --- 1.2-COST


@pytest.mark.system("1.2-COST")
def test_the_cost_of_second_order_steps():
    """k^2 numbers, k^3 / 3 operations: nothing for ten parameters, petabytes for a ResNet-50."""
    with torch.device("meta"):
        count = sum(p.numel() for p in resnet50().parameters())
    assert count == 25_557_032
    cost = second_order_cost(count)
    assert cost.hessian_bytes == 4 * count**2 == pytest.approx(2.61e15, rel=1e-2)
    assert cost.solve_flops == count**3 // 3 == pytest.approx(5.56e21, rel=1e-2)
    assert second_order_cost(10, itemsize=8).hessian_bytes == 800
    table = cost_table({"toy": 10, "resnet50": count})
    assert [line.split() for line in table.splitlines()] == [
        ["network", "parameters", "Hessian", "solve"],
        ["toy", "10", "400", "B", "333", "FLOP"],
        ["resnet50", "25,557,032", "2.61", "PB", "5.56", "ZFLOP"],
    ]
