"""The linear models that R-CNN fits to features once its network is trained: support vector machines and ridge.

Girshick et al. 2014, arXiv 1311.2524, sections 2.3 and C; notes 4.3.2.

    features N D, +1 or -1   -> linear_svm          -> weights D and a bias: one class against the rest
    features N D, targets T  -> RidgeSums.add, ...  -> weights D T and biases T, from sums that hold no sample

Both are computed in float64: a machine's optimum by Newton's method, which reaches it in a few steps, as the squared
hinge is quadratic wherever no sample crosses the margin (Keerthi & DeCoste 2005); ridge regression in closed form.

Differs from the paper: the hinge loss is squared.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEWTON_STEPS = 200
TOLERANCE = 1e-12  # of the gradient, relative to that of zero weights


class LinearModel(NamedTuple):
    """Weights and biases: predictions are features @ weights + biases."""

    weights: Float[Tensor, "D T"]
    biases: Float[Tensor, " T"]


def linear_svm(
    features: Float[Tensor, "N D"],
    positive: Bool[Tensor, " N"],
    *,
    cost: float | int = 1.0,
    positive_weight: float | int = 1.0,
    bias_scale: float | int = 1.0,
) -> LinearModel:
    """Return the minimum of |w|^2 / 2 + |b / s|^2 / 2 + C sum_i v_i max(0, 1 - y_i (w x_i + b))^2.

    As liblinear (and scikit-learn's LinearSVC) has it: the bias is the weight of one more feature, the constant s.

    Args:
        features: x.
        positive: y = 1 where True, -1 elsewhere.
        cost: C.
        positive_weight: v of the positive samples; of the others it is 1.
        bias_scale: s; the larger, the less the penalty of the bias.

    Raises:
        ValueError: for features that are not finite, and numbers that are not positive.
    """
    numbers = {"cost": cost, "positive_weight": positive_weight, "bias_scale": bias_scale}
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"received {name}={value}, expected a positive number")
    _check_finite(features)
    x = torch.cat((features.double(), features.new_full((len(features), 1), bias_scale, dtype=torch.float64)), 1)
    y = torch.where(positive, 1.0, -1.0).double()
    costs = torch.full_like(y, 2 * cost)
    costs[positive] *= positive_weight
    w = x.new_zeros(x.shape[1])
    identity = torch.eye(len(w), dtype=w.dtype, device=w.device)
    first = _gradient(w, x, y, costs).norm()
    for _ in range(NEWTON_STEPS):
        gradient = _gradient(w, x, y, costs)
        if gradient.norm() <= TOLERANCE * first:
            break
        inside = y * (x @ w) < 1
        own = x[inside]
        step = -torch.linalg.solve(identity + own.T @ (own * costs[inside, None]), gradient)
        w = w + _step_length(w, step, x, y, costs) * step
    return LinearModel(w[:-1, None].to(features.dtype), (bias_scale * w[-1:]).to(features.dtype))


def _gradient(w: Tensor, x: Tensor, y: Tensor, costs: Tensor) -> Tensor:
    residual = (x @ w - y).where(y * (x @ w) < 1, 0)
    return w + x.T @ (costs * residual)


def _objective(w: Tensor, x: Tensor, y: Tensor, costs: Tensor) -> Tensor:
    return 0.5 * w @ w + 0.5 * (costs * (1 - y * (x @ w)).clamp(min=0) ** 2).sum()


def _step_length(w: Tensor, step: Tensor, x: Tensor, y: Tensor, costs: Tensor) -> float:
    """Halve a Newton step until the objective falls by a fair share of what its slope promises (Armijo)."""
    before, slope = _objective(w, x, y, costs), _gradient(w, x, y, costs) @ step
    length = 1.0
    while length > 1e-10 and _objective(w + length * step, x, y, costs) > before + 1e-4 * length * slope:
        length /= 2
    return length


class RidgeSums:
    """The sums that ridge regression needs of its samples, so that data sets of any size can be streamed."""

    def __init__(self, features: int, targets: int):
        self.count = 0
        self.x, self.y = torch.zeros(features, dtype=torch.float64), torch.zeros(targets, dtype=torch.float64)
        self.xx = torch.zeros(features, features, dtype=torch.float64)
        self.xy = torch.zeros(features, targets, dtype=torch.float64)

    def add(self, features: Float[Tensor, "N D"], targets: Float[Tensor, "N T"]) -> None:
        """Add samples; a ValueError if one is not finite."""
        _check_finite(features)
        _check_finite(targets)
        x, y = features.double().cpu(), targets.double().cpu()
        self.count += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def scaled(self, factor: float | int) -> "RidgeSums":
        """Return the sums that the features would have had, each multiplied by one number."""
        own = RidgeSums(len(self.x), len(self.y))
        own.count, own.x, own.y = self.count, factor * self.x, self.y.clone()
        own.xx, own.xy = factor**2 * self.xx, factor * self.xy
        return own

    def solve(self, penalty: float | int) -> LinearModel:
        """Return the minimum of sum_i |y_i - W x_i - b|^2 + penalty |W|^2; zeros where there were no samples.

        Raises:
            ValueError: if the penalty is not positive, without which features that depend on each other have no answer.
        """
        if not penalty > 0:
            raise ValueError(f"received penalty={penalty}, expected a positive number")
        count = max(self.count, 1)
        mean_x, mean_y = self.x / count, self.y / count
        covariance = self.xx - count * torch.outer(mean_x, mean_x)
        covariance.diagonal().add_(penalty)
        weights = torch.linalg.solve(covariance, self.xy - count * torch.outer(mean_x, mean_y))
        return LinearModel(weights, mean_y - mean_x @ weights)


def _check_finite(values: Tensor) -> None:
    if not values.isfinite().all():
        raise ValueError(
            "received numbers that are NaN or infinite, expected finite features: the network may have diverged"
        )
