"""The way of an optimizer over a landscape: points, losses, velocities and the step size of each parameter.

Notes, section 1.1 and the pictures of chapter 1. Noise added to the gradients stands for mini-batches:

    landscape, optimizer, start -> points (T + 1) x 2, losses T + 1, gradients T x 2

The noisy gradient is that of a tilted landscape, f(x) + noise x: the Hessian stays, and every optimizer, whether it
takes gradients or a closure, sees the same. Losses are those of the landscape itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.optim.landscapes import Landscape, Point


@dataclass(frozen=True)
class Trajectory:
    """What `record` saw in T steps."""

    points: Float[Tensor, "N 2"]  # N = T + 1, the start first
    losses: Float[Tensor, " N"]  # of the landscape, at the points
    gradients: Float[Tensor, "T 2"]  # as the optimizer got them: with noise, and where it asked for them

    @property
    def velocities(self) -> Float[Tensor, "T 2"]:
        """The moves from point to point: the notes' v where there is momentum."""
        return self.points.diff(dim=0)

    @property
    def step_sizes(self) -> Float[Tensor, "T 2"]:
        """The length of the move over that of the gradient, for each parameter (nan where both are zero).

        It is the learning rate with which plain gradient descent would have moved as far: lr of SGD,
        lr / (sqrt(s) + eps) of AdaGrad and RMSProp.
        """
        return self.velocities.abs() / self.gradients.abs()


def record(
    landscape: Landscape,
    make_optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    steps: int,
    *,
    start: Point | None = None,
    schedule: Callable[[int], float] | None = None,
    noise: float | int = 0.0,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Run an optimizer over a landscape in float64.

    Args:
        landscape: the function.
        make_optimizer: makes the optimizer for a list of parameters (there is one, the point): any optimizer, like
            `lambda parameters: SGD(parameters, lr=0.1)`.
        steps: how many.
        start: the first point; None is that of the landscape.
        schedule: factor of the learning rate at step t = 0, 1, ...
        noise: standard deviation of what is added to each entry of the gradients.
        generator: draws the noise.

    Raises:
        ValueError: if there is noise to draw but no generator.
    """
    if noise and generator is None:
        raise ValueError(f"received noise={noise} without a generator, expected one to draw the noise from")
    point = torch.tensor(start or landscape.start, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([point])
    rates = [group["lr"] for group in optimizer.param_groups]
    tilt = torch.zeros_like(point, requires_grad=False)
    points, gradients = [point.detach().clone()], []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = landscape.value(point) + tilt @ point
        loss.backward(retain_graph=True)  # second-order methods differentiate again
        return loss

    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (schedule(step) if schedule else 1.0)
        if noise:
            tilt.normal_(std=noise, generator=generator)
        optimizer.step(closure)
        points.append(point.detach().clone())
        gradients.append(torch.zeros_like(point) if point.grad is None else point.grad.clone())
    path = torch.stack(points)
    return Trajectory(path, landscape.value(path), torch.stack(gradients) if gradients else path[:0])
