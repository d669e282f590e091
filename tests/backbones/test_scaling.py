"""Scaling: rounding as torchvision does it, the compound rule of the paper, and what scaling costs."""

import math
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torchvision.models._utils import _make_divisible
from torchvision.models.efficientnet import MBConvConfig

from tests.closeness import EXACT
from vidi.backbones.classifier import supervised_classifier
from vidi.backbones.resnet import BasicBlock, ResNet
from vidi.backbones.scaling import (
    EFFICIENTNET,
    CompoundConstants,
    Multipliers,
    constrained_constants,
    grid_search,
    round_channels,
    round_repeats,
    round_side,
)
from vidi.data.shapes import ShapeImages
from vidi.engine.recipe import Recipe
from vidi.model import Supervised
from vidi.nn.cost import count_cost
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Preprocess
from vidi.search.short_training import Samples, Scores, ShortTraining

NORM = norm_layer("batch")


def scaled(multipliers: Multipliers, *, width: int = 16, blocks: int = 1, side: int = 16) -> Supervised:
    """Return a small ResNet for shapes, scaled; channels in steps of 2, or small factors would be rounded away."""
    count, pixels = multipliers.repeats(blocks), multipliers.side(side)
    channels = multipliers.channels(width, 2)
    network = ResNet(BasicBlock, (count, count, count, count), expansion=1, norm=NORM, stem="small", width=channels)
    return supervised_classifier(network, 8, Preprocess(exact=(pixels, pixels)))


# ----------------------------------------------------------------------------------------------------------------------
# One dimension


@pytest.mark.system("2.6-WIDTH")
@pytest.mark.parametrize("divisor", [1, 4, 8, 16])
def test_channels_are_rounded_as_in_torchvision(divisor: int) -> None:
    for channels, width in product(range(1, 400), (0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.1, 1.4, 2.0)):
        assert round_channels(channels * width, divisor) == _make_divisible(channels * width, divisor)


@pytest.mark.system("2.6-WIDTH")
@pytest.mark.parametrize(
    ("channels", "rounded"), [(1, 8), (11, 16), (12, 16), (16, 16), (17.6, 16), (35.2, 32), (19, 24)]
)
def test_rounding_takes_away_a_tenth_at_most(channels: float, rounded: int) -> None:
    assert round_channels(channels) == rounded >= 0.9 * channels


@pytest.mark.system("2.6-DEPTH")
def test_repeats_are_rounded_up_as_in_torchvision() -> None:
    for repeats, depth in product(range(1, 30), (0.3, 1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)):
        expected = MBConvConfig.adjust_depth(repeats, depth)
        assert round_repeats(repeats * depth) == Multipliers(depth=depth).repeats(repeats) == expected


@pytest.mark.system("2.6-RES")
def test_sides_are_rounded_to_the_nearest_pixel() -> None:
    assert [round_side(side) for side in (0.5, 31.49, 31.5, 257.6)] == [1, 31, 32, 258]
    assert Multipliers(resolution=1.15).side(224) == 258
    model = scaled(Multipliers(resolution=1.5))
    assert model.preprocess.exact == (24, 24)
    assert model.network.get_submodule("backbone")(torch.zeros(1, 3, 24, 24))[0].shape[2:] == (24, 24)


@pytest.mark.parametrize("call", [round_channels, round_repeats, round_side, Multipliers])
def test_nothing_is_scaled_away(call: object) -> None:
    with pytest.raises(ValueError, match="0"):
        call(0)  # type: ignore[operator]
    with pytest.raises(ValueError, match="divisor"):
        round_channels(8, 0)


# ----------------------------------------------------------------------------------------------------------------------
# The compound rule


@pytest.mark.system("2.6-COMPOUND", "B2.13")
def test_efficientnets_constants_do_not_quite_double() -> None:
    """1.2 x 1.1^2 x 1.15^2 is 1.92, where the constraint says 2."""
    assert math.isclose(EFFICIENTNET.growth(), 1.92027, rel_tol=1e-6)
    assert EFFICIENTNET.multipliers(0) == Multipliers(1, 1, 1)
    third = EFFICIENTNET.multipliers(3)
    assert (third.depth, third.width, third.resolution) == pytest.approx((1.2**3, 1.1**3, 1.15**3), rel=EXACT)
    for phi in (0.5, 1, 2, 6):
        assert EFFICIENTNET.multipliers(phi).flops() == pytest.approx(EFFICIENTNET.growth() ** phi, rel=1e-12)


def test_a_constant_below_one_would_shrink() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CompoundConstants(1.2, 0.9, 1.3)


# ----------------------------------------------------------------------------------------------------------------------
# FLOPs


