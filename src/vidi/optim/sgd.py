"""Stochastic gradient descent with momentum: Robbins & Monro 1951, Polyak 1964, Nesterov 1983, Sutskever et al. 2013.

Notes, sections 1.1 and 1.3. Per epoch the N samples are shuffled (`vidi.data.loading.epoch_order`) and walked in
ceil(N / B) batches, of which the last may be short; each gives one step

    theta <- theta - lr g                                          plain; full-batch gradient descent is B = N
    v <- mu v - lr g(theta),         theta <- theta + v            momentum
    v <- mu v - lr g(theta + mu v),  theta <- theta + v            Nesterov

`Nesterov` evaluates the gradient at the point ahead and needs a closure for that. `SGD(nesterov=True)` keeps the point
ahead itself, theta + mu v, as the parameter: the same iterates after the change of variable (Bengio et al. 2013,
arXiv 1212.0901), from the gradient at the parameter.

Differs from the notes: the loop over batches ends at ceil(N / B) - 1; v is an exponentially weighted sum, not an
average, as its weights add up to (1 - mu^t) / (1 - mu); the buffer b is that of torch, with v = -lr b, so that a new
learning rate acts on the old steps too (`lr_in_momentum=True` keeps the notes' v; both agree at a constant rate).
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from vidi.optim.first_order import (
    Entries,
    FirstOrderOptimizer,
    Group,
    State,
    Tensors,
    cache_sized_parts,
    expect,
    expect_at_least_zero,
    expect_fraction,
    operators,
    overwrite,
)


def sgd_update(
    parameter: Entries,
    gradient: Entries,
    buffer: Entries | None,
    *,
    lr: float | int,
    momentum: float | int = 0.0,
    dampening: float | int = 0.0,
    nesterov: bool = False,
    weight_decay: float | int = 0.0,
    decoupled_weight_decay: bool = False,
    lr_in_momentum: bool = False,
) -> tuple[Entries, Entries | None]:
    """Return the parameter and the momentum buffer (None: no momentum) after one step."""
    if weight_decay and decoupled_weight_decay:
        parameter = (1 - lr * weight_decay) * parameter
    elif weight_decay:
        gradient = gradient + weight_decay * parameter
    if buffer is None:
        return parameter - lr * gradient, None
    push, rate = (lr * gradient, 1.0) if lr_in_momentum else (gradient, lr)
    buffer = momentum * buffer + (1 - dampening) * push
    direction = push + momentum * buffer if nesterov else buffer
    return parameter - rate * direction, buffer


def nesterov_update(
    ahead: Entries,
    gradient: Entries,
    velocity: Entries,
    *,
    lr: float | int,
    momentum: float | int,
    weight_decay: float | int = 0.0,
) -> tuple[Entries, Entries]:
    """Return parameter and velocity after a step, from the point ahead (theta + mu v) and the gradient there."""
    gradient = gradient + weight_decay * ahead
    # theta + v_new with theta = ahead - mu v and v_new = mu v - lr g
    return ahead - lr * gradient, momentum * velocity - lr * gradient


class SGD(FirstOrderOptimizer):
    """Descend along the gradient, or along a decaying sum of gradients (torch.optim.SGD).

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        momentum: mu in [0, 1); 0 is plain gradient descent.
        dampening: share by which a new gradient enters the momentum less, from the second step on.
        weight_decay: lambda; lambda theta is added to the gradient (L2 penalty lambda / 2 ||theta||^2).
        nesterov: step ahead, in the form that needs no gradient at another point.
        decoupled_weight_decay: subtract lr lambda theta from the parameter instead of adding lambda theta to the
            gradient (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 1); without momentum the two are the same.
        lr_in_momentum: sum up the steps, as the notes do, and not the gradients.
        fused: None takes torch's fused kernel where it applies, True insists on it, False runs `sgd_update`.

    Raises:
        ValueError: if an option is out of its range, or `nesterov` comes without momentum or with dampening.
    """

    operator: ClassVar[str | None] = "_fused_sgd_"
    counted: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1e-3,
        momentum: float | int = 0.0,
        dampening: float | int = 0.0,
        weight_decay: float | int = 0.0,
        nesterov: bool = False,
        *,
        decoupled_weight_decay: bool = False,
        lr_in_momentum: bool = False,
        fused: bool | None = None,
    ):
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        forms = {"nesterov": nesterov, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**options, **forms, "lr_in_momentum": lr_in_momentum, "fused": fused})

    def _check(self, group: Group) -> None:
        expect_at_least_zero(group, "lr", "weight_decay")
        expect_fraction("momentum", group["momentum"])
        expect(0.0 <= group["dampening"] <= 1.0, "dampening", group["dampening"], "a number in [0, 1]")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"received nesterov=True with momentum={group['momentum']} and dampening={group['dampening']}, "
                "expected a momentum above 0 and no dampening"
            )

    def _accumulators(self, group: Group) -> dict[str, float | int]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, state: State, step: int) -> None:
        buffer = state["momentum_buffer"] if group["momentum"] else None
        new = sgd_update(
            parameter,
            gradient,
            buffer,
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=0.0 if step == 1 else group["dampening"],  # the first gradient enters whole, as in torch
            nesterov=group["nesterov"],
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
            lr_in_momentum=group["lr_in_momentum"],
        )
        overwrite((parameter, buffer), new)

    def _has_equations_of_kernel(self, group: Group) -> bool:
        return not (group["lr_in_momentum"] or (group["decoupled_weight_decay"] and group["weight_decay"]))

    def _update_together(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State], step: int
    ) -> None:
        operators._fused_sgd_(
            parameters,
            gradients,
            [state["momentum_buffer"] for state in states] if group["momentum"] else [],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=step == 1,
        )


class Nesterov(FirstOrderOptimizer):
    """Descend with momentum whose gradient is taken where the momentum alone would lead, at theta + mu v.

    `step` needs a closure: it is called with the parameters at the point ahead, and its loss is that of this point.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        momentum: mu in [0, 1).
        weight_decay: lambda of an L2 penalty, evaluated at the point ahead like the rest of the loss.
        foreach: False runs `nesterov_update`; otherwise torch._foreach ops do the same.

    Raises:
        ValueError: if an option is out of its range.
    """

    counted: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1e-3,
        momentum: float | int = 0.9,
        weight_decay: float | int = 0.0,
        *,
        foreach: bool | None = None,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "foreach": foreach})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate `closure` at the point ahead, update the parameters, and return what it returned.

        Raises:
            TypeError: without a closure, or if a gradient is sparse.
        """
        if closure is None:
            raise TypeError(
                "Nesterov.step expects a closure that evaluates the loss at the point ahead; "
                "SGD(nesterov=True) makes the same steps from the gradients alone"
            )
        self._shift(1, only_without_gradient=False)
        try:
            with torch.enable_grad():
                loss = closure()
        except BaseException:
            self._shift(-1, only_without_gradient=False)
            raise
        self._shift(-1, only_without_gradient=True)  # what the loss does not depend on stays where it was
        super().step()
        return loss

    def _shift(self, sign: int, *, only_without_gradient: bool) -> None:
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p in self.state):
                if not only_without_gradient or parameter.grad is None:
                    parameter.add_(self.state[parameter]["velocity"], alpha=sign * group["momentum"])

    def _check(self, group: Group) -> None:
        expect_at_least_zero(group, "lr", "weight_decay")
        expect_fraction("momentum", group["momentum"])

    def _accumulators(self, group: Group) -> dict[str, float | int]:
        return {"velocity": 0.0}

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, state: State, step: int) -> None:
        options = {name: group[name] for name in ("lr", "momentum", "weight_decay")}
        new = nesterov_update(parameter, gradient, state["velocity"], **options)
        overwrite((parameter, state["velocity"]), new)

    def _update_together(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State], step: int
    ) -> None:
        for part in cache_sized_parts(parameters):
            slopes, velocities = gradients[part], [state["velocity"] for state in states[part]]
            if group["weight_decay"]:
                slopes = operators._foreach_add(slopes, parameters[part], alpha=group["weight_decay"])
            operators._foreach_mul_(velocities, group["momentum"])
            operators._foreach_add_(velocities, slopes, alpha=-group["lr"])
            operators._foreach_add_(parameters[part], slopes, alpha=-group["lr"])
