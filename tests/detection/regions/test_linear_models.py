"""Support vector machines and ridge regression against scikit-learn."""

import math
from typing import Any

import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from tests.closeness import FLOAT32, NUMBERS, assert_close
from vidi.detection.regions.linear_models import RidgeSums, linear_svm


def features(count: int = 60, width: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) + 0.3


@pytest.mark.system("4.3.2-RCNN")
@pytest.mark.parametrize(
    ("cost", "positive_weight", "bias_scale"), [(1.0, 1.3, 1.0), (1e-3, 2.0, 10.0), (50.0, 1.0, 3.0)]
)
def test_machines_are_those_of_liblinear(cost: float, positive_weight: float, bias_scale: float) -> None:
    """To what liblinear's stopping rule leaves, and at a point where the gradient is nearly 0."""
    x = features()
    positive = x[:, 0] + 0.5 * x[:, 1] ** 2 > 0.6
    model = linear_svm(x, positive, cost=cost, positive_weight=positive_weight, bias_scale=bias_scale)
    options: dict[str, Any] = {"dual": False, "intercept_scaling": bias_scale, "max_iter": 10**6}
    weights = {True: positive_weight, False: 1.0}
    theirs = LinearSVC(C=cost, tol=1e-12, class_weight=weights, **options).fit(x.numpy(), positive.numpy())
    torch.testing.assert_close(model.weights[:, 0], torch.from_numpy(theirs.coef_[0]), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(model.biases, torch.from_numpy(theirs.intercept_), rtol=1e-5, atol=1e-8)
    w, b = model.weights[:, 0].requires_grad_(), model.biases.requires_grad_()
    y = torch.where(positive, 1.0, -1.0).double()
    costs = cost * torch.where(positive, positive_weight, torch.ones_like(y))
    hinge = (1 - y * (x @ w + b)).clamp(min=0) ** 2
    ((w**2).sum() / 2 + (b / bias_scale).square().sum() / 2 + (costs * hinge).sum()).backward()
    assert w.grad is not None
    assert w.grad.abs().max() < 1e-9 * max(1.0, cost)


def test_separable_and_one_sided_samples_have_a_machine() -> None:
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    model = linear_svm(x, torch.tensor([True, False]), cost=1e6)
    assert_close(x @ model.weights + model.biases, torch.tensor([[1.0], [-1.0]]), FLOAT32)
    assert (features() @ linear_svm(features(), torch.ones(60).bool(), cost=1e6).weights).isfinite().all()
    nothing = linear_svm(features()[:0], torch.zeros(0).bool())
    assert (nothing.weights == 0).all()


@pytest.mark.system("4.3.2-RCNN")
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1000.0])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    """The samples come in two parts; the intercept is not penalised."""
    x, y = features(), features(60, 4) @ torch.randn(4, 4, dtype=torch.float64)
    sums = RidgeSums(7, 4)
    sums.add(x[:25], y[:25])
    sums.add(x[25:], y[25:])
    model = sums.solve(penalty)
    theirs = Ridge(alpha=penalty).fit(x.numpy(), y.numpy())
    assert_close(model.weights.T, torch.from_numpy(theirs.coef_), NUMBERS)
    assert_close(model.biases, torch.from_numpy(theirs.intercept_), NUMBERS)
    scaled, direct = sums.scaled(3.0).solve(penalty), RidgeSums(7, 4)
    direct.add(3 * x, y)
    assert_close(scaled.weights, direct.solve(penalty).weights, NUMBERS)


def test_no_samples_give_no_correction() -> None:
    model = RidgeSums(3, 4).solve(1000.0)
    assert (model.weights == 0).all()
    assert (model.biases == 0).all()


def test_numbers_that_cannot_be_used_are_refused() -> None:
    x, positive = features(4), torch.tensor([True, False, True, False])
    with pytest.raises(ValueError, match="cost=0"):
        linear_svm(x, positive, cost=0)
    with pytest.raises(ValueError, match="penalty=0"):
        RidgeSums(3, 4).solve(0)
    x[1, 1] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        linear_svm(x, positive)
    with pytest.raises(ValueError, match="NaN"):
        RidgeSums(7, 7).add(x, features(4))
