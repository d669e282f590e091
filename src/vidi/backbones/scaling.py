"""Scaling a network: wider, deeper, larger pictures, and all three at once by one coefficient.

Tan & Le 2019, "EfficientNet" (arXiv 1905.11946), sections 3 and 4; notes 2.6.

    width        channels c of a layer  -> round_channels(w c)
    depth        repeats n of a stage   -> round_repeats(d n)
    resolution   side s of the picture  -> round_side(r s)
    compound     d = alpha^phi, w = beta^phi, r = gamma^phi        FLOPs x d w^2 r^2 = (alpha beta^2 gamma^2)^phi
    grid search  the triples with alpha beta^2 gamma^2 ~ 2, each scored by a training; the most accurate one wins

Differs from the notes: the constants of EfficientNet give 1.2 x 1.1^2 x 1.15^2 = 1.92 and not 2. The published B1 to B7
have tabulated multipliers, near those of the rule but not equal to them (vidi.backbones.efficientnet).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

# ----------------------------------------------------------------------------------------------------------------------
# One dimension


def round_channels(channels: float | int, divisor: int = 8) -> int:
    """Round scaled channels to the nearest multiple of `divisor`, up where that would take away more than a tenth.

    The rule of MobileNetV2's and EfficientNet's code, and of torchvision's `_make_divisible`; never below `divisor`.

    Raises:
        ValueError: if an argument is not positive.
    """
    if channels <= 0 or divisor < 1:
        raise ValueError(f"received {channels} channels and the divisor {divisor}, expected both above 0")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: float | int) -> int:
    """Round a scaled number of blocks up; ValueError if it is not positive."""
    if repeats <= 0:
        raise ValueError(f"received {repeats} repeats, expected more than 0")
    return math.ceil(repeats)


def round_side(side: float | int) -> int:
    """Round a scaled side of a picture to whole pixels; ValueError below half a pixel."""
    if side < 0.5:
        raise ValueError(f"received a side of {side} pixels, expected at least 0.5")
    return math.floor(side + 0.5)


@dataclass(frozen=True)
class Multipliers:
    """By how much a network is made deeper, wider and its pictures larger; 1 is the baseline.

    Raises:
        ValueError: if one is not positive.
    """

    depth: float | int = 1.0
    width: float | int = 1.0
    resolution: float | int = 1.0

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.resolution) <= 0:
            raise ValueError(f"received {self}, expected multipliers above 0")

    def repeats(self, repeats: int) -> int:
        """Return how many blocks a stage of the baseline gets."""
        return round_repeats(repeats * self.depth)

    def channels(self, channels: int, divisor: int = 8) -> int:
        """Return how many channels a layer of the baseline gets."""
        return round_channels(channels * self.width, divisor)

    def side(self, side: int) -> int:
        """Return how many pixels a side of the baseline's pictures gets."""
        return round_side(side * self.resolution)

    def flops(self) -> float:
        """Return the factor of a convolutional network's FLOPs: linear in depth, quadratic in width and resolution.

        Exact for what scales in all three; the first layer, whose input keeps its 3 channels, and the classifier, which
        sees no pixels, grow more slowly, and rounding adds its own.
        """
        return self.depth * self.width**2 * self.resolution**2


# ----------------------------------------------------------------------------------------------------------------------
# All dimensions


@dataclass(frozen=True)
class CompoundConstants:
    """How compound scaling shares out a growth among depth, width and resolution (Tan & Le 2019, eq. 3).

    Raises:
        ValueError: if one is below 1: a larger network would be smaller in that dimension.
    """

    alpha: float | int  # depth
    beta: float | int  # width
    gamma: float | int  # resolution

    def __post_init__(self) -> None:
        if min(self.alpha, self.beta, self.gamma) < 1:
            raise ValueError(f"received {self}, expected constants of at least 1")

    def multipliers(self, phi: float | int) -> Multipliers:
        """Return alpha^phi, beta^phi, gamma^phi; phi = 0 is the baseline, each further 1 about doubles the FLOPs."""
        return Multipliers(self.alpha**phi, self.beta**phi, self.gamma**phi)

    def growth(self) -> float:
        """Return alpha beta^2 gamma^2, the factor of the FLOPs per unit of phi."""
        return self.multipliers(1).flops()


EFFICIENTNET = CompoundConstants(1.2, 1.1, 1.15)
"""Found by the paper's grid search around EfficientNet-B0 (section 4)."""


def constrained_constants(
    *, growth: float | int = 2.0, tolerance: float | int = 0.1, step: float = 0.05
) -> Iterator[CompoundConstants]:
    """Yield the triples on a grid whose `growth()` is near the one wanted: what a grid search tries.

    Args:
        growth: alpha beta^2 gamma^2 wanted, above 1.
        tolerance: the largest difference from it.
        step: of each constant, from 1 on.

    Raises:
        ValueError: for numbers outside these ranges.
    """
    if growth <= 1 or tolerance < 0 or step <= 0:
        raise ValueError(
            f"received growth={growth}, tolerance={tolerance}, step={step}, expected growth > 1, the others above 0"
        )
    rounding = 1e-9  # of sums of steps
    depths, squares = (
        [1 + step * k for k in range(int((largest - 1) / step + rounding) + 1)]
        for largest in (growth + tolerance, math.sqrt(growth + tolerance))
    )
    for alpha, beta, gamma in product(depths, squares, squares):
        constants = CompoundConstants(round(alpha, 9), round(beta, 9), round(gamma, 9))
        if abs(constants.growth() - growth) <= tolerance + rounding:
            yield constants


def grid_search(
    candidates: Iterable[CompoundConstants], accuracy: Callable[[Multipliers], float]
) -> tuple[CompoundConstants, dict[CompoundConstants, float]]:
    """Return the constants with the most accurate network at phi = 1, and all accuracies (Tan & Le 2019, section 4).

    Args:
        candidates: such as `constrained_constants()`.
        accuracy: scales the baseline, trains it and scores it, such as with `vidi.search.short_training`; of equally
            accurate candidates the first one wins.

    Raises:
        ValueError: if there is no candidate.
    """
    accuracies = {constants: accuracy(constants.multipliers(1)) for constants in candidates}
    if not accuracies:
        raise ValueError("received no candidates, expected at least one; a larger tolerance gives more")
    return max(accuracies, key=lambda constants: accuracies[constants]), accuracies
