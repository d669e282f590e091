"""Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

Notes, sections 1.4.3 and 1.4.4. Entry by entry, with t = 1 at the first step:

    m <- beta1 m + (1 - beta1) g          s <- beta2 s + (1 - beta2) g g
    m^ = m / (1 - beta1^t)                s^ = s / (1 - beta2^t)                 debiased
    theta <- theta - lr m^ / (sqrt(s^) + eps)                                    Adam;   AdamW: - lr lambda theta

`Adam(weight_decay=lambda)` adds lambda theta to g, so that it passes through m and s: an L2 penalty, and not a decay.

Differs from the notes: debiased values carry the index of what they are made from. Without debiasing the first steps
are too large and not too small: both moments start small, but (1 - beta1) / sqrt(1 - beta2) = 3.16 at the usual betas.
m^ / sqrt(s^) is bounded by `update_bound`, 7.27 at the usual betas (3.16, the paper's figure, is for sparse gradients).
The decay is multiplied by lr, as torch does; `decay="paper"` multiplies it by the schedule's factor alone, which at a
constant rate is the form of the notes.
"""

import math
from collections.abc import Sequence
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
    expect,
    expect_at_least_zero,
    expect_fraction,
    operators,
    overwrite,
)

LARGEST_EXPONENT = 700.0  # exp of more is no float


def adam_update(
    parameter: Entries,
    gradient: Entries,
    mean: Entries,
    square: Entries,
    *,
    step: int,
    lr: float | int,
    betas: tuple[float | int, float | int] = (0.9, 0.999),
    eps: float | int = 1e-8,
    l2: float | int = 0.0,
    decay: float | int = 0.0,
    debias: bool = True,
) -> tuple[Entries, Entries, Entries]:
    """Return the parameter and the averages of g and g g after the step with that number (from 1).

    `l2` theta is added to the gradient; `decay` theta is subtracted from the parameter.
    """
    beta1, beta2 = betas
    if l2:
        gradient = gradient + l2 * parameter
    mean = beta1 * mean + (1 - beta1) * gradient
    square = beta2 * square + (1 - beta2) * gradient * gradient
    mean_hat = mean / (1 - beta1**step) if debias else mean
    square_hat = square / (1 - beta2**step) if debias else square
    if decay:
        parameter = (1 - decay) * parameter
    return parameter - lr * mean_hat / (torch.sqrt(square_hat) + eps), mean, square


def update_bound(step: float | int, betas: tuple[float | int, float | int] = (0.9, 0.999)) -> float:
    """Return the largest |m^| / sqrt(s^) that any sequence of gradients reaches at a step (from 1; or math.inf).

    By Cauchy and Schwarz it is (1 - beta1) / sqrt(1 - beta2) sqrt(sum of (beta1^2 / beta2)^j, j < t), debiased, and
    reached by gradients that grow as (beta2 / beta1)^i. Infinite where old gradients count in m but not in s.

    Raises:
        ValueError: if a beta is not in [0, 1) or the step not at least 1.
    """
    beta1, beta2 = betas
    expect_fraction("beta1", beta1)
    expect_fraction("beta2", beta2)
    expect(step >= 1, "step", step, "a number of at least 1")
    if beta1 == 0 or step == 1:
        return math.sqrt(1 - beta2**step) / math.sqrt(1 - beta2)
    if beta2 == 0:
        return math.inf
    ratio = beta1**2 / beta2
    if ratio > 1 and step * math.log(ratio) > LARGEST_EXPONENT:
        return math.inf
    weights = step if ratio == 1 else (1 - ratio**step) / (1 - ratio)
    worst = (1 - beta1) / math.sqrt(1 - beta2) * math.sqrt(weights)
    return worst * math.sqrt(1 - beta2**step) / (1 - beta1**step)


