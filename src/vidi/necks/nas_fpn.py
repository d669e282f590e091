"""NAS-FPN: a feature pyramid of merging cells, found by search, and the space it was found in.

Ghiasi, Lin, Le 2019, "NAS-FPN: Learning Scalable Feature Pyramid Architecture for Object Detection", arXiv 1904.07392;
notes 4.A. Details as in github.com/tensorflow/tpu, models/official/detection.

    maps      C3, C4, C5; each gets D channels by a 1x1 convolution and norm; P6 and P7 are pooled from the one before
    pyramid   P3..P7 -> 7 merging cells -> P3..P7, repeated: each B D h_i w_i
    cell      two maps at hand, resampled to one level; sum, or attention: coarse + sigmoid(max of coarse) x fine;
              ReLU, 3x3 convolution, norm. A map that no cell has read joins the output of its level
    search    controller (vidi.search.architecture_search) -> tokens -> merging cells -> detector -> AP as reward

Differs from the paper, as the authors' code: the attention pools by the maximum, each cell's norm comes last, and a
map that is read by no cell is added before the ReLU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.necks.feature_pyramid import halved_levels, upsampled_to
from vidi.nn.normalization import NormLayer, norm_layer

Merge = Literal["sum", "attention"]

NORM = norm_layer("batch", eps=1e-3, momentum=0.01)


class MergingCell(NamedTuple):
    """What is decided for one cell."""

    level: int  # of its output, 0 the finest
    merge: Merge
    inputs: tuple[int, int]  # numbers of maps: the pyramid's first, then those of the cells in their order
    is_output: bool  # whether it is a level of the next pyramid


NAS_FPN_7 = (  # the pyramid of the paper (figure 6); levels P3 to P7 are 0 to 4
    MergingCell(1, "attention", (1, 3), False),
    MergingCell(1, "sum", (1, 5), False),
    MergingCell(0, "sum", (0, 6), True),
    MergingCell(1, "sum", (6, 7), True),
    MergingCell(2, "attention", (7, 8), True),
    MergingCell(4, "attention", (6, 9), True),
    MergingCell(3, "attention", (9, 10), True),
)


def check_layout(cells: Sequence[MergingCell], levels: int) -> None:
    """Refuse cells that read what does not exist yet, or do not give each of the levels once, with a ValueError."""
    for number, cell in enumerate(cells):
        known = levels + number
        if cell.merge not in get_args(Merge):
            raise ValueError(f"received merge={cell.merge!r}, expected 'sum' or 'attention'")
        if not all(0 <= source < known for source in cell.inputs) or not 0 <= cell.level < levels:
            raise ValueError(
                f"received cell {number}, {cell}, expected inputs below {known} and a level below {levels}"
            )
    given = sorted(cell.level for cell in cells if cell.is_output)
    if given != list(range(levels)):
        raise ValueError(f"received outputs of the levels {given}, expected each of 0..{levels - 1} once")


# ----------------------------------------------------------------------------------------------------------------------
# Network


def resampled(x: Float[Tensor, "B D H W"], like: Float[Tensor, "B _ h w"], steps: int) -> Float[Tensor, "B D h w"]:
    """Bring a map to the size of another that is `steps` levels coarser (finer, if negative): pool or repeat."""
    if steps > 0:
        return F.max_pool2d(x, 2**steps, ceil_mode=True)
    return upsampled_to(x, like) if steps < 0 else x


def merged(coarse: Float[Tensor, "B D h w"], fine: Float[Tensor, "B D h w"], merge: Merge) -> Float[Tensor, "B D h w"]:
    """Merge two maps of one size; `coarse` comes from the coarser level, and is what attention pools."""
    if merge == "sum":
        return coarse + fine
    return coarse + fine * coarse.amax((2, 3), keepdim=True).sigmoid()


class MergingPyramid(nn.Module):
    """All merging cells once: maps of D channels, finest first, to as many."""

    def __init__(self, cells: Sequence[MergingCell], levels: int, channels: int, norm: NormLayer):
        super().__init__()
        check_layout(cells, levels)
        self.cells = tuple(cells)
        self.levels = levels
        self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in cells])
        self.norms = nn.ModuleList([norm(channels) for _ in cells])

    def forward(self, pyramid: Sequence[Float[Tensor, "B D _ _"]]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        maps, levels = list(pyramid), list(range(self.levels))
        read = [0] * len(maps)  # how many cells read each map
        outputs: dict[int, Tensor] = {}
        for cell, conv, norm in zip(self.cells, self.convs, self.norms, strict=True):
            like = pyramid[cell.level]
            first, second = cell.inputs
            coarse, fine = (first, second) if levels[first] >= levels[second] else (second, first)
            gate, fed = (resampled(maps[source], like, cell.level - levels[source]) for source in (coarse, fine))
            x = merged(gate, fed, cell.merge)
            for source in cell.inputs:
                read[source] += 1
            if cell.is_output:
                for source, count in enumerate(read):
                    if not count and levels[source] == cell.level:
                        x = x + maps[source]
                        read[source] += 1
            maps.append(norm(conv(F.relu(x))))
            levels.append(cell.level)
            read.append(0)
            if cell.is_output:
                outputs[cell.level] = maps[-1]
        return tuple(outputs[level] for level in range(self.levels))


class NASFPN(nn.Module):
    """Maps of a backbone, finest first, to a pyramid of maps of `channels` channels.

    Args:
        in_channels: of the maps that come in, at least one.
        channels: of every map that goes out.
        cells: of one pyramid; `NAS_FPN_7` is for five levels.
        levels: of the maps that go out; those beyond the incoming ones are pooled from the coarsest.
        repeats: pyramids one after the other; the paper has 3 to 7.
        norm: makes the norms.

    Raises:
        ValueError: if the cells do not fit the levels, or there is no map, no pyramid, or a map too many.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        cells: Sequence[MergingCell] = NAS_FPN_7,
        levels: int = 5,
        repeats: int = 7,
        norm: NormLayer = NORM,
    ):
        super().__init__()
        if not 1 <= len(in_channels) <= levels or repeats < 1:
            raise ValueError(
                f"received {len(in_channels)} maps, levels={levels} and repeats={repeats}, expected at least one map, "
                "as many levels and one pyramid"
            )
        self.channels = channels
        self.levels = levels
        self.lateral = nn.ModuleList([nn.Conv2d(count, channels, 1, bias=False) for count in in_channels])
        self.lateral_norm = nn.ModuleList([norm(channels) for _ in in_channels])
        self.pyramids = nn.Sequential(*(MergingPyramid(cells, levels, channels, norm) for _ in range(repeats)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def strides(self, base: Sequence[int]) -> tuple[int, ...]:
        """Return the strides of the maps that go out, given those of the maps that come in."""
        return halved_levels(base, self.levels - len(base))

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Return the pyramid, finest level first.

        Raises:
            ValueError: if the number of maps is not that of `in_channels`.
        """
        if len(maps) != len(self.lateral):
            raise ValueError(f"received {len(maps)} maps, expected {len(self.lateral)}")
        layers = zip(self.lateral_norm, self.lateral, maps, strict=True)
        pyramid = [norm(lateral(x)) for norm, lateral, x in layers]
        while len(pyramid) < self.levels:
            pyramid.append(F.max_pool2d(pyramid[-1], 2, ceil_mode=True))
        return self.pyramids(tuple(pyramid))


# ----------------------------------------------------------------------------------------------------------------------
# Search


@dataclass(frozen=True)
class MergingSpace:
    """All pyramids of some merging cells (section 3.1): what a controller decides, in the order of the tokens.

    For each cell two maps at hand, the second another than the first, the level, and how to merge. The last cells are
    the outputs: one for each level, in an order that is decided too.

    Attributes:
        levels: of the pyramid.
        inner: cells before the outputs.

    Raises:
        ValueError: for fewer than two levels, or a negative number of cells.
    """

    levels: int = 5
    inner: int = 2

    def __post_init__(self) -> None:
        if self.levels < 2 or self.inner < 0:
            raise ValueError(f"received {self}, expected at least two levels and no negative number of cells")

    @property
    def options(self) -> tuple[int, ...]:
        """How many options each decision has: first input, second input, level, way of merging of each cell."""
        remaining = chain([self.levels] * self.inner, range(self.levels, 0, -1))  # levels to choose from
        return tuple(
            count
            for number, levels in enumerate(remaining)
            for count in (self.levels + number, self.levels + number - 1, levels, len(get_args(Merge)))
        )

    def size(self) -> int:
        """Count the sequences of decisions; those that differ in the order of two inputs may mean the same."""
        return math.prod(self.options)

    def sample(self, generator: torch.Generator) -> tuple[int, ...]:
        """Draw tokens, every sequence as likely."""
        return tuple(int(torch.randint(count, (), generator=generator)) for count in self.options)

    def decode(self, tokens: tuple[int, ...]) -> tuple[MergingCell, ...]:
        """Return the cells that tokens stand for.

        Raises:
            ValueError: if there is no such option, or the number of tokens is another.
        """
        if len(tokens) != len(self.options) or not all(0 <= t < n for t, n in zip(tokens, self.options, strict=True)):
            raise ValueError(f"received the tokens {tokens}, expected one below each of {self.options}")
        free = list(range(self.levels))  # levels that no output has yet
        cells = []
        for number, (first, second, level, merge) in enumerate(zip(*[iter(tokens)] * 4, strict=True)):
            is_output = number >= self.inner
            level = free.pop(level) if is_output else level
            others = [source for source in range(self.levels + number) if source != first]
            cells.append(MergingCell(level, get_args(Merge)[merge], (first, others[second]), is_output))
        return tuple(cells)

    def encode(self, cells: Sequence[MergingCell]) -> tuple[int, ...]:
        """Return the tokens of cells.

        Raises:
            ValueError: if they are not in the space.
        """
        check_layout(cells, self.levels)
        flags = [cell.is_output for cell in cells]
        if flags != [False] * self.inner + [True] * self.levels or any(a == b for a, b in (c.inputs for c in cells)):
            raise ValueError(f"received the cells {tuple(cells)}, expected cells of {self}")
        free = list(range(self.levels))
        tokens: list[int] = []
        for level, merge, (first, second), is_output in cells:
            choice = free.index(level) if is_output else level
            if is_output:
                free.remove(level)
            tokens += [first, second - (second > first), choice, get_args(Merge).index(merge)]
        return tuple(tokens)
