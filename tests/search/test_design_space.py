"""Design spaces: sampling, constraints and counts against enumeration, error distributions against scipy."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.closeness import EXACT
from vidi.backbones.regnet import AnyNet, Stages, anynet, regnet_stages
from vidi.backbones.resnet import resnet18
from vidi.data.shapes import ShapeImages
from vidi.engine.recipe import Recipe
from vidi.model import Supervised
from vidi.nn.cost import count_cost
from vidi.search.design_space import (
    AnyNetSpace,
    LinearSpace,
    area_below,
    log_uniform,
    macs_of,
    population,
    population_errors,
    refinements,
    share_below,
)
from vidi.search.short_training import Samples, Scores, ShortTraining

TINY = AnyNetSpace(depths=(1, 2), widths=(8, 24), group_widths=(1, 8), bottlenecks=(1, 2), stages=2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(stages: Stages) -> Supervised:
    return anynet(**stages._asdict(), categories=8, size=(16, 16), stem_width=8)


def every_setting(space: AnyNetSpace) -> Iterator[Stages]:
    """Walk over all settings of the numbers of a space, in or out of it."""
    depths = range(space.depths[0], space.depths[1] + 1)
    widths = range(space.widths[0], space.widths[1] + 1, 8)
    per_stage = product(depths, widths, space.group_widths, space.bottlenecks)
    for stages in product(list(per_stage), repeat=space.stages):
        d, w, g, b = zip(*stages, strict=True)
        yield Stages(d, w, g, b)


# ----------------------------------------------------------------------------------------------------------------------
# Spaces


@pytest.mark.system("2.8-DESIGNSPACE", "2.8-ANYNET")
def test_the_space_of_the_paper_is_sampled_within_its_ranges() -> None:
    space, generator = AnyNetSpace(), seeded()
    assert space.size() < (16 * 128 * 3 * 6) ** 4 < 1.9e18
    drawn = [space.sample(generator) for _ in range(300)]
    for depths, widths, group_widths, bottlenecks in drawn:
        assert len(depths) == len(widths) == len(group_widths) == len(bottlenecks) == 4
        assert all(1 <= d <= 16 for d in depths)
        assert all(8 <= w <= 1024 and w % 8 == 0 for w in widths)
        assert set(bottlenecks) <= {1, 2, 4}
        assert set(group_widths) <= {1, 2, 4, 8, 16, 32}
        assert all(w % (b * g) == 0 for w, g, b in zip(widths, group_widths, bottlenecks, strict=True))
    assert {d for stages in drawn for d in stages.depths} == set(range(1, 17))
    assert {(b, g) for s in drawn for b, g in zip(s.bottlenecks, s.group_widths, strict=True)} == set(
        product((1, 2, 4), (1, 2, 4, 8, 16, 32))
    )
    assert [space.sample(seeded(1)) for _ in range(2)] == [space.sample(seeded(1)) for _ in range(2)]
    assert space.sample(seeded(1)) != space.sample(seeded(2))


@pytest.mark.system("2.8-ANYNET")
def test_group_width_is_channels_per_group() -> None:
    """The notes call g_i the number of groups; it is their width, and the number follows from it (C2.13)."""
    network = AnyNet((1,), (64,), group_widths=(8,), bottlenecks=(2,))
    grouped = network.get_submodule("stages.0.0.conv2.conv")
    assert grouped.groups == 64 // 2 // 8  # type: ignore[union-attr]


@pytest.mark.system("2.8-ANYNET")
def test_numbers_are_log_uniform() -> None:
    """A power of two is drawn with the share of the log scale that rounds to it; chi-square over the depths 1 to 16."""
    generator = seeded()
    drawn = Counter(log_uniform((1, 16), 1, generator) for _ in range(20_000))
    edges = [1, *(d + 0.5 for d in range(1, 16)), 16]
    expected = [20_000 * math.log(high / low) / math.log(16) for low, high in pairwise(edges)]
    assert scipy.stats.chisquare([drawn[d] for d in range(1, 17)], expected).pvalue > 0.01
    assert {log_uniform((8, 24), 8, generator) for _ in range(200)} == {8, 16, 24}


@pytest.mark.system("2.8-DESIGNSPACE", "2.8-REFINE")
@pytest.mark.parametrize("name", ["AnyNetA", "AnyNetB", "AnyNetC", "AnyNetD", "AnyNetE"])
def test_size_and_support_are_those_of_an_enumeration(name: str) -> None:
    space = refinements(TINY)[name]
    assert isinstance(space, AnyNetSpace)
    inside = {stages for stages in every_setting(TINY) if space.contains(stages)}
    assert space.size() == len(inside)
    generator = seeded()
    drawn = {space.sample(generator) for _ in range(2500 if name == "AnyNetE" else 250)}
    assert drawn <= inside
    assert drawn == inside or name != "AnyNetE"


@pytest.mark.system("2.8-DESIGNSPACE")
def test_rejection_leaves_the_odds_of_what_remains() -> None:
    """Samples of AnyNetE are those samples of AnyNetC that fulfil its constraints: two samples, chi-square."""
    spaces, generator = refinements(TINY), seeded()
    restricted = spaces["AnyNetE"]
    assert isinstance(restricted, AnyNetSpace)
    one = Counter(restricted.sample(generator) for _ in range(1000))
    other = Counter(s for s in (spaces["AnyNetC"].sample(generator) for _ in range(4000)) if restricted.contains(s))
    table = [[one[key], other[key]] for key in one.keys() | other.keys()]
    result: Any = scipy.stats.chi2_contingency(table)
    assert result.pvalue > 0.01


@pytest.mark.system("2.8-REFINE")
def test_each_refinement_is_a_part_of_the_one_before() -> None:
    spaces = refinements(AnyNetSpace())
    assert list(spaces) == ["AnyNetA", "AnyNetB", "AnyNetC", "AnyNetD", "AnyNetE", "RegNet"]
    sizes = [space.size() for space in spaces.values()]
    assert all(later < earlier for earlier, later in pairwise(sizes))
    for (_, before), (name, space) in pairwise(spaces.items()):
        generator = seeded()
        drawn = [space.sample(generator) for _ in range(30)]
        assert isinstance(before, AnyNetSpace)
        assert all(before.contains(stages) for stages in drawn), name
        if isinstance(space, AnyNetSpace):
            outside = [before.sample(generator) for _ in range(60)]
            assert not all(space.contains(stages) for stages in outside), name


@pytest.mark.system("2.8-REFINE")
def test_constraints_are_those_of_the_paper() -> None:
    spaces = refinements(AnyNetSpace())
    good = Stages((1, 2, 2, 3), (32, 64, 64, 128), (8, 8, 8, 8), (2, 2, 2, 2))
    broken = {
        "AnyNetB": good._replace(bottlenecks=(2, 2, 1, 2)),
        "AnyNetC": good._replace(group_widths=(8, 16, 8, 8)),
        "AnyNetD": good._replace(widths=(32, 64, 48, 128)),
        "AnyNetE": good._replace(depths=(1, 2, 3, 2)),
    }
    order = list(spaces)
    for name, stages in broken.items():
        for place, space in enumerate(order[:-1]):
            member = spaces[space]
            assert isinstance(member, AnyNetSpace)
            assert member.contains(good)
            assert member.contains(stages) == (place < order.index(name))


@pytest.mark.system("2.8-REFINE")
def test_regnets_grow_within_the_space() -> None:
    """They grow, their depth is in the range, and the published RegNetY-400MF is a network of the space."""
    space = LinearSpace(refinements(AnyNetSpace())["AnyNetE"])  # type: ignore[arg-type]
    generator = seeded(3)
    for _ in range(20):
        stages = space.sample(generator)
        assert all(later > earlier for earlier, later in pairwise(stages.widths))
        assert space.depths[0] <= sum(stages.depths) <= space.depths[1]
    published = regnet_stages(16, 48, 27.89, 2.09, 8)  # RegNetY-400MF
    assert published.depths == (1, 3, 6, 6)
    assert space.within.contains(published)


@pytest.mark.system("2.8-REFINE")
def test_depths_and_widths_of_anynet_are_drawn_log_uniformly_over_their_ranges() -> None:
    """Rounded to whole multiples, log-uniform numbers are as often k as log((k + 1/2) / (k - 1/2)) says."""
    space = AnyNetSpace(depths=(1, 16), widths=(8, 128), group_widths=(1,), bottlenecks=(1,), stages=1)
    generator = seeded(11)
    drawn = [space.sample(generator) for _ in range(6000)]
    for numbers_, quantum, high in ((0, 1, 16), (1, 8, 128)):
        counts = Counter(stages[numbers_][0] // quantum for stages in drawn)
        last = high // quantum
        assert set(counts) == set(range(1, last + 1))  # the whole range and nothing else
        edges = [1.0, *(k + 0.5 for k in range(1, last)), float(last)]
        expected = [6000 * math.log(b / a) / math.log(last) for a, b in pairwise(edges)]
        observed = [counts[k] for k in range(1, last + 1)]
        assert scipy.stats.chisquare(observed, expected).pvalue > 0.01


LINEAR = LinearSpace(AnyNetSpace(depths=(1, 16), widths=(8, 1024), group_widths=(8, 16), bottlenecks=(1, 2, 4)))


@pytest.mark.system("2.8-REFINE")
def test_regnets_are_drawn_from_their_six_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 3.3: d < 64, w_0 and w_a < 256, 1.5 <= w_m <= 3, each log-uniform; b and g evenly from their choices."""
    asked: list[tuple[Any, ...]] = []

    def watched(*numbers_: Any) -> Stages:
        asked.append(numbers_)
        return regnet_stages(*numbers_)

    monkeypatch.setattr("vidi.search.design_space.regnet_stages", watched)
    generator = seeded(5)
    while len(asked) < 6000:
        LINEAR.sample(generator)
    depth, w_0, w_a, w_m, group_width, bottleneck = (list(column) for column in zip(*asked, strict=True))
    ranges = {"depth": (depth, 4, 64, 1), "w_0": (w_0, 8, 256, 8), "w_a": (w_a, 8, 256, 1), "w_m": (w_m, 1.5, 3, 0.01)}
    for name, (values, low, high, quantum) in ranges.items():
        assert (min(values), max(values)) == pytest.approx((low, high)), name
        assert all(abs(value / quantum - round(value / quantum)) < 1e-6 for value in values), name
        middle = math.sqrt(low * high)  # half of the draws are below the geometric mean, rounding aside
        below = sum(v + quantum / 2 <= middle for v in values) / len(values)
        exact = math.log((math.floor((middle - quantum / 2) / quantum) * quantum + quantum / 2) / low)
        assert below == pytest.approx(exact / math.log(high / low), abs=0.03), name
    for values, choices in ((group_width, (8, 16)), (bottleneck, (1, 2, 4))):
        counts = Counter(values)
        assert set(counts) == set(choices)
        assert scipy.stats.chisquare([counts[c] for c in choices]).pvalue > 0.01


