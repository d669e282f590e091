"""The attentional cascade: rates, stages, early rejection, training with bootstrapped negatives."""

from itertools import pairwise

import numpy as np
import pytest

from tests.detection.viola_jones.cascades import random_cascade
from vidi.detection.viola_jones.cascade import Cascade, Rates, of_stumps, overall_rates, same
from vidi.detection.viola_jones.haar import Windows, haar_features
from vidi.detection.viola_jones.training import Picture, Plan, mine_negatives, train_cascade

SMALL = Plan(stages=3, recall=0.98, false_positives=0.3, candidates=400, negatives=200, stumps=30)


def bars(count: int, seed: int = 0, side: int = 12) -> np.ndarray:
    """Windows that show a dark bar above a bright one."""
    random = np.random.default_rng(seed)
    pixels = random.integers(70, 180, (count, side, side))
    pixels[:, side // 4 : side // 2, 2:-2] -= 60
    pixels[:, side // 2 : 3 * side // 4, 2:-2] += 60
    return pixels.clip(0, 255).astype(np.uint8)


def clutter(count: int, seed: int = 1) -> list[Picture]:
    """Pictures of random blocks."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, 12, 14))
    return [Picture(np.kron(one, np.ones((5, 5))).astype(np.uint8)) for one in blocks]


@pytest.mark.system("B4.8", "4.2.3-CASCADE")
def test_the_rates_of_ten_stages():
    overall = overall_rates([Rates(0.99, 0.3)] * 10)
    assert overall.detection == pytest.approx(0.904382, abs=5e-7)
    assert overall.false_positive == pytest.approx(5.9049e-6, rel=1e-10)


@pytest.mark.system("4.2.3-CASCADE")
def test_training_meets_the_targets_stage_by_stage():
    random = np.random.default_rng(0)
    trained = train_cascade(bars(240), clutter(12), SMALL, random)
    assert 1 <= len(trained.stages) <= 3
    for stage in trained.stages:
        assert stage.rates.detection >= SMALL.recall - 1e-9
    assert trained.stages[0].rates.false_positive <= SMALL.false_positives
    assert trained.rates.detection == pytest.approx(np.prod([s.rates.detection for s in trained.stages]))
    fresh, others = Windows(bars(200, seed=9)), mine_negatives(_all(12), clutter(5, seed=8), 500, SMALL, random)
    assert trained.cascade.passes(fresh).mean() > 0.9
    assert trained.cascade.passes(Windows(others)).mean() < SMALL.false_positives ** len(trained.stages) * 3


@pytest.mark.system("4.2.3-CASCADE")
def test_negatives_are_false_alarms_of_the_stages_so_far():
    random = np.random.default_rng(0)
    trained = train_cascade(bars(240), clutter(12), SMALL, random)
    first = trained.cascade.truncated(1)
    mined = mine_negatives(first, clutter(6, seed=5), 60, SMALL, random)
    assert len(mined) > 0
    assert first.passes(Windows(mined)).all()
    again = mine_negatives(first, clutter(6, seed=5), 60, SMALL, np.random.default_rng(7))
    other = mine_negatives(first, clutter(6, seed=5), 60, SMALL, np.random.default_rng(7))
    assert np.array_equal(again, other)


def test_windows_on_objects_are_no_negatives():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    marked = pixels.copy()
    marked[20:40, 20:40] = 255 - marked[20:40, 20:40] // 2  # an object that every window on it shows
    plan = Plan(negatives=50_000, scale_factor=1.5)
    whole = mine_negatives(_all(12), [Picture(marked)], 50_000, plan, np.random.default_rng(0))
    boxed = Picture(marked, np.array([[20.0, 20, 40, 40]]))
    rest = mine_negatives(_all(12), [boxed], 50_000, plan, np.random.default_rng(0))
    covered = Picture(marked, np.array([[0.0, 0, 60, 60]]))
    assert 0 < len(rest) < len(whole)
    assert len(mine_negatives(_all(12), [covered], 10, plan, np.random.default_rng(0))) == 0


@pytest.mark.system("4.2.3-CASCADE")
def test_later_stages_see_only_what_earlier_ones_let_pass():
    cascade = random_cascade(1, tilted=False)
    windows = Windows(np.random.default_rng(0).integers(0, 256, (500, *cascade.window), dtype=np.uint8))
    passed = [cascade.truncated(n).passes(windows) for n in range(len(cascade) + 1)]
    assert passed[0].all()
    for earlier, later in pairwise(passed):
        assert not (later & ~earlier).any()
    assert 0 < passed[-1].sum() < passed[1].sum() < 500  # of the windows
    assert same(cascade.truncated(3), cascade) == (len(cascade) == 3)


def _all(side: int) -> Cascade:
    """A cascade that lets everything pass."""
    return of_stumps((side, side), [], haar_features((1, 1)))


def test_what_is_no_training_is_refused():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no stage could be trained"):
        train_cascade(bars(10), [], SMALL, random)
    with pytest.raises(ValueError, match="no stage could be trained"):
        train_cascade(np.full((10, 12, 12), 7, np.uint8), clutter(2), SMALL, random)
    with pytest.raises(ValueError, match="two with some contrast"):
        train_cascade(bars(1), clutter(2), SMALL, random)
    with pytest.raises(ValueError, match=r"recall=1\.5"):
        Plan(recall=1.5)


def test_parts_that_do_not_fit_are_refused():
    good = random_cascade(0)
    parts = {name: getattr(good, name) for name in Cascade.__dataclass_fields__}
    for name, value, message in [
        ("window", (1, 9), "expected 3 to 1000"),
        ("stage_trees", np.array([4, 4, 5], np.int32), "but 12 trees"),
        ("tree_nodes", good.tree_nodes + 1, "nodes in all"),
        ("leaves", good.leaves[:-1], "leaves, expected one more"),
        ("node_features", good.node_features + 1, "a feature that is none of"),
        ("node_thresholds", good.node_thresholds * np.float32(np.inf), "not finite"),
        ("node_children", good.node_children - 9, "has children"),
    ]:
        with pytest.raises(ValueError, match=message):
            Cascade(**{**parts, name: value})