def cost(multipliers: Multipliers) -> dict[str, int]:
    """Return the multiply-adds of the parts of a network of 32 channels, two blocks a stage, at 64 pixels."""
    with torch.device("meta"):
        network = scaled(multipliers, width=32, blocks=2, side=64).network
    report = count_cost(network, multipliers.side(64))
    parts = {f"stage{k}": report.of(f"backbone.stage{k}").macs for k in (1, 2, 3, 4)}
    return {"stem": report.of("backbone.stem").macs, "head": report.of("head").macs, **parts}


@pytest.mark.system("2.6-FLOPSLAW")
def test_flops_are_quadratic_in_width_and_resolution() -> None:
    """Exactly so in all stages; the stem, which reads 3 colours, and the head, which reads one position, are not."""
    base = cost(Multipliers())
    for factor in (2, 3):
        wider, larger = cost(Multipliers(width=factor)), cost(Multipliers(resolution=factor))
        for stage in ("stage1", "stage2", "stage3", "stage4"):
            assert wider[stage] == larger[stage] == factor**2 * base[stage]
        assert (wider["stem"], larger["stem"]) == (factor * base["stem"], factor**2 * base["stem"])
        assert (wider["head"], larger["head"]) == (factor * base["head"], base["head"])


@pytest.mark.system("2.6-FLOPSLAW")
def test_flops_are_linear_in_depth() -> None:
    """Each further block costs the same, so that equal steps of depth are equal steps of cost."""
    costs = [cost(Multipliers(depth=depth)) for depth in (1, 2, 3, 4)]
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        first, second, third, fourth = (c[stage] for c in costs)
        assert second - first == third - second == fourth - third > 0
    assert costs[1]["stage1"] == 2 * costs[0]["stage1"]  # all blocks of stage 1 are alike
    assert len({c["stem"] for c in costs}) == len({c["head"] for c in costs}) == 1


@pytest.mark.system("2.6-COMPOUND")
def test_a_unit_of_phi_multiplies_what_a_network_costs() -> None:
    """By exactly the growth that the constants state, where nothing is rounded and all blocks are alike."""
    constants = CompoundConstants(alpha=2, beta=1.5, gamma=1.25)
    costs = [cost(constants.multipliers(phi))["stage1"] for phi in (0, 1, 2)]
    assert constants.growth() == 7.03125
    assert [costs[1] / costs[0], costs[2] / costs[1]] == [7.03125, 7.03125]


# ----------------------------------------------------------------------------------------------------------------------
# Grid search


@pytest.mark.system("2.6-GRID")
def test_the_grid_holds_every_triple_near_the_constraint() -> None:
    candidates = list(constrained_constants(step=0.05, tolerance=0.1))
    expected = {
        (a, b, c) for a, b, c in product(range(20, 43), repeat=3) if abs(a * b * b * c * c / 20**5 - 2) <= 0.1 + 1e-9
    }
    assert {(round(20 * k.alpha), round(20 * k.beta), round(20 * k.gamma)) for k in candidates} == expected
    assert len(candidates) == len(expected) > 100
    assert EFFICIENTNET in candidates
    assert CompoundConstants(2.0, 1.0, 1.0) in candidates


@pytest.mark.system("2.6-GRID")
def test_the_most_accurate_triple_wins() -> None:
    candidates = list(constrained_constants())
    ideal = EFFICIENTNET.multipliers(1)

    def accuracy(m: Multipliers) -> float:
        return 1 - abs(m.depth - ideal.depth) - abs(m.width - ideal.width) - abs(m.resolution - ideal.resolution)

    best, accuracies = grid_search(candidates, accuracy)
    assert best == EFFICIENTNET
    assert list(accuracies) == candidates
    with pytest.raises(ValueError, match="no candidates"):
        grid_search([], accuracy)


@pytest.mark.system("2.6-GRID")
def test_a_grid_search_trains_every_candidate(tmp_path: Path) -> None:
    """Four triples around a tiny ResNet, trained by the engine on shapes; resumed, nothing is trained again."""
    train, val = (Samples(ShapeImages(s, count=count, size=(16, 16))) for s, count in (("train", 96), ("val", 64)))
    training = ShortTraining(train, val, Recipe(steps=8, batch_size=16, learning_rate=0.01, device="cpu"))
    candidates = list(constrained_constants(step=0.4, tolerance=0.25))
    assert 3 <= len(candidates) <= 5

    def accuracy(scores: Scores, m: Multipliers) -> float:
        return scores.of(repr(m), partial(scaled, m, width=8))

    best, accuracies = grid_search(candidates, partial(accuracy, Scores(training, tmp_path / "scores.json")))
    assert accuracies[best] == max(accuracies.values())
    assert all(0 <= value <= 1 and value * 64 == int(value * 64) for value in accuracies.values())
    again = Scores(training, tmp_path / "scores.json")
    again.training = None  # type: ignore[assignment]
    assert grid_search(candidates, partial(accuracy, again)) == (best, accuracies)