@pytest.mark.system("2.8-REFINE")
@pytest.mark.parametrize("choices", [(1, 2, 4), (2, 4)])
def test_bottlenecks_of_anynet_are_drawn_evenly(choices: tuple[int, ...]) -> None:
    space = AnyNetSpace(depths=(1, 1), widths=(64, 64), group_widths=(1, 2), bottlenecks=choices, stages=2)
    generator = seeded(2)
    drawn = [space.sample(generator) for _ in range(3000)]
    for stage in range(2):
        counts = Counter(stages.bottlenecks[stage] for stages in drawn)
        assert set(counts) == set(choices)
        assert scipy.stats.chisquare([counts[b] for b in choices]).pvalue > 0.01
    assert len({stages.bottlenecks for stages in drawn}) == len(choices) ** 2  # each stage draws its own


def on_a_quantised_line(stages: Stages) -> bool:
    """Tell by search whether some w_0, w_a and w_m give these widths and depths, with the rounding of the paper."""
    narrowest = stages.widths[0]
    blocks = [width for width, count in zip(stages.widths, stages.depths, strict=True) for _ in range(count)]
    for w_0 in (narrowest, narrowest - 8, narrowest + 8):
        if w_0 < 8:
            continue
        for step in range(151):
            w_m = 1.5 + step / 100
            powers = []  # s_j of each block: the power of w_m that gives its width, if one does
            for width in blocks:
                power = round(math.log(width / w_0) / math.log(w_m))
                powers.append(power if round(w_0 * w_m**power / 8) * 8 == width else None)
            if None in powers:
                continue
            # w_j = w_0 + w_a j is between the bounds that s_j gives, for one w_a
            low, high = 0.0, math.inf
            for j, power in enumerate(powers):
                if j:
                    low = max(low, (w_0 * w_m ** (power - 0.5) - w_0) / j)
                    high = min(high, (w_0 * w_m ** (power + 0.5) - w_0) / j)
                elif power:
                    high = -1.0
            if low <= high:
                return True
    return False


