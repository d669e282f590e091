"""Landscapes: values, gradients, Hessians and critical points against autograd, scipy and a search."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from tests.closeness import EXACT, assert_close, largest
from vidi.optim.landscapes import LANDSCAPES, beale, canyon, double_basin, rosenbrock, rotated_canyon, saddle, sphere
from vidi.optim.sgd import SGD
from vidi.optim.trajectory import record

pytestmark = pytest.mark.system("1.1-LANDSCAPES")


@pytest.mark.parametrize("name", LANDSCAPES)
def test_critical_points_have_their_values_and_hessians(name):
    landscape = LANDSCAPES[name]()
    assert landscape.minima
    for point in (*landscape.minima, *landscape.saddles):
        at = torch.tensor(point.at, dtype=torch.float64)
        hessian = torch.tensor(point.hessian, dtype=torch.float64)
        assert landscape.value(at).item() == pytest.approx(point.value, rel=EXACT)
        assert_close(landscape.gradient(at), torch.zeros_like(at), size=largest(hessian))
        torch.testing.assert_close(landscape.hessian(at), hessian, rtol=1e-12, atol=1e-12)
        assert (torch.linalg.eigvalsh(hessian)[0].item() > 0) == (point in landscape.minima)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_there_are_no_other_critical_points(name):
    """A search from points all over the picture comes to those of the table only."""
    landscape = LANDSCAPES[name]()
    known = np.array([point.at for point in (*landscape.minima, *landscape.saddles)], dtype=np.float64)
    left, right, low, high = landscape.bounds

    def slope(x: np.ndarray) -> np.ndarray:
        return landscape.gradient(torch.from_numpy(x)).numpy()

    def curvature(x: np.ndarray) -> np.ndarray:
        return landscape.hessian(torch.from_numpy(x)).numpy()

    found = 0
    for start in np.random.default_rng(0).uniform((left, low), (right, high), (12, 2)):
        result = scipy.optimize.root(slope, start, jac=curvature, method="hybr", tol=1e-13)
        if result.success and np.abs(slope(result.x)).max() < 1e-10:
            assert np.abs(known - result.x).max(1).min() < 1e-6, result.x
            found += 1
    assert found >= 4


@pytest.mark.parametrize("name", LANDSCAPES)
def test_gradients_and_hessians_are_those_of_finite_differences(name):
    landscape = LANDSCAPES[name]()
    points = torch.randn(4, 3, 2, dtype=torch.float64)
    gradient, hessian = landscape.gradient(points), landscape.hessian(points)
    assert gradient.shape == (4, 3, 2)
    assert hessian.shape == (4, 3, 2, 2)
    for axis, step in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        slope = (landscape.value(points + step) - landscape.value(points - step)) / 2e-5
        curvature = (landscape.gradient(points + step) - landscape.gradient(points - step)) / 2e-5
        torch.testing.assert_close(gradient[..., axis], slope, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(hessian[..., axis], curvature, rtol=1e-6, atol=1e-6)


def test_rosenbrock_is_scipys():
    points = torch.randn(20, 2, dtype=torch.float64)
    landscape = rosenbrock()
    expected = [scipy.optimize.rosen(p) for p in points.numpy()]
    np.testing.assert_allclose(landscape.value(points), expected, rtol=1e-12)
    np.testing.assert_allclose(
        landscape.gradient(points),
        np.array([scipy.optimize.rosen_der(p) for p in points.numpy()]),
        rtol=1e-9,
        atol=1e-9,
    )
    np.testing.assert_allclose(
        landscape.hessian(points),
        np.array([scipy.optimize.rosen_hess(p) for p in points.numpy()]),
        rtol=1e-9,
        atol=1e-9,
    )


def test_the_canyon_is_convex_but_not_round():
    """C1.2: the condition number, not convexity, is what makes the sphere easy."""
    at = torch.tensor([0.7, -0.3], dtype=torch.float64)
    for landscape, condition in ((sphere(), 1), (canyon(100), 100), (rotated_canyon(37), 37)):
        assert landscape.condition_number(at) == pytest.approx(condition, rel=1e-9)
        assert torch.linalg.eigvalsh(landscape.hessian(at))[0].item() > 0
    with pytest.raises(ValueError, match=r"received condition=0.5, expected a number of at least 1"):
        canyon(0.5)


def test_turning_the_canyon_turns_its_values():
    angle = 0.6
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    points = torch.randn(10, 2, dtype=torch.float64)
    torch.testing.assert_close(rotated_canyon(20, angle).value(points @ turn.T), canyon(20).value(points))
    start = torch.tensor((3.0, 1.0), dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(rotated_canyon(20, angle).start, dtype=torch.float64), turn @ start)


def test_a_saddle_holds_only_what_starts_on_its_line():
    """C1.3: descent ends in a strict saddle from the line that it attracts, and from nowhere else."""
    landscape = saddle()
    assert record(landscape, lambda p: SGD(p, 0.2), 200, start=(2.0, 0.0)).points[-1].abs().max().item() < 1e-12
    for y, end in ((1e-6, 1.0), (-1e-6, -1.0)):
        path = record(landscape, lambda p: SGD(p, 0.2), 200, start=(2.0, y)).points
        assert_close(path[-1], torch.tensor([0.0, end], dtype=torch.float64), 1e-9)
        assert path[40].abs().max().item() < 0.01  # slowed down near the saddle


def test_the_narrow_basin_is_the_sharper_and_the_shallower():
    narrow, wide = double_basin().minima
    assert narrow.hessian[0][0] > 20 * wide.hessian[0][0]
    assert narrow.value > wide.value
    assert double_basin().start[0] < narrow.at[0] < double_basin().saddles[0].at[0] < wide.at[0]


def test_beale_has_the_published_values():
    values = beale().value(torch.tensor([[3.0, 0.5], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64))
    assert values.tolist() == [0.0, 1.5**2 + 2.25**2 + 2.625**2, 1.5**2 + 2.25**2 + 2.625**2]
