"""Design spaces: populations of networks instead of single ones, compared by the distribution of their errors.

Radosavovic et al. 2019 (arXiv 1905.13214), 2020 (2003.13678, sections 3.1 to 3.3); notes 2.8.

    space        ranges and constraints       -> sample(generator) -> Stages (vidi.backbones.regnet.AnyNet)
    population   Stages in a band of FLOPs    -> short, equal trainings -> errors N
    EDF          F(e) = share of errors strictly below e; the larger the area under it, the better the space
    refinement   AnyNetA, shared b (B), shared g (C), growing w (D), growing d (E), quantised linear w (RegNet):
                 each space a part of the one before

Differs from the notes: g_i is the width of a group, not the number of groups, and "a network of no error" is the limit
of curves that are 0 at e = 0, as the inequality is strict. Differs from the paper: a width that does not split into
whole groups is refused instead of rounded, so that every network of a space is counted once; the last refinement keeps
the growing depths, which the paper's RegNets need not have.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.backbones.regnet import Stages, regnet_stages
from vidi.data.loading import seeded_draws
from vidi.model import Supervised
from vidi.nn.cost import count_cost
from vidi.search.short_training import Scores

QUANTUM = 8  # widths are multiples of it
ATTEMPTS = 100_000  # draws after which constraints are taken to contradict each other

Make = Callable[[Stages], Supervised]
"""Makes a classifier of an `exact` image size, such as `lambda stages: anynet(**stages._asdict(), size=(32, 32))`."""

Choice = TypeVar("Choice")


class Space(Protocol):
    """A population of networks."""

    def sample(self, generator: torch.Generator) -> Stages:
        """Draw a network."""
        ...

    def size(self) -> int:
        """Count the population."""
        ...


# ----------------------------------------------------------------------------------------------------------------------
# AnyNet and its restrictions


@dataclass(frozen=True)
class AnyNetSpace:
    """The networks of four stages with depth d_i, width w_i, group width g_i and bottleneck ratio b_i: 16 numbers.

    Attributes:
        depths, widths: the smallest and the largest; widths are multiples of 8.
        group_widths, bottlenecks: the choices.
        stages: how many.
        shared_bottleneck, shared_group_width: whether all stages have the same (AnyNetB, AnyNetC).
        growing_widths, growing_depths: whether none is below that of the stage before (AnyNetD, AnyNetE).

    Raises:
        ValueError: for empty ranges or choices.
    """

    depths: tuple[int, int] = (1, 16)
    widths: tuple[int, int] = (8, 1024)
    group_widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    bottlenecks: tuple[int, ...] = (1, 2, 4)
    stages: int = 4
    shared_bottleneck: bool = False
    shared_group_width: bool = False
    growing_widths: bool = False
    growing_depths: bool = False

    def __post_init__(self) -> None:
        (shallow, deep), (narrow, wide) = self.depths, self.widths
        if not 1 <= shallow <= deep or not QUANTUM <= narrow <= wide or narrow % QUANTUM or wide % QUANTUM:
            raise ValueError(
                f"received depths={self.depths} and widths={self.widths}, expected ranges (low, high), depths from 1 "
                f"on and widths that are multiples of {QUANTUM}"
            )
        if self.stages < 1 or not self.group_widths or not self.bottlenecks:
            raise ValueError(f"received {self}, expected a stage, a group width and a bottleneck ratio at least")

    def sample(self, generator: torch.Generator) -> Stages:
        """Draw a network: depths and widths log-uniformly, the others evenly, again until all constraints hold.

        Raises:
            ValueError: if no network fulfils them.
        """
        for _ in range(ATTEMPTS):
            drawn = Stages(
                self._draw_numbers(self.depths, 1, self.growing_depths, generator),
                self._draw_numbers(self.widths, QUANTUM, self.growing_widths, generator),
                self._draw_choices(self.group_widths, self.shared_group_width, generator),
                self._draw_choices(self.bottlenecks, self.shared_bottleneck, generator),
            )
            if self.contains(drawn):
                return drawn
        raise ValueError(f"found no network in {ATTEMPTS:,} draws from {self}")

    def _draw_numbers(
        self, limits: tuple[int, int], quantum: int, growing: bool, generator: torch.Generator
    ) -> tuple[int, ...]:
        """Draw one number per stage; their order concerns no other number, so it is waited for here."""
        while True:
            drawn = tuple(int(log_uniform(limits, quantum, generator)) for _ in range(self.stages))
            if not (growing and _falls(drawn)):
                return drawn

    def _draw_choices(self, choices: Sequence[int], shared: bool, generator: torch.Generator) -> tuple[int, ...]:
        if shared:
            return (one_of(choices, generator),) * self.stages
        return tuple(one_of(choices, generator) for _ in range(self.stages))

    def contains(self, stages: Stages) -> bool:
        """Tell whether a network is one of the space."""
        depths, widths, group_widths, bottlenecks = stages
        return (
            len(depths) == self.stages
            and all(self.depths[0] <= d <= self.depths[1] for d in depths)
            and all(self.widths[0] <= w <= self.widths[1] and w % QUANTUM == 0 for w in widths)
            and set(group_widths) <= set(self.group_widths)
            and set(bottlenecks) <= set(self.bottlenecks)
            and all(w % (g * b) == 0 for w, g, b in zip(widths, group_widths, bottlenecks, strict=True))
            and not (self.shared_bottleneck and len(set(bottlenecks)) > 1)
            and not (self.shared_group_width and len(set(group_widths)) > 1)
            and not (self.growing_widths and _falls(widths))
            and not (self.growing_depths and _falls(depths))
        )

    def size(self) -> int:
        """Count the networks; settings whose widths do not split into whole groups are none.

        The paper counts all settings of the 16 numbers, for AnyNetA (16 x 128 x 6 x 3)^4 = 1.8e18.
        """
        ratios = [(b,) for b in self.bottlenecks] if self.shared_bottleneck else [self.bottlenecks]
        groups = [(g,) for g in self.group_widths] if self.shared_group_width else [self.group_widths]
        widths = range(self.widths[0], self.widths[1] + 1, QUANTUM)
        of_depths = _sequences([1] * (self.depths[1] - self.depths[0] + 1), self.stages, self.growing_depths)
        of_widths = 0
        for bs in ratios:
            for gs in groups:
                ways = [sum(w % (g * b) == 0 for g in gs for b in bs) for w in widths]
                of_widths += _sequences(ways, self.stages, self.growing_widths)
        return of_depths * of_widths


def log_uniform(
    limits: tuple[float | int, float | int], quantum: float | int, generator: torch.Generator
) -> float | int:
    """Draw a multiple of `quantum` within limits; before it is rounded its logarithm is spread evenly."""
    low, high = (math.log(limit) for limit in limits)
    drawn = math.exp(low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64)))
    return round(drawn / quantum) * quantum


def one_of(choices: Sequence[Choice], generator: torch.Generator) -> Choice:
    """Draw one of several values, each as likely."""
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def _falls(numbers: Sequence[int]) -> bool:
    return any(later < earlier for earlier, later in pairwise(numbers))


def _sequences(ways: Sequence[int], length: int, growing: bool) -> int:
    """Count sequences of places in a list, each place in as many ways as the list says; optionally those in order."""
    if not growing:
        return sum(ways) ** length
    by_last = list(ways)
    for _ in range(length - 1):
        by_last = [here * sum(by_last[: place + 1]) for place, here in enumerate(ways)]
    return sum(by_last)


# ----------------------------------------------------------------------------------------------------------------------
# RegNet, and the way to it

W_A, W_M = (8, 256), (1.5, 3.0)  # paper, section 3.3: w_0, w_a < 256, 1.5 <= w_m <= 3
W_M_QUANTUM = 0.01  # two decimals, as the published RegNets have


@dataclass(frozen=True)
class LinearSpace:
    """The networks of an AnyNet space whose widths are a quantised line over the blocks: RegNets, six numbers each."""

    within: AnyNetSpace

    @property
    def depths(self) -> tuple[int, int]:
        """The fewest and the most blocks in all."""
        low, high = self.within.depths
        return low * self.within.stages, high * self.within.stages

    @property
    def first_widths(self) -> tuple[int, int]:
        """The smallest and the largest w_0."""
        low, high = self.within.widths
        return low, max(low, min(high, W_A[1]))

    def sample(self, generator: torch.Generator) -> Stages:
        """Draw depth, w_0, w_a and w_m log-uniformly, the others evenly, again until the network is in the space.

        Raises:
            ValueError: if no network is.
        """
        for _ in range(ATTEMPTS):
            drawn = regnet_stages(
                int(log_uniform(self.depths, 1, generator)),
                int(log_uniform(self.first_widths, QUANTUM, generator)),
                float(log_uniform(W_A, 1, generator)),
                float(log_uniform(W_M, W_M_QUANTUM, generator)),
                one_of(self.within.group_widths, generator),
                one_of(self.within.bottlenecks, generator),
            )
            if self.within.contains(drawn):
                return drawn
        raise ValueError(f"found no network in {ATTEMPTS:,} draws from {self}")

    def size(self) -> int:
        """Count the settings of the six numbers, more than there are networks: several settings give one, some none."""
        depths = self.depths[1] - self.depths[0] + 1
        firsts = (self.first_widths[1] - self.first_widths[0]) // QUANTUM + 1
        slopes = W_A[1] - W_A[0] + 1
        ratios = round((W_M[1] - W_M[0]) / W_M_QUANTUM) + 1
        return depths * firsts * slopes * ratios * len(self.within.group_widths) * len(self.within.bottlenecks)


def refinements(space: AnyNetSpace) -> dict[str, Space]:
    """Return the spaces from AnyNetA to RegNet, each a part of the one before (paper, sections 3.2 and 3.3).

    Args:
        space: AnyNetA: its ranges, without any constraint.
    """
    b = replace(space, shared_bottleneck=True)
    c = replace(b, shared_group_width=True)
    d = replace(c, growing_widths=True)
    e = replace(d, growing_depths=True)
    return {"AnyNetA": space, "AnyNetB": b, "AnyNetC": c, "AnyNetD": d, "AnyNetE": e, "RegNet": LinearSpace(e)}


# ----------------------------------------------------------------------------------------------------------------------
# Populations and their errors


def macs_of(stages: Stages, make: Make) -> int:
    """Return the multiply-adds of a network for one image of the size that `make` gives it.

    Raises:
        ValueError: if that size is not exact.
    """
    with seeded_draws(0):  # whose weights are of no consequence
        model = make(stages)
    if model.preprocess.exact is None:
        raise ValueError("received a network without an exact image size, expected size=(H, W) among its arguments")
    return count_cost(model.network, model.preprocess.exact).macs


def population(
    space: Space, count: int, make: Make, *, macs: tuple[int, int], generator: torch.Generator
) -> list[Stages]:
    """Draw networks of about equal cost, no two of them equal.

    Args:
        space: what to draw from.
        count: of networks.
        make: makes a classifier of them.
        macs: the fewest and the most multiply-adds.
        generator: of the draws.

    Raises:
        ValueError: if the space has too few networks in the band.
    """
    found: dict[Stages, None] = {}
    for _ in range(ATTEMPTS):
        if len(found) == count:
            return list(found)
        drawn = space.sample(generator)
        if drawn not in found and macs[0] <= macs_of(drawn, make) <= macs[1]:
            found[drawn] = None
    raise ValueError(f"found {len(found)} networks of {macs[0]:,} to {macs[1]:,} multiply-adds, expected {count}")


def population_errors(networks: Sequence[Stages], make: Make, scores: Scores) -> Float[Tensor, " N"]:
    """Return the error, 1 - accuracy, of each network after a short training; those scored before are not trained."""
    named = {json.dumps(network._asdict()): network for network in networks}
    accuracies = {name: scores.of(name, lambda made=network: make(made)) for name, network in named.items()}
    return torch.tensor([1 - accuracies[json.dumps(network._asdict())] for network in networks], dtype=torch.float64)


def share_below(errors: Float[Tensor, " N"], thresholds: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Return the empirical distribution function F(e): the share of errors strictly below each e (2019, eq. 1).

    Raises:
        ValueError: without errors.
    """
    _check_some(errors)
    below = torch.searchsorted(errors.sort().values, thresholds.contiguous(), right=False)
    return below.to(errors.dtype) / len(errors)


def area_below(errors: Float[Tensor, " N"], highest: float | int) -> float:
    """Return the mean of F(e) over 0 <= e <= `highest`: 1 for a space of perfect networks, larger is better.

    Raises:
        ValueError: without errors, or if `highest` is not positive.
    """
    _check_some(errors)
    if highest <= 0:
        raise ValueError(f"received highest={highest}, expected more than 0")
    return float((1 - errors / highest).clamp(min=0).mean())


def _check_some(errors: Tensor) -> None:
    if len(errors) == 0:
        raise ValueError("received no errors, expected one of each network of a population")