@pytest.mark.system("2.8-REFINE")
def test_widths_of_sampled_regnets_lie_on_quantised_lines_and_those_of_anynets_do_not() -> None:
    """Of AnyNetE, whose widths and depths only grow, few networks are RegNets; of the RegNet space all are."""
    within = AnyNetSpace(
        depths=(1, 16), widths=(16, 512), group_widths=(8,), bottlenecks=(1,), growing_widths=True, growing_depths=True
    )
    shares = {}
    for name, space in (("RegNet", LinearSpace(within)), ("AnyNetE", within)):
        generator = seeded(7)
        shares[name] = sum(on_a_quantised_line(space.sample(generator)) for _ in range(60)) / 60
    assert shares["RegNet"] == 1.0
    assert shares["AnyNetE"] < 0.25


def test_spaces_without_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        AnyNetSpace(widths=(8, 20))
    with pytest.raises(ValueError, match="ranges"):
        AnyNetSpace(depths=(3, 2))
    with pytest.raises(ValueError, match="at least"):
        AnyNetSpace(bottlenecks=())


def test_contradicting_constraints_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.search.design_space.ATTEMPTS", 9)
    with pytest.raises(ValueError, match="no network in 9 draws"):
        AnyNetSpace(widths=(8, 8), group_widths=(16,)).sample(seeded())
    with pytest.raises(ValueError, match="found 0 networks of 1 to 2"):
        population(TINY, 3, make, macs=(1, 2), generator=seeded())


