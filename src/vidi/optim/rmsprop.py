"""RMSProp: Tieleman & Hinton 2012 (Coursera, lecture 6.5). Notes, section 1.4.2.

    s <- alpha s + (1 - alpha) g g,   theta <- theta - lr g / (sqrt(s) + eps)       entry by entry

AdaGrad that forgets: s (the notes' alpha is beta) is a moving average, so that the steps do not die out.

Differs from the notes: momentum on the rescaled gradients, and the centred form (Graves 2013, arXiv 1308.0850), which
divides by the standard deviation, as options. TensorFlow's variant, by which MobileNet v3 and EfficientNet were
trained, is `eps_inside=True, lr_in_momentum=True, initial_accumulator_value=1`: timm's RMSpropTF.
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
    cache_sized_parts,
    expect,
    expect_at_least_zero,
    expect_fraction,
    operators,
    overwrite,
)
from vidi.optim.sgd import sgd_update


def rmsprop_update(
    parameter: Entries,
    gradient: Entries,
    square: Entries,
    mean: Entries | None = None,
    buffer: Entries | None = None,
    *,
    lr: float | int,
    alpha: float | int,
    eps: float | int,
    eps_inside: bool = False,
    weight_decay: float | int = 0.0,
    momentum: float | int = 0.0,
    lr_in_momentum: bool = False,
) -> tuple[Entries, Entries, Entries | None, Entries | None]:
    """Return the parameter, the averages of g g and g (None: not centred) and the momentum buffer (None: none)."""
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    square = alpha * square + (1 - alpha) * gradient * gradient
    variance = square
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * gradient
        variance = (square - mean * mean).clamp(min=0)  # rounding takes a constant gradient's below zero
    root = torch.sqrt(variance + eps) if eps_inside else torch.sqrt(variance) + eps
    parameter, buffer = sgd_update(
        parameter, gradient / root, buffer, lr=lr, momentum=momentum, lr_in_momentum=lr_in_momentum
    )
    return parameter, square, mean, buffer


class RMSProp(FirstOrderOptimizer):
    """Divide each entry of the gradient by the root of a moving average of its squares (torch.optim.RMSprop).

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        alpha: decay of the average, in [0, 1]; the notes' beta.
        eps: added to the root.
        weight_decay: lambda; lambda theta is added to the gradient.
        momentum: in [0, 1), on the rescaled gradients.
        centered: divide by the standard deviation of the gradient, not by the root of its mean square.
        eps_inside: add eps to the average, inside the root (TensorFlow).
        lr_in_momentum: the momentum sums up steps and not rescaled gradients (TensorFlow).
        initial_accumulator_value: s before the first step (TensorFlow: 1).
        foreach: False runs `rmsprop_update`; otherwise torch._foreach ops do the same.

    Raises:
        ValueError: if an option is out of its range.
    """

    refused: ClassVar[tuple[str, ...]] = ("maximize", "decoupled_decay", "caution")

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1e-2,
        alpha: float | int = 0.99,
        eps: float | int = 1e-8,
        weight_decay: float | int = 0.0,
        momentum: float | int = 0.0,
        centered: bool = False,
        *,
        eps_inside: bool = False,
        lr_in_momentum: bool = False,
        initial_accumulator_value: float | int = 0.0,
        foreach: bool | None = None,
    ):
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        forms = {"centered": centered, "eps_inside": eps_inside, "lr_in_momentum": lr_in_momentum, "foreach": foreach}
        super().__init__(params, {**options, **forms, "initial_accumulator_value": initial_accumulator_value})

    def _check(self, group: Group) -> None:
        expect_at_least_zero(group, "lr", "weight_decay", "initial_accumulator_value", "eps")
        expect_fraction("momentum", group["momentum"])
        expect(0.0 <= group["alpha"] <= 1.0, "alpha", group["alpha"], "a number in [0, 1]")

    def _accumulators(self, group: Group) -> dict[str, float | int]:
        mean = {"grad_avg": 0.0} if group["centered"] else {}
        buffer = {"momentum_buffer": 0.0} if group["momentum"] else {}
        return {"square_avg": group["initial_accumulator_value"], **mean, **buffer}

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, state: State, step: int) -> None:
        square = state["square_avg"]
        mean = state["grad_avg"] if group["centered"] else None
        buffer = state["momentum_buffer"] if group["momentum"] else None
        names = ("lr", "alpha", "eps", "eps_inside", "weight_decay", "momentum", "lr_in_momentum")
        new = rmsprop_update(parameter, gradient, square, mean, buffer, **{name: group[name] for name in names})
        overwrite((parameter, square, mean, buffer), new)

    def _update_together(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State], step: int
    ) -> None:
        for part in cache_sized_parts(parameters):
            self._update_part(group, parameters[part], gradients[part], states[part])

    def _update_part(self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State]) -> None:
        lr, alpha, eps, momentum = group["lr"], group["alpha"], group["eps"], group["momentum"]
        if group["weight_decay"]:
            gradients = operators._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        squares = variances = [state["square_avg"] for state in states]
        operators._foreach_mul_(squares, alpha)
        operators._foreach_addcmul_(squares, gradients, gradients, value=1 - alpha)
        if group["centered"]:
            means = [state["grad_avg"] for state in states]
            operators._foreach_lerp_(means, gradients, 1 - alpha)
            variances = operators._foreach_addcmul(squares, means, means, value=-1)
            operators._foreach_clamp_min_(variances, 0.0)
        if group["eps_inside"]:
            roots = operators._foreach_add(variances, eps)
            operators._foreach_sqrt_(roots)
        else:
            roots = operators._foreach_sqrt(variances)
            operators._foreach_add_(roots, eps)
        if not momentum:
            operators._foreach_addcdiv_(parameters, gradients, roots, value=-lr)
            return
        buffers = [state["momentum_buffer"] for state in states]
        operators._foreach_mul_(buffers, momentum)
        operators._foreach_addcdiv_(buffers, gradients, roots, value=lr if group["lr_in_momentum"] else 1.0)
        operators._foreach_add_(parameters, buffers, alpha=-1.0 if group["lr_in_momentum"] else -lr)
