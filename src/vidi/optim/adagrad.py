"""AdaGrad: Duchi, Hazan & Singer 2011 (JMLR 12). Notes, section 1.4.1.

    s <- s + g g,   theta <- theta - lr g / (sqrt(s) + eps)       entry by entry

Every entry has a learning rate of its own, lr / (sqrt(s) + eps): small where gradients were large. As s never falls
(it is non-decreasing, and stays where a gradient is zero), the steps under a constant gradient shrink as 1 / sqrt(t),
which may end the descent before the minimum.

Differs from the notes: `eps_inside=True` takes sqrt(s + eps), as Keras does.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from vidi.optim.first_order import (
    Entries,
    FirstOrderOptimizer,
    Group,
    State,
    Tensors,
    expect_at_least_zero,
    operators,
    overwrite,
)


def adagrad_update(
    parameter: Entries,
    gradient: Entries,
    total: Entries,
    *,
    step: int = 1,
    lr: float | int,
    lr_decay: float | int = 0.0,
    weight_decay: float | int = 0.0,
    eps: float | int = 1e-10,
    eps_inside: bool = False,
) -> tuple[Entries, Entries]:
    """Return the parameter and the total of the squared gradients after the step with that number (from 1)."""
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    total = total + gradient * gradient
    root = torch.sqrt(total + eps) if eps_inside else torch.sqrt(total) + eps
    rate = lr / (1 + (step - 1) * lr_decay)
    return parameter - rate * gradient / root, total


class AdaGrad(FirstOrderOptimizer):
    """Divide each entry of the gradient by the root of the sum of its squares so far (torch.optim.Adagrad).

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        lr_decay: the learning rate of step t (from 1) is lr / (1 + (t - 1) lr_decay).
        weight_decay: lambda; lambda theta is added to the gradient.
        initial_accumulator_value: s before the first step.
        eps: added to the root.
        eps_inside: add eps to s, inside the root.
        fused: None takes torch's fused kernel where it applies, True insists on it, False runs `adagrad_update`.

    Raises:
        ValueError: if an option is out of its range.
    """

    operator: ClassVar[str | None] = "_fused_adagrad_"

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1e-2,
        lr_decay: float | int = 0.0,
        weight_decay: float | int = 0.0,
        initial_accumulator_value: float | int = 0.0,
        eps: float | int = 1e-10,
        *,
        eps_inside: bool = False,
        fused: bool | None = None,
    ):
        options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, "eps_inside": eps_inside}
        super().__init__(
            params, {**options, "initial_accumulator_value": initial_accumulator_value, "fused": fused}
        )  # fmt: skip

    def _check(self, group: Group) -> None:
        expect_at_least_zero(group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _accumulators(self, group: Group) -> dict[str, float | int]:
        return {"sum": group["initial_accumulator_value"]}

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, state: State, step: int) -> None:
        options = {name: group[name] for name in ("lr", "lr_decay", "weight_decay", "eps", "eps_inside")}
        new = adagrad_update(parameter, gradient, state["sum"], step=step, **options)
        overwrite((parameter, state["sum"]), new)

    def _has_equations_of_kernel(self, group: Group) -> bool:
        return not group["eps_inside"]

    def _update_together(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State], step: int
    ) -> None:
        count = torch.full((), step, dtype=torch.float32, device=parameters[0].device)
        operators._fused_adagrad_(
            parameters,
            gradients,
            [state["sum"] for state in states],
            [count] * len(parameters),
            lr=group["lr"],
            lr_decay=group["lr_decay"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