# ----------------------------------------------------------------------------------------------------------------------
# Populations


@pytest.mark.system("2.8-EVAL")
def test_a_population_costs_what_the_band_says() -> None:
    macs = (150_000, 300_000)
    drawn = population(TINY, 5, make, macs=macs, generator=seeded())
    assert len(set(drawn)) == 5
    costs = [count_cost(make(stages).network, 16).macs for stages in drawn]
    assert all(macs[0] <= cost <= macs[1] for cost in costs)
    assert costs == [macs_of(stages, make) for stages in drawn]
    assert drawn == population(TINY, 5, make, macs=macs, generator=seeded())
    with pytest.raises(ValueError, match="exact image size"):
        macs_of(drawn[0], lambda stages: resnet18(width=16))


@pytest.mark.system("2.8-EVAL")
def test_a_population_is_trained_once(tmp_path: Path) -> None:
    train, val = (Samples(ShapeImages(s, count=count, size=(16, 16))) for s, count in (("train", 64), ("val", 40)))
    training = ShortTraining(train, val, Recipe(steps=4, batch_size=16, learning_rate=0.01, device="cpu"))
    drawn = population(TINY, 3, make, macs=(0, 10**9), generator=seeded())
    path = tmp_path / "scores.json"
    some = population_errors(drawn[:2], make, Scores(training, path))
    asked: list[Stages] = []

    def counted(stages: Stages) -> Supervised:
        asked.append(stages)
        return make(stages)

    errors = population_errors([*drawn, drawn[0]], counted, Scores(training, path))
    assert asked == drawn[2:]  # the others are in the file
    assert torch.equal(errors[:2], some)
    assert errors[3] == errors[0]
    assert errors[2] == 1 - training.score(partial(make, drawn[2]))
    assert json.loads(path.read_text())["scores"].keys() == {json.dumps(stages._asdict()) for stages in drawn}


# ----------------------------------------------------------------------------------------------------------------------
# Error distributions


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.system("2.8-EDF", "B2.14")
def test_the_worked_example_is_strict() -> None:
    errors = numbers(10, 20, 20, 30)
    assert share_below(errors, numbers(10, 20, 20.1, 31)).tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.system("2.8-EDF")
def test_even_perfect_networks_have_no_error_below_none() -> None:
    """The ideal curve is 0 at e = 0 and 1 right behind it (C2.16)."""
    assert share_below(numbers(0, 0, 0), numbers(0, 1e-12)).tolist() == [0, 1]


@pytest.mark.system("2.8-EDF")
def test_share_below_is_scipys_just_before_a_jump() -> None:
    """scipy counts errors equal to e; that is the strict count just above e, and the two agree between errors."""
    errors = torch.randint(0, 12, (40,), generator=seeded()).double() / 12
    theirs = scipy.stats.ecdf(errors.numpy()).cdf
    between = torch.arange(-1, 14, dtype=torch.float64) / 12 + 1 / 24
    assert share_below(errors, between).tolist() == pytest.approx(theirs.evaluate(between.numpy()), rel=EXACT)
    at = torch.arange(12, dtype=torch.float64) / 12
    below = theirs.evaluate((at - 1e-9).numpy())
    assert share_below(errors, at).tolist() == pytest.approx(below, rel=EXACT)
    assert share_below(errors, errors.unique()).tolist() < theirs.evaluate(errors.unique().numpy()).tolist()
    loop = [sum(float(error) < float(e) for error in errors) / 40 for e in at]
    assert share_below(errors, at).tolist() == loop


@pytest.mark.system("2.8-EDF", "2.8-DESIGNSPACE")
def test_the_area_is_the_integral_of_the_distribution() -> None:
    errors = torch.rand(50, generator=seeded(), dtype=torch.float64)
    for highest in (0.3, 1.0):
        grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000 * highest
        assert area_below(errors, highest) == pytest.approx(float(share_below(errors, grid).mean()), abs=1e-4)
    assert area_below(numbers(0, 0), 0.5) == 1
    assert area_below(numbers(0.5, 0.7), 0.5) == 0
    assert area_below(errors * 0.9, 1.0) > area_below(errors, 1.0)


def test_distributions_need_errors() -> None:
    for call in (partial(share_below, numbers(), numbers(1)), partial(area_below, numbers(), 1.0)):
        with pytest.raises(ValueError, match="no errors"):
            call()
    with pytest.raises(ValueError, match="more than 0"):
        area_below(numbers(0.1), 0)
