"""Functions of two variables on which optimizers can be watched: value, exact gradient and Hessian, known minima.

Notes, section 1.1. A landscape maps points (... 2) to values (...), so that a whole grid is one call; gradient and
Hessian are those of automatic differentiation.

    sphere           isotropic: every gradient points at the minimum (condition number 1)
    canyon           steep across, flat along: gradient descent zig-zags
    rotated canyon   the same, with its axis between those of the parameters
    saddle           a critical point that is no minimum, between two minima
    double basin     a narrow basin on the slope of a wide one
    Rosenbrock       a curved valley (Rosenbrock 1960)
    Beale            plateaus and a sharp valley (Beale 1958)

Differs from the notes: what makes the sphere easy is its condition number, not that it is convex, as the canyon is
convex too. Descent from almost every start avoids a strict saddle (Lee et al. 2016, arXiv 1602.04915), which mostly
slows it down; to end in one it must start on the line that the saddle attracts (here y = 0).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Number = float | int
Point = tuple[Number, Number]


@dataclass(frozen=True)
class CriticalPoint:
    """A point without slope: where it is, the value and the Hessian there."""

    at: Point
    value: Number
    hessian: tuple[Point, Point]


@dataclass(frozen=True)
class Landscape:
    """A function of two variables.

    `value` maps points (... 2) to values (...). `minima` are all of its minima, `saddles` all of its saddles. `start`
    is where descents usually begin, `bounds` (x from, x to, y from, y to) what a picture shows.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    minima: tuple[CriticalPoint, ...]
    saddles: tuple[CriticalPoint, ...] = ()
    start: Point = (3.0, -2.0)
    bounds: tuple[Number, Number, Number, Number] = (-4.0, 4.0, -4.0, 4.0)

    def gradient(self, points: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2"]:
        """Return the gradients at points."""
        with torch.enable_grad():
            leaf = points.detach().clone().requires_grad_()
            return torch.autograd.grad(self.value(leaf).sum(), leaf)[0]

    def hessian(self, points: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2 2"]:
        """Return the matrices of second derivatives at points."""
        flat = points.detach().reshape(-1, 2)  # N 2
        return torch.func.vmap(torch.func.hessian(self.value))(flat).reshape(*points.shape, 2)

    def condition_number(self, point: Float[Tensor, "2"]) -> float:
        """Return the largest curvature at a point over the smallest one, of any sign."""
        curvatures = torch.linalg.eigvalsh(self.hessian(point)).abs()
        return (curvatures.max() / curvatures.min()).item()


def sphere() -> Landscape:
    """Return (x^2 + y^2) / 2."""
    return Landscape("sphere", lambda p: 0.5 * (p**2).sum(-1), (CriticalPoint((0, 0), 0, ((1, 0), (0, 1))),))


def canyon(condition: Number = 100.0) -> Landscape:
    """Return (x^2 + condition y^2) / 2.

    Raises:
        ValueError: if `condition` is below 1.
    """
    return _canyon("canyon", condition, 0.0)


def rotated_canyon(condition: Number = 100.0, angle: Number = math.pi / 4) -> Landscape:
    """Return the canyon turned anticlockwise by an angle in radians.

    Raises:
        ValueError: if `condition` is below 1.
    """
    return _canyon("rotated canyon", condition, angle)


def _canyon(name: str, condition: Number, angle: Number) -> Landscape:
    if not condition >= 1:
        raise ValueError(f"received condition={condition!r}, expected a number of at least 1")
    c, s = math.cos(angle), math.sin(angle)

    def value(p: Tensor) -> Tensor:
        along, across = c * p[..., 0] + s * p[..., 1], c * p[..., 1] - s * p[..., 0]
        return 0.5 * (along**2 + condition * across**2)

    mixed = (1 - condition) * c * s
    hessian = ((c**2 + condition * s**2, mixed), (mixed, s**2 + condition * c**2))
    start = (3 * c - s, 3 * s + c)  # (3, 1) turned with the canyon: equal descents for what does not see the axes
    return Landscape(name, value, (CriticalPoint((0, 0), 0, hessian),), start=start)


def saddle() -> Landscape:
    """Return x^2 / 2 - y^2 / 2 + y^4 / 4: a saddle at the origin between minima at (0, -1) and (0, 1)."""

    def value(p: Tensor) -> Tensor:
        x, y = p.unbind(-1)
        return 0.5 * x**2 - 0.5 * y**2 + 0.25 * y**4

    minima = tuple(CriticalPoint((0, y), -0.25, ((1, 0), (0, 2))) for y in (-1, 1))
    return Landscape(
        "saddle",
        value,
        minima,
        (CriticalPoint((0, 0), 0, ((1, 0), (0, -1))),),
        start=(2.0, 1e-3),
        bounds=(-2.5, 2.5, -2, 2),
    )


def double_basin() -> Landscape:
    """Return ((x - 2)^2 + y^2) / 10 - exp(-5 (x + 1)^2 - 5 y^2) / 2: a narrow basin on the slope of a wide, deeper one.

    Descents from the left come to the narrow one first, and over the saddle behind it only with some momentum.
    """

    def value(p: Tensor) -> Tensor:
        x, y = p.unbind(-1)
        return 0.1 * ((x - 2) ** 2 + y**2) - 0.5 * torch.exp(-5 * ((x + 1) ** 2 + y**2))

    narrow = CriticalPoint(
        (-0.875737751908446, 0), 0.3641369749614278, ((4.113806592189378, 0), (0, 4.828497868137168))
    )
    wide = CriticalPoint((2, 0), 0, ((0.2, 0), (0, 0.2)))
    between = CriticalPoint(
        (-0.3917895763853397, 0), 0.4934156691916366, ((-1.922922017111716, 0), (0, 0.986500685789196))
    )
    return Landscape("double basin", value, (narrow, wide), (between,), start=(-3.5, 0.5))


def rosenbrock() -> Landscape:
    """Return (1 - x)^2 + 100 (y - x^2)^2."""

    def value(p: Tensor) -> Tensor:
        x, y = p.unbind(-1)
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    minimum = CriticalPoint((1, 1), 0, ((802, -400), (-400, 200)))
    return Landscape("Rosenbrock", value, (minimum,), start=(-1.2, 1.0), bounds=(-2, 2, -1, 3))


def beale() -> Landscape:
    """Return (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2."""

    def value(p: Tensor) -> Tensor:
        x, y = p.unbind(-1)
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    minimum = CriticalPoint((3, 0.5), 0, ((3.15625, -11.4375), (-11.4375, 46.125)))
    upper = CriticalPoint((0, 1), 14.203125, ((0, 27.75), (27.75, 0)))
    lower = CriticalPoint(
        (0.10053793732415833, -2.6445135850231254),
        9.86451228475556,
        ((858.4617290697158, -89.34624833139874), (-89.34624833139874, 8.509423090519546)),
    )
    return Landscape("Beale", value, (minimum,), (upper, lower), start=(1.0, 1.5), bounds=(-1, 4.5, -3, 2))


LANDSCAPES: dict[str, Callable[[], Landscape]] = {
    "sphere": sphere,
    "canyon": canyon,
    "rotated_canyon": rotated_canyon,
    "saddle": saddle,
    "double_basin": double_basin,
    "rosenbrock": rosenbrock,
    "beale": beale,
}
