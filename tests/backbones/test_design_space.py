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
from vidi.backbones.design_space import (
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
from vidi.backbones.regnet import AnyNet, Stages, anynet, regnet_stages
from vidi.backbones.resnet import resnet18
from vidi.backbones.short_training import Samples, Scores, ShortTraining
from vidi.data.shapes import ShapeImages
from vidi.engine.recipe import Recipe
from vidi.model import Supervised
from vidi.nn.cost import count_cost

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
def test_linear_widths_are_quantised_lines() -> None:
    """Every width is w_0 times a power of one w_m, rounded to 8, as `regnet_stages` makes it from six numbers."""
    space = LinearSpace(refinements(AnyNetSpace())["AnyNetE"])  # type: ignore[arg-type]
    generator = seeded(3)
    for _ in range(20):
        stages = space.sample(generator)
        assert all(later > earlier for earlier, later in pairwise(stages.widths))
        assert space.depths[0] <= sum(stages.depths) <= space.depths[1]
    published = regnet_stages(16, 48, 27.89, 2.09, 8)  # RegNetY-400MF
    assert published.depths == (1, 3, 6, 6)
    assert space.within.contains(published)


def test_spaces_without_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        AnyNetSpace(widths=(8, 20))
    with pytest.raises(ValueError, match="ranges"):
        AnyNetSpace(depths=(3, 2))
    with pytest.raises(ValueError, match="at least"):
        AnyNetSpace(bottlenecks=())


def test_contradicting_constraints_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.backbones.design_space.ATTEMPTS", 9)
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
