"""Second-order methods: the step to the minimum of a paraboloid fitted to value, slope and curvature.

Notes, section 1.2. With gradient g (k) and Hessian H (k x k) at x:

    f(x + d) ~ f(x) + g d + d H d / 2          `quadratic_model`
    x <- x - f'(x) / f''(x)                    `newton_1d`
    x <- x - lr H^-1 g                         `Newton`; lr = 1 is pure, lr < 1 damped

A quadratic with positive definite H is minimised in one step of lr = 1.

Differs from the notes: that step leads to a minimum only where H is positive definite, and else to a maximum or a
saddle; such Hessians are refused, shifted to H + tau I ("damp"), or, to see what happens, used ("follow"). H is never
inverted: a factorisation solves H d = -g in about k^3 / 3 operations (Cholesky).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.optimizer import ParamsT

from vidi.optim.first_order import expect

WAYS = ("raise", "damp", "follow")
LEAST_CURVATURE = 1e-3
"""The curvature that damping gives the flattest direction, at least, in parts of the largest one."""

MOST_PARAMETERS = 20_000
"""Above this the Hessian takes gigabytes and its rows hours."""


class IndefiniteHessianError(ValueError):
    """The quadratic model has no minimum: a Hessian is not positive definite."""


@dataclass(frozen=True)
class QuadraticModel:
    """The second-order Taylor model of a function at a point: it shares value, gradient and Hessian with it there."""

    point: Float[Tensor, " k"]
    value: Float[Tensor, ""]
    gradient: Float[Tensor, " k"]
    hessian: Float[Tensor, "k k"]

    def __call__(self, points: Float[Tensor, "*N k"]) -> Float[Tensor, "*N"]:
        """Return the values of the model at points."""
        d = points - self.point
        return self.value + d @ self.gradient + 0.5 * (d @ self.hessian * d).sum(-1)

    def minimiser(self) -> Float[Tensor, " k"]:
        """Return the point where the model is least.

        Raises:
            IndefiniteHessianError: if there is none.
        """
        return self.point + newton_direction(self.gradient, self.hessian)


def quadratic_model(function: Callable[[Tensor], Tensor], point: Float[Tensor, " k"]) -> QuadraticModel:
    """Return the second-order Taylor model of a twice differentiable function (k -> scalar) at a point."""
    point = point.detach()
    return QuadraticModel(
        point, function(point).detach(), torch.func.grad(function)(point), torch.func.hessian(function)(point)
    )


def newton_direction(
    gradient: Float[Tensor, " k"],
    hessian: Float[Tensor, "k k"],
    *,
    damping: float | int = 0.0,
    indefinite: str = "raise",
) -> Float[Tensor, " k"]:
    """Return the solution d of (H + damping I) d = -g.

    Args:
        gradient: g.
        hessian: H, symmetric.
        damping: tau; above 0 the step is shorter and turns towards the gradient.
        indefinite: what to do if H + damping I is not positive definite: "raise"; "damp", which adds to the damping
            until the least curvature is as large as it was negative (and at least `LEAST_CURVATURE` of the largest);
            or "follow" the solution, which leads to a saddle or a maximum.

    Raises:
        IndefiniteHessianError: if H + damping I is not positive definite and that is not allowed.
        ValueError: for another `indefinite` or a negative damping.
    """
    _check(damping, indefinite)
    damped = hessian + damping * torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    factor, failed = torch.linalg.cholesky_ex(damped)
    if failed and indefinite == "follow":
        return -torch.linalg.solve(damped, gradient)  # by LU
    if failed:
        curvatures = torch.linalg.eigvalsh(damped)  # rising
        if indefinite == "raise":
            raise IndefiniteHessianError(
                f"the Hessian is not positive definite, its least eigenvalue is {curvatures[0].item():.3g}: a Newton "
                "step would not lead to a minimum. indefinite='damp' adds a multiple of the identity"
            )
        least = torch.maximum(-curvatures[0], LEAST_CURVATURE * curvatures.abs().max())
        least = torch.where(least > 0, least, torch.ones_like(least))  # no curvature at all: follow the gradient
        factor = torch.linalg.cholesky(damped + (least - curvatures[0]) * torch.eye(len(hessian)).to(hessian))
    return -torch.cholesky_solve(gradient[:, None], factor)[:, 0]


def _check(damping: float | int, indefinite: str) -> None:
    expect(damping >= 0, "damping", damping, "a number of at least 0")
    expect(indefinite in WAYS, "indefinite", indefinite, f"one of {', '.join(map(repr, WAYS))}")


def newton_1d(
    function: Callable[[Tensor], Tensor],
    start: float | int,
    *,
    lr: float | int = 1.0,
    indefinite: str = "raise",
    steps: int = 50,
    tolerance: float | int = 1e-12,
) -> list[float]:
    """Return the iterates x - lr f'(x) / f''(x) of a function of one variable, the start included, in float64.

    They end when a step is shorter than `tolerance` max(1, |x|), or after a number of steps.

    Args:
        function: twice differentiable, scalar tensor to scalar tensor.
        start: the first iterate.
        lr: factor of each step.
        indefinite: as in `newton_direction`; "damp" takes |f''|.
        steps: most steps.
        tolerance: the shortest step that is followed by another.

    Raises:
        IndefiniteHessianError: if f'' <= 0 and that is not allowed.
        ValueError: for another `indefinite`.
    """
    iterates = [float(start)]
    for _ in range(steps):
        x = torch.tensor([iterates[-1]], dtype=torch.float64)
        model = quadratic_model(lambda point: function(point[0]), x)
        step = lr * newton_direction(model.gradient, model.hessian, indefinite=indefinite).item()
        iterates.append(iterates[-1] + step)
        if abs(step) <= tolerance * max(1.0, abs(iterates[-1])):
            break
    return iterates


class Newton(torch.optim.Optimizer):
    """Step by -lr H^-1 g, where g and H are of the loss by all parameters, taken as one vector.

    `step` needs a closure that returns the loss with its graph: it calls no `backward`, or one with
    `retain_graph=True`. The k rows of H take k passes backward, so this is for hundreds or thousands of parameters;
    `second_order_cost` says why.

    Args:
        params: parameters, in one group.
        lr: 1 goes to the minimum of the quadratic model.
        damping: tau of H + tau I.
        indefinite: as in `newton_direction`.

    Raises:
        ValueError: if an option is out of its range, there are several groups, or too many parameters.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1.0,
        *,
        damping: float | int = 0.0,
        indefinite: str = "raise",
    ):
        expect(lr >= 0, "lr", lr, "a number of at least 0")
        _check(damping, indefinite)
        super().__init__(params, {"lr": lr, "damping": damping, "indefinite": indefinite})
        expect(
            len(self.param_groups) == 1, "groups", len(self.param_groups), "one, as the Hessian joins all parameters"
        )
        count = sum(parameter.numel() for parameter in self.param_groups[0]["params"])
        if count > MOST_PARAMETERS:
            raise ValueError(f"received {second_order_cost(count)}, expected at most {MOST_PARAMETERS:,} parameters")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once, and return the loss that `closure` returned.

        Raises:
            TypeError: without a closure.
            ValueError: if the closure returns a loss without its graph.
            IndefiniteHessianError: if the Hessian is not positive definite and that is not allowed.
        """
        if closure is None:
            raise TypeError("Newton.step expects a closure that returns the loss with its graph")
        group = self.param_groups[0]
        parameters: list[Tensor] = group["params"]
        with torch.enable_grad():
            loss = closure()
            gradient, hessian = _derivatives(loss, parameters)
        direction = newton_direction(
            gradient, hessian, damping=group["damping"], indefinite=group["indefinite"]
        )  # fmt: skip
        with torch.no_grad():
            parts = direction.split([parameter.numel() for parameter in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.add_(part.view_as(parameter), alpha=group["lr"])
        return loss


def _derivatives(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the gradient (k) and the Hessian (k k) of a loss by all parameters in a row."""
    try:
        slopes = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        gradient = torch.cat([slope.flatten() for slope in slopes])
        if not gradient.requires_grad:  # the loss is linear
            return gradient, gradient.new_zeros(len(gradient), len(gradient))
        rows = [torch.autograd.grad(g, parameters, retain_graph=True, materialize_grads=True) for g in gradient]
    except RuntimeError as error:
        raise ValueError(
            "the closure's loss has no graph to differentiate twice: "
            "let it return the loss without backward(), or call backward(retain_graph=True)"
        ) from error
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])  # k k
    return gradient.detach(), (hessian + hessian.T) / 2