class AdaptiveMoments(FirstOrderOptimizer):
    """What Adam and AdamW share: all but the weight decay."""

    def _check(self, group: Group) -> None:
        expect_at_least_zero(group, "lr", "eps", "weight_decay")
        for index, beta in enumerate(group["betas"]):
            expect_fraction(f"betas[{index}]", beta)

    def _accumulators(self, group: Group) -> dict[str, float | int]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _weight_decay(self, group: Group) -> dict[str, Any]:
        """Return the keywords of weight decay of `adam_update`."""
        raise NotImplementedError

    def _kernel_weight_decay(self, group: Group) -> float | int:
        """Return the weight decay as torch's kernel takes it."""
        return group["weight_decay"]

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, state: State, step: int) -> None:
        averages = state["exp_avg"], state["exp_avg_sq"]
        options = {name: group[name] for name in ("lr", "betas", "eps", "debias")}
        new = adam_update(parameter, gradient, *averages, step=step, **options, **self._weight_decay(group))
        overwrite((parameter, *averages), new)

    def _update_together(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State], step: int
    ) -> None:
        # the kernel always debiases: after infinitely many steps by 1 - beta^inf = 1
        count = torch.full((), step if group["debias"] else math.inf, dtype=torch.float32, device=parameters[0].device)
        getattr(operators, str(self.operator))(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [count] * len(parameters),
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=self._kernel_weight_decay(group),
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class Adam(AdaptiveMoments):
    """Step along the average of the gradients over the root of the average of their squares (torch.optim.Adam).

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        betas: decays of the two averages, in [0, 1).
        eps: added to the root.
        weight_decay: lambda of an L2 penalty: lambda theta is added to the gradient.
        debias: divide the averages by 1 - beta^t, as they start from 0.
        fused: None takes torch's fused kernel where it applies, True insists on it, False runs `adam_update`.

    Raises:
        ValueError: if an option is out of its range.
    """

    operator: ClassVar[str | None] = "_fused_adam_"
    refused: ClassVar[tuple[str, ...]] = ("maximize", "amsgrad", "decoupled_weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1e-3,
        betas: tuple[float | int, float | int] = (0.9, 0.999),
        eps: float | int = 1e-8,
        weight_decay: float | int = 0.0,
        *,
        debias: bool = True,
        fused: bool | None = None,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "debias": debias}
        super().__init__(params, {**options, "fused": fused})

    def _weight_decay(self, group: Group) -> dict[str, Any]:
        return {"l2": group["weight_decay"]}


class AdamW(AdaptiveMoments):
    """Step as Adam does, and let the parameters decay apart from the gradient (torch.optim.AdamW).

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        betas: decays of the two averages, in [0, 1).
        eps: added to the root.
        weight_decay: lambda.
        decay: "torch" subtracts lr lambda theta; "paper" subtracts eta lambda theta, where eta is the factor of the
            schedule: the present `lr` over that with which the optimizer was made.
        debias: divide the averages by 1 - beta^t, as they start from 0.
        fused: None takes torch's fused kernel where it applies, True insists on it, False runs `adam_update`.

    Raises:
        ValueError: if an option is out of its range, or `decay` is not one of the two.
    """

    operator: ClassVar[str | None] = "_fused_adamw_"
    refused: ClassVar[tuple[str, ...]] = ("maximize", "amsgrad")

    def __init__(
        self,
        params: ParamsT,
        lr: float | int = 1e-3,
        betas: tuple[float | int, float | int] = (0.9, 0.999),
        eps: float | int = 1e-8,
        weight_decay: float | int = 1e-2,
        *,
        decay: str = "torch",
        debias: bool = True,
        fused: bool | None = None,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "debias": debias}
        super().__init__(params, {**options, "decay": decay, "fused": fused})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; their `lr` is what the schedule's factor is measured against.

        Raises:
            ValueError: if an option is out of its range.
            TypeError: if a parameter is complex.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("initial_lr", group["lr"])  # the name that torch's schedulers use for it

    def _check(self, group: Group) -> None:
        super()._check(group)
        expect(group["decay"] in ("torch", "paper"), "decay", group["decay"], "'torch' or 'paper'")
        if group["decay"] == "paper":
            expect(group["lr"] > 0, "lr", group["lr"], "a number above 0, as the decay of the paper is relative to it")

    def _weight_decay(self, group: Group) -> dict[str, Any]:
        return {"decay": group["lr"] * self._kernel_weight_decay(group)}

    def _kernel_weight_decay(self, group: Group) -> float | int:
        return group["weight_decay"] / (group["initial_lr"] if group["decay"] == "paper" else 1.0)