@dataclass(frozen=True)
class SecondOrderCost:
    """What one Newton step takes beyond the gradient."""

    parameters: int
    hessian_bytes: int
    solve_flops: int  # multiplications and additions of a Cholesky factorisation

    def __str__(self) -> str:
        memory = _with_prefix(self.hessian_bytes, "B")
        return (
            f"{self.parameters:,} parameters: a Hessian of {memory}, {_with_prefix(self.solve_flops, 'FLOP')} to solve"
        )


def second_order_cost(parameters: int, *, itemsize: int = 4) -> SecondOrderCost:
    """Return the bytes of a Hessian, k^2 itemsize, and the operations of solving with it, k^3 / 3.

    Args:
        parameters: k.
        itemsize: bytes of a number.
    """
    return SecondOrderCost(parameters, parameters**2 * itemsize, parameters**3 // 3)


def cost_table(parameters: Mapping[str, int], *, itemsize: int = 4) -> str:
    """Return `second_order_cost` of several networks, given by their numbers of parameters, as a table."""
    lines = [f"{'network':<24} {'parameters':>14} {'Hessian':>10} {'solve':>12}"]
    for name, count in parameters.items():
        cost = second_order_cost(count, itemsize=itemsize)
        memory, work = _with_prefix(cost.hessian_bytes, "B"), _with_prefix(cost.solve_flops, "FLOP")
        lines.append(f"{name:<24} {count:>14,} {memory:>10} {work:>12}")
    return "\n".join(lines)


def _with_prefix(value: float | int, unit: str) -> str:
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
    power = 0
    while value >= 1000 and power < len(prefixes) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {prefixes[power]}{unit}"
